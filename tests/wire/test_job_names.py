"""JOB on the command line: what a text names, what it doesn't, and what is said then."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from pathlib import Path

import pytest

from batchgen.cli.job_names import Name, match, near
from batchgen.ledger.writer import Ledger
from batchgen.models import Change, Record, State
from tests.support.program import Desk, sandbox
from tests.support.terminal import on_a_terminal, read

QUICK = ("--poll-interval", "0.05", "--timeout", "2", "--settle", "1")
SHOP = [
    Name("shop", "tote"),
    Name("shop", "tote", 2),
    Name("shop", "bags/tote"),
    Name("bags", "tote"),
    Name("shop", "mug"),
    Name("shop", "spring/hero 1~2"),
    Name("shop", "mug@2"),
    Name("shop", "mug", 2),
    Name("shop", "all*"),
    Name("shop", "alloy"),
    Name("shop", "[1]"),
    Name("shop", "Café"),
]


def meant(text: str) -> list[str]:
    return [f"{name.manifest}:{name.job_id}:{name.take}" for name in match(text, SHOP).names]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop/mug", ["shop:mug:1", "shop:mug:2"]),  # without a take, all of them
        ("mug", ["shop:mug:1", "shop:mug:2"]),
        ("shop/tote@2", ["shop:tote:2"]),
        ("shop/tote@1", ["shop:tote:1"]),
        ("shop/tote@3", []),
        ("hero 1~2", ["shop:spring/hero 1~2:1"]),
        ("spring/hero 1~2", ["shop:spring/hero 1~2:1"]),
        ("ero 1~2", []),  # an end begins behind a slash
        ("bags/tote", ["bags:tote:1"]),  # a full name wins over an end
        ("shop/bags/tote", ["shop:bags/tote:1"]),
        ("mug@2", ["shop:mug@2:1"]),  # what is exact wins over a take
        ("all*", ["shop:all*:1"]),  # and over a glob
        ("al*", ["shop:all*:1", "shop:alloy:1"]),
        ("[1]", ["shop:[1]:1"]),
        ("shop/m*@2", ["shop:mug@2:1"]),
        ("t?te@2", ["shop:tote:2"]),
        ("bags/*", ["shop:bags/tote:1", "bags:tote:1"]),
        ("shop/*hero*", ["shop:spring/hero 1~2:1"]),  # a * crosses slashes
        ("shop", []),
        ("", []),
        ("/tote", []),
        ("TOTE", []),
        ("Café", ["shop:Café:1"]),
        (unicodedata.normalize("NFD", "shop/Café"), ["shop:Café:1"]),
    ],
)
def test_a_text_names_what_is_exact_before_an_end_and_an_end_before_a_glob(
    text: str, expected: list[str]
) -> None:
    assert meant(text) == expected


def test_everything_that_is_shown_as_a_name_is_taken_as_that_name() -> None:
    names = [
        *SHOP,
        Name("a b", "c/d"),
        Name("a b", "c/d", 12),
        Name("ü", "?"),
        Name("shop", "@2"),
        Name("x", "~"),
    ]
    for name in names:
        found = match(str(name), names)
        # A job whose id is mug@2 has the same name as the second take of mug.
        assert name in found.names or name == Name("shop", "mug", 2), name
        assert not found.is_glob


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tot", "shop/tote"),
        ("Tote", "shop/tote"),
        ("bag/tote", "bags/tote"),
        ("shop/mgu", "shop/mug"),
        ("hero", "shop/spring/hero 1~2"),
    ],
)
def test_what_is_near_is_found(text: str, expected: str) -> None:
    assert expected in near(text, SHOP)
    assert near("zzzzzz", SHOP) == []


# -- with the program ----------------------------------------------------------------------------------------------


def record(
    manifest: str, job_id: str, name: str = "", *, take: int = 1, digest: str = "d", base: str = ""
) -> Record:
    name = name or f"{manifest}.{job_id}.{take}"
    request = json.dumps({"mode": "std", "duration": "5"})
    path = f"/clips/{manifest}/{job_id}.{take}.mp4"
    return Record(name, base or name, manifest, job_id, take, digest * 64, request, State.PENDING, path)


async def bring(ledger: Ledger, row: Record, *states: State) -> None:
    """A row in the last of these states."""
    await ledger.begin(row)
    for state in states:
        values = {"task_id": f"task-{row.external_task_id}"} if state is State.SUBMITTED else {}
        if state is State.SUCCEEDED:
            values = {"video_url": "http://127.0.0.1/v.mp4"}
        if state is State.DOWNLOADED:
            values = {"video_path": row.output_path, "video_sha256": "0" * 64}
        message = f"{state} it is" if state not in (State.SUBMITTED, State.DOWNLOADED) else None
        await ledger.apply(Change(row.external_task_id, state, "test", message=message, values=values))


ACCEPTED = (State.SUBMITTED,)
DONE = (State.SUBMITTED, State.SUCCEEDED, State.DOWNLOADED)
FAILED = (State.SUBMITTED, State.FAILED)
REFUSED = (State.REJECTED,)
UNKNOWN = (State.UNKNOWN,)


def with_rows(folder: Path, *rows: tuple[Record, tuple[State, ...]]) -> Desk:
    """A desk whose ledger has these rows, made in this order."""
    desk = Desk(folder)
    desk.env["BATCHGEN_LEDGER"] = path = str(folder / "ledger.db")

    async def make() -> None:
        with Ledger.open(path, origin="http://127.0.0.1") as ledger:
            for row, states in rows:
                await bring(ledger, row, *states)

    asyncio.run(make())
    return desk


def retry(row: Record, number: int) -> Record:
    return row._replace(external_task_id=f"{row.external_task_id}~{number}")


def test_status_shows_all_rows_of_a_job_in_the_order_they_were_made(tmp_path: Path) -> None:
    tote = record("shop", "bags/tote")
    desk = with_rows(
        tmp_path,
        (tote, FAILED),
        (record("shop", "mug"), DONE),
        (retry(tote, 2), FAILED),
        (retry(tote, 3), DONE),
    )
    for text in ("tote", "bags/tote", "shop/bags/tote", "shop/b*", "*/tote@1"):
        tasks = desk.run("status", "--json", text).json["tasks"]
        assert [task["external_task_id"].rpartition(".")[2] for task in tasks] == ["1", "1~2", "1~3"], text
    (task,) = desk.run("status", "--json", f"{tote.external_task_id}~2").json["tasks"]
    assert (task["external_task_id"], task["state"]) == (f"{tote.external_task_id}~2", "failed")
    assert len(desk.run("status", "--json", "tote", "*", "tote").json["tasks"]) == 4  # each once
    text = desk.run("status", "tote").out
    said = {line.partition(" ")[0]: line.split()[-1] for line in text.splitlines() if line}
    assert said["current"] in ("yes", "no")
    assert "True" not in text
    assert "False" not in text
    assert text.count("history") == 3 and text.count("\n\n") == 2


@pytest.mark.parametrize("command", ["status", "resolve"])
def test_a_name_that_several_jobs_have_lists_them_and_one_that_none_has_lists_what_is_near(
    tmp_path: Path, command: str
) -> None:
    desk = with_rows(tmp_path, *((record(f"m{number:02}", "tote"), DONE) for number in range(13)))
    ambiguous = desk.run(command, "tote")
    assert (ambiguous.code, ambiguous.out) == (2, "")
    first, *listed = ambiguous.err.splitlines()
    assert first == f"batchgen {command}: 'tote' names 13 jobs; say which:"
    assert listed[0] == "  m00/tote" and listed[-1] == "  ... and 3 more" and len(listed) == 11
    nobody = desk.run(command, "toet")
    assert nobody.code == 2
    assert "goes by 'toet'; near it:\n  m0" in nobody.err
    assert desk.run(command, "m07").err.endswith("goes by 'm07'; 'm07/*' names the jobs of that manifest\n")
    assert desk.run(command, "m07/tote").code == 0
    assert desk.run("resolve", "*").code == 2


def test_a_job_id_that_looks_like_a_pattern_or_a_take_can_be_named(tmp_path: Path) -> None:
    odd = ["*", "a@2", "[x]", "x y", "~3", "?", "--abandon"]
    desk = with_rows(
        tmp_path, *((record("m", name, f"id{number}"), UNKNOWN) for number, name in enumerate(odd))
    )
    for number, name in enumerate(odd):
        result = desk.run("resolve", "--abandon", "--", f"m/{name}")
        assert (result.code, result.err) == (0, ""), name
        assert result.out.startswith(f"id{number} is rejected now")


# -- what resolve decides about -----------------------------------------------------------------------------------


def test_resolve_takes_the_row_of_a_job_that_there_is_something_to_decide_about(tmp_path: Path) -> None:
    tote = record("m", "tote")
    desk = with_rows(
        tmp_path, (tote, FAILED), (retry(tote, 2), UNKNOWN), (record("m", "tote", "t2", take=2), DONE)
    )
    shown = desk.run("resolve", "tote")
    assert shown.code == 0
    assert f"batchgen resolve '{tote.external_task_id}~2' --abandon" in shown.out
    assert desk.run("resolve", "tote", "--abandon").out.startswith(
        f"{tote.external_task_id}~2 is rejected now"
    )
    over = desk.run("resolve", tote.external_task_id, "--abandon")
    assert (over.code, "went on after it" in over.err) == (2, True)
    done = desk.run("resolve", "tote@2", "--abandon")
    assert done.err == "batchgen resolve: t2 is downloaded: there is nothing to decide\n"


def test_resolve_says_which_where_several_rows_want_a_decision(tmp_path: Path) -> None:
    tote = record("m", "tote", "old")
    desk = with_rows(tmp_path, (tote, UNKNOWN), (record("m", "tote", "new", take=2), ACCEPTED))
    result = desk.run("resolve", "tote", "--abandon")
    assert result.code == 2
    assert result.err.splitlines()[1:] == ["  old: unknown", "  new: submitted"]
    assert desk.run("resolve", "tote@2", "--abandon").out.startswith("new is failed now")
    assert desk.run("resolve", "tote", "--abandon").out.startswith("old is rejected now")


@pytest.mark.parametrize(
    ("states", "state"), [(FAILED, "failed"), (REFUSED, "rejected"), ((State.PENDING,), "rejected")]
)
def test_what_failed_or_was_refused_can_be_given_up_once(
    tmp_path: Path, states: tuple[State, ...], state: str
) -> None:
    desk = with_rows(tmp_path, (record("m", "tote"), states))
    (shown,) = desk.run("status", "--json").json["attention"]
    assert (shown["job_id"], "--abandon" in desk.run("resolve", "tote").out) == ("tote", True)
    assert desk.run("resolve", "tote", "--abandon").code == 0
    (row,) = desk.export()
    assert (row["state"], row["error_code"]) == (state, "abandoned")
    assert f"before that: {states[-1]} it is" in row["error_message"]
    assert desk.run("status", "--json").json["attention"] == []
    again = desk.run("resolve", "tote", "--abandon")
    assert again.code == 2 and again.err.count("\n") == 1


def test_a_refusal_that_was_given_up_is_quiet_until_the_job_changes(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    manifest = {"version": 1, "defaults": {"model_name": "kling-v3"}}
    job = {"id": "a", "image": "https://example.com/1.png", "prompt": "one"}
    desk.write("m.yaml", json.dumps({**manifest, "jobs": [job]}))
    with sandbox(tmp_path, "--task-seconds", "0.05-0.1", "--fault", "refuse_policy@1,2") as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 1
        assert desk.run("run", *QUICK, "m.yaml").code == 1  # every night
        assert desk.run("resolve", "a", "--abandon").code == 0
        assert desk.run("run", *QUICK, "m.yaml").err == ""
        assert desk.run("run", "--retry-failed", *QUICK, "m.yaml").err == ""
        assert len([entry for entry in server.entries() if entry.kind == "create"]) == 1
        desk.write("m.yaml", json.dumps({**manifest, "jobs": [{**job, "prompt": "two"}]}))
        changed = desk.run("run", *QUICK, "m.yaml")
        assert changed.code == 1 and "refused by the content policy" in changed.err


def test_giving_up_what_was_never_made_can_be_taken_back(tmp_path: Path) -> None:
    desk = with_rows(tmp_path, (record("m", "a"), UNKNOWN), (record("m", "b"), UNKNOWN))
    for job in "ab":
        assert desk.run("resolve", job, "--abandon").code == 0
    assert desk.run("resolve", "a", "--task-id", "T1").code == 0
    assert desk.run("resolve", "b", "--not-created").code == 0
    assert [(row["state"], row["task_id"]) for row in desk.export()] == [
        ("submitted", "T1"),
        ("pending", None),
    ]


# -- status --------------------------------------------------------------------------------------------------------


def test_status_lists_what_needs_somebody_and_counts_the_rest(tmp_path: Path) -> None:
    tote, mug, old = record("m", "tote"), record("m", "mug"), record("m", "cap", "old")
    desk = with_rows(
        tmp_path,
        (tote, FAILED),
        (retry(tote, 2), FAILED),
        (retry(tote, 3), DONE),  # done in the end
        (mug, FAILED),
        (retry(mug, 2), FAILED),
        (retry(mug, 3), FAILED),  # failed as the last word
        (old, REFUSED),
        (record("m", "cap", "new", digest="e"), ACCEPTED),  # changed, and runs
        (record("m", "hat"), REFUSED),
        (record("m", "bag"), UNKNOWN),
        (record("m", "tie"), (*ACCEPTED, State.SUCCEEDED)),
    )
    result = desk.run("status")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert "        5  failed (4 tried again since, or given up)" in lines
    assert "        2  rejected (1 changed since, or given up)" in lines
    listed = [line.split(",")[0].strip() for line in lines if line.startswith("  m/")]
    assert listed == ["m/bag", "m/mug", "m/hat", "m/tie", "m/cap"]
    assert [line.split(":")[0] for line in lines[1:] if not line.startswith(" ")] == [
        "unknown",
        "failed",
        "refused",
        "not yet home",
        "running",
    ]
    assert next(line for line in lines if "m/mug" in line).endswith(" s: failed it is")
    told = desk.run("status", "--json").json
    assert [one["external_task_id"] for one in told["attention"]] == [
        "m.mug.1~3",
        "new",
        "m.hat.1",
        "m.bag.1",
        "m.tie.1",
    ]
    assert all(one["advice"] and one["since"].startswith("20") for one in told["attention"])
    assert len(told["open"]) == 10


def test_what_failed_is_told_by_whether_the_next_run_pays_for_it_again(tmp_path: Path) -> None:
    often, once, blamed = record("m", "often"), record("m", "once"), record("m", "account")
    desk = with_rows(
        tmp_path,
        (often, FAILED),
        (retry(often, 2), FAILED),
        (retry(often, 3), FAILED),
        (once, FAILED),
        (record("m", "changed", "old"), FAILED),
        (blamed, FAILED),
    )
    told = {one["job_id"]: one for one in desk.run("status", "--json").json["attention"]}
    assert {name: one["kind"] for name, one in told.items()} == {
        "often": "failed",
        "once": "retry",
        "changed": "retry",
        "account": "retry",
    }
    assert "--retry-failed" in told["often"]["advice"] and "--retry-failed" not in told["once"]["advice"]
    text = desk.run("status").out
    assert "6  failed (2 tried again since, or given up)" in text
    assert text.index("m/often") < text.index("to be tried again") < text.index("m/once")


def test_a_refusal_after_a_clip_that_is_done_is_the_last_word(tmp_path: Path) -> None:
    desk = with_rows(
        tmp_path, (record("m", "a", "old"), DONE), (record("m", "a", "new", digest="e"), REFUSED)
    )
    assert [one["external_task_id"] for one in desk.run("status", "--json").json["attention"]] == ["new"]


@pytest.mark.parametrize("columns", [40, 80])
def test_on_a_terminal_status_keeps_to_its_width_and_elsewhere_to_a_line_for_each_job(
    tmp_path: Path, columns: int
) -> None:
    desk = with_rows(tmp_path, *((record("night-shop", f"bags/{number}"), UNKNOWN) for number in range(25)))
    desk.env["COLUMNS"] = str(columns)
    code, sent = on_a_terminal([*desk.program, "status"], cwd=tmp_path, env=desk.env)
    lines = read(sent).splitlines()
    assert code == 0
    assert max(map(len, lines[1:])) <= columns  # the first is the ledger's path, to be copied
    assert sum("night-shop/bags" in line for line in lines) == 20
    assert "  ... and 5 more; --all shows them all" in lines
    for options, shown in (((), 20), (("-v",), 25), (("--all",), 25)):
        plain = desk.run("status", *options).out.splitlines()
        assert len([line for line in plain if ": unknown it is" in line]) == shown


def test_status_of_many_jobs_is_capped_like_a_summary(tmp_path: Path) -> None:
    desk = with_rows(tmp_path, *((record("night", f"bag{number}"), UNKNOWN) for number in range(25)))
    for options, shown in (((), 20), (("--all",), 25), (("-v",), 25)):
        lines = desk.run("status", "night/*", *options).out.splitlines()
        assert sum(line.startswith("external_task_id ") for line in lines) == shown
        assert ("... and 5 more; --all shows them all" in lines) == (shown == 20)
    assert len(desk.run("status", "night/*", "--json").json["tasks"]) == 25
