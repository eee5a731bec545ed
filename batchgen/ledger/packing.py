"""Texts that most rows have, in fewer bytes: requests, addresses, digests; states and frequent events as one letter.

A packed text is a BLOB that begins with a byte which no UTF-8 has; other BLOBs are texts with lone surrogates. What was
written before is read as it is, and packed by ``ledger compact``.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Mapping
from types import MappingProxyType

from batchgen.models import State

PACKED = ("canonical", "video_url", "video_sha256")  # columns of tasks

LONGEST = 1 << 24  # bytes of a text, far beyond a request's: a foreign file may say anything
_DEFLATED, _HEX = b"\xff", b"\xfe"
_DIGEST = re.compile(r"(?:[0-9a-f]{2}){16,64}")
# What requests and addresses share, the most frequent last. It never changes: what was packed with it is read with it.
_SHARED = (
    b'"camera_control":{"config":{"horizontal":0,"pan":0,"roll":0,"tilt":0,"vertical":0,"zoom":0},"type":"simple"},'
    b'"dynamic_masks":[{"mask":{"sha256":""},"trajectories":[{"x":0,"y":0},"static_mask":{"sha256":"'
    b'"element_list":[{"element_id":"voice_list":[{"voice_id":"watermark_info":{"enabled":false}'
    b'"multi_prompt":[{"duration":"5","index":1,"prompt":""},{"duration":"5","index":2,"prompt":""}],"multi_shot":true,'
    b'"shot_type":"customize","image_tail":{"sha256":""},'
    b".jpeg?auth_key=&Expires=&Signature=&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=&X-Amz-Date=T000000Z"
    b"&X-Amz-Expires=86400&X-Amz-Signature=&X-Amz-SignedHeaders=host&x-kcdn-pid=/upload-ylab-stunt/output/video.mp4"
    b"blurry, distorted, deformed hands, extra fingers, low quality, text, watermark, logo, jitter, flicker, morphing,"
    b" smooth cinematic slow motion tracking shot of the subject turns and smiles, gentle parallax, soft light, static"
    b" camera, slow camera push-in on the product, shallow depth of field, natural movement, high detail, 4k"
    b'https://images.cdn.example.com/.jpg.png","mode":"std","duration":"10","image":"https://","mode":"pro",'
    b'{"cfg_scale":0.5,"duration":"5","image":{"sha256":""},"mode":"pro","model_name":"kling-v3","multi_shot":false,'
    b'"negative_prompt":"","prompt":"","sound":"off"}","sound":"on"}'
)

#: Each state's letter in the history.
STATES: Mapping[str, str] = MappingProxyType(
    {
        State.PENDING: "p",
        State.SUBMITTING: "i",
        State.UNKNOWN: "u",
        State.SUBMITTED: "s",
        State.SUCCEEDED: "c",
        State.DOWNLOADED: "d",
        State.FAILED: "f",
        State.REJECTED: "r",
    }
)
#: The letters of what happens to every row; other events are rare, and written out.
EVENTS: Mapping[str, str] = MappingProxyType(
    {"planned": "p", "intent": "i", "accepted": "a", "task_succeeded": "s", "downloaded": "d"}
)
LETTERS = MappingProxyType({letter: word for word, letter in EVENTS.items()})


def packed(text: str | None) -> str | bytes | None:
    """A text as it is stored: packed where that is shorter. None, and what isn't a text, stays."""
    if not isinstance(text, str):
        return text
    if len(text) <= 128 and _DIGEST.fullmatch(text):
        return _HEX + bytes.fromhex(text)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # lone surrogates are stored in a way of their own
        return text
    if len(data) > LONGEST:
        return text
    deflate = zlib.compressobj(6, zlib.DEFLATED, -12, 5, zlib.Z_DEFAULT_STRATEGY, _SHARED)
    short = _DEFLATED + deflate.compress(data) + deflate.flush()
    return short if len(short) < len(data) else text


def unpacked(data: bytes) -> str:
    """The text of a BLOB. Raises UnicodeDecodeError and sqlite3.DatabaseError where it is none."""
    first = data[:1]
    if first == _HEX:
        return data[1:].hex()
    if first == _DEFLATED:
        inflate = zlib.decompressobj(-15, _SHARED)
        try:
            text = inflate.decompress(data[1:], LONGEST)
        except zlib.error as error:
            raise sqlite3.DatabaseError("a packed text is damaged") from error
        if not inflate.eof:
            raise sqlite3.DatabaseError("a packed text is damaged, or longer than any can be")
        return text.decode()
    return data.decode("utf-8", "surrogatepass")
