"""The options of the commands that make and read manifests, or talk to the API."""

from __future__ import annotations

from batchgen.cli.option_groups import Command, Groups


def add_work(command: Command, groups: Groups) -> None:
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
        groups.telling,
    )
    command(
        "recover",
        "rebuild a lost ledger from the clips' folders and the API; creates nothing",
        "  batchgen recover manifests/",
        groups.paths,
        groups.ledger,
        groups.api,
    )
    _add_notify(command, groups)


def _add_run(command: Command, groups: Groups) -> None:
    """``run``, the main command."""
    command(
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
        groups.telling,
        groups.run,
    )


def _add_notify(command: Command, groups: Groups) -> None:
    """``notify``, which tries those who are told."""
    notify = command(
        "notify",
        "show who is told of a run, or try each of them",
        "  batchgen notify\n  batchgen notify --test\n  batchgen notify --test --ping-url https://hc-ping.com/UUID",
        groups.telling,
    )
    notify.add_argument(
        "--test", action="store_true", help="tell each of them that this is a test, and say what came back"
    )
