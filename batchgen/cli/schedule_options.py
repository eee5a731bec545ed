"""The options of ``schedule``: those of a run, and when and how it is started."""

from __future__ import annotations

from batchgen.cli import arguments
from batchgen.cli.option_groups import Command, Groups


def add_schedule(command: Command, groups: Groups) -> None:
    """``schedule``, with what it writes and where."""
    schedule = command(
        "schedule",
        "print the crontab line, or systemd's service and timer, that runs manifests every night",
        "  batchgen schedule cron --at 22:30 --deadline 06:00 --until 07:30 manifests/\n"
        "  batchgen schedule systemd manifests/               a user's service and timer\n"
        "  batchgen schedule systemd --system manifests/      the system's, with every limit\n"
        "  batchgen schedule cron --install manifests/        write it, and say what was written\n"
        "  batchgen schedule cron --remove                    take it out again",
        groups.reading,
        groups.ledger,
        groups.api,
        groups.following,
        groups.choice,
        groups.only,
        groups.telling,
        groups.run,
    )
    schedule.mixes = True
    schedule.add_argument(
        "kind", metavar="cron|systemd", choices=["cron", "systemd"], help="what starts the nights"
    )
    schedule.add_argument(
        "paths", metavar="PATH", nargs="*", help="a manifest, or a folder: its *.yaml and *.yml"
    )
    schedule.add_argument(
        "--at",
        metavar="TIME",
        type=arguments.clock,
        default="22:30",
        help="when a night begins, by this machine's clock (22:30)",
    )
    schedule.add_argument(
        "--delay",
        metavar="DURATION",
        type=arguments.duration,
        default=300.0,
        help="begin up to so much later, by chance, so that not all machines begin at once (default 5m); in a crontab, the same minute every night",
    )
    schedule.add_argument(
        "--name",
        metavar="NAME",
        type=arguments.unit_name,
        default="batchgen",
        help="what tells it from another schedule (batchgen)",
    )
    schedule.add_argument(
        "--credential",
        metavar="FILE",
        help="systemd: the key as `systemd-creds encrypt --name=powertokens_api_key` wrote it",
    )
    schedule.add_argument(
        "--on-failure",
        metavar="UNIT",
        help="systemd: the unit to start where a night doesn't end with exit code 0",
    )
    schedule.add_argument(
        "--system", action="store_true", help="systemd: units for /etc/systemd/system, which run as you"
    )
    what = schedule.add_mutually_exclusive_group()
    what.add_argument(
        "--install",
        action="store_true",
        help="write it for this user: into the crontab, or below ~/.config/systemd/user",
    )
    what.add_argument("--remove", action="store_true", help="take out what --install wrote, and nothing else")
