"""The options of the commands about money."""

from __future__ import annotations

from batchgen.cli import arguments
from batchgen.cli.option_groups import Command, Groups


def add_money(command: Command, groups: Groups) -> None:
    """``budget`` and ``spend``."""
    _add_budget(command, groups)
    _add_spend(command, groups)


def _add_budget(command: Command, groups: Groups) -> None:
    """``budget``, with what a day, a week and a month may cost."""
    budget = command(
        "budget",
        "show or set what a day, a week and a month may cost",
        "  batchgen budget                      what is spent of each, and what is left\n"
        "  batchgen budget set --day 40 --month 500 --timezone Europe/Berlin\n"
        "  batchgen budget set --week none      no limit any more\n"
        "  batchgen budget history              who set what, and when",
        groups.ledger,
        groups.base_url,
    )
    budget.add_argument(
        "action",
        metavar="set|history",
        nargs="?",
        choices=["set", "history"],
        help="without it, the budgets are shown",
    )
    for period in ("day", "week", "month"):
        budget.add_argument(
            f"--{period}",
            metavar="USD|none",
            type=arguments.budget,
            help=f"set: what a calendar {period} may cost{', Monday to Sunday' if period == 'week' else ''}; 0 is nothing, none no limit",
        )
    budget.add_argument(
        "--timezone",
        metavar="NAME",
        help="set: where days begin, by its IANA name: Europe/Berlin (default: as before, else this machine's)",
    )


def _add_spend(command: Command, groups: Groups) -> None:
    """``spend``, with what its lines are about, and of when."""
    spend = command(
        "spend",
        "what the ledger's tasks cost, by day, week, month, manifest, mode or job",
        "  batchgen spend                                  day by day\n"
        "  batchgen spend --by manifest --since 2026-11-01 --until 2026-11-30\n"
        "  batchgen spend --by job --format csv > jobs.csv",
        groups.ledger,
    )
    spend.add_argument(
        "--by",
        choices=["day", "week", "month", "manifest", "mode", "job"],
        default="day",
        help="what a line is about (default: day)",
    )
    spend.add_argument("--since", metavar="DATE", type=arguments.day, help="from this day on: 2026-11-01")
    spend.add_argument("--until", metavar="DATE", type=arguments.day, help="up to and with this day")
    spend.add_argument("--format", choices=["table", "csv"], default="table", help="default: table")
