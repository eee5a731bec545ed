"""The command line: every command, its options and its examples. Parsing only."""

from __future__ import annotations

import argparse

from batchgen import __version__
from batchgen.cli import config
from batchgen.cli.arguments import Parser
from batchgen.cli.ledger_options import add_ledger
from batchgen.cli.listen_options import add_listen
from batchgen.cli.money_options import add_money
from batchgen.cli.option_groups import Groups
from batchgen.cli.page_options import add_page
from batchgen.cli.schedule_options import add_schedule
from batchgen.cli.work_options import add_work

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


def parser() -> Parser:
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

    def command(name: str, words: str, examples: str, *parents: Parser) -> Parser:
        made = commands.add_parser(
            name,
            help=words,
            description=words[0].upper() + words[1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=_RAW,
            parents=[*parents, groups.common],
        )
        made.set_defaults(**config.NOTHING)
        return made

    for add in (add_work, add_schedule, add_ledger, add_page, add_money, add_listen):
        add(command, groups)
    sandbox = command(
        "sandbox",
        "a local API that follows the specification, with scripted faults",
        "  batchgen sandbox --port 8080 --slots 3\n  batchgen sandbox --fault reset_after=0.1 --seed 7",
    )
    from batchgen.sandbox.command import add_arguments

    add_arguments(sandbox)
    shells = command(
        "completion",
        "what a shell reads to complete commands, options, files and the ledger's jobs",
        "  batchgen completion bash > ~/.local/share/bash-completion/completions/batchgen\n"
        "  batchgen completion zsh > ~/.zfunc/_batchgen                      (a folder of fpath)\n"
        "  batchgen completion fish > ~/.config/fish/completions/batchgen.fish",
    )
    shells.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    doctor = command(
        "doctor",
        "check the set-up: key, API, clock, ledger, disk, folders; changes and pays nothing",
        "  batchgen doctor\n  batchgen doctor manifests/       their folders, too\n  batchgen doctor --json",
        groups.ledger,
        groups.base_url,
    )
    doctor.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="manifests, or folders with them: whose folders are looked at",
    )
    manual = command(
        "help",
        "the manual's pages, offline",
        "  batchgen help\n  batchgen help operations\n  batchgen help run",
    )
    manual.add_argument(
        "topic", metavar="TOPIC", nargs="?", help="a page, or a command; without it, the pages are listed"
    )
    for one in (manual, doctor):
        one.set_defaults(parsers=commands.choices)
    top.commands = commands.choices
    for one in top.commands.values():
        one.others = top.commands
    return top
