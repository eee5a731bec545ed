"""The two schemas, and what is wrong with somebody's data in words for that person.

The documents in ``schemas/`` are the only place where the API's fields and the manifest's keys are listed. Here
they are read twice: by ``natural``, which learns from them which other forms of a value people type, and by the
``check_*`` functions, which hold data to the API's own form. Two conventions make that possible:

- Of an ``anyOf`` in the manifest's schema the first member is the API's form; the others are natural ones.
- A condition between keys is a member of an ``allOf`` with a ``description``, which is the text of its finding.

One mistake makes one finding: a condition is not judged where one of its keys has a finding of its own.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from batchgen import wording
from batchgen.errors import UsageError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Path = tuple[str | int, ...]
Reader = Callable[[Any], Any]

FILES = {"request": "image2video.schema.json", "manifest": "manifest.schema.json"}

_WORDS = {**dict.fromkeys(("true", "yes", "on"), True), **dict.fromkeys(("false", "no", "off"), False)}
_WORDS |= {spelt: value for word, value in _WORDS.items() for spelt in (word.title(), word.upper())}
_LONGEST_NUMBER = 60  # characters; Python refuses to read numbers of thousands of digits
_UNPRINTABLE = (RecursionError, ValueError)  # the validator prints a bad value, which Python may refuse
_INT64 = range(-(2**63), 2**63)


class Finding(NamedTuple):
    """One thing that is wrong. ``path`` leads from the checked data to the place where to look."""

    path: Path
    text: str


@cache
def load(name: str) -> dict[str, Any]:
    """The schema document ``"request"`` or ``"manifest"``; shared, so not to be changed."""
    here = FilePath(__file__).parent
    for folder in (here, here.parent):  # a wheel; a checkout or an editable install
        with suppress(FileNotFoundError):
            document: dict[str, Any] = json.loads((folder / "schemas" / FILES[name]).read_bytes())
            return document
    raise UsageError(f"batchgen is not installed completely: {FILES[name]} is missing; install it again")


def check_request(request: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a whole request, conditions between its keys included; images are ``str``."""
    return [] if is_valid(request) else _check("request", request)


def is_valid(request: Mapping[str, Any]) -> bool:
    """Whether ``check_request`` finds nothing, without saying what.

    Asked for every job, so another validator answers, in a hundredth of the time; a test holds the two equal.
    """
    return _is_good("request", request)


def check_entry(kind: str, data: Any) -> list[Finding]:
    """What is wrong with a part of a manifest by itself: keys, types, ranges, lengths; ``data`` went through ``natural``.

    ``kind`` is ``"manifest"`` (the top level; the contents of defaults and jobs are not looked at), ``"defaults"``,
    ``"inline"``, ``"folder"``, ``"table"``, ``"row"`` or ``"sidecar"``.
    """
    return [] if _is_good(kind, data) else _check(kind, data)


# -- natural forms ---------------------------------------------------------------------------------------------------


def natural(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    """``fields`` with what people type turned into the API's types, where it can mean only one thing.

    Knows the keys of jobs and the manifest's own, and leaves everything else, defaults and jobs too, as it is.
    Text that is JSON is read where a list or an object belongs, as in the cells of a table. Never raises.
    """
    return _read_all(_readers(), fields)


def cell_readers(columns: Iterable[str]) -> list[tuple[str, Reader]]:
    """The columns of a table whose text may stand for something else than text, and what reads it."""
    readers = _readers()
    return [(name, readers[name]) for name in columns if readers.get(name, _read_text) is not _read_text]


def _read_all(readers: Mapping[str, Reader], fields: Mapping[Any, Any]) -> dict[Any, Any]:
    read = dict(fields)
    for key in readers.keys() & fields.keys():
        read[key] = readers[key](fields[key])
    return read


@cache
def _readers() -> dict[str, Reader]:
    document = load("manifest")
    groups = (document, document["$defs"]["keys"], document["$defs"]["fields"])
    return {name: reader for group in groups for name, reader in _readers_of(group["properties"])}


def _readers_of(properties: Mapping[str, Any]) -> Iterator[tuple[str, Reader]]:
    for name, schema in properties.items():
        if "anyOf" in schema:
            yield name, _reader(schema["anyOf"])


def _reader(forms: Sequence[Mapping[str, Any]]) -> Reader:
    """What turns the natural ``forms``, all but the first, into the first."""
    kind = _resolved(forms[0], "manifest")["type"]
    names = {form.get("type", form.get("$ref")) for form in forms[1:]}
    shape: Mapping[str, Any] = next((form for form in forms[1:] if form.get("type") == kind), {})
    match kind:
        case "string":
            return _read_switch_text if "boolean" in names else _read_text
        case "boolean":
            return _read_switch
        case "integer" | "number":
            return partial(_read_number, whole=kind == "integer")
        case "object":
            return partial(_read_object, readers=dict(_readers_of(shape.get("properties", {}))))
        case _:
            inner = shape.get("items", {}).get("properties", {})
            return partial(_read_list, readers=dict(_readers_of(inner)))


def _read_text(value: Any) -> Any:
    return str(value) if type(value) is int and value in _INT64 else value


def _read_switch(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _read_switch_text(value: Any) -> Any:
    value = _read_switch(value)
    return ("on" if value else "off") if isinstance(value, bool) else value


def _read_number(value: Any, *, whole: bool) -> Any:
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _number_pattern().fullmatch(value):
        number = float(value) if set(value) & set(".eE") else int(value)
        value = number if math.isfinite(number) else value
    if whole and isinstance(value, float) and value.is_integer() and int(value) in _INT64:
        return int(value)
    return value


@cache
def _number_pattern() -> re.Pattern[str]:
    return re.compile(load("manifest")["$defs"]["number"]["pattern"])


def _read_list(value: Any, *, readers: Mapping[str, Reader]) -> Any:
    value = _read_json(value, "[")
    if not isinstance(value, list):
        return value
    return [_read_all(readers, item) if isinstance(item, Mapping) else item for item in value]


def _read_object(value: Any, *, readers: Mapping[str, Reader]) -> Any:
    value = _read_json(value, "{")
    return _read_all(readers, value) if isinstance(value, Mapping) else value


def _read_json(value: Any, start: str) -> Any:
    if not isinstance(value, str) or not value.lstrip(" \t\r\n").startswith(start):
        return value
    try:
        return json.loads(value, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


# -- checking --------------------------------------------------------------------------------------------------------


@cache
def _schema(kind: str) -> Any:
    """One schema without references, holding values to the API's own form."""
    if kind == "request":
        return _resolved(load("request"), "request")
    if kind != "manifest":
        return _resolved(load("manifest")["$defs"][kind], "manifest")
    document = load("manifest")
    shallow = {"defaults": {"type": "object"}, "jobs": {**document["properties"]["jobs"], "items": {}}}
    return _resolved({**document, "properties": {**document["properties"], **shallow}}, "manifest")


def _resolved(node: Any, document: str) -> Any:
    """``node`` of ``document`` with every reference replaced by what it names, and every anyOf of natural forms
    by its first member.
    """
    if isinstance(node, list):
        return [_resolved(item, document) for item in node]
    if not isinstance(node, dict):
        return node
    rest: dict[str, Any] = {key: value for key, value in node.items() if key != "$defs"}
    merged: dict[str, Any] = {}
    if "$ref" in rest:
        file, pointer = rest.pop("$ref").split("#")
        target_document = "request" if file else document
        target: Any = load(target_document)
        for part in pointer.strip("/").split("/"):
            target = target[part]
        merged = _resolved(target, target_document)
    if document == "manifest" and "anyOf" in rest:
        merged = {**merged, **_resolved(rest.pop("anyOf")[0], document)}
    if "properties" in rest:  # a bare false would hide from the validator's errors which key it stood at
        rest["properties"] = {k: {"not": {}} if v is False else v for k, v in rest["properties"].items()}
    return {**merged, **{key: _resolved(value, document) for key, value in rest.items()}}


def _is_good(kind: str, data: Any) -> bool:
    """The quick validator's word. It takes half a surrogate pair for text, which orjson refuses to write."""
    try:
        return bool(_judge(kind).is_valid(data)) and bool(orjson.dumps(data))
    except (*_UNPRINTABLE, TypeError):
        return False


@cache
def _judge(kind: str) -> Any:
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(_schema(kind))


@cache
def _validator(kind: str) -> Validator:
    from jsonschema import Draft202012Validator, validators  # takes longer to import than --version may take

    checker = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "string": lambda _, value: isinstance(value, str) and _is_unicode(value),
            "number": lambda _, value: _is_number(value),
            "integer": lambda _, value: _is_number(value) and value == int(value),
        }
    )
    extend: Any = validators.extend  # has no types
    validator: Validator = extend(Draft202012Validator, type_checker=checker)(_schema(kind))
    return validator


def _is_number(value: Any) -> bool:
    """JSON knows neither NaN nor infinity; YAML and Python do."""
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can spell and UTF-8 can't hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(kind: str, data: Any) -> list[Finding]:
    try:
        errors = list(_validator(kind).iter_errors(data))
    except _UNPRINTABLE:
        return [Finding((), "holds a value that is nested too deeply, or a number of thousands of digits")]
    return _findings(kind, errors) if errors else []


def _findings(kind: str, errors: Sequence[Any]) -> list[Finding]:
    """The ``errors`` (jsonschema.ValidationError, whose types would have every part unset) in our words."""
    found: dict[Path, str] = {}
    meant: set[Path] = set()  # known keys that an unknown one probably stands for: not missing as well
    broken: dict[tuple[Path, int], tuple[Condition, Any]] = {}
    plain: list[Any] = []
    for error in errors:
        path: Path = tuple(error.absolute_path)
        if condition := _condition(kind, error):
            broken.setdefault((condition.holder, id(condition.member)), (condition, error))
        elif error.validator == "additionalProperties":
            allowed = list(error.schema["properties"])
            elsewhere = () if path or kind == "request" else _manifest_keys()
            for key in (key for key in error.instance if key not in allowed):
                guess, text = wording.unknown_key(key, allowed, kind, elsewhere)
                found[(*path, key if type(key) in (str, int) else str(key))] = text
                meant.add((*path, guess))
        else:
            plain.append(error)
    for error in plain:
        path = tuple(error.absolute_path)
        if error.validator == "required":
            absent = [k for k in error.validator_value if k not in error.instance and (*path, k) not in meant]
            if absent:
                found[path] = wording.missing_keys(absent, error.schema["properties"])
        elif path not in found or error.validator in ("enum", "const"):  # these say more than the type does
            found[path] = wording.bad_value(error)
    findings = [Finding(path, text) for path, text in found.items()]
    for condition, error in broken.values():
        touched = {(*condition.holder, key) for key in condition.keys}
        if touched.isdisjoint(found) and touched.isdisjoint(meant):
            findings.append(Finding(condition.place(error), condition.member["description"]))
    return findings


@cache
def _manifest_keys() -> frozenset[str]:
    """Every key that some part of a manifest knows."""
    document = load("manifest")
    definitions = document["$defs"]
    return frozenset(
        (*document["properties"], *definitions["keys"]["properties"], *definitions["fields"]["properties"])
    )


class Condition(NamedTuple):
    """A condition between keys of the object at ``holder``."""

    holder: Path
    member: Mapping[str, Any]

    @property
    def keys(self) -> list[str]:
        return list(dict.fromkeys(_keys_in(self.member)))

    def place(self, error: Any) -> Path:
        """Where to look: the key that must go, or the one that asks for the missing one."""
        if error.validator == "required":
            return next(((*self.holder, key) for key in self.keys if key in error.instance), self.holder)
        return tuple(error.absolute_path)


def _condition(kind: str, error: Any) -> Condition | None:
    node: Any = _schema(kind)
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
