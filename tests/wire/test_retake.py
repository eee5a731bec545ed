"""Another take that a person ordered: shown before it costs, paid once, and withdrawn until a run begins it. The journal is the witness."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batchgen.errors import OrderWithdrawn
from batchgen.judgements import Verdict
from batchgen.ledger import verdicts
from batchgen.ledger.reader import Records
from batchgen.ledger.renames import Renamed
from batchgen.ledger.writer import Ledger
from batchgen.money.prices import BUILT_IN
from batchgen.page import data
from batchgen.run.loading import load
from batchgen.run.ordered import with_orders
from batchgen.run.plan import new_row
from tests.support.pictures import make_png
from tests.support.program import QUICK, Desk, Server, sandbox, until

URL = "https://example.com/1.png"

pytestmark = pytest.mark.usefixtures("server")


def write(desk: Desk, *jobs: dict[str, Any], name: str = "bags", **top: Any) -> None:
    defaults = {"model_name": "kling-v3", "image": URL, "prompt": "Slow push-in", **top.pop("defaults", {})}
    content = {"version": 1, "defaults": defaults, "jobs": jobs, **top}
    desk.write(f"{name}.yaml", json.dumps(content))


def night(desk: Desk, *manifests: str, code: int = 0) -> None:
    result = desk.run("run", *QUICK, *(manifests or ["bags.yaml"]))
    assert result.code == code, result.err


def paid_and_ordered(desk: Desk) -> None:
    """Have a clip made of the one job, and order another take of it."""
    write(desk, {"id": "tote"})
    night(desk)
    assert desk.run("retake", "tote").code == 0


def created(server: Server) -> Counter[str]:
    """How often a task was made, by the job's name in its id."""
    return Counter(name.rsplit(".", 1)[0] for name in server.accepted().values())


def plan(desk: Desk, *manifests: str) -> list[tuple[str, int, str, str, float]]:
    jobs = desk.run("plan", "--json", *(manifests or ["bags.yaml"])).json["jobs"]
    return [
        (job["job_id"], job["take"], job["action"], job["reason"], job["cost_usd_estimate"]) for job in jobs
    ]


def clips(desk: Desk) -> list[str]:
    return sorted(path.name for path in (desk.folder / "clips" / "bags").glob("*.mp4"))


def ledger(desk: Desk) -> Path:
    return desk.folder / "home" / ".local" / "state" / "batchgen" / "ledger.db"


def mark(desk: Desk, job_id: str, verdict: Any = "retake", note: str | None = None) -> None:
    (row,) = [row for row in desk.export() if row["job_id"] == job_id and row["take"] == 1]
    verdicts.give(str(ledger(desk)), [Verdict(row["external_task_id"], 1.7e9, verdict, note)])


def test_an_ordered_take_is_shown_with_its_price_then_made_once_under_its_own_name(
    desk: Desk, server: Server
) -> None:
    write(desk, {"id": "tote"}, {"id": "clutch"})
    night(desk)
    ordered = desk.run("retake", "tote", "--note", "slower")
    assert ordered.code == 0
    assert "ordered      $0.42  bags/tote@2  (slower)" in ordered.out
    assert "1 take ordered, about $0.42: the next run that begins creates it" in ordered.out
    assert created(server) == {"bags.tote": 1, "bags.clutch": 1}  # nothing yet
    assert plan(desk) == [
        ("tote", 1, "done", "its clip is here", 0.0),
        ("tote", 2, "create", "ordered", 0.42),
        ("clutch", 1, "done", "its clip is here", 0.0),
    ]
    night(desk)
    assert created(server) == {"bags.tote": 2, "bags.clutch": 1}
    assert clips(desk) == ["clutch.mp4", "tote.mp4", "tote.take2.mp4"]
    night(desk)
    assert created(server).total() == 3
    assert [one[:3] for one in plan(desk)] == [
        ("tote", 1, "done"),
        ("tote", 2, "done"),
        ("clutch", 1, "done"),
    ]


def test_the_ordered_take_has_the_id_that_the_manifest_would_give_it_and_is_not_made_twice(
    desk: Desk, server: Server
) -> None:
    paid_and_ordered(desk)
    night(desk)
    write(desk, {"id": "tote"}, {"id": "tote", "take": 2})
    assert [one[:3] for one in plan(desk)] == [("tote", 1, "done"), ("tote", 2, "done")]
    night(desk)
    assert created(server) == {"bags.tote": 2}
    write(desk, {"id": "tote", "take": 2})  # it says so instead
    night(desk)
    assert created(server) == {"bags.tote": 2}


def test_a_take_that_the_manifest_asks_for_as_well_by_now_is_one_take(desk: Desk, server: Server) -> None:
    paid_and_ordered(desk)
    write(desk, {"id": "tote"}, {"id": "tote", "take": 2})
    assert [one[:4] for one in plan(desk)][1:] == [("tote", 2, "create", "new")]
    night(desk)
    night(desk)
    assert created(server) == {"bags.tote": 2}


def test_the_take_is_made_as_the_manifest_says_the_job_when_it_is_made(desk: Desk, server: Server) -> None:
    paid_and_ordered(desk)
    write(desk, {"id": "tote", "prompt": "Another light"})
    assert [one[:3] for one in plan(desk)] == [("tote", 1, "done"), ("tote", 2, "create")]
    night(desk)  # the change of take 1 is settled by that
    assert plan(desk)[0][3].startswith("paid as bags.tote.")
    assert "take 2 was ordered of what it is now" in plan(desk)[0][3]
    night(desk)
    sent = [entry.fields["prompt"] for entry in server.entries() if entry.accepted]
    assert sent == ["Slow push-in", "Another light"]
    write(desk, {"id": "tote", "prompt": "A third"})  # now both have changed
    assert [one[:3] for one in plan(desk)] == [("tote", 1, "changed"), ("tote", 2, "changed")]
    night(desk, code=5)


def test_what_was_ordered_of_a_change_is_not_paid_a_second_time_by_accepting_changes(
    desk: Desk, server: Server
) -> None:
    paid_and_ordered(desk)
    write(desk, {"id": "tote", "prompt": "Another light"})
    night(desk, "bags.yaml", "--accept-changes")
    night(desk, "bags.yaml", "--accept-changes")
    sent = [entry.fields["prompt"] for entry in server.entries() if entry.accepted]
    assert sent == ["Slow push-in", "Another light"]
    assert clips(desk) == ["tote.mp4", "tote.take2.mp4"]


def test_a_clip_stays_with_the_renamed_job_where_another_of_the_old_name_was_ordered(
    desk: Desk, server: Server
) -> None:
    paid_and_ordered(desk)
    write(desk, {"id": "tote", "prompt": "Another light"}, {"id": "bag"})
    for _ in range(3):
        night(desk)
        assert clips(desk) == ["bag.mp4", "tote.take2.mp4"]
    assert created(server) == {"bags.tote": 2}


@pytest.mark.parametrize("renamed_before", [False, True])
def test_the_take_of_a_job_that_was_renamed_is_made_once_under_its_name_of_now(
    desk: Desk, server: Server, *, renamed_before: bool
) -> None:
    write(desk, {"id": "tote"}, {"id": "vase", "prompt": "Another"})
    night(desk)
    mark(desk, "tote", note="slower")
    if renamed_before:  # and the clip has its new name, but its row the old one
        write(desk, {"id": "bag"}, {"id": "vase", "prompt": "Another"})
        night(desk)
    assert [one["take"] for one in desk.run("retake", "--marked", "--json").json["ordered"]] == [2]
    write(desk, {"id": "bag"}, {"id": "vase", "prompt": "Another"})
    first, second, _ = plan(desk)
    assert (first[:3], second[:4]) == (("bag", 1, "done"), ("bag", 2, "create", "ordered"))
    assert desk.run("plan", "--json", "bags.yaml").json["waiting_orders"] == []
    assert created(server).total() == 2
    for _ in range(2):
        night(desk)
        assert created(server) == {"bags.tote": 1, "bags.bag": 1, "bags.vase": 1}
        assert clips(desk) == ["bag.mp4", "bag.take2.mp4", "vase.mp4"]
        shown = desk.run("retake", "--json").json
        assert (shown["waiting_orders"], shown["marked"]) == ([], [])
        assert desk.run("retake", "--marked", "--json").json["ordered"] == []
    with Records.read(str(ledger(desk))) as records:
        said = [order.note for order, withdrawn in records.orders.history("bags", "bag")]
        moved = records.orders.history("bags", "tote")
        takes = {take.key: take for take in data.gather(records, time.time()).takes}
    assert (takes["bags", "tote", 1].moved, takes["bags", "tote", 1].ordered) == ("bags/bag@2", None)
    assert takes["bags", "vase", 1].moved == takes["bags", "bag", 2].moved == ""
    assert said == ["slower"] and "it is ordered as bags/bag@2" in str(moved[-1][0].note)


def test_both_names_of_a_renamed_job_mean_it_where_a_take_is_ordered_or_withdrawn(
    desk: Desk, server: Server
) -> None:
    write(desk, {"id": "tote"}, {"id": "vase", "prompt": "Another"})
    night(desk)
    mark(desk, "tote")
    desk.run("retake", "tote", "--note", "slower")
    write(desk, {"id": "bag"})
    night(desk, "bags.yaml", "--max-cost", "0.01", code=4)  # it is the run's already, and not made
    shown = desk.run("retake", "--json").json
    (waits,) = shown["waiting_orders"]
    assert (waits["job_id"], waits["take"], waits["cost_usd_estimate"]) == ("bag", 2, 0.42)
    assert shown["marked"] == []  # its take is ordered
    for name in ("tote", "bag"):
        assert "bags/bag: take 2 is ordered already" in desk.run("retake", name).err
    assert "withdrawn          bags/bag@2" in desk.run("retake", "--withdraw", "tote").out
    desk.run("retake", "vase")  # another's order says nothing of it
    with Records.read(str(ledger(desk))) as records:
        assert {take.moved for take in data.gather(records, time.time()).takes} == {""}
    desk.run("retake", "--withdraw", "vase")
    night(desk)
    assert created(server) == {"bags.tote": 1, "bags.vase": 1}
    assert [one["take"] for one in desk.run("retake", "tote", "--json").json["ordered"]] == [2]
    night(desk)
    assert [one["take"] for one in desk.run("retake", "bag", "--json").json["ordered"]] == [3]
    write(desk, {"id": "tote"})  # and back
    night(desk)
    assert clips(desk) == ["bag.take2.mp4", "tote.mp4", "tote.take3.mp4", "vase.mp4"]
    assert [one["take"] for one in desk.run("retake", "bag", "--json").json["ordered"]] == [4]
    night(desk)
    assert created(server) == {"bags.tote": 3, "bags.bag": 1, "bags.vase": 1}


def test_a_take_that_the_name_of_now_has_already_is_another_one(desk: Desk, server: Server) -> None:
    other = {"id": "bag", "take": 2, "prompt": "Another"}
    write(desk, {"id": "tote"}, other)
    night(desk)
    desk.run("retake", "tote")
    write(desk, {"id": "bag"}, other)
    for _ in range(2):
        night(desk)
        assert created(server) == {"bags.tote": 1, "bags.bag": 2}
    assert clips(desk) == ["bag.mp4", "bag.take2.mp4", "bag.take3.mp4"]


def test_a_take_whose_image_was_refused_is_not_the_one_that_is_ordered(desk: Desk) -> None:
    write(desk, {"id": "tote"}, {"id": "tote", "take": 2, "image": "no.png"})
    night(desk, code=1)
    assert [one["take"] for one in desk.run("retake", "tote", "--json").json["ordered"]] == [3]


def test_a_name_that_is_given_back_means_itself() -> None:
    names = Renamed()
    names.add(("m", "a"), ("m", "b"))
    names.add(("m", "b"), ("m", "c"))
    assert [names.now(("m", one)) for one in "abc"] == [("m", "c")] * 3
    assert names.names(("m", "b")) == [("m", "c"), ("m", "a"), ("m", "b")]
    names.add(("m", "c"), ("m", "a"))
    assert [Renamed(names.text).now(("m", one)) for one in "abc"] == [("m", "a")] * 3
    assert names.now(("other", "a")) == ("other", "a")


@pytest.mark.parametrize("text", ["", "no JSON", "{}", "[1, [2, 3, 4, 5], [6]]", "[" * 100_000])
def test_names_that_no_batchgen_noted_are_none(text: str) -> None:
    assert Renamed(text).earlier == []


def test_an_order_follows_no_name_that_may_be_another_jobs(desk: Desk, server: Server) -> None:
    write(desk, {"id": "tote"})
    night(desk)
    desk.run("retake", "tote")
    for jobs in (
        [{"id": "bag"}, {"id": "sack"}],  # two that ask for what was paid
        [{"id": "bag", "prompt": "Another"}],
        [{"id": "bag", "take": 2}],
        [{"id": "tote", "skip": True}, {"id": "bag"}],
        [{"id": "tote", "image": "no.png"}, {"id": "bag"}],
    ):
        write(desk, *jobs)
        (waits,) = desk.run("plan", "--json", "bags.yaml").json["waiting_orders"]
        assert (waits["job_id"], waits["take"]) == ("tote", 2)
    assert created(server) == {"bags.tote": 1}


def test_a_name_that_another_job_has_by_now_means_that_job(desk: Desk, server: Server) -> None:
    write(desk, {"id": "tote"})
    night(desk)
    desk.run("retake", "tote")
    write(desk, {"id": "bag"})
    night(desk)
    write(desk, {"id": "bag"}, {"id": "tote", "prompt": "Another"})
    night(desk, "bags.yaml", "--accept-changes")
    (ordered,) = desk.run("retake", "tote", "--json").json["ordered"]
    assert (ordered["job_id"], ordered["take"]) == ("tote", 2)
    night(desk)
    assert created(server) == {"bags.tote": 3, "bags.bag": 1}
    assert clips(desk) == ["bag.mp4", "bag.take2.mp4", "tote.mp4", "tote.take2.mp4"]


def test_an_order_that_is_withdrawn_while_a_run_plans_it_under_another_name_is_not_made(
    desk: Desk, server: Server
) -> None:
    write(desk, {"id": "tote"})
    night(desk)
    desk.run("retake", "tote")
    write(desk, {"id": "bag"})
    with Records.read(str(ledger(desk))) as records:
        manifests, _, followed = with_orders(load([str(desk.folder / "bags.yaml")]).manifests, records)
    assert [job.key for job in manifests[0].jobs] == [("bags", "bag", 1), ("bags", "bag", 2)]
    assert [one.moved.key for one in followed] == [("bags", "bag", 2)]
    desk.run("retake", "--withdraw", "tote")

    async def late() -> None:
        with Ledger.open(str(ledger(desk)), origin=server.url) as opened:
            await opened.follow_orders(followed, [])
            assert opened.orders.standing() == []
            with pytest.raises(OrderWithdrawn):
                await opened.begin(new_row(manifests[0].jobs[1], "x", BUILT_IN), ordered=True)

    asyncio.run(late())
    night(desk)
    assert created(server) == {"bags.tote": 1}


def test_an_order_settles_a_change_of_takes_that_were_ordered_before_it(desk: Desk, server: Server) -> None:
    paid_and_ordered(desk)
    night(desk)
    desk.run("retake", "tote")
    write(desk, {"id": "tote", "prompt": "Another light"})
    night(desk, "bags.yaml", "--accept-changes")
    night(desk)
    assert [one[:3] for one in plan(desk)] == [("tote", take, "done") for take in (1, 2, 3)]
    assert created(server) == {"bags.tote": 3}


def test_ordering_twice_orders_once_and_says_so_and_again_orders_one_more(desk: Desk, server: Server) -> None:
    write(desk, {"id": "tote"})
    night(desk)
    assert desk.run("retake", "tote").code == 0
    twice = desk.run("retake", "tote")
    assert (twice.code, twice.out) == (0, "")
    assert "take 2 is ordered already; `batchgen retake bags/tote --again` orders one more" in twice.err
    assert desk.run("retake", "tote@2", "--again", "--json").json["ordered"][0]["take"] == 3
    night(desk)
    night(desk)
    assert created(server) == {"bags.tote": 3}
    assert clips(desk) == ["tote.mp4", "tote.take2.mp4", "tote.take3.mp4"]


def test_what_is_withdrawn_is_never_made_and_what_is_begun_is_not_withdrawn(
    desk: Desk, server: Server
) -> None:
    paid_and_ordered(desk)
    gone = desk.run("retake", "--withdraw", "tote@2")
    assert (gone.code, gone.out) == (0, "withdrawn          bags/tote@2\n")
    assert [one[:3] for one in plan(desk)] == [("tote", 1, "done")]
    night(desk)
    assert created(server) == {"bags.tote": 1}
    desk.run("retake", "tote")
    night(desk)
    late = desk.run("retake", "--withdraw", "tote")
    assert late.code == 2 and "bags/tote@2: a run has begun it" in late.err
    assert created(server) == {"bags.tote": 2}


def test_an_order_whose_job_is_in_no_manifest_waits_and_says_so(desk: Desk, server: Server) -> None:
    write(desk, {"id": "tote"}, {"id": "clutch"})
    write(desk, {"id": "vase", "prompt": "Another"}, name="other")
    night(desk)
    desk.run("retake", "tote")
    for job, why in (
        ([], "bags.yaml has no such job any more"),
        ([{"id": "tote", "skip": True}], "bags.yaml leaves the job out (skip: true)"),
        ([{"id": "tote"}, {"id": "tote", "take": 2, "skip": True}], "bags.yaml leaves the job out"),
        ([{"id": "tote", "image": "no.png"}], "its image failed the checks"),
        ([{"id": "tote", "external_task_id": "mine"}], "gives the job an external_task_id of its own"),
    ):
        write(desk, {"id": "clutch"}, *job)
        said = desk.run("plan", "bags.yaml")
        assert f"ordered, and waits: bags/tote@2: {why}" in said.out or why in said.out, said.out
        (waits,) = desk.run("plan", "--json", "bags.yaml").json["waiting_orders"]
        assert (waits["job_id"], waits["take"]) == ("tote", 2) and why in waits["reason"]
        assert ("tote", 2) not in [one[:2] for one in plan(desk)]
    night(desk, "other.yaml")
    assert desk.run("plan", "--json", "other.yaml").json["waiting_orders"] == []  # not this run's to say
    write(desk, {"id": "tote"}, {"id": "clutch"})
    night(desk)
    assert created(server) == {"bags.tote": 2, "bags.clutch": 1, "other.vase": 1}


def test_a_job_with_an_id_of_its_own_gets_no_take_and_hears_what_to_write(desk: Desk, server: Server) -> None:
    write(desk, {"id": "tote", "external_task_id": "mine"})
    night(desk)
    refused = desk.run("retake", "tote")
    assert refused.code == 2
    assert (
        "external_task_id mine, which stands for one clip; another one there asks for another" in refused.err
    )
    assert created(server).total() == 1


def test_marked_orders_what_is_judged_so_once(desk: Desk, server: Server) -> None:
    write(desk, *({"id": name} for name in ("tote", "clutch", "vase")))
    night(desk)
    mark(desk, "tote", note="too fast")
    mark(desk, "clutch")
    mark(desk, "clutch", "keep")
    shown = desk.run("retake")
    assert shown.code == 0 and "1 clip marked: `batchgen retake --marked`" in shown.out
    first = desk.run("retake", "--marked", "--json").json
    assert [(one["job_id"], one["take"], one["note"]) for one in first["ordered"]] == [
        ("tote", 2, "too fast")
    ]
    second = desk.run("retake", "--marked")
    assert (second.code, second.out) == (0, "no clip is marked whose take is not ordered\n")
    night(desk)
    assert desk.run("retake", "--marked", "--json").json["ordered"] == []
    assert created(server) == {"bags.tote": 2, "bags.clutch": 1, "bags.vase": 1}


def test_a_run_that_is_on_leaves_a_new_order_to_the_next_and_creates_none_that_was_withdrawn(
    tmp_path: Path,
) -> None:
    """Both are written while the run holds the ledger, and its only slot waits for an answer."""
    with sandbox(tmp_path, "--task-seconds", "0.05", "--fault", "stall_after@3") as server:
        desk = Desk(tmp_path).against(server)
        write(desk, {"id": "tote"}, {"id": "vase"})
        night(desk)
        desk.run("retake", "tote")
        write(desk, {"id": "first"}, {"id": "tote"}, {"id": "vase"}, max_running=1)
        process = desk.start("run", *QUICK, "--json", "bags.yaml")
        until(lambda: created(server)["bags.first"] == 1)
        assert desk.run("retake", "--withdraw", "tote").code == 0
        assert desk.run("retake", "vase").code == 0
        server.ask("release", {})
        result = desk.finish(process)
        assert (result.code, result.json["buckets"]["abandoned"]) == (0, 1), result.err
        assert created(server) == {"bags.tote": 1, "bags.vase": 1, "bags.first": 1}
        assert [one[:4] for one in plan(desk) if one[2] != "done"] == [("vase", 2, "create", "ordered")]
        night(desk)
        assert created(server) == {"bags.tote": 1, "bags.vase": 2, "bags.first": 1}


def test_a_lost_ledger_pays_for_no_ordered_take_again(desk: Desk, server: Server) -> None:
    """The take's clip is on disk; then its task is at the API alone."""
    write(desk, {"id": "tote", "image": "tote.png"})
    desk.write("tote.png", make_png(seed=1))
    night(desk)
    desk.run("retake", "tote")
    night(desk)
    shutil.rmtree(ledger(desk).parent)
    night(desk)
    assert [(row["take"], row["state"]) for row in desk.export()] == [(1, "downloaded"), (2, "downloaded")]
    (third,) = desk.run("retake", "tote", "--json").json["ordered"]
    assert third["take"] == 3
    desk.run("run", *QUICK, "--submit-only", "bags.yaml")
    assert created(server) == {"bags.tote": 3}
    shutil.rmtree(ledger(desk).parent)
    night(desk)
    (again,) = desk.run("retake", "tote", "--json").json["ordered"]
    assert again["take"] == 3
    night(desk)  # it is asked for before it is created, and found
    assert created(server) == {"bags.tote": 3}
    assert clips(desk) == ["tote.mp4", "tote.take2.mp4", "tote.take3.mp4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--marked", "tote"], "leave JOB and --withdraw out"),
        (["--withdraw"], "--withdraw takes a JOB"),
        (["--withdraw", "tote"], "no order to withdraw"),
        (["--again", "--marked"], "--again goes with a JOB"),
        (["--note", "x"], "--note goes with a JOB or --marked"),
        (["tote", "--note", "x" * 1001], "1,000 are the most"),
        (["totte"], "near it:\n  bags/tote"),
    ],
)
def test_a_wrong_wish_is_one_clear_message_and_orders_nothing(
    desk: Desk, arguments: list[str], words: str
) -> None:
    write(desk, {"id": "tote"})
    night(desk)
    result = desk.run("retake", *arguments)
    assert result.code == 2 and words in result.err, result.err
    assert desk.run("retake", "--json").json["waiting_orders"] == []


def test_what_is_ordered_and_not_begun_is_a_job_with_a_name(desk: Desk) -> None:
    paid_and_ordered(desk)
    assert desk.run("status", "tote@2").code == 0
    decided = desk.run("resolve", "tote@2", "--abandon")
    assert decided.code == 2 and "`batchgen retake tote@2 --withdraw` takes it back" in decided.err


def test_what_was_said_and_ordered_stands_in_export_and_status(desk: Desk) -> None:
    write(desk, {"id": "tote"}, {"id": "vase"})
    night(desk)
    mark(desk, "tote", note="too fast")
    assert desk.run("retake", "--keep", "vase", "--note", "lovely").out == "kept               bags/vase\n"
    assert {row["job_id"]: row["verdict"] for row in desk.export()} == {"tote": "retake", "vase": "keep"}
    header = desk.run("export", "--format", "csv").out.splitlines()[0].split(",")
    assert {"verdict", "current"} <= set(header)
    desk.run("retake", "--marked")
    desk.run("retake", "--withdraw", "tote", "--note", "no money")
    desk.run("retake", "tote")
    told = desk.run("status", "tote", "--json").json
    assert [(one["verdict"], one["note"]) for one in told["tasks"][0]["verdicts"]] == [("retake", "too fast")]
    assert [(one["take"], one["withdrawn"], one["note"]) for one in told["orders"]] == [
        (2, False, "too fast"),
        (2, True, "no money"),
        (2, False, None),
    ]
    text = desk.run("status", "tote").out
    assert "\nverdicts\n  " in text and "retake  too fast" in text
    assert "bags/tote@2  no money  by " in text and text.rstrip().endswith("no run has begun it")
    assert re.search(r"(?m)^verdict +keep$", desk.run("resolve", "vase").out)


def test_keep_is_of_the_first_take_unless_another_is_named(desk: Desk) -> None:
    write(desk, {"id": "tote"}, {"id": "tote", "take": 2})
    night(desk)
    for name, kept in (("tote", [1]), ("tote@2", [1, 2])):
        assert desk.run("retake", "--keep", name).code == 0
        assert sorted(row["take"] for row in desk.export() if row["verdict"] == "keep") == kept
    assert desk.run("retake", "--json").json["waiting_orders"] == []


def test_recovery_finds_the_takes_that_only_the_lost_ledger_knew_of(desk: Desk, server: Server) -> None:
    """They are asked for as long as they are found; nothing is on disk of the last two."""
    write(desk, {"id": "tote"}, {"id": "vase", "takes": 2}, {"id": "own", "external_task_id": "mine"})
    night(desk)
    for _ in range(2):
        desk.run("retake", "tote", "vase")
        desk.run("run", *QUICK, "--submit-only", "bags.yaml")
        desk.run("collect", *QUICK, "--only", "vase")
    made = len(server.accepted())
    shutil.rmtree(ledger(desk).parent)
    shutil.rmtree(desk.folder / "clips")
    assert desk.run("recover", "bags.yaml").code == 0
    assert desk.run("collect", *QUICK).code == 0
    assert Counter(row["job_id"] for row in desk.export()) == {"tote": 2, "vase": 4, "own": 1}
    assert {row["state"] for row in desk.export()} == {"downloaded"}
    night(desk)
    assert len(server.accepted()) == made
