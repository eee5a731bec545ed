"""The configuration file: a person's, else the machine's. So far it has prices alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from batchgen.amounts import dollars, micros
from batchgen.errors import ManifestError, UsageError
from batchgen.files import open_regular
from batchgen.models import Place, Problem
from batchgen.money.prices import BUILT_IN, VOICE, Prices, with_voice

MACHINE = "/etc/batchgen/config.yaml"
LARGEST_FILE = 1 << 20  # bytes


def path(environ: Mapping[str, str]) -> str | None:
    """The file that counts: ``$XDG_CONFIG_HOME/batchgen/config.yaml``, else the machine's; None where neither is there."""
    folder = environ.get("XDG_CONFIG_HOME") or ""
    if not os.path.isabs(folder):
        folder = os.path.join(os.path.expanduser("~"), ".config")
    own = os.path.join(folder, "batchgen", "config.yaml")
    return next(filter(os.path.lexists, (own, MACHINE)), None)


def prices(environ: Mapping[str, str]) -> Prices:
    """The prices of the configuration file, where it has any, else those that are built in.

    Raises ManifestError with every problem of the file, by place, and UsageError where it can't be read.
    """
    file = path(environ)
    if file is None:
        return BUILT_IN
    from batchgen.manifest import yaml12
    from batchgen.manifest.locations import Document, subject
    from batchgen.request import schema

    try:
        with open(file, "rb", opener=open_regular) as opened:
            data = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"the configuration {file} can't be read: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise UsageError(f"the configuration {file} has more than {LARGEST_FILE:,} bytes")
    try:
        content = yaml12.load(data)
    except yaml12.YamlError as error:
        raise ManifestError([Problem(Place(file, error.line, error.column), "", error.text)]) from None
    content = {} if content is None else content
    found = [(one.path, one.text) for one in schema.check_config(content)] or list(_inexact(content))
    if found:
        document = Document(file, data)
        raise ManifestError([Problem(document.place(at), subject("", None, at), text) for at, text in found])
    return _prices(content.get("prices"))


def _inexact(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What no schema says: a date that no calendar has, and amounts that are finer than a micro-dollar."""
    given = content.get("prices")
    if given is None:
        return
    try:
        date.fromisoformat(given["read_on"])
    except ValueError:
        yield ("prices", "read_on"), "is no date; write 2026-01-31"
    amounts = [("unit_usd", given["unit_usd"])] if "unit_usd" in given else []
    by_sound = given.get("per_second_usd", {})
    where = [((name,), amount) for name, amount in amounts]
    found = [
        (("per_second_usd", sound, mode), price)
        for sound in by_sound
        for mode, price in by_sound[sound].items()
    ]
    for at, amount in (*where, *found):
        if dollars(micros(amount)) != amount:
            yield ("prices", *at), "is finer than a millionth of a dollar, or has too many digits"


def _prices(given: Mapping[str, Any] | None) -> Prices:
    """The built-in prices with those that are given, and for voices the bound that follows from them."""
    if given is None:
        return BUILT_IN
    own = {
        (sound, mode): micros(price)
        for sound, modes in given.get("per_second_usd", {}).items()
        for mode, price in modes.items()
    }
    published = {key: price for key, price in BUILT_IN.per_second.items() if key[0] != VOICE}
    unit = micros(given["unit_usd"]) if "unit_usd" in given else BUILT_IN.unit
    return replace(BUILT_IN, per_second=with_voice({**published, **own}), unit=unit, read_on=given["read_on"])
