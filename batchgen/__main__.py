"""The program's start, as ``python -m batchgen`` and as the console script."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one command and return its exit code. Ctrl-C while the modules load is no traceback either."""
    if sys.argv[1:3] == ["completion", "--words"]:  # at every press of a key: nothing else is loaded
        from batchgen.cli.words import print_words

        return print_words(sys.argv[3:])
    try:
        from batchgen.cli import output
        from batchgen.cli.main import main as command
        from batchgen.masking import Mask

        mask = Mask()
        output.guard(mask)
        return command(mask=mask)
    except KeyboardInterrupt:
        sys.stderr.write("batchgen: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
