"""What a run leaves in the ledger of jobs that changed since they were paid, and that the page says it until it is undone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from batchgen.images.inspection import inspect
from batchgen.ledger.reader import Records
from batchgen.ledger.writer import Ledger
from batchgen.models import Job, Place
from batchgen.page import data
from batchgen.page.columns import payload
from batchgen.page.pictures import Thumbnails
from batchgen.run import changed
from batchgen.run.buckets import ADVICE
from batchgen.run.plan import Action, Step
from tests.support.book import ORIGIN, Book
from tests.support.pictures import make_png
from tests.support.program import QUICK, Desk

pytestmark = pytest.mark.usefixtures("server")


def write(desk: Desk, *jobs: dict[str, Any], file: str = "bags.yaml", **top: Any) -> None:
    defaults = {"model_name": "kling-v3", "image": "https://example.com/1.png", "prompt": "Slow push-in"}
    desk.write(file, json.dumps({"version": 1, "defaults": defaults, "jobs": jobs, **top}))


def night(desk: Desk, *options: str, code: int = 0) -> None:
    result = desk.run("run", *QUICK, *(options or ["bags.yaml"]))
    assert result.code == code, result.err


def ledger(desk: Desk) -> str:
    return str(desk.folder / "home" / ".local" / "state" / "batchgen" / "ledger.db")


def listed(desk: Desk) -> dict[str, str]:
    """The cards that the page says it on, with its words; what stands at its top agrees."""
    with Records.read(ledger(desk)) as records:
        page = data.gather(records, time.time())
    more = payload(page, lambda path: path, "", Thumbnails(), ids=False)["more"]
    cards = {page.takes[place].job_id: one["changed"] for place, one in more.items() if "changed" in one}
    risk = next((one for one in page.risks if one.token == "changed"), None)
    assert (risk.count if risk else 0) == len(cards)
    if risk is not None:
        assert risk.micros == 420_000 * len(cards) and risk.advice == ADVICE["changed"][1]
        assert {name.split("/")[1] for name in risk.names} == set(cards)
    return cards


def test_a_changed_job_stands_on_the_page_with_what_changed_until_the_change_is_undone(desk: Desk) -> None:
    write(desk, {"id": "tote"}, {"id": "vase"})
    night(desk)
    assert listed(desk) == {}
    write(desk, {"id": "tote", "prompt": "Another light"}, {"id": "vase"})
    night(desk, code=5)
    said = listed(desk)
    assert set(said) == {"tote"}
    assert said["tote"].endswith('changed since: prompt: "Slow push-in" -> "Another light"')
    night(desk, code=5)
    assert listed(desk) == said
    write(desk, {"id": "tote"}, {"id": "vase"})
    night(desk)
    assert listed(desk) == {}


@pytest.mark.parametrize("way", ["accepted", "another take", "left out", "gone", "ordered"])
def test_what_a_person_decided_about_a_change_ends_it(desk: Desk, way: str) -> None:
    write(desk, {"id": "tote"}, {"id": "vase"})
    night(desk)
    write(desk, {"id": "tote", "prompt": "Another light"}, {"id": "vase"})
    night(desk, code=5)
    assert set(listed(desk)) == {"tote"}
    tote: dict[str, Any] = {"id": "tote", "prompt": "Another light"}
    if way == "accepted":
        night(desk, "bags.yaml", "--accept-changes")
    elif way == "ordered":
        assert desk.run("retake", "tote").code == 0
        night(desk)
    else:
        tote |= {"take": 2} if way == "another take" else {"skip": True}
        write(desk, {"id": "vase"}, *([] if way == "gone" else [tote]))
        night(desk)
    assert listed(desk) == {}


def test_a_run_of_some_manifests_or_jobs_leaves_what_was_found_of_the_others(desk: Desk) -> None:
    for file in ("bags.yaml", "cups.yaml"):
        write(desk, {"id": file[0]}, {"id": f"{file[0]}2"}, file=file)
    night(desk, "bags.yaml", "cups.yaml")
    for file in ("bags.yaml", "cups.yaml"):
        write(desk, {"id": file[0], "prompt": "Another light"}, {"id": f"{file[0]}2"}, file=file)
    night(desk, "bags.yaml", code=5)
    assert set(listed(desk)) == {"b"}
    night(desk, "cups.yaml", "--only", "c2")
    assert set(listed(desk)) == {"b", "c"}  # the whole manifest was planned
    desk.run("collect", *QUICK)
    desk.run("run", *QUICK, "no.yaml")
    assert set(listed(desk)) == {"b", "c"}


def test_a_job_that_is_paid_under_another_manifests_name_is_listed_until_the_name_is_given(
    desk: Desk,
) -> None:
    write(desk, {"id": "tote"})
    night(desk)
    (desk.folder / "bags.yaml").rename(desk.folder / "sacks.yaml")
    night(desk, "sacks.yaml", code=5)
    assert "`name: bags` in it keeps the clip" in listed(desk)["tote"]
    write(desk, {"id": "tote"}, file="sacks.yaml", name="bags")
    night(desk, "sacks.yaml")
    assert listed(desk) == {}


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"bags": [1]}', '{"bags": {"x": 1}}', "[" * 100_000])
def test_a_note_that_no_batchgen_wrote_is_none_and_the_next_run_writes_it_anew(desk: Desk, text: str) -> None:
    write(desk, {"id": "tote"})
    night(desk)

    async def spoil() -> None:
        with Ledger.open(ledger(desk), origin=desk.env["POWERTOKENS_API_BASE"]) as opened:
            await opened.set_note(changed.NOTE, text)

    asyncio.run(spoil())
    assert listed(desk) == {}
    write(desk, {"id": "tote", "prompt": "Another light"})
    night(desk, code=5)
    assert set(listed(desk)) == {"tote"}


@pytest.mark.parametrize("known", ["as it is", "before it was written again", "as it was sent"])
def test_a_picture_that_is_known_to_be_another_is_told_until_a_run_finds_its_job_changed(
    tmp_path: Path, known: str
) -> None:
    (tmp_path / "mug.png").write_bytes(make_png(seed=1))
    with Book(tmp_path) as book:
        row = book.add("mug", picture="mug.png")
    sent = hashlib.sha256(make_png(seed=1)).hexdigest()
    (tmp_path / "mug.png").write_bytes(make_png(seed=2))
    image = inspect(str(tmp_path / "mug.png"))
    if known == "as it was sent":
        image = image._replace(sha256=sent)
    elif known == "before it was written again":
        image = image._replace(size=image.size + 1)

    async def look(note: str) -> list[str]:
        with Ledger.open(str(book.path), origin=ORIGIN) as opened:
            await opened.remember_images([image])
            await opened.set_note(changed.NOTE, note)
        with Records.read(str(book.path)) as records:
            return [one.token for one in data.gather(records, time.time()).risks]

    assert asyncio.run(look("{}")) == (["picture"] if known == "as it is" else [])
    noted = json.dumps({"shop": {row.external_task_id: "why"}})
    assert asyncio.run(look(noted)) == ["changed"]


def test_the_note_stays_small_however_many_jobs_changed() -> None:
    job = Job("bags", "tote", 1, "id", "0" * 64, {}, "/clips", Place("bags.yaml"))
    steps = [Step(job, Action.CHANGED, f"id-{number}", "why " * 1000) for number in range(5000)]
    kept = changed.Changed(None, ["bags"])
    assert len(list(kept.seen(steps))) == 5000
    reasons = json.loads(kept.text)["bags"]
    assert len(reasons) == 5000 and sum(map(bool, reasons.values())) == changed.REASONS
    assert max(map(len, reasons.values())) == changed.REASON
