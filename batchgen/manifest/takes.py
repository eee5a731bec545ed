"""``take`` and ``takes``: which take of a job is asked for, or how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchgen.request.schema import Finding

MOST = 100  # takes of one job, as in the schema


def merged(before: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``own`` over those of ``before``: a ``take`` there takes the place of ``takes`` here, and vice versa."""
    fields = {**before, **own}
    if "take" in fields and "takes" in fields:  # seldom
        for name, other in (("take", "takes"), ("takes", "take")):
            if name in own and other in before and other not in own:
                del fields[other]
    return fields


def conflict(fields: Mapping[str, Any]) -> list[Finding]:
    """What is wrong where one place has both."""
    both = fields.get("take") is not None and fields.get("takes") is not None
    text = "says how many takes there are, and take says which one: write one of the two"
    return [Finding(("takes",), text)] if both else []


def count(value: Any) -> int:
    """How many takes a checked or unchecked value of ``takes`` asks for."""
    return value if type(value) is int and 0 < value <= MOST else 1
