"""The options of the commands that read or decide about rows of the ledger."""

from __future__ import annotations

from batchgen.cli import arguments
from batchgen.cli.option_groups import Command, Groups

_JOB = (
    "an external_task_id, MANIFEST/JOB_ID or any end of it such as JOB_ID; @2 behind it names its second take"
)


def add_ledger(command: Command, groups: Groups) -> None:
    """The commands about jobs, runs and the ledger's file."""
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
    why = command(
        "why",
        "every decision about a job with its rule, oldest first, and what would make it move",
        "  batchgen why bags/tote\n  batchgen why tote@2\n  batchgen why 'night-shop/*' --all",
        groups.ledger,
    )
    why.add_argument("--all", action="store_true", help="all jobs that a glob names, not the first ones")
    why.add_argument("jobs", metavar="JOB", nargs="+", help=f"{_JOB}, or a glob")
    nights = command(
        "runs",
        "the runs, the newest first: when, how long, how they ended, what they made and cost",
        "  batchgen runs\n  batchgen runs --last 100\n  batchgen runs --json",
        groups.ledger,
    )
    nights.add_argument(
        "--last", metavar="N", type=arguments.count, default=20, help="how many are shown (20)"
    )
    verify = command(
        "verify",
        "the clips on disk against the ledger: missing, of another size, foreign; writes nothing",
        "  batchgen verify\n  batchgen verify --deep              reads every byte, and finds changed ones, too\n"
        "  batchgen verify --json",
        groups.ledger,
    )
    verify.add_argument("--deep", action="store_true", help="compare digests as well: reads every clip whole")
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
