"""``batchgen schedule``: what starts the nights, printed, installed for this user, or taken out again."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from batchgen.cli import options, settings
from batchgen.cli.budget import machine_zone
from batchgen.cli.nightly import Nightly, key_of, nightly
from batchgen.cli.output import Output
from batchgen.cli.writing import Crontab, Place, Units, mark, user_units
from batchgen.errors import LedgerError, UsageError
from batchgen.http.endpoint import origin
from batchgen.ledger import schedules
from batchgen.ledger.reader import Records
from batchgen.ledger.schedules import Schedule
from batchgen.night import crontab, units

MACHINE_UNITS = "/etc/systemd/system"


class Text(NamedTuple):
    """A file, or a crontab's lines, and where it belongs."""

    where: str
    text: str


def schedule(args: argparse.Namespace, out: Output) -> int:
    """Print what starts the nights, install or remove it. Returns the exit code. Raises UsageError and LedgerError."""
    _check(args)
    place: Place = Crontab(args.name) if args.kind == "cron" else Units(args.name, user_units(os.environ))
    if args.remove:
        return _remove(args, out, place)
    if not args.paths:
        raise UsageError("name the manifests, or their folder, that are to be run every night")
    run = nightly(args, options.parser().commands[args.command], out.arguments[1:], os.environ)
    at, delay = _moment(args)
    texts = _crontab(args, run, at) if args.kind == "cron" else _units(args, run, at, delay)
    notes = [
        f"{name} holds a secret, and is not written: what says so to a night belongs into the configuration file"
        for name in run.left_out
    ]
    changed = False
    if args.install:
        changed = place.write([text.text for text in texts])
        _record(args, out, run, at, delay)
        notes += place.notes()
    due = Schedule(args.name, args.kind, at, machine_zone({}), delay, "", (), 0.0, None).next(time.time())
    shown = time.strftime("%Y-%m-%d %H:%M", time.localtime(due))
    if args.json:
        about = {"kind": args.kind, "name": args.name, "installed": bool(args.install), "changed": changed}
        out.document({**about, "files": [text._asdict() for text in texts], "next": shown, "notes": notes})
        return 0
    for text in texts:
        out.lines([*([] if args.kind == "cron" else [f"# {text.where}"]), *text.text.splitlines()])
    if args.install:
        out.say(
            f"{'written' if changed else 'it is there already'}: {', '.join(text.where for text in texts)}; the next night: {shown}"
        )
    out.say(*notes)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.kind == "cron":
        for name, given in (
            ("--credential", args.credential),
            ("--on-failure", args.on_failure),
            ("--system", args.system),
        ):
            if given:
                raise UsageError(f"{name} is for systemd")
    if args.system and (args.install or args.remove):
        raise UsageError(
            f"units of the system are written by root: print them, look at them, and put them into {MACHINE_UNITS}"
        )


def _moment(args: argparse.Namespace) -> tuple[str, float]:
    """When nights begin, HH:MM, and by how many seconds they may begin later. In a crontab, the chance is taken here, once."""
    hour, minute = map(int, args.at.split(":"))
    if args.kind == "systemd":
        return f"{hour:02}:{minute:02}", args.delay
    import zlib

    here = f"{os.uname().nodename} {os.getuid()} {args.name}".encode()
    minutes = hour * 60 + minute + zlib.crc32(here) % (int(args.delay // 60) + 1)
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}", 0.0


def _crontab(args: argparse.Namespace, run: Nightly, at: str) -> Sequence[Text]:
    variable, value = key_of(os.environ)
    hour, minute = map(int, at.split(":"))
    try:
        entry = crontab.line(hour, minute, {**run.environ, variable: value}, [*run.program, *run.arguments])
    except ValueError as error:
        raise UsageError(str(error)) from None
    later = "" if at == args.at else f" ({args.at}, and as many minutes as this machine has by chance)"
    said = f"every day at {at}{later}; what it prints is mailed: MAILTO=you@example.com in a line above says to whom"
    return [Text("crontab", crontab.block(args.name, said, entry))]


def _units(args: argparse.Namespace, run: Nightly, at: str, delay: float) -> Sequence[Text]:
    folder = MACHINE_UNITS if args.system else user_units(os.environ)
    environ = dict(run.environ)
    credential = None
    if args.credential is not None:
        credential = "LoadCredentialEncrypted", os.path.abspath(os.path.expanduser(args.credential))
        if not os.path.exists(credential[1]):
            raise UsageError(f"--credential: {credential[1]} isn't there: a night would have no key")
    else:
        variable, value = key_of(os.environ)
        if args.system and variable.endswith("_FILE"):
            credential = "LoadCredential", value  # so that it may be root's alone
        else:
            environ[variable] = value
    import getpass

    it = units.Service(
        args.name,
        [*run.program, *run.arguments],
        environ,
        user=getpass.getuser() if args.system else None,
        writes=_writes(args, run) if args.system else (),
        credential=credential,
        on_failure=args.on_failure,
    )
    try:
        texts = units.service(it, mark(args.name)), units.timer(args.name, mark(args.name), at, delay)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return [
        Text(os.path.join(folder, f"{args.name}.{kind}"), text)
        for kind, text in zip(("service", "timer"), texts, strict=True)
    ]


def _writes(args: argparse.Namespace, run: Nightly) -> Sequence[str]:
    """The folders that a night writes into: of the ledger, the clips, the log and the prepared pictures. Those that aren't
    there yet are made in the nearest one that is."""
    import tempfile

    from batchgen.run.loading import load
    from batchgen.storage import prepared

    found = load(args.paths, output_dir=args.output_dir, strict=args.strict, now=time.time())
    folders = {job.output_dir for one in found.manifests for job in one.jobs}
    files = {settings.ledger_path(args.ledger, os.environ)}
    files |= {
        os.path.abspath(path) for name in ("log_file", "metrics_file") if (path := getattr(args, name, None))
    }
    folders |= {os.path.dirname(path) for path in files}
    folders |= {prepared.folder(os.environ), tempfile.gettempdir()}
    return sorted({_nearest(folder) for folder in folders})


def _nearest(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _record(args: argparse.Namespace, out: Output, run: Nightly, at: str, delay: float) -> None:
    """Remember the schedule in the ledger, so that `runs` sees a night that it didn't start."""
    path = settings.ledger_path(args.ledger, os.environ)
    if os.path.lexists(path):
        Records.read(path).close()  # brings one of an older version up to date
    else:
        from batchgen.ledger.writer import Ledger

        Ledger.open(path, origin=origin(settings.base_url(args.base_url, os.environ))).close()
    words = tuple(map(out.mask, run.recorded))
    here = Schedule(
        args.name, args.kind, at, machine_zone({}), delay, os.uname().nodename, words, time.time(), None
    )
    schedules.install(path, here)


def _remove(args: argparse.Namespace, out: Output, place: Place) -> int:
    removed = place.remove()
    path = settings.ledger_path(args.ledger, os.environ)
    if os.path.exists(path):
        try:
            schedules.remove(path, args.name, os.uname().nodename, time.time())
        except LedgerError as error:
            out.say(f"batchgen schedule: that it is no more could not be recorded: {error}")
    if args.json:
        out.document({"kind": args.kind, "name": args.name, "removed": removed})
    else:
        out.say(f"removed: {', '.join(removed)}" if removed else f"there is no {args.name} to be removed")
    return 0
