"""``python -m batchgen.sandbox``."""

import argparse

from batchgen.errors import UsageError
from batchgen.sandbox.command import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="batchgen sandbox", description="A local API with scripted faults.")
    add_arguments(parser)
    try:
        raise SystemExit(run(parser.parse_args()))
    except UsageError as error:
        parser.error(str(error))
