"""The program's start, as ``python -m batchgen`` and as the console script."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one command; Ctrl-C is heard as soon as Python itself has started."""
    try:
        from batchgen import cli

        return cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("batchgen: interrupted; nothing was begun\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
