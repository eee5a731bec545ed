"""Readers of bytes that strangers wrote, and damage to feed them: ``python -m tests.fuzz MINUTES`` goes on for long.

They raise what they say they raise, and do no more work than the bytes are long. Work is counted in lines of our own
code that are run: it doesn't depend on the machine.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from PIL import Image
from pillow_heif import register_heif_opener

from batchgen.api import responses
from batchgen.cli import main as cli
from batchgen.errors import ApiError, BatchgenError, ImageError, ManifestError, UsageError
from batchgen.images import facts, inspection
from batchgen.images.headers import Headers
from batchgen.ledger.writer import Ledger
from batchgen.manifest import reader, sidecars, tables, yaml12
from batchgen.request.identity import canonical_text, digest
from batchgen.sandbox.dialects import DIALECTS
from batchgen.sandbox.envelope import envelope
from batchgen.sandbox.video import clip
from batchgen.storage import clips, mp4
from tests.support.documents import PACKAGE
from tests.support.pictures import make_jpeg, make_png
from tests.support.profiles import DISPLAY_P3, profile_of
from tests.wire.test_job_names import ACCEPTED, DONE, FAILED, record, with_rows

Read = Callable[[bytes], object]
STEPS_FOR_NOTHING = 20_000  # lines: patterns are compiled, schemas loaded
STEPS_A_BYTE = 400


class Reader(NamedTuple):
    """A reader, what it reads when all is well, and the bytes that it reads besides those that it is given."""

    read: Read
    good: Sequence[bytes]
    besides: int = 0


JOB = {"id": "a", "model_name": "kling-v3", "image": "https://example.com/a.png", "prompt": "x"}
YAML = json.dumps({"version": 1, "jobs": [JOB]}).encode()
CLIPS = {"videos": [{"id": "v", "url": "https://example.com/v.mp4", "duration": "5"}]}
ENDED = {"task_id": "t1", "task_status": "succeed", "task_result": CLIPS}
LINE = {
    "version": 1,
    "file": "a.mp4",
    "belongs": "a.mp4",
    "sha256": "0" * 64,
    "size": 9,
    "api": "https://a.b",
    "external_task_id": "e",
    "base_id": "e",
    "task_id": "t",
    "manifest": "m",
    "job_id": "a",
    "take": 1,
    "digest": "",
    "parts": [{"part": "part2", "url": "https://a.b/2.mp4", "path": "a.part2.mp4", "sha256": "0" * 64}],
    "request": {"mode": "std", "duration": "5", "prompt": "x", "image": {"sha256": "0" * 64}},
    "cost_usd_estimate": 0.5,
    "created_at": "2026-01-31T23:59:59.250Z",
}


def in_dialects() -> list[bytes]:
    """Answers to a query as the vendor and its gateways give them: a task that ended, one that is not, refusals."""
    found = []
    for dialect in DIALECTS.values():
        for code, data in ((0, ENDED), (1203, None), (1303, None), (5000, None)):
            document, _ = dialect.speak(envelope(code, "no such task", data, "r1"), 200, True)
            found.append(json.dumps(document).encode())
    return found


def by_file(suffix: str, read: Callable[[str], object], *errors: type[Exception]) -> Read:
    def from_bytes(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(*errors):
            path = os.path.join(folder, f"x{suffix}")
            Path(path).write_bytes(data)
            return read(path)
        return None

    return from_bytes


def read_manifest(path: str) -> object:
    with contextlib.suppress(ManifestError, UsageError):
        return reader.read([path])
    return None


def read_answer(data: bytes) -> object:
    found: list[object] = []
    for status in (404, 500, 200):
        answer = responses.Answer(status, data)
        with contextlib.suppress(ApiError):
            found.append(responses.read_create(answer, "x"))
        with contextlib.suppress(ApiError):
            found.append(responses.read_query(answer, "t1", "https://a.b"))
    return found or None


def refused(read: Read, *errors: type[Exception]) -> Read:
    def tried(data: bytes) -> object:
        with contextlib.suppress(*errors):
            return read(data)
        return None

    return tried


def read_line(data: bytes) -> object:
    """A line of ``clips.jsonl``, also with its digest corrected, as an attacker would."""
    found = clips._entry(data, "/out/m", "/out")
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        line = json.loads(data)
        line["digest"] = digest(canonical_text(line["request"]))
        found = clips._entry(json.dumps(line).encode(), "/out/m", "/out")
    return found and found.row.kind


def read_chunks(data: bytes) -> object:
    """A PNG whose chunks have these lengths, names and contents, and the checksums that they should have."""
    whole, at = inspection.PNG, 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        named = data[at + 4 : at + 8 + length]
        whole += data[at : at + 4] + named + zlib.crc32(named).to_bytes(4)
        at += 4 + len(named)
    return PICTURE(whole)


def chunks() -> bytes:
    good, found, at = make_png(320, 320), b"", 8
    while at < len(good):
        length = int.from_bytes(good[at : at + 4])
        found += good[at : at + 8 + length]
        at += 12 + length
    return found


@functools.cache
def good_ledger() -> bytes:
    """The file of a small ledger, in one piece."""
    with tempfile.TemporaryDirectory() as folder:
        rows = (
            (record("m", "a"), DONE),
            (record("m", "b", digest="e"), ACCEPTED),
            (record("m", "c", digest="f"), FAILED),
        )
        with_rows(Path(folder), *rows)
        with contextlib.closing(sqlite3.connect(os.path.join(folder, "ledger.db"))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(folder, "ledger.db").read_bytes()


#: What cells of a ledger's file may hold that no batchgen writes.
CELLS = (
    *(
        None,
        "",
        0,
        -1,
        1.5,
        2**62,
        9e999,
        -9e999,
        b"",
        b"\xff",
        "x",
        "\0",
        "/x.mp4",
        "/a/../x.mp4",
        "/" + "x" * 9000,
        "yes",
    ),
    *(
        "{}",
        "[]",
        "7",
        "null",
        "{",
        "[" * 3000,
        "[{}]",
        '{"mode": 1, "duration": 2}',
        '{"mode": "std", "duration": "5"}',
    ),
    *(
        '{"mode": "std", "duration": "5", "multi_prompt": 7}',
        '{"mode": "std", "duration": "5", "watermark_info": 7}',
    ),
    *('[{"part": "p", "path": null, "url": "x"}]', '[{"part": 1}]', '{"answers": "x"}', '{"answers": null}'),
    *("pending", "submitting", "unknown", "submitted", "succeeded", "downloaded", "failed", "rejected"),
)


def spoil(path: str, rng: random.Random) -> None:
    """Other bytes in a ledger's file, or other cells in its tables, which its own rules are taken out for."""
    if rng.random() < 0.3:
        data = bytearray(good_ledger())
        for _ in range(rng.randint(1, 12)):
            at = rng.randrange(len(data))
            data[at : at + 4] = rng.randbytes(rng.randint(1, 4)).ljust(4, b"\0")
        Path(path).write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        return
    Path(path).write_bytes(good_ledger())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.executescript(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET"
            " sql = replace(replace(sql, 'CHECK (state IN', 'CHECK (1 OR state IN'), 'NOT NULL', '') WHERE type = 'table';"
            " PRAGMA writable_schema = RESET;"
        )
        for _ in range(rng.randint(1, 3)):
            table = rng.choice(
                ("tasks",) * 6 + ("events",) * 3 + ("meta", "notes", "moves", "unusable", "images")
            )
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            with contextlib.suppress(sqlite3.Error):
                if table in ("moves", "unusable", "images"):
                    marks = ", ".join("?" * len(columns))
                    connection.execute(
                        f"INSERT INTO {table} VALUES ({marks})", [rng.choice(CELLS) for _ in columns]
                    )
                else:
                    connection.execute(f"UPDATE {table} SET {rng.choice(columns)} = ?", [rng.choice(CELLS)])
        for _, sql in triggers:
            connection.execute(sql)


def read_ledger(data: bytes) -> object:
    """A ledger that these bytes choose the damage of, as the commands read it and as a run does."""
    rng = random.Random(data)
    with tempfile.TemporaryDirectory() as folder:
        path, jobs = os.path.join(folder, "ledger.db"), os.path.join(folder, "m.yaml")
        Path(jobs).write_bytes(json.dumps({"version": 1, "name": "m", "jobs": [JOB]}).encode())
        spoil(path, rng)
        for command in (
            ["status"],
            ["status", "a", "--json"],
            ["export"],
            ["export", "--excel"],
            ["plan", jobs],
        ):
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                cli.main([*command, "--ledger", path])
        with contextlib.suppress(BatchgenError), Ledger.open(path, origin="http://127.0.0.1") as ledger:
            for row in ledger.open_records():
                ledger.events(row.external_task_id)
                ledger.known_beside(row.external_task_id, 3)
                ledger.durations(row.kind)
            return (*ledger.moves(), *ledger.known_tasks(3), *ledger.images(), *ledger.unusable())
    return None


PICTURE = by_file(".png", inspection.inspect, ImageError)


def read_facts(data: bytes) -> object:
    return facts.facts_of(Headers(lambda count, at: data[at : at + count], len(data)))


def pictures() -> tuple[bytes, ...]:
    """A picture of each format that can be prepared."""
    register_heif_opener()
    small = Image.new("RGBA", (12, 9), "teal")
    found = []
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"):
        exif = Image.Exif()
        exif[0x0112] = 6
        file = io.BytesIO()
        small.convert("RGB").save(file, form, icc_profile=profile_of("Display P3", DISPLAY_P3), exif=exif)
        found.append(file.getvalue())
    return tuple(found)


# A reader, and what it reads when all is well.
READERS: dict[str, Reader] = {
    "YAML": Reader(
        refused(yaml12.load, yaml12.YamlError), (b"a: &x [1, 'two', {b: c}]\nd: *x\ne: |\n  text\n",)
    ),
    "sidecar's prompt": Reader(refused(sidecars.prompt, yaml12.YamlError), (b"\xef\xbb\xbfslow push-in\n",)),
    "sidecar's fields": Reader(refused(sidecars.fields, yaml12.YamlError), (b"prompt: x\nduration: 5\n",)),
    "manifest": Reader(by_file(".yaml", read_manifest), (YAML,)),
    "CSV": Reader(
        by_file(".csv", lambda path: [*tables.table(path, "x")]),
        (b'id,image,prompt\na,"https://x/a.png",x\n',),
    ),
    "TSV": Reader(
        by_file(".tsv", lambda path: [*tables.table(path, "x")]), ("id\tprompt\na\tx\n".encode("utf-16"),)
    ),
    "JSON Lines": Reader(
        by_file(".jsonl", lambda path: [*tables.table(path, "x")]), (json.dumps(JOB).encode() + b"\n",)
    ),
    "PNG": Reader(PICTURE, (make_png(320, 320),)),
    "headers of pictures": Reader(refused(read_facts, ImageError), pictures()),
    "JPEG": Reader(by_file(".jpg", inspection.inspect, ImageError), (make_jpeg(320, 320),)),
    "MP4": Reader(lambda data: mp4.oddity(lambda count, at: data[at : at + count], len(data)), (clip("x"),)),
    "answer": Reader(read_answer, tuple(in_dialects())),
    "clips.jsonl": Reader(read_line, (json.dumps(LINE).encode(),)),
    "PNG's chunks": Reader(read_chunks, (chunks(),)),
    "ledger": Reader(read_ledger, (bytes(8),), besides=2000),
}


def steps(read: Read, data: bytes) -> int:
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


@functools.cache
def warm(reader: Reader) -> None:
    """Import what the readers import once."""
    with contextlib.suppress(Exception):
        reader.read(reader.good[0])


def check(reader: Reader, data: bytes) -> None:
    """Read the bytes, and check what the reader promises."""
    warm(reader)
    done = steps(reader.read, data)
    most = STEPS_FOR_NOTHING + STEPS_A_BYTE * (len(data) + reader.besides)
    assert done < most, f"{done:,} lines of code for {len(data):,} bytes"


def main(arguments: Sequence[str], readers: Mapping[str, Reader] = READERS) -> int:
    """Feed damaged bytes to every reader, or to those that are named. Returns 1 where one broke its promise."""
    minutes, *names = [*arguments, *readers] if len(arguments) == 1 else arguments
    broken, first = 0, random.SystemRandom().randrange(1 << 32)
    for name in names:
        reader, ends, count = readers[name], time.monotonic() + 60 * float(minutes) / len(names), 0
        while time.monotonic() < ends:
            data = damaged(reader.good[count % len(reader.good)], first + count)
            try:
                check(reader, data)
            except Exception:  # noqa: BLE001
                sys.stdout.write(f"{traceback.format_exc()}{name} was given {data!r}\n")
                broken += 1
                break
            count += 1
        sys.stdout.write(f"{name}: {count:,} times\n")
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
