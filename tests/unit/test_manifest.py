"""Manifests: what they mean, every problem with its place, and what fails a job alone."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen import limits
from batchgen.errors import UsageError
from batchgen.files import Folders
from batchgen.images import inspection
from batchgen.manifest import reader
from batchgen.manifest.image_refs import LARGE
from batchgen.models import ImageFile, Job, Manifest, Within
from tests.support.pictures import make_jpeg, make_large_png, make_png

URL = "https://example.com/frame.png"
HEAD = "version: 1\ndefaults: {model_name: kling-v3}\njobs:\n"


def put(name: str, content: str | bytes) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def put_images(*names: str, size: tuple[int, int] = (320, 320)) -> None:
    for name in names:
        put(name, make_png(*size, seed=zlib.crc32(name.encode())))


def good(*paths: str) -> Manifest:
    manifests, problems = reader.read(paths or ["night.yaml"])
    assert not problems, list(map(str, problems))
    assert len(manifests) == 1
    return manifests[0]


def jobs(text: str) -> list[Job]:
    put("night.yaml", HEAD + text)
    found = good()
    assert not found.unusable, found.unusable
    return found.jobs


def refused(text: str, *, head: str = HEAD) -> list[str]:
    put("night.yaml", head + text)
    manifests, problems = reader.read(["night.yaml"])
    assert len(manifests) == 0
    assert problems
    return list(map(str, problems))


def unusable(text: str) -> list[str]:
    put("night.yaml", HEAD + text)
    found = good()
    assert not found.jobs
    return [str(job.problem) for job in found.unusable]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# -- the top level ---------------------------------------------------------------------------------------------------


def test_a_whole_manifest() -> None:
    put_images("m/images/hero.png", "m/inbox/a.png", "m/inbox/sub/b.png")
    put("m/shots.csv", f"id,image,prompt\nt1,{URL},A cat\n")
    put(
        "m/night.yaml",
        "version: 1\nname: night-shop\noutput_dir: ../clips\nconcurrency: 4\nmax_running: 5\nmax_cost_usd: 200\n"
        "defaults: {model_name: kling-v3, mode: pro, duration: 5}\njobs:\n"
        "  - id: hero\n    image: images/hero.png\n    prompt: Slow camera push-in\n    sound: on\n"
        '  - folder: inbox\n    match: "**/*.png"\n    prompt: "{stem}: gentle parallax"\n'
        "  - table: shots.csv\n",
    )
    found = good("m/night.yaml")
    limits = (found.file, found.name, found.concurrency, found.max_running, found.max_cost_usd)
    assert limits == ("m/night.yaml", "night-shop", 4, 5, 200.0)
    assert [job.id for job in found.jobs] == ["hero", "a", "sub/b", "t1"]
    hero, a, b, t1 = found.jobs
    image = hero.request["image"]
    assert isinstance(image, ImageFile)
    assert image.path == os.path.abspath("m/images/hero.png")
    common = {"model_name": "kling-v3", "mode": "pro", "duration": "5"}
    assert hero.request == {**common, "image": image, "prompt": "Slow camera push-in", "sound": "on"}
    assert b.request["prompt"] == "b: gentle parallax"
    assert t1.request == {**common, "image": URL, "prompt": "A cat"}
    assert {job.output_dir for job in found.jobs} == {os.path.abspath("clips")}
    assert [str(job.place) for job in (hero, a, b, t1)] == [
        "m/night.yaml",
        "m/inbox/a.png",
        "m/inbox/sub/b.png",
        "m/shots.csv:2:1",
    ]
    assert len({job.external_task_id for job in found.jobs}) == 4
    assert hero.take == 1
    assert hero.manifest == "night-shop"


def test_the_name_is_the_files_stem_and_clips_go_beside_it() -> None:
    put("m/night.shop.yml", HEAD + f"  - image: {URL}\n")
    found = good("m/night.shop.yml")
    assert found.name == "night.shop"
    assert found.jobs[0].output_dir == os.path.abspath("m/clips")


def test_the_argument_beats_the_manifests_output_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put("m/night.yaml", f"output_dir: ~/films\n{HEAD}  - image: {URL}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert good("m/night.yaml").jobs[0].output_dir == str(tmp_path / "home/films")
    found, _ = reader.read(["m/night.yaml"], output_dir="out")
    assert found[0].jobs[0].output_dir == os.path.abspath("out")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "night.yaml:1:1: the file is empty; it starts with version: 1 and jobs:"),
        ("# nothing\n", "night.yaml:1:1: the file is empty"),
        ("- a\n- b\n", "night.yaml:1:1: a manifest is a set of keys (key: value)"),
        ("\n  text", "night.yaml:2:3: a manifest is a set of keys"),
        ("version: 1\njobs: []\n", "night.yaml:2:1: jobs: "),
        ("version: 1\n", 'night.yaml:1:1: "jobs" is missing'),
        (f"jobs:\n - {{image: {URL}, model_name: kling-v3}}\n", 'night.yaml:1:1: "version" is missing'),
        ("version: 2\njobs: []\n", "night.yaml:1:1: version: "),
        ("version: 1\njobs: {a: 1}\n", "night.yaml:2:1: jobs: "),
        ("version: 1\njobs: [5, a, [x]]\n", "night.yaml:2:8: jobs[0]: a job is a set of keys"),
        ("version: 1\ndefaults: [1]\njobs: [{}]\n", "night.yaml:2:1: defaults: "),
        ("jobs: 1\njobs: 2\n", 'night.yaml:2:1: the key "jobs" stands twice; first at 1:1'),
        (
            "a: 1\na: 2\n",
            "night.yaml:2:1: this key stands twice; first at 1:1; it starts with version: 1 and",
        ),
    ],
)
def test_what_is_no_manifest(text: str, problem: str) -> None:
    assert refused(text, head="")[0].startswith(problem)


def test_bytes_that_are_no_text_have_their_place() -> None:
    put("night.yaml", b"version: 1\nname: \xff\n")
    assert str(reader.read(["night.yaml"])[1][0]) == (
        "night.yaml:2:7: the byte 0xff is not UTF-8 text; save it as UTF-8"
    )


def test_wrong_top_level_keys_are_all_told() -> None:
    found = refused(f"  - image: {URL}\n", head=f"concurency: 4\nmax_running: none\n{HEAD}")
    assert found == [
        'night.yaml:1:1: concurency: unknown key "concurency"; did you mean "concurrency"?',
        found[1],
    ]
    assert found[1].startswith("night.yaml:2:1: max_running: ")


def test_a_file_name_that_is_no_name_asks_for_one() -> None:
    file = "x" * 201 + ".yaml"
    put(file, HEAD + f"  - image: {URL}\n")
    assert "name: " in str(reader.read([file])[1][0])


# -- paths -----------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_manifests_sorted_without_hidden_and_deeper_ones() -> None:
    for name in ("b.yml", "a.yaml", ".c.yaml", "sub/d.yaml", "e.txt"):
        put(f"m/{name}", HEAD + f"  - image: {URL}\n")
    Path("m/x.yaml").mkdir()
    found, problems = reader.read(["m"])
    assert ([one.file for one in found], problems) == (["m/a.yaml", "m/b.yml"], [])


def test_a_file_given_twice_is_read_once() -> None:
    put("m/a.yaml", HEAD + f"  - image: {URL}\n")
    os.link("m/a.yaml", "m/b.yaml")
    Path("link.yaml").symlink_to("m/a.yaml")
    found, problems = reader.read(["m/a.yaml", "m", "./m/../m/a.yaml", "link.yaml"])
    assert ([one.file for one in found], problems) == (["m/a.yaml"], [])


def test_paths_that_are_nothing_are_a_wrong_command_line() -> None:
    Path("empty").mkdir()
    put("empty/.hidden.yaml", "x")
    with pytest.raises(UsageError, match="empty: no manifest in this folder"):
        reader.read(["empty"])
    with pytest.raises(UsageError, match="none: No such file"):
        reader.read(["none"])
    with pytest.raises(UsageError, match="can't be a path"):
        reader.read(["a\0b"])


def test_a_manifest_that_cannot_be_read_does_not_keep_others_from_running() -> None:
    put("m/b.yaml", HEAD + f"  - image: {URL}\n")
    Path("m/a.yaml").symlink_to("nowhere")
    os.mkfifo("m/c.yaml")
    found, problems = reader.read(["m"])
    assert [one.file for one in found] == ["m/b.yaml"]
    assert list(map(str, problems)) == [
        "m/a.yaml: can't be read: No such file or directory",
        "m/c.yaml: can't be read: not a regular file",
    ]


def test_a_bad_manifest_creates_nothing_and_a_good_one_beside_it_runs() -> None:
    put("a.yaml", HEAD + f"  - image: {URL}\n  - image: https://x.org/b.png\n    duration: 2\n")
    put("b.yaml", HEAD + f"  - image: {URL}\n")
    found, problems = reader.read(["a.yaml", "b.yaml"])
    assert [one.file for one in found] == ["b.yaml"]
    assert list(map(str, problems)) == ['a.yaml:6:5: jobs[1] (b).duration: "2" is not one of 3 ... 15']


# -- what a job's fields are -----------------------------------------------------------------------------------------


def test_defaults_are_beaten_by_the_entry_and_the_entry_by_the_row_or_sidecar() -> None:
    put_images("in/a.png", "in/b.png")
    put("in/b.yaml", "mode: 4k\nprompt: side {car}\n")
    put("t.csv", f"id,image,mode,prompt\nr,{URL},4k,\ns,{URL},,cell\n")
    text = (
        "version: 1\ndefaults: {model_name: kling-v3, mode: std, duration: 7, prompt: default}\njobs:\n"
        f"  - {{id: i, image: {URL}, prompt: inline}}\n  - {{id: d, image: {URL}, duration: 9}}\n"
        "  - {folder: in, mode: pro, prompt: entry}\n  - {table: t.csv, prompt: entry, take: 2}\n"
    )
    put("night.yaml", text)
    told = [(job.id, *(job.request[key] for key in ("mode", "duration", "prompt"))) for job in good().jobs]
    assert told == [
        ("i", "std", "7", "inline"),
        ("d", "std", "9", "default"),
        ("a", "pro", "7", "entry"),
        ("b", "4k", "7", "side {car}"),
        ("r", "4k", "7", "entry"),
        ("s", "std", "7", "cell"),
    ]


def test_null_takes_a_default_away() -> None:
    put_images("in/a.png", "in/b.png")
    put("in/b.yaml", "prompt: null\ncamera_control: ~\nmode:\n")
    put("t.csv", f"id,image,prompt\nr,{URL},\n")
    put("t.jsonl", f'{{"id": "s", "image": "{URL}", "prompt": null, "mode": null}}\n')
    shots = "multi_shot: true, shot_type: customize, multi_prompt: [{index: 1, prompt: x, duration: 5}]"
    put(
        "night.yaml",
        "version: 1\ndefaults: {model_name: kling-v3, mode: pro, take: 2, prompt: default, image: in/a.png,\n"
        "  camera_control: {type: down_back}}\njobs:\n"
        f"  - {{id: i, take: null, prompt: null, {shots}}}\n"
        f"  - {{id: j, image: null, image_tail: '{URL}', camera_control: null}}\n"
        "  - {folder: in, prompt: entry}\n"
        "  - {table: t.csv, mode: null}\n  - table: t.jsonl\n",
    )
    told = {
        (job.id, job.take): [job.request.get(key) for key in ("mode", "prompt", "camera_control")]
        for job in good().jobs
    }
    back = {"type": "down_back"}
    assert told == {
        ("i", 1): ["pro", None, back],
        ("j", 2): ["pro", "default", None],
        ("a", 2): ["pro", "entry", back],
        ("b", 2): [None, None, None],
        ("r", 2): [None, "default", back],
        ("s", 2): ["pro", "default", back],
    }
    assert "image" not in good().jobs[1].request


@pytest.mark.parametrize("key", ["prompt", "id", "mode", "image_tail", "callback_url"])
def test_null_where_there_is_nothing_to_take_away_is_a_mistake(key: str) -> None:
    (found,) = refused(f"  - image: {URL}\n    {key}:\n")
    assert found.endswith(f"{key}: is empty; give it a value or leave the key out")


def test_null_takes_a_wrong_default_away_which_is_told_all_the_same() -> None:
    head = "version: 1\ndefaults: {model_name: kling-v3, duration: 99}\njobs:\n"
    (found,) = refused(f"  - {{image: {URL}, duration: null}}\n", head=head)
    assert found.startswith("night.yaml:2:34: defaults.duration: ")


def test_null_cannot_take_away_what_is_needed() -> None:
    (found,) = refused(f"  - {{image: {URL}, model_name: null}}\n")
    assert '"model_name" is missing' in found


def test_the_length_of_a_prompt_is_that_of_what_is_sent() -> None:
    put_images("in/a.png", "in/much-longer-than-its-placeholder.png")
    put("t.csv", f"id,image,prompt\nr,{URL},{'{{' * 1300}\n")
    fits = "x" * 2499  # and {stem}, which is six characters, for one
    found = refused(f'  - {{folder: in, prompt: "{fits}{{stem}}"}}\n')
    assert [one.split(": ", 1)[1] for one in found] == [
        "jobs[0] (much-longer-than-its-placeholder).prompt: has 2531 characters; at most 2500 are allowed"
    ]
    text = f'  - {{folder: in, match: a.png, prompt: "{fits}{{stem}}"}}\n  - table: t.csv\n'
    assert [len(job.request["prompt"]) for job in jobs(text)] == [2500, 1300]
    head = f'version: 1\ndefaults: {{model_name: kling-v3, prompt: "{fits}{{stem}}"}}\njobs:\n'
    # The prompt as it stands.
    assert "(frame).prompt: has 2505 characters" in refused(f"  - image: {URL}\n", head=head)[0]
    shot = "{index: 1, duration: 5, prompt: '" + "{{" * 500 + "'}"
    (job,) = jobs(
        f"  - {{folder: in, match: a.png, multi_shot: true, shot_type: customize, multi_prompt: [{shot}]}}\n"
    )
    assert len(job.request["multi_prompt"][0]["prompt"]) == 500


def test_characters_are_counted_as_unicode_counts_them() -> None:
    assert len(jobs(f"  - {{image: {URL}, prompt: '{'😀' * 2500}'}}\n")) == 1
    assert "has 2501 characters" in refused(f"  - {{image: {URL}, prompt: '{'😀' * 2501}'}}\n")[0]


def test_natural_scalars_are_the_apis() -> None:
    (job,) = jobs(
        f"  - {{id: 7, image: {URL}, duration: 5, sound: true, multi_shot: no, cfg_scale: '0.5', take: '2'}}\n"
    )
    assert (job.id, job.take) == ("7", 2)
    assert {
        "duration": "5",
        "sound": "on",
        "multi_shot": False,
        "cfg_scale": 0.5,
    }.items() <= job.request.items()


def test_an_id_keeps_its_zero() -> None:
    assert [job.id for job in jobs(f"  - {{id: 012, image: {URL}}}\n  - {{id: 12, image: {URL}}}\n")] == [
        "012",
        "12",
    ]


def test_aliased_jobs_do_not_share_what_is_made_of_them() -> None:
    put_images("mask.png", "a.png")
    text = (
        "  - id: a\n    image: a.png\n    dynamic_masks: &m\n      - mask: mask.png\n"
        "        trajectories: [{x: 1, y: 2}, {x: 3, y: 4}]\n  - {id: b, image: a.png, dynamic_masks: *m}\n"
    )
    first, second = jobs(text)
    for job in (first, second):
        assert isinstance(job.request["dynamic_masks"][0]["mask"], ImageFile)
    assert first.digest == second.digest


# -- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "job_id"),
    [
        ("image: images/hero.png", "hero"),
        ("image: https://x.org/a/hero.v2.png?size=1#x", "hero.v2"),
        ("image: https://x.org/a/h%C3%A9ro.png", "héro"),
        ("image_tail: https://x.org/tail.png", "tail"),
        ("image: https://x.org/first.png, image_tail: https://x.org/tail.png", "first"),
    ],
)
def test_the_default_id_is_the_images_stem(fields: str, job_id: str) -> None:
    put_images("images/hero.png")
    assert [job.id for job in jobs(f"  - {{{fields}}}\n")] == [job_id]


def test_an_image_without_a_name_needs_an_id() -> None:
    text = base64.b64encode(make_png()).decode()
    assert refused(f"  - image: {text}\n") == [
        "night.yaml:4:5: jobs[0].id: is needed, as the image has no file name to take it from"
    ]
    assert refused("  - image: https://x.org/\n")[0].startswith("night.yaml:4:5: jobs[0].id: is needed")


def test_a_name_that_cannot_be_an_id_asks_for_one() -> None:
    (found,) = refused("  - image: https://x.org/a%0Ab.png\n")
    assert found.startswith("night.yaml:4:5: jobs[0].id: taken from the image's name")


def test_one_id_twice_names_both_places() -> None:
    put_images("a.png", "in/a.png", "in/b.png")
    put("in/b.jpg", make_jpeg())
    put("t.csv", f"id,image\nc,{URL}\na,{URL}\nc,{URL}\n")
    text = "  - image: a.png\n  - {image: a.png, prompt: x}\n  - folder: in\n  - table: t.csv\n"
    assert refused(text) == [
        'night.yaml:5:5: jobs[1] (a).id: "a" is the id of night.yaml:4:5 already; give one of them another',
        'in/a.png: jobs[2] (a).id: "a" is the id of night.yaml:4:5 already; give one of them another',
        'in/b.png: jobs[2] (b).id: "b" is the id of in/b.jpg already; give one of them another',
        't.csv:3:1: row 3 (a).id: "a" is the id of night.yaml:4:5 already; give one of them another',
        't.csv:4:1: row 4 (c).id: "c" is the id of t.csv:2:1 already; give one of them another',
    ]


def test_takes_are_jobs_of_their_own() -> None:
    one, two = jobs(f"  - image: {URL}\n  - {{image: {URL}, take: 2}}\n")
    assert (one.id, one.take, two.id, two.take) == ("frame", 1, "frame", 2)
    assert one.digest == two.digest
    assert one.external_task_id != two.external_task_id
    (found,) = refused(f"  - {{image: {URL}, take: 2}}\n  - {{image: {URL}, take: 2}}\n")
    assert '"frame" (take 2) is the id of night.yaml:4:5 already' in found


def test_one_external_task_id_twice_in_a_manifest() -> None:
    text = f"  - {{id: a, image: {URL}, external_task_id: x}}\n  - {{id: b, image: {URL}, external_task_id: x}}\n"
    assert '(b).external_task_id: "x" is the external_task_id of night.yaml:4:5 as well' in refused(text)[0]


def test_one_external_task_id_in_two_manifests_refuses_both() -> None:
    put("a.yaml", HEAD + f"  - id: a\n    image: {URL}\n    external_task_id: x\n")
    put("t.csv", f"id,image,external_task_id\nb,{URL},x\n")
    put("b.yaml", HEAD + "  - table: t.csv\n    allow_fields: [external_task_id]\n")
    put("c.yaml", HEAD + f"  - image: {URL}\n")
    found, problems = reader.read(["a.yaml", "b.yaml", "c.yaml"])
    assert [one.file for one in found] == ["c.yaml"]
    assert list(map(str, problems)) == [
        'a.yaml:6:5: jobs[0] (a).external_task_id: "x" is the external_task_id of t.csv:2:1 as well',
        't.csv:2:1: b.external_task_id: "x" is the external_task_id of a.yaml:4:5 as well',
    ]


def test_a_given_id_that_is_another_jobs_derived_one_is_found() -> None:
    (derived,) = jobs(f"  - image: {URL}\n")
    text = (
        f"  - {{id: other, image: {URL}, external_task_id: {derived.external_task_id}}}\n  - image: {URL}\n"
    )
    assert "is the external_task_id of night.yaml:4:5 as well" in refused(text)[0]


def test_two_manifests_of_one_name_refuse_each_other() -> None:
    put("a.yaml", "name: x\n" + HEAD + f"  - image: {URL}\n")
    put("x.yaml", HEAD + f"  - image: {URL}\n")
    found, problems = reader.read(["a.yaml", "x.yaml"])
    assert found == []
    assert list(map(str, problems)) == [
        'a.yaml:1:1: name: "x" is the name of x.yaml as well; give each its own',
        'x.yaml:1:1: name: "x" is the name of a.yaml as well; give each its own',
    ]


# -- problems --------------------------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once_in_the_order_of_the_lines() -> None:
    put_images("in/a.png")
    put("in/a.yaml", "duration: 2\nsond: on\n")
    put("t.csv", f"id,image,duration\nx,{URL},77\n")
    put("t.jsonl", f'{{"id": "y", "image": "{URL}", "duration": "z"}}\n')
    head = "version: 1\nconcurrency: 0\ndefaults: {model_name: kling-v3, mode: prox}\njobs:\n"
    text = (
        f"  - id: hero\n    image: {URL}\n    duration: 2\n    promt: x\n"
        f"  - {{id: two, image: {URL}, multi_shot: true}}\n"
        f"  - {{id: three, image: {URL}, voice_list: [{{voice_id: v}}], prompt: '<<<voice_2>>>', sound: on}}\n"
        "  - {folder: in, moode: pro}\n  - {table: t.csv}\n  - {table: t.jsonl}\n  - {folder: none}\n  - {}\n"
    )
    found = refused(text, head=head)
    starts = [
        "night.yaml:2:1: concurrency: ",
        'night.yaml:3:34: defaults.mode: "prox" is not one of std, pro, 4k',
        'night.yaml:7:5: jobs[0] (hero).duration: "2" is not one of 3 ... 15',
        'night.yaml:8:5: jobs[0] (hero).promt: unknown key "promt"; did you mean "prompt"?',
        "night.yaml:9:",
        "night.yaml:10:",
        'night.yaml:11:18: jobs[3].moode: unknown key "moode"; did you mean "mode"?',
        "night.yaml:14:6: jobs[6].folder: none: no such folder",
        "night.yaml:15:5: jobs[7]: at least one of image and image_tail is needed",
        'in/a.yaml:1:1: jobs[3] (a).duration: "2" is not one of 3 ... 15',
        'in/a.yaml:2:1: jobs[3] (a).sond: unknown key "sond"; did you mean "sound"?',
        't.csv:2:33: row 2 (x).duration: "77" is not one of 3 ... 15',
        't.jsonl:1:55: row 1 (y).duration: "z" is not one of 3 ... 15',
    ]
    assert [one[: len(start)] for one, start in zip(found, starts, strict=True)] == starts
    assert "(two)" in found[4]
    assert "(three).prompt" in found[5]


def test_what_many_jobs_share_is_told_once_with_their_number() -> None:
    put_images("in/a.png", "in/b.png", "in/c.png")
    found = refused(
        "  - {folder: in, multi_shot: true, shot_type: customize, multi_prompt: [{index: 1, prompt: a, duration: 5}], prompt: x}\n"
    )
    assert len(found) == 1
    assert found[0].startswith("in/a.png: jobs[0] (a).prompt: prompt has no effect with multi_shot: true")
    assert found[0].endswith(" (and 2 more like it)")


def test_a_wrong_default_is_told_once() -> None:
    text = "".join(f"  - {{id: j{number}, image: {URL}}}\n" for number in range(5))
    found = refused(text, head="version: 1\ndefaults: {model_name: kling-v3, duration: 99}\njobs:\n")
    assert found == ['night.yaml:2:34: defaults.duration: "99" is not one of 3 ... 15']


def test_a_wrong_default_that_a_job_overrides_is_wrong_still_but_not_in_the_job() -> None:
    head = "version: 1\ndefaults: {model_name: kling-v3, duration: 99}\njobs:\n"
    found = refused(f"  - {{image: {URL}, duration: 2}}\n", head=head)
    assert [one.split(": ")[1] for one in found] == ["defaults.duration", "jobs[0] (frame).duration"]


def test_ten_thousand_problems_do_not_take_ten_thousand_readings() -> None:
    text = "".join(f"  - {{id: j{number}, image: {URL}, duration: 2}}\n" for number in range(3_000))
    begin = time.process_time()
    found = refused(text)
    assert time.process_time() - begin < 30
    assert len(found) == limits.PROBLEMS + 1
    assert found[-1].startswith("night.yaml: has more than 1,000 problems")
    assert found[999].startswith("night.yaml:1003:")


def test_folders_and_tables_that_cannot_be_read() -> None:
    put("file", "")
    put("t.txt", "")
    text = (
        "  - folder: none\n  - folder: file\n  - table: none.csv\n  - table: t.txt\n  - folder: .\n    match: '../*'\n"
        '  - folder: "a\\0b"\n  - folder: [a]\n  - {folder: ., table: t.csv}\n  - {folder: ., id: x, image: y}\n'
    )
    found = refused(text)
    starts = [
        "night.yaml:4:5: jobs[0].folder: none: no such folder",
        "night.yaml:5:5: jobs[1].folder: file: Not a directory",
        "night.yaml:6:5: jobs[2].table: none.csv: no such table",
        "night.yaml:9:5: jobs[4].match: is relative to the folder and can't leave it",
        "night.yaml:10:5: jobs[5].folder: this can't be a path",
        "night.yaml:11:5: jobs[6].folder: ",
        "night.yaml:12:17: jobs[7].table: ",
        "night.yaml:13:17: jobs[8].id: ",
        "night.yaml:13:24: jobs[8].image: ",
        "t.txt: is neither .csv, .tsv nor .jsonl",
    ]
    assert [one[: len(start)] for one, start in zip(found, starts, strict=True)] == starts


def test_a_sidecar_cannot_name_another_image() -> None:
    put_images("in/a.png", "other.png")
    put("in/a.yaml", "image: other.png\n")
    (found,) = refused("  - folder: in\n")
    assert found.startswith("in/a.yaml:1:1: jobs[0] (a).image: ")


@pytest.mark.parametrize("take", ["0", "-1", "1.5", "true", "x", "1000000000000"])
def test_takes_count_from_one(take: str) -> None:
    (found,) = refused(f"  - {{image: {URL}, take: {take}}}\n")
    assert found.startswith("night.yaml:4:44: jobs[0] (frame).take: ")


@pytest.mark.parametrize("key", ["id", "take", "external_task_id", "prompt", "image_tail"])
def test_a_null_is_no_value(key: str) -> None:
    (found,) = refused(f"  - image: {URL}\n    {key}:\n")
    assert found.startswith("night.yaml:5:5: jobs[0]")
    assert f".{key}: " in found


def test_an_empty_inbox_is_no_problem() -> None:
    Path("in").mkdir()
    assert jobs("  - folder: in\n") == []


def test_placeholders_are_for_folders_and_tables_only() -> None:
    put_images("in/a.png")
    put("in/a.txt", "literal {stem}")
    put("t.csv", f"id,image,prompt\nx,{URL},{{stem}} {{{{y}}}}\n")
    found = jobs(f"  - {{image: {URL}, prompt: '{{stem}} {{'}}\n  - folder: in\n  - table: t.csv\n")
    assert [job.request["prompt"] for job in found] == ["{stem} {", "literal {stem}", "frame {y}"]


def test_wrong_placeholders_are_told_where_they_stand() -> None:
    put_images("in/a.png", "in/b.png")
    put("t.csv", f"id,image,prompt\nx,{URL},{{stm}}\n")
    text = "  - folder: in\n    prompt: '{stemm}'\n  - table: t.csv\n    negative_prompt: '}'\n"
    starts = [
        "night.yaml:5:5: jobs[0].prompt: {stemm} is no placeholder; did you mean {stem}?",
        "night.yaml:7:5: jobs[1].negative_prompt: a single }: only {stem}, {name}",
        "t.csv:2:33: row 2 (x).prompt: {stm} is no placeholder; did you mean {stem}?",
    ]
    found = refused(text)
    assert [one[: len(start)] for one, start in zip(found, starts, strict=True)] == starts


def test_a_prompt_is_measured_after_it_is_filled_in() -> None:
    put_images(f"in/{'x' * 100}.png")
    (found,) = refused(f"  - folder: in\n    prompt: '{'{stem}' * 26}'\n")
    assert ".prompt: " in found
    assert "2500" in found


# -- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("data:image/png;base64,iVBORw0KGgo", "write the Base64 text alone"),
        ("ftp://x.org/a.png", "the API can't fetch ftp:// addresses"),
        ("file:///a.png", "write the path alone"),
        ("https://", "names no host"),
        ("https:///a.png", "names no host"),
        ("http://[x/a.png", "can't be read"),
        ("http://x:99999999/a.png", "can't be read"),
        ("https://x.org/a b.png", "write %20"),
        ("''", "image: "),
    ],
)
def test_texts_that_can_be_no_image_refuse_the_manifest(image: str, problem: str) -> None:
    (found,) = refused(f"  - id: x\n    image: {image}\n")
    assert found.startswith("night.yaml:5:5: jobs[0] (x).image: ")
    assert problem in found


def test_images_that_fail_their_checks_fail_their_job_alone() -> None:
    put_images("good.png", "in/ok.png")
    put_images("small.png", "in/narrow.png", size=(100, 320))
    put("t.csv", "id,image\nrow,none.png\n")
    text = (
        "  - image: good.png\n  - image: small.png\n  - id: none\n    image: images/none.png\n"
        "  - folder: in\n    prompt: '{stem}'\n  - table: t.csv\n  - {id: b64, image: iVBORw0KGgoAAAANSUhEUgAAAAUA}\n"
    )
    put("night.yaml", HEAD + text)
    found = good()
    assert [job.id for job in found.jobs] == ["good", "ok"]
    told = [str(job.problem).split("; `prepare: true` would take it: enlarged")[0] for job in found.unusable]
    assert [(job.manifest, job.id, job.take) for job in found.unusable][:1] == [("night", "small", 1)]
    none = os.path.abspath("images/none.png")
    assert told[:4] == [
        "night.yaml:5:5: jobs[1] (small).image: small.png: 100x320: each side must be at least 300 px",
        f"night.yaml:7:5: jobs[2] (none).image: no such file: {none}",
        "in/narrow.png: jobs[3] (narrow).image: 100x320: each side must be at least 300 px",
        f"t.csv:2:5: row 2 (row).image: no such file: {os.path.abspath('none.png')}",
    ]
    assert "(b64).image: the image is cut off" in told[-1]


def test_a_text_that_is_no_path_and_no_picture_is_quoted_in_part() -> None:
    put("t.csv", "id,image\nrow," + "A" * 20_000 + " !\n")
    (found,) = unusable("  - {table: t.csv}\n")
    assert found == f"t.csv:2:5: row 2 (row).image: no such file: {'A' * 57}..."


def test_several_wrong_images_of_a_job_are_told_together() -> None:
    (found,) = unusable("  - {id: x, image: a.png, image_tail: b.png}\n")
    assert found.startswith("night.yaml:4:5: jobs[0] (x): image: no such file: ")
    assert "; image_tail: no such file: " in found


def test_masks_are_held_against_the_image() -> None:
    put_images("a.png", "mask.png")
    put_images("wide.png", size=(640, 320))
    (found,) = unusable("  - {image: a.png, static_mask: wide.png}\n")
    assert "jobs[0] (a).static_mask: " in found
    inline = base64.b64encode(make_png(640, 320)).decode()
    (found,) = unusable(f"  - {{image: a.png, static_mask: {inline}}}\n")
    assert "jobs[0] (a).static_mask: " in found
    assert len(jobs("  - {image: a.png, static_mask: mask.png}\n")) == 1


def test_a_refused_manifest_tells_its_wrong_images_as_well() -> None:
    found = refused(f"  - image: none.png\n  - {{image: {URL}, duration: 2}}\n")
    assert [one.split(": ")[1] for one in found] == ["jobs[0] (none).image", "jobs[1] (frame).duration"]


def test_base64_goes_as_it_is_and_files_come_first() -> None:
    png, jpeg = (base64.b64encode(data).decode() for data in (make_png(), make_jpeg()))
    one, two = jobs(f"  - {{id: p, image: {png}}}\n  - {{id: j, image: {jpeg}}}\n")
    assert (one.request["image"], two.request["image"]) == (png, jpeg)
    put_images("iVBORw0KGgo")
    (job,) = jobs("  - image: iVBORw0KGgo\n")
    assert isinstance(job.request["image"], ImageFile)


def test_a_file_and_its_base64_are_one_clip() -> None:
    put_images("a.png")
    text = base64.b64encode(Path("a.png").read_bytes()).decode()
    one, two = jobs(f"  - {{id: x, image: a.png}}\n  - {{id: y, image: {text}}}\n")
    assert one.digest == two.digest


def test_a_home_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    put_images("home/a.png", "home/in/b.png")
    assert [job.id for job in jobs("  - image: ~/a.png\n  - folder: ~/in\n")] == ["a", "b"]


def test_an_image_is_inspected_once_however_often_it_is_used() -> None:
    put_images("a.png", "in/b.png")
    text = "".join(
        f"  - {{id: j{number}, image: a.png, image_tail: in/../in/b.png}}\n" for number in range(5)
    )
    put("night.yaml", HEAD + text + "  - folder: in\n  - {id: n, image: none.png}\n")
    counts: Counter[str] = Counter()

    def inspect(path: str, within: Within | None, folders: Folders) -> ImageFile:
        counts[path] += 1
        return inspection.inspect(path, within, folders)

    reader.read(["night.yaml"], inspect=inspect)
    assert counts == {os.path.abspath("a.png"): 1, os.path.abspath("in/b.png"): 1}


def test_a_file_name_that_cannot_be_an_id_fails_its_job_alone() -> None:
    put_images("in/a.png")
    name = os.fsencode("in/") + b"\xff.png"
    with open(name, "wb") as file:
        file.write(make_png())
    put_images("in/back\\slash.png")
    put("night.yaml", HEAD + "  - folder: in\n")
    found = good()
    assert [job.id for job in found.jobs] == ["a"]
    assert sorted(job.id for job in found.unusable) == ["\\udcff", "back\\\\slash"]
    for job in found.unusable:
        str(job.problem).encode(errors="strict" if "slash" in job.id else "surrogateescape")
        told = (
            "taken from the image's name"
            if "slash" in job.id
            else "the file's name is not UTF-8; rename the file"
        )
        assert told in str(job.problem)


# -- identity --------------------------------------------------------------------------------------------------------


def test_moving_renaming_and_reordering_change_no_identity() -> None:
    put_images("a/pics/x.png")
    put("a/night.yaml", HEAD + f"  - image: pics/x.png\n  - image: {URL}\n    prompt: p\n")
    before = {job.key: (job.external_task_id, job.digest) for job in good("a/night.yaml").jobs}
    os.renames("a/pics/x.png", "b/other/y.png")
    text = (
        f"  # moved\n  - {{prompt: p, image: '{URL}'}}\n  - id: x\n    image: other/y.png\n    duration: 5\n"
    )
    put("b/other-name.yaml", "name: night\n" + HEAD + text)
    after = {job.key: (job.external_task_id, job.digest) for job in good("b/other-name.yaml").jobs}
    assert before == after


def test_a_given_external_task_id_is_kept_and_not_in_the_request() -> None:
    (job,) = jobs(f"  - {{image: {URL}, external_task_id: mine, callback_url: 'https://x.org/'}}\n")
    assert job.external_task_id == "mine"
    assert job.request.keys() == {"model_name", "image", "callback_url"}


# -- properties ------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    ["id", "image", "prompt", "duration", "sound", "take", "folder", "table", "match", "mode", "x"]
)
PLAIN = [
    URL,
    *["5", "on", "2", ".", "in", "t.csv", "a.png", "null", "~", "-1", "1e400", "012", "0x10", "data:x", "*a"],
]
QUOTED = ["'{stem}'", "'{'", "''", "'**'", "'a\\b'", '"\\0"', "'[{\"prompt\": 1}]'"]
VALUES = st.sampled_from([*PLAIN, *QUOTED, "[1]", "{a: b}", "&a [*a]", "!x y"])
ENTRIES = st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=4)


@settings(max_examples=80)
@given(ENTRIES, st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_manifest_gives_jobs_or_problems(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, str]], defaults: dict[str, str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "manifests"
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_text(f"id,image,prompt\nx,{URL},{{stem}}\n")

    def inline(fields: dict[str, str]) -> str:
        return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"

    text = f"version: 1\ndefaults: {inline(defaults)}\njobs: [{', '.join(map(inline, entries))}]\n"
    (folder / "m.yaml").write_text(text)
    found, problems = reader.read([str(folder / "m.yaml")])
    assert bool(found) != bool(problems)
    if found:  # nothing is dropped in silence
        single = sum("folder" not in entry and "table" not in entry for entry in entries)
        assert len(found[0].jobs) + len(found[0].unusable) >= single
    for problem in problems:
        assert "\n" not in str(problem)
        assert problem.text


@settings(max_examples=100)
@given(
    st.binary(max_size=100) | st.text(max_size=60).map(lambda text: ("version: 1\njobs: " + text).encode())
)
def test_any_bytes_give_a_manifest_or_problems(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(data)
    found, problems = reader.read([str(file)])
    assert bool(found) != bool(problems)


@pytest.mark.parametrize(
    "shared", ["image: img/a.png", "image: 5", "dynamic_masks: x", "mode: 7", "multi_prompt: [1]"]
)
def test_what_is_wrong_for_many_jobs_is_told_and_keeps_no_other_manifest_from_running(shared: str) -> None:
    put_images("img/a.png", "img/b.png")
    put("good.yaml", HEAD + "  - {id: a, image: img/a.png, prompt: x}\n")
    put("entry.yaml", HEAD + f"  - {{folder: img, prompt: x, {shared}}}\n")
    put(
        "defaults.yaml",
        f"version: 1\ndefaults: {{model_name: kling-v3, {shared}}}\njobs: [{{folder: img}}]\n",
    )
    good, problems = reader.read(["good.yaml", "entry.yaml", "defaults.yaml"])
    assert "good" in (names := [one.name for one in good])
    assert "entry" not in names
    assert {problem.place.file for problem in problems} >= {"entry.yaml"}
    assert all(shared.split(":", maxsplit=1)[0] in problem.subject for problem in problems)


def test_large_images_of_a_folder_are_read_by_several_threads_and_judged_as_by_one(tmp_path: Path) -> None:
    files = [tmp_path / f"inbox/{number:02}.png" for number in range(16)]
    files[0].parent.mkdir()
    for number, file in enumerate(files):
        file.write_bytes(make_large_png(LARGE + 1000, seed=number))
    files[9].write_bytes(files[9].read_bytes()[:-20])
    (tmp_path / "m.yaml").write_text(
        "version: 1\ndefaults: {model_name: kling-v3}\njobs:\n  - folder: inbox\n    prompt: x\n"
    )
    known = {str(file): inspection.inspect(str(file)) for file in files[12:]}
    inspected: list[tuple[str, bool]] = []

    def inspect(path: str, within: Within | None, folders: Folders) -> ImageFile:
        inspected.append((path, threading.current_thread() is threading.main_thread()))
        return inspection.inspect(path, within, folders)

    [night], problems = reader.read([str(tmp_path / "m.yaml")], known=known, inspect=inspect)

    assert problems == []
    assert [job.id for job in night.jobs] == [file.stem for file in files if file is not files[9]]
    assert [job.request["image"].sha256 for job in night.jobs] == [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file is not files[9]
    ]
    [broken] = night.unusable
    assert (broken.id, broken.problem.place.file) == ("09", str(files[9]))
    assert "cut off" in broken.problem.text
    assert sorted(path for path, _ in inspected) == [str(file) for file in files[:12]]
    assert {main for _, main in inspected} == {True, False}
