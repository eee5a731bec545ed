"""The options of ``listen``."""

from __future__ import annotations

from batchgen.cli.callback_options import address
from batchgen.cli.option_groups import Command, Groups


def add_listen(command: Command, groups: Groups) -> None:
    """``listen``, which receives callbacks on its own."""
    listen = command(
        "listen",
        "receive the API's callbacks, as hints for the runs on a ledger",
        "  batchgen listen 127.0.0.1:8090\n  batchgen listen 127.0.0.1:8090 --ledger night.db",
        groups.ledger,
    )
    listen.add_argument(
        "address",
        metavar="HOST:PORT",
        type=address,
        help="where to listen, behind what ends TLS: 127.0.0.1:8090, [::1]:8090; 0.0.0.0:8090 for every network",
    )
