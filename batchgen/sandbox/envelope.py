"""The API's envelope and its codes."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

Document = dict[str, Any]

# The API's codes: HTTP status and message.
CODES: dict[int, tuple[int, str]] = {
    0: (200, "SUCCEED"),
    1000: (401, "authentication failed"),
    1001: (401, "authorization is empty"),
    1002: (401, "authorization is invalid"),
    1003: (401, "authorization is not yet valid"),
    1004: (401, "authorization has expired"),
    1100: (429, "account exception"),
    1101: (429, "account in arrears"),
    1102: (429, "resource pack depleted or expired"),
    1103: (403, "unauthorized access to the requested resource"),
    1200: (400, "invalid request parameters"),
    1201: (400, "invalid parameters"),
    1202: (404, "the requested method is invalid"),
    1203: (404, "the requested resource does not exist"),
    1300: (400, "the platform's policy was triggered"),
    1301: (400, "the content security policy was triggered"),
    1302: (429, "too many requests"),
    1303: (429, "parallel task over resource pack limit"),
    1304: (429, "the address is not on the IP allow list"),
    5000: (500, "server internal error"),
    5001: (503, "server temporarily unavailable, under maintenance"),
    5002: (504, "server internal timeout"),
}


def envelope(code: int, message: str = "", data: Document | None = None, request_id: str = "") -> Document:
    """The API's envelope; ``data`` is left out where it is None, as for calls that failed."""
    document: Document = {"code": code, "message": message or CODES[code][1]}
    if data is not None:
        document["data"] = data
    document["request_id"] = request_id
    return document


def answer(document: Document, status: int = 200, **headers: str) -> web.Response:
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return web.Response(
        body=body,
        status=status,
        content_type="application/json",
        charset="utf-8",
        headers={name.replace("_", "-"): value for name, value in headers.items()} or None,
    )
