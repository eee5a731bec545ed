"""``batchgen doctor``: whether a night can go well on this machine. It makes nothing, pays nothing and holds up no run."""

from __future__ import annotations

import argparse
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from batchgen.advice import quoted
from batchgen.cli import config, settings, verdicts
from batchgen.cli.arguments import SECRET, Parser
from batchgen.cli.check_api import WITHIN, check_api
from batchgen.cli.check_disk import Free, Named, check_disk, check_folders, free, named
from batchgen.cli.check_ledger import check_backups, check_ledger
from batchgen.cli.output import Output, folded
from batchgen.cli.values import BUILT_IN, Value, values
from batchgen.cli.verdicts import Checks, Verdict
from batchgen.cli.versions import check_versions
from batchgen.errors import ManifestError, UsageError
from batchgen.http.endpoint import origin
from batchgen.manifest import configuration

READING = 4.0  # seconds for the manifests before that
SHOWN = 3  # problems of the configuration that its verdict lists


def doctor(
    args: argparse.Namespace,
    out: Output,
    *,
    now: Callable[[], float] = time.time,
    room: Free = free,
    within: float = WITHIN,
) -> int:
    """Check the set-up, and say what it is. All checks are made at once, and have twice ``within`` seconds. Returns 1 where a run would not go well, else 0."""
    commands: Mapping[str, Parser] = args.parsers
    found = list(_configuration(args, commands))
    out = Output(args, out.mask, out.arguments)  # as the file wants it
    read: list[Named] = []
    found += verdicts.in_time({"manifests": partial(_manifests, args, read)}, READING)
    manifests = read[:]
    found += verdicts.in_time(_checks(args, out, manifests, now, room, within), 2 * within)
    told = list(values(args, commands, os.environ, manifests))
    code = verdicts.exit_code(found)
    if out.json:
        out.document(
            {
                "exit_code": code,
                "verdicts": [_object(one) for one in found],
                "values": [one._asdict() for one in told],
            }
        )
        return code
    for verdict in found:
        if not out.quiet or verdict.state == "bad":
            out.lines(folded(_line(verdict), out.width, indent=19))
            if verdict.advice and verdict.state != "ok":
                out.lines(folded(f"{'':19}{verdict.advice}", out.width, indent=19))
    if not out.quiet:
        out.lines(_values(told, verbose=out.verbose))
    return code


def _configuration(args: argparse.Namespace, commands: Mapping[str, Parser]) -> Iterator[Verdict]:
    """Take the configuration file into ``args``, and say what is wrong with it."""
    try:
        config.configure(args, commands, os.environ)
    except ManifestError as error:
        first = "; ".join(map(str, error.problems[:SHOWN]))
        more = f"; and {len(error.problems) - SHOWN} more" if len(error.problems) > SHOWN else ""
        yield Verdict(
            "configuration", "bad", f"{first}{more}", "No command but this one and `help` works until then."
        )
    except UsageError as error:
        yield Verdict("configuration", "bad", str(error))
    else:
        yield _configured(args)


def _configured(args: argparse.Namespace) -> Verdict:
    """Which file is read, and whether others may read what is secret in it."""
    if args.configuration is None:
        path = configuration.usual_path(os.environ)
        return Verdict("configuration", "ok", f"there is no file: {path}", "", {"file": None})
    file = args.configuration.file
    secret = [name for name in map(_key, SECRET) if name in args.configuration.content]
    if secret and os.stat(file).st_mode & stat.S_IROTH:
        text = f"{file} is read, and every user of this machine can read it: {', '.join(secret)}"
        return Verdict("configuration", "note", text, f"chmod 600 {quoted(file)}", {"file": file})
    return Verdict("configuration", "ok", f"{file} is read", "", {"file": file})


def _key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _manifests(args: argparse.Namespace, read: list[Named]) -> Iterable[Verdict]:
    """Read what the manifests name."""
    usual = config.usual_output_dir(args)
    read += named(args.paths, usual)
    return ()


def _checks(
    args: argparse.Namespace,
    out: Output,
    manifests: Sequence[Named],
    now: Callable[[], float],
    room: Free,
    within: float,
) -> Checks:
    """All checks, by the subject of their first verdict."""
    base_url = settings.base_url(args.base_url, os.environ)
    path = settings.ledger_path(args.ledger, os.environ)
    try:
        api = origin(base_url)
    except UsageError:
        api = ""  # its own verdict says so
    outputs = list(dict.fromkeys(one.output for one in manifests))
    if not outputs and "output_dir" in args.usual:
        outputs = [args.usual["output_dir"]]
    return {
        "api": lambda: check_api(base_url, out.mask, os.environ, now, within),
        "ledger": lambda: check_ledger(path, api, now),
        "backups": lambda: check_backups(path, now),
        "disk": lambda: check_disk(path, outputs, room),
        "folders": lambda: check_folders(path, manifests, outputs),
        "versions": check_versions,
    }


def _line(verdict: Verdict) -> str:
    return f"{verdict.state:<4} {verdict.subject:<13} {verdict.text}"


def _object(verdict: Verdict) -> dict[str, object]:
    """A verdict for scripts."""
    return {
        "subject": verdict.subject,
        "state": verdict.state,
        "message": verdict.text,
        "advice": verdict.advice,
        "facts": dict(verdict.facts),
    }


def _values(told: Sequence[Value], *, verbose: bool) -> Iterator[str]:
    """The values that somebody gave, with their origins; all of them where that is asked for."""
    shown = [one for one in told if verbose or one.origin != BUILT_IN]
    rest = len(told) - len(shown)
    yield ""
    yield f"values{', and where they come from' if shown else ''}"
    wide = max((len(one.name) for one in shown), default=0)
    for one in shown:
        yield f"  {one.name:<{wide}}  {one.text}  ({one.origin})"
    if rest:
        yield f"  {rest} others are as built in; -v lists them"
