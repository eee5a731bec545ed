"""What the benchmarks work on: images, tables, manifests and ledgers.

``python -m tests.bench.material WHAT ARGUMENT...`` makes one of them; see the functions in ``MAKERS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
import sqlite3
import struct
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from batchgen.files import Folders
from batchgen.images.inspection import inspect as inspect_image
from batchgen.ledger.writer import Ledger
from batchgen.manifest import reader
from batchgen.models import Change, ImageFile, Record, State, Within
from batchgen.request.identity import canonical

ORIGIN = "http://127.0.0.1:9"  # of ledgers that no run sends anything for
HEAD = "version: 1\nname: bench\ndefaults: {model_name: kling-v3, mode: pro}\njobs:\n"
SMALLER = 1920 * 1080  # pixels that photos are made smaller to
TOGETHER = 1000  # writes that wait for one fsync while a ledger is made


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, seed: int, *, noise: bool) -> bytes:
    """A PNG of noise, as large as its pixels, or of one colour and small."""
    rng = random.Random(seed)
    if noise:
        rows = b"".join(b"\0" + rng.randbytes(3 * width) for _ in range(height))
    else:
        rows = (b"\0" + rng.randbytes(3) * width) * height
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(rows, 0 if noise else 1)),
            _chunk(b"IEND", b""),
        )
    )


def large_images(folder: str, count: str) -> None:
    """``count`` different images of 8 MB each, and beside the folder a manifest for it."""
    path = Path(folder)
    path.mkdir()
    for number in range(int(count)):
        (path / f"shot{number:03}.png").write_bytes(png(1640, 1626, number, noise=True))
    _folder_manifest(path)


def small_images(folder: str, count: str) -> None:
    """``count`` different images of under 2 KB each, and beside the folder a manifest for it."""
    path = Path(folder)
    path.mkdir()
    for number in range(int(count)):
        (path / f"shot{number:06}.png").write_bytes(png(300, 300, number, noise=False))
    _folder_manifest(path)


def photos(folder: str, count: str) -> None:
    """``count`` JPEGs of 24 megapixels and 10 MB, as a camera that was held upright leaves them, and two manifests for them."""
    from PIL import Image, ImageChops

    size, path = (6000, 4000), Path(folder)
    path.mkdir()
    coarse = Image.effect_noise((1500, 1000), 60).resize(size, Image.Resampling.BICUBIC)
    fine = Image.effect_noise(size, 14)
    turns = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180)
    channels = [coarse if turn is None else coarse.transpose(turn) for turn in turns]
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    scene = Image.merge("RGB", [ImageChops.add(channel, fine, scale=2) for channel in channels])
    scene.save(file, "JPEG", quality=90, exif=exif)
    data = file.getvalue()
    for number in range(int(count)):  # each another file, by its comment
        comment = struct.pack(">HH8s", 0xFFFE, 10, b"%08d" % number)
        (path / f"shot{number:03}.jpg").write_bytes(data[:2] + comment + data[2:])
    entry: dict[str, Any] = {"folder": path.name, "prompt": "Slow push-in"}
    _manifest(path.with_name("upright.yaml"), {**entry, "prepare": True})
    _manifest(path.with_name("smaller.yaml"), {**entry, "prepare": {"max_pixels": SMALLER}})


def nested_images(folder: str, count: str) -> None:
    """``count`` different JPEGs of 200 bytes, a thousand in each folder below ``folder``, and beside it a manifest for all."""
    path = Path(folder)
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 400, 500, 1) + b"\1\x11\0"
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\1\0\0\x3f\0" + b"\x12\x34\x56" * 40
    for number in range(int(count)):
        here = path / f"set{number // 1000:03}"
        if number % 1000 == 0:
            here.mkdir(parents=True)
        comment = b"\xff\xfe" + struct.pack(">H", 10) + f"{number:08}".encode()
        (here / f"shot{number:06}.jpg").write_bytes(b"\xff\xd8" + comment + frame + scan + b"\xff\xd9")
    prompt = "{stem}: slow camera push-in, gentle parallax"
    entry = {"folder": path.name, "match": "**/*.jpg", "prompt": prompt}
    _manifest(path.with_name(f"{path.name}.yaml"), entry)


def _folder_manifest(path: Path) -> None:
    prompt = "{stem}: slow camera push-in, gentle parallax"
    _manifest(path.with_name(f"{path.name}.yaml"), {"folder": path.name, "prompt": prompt})


def fields(number: int) -> dict[str, str]:
    """One job with a URL for its image."""
    return {
        "id": f"shot{number:07}",
        "image": f"https://images.example.com/night/{number:07}.png",
        "prompt": f"Slow camera push-in on product {number}, soft light, gentle parallax",
        "duration": str(5 + number % 2 * 5),
        "sound": "on" if number % 3 == 0 else "off",
    }


def table(file: str, jobs: str, first: str = "0") -> None:
    """A CSV of ``jobs`` rows, numbered from ``first`` on, and beside it a manifest that names it."""
    path = Path(file)
    with path.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, fields(0))
        writer.writeheader()
        writer.writerows(map(fields, range(int(first), int(first) + int(jobs))))
    _manifest(path.with_suffix(".yaml"), {"table": path.name})


def _manifest(path: Path, entry: dict[str, Any]) -> None:
    path.write_text(f"{HEAD}  - {json.dumps(entry)}\n")


def inline(file: str, jobs: str) -> None:
    """A manifest with every job written out in YAML, in a way that YAML 1.1 reads the same."""
    with Path(file).open("w") as opened:
        opened.write(HEAD)
        for number in range(int(jobs)):
            one = fields(number)
            opened.write(f"  - id: {one['id']}\n    image: {one['image']}\n    prompt: {one['prompt']}\n")
            opened.write(f'    duration: "{one["duration"]}"\n    sound: "{one["sound"]}"\n')


def rows(manifest_file: str) -> Iterator[Record]:
    """The rows that a ledger would have of a manifest's jobs."""
    manifests, problems = reader.read([manifest_file])
    assert not problems, problems[0]
    for job in manifests[0].jobs:
        yield Record(
            job.external_task_id,
            job.external_task_id,
            job.manifest,
            job.id,
            job.take,
            job.digest,
            canonical(job.request),
            State.PENDING,
            os.path.join(job.output_dir, job.manifest, f"{job.id}.mp4"),
            estimate=560_000,
        )


def done(file: str, manifest_file: str, origin: str = ORIGIN) -> None:
    """A ledger in which every job of a manifest is done and every image of it remembered."""
    images: list[ImageFile] = []

    def inspect(path: str, within: Within | None, folders: Folders) -> ImageFile:
        images.append(inspect_image(path, within, folders))
        return images[-1]

    reader.read([manifest_file], inspect=inspect)
    asyncio.run(_fill(file, origin, list(rows(manifest_file)), finish, images))


def grown(file: str, small: str, count: str) -> None:
    """A ledger like ``small`` with ``count`` older rows of its first row's manifest besides, and as many images."""
    shutil.copy(small, file)
    number = int(count)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        columns = [row[1] for row in connection.execute("PRAGMA table_info (tasks)")]
        (template,) = connection.execute(f"SELECT {', '.join(columns)} FROM tasks ORDER BY id LIMIT 1")
        names = (
            "external_task_id",
            "base_id",
            "job_id",
            "task_id",
            "output_path",
            "output_key",
            "video_path",
            "digest",
        )
        changing = [columns.index(name) for name in names]
        first = connection.execute("SELECT max(id) FROM tasks").fetchone()[0] + 1

        def rows() -> Iterator[list[Any]]:
            for one in range(first, first + number):
                row = list(template)
                row[0] = one
                for column in changing[:-1]:
                    row[column] = re.sub(r"shot0*", f"old{one:07}x", str(row[column]), count=1)
                row[changing[-1]] = hashlib.sha256(str(one).encode()).hexdigest()
                yield row

        connection.executemany(f"INSERT INTO tasks VALUES ({','.join('?' * len(columns))})", rows())
        connection.execute(
            "INSERT INTO events (task, at, event, from_state, to_state, request_id, detail) SELECT old.id, at, event,"
            " from_state, to_state, events.request_id, detail FROM tasks AS old CROSS JOIN events"
            " WHERE old.id >= ? AND events.task = ?",
            (first, template[0]),
        )
        images = ((f"/old/{one:07}.png",) for one in range(number))
        connection.executemany("INSERT INTO images VALUES (?, 1, '1', '1', '', 'png', 300, 300, 1)", images)
        connection.execute("COMMIT")


def followed(file: str, manifest_file: str, origin: str, mean: str) -> None:
    """A ledger of running tasks of all ages, with ``mean`` seconds as their average length, and of ended ones."""
    everything = list(rows(manifest_file))
    rng = random.Random(1)
    now, length = time.time(), float(mean)

    async def half_way(ledger: Ledger, row: Record) -> None:
        await submit(ledger, row, now - rng.uniform(0, length))

    async def ended(ledger: Ledger, row: Record) -> None:
        await finish(ledger, row, now - 10 * length, rng.uniform(0.5, 1.5) * length)

    asyncio.run(_fill(file, origin, everything[:400], ended, []))
    asyncio.run(_fill(file, origin, everything[400:], half_way, []))


def ended(file: str, manifest_file: str, origin: str) -> None:
    """A ledger of tasks that have all ended, whose clips are at ``origin`` and have still to be fetched."""

    async def end(ledger: Ledger, row: Record) -> None:
        await submit(ledger, row)
        url = {"video_url": f"{origin}/{row.job_id}.mp4", "finished_at": time.time()}
        await ledger.apply(Change(row.external_task_id, State.SUCCEEDED, "task_succeeded", values=url))

    asyncio.run(_fill(file, origin, list(rows(manifest_file)), end, []))


async def _fill(
    file: str,
    origin: str,
    all_rows: list[Record],
    advance: Callable[..., Awaitable[None]],
    images: list[ImageFile],
) -> None:
    with Ledger.open(file, origin=origin) as ledger:
        await ledger.remember_images(images)
        for start in range(0, len(all_rows), TOGETHER):
            await asyncio.gather(*(advance(ledger, row) for row in all_rows[start : start + TOGETHER]))


async def submit(ledger: Ledger, row: Record, at: float = 1.0) -> None:
    """Two transitions: the intent and the accepted create."""
    await ledger.begin(row)
    values = {"task_id": f"task-{row.external_task_id}", "submitted_at": at}
    await ledger.apply(Change(row.external_task_id, State.SUBMITTED, "accepted", values=values))


async def finish(ledger: Ledger, row: Record, at: float = 1.0, length: float = 100.0) -> None:
    """Two more: the task's end and the clip."""
    await submit(ledger, row, at)
    name = row.external_task_id
    url = {"video_url": f"https://clips.example.com/{name}.mp4", "finished_at": at + length}
    await ledger.apply(Change(name, State.SUCCEEDED, "task_succeeded", values=url))
    at_home = Path(row.output_path)  # a run looks whether it is there, and asks for it anew where it isn't
    at_home.parent.mkdir(parents=True, exist_ok=True)
    at_home.touch()
    clip = {"video_path": row.output_path, "video_sha256": "0" * 64, "video_size": 0}
    await ledger.apply(Change(name, State.DOWNLOADED, "downloaded", values=clip))


MAKERS: dict[str, Callable[..., None]] = {
    one.__name__: one
    for one in (
        large_images,
        small_images,
        nested_images,
        photos,
        table,
        inline,
        done,
        grown,
        followed,
        ended,
    )
}

if __name__ == "__main__":
    MAKERS[sys.argv[1]](*sys.argv[2:])
