"""Clips on disk: what is recorded beside them, those that are no longer where they were, and their names."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchgen import limits
from batchgen.ledger import database
from batchgen.ledger.lock import Lock
from batchgen.ledger.reader import Records
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Record, State
from batchgen.request.identity import canonical_text, digest
from batchgen.run import cliplog
from batchgen.run.events import Events
from batchgen.storage import clips
from batchgen.storage.roots import Root, Roots
from tests.support.program import Desk, Server, sandbox
from tests.support.stored import lose

FAST = ("--task-seconds", "0.05-0.2")
QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "1")


def manifest(*ids: str, name: str = "m", **fields: object) -> str:
    """Jobs whose content follows from the first letter of their ids, so that a job can be renamed."""
    jobs = [
        {"id": one, "image": f"https://example.com/{one[0]}.png", "prompt": one[0], **fields} for one in ids
    ]
    return json.dumps({"version": 1, "name": name, "defaults": {"model_name": "kling-v3"}, "jobs": jobs})


def ledger_path(desk: Desk) -> Path:
    return desk.folder / "home/.local/state/batchgen/ledger.db"


def lose_ledger(desk: Desk) -> None:
    lose(ledger_path(desk))


def creates(server: Server) -> int:
    """Creates that reached the server: what may cost money."""
    return sum(entry.kind == "create" for entry in server.entries())


def videos(server: Server) -> int:
    return sum(entry.kind == "video" for entry in server.entries())


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def homes(desk: Desk) -> dict[str, str]:
    """external_task_id -> where its clip is, below the output folder; each has the digest that the ledger has."""
    found = {}
    for row in desk.export():
        if row["state"] == "downloaded":
            path = Path(row["video_path"])
            assert sha256(path) == row["video_sha256"]
            found[row["external_task_id"]] = str(path.relative_to(desk.folder / "clips"))
    return found


def files(desk: Desk) -> set[str]:
    folder = desk.folder / "clips"
    return {str(path.relative_to(folder)) for path in folder.rglob("*.mp4")}


def forget_at_the_api(server: Server) -> None:
    """As after 30 days: no task is known, no clip is there."""
    server.ask("faults", {"clear": True, "add": ["query_not_found=1", "video_404=1"]})


# -- clips.jsonl --------------------------------------------------------------------------------------------------


def test_beside_the_clips_lies_a_line_for_each_with_all_that_a_ledger_needs(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b/c"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        told = {line["external_task_id"]: line for line in lines(desk.folder / "clips/m")}
        rows = {row["external_task_id"]: row for row in desk.export()}
        assert told.keys() == rows.keys()
        for name, line in told.items():
            row = rows[name]
            path = desk.folder / "clips/m" / line["file"]
            assert (line["sha256"], line["size"]) == (sha256(path), path.stat().st_size)
            assert str(path) == row["video_path"]
            for field in ("task_id", "job_id", "take", "manifest", "cost_usd_estimate", "submitted_at"):
                assert line[field] == row[field]
            assert line["request"]["prompt"] == row["job_id"][0]
            assert line["api"] == server.url


@pytest.mark.parametrize("command", ["run", "recover"])
def test_a_lost_ledger_is_rebuilt_from_the_clips_where_the_api_has_forgotten_the_tasks(
    desk: Desk, command: str
) -> None:
    desk.write("m.yaml", manifest("a", "b", "c"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        before = desk.export()
        lose_ledger(desk)
        forget_at_the_api(server)
        plan = desk.run("plan", "m.yaml").out
        assert "3 done" in plan and "a run takes it in" in plan and "create" not in plan
        result = desk.run(command, *QUICK, "m.yaml")
        assert result.code == 0, result.err
        assert "3 clips in" in result.err
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert (creates(server), videos(server)) == (3, 3)
        kept = [
            *(
                "external_task_id",
                "task_id",
                "state",
                "manifest",
                "job_id",
                "take",
                "video_path",
                "video_sha256",
            ),
            *("submitted_at", "finished_at", "cost_usd_estimate", "units_charged"),
        ]
        after = desk.export()
        assert sorted([str(row[name]) for name in kept] for row in after) == sorted(
            [str(row[name]) for name in kept] for row in before
        )


def test_after_a_rename_of_the_job_and_a_lost_ledger_nothing_is_paid_again(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        desk.write("m.yaml", manifest("a2", "b"))
        lose_ledger(desk)
        forget_at_the_api(server)
        result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, creates(server)) == (0, 2)
        assert set(homes(desk).values()) == {"m/a2.mp4", "m/b.mp4"} == files(desk)


@pytest.mark.parametrize("command", ["run", "run --recover", "recover"])
@pytest.mark.parametrize("renamed", [True, False], ids=["renamed", "lookups never work"])
def test_a_task_that_is_named_beside_the_clips_is_asked_for_where_the_clip_was_taken_away(
    desk: Desk, command: str, renamed: bool
) -> None:
    """Neither the new name nor, at many gateways, the old one is one by which the API finds it."""
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST, *([] if renamed else ["--no-lookups"])) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        (desk.folder / "clips/m/a.mp4").unlink()
        desk.write("m.yaml", manifest("a2" if renamed else "a", "b"))
        lose_ledger(desk)
        desk.run(*command.split(), *QUICK, "m.yaml")
        desk.run("recover", *QUICK, "m.yaml")
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert creates(server) == 2
        assert files(desk) == {"m/a2.mp4" if renamed else "m/a.mp4", "m/b.mp4"}


def test_another_take_and_a_job_that_asks_for_the_same_get_no_task_of_such_a_line(desk: Desk) -> None:
    job = {"image": "https://example.com/a.png", "prompt": "a"}

    def write(*jobs: dict[str, Any]) -> None:
        desk.write(
            "m.yaml",
            json.dumps(
                {
                    "version": 1,
                    "name": "m",
                    "output_dir": "clips",
                    "defaults": {"model_name": "kling-v3"},
                    "jobs": [{**job, **one} for one in jobs],
                }
            ),
        )

    write({"id": "a"})
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        (desk.folder / "clips/m/a.mp4").unlink()
        write({"id": "a"}, {"id": "a", "take": 2}, {"id": "twin"})
        lose_ledger(desk)
        assert desk.run("recover", *QUICK, "m.yaml").code == 0
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert creates(server) == 3
        assert len({row["task_id"] for row in desk.export()}) == 3


def test_after_a_rename_of_the_manifest_and_a_lost_ledger_the_person_decides(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        desk.write("m.yaml", manifest("a", "b", name="n"))
        lose_ledger(desk)
        forget_at_the_api(server)
        result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, creates(server)) == (5, 2)
        assert "`name: m` in it keeps the clip" in result.err


def test_an_older_copy_of_the_ledger_learns_from_the_clips_what_it_has_lost(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b", "c", "d"))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", "--max-jobs", "2", *QUICK, "m.yaml").code == 4
        shutil.copy(ledger_path(desk), desk.folder / "older.db")
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        forget_at_the_api(server)
        result = desk.run("run", "--ledger", "older.db", *QUICK, "m.yaml")
        assert (result.code, creates(server)) == (0, 4)
        asked = len(server.entries())
        assert desk.run("run", "--ledger", "older.db", *QUICK, "m.yaml").code == 0
        assert len(server.entries()) == asked


def test_an_older_ledger_whose_tasks_still_ran_takes_the_clips_that_came_home_since(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, "--task-seconds", "600") as server:
        desk.against(server)
        assert desk.run("run", "--submit-only", *QUICK, "m.yaml").code == 0
        shutil.copy(ledger_path(desk), desk.folder / "older.db")
        server.ask("finish", {})
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        forget_at_the_api(server)
        assert desk.run("run", "--ledger", "older.db", *QUICK, "m.yaml").code == 0
        assert creates(server) == 2


def spoil(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Edit every line as a person might."""

    def spoiled(file: Path) -> None:
        told = [json.loads(line) for line in file.read_text().splitlines()]
        for line in told:
            change(line)
        file.write_text("".join(f"{json.dumps(line)}\n" for line in told))

    return spoiled


def asking_for(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    """Another request, whose digest is right: whoever edits the one can work out the other."""

    def change(line: dict[str, Any]) -> None:
        line["request"][name] = value
        line["digest"] = digest(canonical_text(line["request"]))

    return change


def fold(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link_away(file: Path) -> None:
    file.rename(file.with_name("real.jsonl"))
    file.symlink_to("real.jsonl")


SPOILED: dict[str, Callable[[Path], object]] = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_text(""),
    "torn": lambda file: file.write_bytes(file.read_bytes()[:-40]),
    "binary": lambda file: file.write_bytes(os.urandom(5000)),
    "one endless line": lambda file: file.write_bytes(b"[" * 3_000_000),
    "deep": lambda file: file.write_bytes(b"[" * 100_000 + b"\n"),
    "a folder": fold,
    "a pipe": pipe,
    "a link": link_away,
    "another version": spoil(lambda line: line.update(version=2)),
    "another api": spoil(lambda line: line.update(api="https://elsewhere.example")),
    "edited request": spoil(lambda line: line["request"].update(prompt="other")),
    "edited digest": spoil(lambda line: line.update(digest="0" * 64)),
    "edited clip digest": spoil(lambda line: line.update(sha256="0" * 64)),
    "a file outside": spoil(lambda line: line.update(file="../../../m.yaml")),
    "not a name": spoil(lambda line: line.update(file="a\0.mp4")),
    "no size": spoil(lambda line: line.pop("size")),
    "a wrong type": spoil(lambda line: line.update(take="1")),
    "another's try": spoil(lambda line: line.update(base_id="other")),
    "an odd time": spoil(lambda line: line.update(submitted_at="yesterday")),
    "a year without a calendar": spoil(lambda line: line.update(submitted_at=1e300)),
    "odd parts": spoil(lambda line: line.update(parts=[{"path": 5}])),
    "a part outside": spoil(
        lambda line: line.update(parts=[{"part": "/../../x", "url": "https://a.example/", "path": None}])
    ),
    "a part without an address": spoil(lambda line: line.update(parts=[{"part": "part2", "path": None}])),
    "a job outside": spoil(lambda line: line.update(job_id="../../x")),
    "a manifest outside": spoil(lambda line: line.update(manifest="..")),
    "a job that is no name": spoil(lambda line: line.update(job_id="a\0b")),
    "half a character": spoil(lambda line: line.update(job_id="a\ud800")),
    "half a character in an id": spoil(
        lambda line: line.update(base_id="a\ud800", external_task_id="a\ud800")
    ),
    "an endless number": spoil(lambda line: line.update(external_task_id=f"{line['base_id']}~{'9' * 5000}")),
    "more takes than anybody counts": spoil(lambda line: line.update(take=10**30)),
    "a price beyond money": spoil(lambda line: line.update(cost_usd_estimate=10**30)),
    "a price without an end": spoil(lambda line: line.update(cost_usd_estimate=float("inf"))),
    "a size beyond disks": spoil(lambda line: line.update(size=10**30)),
    **{
        f"a request whose {name} is odd": spoil(asking_for(name, value))
        for name, value in (
            ("mode", None),
            ("duration", 5),
            ("multi_prompt", 7),
            ("multi_prompt", [7]),
            ("watermark_info", "x"),
            ("image", {}),
        )
    },
    "null": lambda file: file.write_text("null\n[]\n5\n{}\n"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_clips_jsonl_says_is_never_a_traceback_and_never_trusted_without_the_digest(
    desk: Desk, what: str
) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        SPOILED[what](desk.folder / "clips/m/clips.jsonl")
        lose_ledger(desk)
        assert desk.run("recover", "--json", *QUICK, "m.yaml").json["clips"] == {}
        assert desk.run("collect", *QUICK).code == 0
        assert (creates(server), files(desk)) == (1, {"m/a.mp4"})


def test_lines_that_are_foreign_torn_or_double_don_t_hide_the_good_ones(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        file = desk.folder / "clips/m/clips.jsonl"
        first, second = file.read_text().splitlines()
        file.write_text(f"# mine\n{first}\n{first}\n\n{{}}\n{second}\n{first[:50]}")
        lose_ledger(desk)
        assert len(desk.run("recover", "--json", *QUICK, "m.yaml").json["clips"]) == 2
        desk.write("m.yaml", manifest("a", "b", "c"))
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        good = file.read_text().splitlines()
        assert json.loads(good[-1])["job_id"] == "c"  # on a line of its own, after the torn one


@pytest.mark.parametrize(
    "home",
    [
        {},
        {
            "video_size": None,
            "output_dir": None,
            "image": None,
            "estimate": None,
        },  # the first edition's
        {"video_path": "/clips/best/The winner.MP4"},  # moved by a person
        {"job_id": "a/b", "output_path": "/clips/m/a/b.mp4", "take": 2, "external_task_id": "x~2"},
        {"output_path": "/clips/m/superseded/a.mp4", "submitted_at": None, "finished_at": 1e9},
        {
            "job_id": "Grüße 猫",
            "request_id": "r",
            "units_charged": "3",
            "estimate": 84_001,
            "charged": 420_000,
        },
        {"parts": '[{"part": "part2", "url": "https://e.example/2", "path": null, "sha256": null}]'},
        {"parts": '[{"part": "watermark", "url": "u", "path": "/clips/m/a.watermark.MP4", "sha256": "1"}]'},
    ],
    ids=str,
)
def test_every_line_that_is_written_is_believed(tmp_path: Path, home: dict[str, Any]) -> None:
    request = '{"duration":"5","mode":"pro"}'
    row = Record(
        "x",
        "x",
        "m",
        "a",
        1,
        digest(request),
        request,
        State.DOWNLOADED,
        "/clips/m/a.mp4",
        1,
        "t",
        created_at=1.0,
    )
    row = row._replace(output_dir="/clips", video_path="/clips/m/a.mp4", video_sha256="0", video_size=1)
    row = row._replace(**home)
    places = {
        name: getattr(row, name) for name in ("output_path", "video_path", "parts") if getattr(row, name)
    }
    row = row._replace(
        **{name: text.replace("/clips/", f"{tmp_path}/") for name, text in places.items()},
        output_dir=str(tmp_path),
    )
    clips.append(
        Root(str(tmp_path)), str(tmp_path / "m"), [clips.entry_line(row, str(tmp_path / "m"), "api")]
    )
    ((read, api),) = clips.entries(Root(str(tmp_path)), str(tmp_path / "m"))
    assert (read, api) == (row, "api")


def test_a_clip_is_taken_in_by_its_bytes_alone_wherever_below_the_output_folder_it_lies(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        folder = desk.folder / "clips/m"
        (desk.folder / "clips/best").mkdir()
        (folder / "a.mp4").rename(desk.folder / "clips/best/The winner.MP4")
        (folder / "b.mp4").write_bytes(b"something else")
        lose_ledger(desk)
        forget_at_the_api(server)
        assert len(desk.run("recover", "--json", *QUICK, "m.yaml").json["clips"]) == 1
        assert set(homes(desk).values()) == {"best/The winner.MP4"}


def test_a_clip_comes_home_where_clips_jsonl_cant_be_written_and_that_is_said(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    (desk.folder / "clips/m/clips.jsonl").mkdir(parents=True)
    with sandbox(desk.folder, *FAST) as server:
        result = desk.against(server).run("run", *QUICK, "m.yaml")
        assert (result.code, set(homes(desk).values())) == (0, {"m/a.mp4", "m/b.mp4"})
        assert result.err.count("clips.jsonl can't be written") == 1


def test_rehearsed_clips_are_no_clips_of_another_api(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", "--ledger", "rehearsal.db", *QUICK, "m.yaml").code == 0
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        assert creates(server) == 1


@pytest.mark.parametrize("size", ["known", "not recorded, as in the first edition"])
def test_clips_that_came_home_before_there_were_lines_get_theirs_once(desk: Desk, size: str) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    file = desk.folder / "clips/m/clips.jsonl"
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        file.unlink()
        if size != "known":
            with contextlib.closing(sqlite3.connect(ledger_path(desk))) as connection, connection:
                connection.execute("UPDATE tasks SET video_size = NULL")
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert {line["job_id"] for line in lines(desk.folder / "clips/m")} == {"a", "b"}
        with file.open("a") as opened:
            opened.write("\n")  # whatever else writes there: the file is read again
        before = file.read_bytes()
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert file.read_bytes() == before
        lose_ledger(desk)
        forget_at_the_api(server)
        assert (desk.run("run", *QUICK, "m.yaml").code, creates(server)) == (0, 2)
        assert files(desk) == {"m/a.mp4", "m/b.mp4"} == set(homes(desk).values())


# -- clips that aren't there --------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("command", ["run", "collect"])
@pytest.mark.parametrize(
    "harm",
    [Path.unlink, cut, lambda path: shutil.rmtree(path.parent)],
    ids=["deleted", "cut short", "emptied"],
)
def test_a_clip_that_is_no_longer_there_is_fetched_again_and_not_created(
    desk: Desk, command: str, harm: Callable[[Path], object]
) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        path = desk.folder / "clips/m/a.mp4"
        harm(path)
        plan = desk.run("plan", "m.yaml").out
        assert plan.startswith("download") and "fetched at no cost" in plan and "about $0.00" in plan
        result = desk.run(command, *QUICK, *(["m.yaml"] if command == "run" else []))
        assert (result.code, creates(server), videos(server)) == (0, 1, 2)
        assert result.err == ""  # nobody has to do anything
        (row,) = desk.export()
        assert sha256(Path(row["video_path"])) == row["video_sha256"]
        history = desk.run("status", "--json", row["external_task_id"]).json["tasks"][0]["history"]
        states = [
            (event["from_state"], event["to_state"]) for event in history if event["event"] == "clip_missing"
        ]
        assert states == [("downloaded", "succeeded")]
        assert desk.run("run", *QUICK, "m.yaml").err == ""


def test_a_run_looks_for_the_clips_of_its_jobs_and_collect_for_all(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        for name in "ab":
            (desk.folder / f"clips/m/{name}.mp4").unlink()
        desk.write("m.yaml", manifest("a"))
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert files(desk) == {"m/a.mp4"}
        assert desk.run("collect", *QUICK).code == 0
        assert files(desk) == {"m/a.mp4", "m/b.mp4"}
        assert creates(server) == 2


def test_the_clip_of_a_job_that_was_renamed_is_looked_for_as_well(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a1"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        (desk.folder / "clips/m/a1.mp4").unlink()
        desk.write("m.yaml", manifest("a2"))
        for _ in range(2):  # before its clip has the new name, and with it
            assert desk.run("run", *QUICK, "m.yaml").code == 0
            assert files(desk) == {"m/a2.mp4"}
            (desk.folder / "clips/m/a2.mp4").unlink()
        assert (creates(server), videos(server)) == (1, 3)


def test_a_clip_that_was_moved_is_found_by_its_bytes_and_stays_where_it_was_put(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        asked = len(server.entries())
        (desk.folder / "clips/kept").mkdir()
        (desk.folder / "clips/m/a.mp4").rename(desk.folder / "clips/kept/x.mp4")
        result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, result.err) == (0, "")
        assert set(homes(desk).values()) == {"kept/x.mp4", "m/b.mp4"}
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert (len(server.entries()), files(desk)) == (asked, {"kept/x.mp4", "m/b.mp4"})


def test_a_whole_output_folder_may_be_moved_where_the_manifest_says_so(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b/c"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        asked = len(server.entries())
        (desk.folder / "clips").rename(desk.folder / "archive")
        desk.write(
            "m.yaml", manifest("a", "b/c").replace('"version": 1', '"version": 1, "output_dir": "archive"')
        )
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert len(server.entries()) == asked
        assert {row["video_path"] for row in desk.export()} == {
            str(desk.folder / "archive/m/a.mp4"),
            str(desk.folder / "archive/m/b/c.mp4"),
        }


def test_a_clip_that_the_api_has_deleted_too_is_said_once_and_never_paid_again(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        with contextlib.closing(sqlite3.connect(ledger_path(desk))) as connection, connection:
            connection.execute("UPDATE tasks SET finished_at = finished_at - 40 * 86400")
        content = (desk.folder / "clips/m/a.mp4").read_bytes()
        (desk.folder / "clips/m/a.mp4").unlink()
        forget_at_the_api(server)
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 5
        assert "the API has deleted it" in result.err
        for paying in ("take", "--accept-changes", "--retry-failed"):
            assert paying not in result.err
        asked = len(server.entries())
        again = desk.run("run", *QUICK, "m.yaml")
        assert (again.code, again.err, len(server.entries()), creates(server)) == (0, "", asked, 1)
        assert "the API has it no more" in desk.run("plan", "m.yaml").out
        (desk.folder / "clips/m/a.mp4").write_bytes(content)
        assert "its clip is here" in desk.run("plan", "m.yaml").out


def test_a_clip_that_cant_be_asked_for_now_is_asked_for_by_the_next_run(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        (desk.folder / "clips/m/a.mp4").unlink()
        server.ask("faults", {"add": ["query_not_found=1"]})
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 1
        assert "asks again, at no cost" in result.err and "--abandon" not in result.err
        server.ask("faults", {"clear": True})
        assert (desk.run("run", *QUICK, "m.yaml").code, creates(server)) == (0, 1)


def test_a_disk_that_isnt_mounted_is_neither_filled_nor_mistaken_for_an_emptied_folder(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        (desk.folder / "clips").rename(desk.folder / "on the disk")  # as a mount point without its disk looks
        with contextlib.closing(sqlite3.connect(ledger_path(desk))) as connection, connection:
            connection.execute(
                "UPDATE notes SET value = ? WHERE key LIKE 'mount:%'", (str(desk.folder / "clips"),)
            )
        desk.write("m.yaml", manifest("a", "b"))
        assert "isn't" in desk.run("plan", "m.yaml").out
        result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, creates(server), videos(server)) == (4, 1, 1)
        assert f"was mounted at {desk.folder / 'clips'}" in result.err
        assert not (desk.folder / "clips").exists()
        (desk.folder / "on the disk").rename(desk.folder / "clips")  # moved to a disk that is always there
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert (creates(server), files(desk)) == (2, {"m/a.mp4", "m/b.mp4"})


def test_a_folder_that_cant_be_read_is_not_taken_for_empty(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        folder = desk.folder / "clips/m"
        folder.rename(desk.folder / "clips/elsewhere")
        folder.symlink_to("m")  # a loop: what is behind it can't be told
        result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, videos(server)) == (0, 1)
        assert "can't be read" in result.err


# -- names --------------------------------------------------------------------------------------------------------


def changed(prompt: str, *ids: str) -> str:
    return manifest(*ids, prompt=prompt)


def test_an_accepted_changes_clip_takes_the_plain_name_and_the_old_one_is_kept_beside_it(desk: Desk) -> None:
    desk.write("m.yaml", changed("one", "a", "b/c"))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        first = homes(desk)
        desk.write("m.yaml", changed("two", "a", "b/c"))
        assert desk.run("run", "--accept-changes", *QUICK, "m.yaml").code == 0
        second = homes(desk)
        assert {second[name] for name in first} == {"m/superseded/a.mp4", "m/b/superseded/c.mp4"}
        assert {second[name] for name in second.keys() - first.keys()} == {"m/a.mp4", "m/b/c.mp4"}

        desk.write("m.yaml", changed("three", "a", "b/c"))
        assert desk.run("run", "--accept-changes", *QUICK, "m.yaml").code == 0
        third = homes(desk)
        assert {third[name] for name in third.keys() - second.keys()} == {"m/a.mp4", "m/b/c.mp4"}
        assert len(files(desk)) == 6

        desk.write("m.yaml", changed("one", "a", "b/c"))  # back: nothing is paid, and the names follow
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert creates(server) == 6
        assert {homes(desk)[name] for name in first} == {"m/a.mp4", "m/b/c.mp4"}
        assert len(files(desk)) == 6

        lose_ledger(desk)
        forget_at_the_api(server)
        before = files(desk)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert (creates(server), files(desk)) == (6, before)
        assert {homes(desk)[name] for name in first} == {"m/a.mp4", "m/b/c.mp4"}


def test_the_old_clip_keeps_its_name_until_the_new_one_is_home(desk: Desk) -> None:
    desk.write("m.yaml", changed("one", "a"))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        (old,) = homes(desk)
        desk.write("m.yaml", changed("two", "a"))
        server.ask("faults", {"add": ["video_500=1"]})
        assert desk.run("run", "--accept-changes", *QUICK, "m.yaml").code == 1
        assert homes(desk) == {old: "m/a.mp4"}
        server.ask("faults", {"clear": True})
        assert desk.run("collect", *QUICK).code == 0
        assert homes(desk)[old] == "m/superseded/a.mp4"
        assert files(desk) == {"m/a.mp4", "m/superseded/a.mp4"}


def test_a_job_that_was_renamed_and_is_changed_later_is_a_changed_one_and_pays_nothing_by_itself(
    desk: Desk,
) -> None:
    desk.write("m.yaml", manifest("a1", "b1"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        desk.write("m.yaml", manifest("a2", "b1"))
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        desk.write("m.yaml", manifest("a2", "b1", duration=10))
        assert desk.run("plan", "m.yaml").out.startswith("changed")
        assert desk.run("run", *QUICK, "m.yaml").code == 5
        assert creates(server) == 2
        accepted = desk.run("run", "--accept-changes", *QUICK, "m.yaml")
        assert (accepted.code, creates(server)) == (0, 4)
        assert {row["job_id"]: row["current"] for row in desk.export()[-2:]} == {"a2": True, "b1": True}
        desk.write("m.yaml", manifest("a2", "b1", "c1", duration=10))  # a job that is new is new
        assert (desk.run("run", *QUICK, "m.yaml").code, creates(server)) == (0, 5)


def test_a_renamed_jobs_clip_takes_the_new_name(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        desk.write("m.yaml", manifest("also", "b"))
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert (set(homes(desk).values()), files(desk)) == ({"m/also.mp4", "m/b.mp4"},) * 2
        name = next(name for name, path in homes(desk).items() if path == "m/also.mp4")
        history = desk.run("status", "--json", name).json["tasks"][0]["history"]
        assert [event["event"] for event in history][-2:] == ["renamed", "moved"]
        assert {line["file"] for line in lines(desk.folder / "clips/m")} >= {"also.mp4"}
        assert creates(server) == 2


@pytest.mark.parametrize(
    "names",
    [{"a": "b", "b": "c", "c": "d"}, {"a": "b", "b": "a", "c": "c"}, {"a": "b", "b": "c", "c": "a"}],
    ids=["shift", "swap", "ring"],
)
def test_clips_whose_jobs_take_each_others_names_follow_them(desk: Desk, names: dict[str, str]) -> None:
    def write(ids: dict[str, str]) -> None:
        jobs = [{"id": ids[c], "image": f"https://example.com/{c}.png", "prompt": c} for c in "abc"]
        defaults = {"model_name": "kling-v3"}
        desk.write("m.yaml", json.dumps({"version": 1, "name": "m", "defaults": defaults, "jobs": jobs}))

    write({"a": "a", "b": "b", "c": "c"})
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        was = {path: sha256(desk.folder / "clips" / path) for path in files(desk)}
        write(names)
        assert (desk.run("run", *QUICK, "m.yaml").code, creates(server)) == (0, 3)
        now = {path: sha256(desk.folder / "clips" / path) for path in files(desk)}
        assert now == {f"m/{names[c]}.mp4": was[f"m/{c}.mp4"] for c in "abc"}
        assert set(homes(desk).values()) == now.keys()
        lose_ledger(desk)
        assert (desk.run("run", *QUICK, "m.yaml").code, creates(server)) == (0, 3)
        assert {path: sha256(desk.folder / "clips" / path) for path in files(desk)} == now


@pytest.mark.parametrize("command", ["run", "collect"])
@pytest.mark.parametrize("moved", [False, True], ids=["not yet", "already"])
def test_a_move_that_a_crash_cut_short_is_made_by_the_next_run(desk: Desk, command: str, moved: bool) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        (name,) = homes(desk)
        folder = desk.folder / "clips/m"
        belongs = {"output_path": str(folder / "also.mp4"), "output_dir": str(desk.folder / "clips")}
        with Ledger.open(str(ledger_path(desk)), origin=server.url) as ledger:
            asyncio.run(ledger.rename([Change(name, State.DOWNLOADED, "renamed", values=belongs)]))
        if moved:
            (folder / "a.mp4").rename(folder / "also.mp4")
            (folder / "a.mp4").write_bytes((folder / "also.mp4").read_bytes()[::-1])  # somebody's
        desk.write("m.yaml", manifest("also"))
        assert desk.run(command, *QUICK, *(["m.yaml"] if command == "run" else [])).code == 0
        assert homes(desk) == {name: "m/also.mp4"}
        assert files(desk) == {"m/also.mp4", *(["m/a.mp4"] if moved else [])}
        with Records.read(str(ledger_path(desk))) as records:
            assert records.moves() == []


def test_a_clip_that_cant_be_moved_stays_in_the_ledger_and_is_tried_again(desk: Desk) -> None:
    desk.write("m.yaml", changed("one", "a"))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        desk.write("clips/m/superseded", "a file in the way")
        desk.write("m.yaml", changed("two", "a"))
        result = desk.run("run", "--accept-changes", *QUICK, "m.yaml")
        assert (result.code, "stays at" in result.err) == (0, True)
        assert len(homes(desk)) == len(files(desk)) == 2
        (desk.folder / "clips/m/superseded").unlink()
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert set(homes(desk).values()) == files(desk) == {"m/a.mp4", "m/superseded/a.mp4"}


def test_a_foreign_file_in_the_way_of_a_name_is_not_overwritten(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        desk.write("clips/m/also.mp4", "mine")
        desk.write("m.yaml", manifest("also"))
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert (desk.folder / "clips/m/also.mp4").read_text() == "mine"
        (path,) = homes(desk).values()
        assert path.startswith("m/also-")
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert homes(desk) == {next(iter(homes(desk))): path}


def test_a_ledger_with_the_names_of_older_versions_gets_the_plain_ones(desk: Desk) -> None:
    """There the old clip had the plain name, and the new one a hash."""
    desk.write("m.yaml", changed("one", "a"))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        (old,) = homes(desk)
        desk.write("m.yaml", changed("two", "a"))
        assert desk.run("run", "--accept-changes", *QUICK, "m.yaml").code == 0
        (new,) = homes(desk).keys() - {old}
        folder = desk.folder / "clips/m"
        (folder / "a.mp4").rename(folder / "a-7ea7ec97.mp4")
        (folder / "superseded/a.mp4").rename(folder / "a.mp4")
        with contextlib.closing(sqlite3.connect(ledger_path(desk))) as connection, connection:
            connection.execute("UPDATE tasks SET output_key = NULL")
            for name, file in ((old, "a.mp4"), (new, "a-7ea7ec97.mp4")):
                path = str(folder / file)
                connection.execute(
                    "UPDATE tasks SET output_path = ?1, output_key = lower(?1), video_path = ?1, output_dir = NULL"
                    " WHERE external_task_id = ?2",
                    (path, name),
                )
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert homes(desk) == {old: "m/superseded/a.mp4", new: "m/a.mp4"}
        assert creates(server) == 2


@pytest.mark.parametrize("lost", [False, True], ids=["with clips.jsonl", "without"])
def test_recover_and_collect_make_no_second_file_of_a_clip(desk: Desk, lost: bool) -> None:
    """A job that was tried again, and one of an own id whose change was accepted."""
    text = json.loads(manifest("a", "b", prompt="one"))
    text["jobs"][1]["external_task_id"] = "mine"
    desk.write("m.yaml", json.dumps(text))
    with sandbox(desk.folder, *FAST, "--fault", "task_fails@1") as server:
        desk.against(server)
        assert desk.run("run", "--concurrency", "1", "--retry-wait", "0.1", *QUICK, "m.yaml").code == 0
        text["jobs"][1]["prompt"] = "two"
        desk.write("m.yaml", json.dumps(text))
        assert desk.run("run", "--accept-changes", *QUICK, "m.yaml").code == 0
        before = {path: sha256(desk.folder / "clips" / path) for path in files(desk)}
        assert before.keys() == {"m/a.mp4", "m/b.mp4", "m/superseded/b.mp4"}
        lose_ledger(desk)
        if lost:
            (desk.folder / "clips/m/clips.jsonl").unlink()
        assert desk.run("recover", *QUICK, "m.yaml").code == 0
        assert "follow" not in desk.run("plan", "m.yaml").out
        assert desk.run("collect", *QUICK).code == 0
        assert {path: sha256(desk.folder / "clips" / path) for path in files(desk)} == before
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert creates(server) == len(server.accepted()) == 4


def test_recover_with_a_whole_ledger_and_a_refused_job_has_nothing_to_warn_of(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a", "b"))
    with sandbox(desk.folder, *FAST, "--no-lookups", "--fault", "refuse_policy@1") as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 1
        result = desk.run("recover", *QUICK, "m.yaml")
        assert (result.code, "paid" in result.err) == (0, False)


def test_recover_proves_lookups_by_a_task_that_the_ledger_has(desk: Desk) -> None:
    desk.write("m.yaml", manifest("a"))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
        desk.write("m.yaml", manifest("a", "b"))
        result = desk.run("recover", "--json", *QUICK, "m.yaml")
        assert (result.code, result.json["missing"], result.json["lookups_proven"]) == (0, 1, True)


# -- older ledgers ------------------------------------------------------------------------------------------------


def older_ledger(path: Path, *clips: tuple[str, Path]) -> None:
    """A ledger as the version before clips.jsonl left it, with these clips at home."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("\n".join(database.MIGRATIONS[:2]))
        connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 2")
        connection.execute("INSERT INTO meta VALUES ('origin', 'https://api.powertokens.ai')")
        for number, (name, clip) in enumerate(clips, 1):
            row = {
                "id": number,
                "external_task_id": name,
                "base_id": name,
                "manifest": "m",
                "job_id": clip.stem,
                "take": 1,
                "digest": "d",
                "state": "downloaded",
                "kind": "pro/5",
                "attempt": 1,
                "created_at": 1.7e9,
                "task_id": f"t{number}",
                "output_path": str(clip),
                "output_key": str(clip).lower(),
                "video_path": str(clip),
                "video_sha256": sha256(clip),
                "canonical": '{"duration":"5","mode":"pro"}',
            }
            marks = ",".join("?" * len(row))
            connection.execute(f"INSERT INTO tasks ({', '.join(row)}) VALUES ({marks})", [*row.values()])
            connection.execute(
                "INSERT INTO events (task, at, event, to_state, detail) VALUES (?, 1.7e9, 'downloaded', 'downloaded', ?)",
                (number, json.dumps({"bytes": clip.stat().st_size})),
            )
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")


def test_a_clip_in_a_ledger_of_the_first_edition_gets_one_line_and_comes_back_by_it(tmp_path: Path) -> None:
    folder, request = tmp_path / "clips/night", '{"duration":"5","mode":"pro"}'
    folder.mkdir(parents=True)
    clip = folder / "hero.mp4"
    clip.write_bytes(b"old clip")
    old, new = str(tmp_path / "old.db"), str(tmp_path / "new.db")
    with contextlib.closing(sqlite3.connect(old)) as connection, connection:
        connection.executescript((Path(__file__).parents[1] / "machine/ledger_v1.sql").read_text())
        home = {"digest": digest(request), "video_sha256": sha256(clip), "state": "downloaded"}
        home |= dict.fromkeys(("output_path", "output_key", "video_path"), str(clip))
        changes = ", ".join(f"{name} = ?" for name in home)
        connection.execute(f"UPDATE tasks SET {changes} WHERE canonical = ?", [*home.values(), request])

    async def night(path: str) -> cliplog.Lines:
        with Ledger.open(path, origin="https://api.example") as ledger:
            log = cliplog.ClipLog(ledger, Roots(), Events(lambda: 0.0, lambda event: None))
            found = log.read(str(folder.parent), str(folder))
            await log.complete(str(folder), found.names)
            return found

    assert asyncio.run(night(old)) == (set(), [], [])
    for _ in range(2):
        assert asyncio.run(night(old)) == ({"hero"}, [], [])
    assert [line["size"] for line in lines(folder)] == [None]
    (lost,) = asyncio.run(night(new)).lacking
    assert (lost.task_id, lost.video_path, lost.video_size) == ("t1", str(clip), None)


@pytest.mark.parametrize("command", ["plan m.yaml", "status", "export", "status ID", "resolve ID"])
def test_an_older_ledger_is_brought_up_to_date_by_whoever_reads_it(desk: Desk, command: str) -> None:
    desk.write("m.yaml", manifest("b"))
    older_ledger(ledger_path(desk), ("ID", desk.write("clips/m/a.mp4", "old clip")))
    result = desk.run(*command.split())
    assert (result.code, result.err) == (0, "")
    with Records.read(str(ledger_path(desk))) as ledger:
        row = ledger.record("ID")
        assert row is not None
        assert (row.video_size, row.root) == (len("old clip"), str(desk.folder / "clips"))


def test_an_older_ledger_that_a_run_holds_is_not_touched_and_says_when(desk: Desk) -> None:
    path = ledger_path(desk)
    older_ledger(path)
    lock = Lock.acquire(f"{path}.lock")
    try:
        result = desk.run("status")
    finally:
        lock.release()
    assert result.code == 75
    assert "written by an older batchgen" in result.err and f"process {os.getpid()}" in result.err
    assert desk.run("status").code == 0


def test_an_older_ledger_that_cant_be_written_says_what_to_do(desk: Desk) -> None:
    path = ledger_path(desk)
    older_ledger(path)
    Path(f"{path}.lock").mkdir()  # root may write everywhere else
    result = desk.run("status")
    assert result.code == 2
    assert "copy it to where it can, and name the copy with --ledger" in result.err


def test_clips_are_looked_for_as_deep_as_ids_go_and_no_deeper(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath("night", "superseded", *["d"] * limits.FOLDERS)
    (deepest / "e").mkdir(parents=True)
    for folder in (deepest, deepest / "e"):
        (folder / "clip.mp4").write_bytes(b"x")
    assert list(clips.below(Root(str(tmp_path)))) == [(str(deepest / "clip.mp4"), 1)]
