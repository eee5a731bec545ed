"""The options of a run alone: what it creates, how fast, and until when."""

from __future__ import annotations

from batchgen.cli import arguments
from batchgen.cli.arguments import Parser
from batchgen.cli.callback_options import add_callbacks


def of_run() -> Parser:
    """The options of ``run``, which ``schedule`` passes on to it."""
    run = Parser(add_help=False)
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
    add_callbacks(run)
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
    run.add_argument(
        "--stay-awake",
        action="store_true",
        help="keep this machine from falling asleep until the run ends, where it lets you",
    )
    run.add_argument("-n", "--dry-run", action="store_true", help="the same as plan")
    return run
