"""Reads a row of JSON Lines strictly: one object, no key twice, no number that JSON doesn't have."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from batchgen import limits
from batchgen.escapes import excerpt
from batchgen.manifest.yaml12 import YamlError


def object_of(text: str) -> dict[str, Any]:
    """The object in a line of JSON. Raises YamlError."""
    try:
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise YamlError(1, error.colno, f"this is not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        if "int_max_str_digits" in reason:
            reason = "a number of thousands of digits; put it in quotes if it is text"
        raise YamlError(1, 1, reason) from None
    if not isinstance(fields, dict):
        raise YamlError(1, 1, "a row is a JSON object: {...}")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > limits.COLUMNS:
        raise ValueError(f"more than {limits.COLUMNS:,} keys")
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        ((twice, _),) = counts.most_common(1)
        raise ValueError(f'the key "{excerpt(twice)}" stands twice')
    return made


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON; leave the key out where there is no value")
