"""Turns the errors of a schema's validator into findings, one for each mistake.

A condition between keys is skipped where one of its keys has a finding of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from batchgen.request import messages

Path = tuple[str | int, ...]


class Finding(NamedTuple):
    """One thing that is wrong. ``path`` leads from the top of the checked data to it."""

    path: Path
    text: str


def findings(
    kind: str, errors: Sequence[Any], schema: Mapping[str, Any], manifest_keys: Collection[str]
) -> list[Finding]:
    """Describe the ``errors`` (``jsonschema.ValidationError``) of data that was checked against ``schema``.

    ``kind`` is that of :func:`batchgen.request.schema.check_entry`, or ``"request"``, or ``"config"``. ``manifest_keys`` are all keys of
    manifests, so that one in a wrong place is recognised.
    """
    found: dict[Path, str] = {}
    meant: set[Path] = set()  # known keys that an unknown one probably stands for: not missing as well
    broken: dict[tuple[Path, int], tuple[Condition, Any]] = {}
    plain: list[Any] = []
    for error in itertools.chain.from_iterable(map(_told, errors)):
        path: Path = tuple(error.absolute_path)
        if condition := _condition(schema, error):
            broken.setdefault((condition.holder, id(condition.member)), (condition, error))
        elif error.validator == "additionalProperties":
            allowed = list(error.schema["properties"])
            elsewhere = () if path or kind in ("request", "config") else manifest_keys
            for key in (key for key in error.instance if key not in allowed):
                guess, text = messages.unknown_key(key, allowed, kind, elsewhere)
                found[(*path, key if type(key) in (str, int) else str(key))] = text
                meant.add((*path, guess))
        else:
            plain.append(error)
    for error in plain:
        path = tuple(error.absolute_path)
        if error.validator == "required":
            absent = [k for k in error.validator_value if k not in error.instance and (*path, k) not in meant]
            if absent:
                found[path] = messages.missing_keys(absent, error.schema["properties"])
        elif path not in found or error.validator in ("enum", "const"):  # these say more than the type does
            found[path] = messages.bad_value(error)
    listed = [Finding(path, text) for path, text in found.items()]
    for condition, error in broken.values():
        touched = {(*condition.holder, key) for key in condition.keys}
        if touched.isdisjoint(found) and touched.isdisjoint(meant):
            listed.append(Finding(condition.place(error), condition.member["$comment"]))
    return listed


def _told(error: Any) -> Iterator[Any]:
    """The errors to tell of in place of one: of a set of keys those inside of it, where true or false would do, too."""
    is_switch = error.validator == "oneOf" and error.validator_value[0].get("type") == "boolean"
    if is_switch and isinstance(error.instance, Mapping):
        yield from (one for one in error.context if one.schema_path[0] == 1)
    else:
        yield error


class Condition(NamedTuple):
    """A condition between keys of the object at ``holder``."""

    holder: Path
    member: Mapping[str, Any]

    @property
    def keys(self) -> list[str]:
        return list(dict.fromkeys(_keys_in(self.member)))

    def place(self, error: Any) -> Path:
        """The path of the key that must go, or of the one that requires the missing key."""
        if error.validator == "required":
            return next(((*self.holder, key) for key in self.keys if key in error.instance), self.holder)
        return tuple(error.absolute_path)


def _condition(node: Any, error: Any) -> Condition | None:
    holder: Path = ()
    steps = iter(error.absolute_schema_path)
    for step in steps:
        if step == "allOf":
            return Condition(holder, node[step][next(steps)])
        if step not in ("properties", "items"):
            return None
        node = node[step][next(steps)] if step == "properties" else node[step]
        holder = tuple(error.absolute_path)[: len(holder) + 1]
    return None


def _keys_in(condition: Any) -> Iterator[str]:
    for keyword, value in condition.items():
        if keyword in ("required", "properties"):
            yield from value
        elif isinstance(value, Mapping):
            yield from _keys_in(value)
        elif isinstance(value, list):
            for member in value:
                yield from _keys_in(member)
