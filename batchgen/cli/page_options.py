"""The options of the commands that show the ledger's clips, or hand its rows on."""

from __future__ import annotations

from batchgen.cli import arguments
from batchgen.cli.option_groups import Command, Groups


def add_page(command: Command, groups: Groups) -> None:
    """The page, as a file and live, and the rows for other programs."""
    page = command(
        "report",
        "one HTML page about the ledger and its clips, which opens from disk",
        "  batchgen report\n  batchgen report --output ~/night/report.html\n  batchgen report --only 'bags/*'",
        groups.ledger,
        groups.only,
    )
    page.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where it is written (default: beside the ledger); its thumbnails lie in FILE's folder NAME_files",
    )
    review = command(
        "review",
        "the page from this machine, live, with buttons that write verdicts",
        "  batchgen review\n  batchgen review --port 8080 --no-browser",
        groups.ledger,
    )
    review.add_argument(
        "--port", metavar="N", type=arguments.port, help="the port of 127.0.0.1 (default: one that is free)"
    )
    review.add_argument(
        "--no-browser",
        action="store_true",
        help="open no browser, on a terminal either: print the address alone",
    )
    export = command(
        "export",
        "the ledger as JSON Lines or CSV",
        "  batchgen export > ledger.jsonl\n  batchgen export --format csv > ledger.csv\n"
        "  batchgen export --excel > for-a-spreadsheet.csv",
        groups.ledger,
    )
    export.add_argument("--format", choices=["jsonl", "csv"], help="default: jsonl")
    export.add_argument(
        "--excel",
        action="store_true",
        help="CSV that a spreadsheet opens without damage: ids as text, no formulas",
    )
