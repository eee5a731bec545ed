"""Readers of bytes that strangers wrote: they raise what they say they raise, and do no more work than the bytes are long.

Work is counted in lines of our own code that are run: it doesn't depend on the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchgen import answers, clips, images, manifest, mp4, sidecars, tables, yaml12
from batchgen.errors import ApiError, ImageError, ManifestError, UsageError
from batchgen.sandbox.video import clip
from tests.documents import PACKAGE
from tests.pictures import make_jpeg, make_png

Reader = Callable[[bytes], object]
STEPS_FOR_NOTHING = 20_000  # lines: patterns are compiled, schemas loaded
STEPS_A_BYTE = 400

JOB = {"id": "a", "model_name": "kling-v3", "image": "https://example.com/a.png", "prompt": "x"}
YAML = json.dumps({"version": 1, "jobs": [JOB]}).encode()
CLIPS = {"videos": [{"id": "v", "url": "https://example.com/v.mp4", "duration": "5"}]}
ENDED = {"task_id": "t1", "task_status": "succeed", "task_result": CLIPS}
QUERY = {"code": 0, "message": "", "data": ENDED}


def by_file(suffix: str, read: Callable[[str], object], *errors: type[Exception]) -> Reader:
    def from_bytes(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(*errors):
            path = os.path.join(folder, f"x{suffix}")
            Path(path).write_bytes(data)
            return read(path)
        return None

    return from_bytes


def read_manifest(path: str) -> object:
    with contextlib.suppress(ManifestError, UsageError):
        return manifest.read([path])
    return None


def read_answer(data: bytes) -> object:
    for status in (200, 404, 500):
        answer = answers.Answer(status, data)
        with contextlib.suppress(ApiError):
            answers.read_create(answer, "x")
        with contextlib.suppress(ApiError):
            answers.read_query(answer, "x", "https://a.b")
    return None


def refused(read: Reader, *errors: type[Exception]) -> Reader:
    def tried(data: bytes) -> object:
        with contextlib.suppress(*errors):
            return read(data)
        return None

    return tried


# A reader, and what it reads when all is well.
READERS: dict[str, tuple[Reader, bytes]] = {
    "YAML": (refused(yaml12.load, yaml12.YamlError), b"a: &x [1, 'two', {b: |\n  text\n}]\nc: *x\n"),
    "sidecar's prompt": (refused(sidecars.prompt, yaml12.YamlError), b"\xef\xbb\xbfslow push-in\n"),
    "sidecar's fields": (refused(sidecars.fields, yaml12.YamlError), b"prompt: x\nduration: 5\n"),
    "manifest": (by_file(".yaml", read_manifest), YAML),
    "CSV": (by_file(".csv", lambda path: [*tables.table(path, "x")]), b'id,image,prompt\na,"https://x/a.png",x\n'),
    "TSV": (by_file(".tsv", lambda path: [*tables.table(path, "x")]), "id\tprompt\na\tx\n".encode("utf-16")),
    "JSON Lines": (by_file(".jsonl", lambda path: [*tables.table(path, "x")]), json.dumps(JOB).encode() + b"\n"),
    "PNG": (by_file(".png", images.inspect, ImageError), make_png(320, 320)),
    "JPEG": (by_file(".jpg", images.inspect, ImageError), make_jpeg(320, 320)),
    "MP4": (lambda data: mp4.oddity(lambda count, at: data[at : at + count], len(data)), clip("x")),
    "answer": (read_answer, json.dumps(QUERY).encode()),
    "clips.jsonl": (lambda data: clips._entry(data, "/out/m", "/out"), b'{"version": 1, "request": {}}\n'),
}  # fmt: skip


def steps(read: Reader, data: bytes) -> int:
    count = 0
    ours = str(PACKAGE)

    def line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(ours):
            return None
        count += event == "line"
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        read(data)
    finally:
        sys.settrace(before)
    return count


def damaged(good: bytes, seed: int) -> bytes:
    """The good bytes with a few others in them, some of them twice, or cut off."""
    rng = random.Random(seed)
    data = bytearray(good)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                data[at:at] = rng.choice(
                    (b"\0", b"\xff", b"[", b"{", b'"', b"&a", b"*a", b"\r", b"\xed\xa0\x80", b"<")
                )
            case 2:
                del data[at : at + rng.randint(1, 16)]
            case 3:
                data[at:at] = data[at : at + 64] * rng.randint(1, 8)
            case _:
                data[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"\0\0\0\7"))
    return bytes(data)


@pytest.mark.parametrize("name", READERS)
def test_damage_is_told_by_the_reader_and_makes_no_more_work_than_its_length(name: str) -> None:
    read, good = READERS[name]

    @settings(max_examples=60)
    @given(st.integers(0, 1 << 32))
    def check(seed: int) -> None:
        data = damaged(good, seed)
        assert steps(read, data) < STEPS_FOR_NOTHING + STEPS_A_BYTE * len(data)

    check()


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_are_told_by_the_reader_and_make_no_more_work_than_their_length(name: str) -> None:
    read, _ = READERS[name]

    @settings(max_examples=40)
    @given(st.binary(max_size=400))
    @example(b"")
    @example(b"[" * 5000)
    @example(b'{"a":' * 2000)
    @example(b"\xff\xfe" + b"\0\xd8" * 50)
    @example(b"- &a [*a]\n")
    @example(b"&a " * 100 + b"x")
    @example(b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR")
    @example(b"\xff\xd8" + b"\xff\xe0\0\2" * 500)
    @example(b"\0\0\0\x08ftyp" * 500)
    @example(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\1mdat" + bytes(16))
    def check(data: bytes) -> None:
        assert steps(read, data) < STEPS_FOR_NOTHING + STEPS_A_BYTE * len(data)

    check()
