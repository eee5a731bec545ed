"""Checks of JSON values. Each function here returns a check that raises a :class:`Refusal` with the place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

Check = Callable[[str, Any], None]


class Refusal(Exception):
    """The API's answer to a request that it can't take."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def wrong(where: str, what: str) -> Refusal:
    return Refusal(1201, f"{where} {what}")


def text(limit: int | None = None, *, least: int = 0) -> Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, str):
            raise wrong(where, "must be a string")
        if len(value) < least:
            raise wrong(where, "cannot be empty")
        if limit is not None and len(value) > limit:
            raise wrong(where, f"exceeds {limit} characters")

    return check


def choice(*options: str) -> Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, str) or value not in options:
            raise wrong(where, f"must be one of {', '.join(options)}")

    return check


def flag(where: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise wrong(where, "must be a boolean")


def integer(low: int, high: int) -> Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(where, "must be an integer")
        if not low <= value <= high:
            raise wrong(where, f"must be within {low} ~ {high}")

    return check


def number(low: float, high: float) -> Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise wrong(where, "must be a number")
        if not low <= value <= high:
            raise wrong(where, f"must be within {low:g} ~ {high:g}")

    return check


def array(item: Check, low: int = 0, high: int | None = None) -> Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, list):
            raise wrong(where, "must be an array")
        if len(value) < low or (high is not None and len(value) > high):
            raise wrong(where, f"must have {low} to {high} items")
        for number, one in enumerate(value):
            item(f"{where}[{number}]", one)

    return check


def obj(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    known = {**required, **(optional or {})}

    def check(where: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise wrong(where, "must be an object")
        for name in required:
            if name not in value:
                raise wrong(f"{where}.{name}", "is required")
        for name, one in value.items():
            if name not in known:
                raise wrong(f"{where}.{name}", "is not a known field")
            known[name](f"{where}.{name}", one)

    return check


def web_address(where: str, value: Any) -> None:
    text()(where, value)
    if value and not is_url(value):
        raise wrong(where, "must be an http(s) URL")


def is_url(value: str) -> bool:
    if value[:8].lower().startswith(("http://", "https://")):
        try:
            parts = urlsplit(value)
            return bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", value)
        except ValueError:
            return False
    return False
