"""``batchgen budget``: what a day, a week and a month may cost, and what is spent of it."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batchgen.amounts import Use, dollars, shown
from batchgen.cli import settings
from batchgen.cli.fit import use_object
from batchgen.cli.output import Output
from batchgen.cli.resolve import who
from batchgen.errors import UsageError
from batchgen.http.endpoint import origin
from batchgen.ledger.budgets import Setting, set_budgets
from batchgen.ledger.reader import Records
from batchgen.money import periods
from batchgen.storage.clips import iso

_NONE_SET = "no budget is set; `batchgen budget set --day USD` sets one, and so do --week and --month"


def budget(args: argparse.Namespace, out: Output) -> int:
    """Show the budgets, their history, or set them. Returns the exit code. Raises UsageError and LedgerError."""
    path = settings.ledger_path(args.ledger, os.environ)
    given = {name: value for name in periods.NAMES if (value := getattr(args, name)) is not None}
    if args.action == "set":
        api = origin(settings.base_url(args.base_url, os.environ))
        _set(path, given, args.timezone, api)
    elif given or args.timezone is not None:
        raise UsageError("--day, --week, --month and --timezone go with `batchgen budget set`")
    with Records.read(path) as ledger:
        lines = ledger.budgets.history() if args.action == "history" else []
        setting, uses = ledger.budgets.standing(), ledger.budgets.uses(time.time())
    if args.action == "history":
        found: Mapping[str, Any] = {"history": [_setting_object(one) for one in lines]}
    else:
        found = {
            "timezone": setting and setting.timezone,
            "set_at": setting and iso(setting.at),
            "set_by": setting and setting.by,
            "budgets": [use_object(one) for one in uses],
        }
    if args.json:
        out.document({"ledger": path, **found})
    elif args.action == "history":
        out.lines(map(_setting_text, lines) if lines else [_NONE_SET])
    else:
        out.lines(_text(path, setting, uses))
    return 0


def _set(path: str, given: Mapping[str, int | str], timezone: str | None, api: str) -> None:
    """Write new budgets. A ledger, of this API, is made where there is none: they hold from the first night on."""
    if not given and timezone is None:
        raise UsageError("`budget set` takes --day, --week, --month or --timezone")
    if timezone is not None:
        try:
            periods.checked(timezone)
        except ValueError as error:
            raise UsageError(f"--timezone: {error}") from None
    if os.path.lexists(path):
        Records.read(path).close()  # brings one of an older version up to date
    else:
        from batchgen.ledger.writer import Ledger

        Ledger.open(path, origin=api).close()
    limits = {name: None if isinstance(value, str) else value for name, value in given.items()}
    set_budgets(path, limits, timezone, usual=machine_zone(os.environ), at=time.time(), by=who())


def machine_zone(environ: Mapping[str, str]) -> str:
    """The IANA name of this machine's time zone; UTC where it has none."""
    link = os.path.realpath("/etc/localtime").rpartition("/zoneinfo/")[2]
    for name in (environ.get("TZ", "").removeprefix(":"), link):
        try:
            return periods.checked(name)
        except ValueError:
            continue
    return "UTC"


def _text(path: str, setting: Setting | None, uses: Sequence[Use]) -> Iterator[str]:
    yield path
    if setting is None:
        yield f"  {_NONE_SET}"
        return
    for use in uses:
        if use.limit is None:
            yield f"  {use.period:<6} {shown(use.spent)} spent or held, no limit"
        else:
            of = f"{shown(use.spent)} of {shown(use.limit)} spent or held, {shown(use.left or 0)} left"
            yield f"  {use.period:<6} {of}; it ends {use.end}"
    yield f"  set {iso(setting.at)}{f' by {setting.by}' if setting.by else ''}"


def _setting_text(setting: Setting) -> str:
    parts = (
        f"{name} {'none' if limit is None else shown(limit)}"
        for name, limit in zip(periods.NAMES, setting.limits, strict=True)
    )
    by = f", by {setting.by}" if setting.by else ""
    return f"{iso(setting.at)}  {', '.join(parts)}, in {setting.timezone}{by}"


def _setting_object(setting: Setting) -> dict[str, Any]:
    limits = {
        f"{name}_usd": None if limit is None else dollars(limit)
        for name, limit in zip(periods.NAMES, setting.limits, strict=True)
    }
    return {"at": iso(setting.at), **limits, "timezone": setting.timezone, "by": setting.by}
