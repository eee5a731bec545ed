"""A run costs by its manifest: what a ledger remembers beside it is neither read nor counted."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from batchgen.ledger import database
from batchgen.ledger.reader import Records
from batchgen.ledger.rows import path_key
from batchgen.models import Job, Manifest, Place, State
from batchgen.run import planning
from batchgen.run.plan import Action
from batchgen.run.planning import planned
from batchgen.run.survey import survey
from batchgen.storage.roots import Roots

DIGEST = "d" * 60
_INSERT = """INSERT INTO tasks (external_task_id, base_id, manifest, job_id, take, digest, state, kind, attempt, created_at,
    task_id, output_path, output_key, video_path, video_sha256, canonical)
    VALUES (?1, ?1, 'night', ?2, 1, ?3, 'downloaded', 'pro/5', 1, 1.0, ?1, ?4, ?5, ?4, '', '{"mode": "pro", "duration": "5"}')"""


def filled(path: Path, names: list[str]) -> Records:
    """A ledger with a downloaded row for each of these job ids; an image is remembered for each."""
    database.prepare(str(path), "https://api.example", database.MIGRATIONS)
    connection = database.open_to_write(str(path), None)
    paths = [f"/nowhere/night/{name}.mp4" for name in names]
    rows = [
        (f"night.{number}", name, f"{DIGEST}{number:04}", path, path_key(path))
        for number, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    connection.execute("BEGIN")
    connection.executemany(_INSERT, rows)
    images = ((f"/in/{name}.png",) for name in names)
    connection.executemany("INSERT INTO images VALUES (?, 1, '1', '1', '', 'png', 300, 300, 1)", images)
    connection.execute("COMMIT")
    connection.close()
    return Records.read(str(path))


def manifest(*names: str) -> Manifest:
    """The first rows' jobs as a manifest has them."""
    jobs = [
        Job("night", name, 1, f"night.{number}", f"{DIGEST}{number:04}", {}, "/nowhere", Place("m.yaml"))
        for number, name in enumerate(names)
    ]
    return Manifest("m.yaml", "night", jobs=jobs)


@pytest.fixture
def sizes(tmp_path: Path) -> Iterator[list[Records]]:
    with (
        filled(tmp_path / "small.db", [f"job{number}" for number in range(20)]) as small,
        filled(tmp_path / "large.db", [f"job{number}" for number in range(5000)]) as large,
    ):
        yield [small, large]


def steps(ledger: Records, one: Manifest) -> int:
    """How much SQLite does for a plan and a look for clips and images, in tens of its virtual machine's instructions."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1

    ledger._reader.set_progress_handler(count, 10)
    try:
        assert {step.action for step in planned([one], ledger)} == {Action.DONE}
        assert len(survey(ledger, [one], Roots()).missing) == len(one.jobs)
        images = ledger.images()
        assert all(f"/in/{job.id}.png" in images for job in one.jobs)
        assert ledger.moves() == []
        assert next(ledger.open_records(), None) is None
    finally:
        ledger._reader.set_progress_handler(None, 0)
    return done


def test_a_ledger_of_many_rows_costs_a_manifest_no_more_than_one_of_few(sizes: list[Records]) -> None:
    small, large = (steps(ledger, manifest(*(f"job{number}" for number in range(20)))) for ledger in sizes)
    assert 50 < small <= large < 1.2 * small  # some images are read ahead in vain


def test_images_are_found_in_any_order_and_in_few_queries_in_that_of_their_names(tmp_path: Path) -> None:
    names = [f"{number:04}" for number in range(1000)]
    with filled(tmp_path / "ledger.db", names[::2]) as ledger:
        sent: list[str] = []
        ledger._reader.set_trace_callback(sent.append)
        for order, most in ((names[::2], 12), (names[::-1], 1002), (names[7::17] + names, 600)):
            images = ledger.images()
            found = {name: images.get(f"/in/{name}.png") for name in order}
            assert {name: one and one.path for name, one in found.items()} == {
                name: f"/in/{name}.png" if name in names[::2] else None for name in order
            }
            assert len(sent) <= most
            sent.clear()


def test_a_row_is_looked_at_once_however_far_apart_the_takes_of_its_job_are(sizes: list[Records]) -> None:
    """A row that came twice looked like two rows with one clip, and every clip of a folder was read at every run."""
    names, ledger = [f"job{number}" for number in range(1200)], sizes[1]
    one = manifest(*names)
    one.jobs += [
        job._replace(take=2) for job in one.jobs
    ]  # the same folder once more, as two entries have it
    clips = [row.job_id for row in ledger.stored_clips("night", (job.id for job in one.jobs))]
    assert sorted(clips) == sorted(names)
    assert {len(rows) for rows in ledger.briefs.of([one]).values()} == {1}


@pytest.mark.parametrize("spelt", ["night", "n\xe4cht", unicodedata.normalize("NFD", "n\xe4cht")])
def test_a_clip_that_is_gone_is_missed_though_its_job_has_gone_to_another_manifest(
    tmp_path: Path, spelt: str
) -> None:
    with filled(tmp_path / "l.db", ["a", "b"]) as ledger:
        connection = database.open_to_write(ledger.path, None)
        connection.execute("UPDATE tasks SET manifest = ?", (spelt,))
        connection.close()
        name = unicodedata.normalize("NFC", spelt)
        gone, stays = (job._replace(manifest=name) for job in manifest("a", "b").jobs)
        moved = gone._replace(manifest="day", external_task_id="day.0")
        both = [Manifest("m.yaml", name, jobs=[stays]), Manifest("d.yaml", "day", jobs=[moved])]
        steps = [*survey(ledger, both, Roots()).applied(planned(both, ledger))]
    assert [(step.external_task_id, step.action) for step in steps] == [
        ("night.1", Action.DOWNLOAD),
        ("night.0", Action.DOWNLOAD),
    ]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_rows_are_found_by_their_jobs_however_accents_are_spelt(
    tmp_path: Path, form: Literal["NFC", "NFD"]
) -> None:
    name = "Ärger/Öl"
    with filled(tmp_path / "ledger.db", [unicodedata.normalize(form, name)]) as ledger:
        assert [brief.state for brief in ledger.briefs.of([manifest(name)])["night", name, 1]] == [
            State.DOWNLOADED
        ]
        assert [*survey(ledger, [manifest(name)], Roots()).missing] == ["night.0"]


@pytest.mark.parametrize("changed", [False, True])
def test_a_row_whose_accents_are_spelt_in_both_ways_at_once_is_not_paid_again(
    tmp_path: Path, changed: bool
) -> None:
    mixed = unicodedata.normalize("NFD", "Ärger") + "/Öl"
    with filled(tmp_path / "ledger.db", [mixed]) as ledger:
        job = manifest("Ärger/Öl").jobs[0]._replace(external_task_id="night.other")
        if changed:
            job = job._replace(digest="e" * 64, request={"mode": "std", "duration": "5"})
        (step,) = planned([Manifest("m.yaml", "night", jobs=[job])], ledger)
        action = Action.CHANGED if changed else Action.DONE
        assert (step.action, step.external_task_id) == (action, "night.0")


@pytest.mark.parametrize("part", [1, 2, 1000])
def test_steps_are_the_same_in_however_small_parts_the_ledger_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """A clip is one job's alone, whether that job stands in the same part of the manifest or in one before."""
    monkeypatch.setattr(planning, "PART", part)
    with filled(tmp_path / "ledger.db", ["a", "b", "c", "d"]) as ledger:
        a, b, c, d = manifest("a", "b", "c", "d").jobs
        swapped = [a._replace(id="b", external_task_id="x"), b._replace(id="a", external_task_id="y")]
        copies = [job._replace(id=f"new {job.id}", external_task_id=f"new.{job.id}") for job in (c, c, d)]
        copies[1] = copies[1]._replace(id="again", external_task_id="again")
        one = Manifest("m.yaml", "night", jobs=[*swapped, *copies, d])
        steps = [(step.job.id, step.action, step.external_task_id) for step in planned([one], ledger)]
    assert steps == [
        ("b", Action.DONE, "night.0"),
        ("a", Action.DONE, "night.1"),
        ("new c", Action.DONE, "night.2"),
        ("again", Action.CREATE, "again"),
        ("new d", Action.CREATE, "new.d"),
        ("d", Action.DONE, "night.3"),
    ]
