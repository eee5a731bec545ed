"""The two schemas: reads data in the forms that people type, and checks it against the API's form.

The documents in ``schemas/`` are the only place where the API's fields and the manifest's keys are listed. Here
they are used twice: ``natural`` learns from them which other forms of a value people type, and the ``check_*``
functions check data against the API's own form. Two conventions make that possible:

- Of an ``anyOf`` in the manifest's schema the first member is the API's form; the others are natural ones.
- A condition between keys is a member of an ``allOf``; its ``$comment`` is the text of its finding, and so is that of a
  ``pattern``. A ``description`` there would take the place of the key's own when an editor shows it.

Conditions between the keys of an entry or a manifest are for editors: batchgen checks those of whole requests.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import orjson

from batchgen.errors import UsageError
from batchgen.request.findings import Finding, Path, findings
from batchgen.request.json_text import is_utf8

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ("Finding", "Path", "cell_readers", "check_entry", "check_request", "is_valid", "load", "natural")

Reader = Callable[[Any], Any]

FILES = {
    "request": "image2video.schema.json",
    "manifest": "manifest.schema.json",
    "config": "config.schema.json",
}

_WORDS = {**dict.fromkeys(("true", "yes", "on"), True), **dict.fromkeys(("false", "no", "off"), False)}
_WORDS |= {spelt: value for word, value in _WORDS.items() for spelt in (word.title(), word.upper())}
_LONGEST_NUMBER = 60  # characters; Python refuses to read numbers of thousands of digits
_EXACT = 2**53  # from here on, several whole numbers are the same float
_NOT_DIGITS = re.compile("[^0-9]")
_UNPRINTABLE = (RecursionError, ValueError)  # raised where a bad value is too deep or too long to print
_INT64 = range(-(2**63), 2**63)


def path(name: str) -> FilePath:
    """The file of the schema ``"request"``, ``"manifest"`` or ``"config"``. Raises UsageError where it isn't installed."""
    here = FilePath(__file__).parent.parent
    for folder in (here, here.parent):  # a wheel; a checkout or an editable install
        file = folder / "schemas" / FILES[name]
        if file.is_file():
            return file
    raise UsageError(f"batchgen is not installed completely: {FILES[name]} is missing; install it again")


@cache
def load(name: str) -> dict[str, Any]:
    """The schema document of one of these names; shared, so it must not be changed. Raises UsageError."""
    document: dict[str, Any] = json.loads(path(name).read_bytes())
    return document


def check_request(request: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a whole request, conditions between its keys included; its images are ``str``."""
    return [] if is_valid(request) else _check("request", request)


def check_config(data: Any) -> list[Finding]:
    """What is wrong with a configuration file: keys, types, ranges."""
    return [] if _is_good("config", data) else _check("config", data)


def is_valid(request: Mapping[str, Any]) -> bool:
    """Whether ``check_request`` would find nothing.

    This is asked for every job, so a validator answers that takes a hundredth of the time; a test holds the two equal.
    """
    return _is_good("request", request)


def check_entry(kind: str, data: Any) -> list[Finding]:
    """What is wrong with one part of a manifest: keys, types, ranges, lengths; ``data`` comes from ``natural``.

    ``kind`` is ``"manifest"`` (the top level; the contents of defaults and jobs are not looked at), ``"defaults"``,
    ``"inline"``, ``"folder"``, ``"table"``, ``"row"`` or ``"sidecar"``.
    """
    return [] if _is_good(kind, data) else _check(kind, data)


def is_manifest(content: Mapping[Any, Any]) -> bool:
    """Whether a file may be meant as a manifest: at least one of its keys is a manifest's."""
    return not load("manifest")["properties"].keys().isdisjoint(content)


# -- natural forms ---------------------------------------------------------------------------------------------------


def natural(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    """``fields`` with values as people type them turned into the API's types, where they can mean only one thing.

    Knows the keys of jobs and the manifest's own, and leaves everything else as it is, ``defaults`` and ``jobs`` too.
    Text that is JSON is parsed where a list or an object belongs, as in the cells of a table. Never raises.
    """
    return _read_all(_readers(), fields)


def cell_readers(columns: Iterable[str]) -> list[tuple[str, Reader]]:
    """The columns of a table whose text may mean another type, each with the function that reads it."""
    readers = _readers()
    return [(name, readers[name]) for name in columns if readers.get(name, _read_text) is not _read_text]


def _read_all(readers: Mapping[str, Reader], fields: Mapping[Any, Any]) -> dict[Any, Any]:
    read = dict(fields)
    for key, value in fields.items():
        if key in readers:
            read[key] = readers[key](value)
    return read


@cache
def _readers() -> dict[str, Reader]:
    document = load("manifest")
    groups = (document, document["$defs"]["keys"], document["$defs"]["fields"])
    return {name: reader for group in groups for name, reader in _readers_of(group["properties"]).items()}


def _readers_of(properties: Mapping[str, Any]) -> dict[str, Reader]:
    """The readers of an object's values, for each of its ``properties`` that has natural forms."""
    readers = {name: _reader(schema) for name, schema in properties.items()}
    return {name: reader for name, reader in readers.items() if reader is not None}


def _reader(schema: Mapping[str, Any]) -> Reader | None:
    """The function that turns a value's natural forms (all of an anyOf but the first) into the first; None without any."""
    forms = schema.get("anyOf", [schema])
    first = forms[0]
    kinds = {form.get("type", form.get("$ref", "").rpartition("/")[2]) for form in forms[1:]}
    if "oneOf" in first:  # a switch, or a set of keys
        return partial(_read_switch_or_object, readers=_readers_of(first["oneOf"][1]["properties"]))
    match _resolved(first, "manifest").get("type"):
        case "object":
            readers = _readers_of(first.get("properties", {}))
            return partial(_read_object, readers=readers, as_text="json_object" in kinds) if readers else None
        case "array":
            inner = _reader(first.get("items", {}))
            return partial(_read_list, inner=inner, as_text="json_list" in kinds) if inner else None
        case "string" if "seconds" in kinds:
            return _read_seconds
        case "string" if "boolean" in kinds:
            return _read_switch_text
        case "string" if "integer" in kinds:
            return _read_text
        case "boolean" if "switch" in kinds:
            return read_switch
        case "integer" | "number" as kind if "number" in kinds:
            return partial(_read_number, whole=kind == "integer")
    return None


def _read_text(value: Any) -> Any:
    return str(value) if type(value) is int and value in _INT64 else value


def read_switch(value: Any) -> Any:
    """true or false for the words that people type for them: ``yes``, ``off``; anything else as it is."""
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _read_switch_or_object(value: Any, *, readers: Mapping[str, Reader]) -> Any:
    return _read_object(read_switch(value), readers=readers, as_text=True)


def _read_switch_text(value: Any) -> Any:
    value = read_switch(value)
    return ("on" if value else "off") if isinstance(value, bool) else value


def _read_number(value: Any, *, whole: bool) -> Any:
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _pattern("number").fullmatch(value):
        number = float(value) if set(value) & set(".eE") else int(value)
        if not math.isfinite(number) or (whole and isinstance(number, float) and abs(number) >= _EXACT):
            return value  # a spreadsheet's 8.29827E+17 is no id any more
        value = number
    if whole and isinstance(value, float) and value.is_integer() and int(value) in _INT64:
        return int(value)
    return value


def _read_seconds(value: Any) -> Any:
    """Seconds as the API's text: 5, 5.0, "5.0", "5s" and "5 seconds" become "5"."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and value[0] != "0":
        return value  # nearly always
    if isinstance(value, str) and _pattern("seconds").fullmatch(value):
        return str(int(_NOT_DIGITS.split(value)[0]))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _read_text(value)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(load("manifest")["$defs"][name]["pattern"])


def _read_list(value: Any, *, inner: Reader, as_text: bool) -> Any:
    value = _read_json(value, "[") if as_text else value
    return [inner(item) for item in value] if isinstance(value, list) else value


def _read_object(value: Any, *, readers: Mapping[str, Reader], as_text: bool) -> Any:
    value = _read_json(value, "{") if as_text else value
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
    """The schema for data of a kind, without references, in the API's own form."""
    if kind in ("request", "config"):
        return _resolved(load(kind), kind)
    document = load("manifest")
    definitions = document["$defs"]
    if kind == "manifest":
        shallow = {"defaults": {"type": "object"}, "jobs": {**document["properties"]["jobs"], "items": {}}}
        entry = {**document, "properties": {**document["properties"], **shallow}}
    elif kind == "row":  # an inline job, whose prompts are filled in later
        inline = definitions["inline"]
        entry = {**inline, "properties": {**inline["properties"], **definitions["templates"]["properties"]}}
    else:
        entry = definitions[kind]
    return _resolved({key: value for key, value in entry.items() if key not in ("allOf", "$id")}, "manifest")


def _resolved(node: Any, document: str) -> Any:
    """``node`` of ``document`` with every ``$ref`` replaced by its target, and every anyOf of natural forms by its first."""
    if isinstance(node, list):
        return [_resolved(item, document) for item in node]
    if not isinstance(node, dict):
        return node
    rest: dict[str, Any] = {key: value for key, value in node.items() if key not in ("$defs", "$id")}
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
    """Whether the quick validator finds nothing. It takes lone surrogates for text, so orjson has to write the data, too."""
    try:
        return bool(_quick_validator(kind).is_valid(data)) and bool(orjson.dumps(data))
    except (*_UNPRINTABLE, TypeError):
        return False


@cache
def _quick_validator(kind: str) -> Any:
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(_schema(kind))


@cache
def _validator(kind: str) -> Validator:
    from jsonschema import Draft202012Validator, validators  # takes longer to import than --version may take

    checker = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "string": lambda _, value: isinstance(value, str) and is_utf8(value),
            "number": lambda _, value: _is_number(value),
            "integer": lambda _, value: _is_number(value) and value == int(value),
        }
    )
    extend: Any = validators.extend  # has no types
    validator: Validator = extend(Draft202012Validator, type_checker=checker)(_schema(kind))
    return validator


def _is_number(value: Any) -> bool:
    """Whether a value is a number of JSON, which has neither NaN nor infinity, unlike YAML and Python."""
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _check(kind: str, data: Any) -> list[Finding]:
    try:
        errors = list(_validator(kind).iter_errors(data))
    except _UNPRINTABLE:
        return [Finding((), "holds a value that is nested too deeply, or a number of thousands of digits")]
    return findings(kind, errors, _schema(kind), _manifest_keys()) if errors else []


@cache
def _manifest_keys() -> frozenset[str]:
    """Every key that some part of a manifest knows."""
    document = load("manifest")
    definitions = document["$defs"]
    groups = (document, definitions["keys"], definitions["fields"])
    return frozenset(key for group in groups for key in group["properties"])


@cache
def defaults() -> Mapping[str, Any]:
    """The specification's default values, by field."""
    fields = load("request")["properties"]
    return {name: field["default"] for name, field in fields.items() if "default" in field}
