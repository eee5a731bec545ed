"""Names that pass from clip to clip: each file is moved once, in an order in which no name is taken."""

from __future__ import annotations

import asyncio
import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Record, State
from batchgen.run.cliplog import ClipLog
from batchgen.run.events import Events
from batchgen.run.naming import Names
from batchgen.storage.roots import Roots


def moved_on(folder: Path, targets: list[int]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Let each of so many clips take the name of another; the files, and the paths in the ledger."""

    async def scene() -> dict[str, str]:
        with Ledger.open(str(folder / "ledger.db"), origin="https://api.example") as ledger:
            rows = [await at_home(ledger, number) for number in range(len(targets))]
            changes = [
                Change(
                    row.external_task_id,
                    row.state,
                    "renamed",
                    values={"output_path": place(target), "output_dir": row.root},
                )
                for row, target in zip(rows, targets, strict=True)
            ]
            await ledger.rename(changes)
            roots, events = Roots(), Events(time.time)
            await Names(ledger, ClipLog(ledger, roots, events), roots, events).finish()
            assert ledger.moves() == []
            return {row.external_task_id: str(row.video_path) for row in ledger.records()}

    def place(number: int) -> str:
        return str(folder / f"clips/m/{number}.mp4")

    async def at_home(ledger: Ledger, number: int) -> Record:
        content = str(number).encode()
        path = Path(place(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        name = f"clip-{number}"
        row = Record(
            external_task_id=name,
            base_id=name,
            manifest="m",
            job_id=str(number),
            take=1,
            digest="d" * 64,
            canonical='{"duration":"5","mode":"pro"}',
            state=State.PENDING,
            output_path=str(path),
            output_dir=str(folder / "clips"),
        )
        values = {
            "task_id": f"t{number}",
            "video_path": str(path),
            "video_sha256": sha256(content).hexdigest(),
        }
        return await ledger.import_row(row, Change(name, State.DOWNLOADED, "found_on_disk", values=values))

    paths = asyncio.run(scene())
    return {file.name: file.read_bytes() for file in (folder / "clips/m").glob("*.mp4")}, paths


@pytest.mark.parametrize("targets", [[1, 2, 3], [0, 1, 2], [2, 0, 1], [1, 0, 3, 2], [1, 0, 4, 3]], ids=str)
def test_every_clip_ends_under_its_new_name(targets: list[int], tmp_path: Path) -> None:
    files, paths = moved_on(tmp_path, targets)
    assert files == {f"{target}.mp4": str(number).encode() for number, target in enumerate(targets)}
    assert paths == {
        f"clip-{number}": str(tmp_path / f"clips/m/{target}.mp4") for number, target in enumerate(targets)
    }


def test_a_long_list_that_got_a_new_first_line_is_moved_on_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    lexists = os.path.lexists

    def counted(path: str) -> bool:
        looks.append(path)
        return lexists(path)

    monkeypatch.setattr(os.path, "lexists", counted)
    files, _ = moved_on(tmp_path, [number + 1 for number in range(60)])
    assert len(files) == 60 and "0.mp4" not in files
    assert len(looks) < 60 * 5
