"""The command line: every command, its options and its examples. Parsing only."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from batchgen import __version__
from batchgen.cli import arguments
from batchgen.cli.arguments import Parser
from batchgen.cli.option_groups import Groups

_RAW = argparse.RawDescriptionHelpFormatter

EPILOG = """\
examples:
  batchgen init photos/                a first manifest for a folder of images
  batchgen run manifests/              do what is missing; silent when all is well
  batchgen plan manifests/             what that would do, and what it costs
  batchgen run --sandbox manifests/    rehearse against a local API: no key, no money
  batchgen help                        the manual: every night, the morning, all keys, messages

exit codes:
  0    all jobs done, or nothing to do
  1    some jobs failed
  2    bad command line, or a manifest was refused (the good ones ran)
  3    the account stopped the run: key, balance, pack, permission, IP
  4    stopped early with work left: deadline, --until, cost cap, budget, job cap; run again
  5    a job needs a decision: unknown outcome, changed since it was paid, or not approved
  75   another run holds the ledger
  130  SIGINT; what was open is safe; run again
  143  SIGTERM or SIGHUP; what was open is safe; run again
"""


_JOB = (
    "an external_task_id, MANIFEST/JOB_ID or any end of it such as JOB_ID; @2 behind it names its second take"
)


Command = Callable[..., argparse.ArgumentParser]  # name, help, examples, shared options


def parser() -> argparse.ArgumentParser:
    """The whole command line.

    A namespace has ``command``, ``json`` and the logging options, and for ``help`` the commands' ``parsers`` by name.
    """
    groups = Groups()
    top = Parser(
        prog="batchgen",
        description="Image-to-video jobs from manifests, each paid once.",
        epilog=EPILOG,
        formatter_class=_RAW,
    )
    top.add_argument("--version", action="version", version=f"batchgen {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, words: str, examples: str, *parents: Parser) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=words,
            description=words[0].upper() + words[1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=_RAW,
            parents=[*parents, groups.common],
        )

    _add_work(command, groups)
    _add_ledger_commands(command, groups)
    sandbox = command(
        "sandbox",
        "a local API that follows the specification, with scripted faults",
        "  batchgen sandbox --port 8080 --slots 3\n  batchgen sandbox --fault reset_after=0.1 --seed 7",
    )
    from batchgen.sandbox.command import add_arguments

    add_arguments(sandbox)
    manual = command(
        "help",
        "the manual's pages, offline",
        "  batchgen help\n  batchgen help operations\n  batchgen help run",
    )
    manual.add_argument(
        "topic", metavar="TOPIC", nargs="?", help="a page, or a command; without it, the pages are listed"
    )
    manual.set_defaults(parsers=commands.choices)
    top.commands = commands.choices
    for one in top.commands.values():
        one.others = top.commands
    return top


def _add_work(command: Command, groups: Groups) -> None:
    """The commands that make and read manifests, or talk to the API."""
    init = command(
        "init",
        "write a commented manifest for a folder of images; show its first plan",
        "  batchgen init photos/\n  batchgen init photos/ -o manifests/",
        groups.ledger,
    )
    init.add_argument("folder", metavar="FOLDER", help="the folder of images; those further down count, too")
    init.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the manifest, or a folder for it (default: beside FOLDER, with its name); nothing is overwritten",
    )
    command(
        "validate",
        "check manifests; no network, no ledger",
        "  batchgen validate manifests/\n  batchgen validate --json night.yaml",
        groups.paths,
        groups.only,
    )
    plan = command(
        "plan",
        "what a run would do, per job, with the reason and the cost; writes nothing but -o FILE,"
        " and brings an older version's ledger up to date",
        "  batchgen plan manifests/\n  batchgen plan --json night.yaml\n"
        "  batchgen plan -o friday.json manifests/     approve it: batchgen run --plan friday.json manifests/",
        groups.paths,
        groups.ledger,
        groups.base_url,
        groups.choice,
        groups.only,
    )
    plan.add_argument(
        "-o",
        "--output",
        dest="approval",
        metavar="FILE",
        help="write an approval of what would be paid for, for `run --plan FILE`; where there is no ledger yet, it is made",
    )
    _add_run(command, groups)
    command(
        "collect",
        "follow and download what the ledger has open; never creates",
        "  batchgen collect\n  batchgen collect --until 2h",
        groups.ledger,
        groups.api,
        groups.following,
        groups.only,
    )
    command(
        "recover",
        "rebuild a lost ledger from the clips' folders and the API; creates nothing",
        "  batchgen recover manifests/",
        groups.paths,
        groups.ledger,
        groups.api,
    )


def _add_run(command: Command, groups: Groups) -> None:
    """``run``, with the options that no other command has."""
    run = command(
        "run",
        "create, follow and collect what is missing",
        "  batchgen run manifests/\n  batchgen run --max-cost 50 --deadline 06:30 --until 07:30 manifests/\n"
        "  batchgen run --submit-only night.yaml\n  batchgen run --sandbox manifests/",
        groups.paths,
        groups.ledger,
        groups.api,
        groups.following,
        groups.choice,
        groups.only,
    )
    run.add_argument(
        "--concurrency", metavar="N", type=arguments.count, help="create requests in flight (default 8)"
    )
    run.add_argument(
        "--max-running",
        metavar="N",
        type=arguments.count,
        help="slots: tasks that may run at once (default: learned)",
    )
    run.add_argument("--max-jobs", metavar="N", type=arguments.count, help="create at most so many tasks")
    run.add_argument(
        "--max-cost", metavar="USD", type=arguments.money, help="create tasks for at most so much money"
    )
    run.add_argument(
        "--plan",
        metavar="FILE",
        help="create what is in this approval, made by `plan -o FILE`, and nothing else",
    )
    run.add_argument("--yes", action="store_true", help="don't ask, on a terminal either, before it pays")
    run.add_argument(
        "--deadline",
        metavar="TIME|DURATION",
        type=arguments.moment,
        help="stop creating then, finish what is open: 06:30, 2h, 2026-01-31T06:30",
    )
    run.add_argument(
        "--retry-wait",
        metavar="DURATION",
        type=arguments.duration,
        help="wait so long before a job whose task failed gets another, then twice as long (default 2m)",
    )
    run.add_argument("--submit-only", action="store_true", help="leave once every job has a task id")
    run.add_argument(
        "--recover",
        action="store_true",
        help="first adopt what the API has of these manifests and the ledger hasn't",
    )
    run.add_argument(
        "--sandbox",
        action="store_true",
        help="start the local API and use it, with a ledger and clips of its own",
    )
    run.add_argument("-n", "--dry-run", action="store_true", help="the same as plan")


def _add_ledger_commands(command: Command, groups: Groups) -> None:
    """The commands that read or decide about rows of the ledger."""
    resolve = command(
        "resolve",
        "decide about a job that the program can't decide about",
        "  batchgen resolve bags/tote\n  batchgen resolve bags/tote --task-id 842250903629086785\n"
        "  batchgen resolve bags/tote --not-created\n  batchgen resolve bags/tote --abandon",
        groups.ledger,
        groups.lock,
    )
    resolve.add_argument(
        "job", metavar="JOB", help=f"{_JOB}; without a choice, all that is known about it is shown"
    )
    choices = resolve.add_mutually_exclusive_group()
    choices.add_argument(
        "--task-id", metavar="T", type=arguments.task_id, help="a task was made, and this is its id"
    )
    choices.add_argument(
        "--not-created", action="store_true", help="no task was made: the next run creates it"
    )
    choices.add_argument(
        "--abandon", action="store_true", help="give it up: it is never created again, and no run tells of it"
    )
    retake = command(
        "retake",
        "order another take of a job: the next run creates it, and pays",
        "  batchgen retake bags/tote --note 'slower, please'\n  batchgen retake --marked\n"
        "  batchgen retake                      what is ordered and marked\n"
        "  batchgen retake --withdraw bags/tote",
        groups.ledger,
    )
    retake.add_argument("jobs", metavar="JOB", nargs="*", help=f"{_JOB}, or a glob")
    retake.add_argument(
        "--marked", action="store_true", help="every job whose newest clip has the verdict `retake`"
    )
    retake.add_argument(
        "--withdraw", action="store_true", help="take back what is ordered and no run has begun"
    )
    retake.add_argument(
        "--keep", action="store_true", help="say that a clip is good: the verdict `keep`; nothing is ordered"
    )
    retake.add_argument("--note", metavar="TEXT", help="what is to be better, for people: it is not sent")
    retake.add_argument(
        "--again",
        action="store_true",
        help="one more, also where a take is ordered already, is under way, or ended without a clip",
    )
    status = command(
        "status",
        "the ledger for people",
        "  batchgen status\n  batchgen status bags/tote\n  batchgen status 'night-shop/*'",
        groups.ledger,
    )
    status.add_argument("--all", action="store_true", help="all that a list has, not its first lines")
    status.add_argument(
        "jobs", metavar="JOB", nargs="*", help=f"everything known about it: {_JOB}, or a glob"
    )
    nights = command(
        "runs",
        "the runs, the newest first: when, how long, how they ended, what they made and cost",
        "  batchgen runs\n  batchgen runs --last 100\n  batchgen runs --json",
        groups.ledger,
    )
    nights.add_argument(
        "--last", metavar="N", type=arguments.count, default=20, help="how many are shown (20)"
    )
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

    _add_budget(command, groups)
    _add_spend(command, groups)
    upkeep = command(
        "ledger",
        "look after the ledger's file: pack its rows, and rewrite it without its empty pages",
        "  batchgen ledger compact",
        groups.ledger,
        groups.lock,
    )
    upkeep.add_argument(
        "action", metavar="compact", choices=["compact"], help="rewrite the file without its empty pages"
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
