"""Ledgers of nights that never were, for what shows them: each row with its times, money, picture, clip and words."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Record, State
from batchgen.request.identity import canonical_text, digest, external_task_id
from batchgen.sandbox.video import clip

ORIGIN = "https://api.example"
NIGHT = 1_796_000_400.0  # 2026-11-30, 01:00 UTC
KEY = "canary-5f0e1d-key"


class Book:
    """A ledger that is filled row by row, while it is open; ``folder`` has its pictures and clips."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ledger.db"
        self._now = NIGHT

    def __enter__(self) -> Self:
        self._ledger = Ledger.open(str(self.path), origin=ORIGIN, clock=lambda: self._now)
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.close()

    def add(
        self,
        job: str,
        state: State = State.DOWNLOADED,
        *,
        manifest: str = "shop",
        take: int = 1,
        at: float = NIGHT,
        words: str = "Slow camera push-in",
        **more: Any,
    ) -> Record:
        """One row, brought to ``state``. ``more``: picture (a path below the folder), clip (False: not on disk), mode,
        duration, code, message, seconds, retry (its number)."""
        asked: dict[str, Any] = {
            "model_name": "kling-v3",
            "mode": more.get("mode", "pro"),
            "duration": more.get("duration", "5"),
            "sound": "off",
            "prompt": words,
        }
        picture = more.get("picture")
        path = None
        if picture is not None:
            path = self.folder / picture
            asked["image"] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        text = canonical_text(asked)
        base = external_task_id(manifest, job, take, digest(text))
        retry = more.get("retry", 1)
        name = job if take == 1 else f"{job}.take{take}"
        target = self.folder / "clips" / manifest / f"{name}.mp4"
        record = Record(
            base if retry == 1 else f"{base}~{retry}",
            base,
            manifest,
            job,
            take,
            digest(text),
            text,
            State.PENDING,
            str(target),
            created_at=at,
            estimate=560_000,
            image=None if path is None else str(path),
        )
        asyncio.run(self._write(record, state, at, more))
        if state is State.DOWNLOADED and more.get("clip", True):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(clip(record.external_task_id))
        return record

    async def _write(self, record: Record, state: State, at: float, more: Mapping[str, Any]) -> None:
        self._now = at
        await self._ledger.begin(record)
        name, end = record.external_task_id, at + more.get("seconds", 120.0)
        ending: Any = {"code": more.get("code"), "message": more.get("message")}
        if state in (State.UNKNOWN, State.REJECTED, State.PENDING):
            await self._ledger.apply(Change(name, state, "x", **ending))
            return
        values: dict[str, Any] = {"task_id": f"task-{name[-20:]}", "submitted_at": at}
        await self._ledger.apply(Change(name, State.SUBMITTED, "accepted", values=values))
        self._now = end
        if state is State.FAILED:
            await self._ledger.apply(Change(name, state, "failed", **ending, values={"finished_at": end}))
        elif state is not State.SUBMITTED:
            found = {"video_url": f"https://cdn.example/{name}.mp4?signed=secret", "finished_at": end}
            await self._ledger.apply(Change(name, State.SUCCEEDED, "succeeded", values=found))
            if state is State.DOWNLOADED:
                got = {"video_path": record.output_path, "video_sha256": "f" * 64}
                await self._ledger.apply(Change(name, state, "downloaded", values=got))

    def grow(self, number: int) -> None:
        """Copy the first row ``number`` times, with another job, prompt, picture and clip each; once it is closed."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            columns = [row[1] for row in connection.execute("PRAGMA table_info (tasks)")]
            cursor = connection.execute("SELECT * FROM tasks ORDER BY id LIMIT 1")
            template = dict(zip(columns, cursor.fetchone(), strict=True))
            marks = ",".join("?" * len(columns))
            connection.executemany(f"INSERT INTO tasks VALUES ({marks})", _copies(template, number))
            connection.execute("COMMIT")


#: Words of prompts: a thousand sentences of them are as unlike each other as people's are.
_WORDS = [
    "slow",
    "fast",
    "gentle",
    "sudden",
    "camera",
    "push-in",
    "pull-back",
    "dolly",
    "orbit",
    "around",
    "the",
    "cup",
    "bag",
    "shoe",
    "lamp",
    "window",
    "street",
    "morning",
    "evening",
    "light",
    "steam",
    "rises",
    "falls",
    "rain",
    "snow",
    "wind",
    "leaves",
    "drift",
    "across",
    "table",
    "wooden",
    "marble",
    "shadow",
    "moves",
    "from",
    "left",
    "right",
    "reflections",
    "glimmer",
    "handheld",
    "macro",
    "detail",
    "fabric",
    "leather",
    "bottle",
    "pours",
    "fills",
    "turns",
    "slowly",
    "rotates",
    "background",
    "blurs",
    "people",
    "walk",
    "past",
    "city",
    "harbour",
    "mountain",
    "river",
    "sunset",
    "golden",
    "hour",
    "soft",
    "focus",
    "rack",
    "zoom",
    "tilt",
    "crane",
    "parallax",
]


def _copies(template: Mapping[str, Any], number: int) -> Iterator[list[Any]]:
    for one in range(1, number + 1):
        seed = hashlib.sha256(str(one).encode()).digest()
        job = f"{_WORDS[seed[0] % len(_WORDS)]}-{one:05}"
        prompt = " ".join(_WORDS[byte % len(_WORDS)] for byte in seed[1 : 9 + seed[9] % 12])
        sha256 = seed.hex()
        text = canonical_text(
            {
                "model_name": "kling-v3",
                "mode": ("pro", "std")[seed[20] % 2],
                "duration": "5",
                "sound": "off",
                "prompt": prompt,
                "image": {"sha256": sha256},
            }
        )
        path = str(template["output_path"]).rpartition("/")[0]
        at = template["created_at"] + one * 3 + seed[30] / 256
        name = external_task_id("shop", job, 1, digest(text))
        changed = {
            "id": template["id"] + one,
            "external_task_id": name,
            "base_id": name,
            "job_id": job,
            "digest": digest(text),
            "created_at": at,
            "submitted_at": at,
            "finished_at": at + 60 + seed[21],
            "task_id": str(int.from_bytes(seed[10:17], "big")),
            "output_path": f"{path}/{job}.mp4",
            "output_key": f"{path}/{job}.mp4".lower(),
            "video_path": f"{path}/{job}.mp4",
            "image": f"/shop/inbox/{job}.png",
            "canonical": text,
        }
        yield list({**template, **changed}.values())
