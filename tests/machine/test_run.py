"""The main job over the wire: manifests in, clips and a ledger out, and the server's journal agrees."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.support.pictures import make_jpeg, make_png
from tests.support.program import Desk, sandbox, until
from tests.support.stored import lose

FAST = ("--task-seconds", "0.05-0.3")
QUICK = ("--poll-interval", "0.05", "--timeout", "5", "--settle", "1")
SOON = ("--retry-wait", "0.1")


def urls(count: int, **fields: object) -> str:
    jobs = [
        {"id": f"j{n}", "image": f"https://example.com/{n}.png", "prompt": f"{n}", **fields}
        for n in range(count)
    ]
    return json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs})


def forty(desk: Desk) -> None:
    """40 jobs from a folder, a table, URLs and Base64."""
    for number in range(10):
        make = make_png if number % 2 else make_jpeg
        desk.write(f"m/inbox/{number}.{'png' if number % 2 else 'jpg'}", make(seed=number))
    rows = ["id,image,prompt,sound,duration"]
    for number in range(10):
        desk.write(f"m/table/{number}.png", make_png(seed=100 + number))
        rows.append(
            f"row{number},table/{number}.png,Row {number},{'on' if number % 2 else ''},{5 + number % 3}"
        )
    desk.write("m/shots.csv", "\n".join(rows) + "\n")
    inline = [{"id": f"url{n}", "image": f"https://example.com/{n}.jpg", "prompt": "x"} for n in range(10)]
    inline += [
        {"id": f"raw{n}", "image": base64.b64encode(make_png(seed=200 + n)).decode(), "prompt": "x"}
        for n in range(10)
    ]
    manifest = {
        "version": 1,
        "name": "night",
        "output_dir": "../clips",
        "defaults": {"model_name": "kling-v3", "mode": "pro"},
        "jobs": [{"folder": "inbox", "prompt": "{stem}: drift"}, {"table": "shots.csv"}, *inline],
    }
    desk.write("m/night.yaml", json.dumps(manifest))


def test_empty_lists_are_not_sent_and_change_no_id(desk: Desk) -> None:
    desk.write(
        "night.yaml",
        "version: 1\ndefaults: {model_name: kling-v3, prompt: gone}\njobs:\n"
        "  - id: hero\n    image: https://example.com/a.png\n    prompt: <<<element_1>>> walks\n"
        "    element_list: [{element_id: 160}]\n    voice_list: []\n    dynamic_masks: []\n"
        '    camera_control: {type: simple, config: {zoom: "5"}}\n'
        "  - id: cut\n    image: https://example.com/b.png\n    prompt: null\n    multi_shot: true\n"
        "    shot_type: customize\n    multi_prompt: [{index: 1, prompt: a, duration: 5 s}]\n",
    )
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "night.yaml").code == 0
        hero, cut = sorted(
            (entry for entry in server.entries() if entry.accepted),
            key=lambda entry: "multi_shot" in entry.fields,
        )
    assert hero.external_task_id == "night.hero.66e8dfa3f76c912771f5"  # as it was when they were sent
    assert hero.fields.keys() & {"voice_list", "dynamic_masks"} == set()
    assert hero.fields["camera_control"]["config"] == {"zoom": 5}
    assert "prompt" not in cut.fields
    assert cut.fields["multi_prompt"] == [{"index": 1, "prompt": "a", "duration": "5"}]


def test_forty_jobs_of_every_kind_become_forty_clips_and_the_journal_agrees(desk: Desk) -> None:
    forty(desk)
    with sandbox(desk.folder, "--slots", "3", *FAST) as server:
        desk.against(server)
        first = desk.run("run", *QUICK, "m")
        assert (first.code, first.out, first.err) == (0, "", "")
        rows = desk.export()
        assert len(rows) == 40
        assert {row["task_id"]: row["external_task_id"] for row in rows} == server.accepted()
        summary = server.summary()
        assert summary["twice"] == []
        assert summary["max_running"] <= 3
        for row in rows:
            assert row["state"] == "downloaded"
            clip = Path(row["video_path"]).read_bytes()
            assert hashlib.sha256(clip).hexdigest() == row["video_sha256"]
        assert len({row["video_path"] for row in rows}) == 40

        sent = {
            image["sha256"] for entry in server.entries() if entry.accepted for image in entry.images.values()
        }
        files = [*(desk.folder / "m/inbox").iterdir(), *(desk.folder / "m/table").iterdir()]
        assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in files} <= sent

        requests = len(server.entries())
        again = desk.run("run", *QUICK, "m")
        assert (again.code, again.out, again.err) == (0, "", "")
        assert len(server.entries()) == requests

        desk.write("m/inbox/new.png", make_png(seed=999))
        assert desk.run("run", *QUICK, "m").code == 0
        assert len(server.accepted()) == 41


def test_a_night_with_nothing_to_do_needs_no_api_and_does_not_load_its_client(desk: Desk) -> None:
    desk.write("m.yaml", urls(3))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", *QUICK, "m.yaml").code == 0
    loaded = "import sys; from batchgen.cli.main import main; code = main(sys.argv[1:]); print('aiohttp' in sys.modules)"
    desk.program = (sys.executable, "-c", f"{loaded}; sys.exit(code)")
    again = desk.run("run", *QUICK, "m.yaml")
    assert (again.code, again.out, again.err) == (0, "False\n", "")
    desk.write("m.yaml", urls(4))
    assert desk.run("run", "--timeout", "0.2", "m.yaml").out == "True\n"


def test_a_kill_in_the_middle_costs_nothing(desk: Desk) -> None:
    forty(desk)
    with sandbox(desk.folder, "--slots", "3", *FAST) as server:
        desk.against(server)
        process = desk.start("run", *QUICK, "m")
        until(lambda: len(server.accepted()) >= 10)
        process.kill()
        process.communicate()
        final = desk.run("run", "--poll-interval", "0.05", "--timeout", "1", "--settle", "1", "m")
        assert final.code == 0, final.err
        assert server.summary()["twice"] == []
        assert len(server.accepted()) == 40
        assert {row["task_id"] for row in desk.export()} == set(server.accepted())


def test_submit_only_leaves_once_every_job_has_a_task_and_collect_brings_them_home(desk: Desk) -> None:
    desk.write("m.yaml", urls(5))
    with sandbox(desk.folder, "--task-seconds", "30") as server:
        desk.against(server)
        assert desk.run("run", "--submit-only", *QUICK, "m.yaml").code == 0
        assert {row["state"] for row in desk.export()} == {"submitted"}
        server.ask("finish", {})
        collected = desk.run("collect", *QUICK)
        assert (collected.code, collected.out, collected.err) == (0, "", "")
        assert {row["state"] for row in desk.export()} == {"downloaded"}
        assert len(server.accepted()) == 5


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=str
)
def test_a_signal_ends_the_run_with_everything_recorded(
    desk: Desk, number: signal.Signals, code: int
) -> None:
    desk.write("m.yaml", urls(6))
    with sandbox(desk.folder, "--slots", "2", "--task-seconds", "60") as server:
        desk.against(server)
        process = desk.start("run", *QUICK, "m.yaml")
        until(lambda: len(server.accepted()) == 2)
        process.send_signal(number)
        result = desk.finish(process)
        assert result.code == code
        assert "run again" in result.err
        assert {row["task_id"] for row in desk.export() if row["task_id"]} == set(server.accepted())


def test_account_codes_stop_all_creates_at_once_and_what_runs_is_followed(desk: Desk) -> None:
    desk.write("m.yaml", urls(20))
    with sandbox(desk.folder, *FAST, "--fault", "balance@4,5,6,7,8,9,10,11,12") as server:
        desk.against(server)
        result = desk.run("run", "--concurrency", "2", *QUICK, "m.yaml")
        assert result.code == 3
        assert "arrears" in result.err
        assert len([entry for entry in server.entries() if entry.kind == "create"]) <= 5
        assert {row["state"] for row in desk.export() if row["task_id"]} == {"downloaded"}


def test_a_refused_job_waits_until_it_changes_and_the_others_are_done(desk: Desk) -> None:
    desk.write("m.yaml", urls(3))
    with sandbox(desk.folder, *FAST, "--fault", "refuse_policy@1") as server:
        desk.against(server)
        result = desk.run("run", "--concurrency", "1", *QUICK, "m.yaml")
        assert result.code == 1
        assert "Nothing was paid" in result.err and "m/j0" in result.err
        assert desk.run("run", *QUICK, "m.yaml").code == 1
        assert len(server.accepted()) == 2
        desk.write("m.yaml", urls(3).replace('"prompt": "0"', '"prompt": "kinder"'))
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert len(server.accepted()) == 3


def test_a_failed_task_is_tried_again_under_the_next_ids_up_to_the_limit(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST, "--fault", "task_fails_unsaid=1") as server:
        desk.against(server)
        result = desk.run("run", *SOON, *QUICK, "m.yaml")
        assert result.code == 1
        ids = list(server.accepted().values())
        assert ids == [ids[0], f"{ids[0]}~2", f"{ids[0]}~3"]
        assert desk.run("run", *SOON, *QUICK, "m.yaml").code == 1
        assert len(server.accepted()) == 3
        server.ask("faults", {"clear": True})
        assert desk.run("run", "--retry-failed", *QUICK, "m.yaml").code == 0
        assert [row["state"] for row in desk.export()] == ["failed", "failed", "failed", "downloaded"]


def test_a_download_that_fails_is_retried_as_a_download(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, *FAST, "--fault", "video_html=1") as server:
        desk.against(server)
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 1
        assert "fetches it again" in result.err
        assert "--abandon" not in result.err
        server.ask("faults", {"clear": True})
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert len(server.accepted()) == 1
        assert list((desk.folder / "clips").rglob("*.part")) == []


@pytest.mark.parametrize(
    ("option", "made", "says"),
    [
        (("--max-jobs", "2"), 2, "the cap of 2 jobs was reached"),
        (("--max-cost", "1.00"), 2, "the cost cap of $1.00 was reached"),
        (("--deadline", "0s"), 0, "the deadline passed"),
    ],
    ids=["jobs", "cost", "deadline"],
)
def test_a_cap_ends_creating_with_work_left(
    desk: Desk, option: tuple[str, str], made: int, says: str
) -> None:
    desk.write("m.yaml", urls(5))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        result = desk.run("run", *option, *QUICK, "m.yaml")
        assert (result.code, len(server.accepted())) == (4, made)
        assert says in result.err
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert len(server.accepted()) == 5


def test_a_manifests_own_limits_hold(desk: Desk) -> None:
    desk.write("m.yaml", urls(8).replace('"version": 1', '"version": 1, "max_running": 2, "max_cost_usd": 3'))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 4
        assert "m: its cost cap of $3.00 was reached" in result.err
        assert len(server.accepted()) == 7
        assert server.summary()["max_running"] <= 2


def test_a_bad_image_fails_its_own_job_and_a_bad_manifest_only_itself(desk: Desk) -> None:
    desk.write("all/a.yaml", urls(2).replace("https://example.com/1.png", "missing.png"))
    desk.write("all/b.yaml", urls(2).replace('"prompt": "1"', '"promt": "1"'))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        result = desk.run("run", *QUICK, "all")
        assert result.code == 2
        assert 'unknown key "promt"; did you mean "prompt"?' in result.err
        assert "all/b.yaml:1:" in result.err
        assert "missing.png" in result.err
        assert next(iter(server.accepted().values())).startswith("a.j0.")
        assert len(server.accepted()) == 1


def test_a_changed_job_is_reported_and_never_paid_without_being_accepted(desk: Desk) -> None:
    desk.write("m.yaml", urls(2))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        desk.write("m.yaml", urls(2).replace('"prompt": "1"', '"prompt": "other"'))
        result = desk.run("run", *QUICK, "m.yaml")
        assert (result.code, len(server.accepted())) == (5, 2)
        assert "--accept-changes" in result.err
        assert desk.run("run", "--accept-changes", *QUICK, "m.yaml").code == 0
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert len(server.accepted()) == 3
        assert len({row["video_path"] for row in desk.export()}) == 3


def test_slots_left_by_an_earlier_run_are_counted(desk: Desk) -> None:
    desk.write("a.yaml", urls(2))
    desk.write("b.yaml", urls(4))
    with sandbox(desk.folder, "--task-seconds", "600") as server:
        desk.against(server)
        assert desk.run("run", "--submit-only", *QUICK, "a.yaml").code == 0
        process = desk.start("run", "--max-running", "3", *QUICK, "b.yaml")
        until(lambda: len(server.accepted()) == 3)
        asked = len(server.entries())
        until(lambda: len(server.entries()) > asked + 10)
        process.terminate()
        assert desk.finish(process).code == 143
        assert len(server.accepted()) == 3


def test_json_is_one_object_and_its_buckets_sum_to_the_jobs(desk: Desk) -> None:
    desk.write("m.yaml", urls(4))
    with sandbox(desk.folder, *FAST, "--fault", "refuse_policy@2") as server:
        desk.against(server)
        result = desk.run("run", "--json", *QUICK, "m.yaml")
        assert result.code == result.json["exit_code"] == 1
        assert sum(result.json["buckets"].values()) == result.json["jobs"] == 4
        assert result.json["buckets"]["downloaded"] == result.json["created"] == 3
        assert [ending["bucket"] for ending in result.json["endings"]] == ["rejected"]


def test_a_second_run_finds_the_ledger_held(desk: Desk) -> None:
    desk.write("m.yaml", urls(1))
    with sandbox(desk.folder, "--task-seconds", "60") as server:
        desk.against(server)
        process = desk.start("run", *QUICK, "m.yaml")
        until(lambda: len(server.accepted()) == 1)
        second = desk.run("run", *QUICK, "m.yaml")
        assert second.code == 75
        assert f"process {process.pid}" in second.err
        assert desk.run("status").code == desk.run("plan", "m.yaml").code == 0
        server.ask("finish", {})
        assert desk.finish(process).code == 0


def test_plan_says_what_a_run_would_do_and_changes_nothing(desk: Desk) -> None:
    desk.write("m.yaml", urls(2, mode="pro", sound="on"))
    plan = desk.run("plan", "m.yaml")
    assert plan.code == 0
    assert "create       $0.84  m/j0  (new)" in plan.out
    assert "2 jobs: 2 create; about $1.68" in plan.out
    assert not (desk.folder / "home/.local").exists()
    assert desk.run("run", "--dry-run", "m.yaml").out == plan.out


def test_a_lost_ledger_is_rebuilt_from_the_api_and_nothing_is_created(desk: Desk) -> None:
    desk.write("m.yaml", urls(6))
    with sandbox(desk.folder, *FAST, "--fault", "task_fails@2") as server:
        desk.against(server)
        assert desk.run("run", *SOON, *QUICK, "m.yaml").code == 0
        made = server.accepted()
        lose(desk.folder / "home/.local/state/batchgen/ledger.db")
        (desk.folder / "clips/m/clips.jsonl").unlink()  # with it, the clips would tell
        desk.write("m.yaml", urls(8))

        guarded = desk.run("run", *QUICK, "m.yaml")
        assert guarded.code == 5
        assert "batchgen recover" in guarded.err
        assert server.accepted() == made

        recovered = desk.run("recover", "--json", *QUICK, "m.yaml")
        assert recovered.code == 0
        assert recovered.json["tasks"].items() < {name: task for task, name in made.items()}.items()
        assert recovered.json["missing"] == 2
        assert {row["task_id"] for row in desk.export()} == set(made)
        assert desk.run("collect", *QUICK).code == 0
        assert server.accepted() == made
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        assert len(server.accepted()) == len(made) + 2


def test_an_older_copy_of_the_ledger_finds_the_tasks_that_it_has_lost_and_pays_for_none_again(
    desk: Desk,
) -> None:
    desk.write("m.yaml", urls(4))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", "--ledger", "now.db", "--max-jobs", "2", *QUICK, "m.yaml").code == 4
        shutil.copy(desk.folder / "now.db", desk.folder / "older.db")
        assert desk.run("run", "--ledger", "now.db", *QUICK, "m.yaml").code == 0
        (desk.folder / "clips/m/clips.jsonl").unlink()  # with it, the clips would tell

        at_once = ("--max-running", "2")  # the first found would end the creates of its manifest
        result = desk.run("run", "--ledger", "older.db", *at_once, *QUICK, "m.yaml")
        assert (result.code, result.err.count("which the ledger had not")) == (0, 2)
        rows = desk.run("export", "--ledger", "older.db", "--json").json["tasks"]
        assert {row["task_id"]: row["external_task_id"] for row in rows} == server.accepted()
        assert {row["state"] for row in rows} == {"downloaded"}


def test_run_recovers_first_where_it_is_told_to(desk: Desk) -> None:
    desk.write("m.yaml", urls(3))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "--ledger", "one.db", "m.yaml").code == 0
        assert desk.run("run", "--recover", *QUICK, "--ledger", "two.db", "m.yaml").code == 0
        assert len(server.accepted()) == 3


def test_a_recovery_that_finds_nothing_where_lookups_are_unproven_says_that_it_proves_nothing(
    desk: Desk,
) -> None:
    desk.write("m.yaml", urls(2))
    with sandbox(desk.folder, *FAST, "--no-lookups") as server:
        desk.against(server)
        result = desk.run("recover", *QUICK, "m.yaml")
        assert result.code == 5
        assert "proves nothing" in result.err


def unknown_job(desk: Desk) -> str:
    """One job whose create was accepted without an answer, at an API that finds no external_task_id."""
    desk.write("m.yaml", urls(1))
    result = desk.run("run", "--poll-interval", "0.05", "--timeout", "0.5", "--settle", "0.5", "m.yaml")
    assert result.code == 5
    assert "batchgen resolve" in result.err
    return str(desk.export()[0]["external_task_id"])


@pytest.mark.parametrize(
    ("choice", "state", "code", "accepts"),
    [
        ("--task-id", "downloaded", 0, 1),
        ("--not-created", "downloaded", 0, 2),
        ("--abandon", "rejected", 0, 1),
    ],
)
def test_a_person_decides_about_an_unknown_outcome(
    desk: Desk, choice: str, state: str, code: int, accepts: int
) -> None:
    options = ("--no-lookups", "--no-unique", "--fault", "reset_after@1")
    with sandbox(desk.folder, *FAST, *options) as server:
        desk.against(server)
        name = unknown_job(desk)
        shown = desk.run("resolve", name)
        assert (shown.code, name in shown.out, "--not-created" in shown.out) == (0, True, True)
        (task,) = server.accepted()
        decided = desk.run("resolve", name, choice, *([task] if choice == "--task-id" else []))
        assert decided.code == 0
        assert desk.run("run", *QUICK, "m.yaml").code == code
        assert [row["state"] for row in desk.export()] == [state]
        assert len(server.accepted()) == accepts
        history = desk.run("status", "--json", name).json["tasks"][0]["history"]
        assert any(
            event["event"].startswith("resolved_as") and "@" in event["detail"]["by"] for event in history
        )
        assert desk.run("resolve", name, "--abandon").code == 2


def test_what_changed_since_it_was_paid_is_told_field_by_field(desk: Desk) -> None:
    desk.write("a.png", make_png(seed=1))
    manifest = {"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": [{"id": "a", "image": "a.png"}]}
    desk.write("m.yaml", json.dumps(manifest))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m.yaml").code == 0
        desk.write("a.png", make_png(seed=2))
        desk.write("m.yaml", json.dumps(manifest).replace('"kling-v3"', '"kling-v3", "duration": 7'))
        result = desk.run("run", *QUICK, "m.yaml")
        assert result.code == 5
        old, new = (hashlib.sha256(make_png(seed=seed)).hexdigest()[:12] for seed in (1, 2))
        assert f"image: bytes {old} -> bytes {new}" in result.err
        assert 'duration: "5" -> "7"' in result.err
        assert len(server.accepted()) == 1


def test_renaming_reordering_and_moving_have_no_effect(desk: Desk) -> None:
    desk.write("m/in/a.png", make_png(seed=1))
    desk.write("m/in/b.png", make_png(seed=2))
    manifest = {"version": 1, "name": "n", "output_dir": "../clips", "defaults": {"model_name": "kling-v3"}}
    entries = [{"folder": "in"}, {"id": "x", "image": "https://example.com/x.png", "prompt": "x"}]
    desk.write("m/one.yaml", json.dumps({**manifest, "jobs": entries}))
    with sandbox(desk.folder, *FAST) as server:
        desk.against(server)
        assert desk.run("run", *QUICK, "m").code == 0
        made = server.accepted()
        (desk.folder / "m/in/a.png").rename(desk.folder / "m/in/renamed.png")
        (desk.folder / "m/one.yaml").unlink()
        entries[1]["id"] = "y"
        text = "# a comment\n" + json.dumps({"jobs": entries[::-1], **manifest})
        desk.write("m/two.yaml", text)
        (desk.folder / "m").rename(desk.folder / "elsewhere")
        again = desk.run("run", *QUICK, "elsewhere")
        assert (again.code, again.err) == (0, "")
        assert server.accepted() == made


def test_a_clip_that_is_not_home_yet_comes_to_where_its_manifest_is_now(desk: Desk) -> None:
    desk.write("old/m.yaml", urls(1))
    with sandbox(desk.folder, *FAST) as server:
        assert desk.against(server).run("run", "--submit-only", *QUICK, "old").code == 0
        (desk.folder / "old").rename(desk.folder / "new")
        assert desk.run("run", *QUICK, "new").code == 0
        assert (desk.folder / "new/clips/m/j0.mp4").exists()
        assert not (desk.folder / "old").exists()
        assert len(server.accepted()) == 1


def test_a_plan_says_where_a_price_is_only_a_bound_and_counts_twice_the_price_with_sound(desk: Desk) -> None:
    voiced = {"sound": "on", "voice_list": [{"voice_id": "v"}], "prompt": "<<<voice_1>>> says: Hello"}
    desk.write("m.yaml", urls(1, **voiced))
    shown = desk.run("plan", "m.yaml").out
    assert "1 job with a named voice: its price is not published, so twice" in shown
    assert "; about $1.26\n" in shown


def test_the_charge_of_a_task_counts_in_place_of_its_estimate(desk: Desk) -> None:
    desk.write("m.yaml", urls(2, mode="pro"))  # estimated at half a dollar and six cents each
    with sandbox(desk.folder, *FAST, "--fault", "task_fails_unsaid@1") as server:
        assert desk.against(server).run("run", *QUICK, *SOON, "m.yaml").code == 0
    with contextlib.closing(sqlite3.connect(desk.folder / "home/.local/state/batchgen/ledger.db")) as ledger:
        charges = ledger.execute("SELECT state, units_charged, charged, estimate FROM tasks").fetchall()
        (spent,) = ledger.execute("SELECT sum(micros) FROM spent").fetchone()
    assert sorted(charges) == [
        ("downloaded", "4", 560_000, 560_000),
        ("downloaded", "4", 560_000, 560_000),
        ("failed", "0", 0, 560_000),
    ]
    assert spent == 1_120_000
