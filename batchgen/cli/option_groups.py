"""The options that several commands share, by subject."""

from __future__ import annotations

from collections.abc import Callable

from batchgen.cli import arguments
from batchgen.cli.arguments import Parser
from batchgen.cli.run_options import of_run
from batchgen.cli.telling_options import telling

Command = Callable[..., Parser]  # name, help, examples, shared options


class Groups:
    """The options that several commands share, by subject."""

    def __init__(self) -> None:
        self.common = _common()
        self.ledger = _ledger()
        self.lock = _lock()
        self.base_url = _base_url()
        self.api = _api(self.lock, self.base_url)
        self.following = _following()
        self.reading = _reading()
        self.paths = _paths(self.reading)
        self.run = of_run()
        self.choice = _choice()
        self.only = _only()
        self.telling = telling()


def _ledger() -> Parser:
    """The option that names the ledger."""
    ledger = Parser(add_help=False)
    ledger.add_argument(
        "--ledger", metavar="FILE", help="the durable record (BATCHGEN_LEDGER; default: in your state folder)"
    )
    return ledger


def _lock() -> Parser:
    """How long to wait for the ledger."""
    lock = Parser(add_help=False)
    lock.add_argument(
        "--lock-wait",
        metavar="DURATION",
        type=arguments.duration,
        default=0.0,
        help="wait so long for another run to let go of the ledger (default: don't)",
    )
    return lock


def _base_url() -> Parser:
    """Which API is meant."""
    base_url = Parser(add_help=False)
    base_url.add_argument(
        "--base-url", metavar="URL", help="the API (POWERTOKENS_API_BASE; default: the vendor's)"
    )
    return base_url


def _api(lock: Parser, base_url: Parser) -> Parser:
    """How the API is reached, and how long it is waited for."""
    api = Parser(add_help=False, parents=[lock, base_url])
    api.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=arguments.positive_duration,
        default=60.0,
        help="give up on a request that makes no progress for so long (default 60)",
    )
    api.add_argument(
        "--settle",
        metavar="SECONDS",
        type=arguments.positive_duration,
        default=300.0,
        help="look so long for the task of an uncertain create before it is believed not to exist; and for a clip that doesn't come, before it is left to the next run (default 300)",
    )
    api.add_argument(
        "--poll-interval",
        metavar="SECONDS",
        type=arguments.positive_duration,
        help="the first wait before a task is asked for (default: learned)",
    )
    return api


def _following() -> Parser:
    """How tasks are followed and clips are fetched."""
    following = Parser(add_help=False)
    following.add_argument(
        "--until",
        metavar="TIME|DURATION",
        type=arguments.moment,
        help="leave then, whatever still runs; the next run goes on: 07:30, 9h, 2026-01-31T07:30 (default: four hours after --deadline)",
    )
    following.add_argument(
        "--downloads",
        metavar="N",
        type=arguments.downloads,
        help="fetch so many clips at once at most, fewer where more bring nothing or their host is busy (BATCHGEN_DOWNLOADS; default 16)",
    )
    following.add_argument(
        "--min-speed",
        metavar="BYTES",
        type=arguments.speed,
        default=16384,
        help="a clip that comes with fewer bytes a second, on the average of --timeout, is asked for anew, where it broke off: 16K, 1M (default 16K)",
    )
    following.add_argument(
        "--clip-timeout",
        metavar="DURATION",
        type=arguments.positive_duration,
        default=3600.0,
        help="leave a clip to the next run, which goes on with it, when it takes longer than this (default 1h)",
    )
    following.add_argument(
        "--clip-hosts",
        metavar="HOSTS",
        type=arguments.clip_hosts,
        help="fetch clips from these hosts though they are inside of a network (cdn.corp, .corp, 10.0.0.0/8), or without TLS (http://HOST); with commas (BATCHGEN_CLIP_HOSTS)",
    )
    return following


def _reading() -> Parser:
    """How manifests are read."""
    reading = Parser(add_help=False)
    reading.add_argument("--output-dir", metavar="DIR", help="where clips go, whatever the manifests say")
    reading.add_argument("--strict", action="store_true", help="warnings refuse a manifest, as problems do")
    return reading


def _paths(reading: Parser) -> Parser:
    """Manifests, and how they are read."""
    paths = Parser(add_help=False, parents=[reading])
    paths.add_argument(
        "paths", metavar="PATH", nargs="+", help="a manifest, or a folder: its *.yaml and *.yml"
    )
    return paths


def _only() -> Parser:
    """Which jobs a command is about."""
    only = Parser(add_help=False)
    only.add_argument(
        "--only",
        metavar="GLOB",
        action="append",
        help="these jobs alone: a JOB, as `batchgen status` takes it, or a glob such as 'bags/*'; may be given several times",
    )
    return only


def _choice() -> Parser:
    """Which jobs are tried or paid again."""
    choice = Parser(add_help=False)
    choice.add_argument("--retry-failed", action="store_true", help="try failed and refused jobs again, too")
    choice.add_argument(
        "--accept-changes", action="store_true", help="pay again for jobs that changed since they were paid"
    )
    return choice


def _common() -> Parser:
    """What is printed and logged, and how."""
    common = Parser(add_help=False)
    group = common.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else there")
    group.add_argument("-q", "--quiet", action="store_true", help="errors only")
    group.add_argument("-v", "--verbose", action="store_true", help="say what happens, step by step")
    group.add_argument("--no-progress", action="store_true", help="no progress bar, on a terminal either")
    group.add_argument("--log-file", metavar="FILE", help="append what happens to a file")
    group.add_argument("--log-format", choices=["text", "json"], default="text", help="default: text")
    group.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="default: auto; NO_COLOR is heard",
    )
    return common
