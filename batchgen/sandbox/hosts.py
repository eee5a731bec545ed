"""The hosts of clips: a task's files, their addresses in an answer, and how their host answers a request.

A host has the name of the fault that puts a task's clip there; the clip of a task without one is at an ordinary host.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web

from batchgen.sandbox import video
from batchgen.sandbox.tasks import Task

LATE = 2.0  # seconds after a task's end in which its file is not there yet
SIGNED_FOR = 1.5  # seconds that a signed address is valid
LARGE = 250_000  # bytes of a clip whose downloads break off
BREAKS = 150_000  # bytes after which they do

_STATUSES = (404, 403, 410, 503)  # of a file that isn't there yet
_SIGNED = ("clip_signed", "clip_breaks")
_QUERY = "~a=~%7E'%27%2f%2F(%28!%21,%2C&@:=%40%3A&empty=&bare"  # a query that many libraries would rewrite, which breaks its signature


class Served(NamedTuple):
    """An answer to a request for a file; ``breaks``: how many bytes of it come, None for all."""

    response: web.Response
    breaks: int | None = None


def files(task: Task) -> list[str]:
    """The names of a task's files, the clip itself first; none where the task fails."""
    return [] if task.failure else [name for pair in _entries(task) for name in pair if name]


def task_of(name: str) -> str:
    """The id of the task that a file belongs to."""
    return name.partition("-")[0]


def content(task: Task, name: str, clip: bytes) -> bytes:
    """A file's bytes; ``clip`` is what all files of its task have in common."""
    whole = video.clip(name, clip)
    if task.host == "clip_breaks":
        size = LARGE - len(whole)
        return whole + size.to_bytes(4, "big") + b"free" + bytes(size - 8)
    tails = {"clip_tail": bytes(3), "clip_odd": (4096).to_bytes(4, "big") + b"free" + bytes(40)}
    return whole + tails.get(task.host, b"")


def videos(task: Task, base_url: str, now: float) -> list[dict[str, Any]]:
    """``task_result.videos`` of a query's answer."""
    found: list[dict[str, Any]] = []
    for number, (plain, marked) in enumerate(_entries(task), 1):
        entry = {"id": f"v{task.id}" if number == 1 else f"v{task.id}-{number}"}
        entry["url"] = _address(task, plain, base_url, now) if plain else ""
        entry["duration"] = task.seconds
        if marked:
            entry["watermark_url"] = _address(task, marked, base_url, now)
        found.append(entry)
    return found


def serve(
    task: Task, name: str, request: web.Request, now: float, *, elsewhere: str, authorized: bool, clip: bytes
) -> Served:
    """The answer of a task's host to a request for one of its files; ``elsewhere`` is "" at the other host itself."""
    if task.host == "clip_late" and now < task.ends + LATE:
        return _error(_STATUSES[int(task.id) % len(_STATUSES)])
    if task.host == "clip_redirect" and elsewhere:
        target = _signed(_path(name), now + SIGNED_FOR)
        return Served(web.Response(status=302, headers={"Location": elsewhere + target}))
    if task.host in (*_SIGNED, "clip_redirect") and not _is_signed(request.raw_path, now):
        return _error(403)
    if task.host == "clip_key" and elsewhere and not authorized:
        return _error(401)
    whole = content(task, name, clip)
    if task.host == "clip_packed":
        return Served(_video(gzip.compress(whole), {"Content-Encoding": "gzip"}))
    return _range(whole, request) if task.host == "clip_breaks" else Served(_video(whole, {}))


def _entries(task: Task) -> list[tuple[str, str]]:
    """The entries of a result: the names of the clip and of the watermarked clip, "" for an absent one."""
    asked = task.order.fields.get("watermark_info", {}).get("enabled")
    if task.host == "clip_watermark":
        return [("", f"{task.id}-watermark")]
    names = [task.id, f"{task.id}-2"] if task.host == "clip_several" else [task.id]
    pairs = [(name, f"{name}-watermark" if asked else "") for name in names]
    return [("", ""), *pairs] if task.host == "clip_several" else pairs


def _address(task: Task, name: str, base_url: str, now: float) -> str:
    path = _path(name)
    if task.host in _SIGNED:
        return base_url + _signed(path, now + SIGNED_FOR)
    if task.host == "clip_relative":
        network = base_url.partition(":")[2]
        return (path, path[1:], f"{network}{path}", f" {base_url}{path}\r\n")[int(task.id) % 4]
    return base_url + path


def _path(name: str) -> str:
    return f"/videos/{name}.mp4"


def _signed(path: str, until: float) -> str:
    target = f"{path.removesuffix('mp4')}%6dp4?{_QUERY}&Expires={until:.3f}"
    return f"{target}&Signature={_signature(target)}"


def _is_signed(target: str, now: float) -> bool:
    """Whether a request's target has a signature over its bytes, and hasn't expired."""
    signed, _, signature = target.rpartition("&Signature=")
    until = re.search(r"&Expires=([0-9.]+)$", signed)
    return until is not None and hmac.compare_digest(signature, _signature(signed)) and now <= float(until[1])


def _signature(target: str) -> str:
    code = base64.b64encode(hmac.digest(b"of the clips' host", target.encode(), "sha256")).decode()
    return code.replace("+", "~").replace("/", "%2F").replace("=", "%3d")


def _range(whole: bytes, request: web.Request) -> Served:
    """The file from the requested offset on, broken off after ``BREAKS`` bytes."""
    tag = f'"{hashlib.sha256(whole).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    if asked is None or request.headers.get("If-Range", tag) != tag:
        return Served(_video(whole, headers), BREAKS)
    start = int(asked[1])
    if start >= len(whole):
        return _error(416)
    headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
    left = whole[start:]
    return Served(_video(left, headers, 206), BREAKS if len(left) > BREAKS else None)


def _video(body: bytes, headers: Mapping[str, str], status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="video/mp4", headers=headers)


def _error(status: int) -> Served:
    return Served(web.Response(text="<Error/>", status=status, content_type="application/xml"))
