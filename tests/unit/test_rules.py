"""Every rule of the specification: at least one request that breaks it, with the message, and good ones beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.models import ImageFile
from batchgen.request import rules, schema
from batchgen.request.schema import Finding

GOOD = {"model_name": "kling-v3", "image": "https://example.com/frame.png", "prompt": "Slow push-in"}
OUT = object()  # takes a key out of GOOD
POINTS = [{"x": 1, "y": 1}, {"x": 2, "y": 2}]
MASK = {"mask": "m.png", "trajectories": POINTS}
VOICES = [{"voice_id": "a"}, {"voice_id": "b"}]
SPEAKS = "A man<<<voice_1>>>says hello"


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not OUT}


def shot(index: float, seconds: Any, prompt: Any = "a") -> dict[str, Any]:
    return {"index": index, "prompt": prompt, "duration": seconds}


def shots(*entries: Any, **more: Any) -> dict[str, Any]:
    return {
        "prompt": OUT,
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": list(entries),
        **more,
    }


def camera(**config: Any) -> dict[str, Any]:
    return {"camera_control": {"type": "simple", "config": config}}


def found(request: Mapping[str, Any]) -> list[Finding]:
    """What a manifest's reader asks of one whole request."""
    return [*schema.check_request(request), *rules.check(request)]


ONE_NONZERO = "exactly one of horizontal, vertical, pan, tilt, roll and zoom must be other than 0"
NO_PREFIX = 'starts with "data:"; write the Base64 text alone, without "data:...;base64," before it'
TAIL = "image_tail can't be used together with static_mask, dynamic_masks or camera_control; leave one out"
MASKS = "static_mask and dynamic_masks can't be used together with camera_control; leave one out"
UNCUT = "shot_type and multi_prompt have no effect without multi_shot: true"
LISTS = "element_list and voice_list can't be used together; leave one out"
MOVES = "simple, down_back, forward_up, right_turn_forward, left_turn_forward"
INT64 = "-9223372036854775808 and 9223372036854775807"

# rule, what is changed in GOOD, where, what is said
REJECTED: list[tuple[str, dict[str, Any], tuple[str | int, ...], str]] = [
    (
        "model_name is required",
        {"model_name": OUT},
        (),
        '"model_name" is missing, for example model_name: kling-v3',
    ),
    (
        "model_name is kling-v3",
        {"model_name": "kling-v2"},
        ("model_name",),
        '"kling-v2" is not allowed; it must be kling-v3',
    ),
    ("no other field", {"seed": 1}, ("seed",), 'unknown key "seed"'),
    ("a field by another name", {"promt": "a"}, ("promt",), 'unknown key "promt"; did you mean "prompt"?'),
    # images
    ("image or image_tail", {"image": OUT}, (), "at least one of image and image_tail is needed"),
    ("image not empty", {"image": ""}, ("image",), "is empty; give it a value or leave the key out"),
    ("image is text", {"image": 5}, ("image",), "5 is not text; put it in quotes"),
    (
        "image without prefix",
        {"image": "data:image/png;base64,iVBOR"},
        ("image",),
        f'"data:image/png;base64,iVBOR" {NO_PREFIX}',
    ),
    ("prefix in any case", {"image": " DATA:,iVBOR"}, ("image",), f'" DATA:,iVBOR" {NO_PREFIX}'),
    (
        "image_tail without prefix",
        {"image_tail": "data:,iVBOR"},
        ("image_tail",),
        f'"data:,iVBOR" {NO_PREFIX}',
    ),
    (
        "static_mask without prefix",
        {"static_mask": "data:,iVBOR"},
        ("static_mask",),
        f'"data:,iVBOR" {NO_PREFIX}',
    ),
    (
        "mask without prefix",
        {"dynamic_masks": [{**MASK, "mask": "data:,iVBOR"}]},
        ("dynamic_masks", 0, "mask"),
        f'"data:,iVBOR" {NO_PREFIX}',
    ),
    (
        "image_tail not with static_mask",
        {"image_tail": "t.png", "static_mask": "m.png"},
        ("static_mask",),
        TAIL,
    ),
    (
        "image_tail not with dynamic_masks",
        {"image_tail": "t.png", "dynamic_masks": [MASK]},
        ("dynamic_masks",),
        TAIL,
    ),
    (
        "image_tail not with camera_control",
        {"image_tail": "t.png", **camera(zoom=1)},
        ("camera_control",),
        TAIL,
    ),
    (
        "static_mask not with camera_control",
        {"static_mask": "m.png", **camera(zoom=1)},
        ("camera_control",),
        MASKS,
    ),
    (
        "dynamic_masks not with camera_control",
        {"dynamic_masks": [MASK], **camera(zoom=1)},
        ("camera_control",),
        MASKS,
    ),
    (
        "masks need image",
        {"image": OUT, "static_mask": "m.png"},
        (),
        "at least one of image and image_tail is needed",
    ),
    # shots
    ("multi_shot is a boolean", {"multi_shot": "maybe"}, ("multi_shot",), '"maybe" is not true or false'),
    (
        "multi_shot without prompt",
        shots(shot(1, "5"), prompt="a"),
        ("prompt",),
        "prompt has no effect with multi_shot: true; move the text into multi_prompt or leave it out",
    ),
    ("shot_type only with multi_shot", {"shot_type": "customize"}, ("shot_type",), UNCUT),
    (
        "multi_prompt only with multi_shot",
        {"multi_shot": False, "multi_prompt": [shot(1, "5")]},
        ("multi_prompt",),
        UNCUT,
    ),
    (
        "multi_shot needs shot_type",
        shots(shot(1, "5"), shot_type=OUT),
        ("multi_shot",),
        "multi_shot: true needs shot_type: customize or intelligence",
    ),
    (
        "shot_type by name",
        shots(shot(1, "5"), shot_type="custom"),
        ("shot_type",),
        '"custom" is not one of customize, intelligence; did you mean "customize"?',
    ),
    (
        "customize needs multi_prompt",
        shots(multi_prompt=OUT),
        ("multi_shot",),
        "multi_shot: true with shot_type: customize needs multi_prompt, the list of shots",
    ),
    ("at least 1 shot", shots(), ("multi_prompt",), "is empty; at least 1 entry is needed"),
    (
        "at most 6 shots",
        shots(*(shot(n, "1") for n in range(7)), duration="7"),
        ("multi_prompt",),
        "has 7 entries; at most 6 are allowed",
    ),
    (
        "a shot has all its keys",
        shots({"index": 1}),
        ("multi_prompt", 0),
        '"prompt" and "duration" are missing',
    ),
    (
        "a shot has no other keys",
        shots({**shot(1, "5"), "seed": 1}),
        ("multi_prompt", 0, "seed"),
        'unknown key "seed"; allowed: index, prompt, duration',
    ),
    (
        "a shot's key by another name",
        shots({"index": 1, "promt": "a", "duration": "5"}),
        ("multi_prompt", 0, "promt"),
        'unknown key "promt"; did you mean "prompt"?',
    ),
    (
        "a shot's index is whole",
        shots(shot(1.5, "5")),
        ("multi_prompt", 0, "index"),
        "1.5 is not a whole number",
    ),
    (
        "a shot's index once",
        shots(shot(1, "2"), shot(1, "3")),
        ("multi_prompt", 1, "index"),
        "1 is the index of shot 1 already; each shot needs its own",
    ),
    (
        "a shot's prompt up to 512",
        shots(shot(1, "5", "a" * 513)),
        ("multi_prompt", 0, "prompt"),
        "has 513 characters; at most 512 are allowed",
    ),
    *(
        (
            f"a shot has a text, not {blank!a}",
            shots(shot(1, "2"), shot(2, "3", blank)),
            ("multi_prompt", 1, "prompt"),
            "the shot's text is empty; say what happens in it, or take the shot out",
        )
        for blank in ("", " \n\t", "\u00a0\u3000", "\u200b\ufeff", "\x00")
    ),
    (
        "a shot of at least 1 second",
        shots(shot(1, "5"), shot(2, "0")),
        ("multi_prompt", 1, "duration"),
        '"0" is not one of 1 ... 15',
    ),
    (
        "a shot within the clip",
        shots(shot(1, "6"), duration="5"),
        ("multi_prompt", 0, "duration"),
        "the shot takes 6 seconds, longer than the whole clip, which takes 5",
    ),
    (
        "shots sum up to the clip",
        shots(shot(1, "3"), shot(2, "3")),
        ("multi_prompt",),
        "the shots take 6 seconds in all, but the clip takes 5 (duration); make them equal",
    ),
    (
        "shots sum up to the clip given",
        shots(shot(1, "5"), duration="10"),
        ("multi_prompt",),
        "the shots take 5 seconds in all, but the clip takes 10 (duration); make them equal",
    ),
    (
        "shots sum up with intelligence too",
        shots(shot(1, "4"), shot_type="intelligence"),
        ("multi_prompt",),
        "the shots take 4 seconds in all, but the clip takes 5 (duration); make them equal",
    ),
    # prompts
    (
        "prompt up to 2500",
        {"prompt": "a" * 2501},
        ("prompt",),
        "has 2501 characters; at most 2500 are allowed",
    ),
    (
        "negative_prompt up to 2500",
        {"negative_prompt": "a" * 2501},
        ("negative_prompt",),
        "has 2501 characters; at most 2500 are allowed",
    ),
    ("prompt is text", {"prompt": 1.5}, ("prompt",), "1.5 is not text; put it in quotes"),
    ("prompt not null", {"prompt": None}, ("prompt",), "is empty; give it a value or leave the key out"),
    (
        "a voice of no list",
        {"prompt": "<<<voice_1>>>"},
        ("prompt",),
        "<<<voice_1>>> refers to nothing: voice_list is not given",
    ),
    (
        "a voice beyond the list",
        {"prompt": "<<<voice_3>>>", "voice_list": VOICES, "sound": "on"},
        ("prompt",),
        "<<<voice_3>>> refers to nothing: voice_list has 2 entries, counted from 1",
    ),
    (
        "voices count from 1",
        {"prompt": "<<<voice_0>>>", "voice_list": VOICES[:1], "sound": "on"},
        ("prompt",),
        "<<<voice_0>>> refers to nothing: voice_list has 1 entry, counted from 1",
    ),
    (
        "an element of no list",
        {"prompt": "<<<element_1>>>"},
        ("prompt",),
        "<<<element_1>>> refers to nothing: element_list is not given",
    ),
    (
        "an element beyond the list",
        {"prompt": "<<<element_2>>>", "element_list": [{"element_id": 1}]},
        ("prompt",),
        "<<<element_2>>> refers to nothing: element_list has 1 entry, counted from 1",
    ),
    (
        "a reference in a shot",
        shots(shot(1, "2"), shot(2, "3", "<<<element_1>>>")),
        ("multi_prompt", 1, "prompt"),
        "<<<element_1>>> refers to nothing: element_list is not given",
    ),
    (
        "voices are used",
        {"voice_list": VOICES, "sound": "on"},
        ("voice_list",),
        "no prompt names a voice of it; write <<<voice_1>>> where it speaks, or leave the list out",
    ),
    (
        "voices are used in a shot",
        shots(shot(1, "5"), voice_list=VOICES, sound="on"),
        ("voice_list",),
        "no prompt names a voice of it; write <<<voice_1>>> where it speaks, or leave the list out",
    ),
    (
        "a reference in its one form",
        {"prompt": "<<Voice_1>>", "voice_list": VOICES, "sound": "on"},
        ("prompt",),
        '"<<Voice_1>>" is no reference; write <<<voice_1>>>',
    ),
    # voices and elements
    ("voices need sound", {"prompt": SPEAKS, "voice_list": VOICES}, ("voice_list",), "voices need sound: on"),
    (
        "voices need sound on",
        {"prompt": SPEAKS, "voice_list": VOICES, "sound": "off"},
        ("sound",),
        "voices need sound: on",
    ),
    (
        "at most 2 voices",
        {"prompt": SPEAKS, "voice_list": [*VOICES, *VOICES], "sound": "on"},
        ("voice_list",),
        "has 4 entries; at most 2 are allowed",
    ),
    (
        "a voice has an id",
        {"prompt": SPEAKS, "voice_list": [{}], "sound": "on"},
        ("voice_list", 0),
        '"voice_id" is missing, for example voice_id: 829826751244537879',
    ),
    (
        "a voice has an id and nothing else",
        {"prompt": SPEAKS, "voice_list": [{"voice_id": "a", "speed": 1}], "sound": "on"},
        ("voice_list", 0, "speed"),
        'unknown key "speed"; allowed: voice_id',
    ),
    (
        "elements not with voices",
        {"prompt": SPEAKS, "voice_list": VOICES, "element_list": [{"element_id": 1}], "sound": "on"},
        ("voice_list",),
        LISTS,
    ),
    (
        "an element has an id",
        {"element_list": [{}]},
        ("element_list", 0),
        '"element_id" is missing, for example element_id: 160',
    ),
    (
        "an element's id is a number",
        {"element_list": [{"element_id": "a"}]},
        ("element_list", 0, "element_id"),
        '"a" is not a whole number',
    ),
    (
        "an element's id is a long",
        {"element_list": [{"element_id": 2**63}]},
        ("element_list", 0, "element_id"),
        f"9223372036854775808 is not between {INT64}",
    ),
    (
        "element_list is a list",
        {"element_list": {"element_id": 1}},
        ("element_list",),
        "a set of keys and values is not a list",
    ),
    # single values
    ("sound is on or off", {"sound": "loud"}, ("sound",), '"loud" is not one of on, off'),
    ("mode by name", {"mode": "Pro"}, ("mode",), '"Pro" is not one of std, pro, 4k; did you mean "pro"?'),
    ("cfg_scale up to 1", {"cfg_scale": 1.5}, ("cfg_scale",), "1.5 is not between 0 and 1"),
    ("cfg_scale from 0", {"cfg_scale": -0.1}, ("cfg_scale",), "-0.1 is not between 0 and 1"),
    ("cfg_scale is a number", {"cfg_scale": "high"}, ("cfg_scale",), '"high" is not a number'),
    ("cfg_scale is JSON", {"cfg_scale": float("nan")}, ("cfg_scale",), "nan is not a number"),
    ("duration from 3", {"duration": "2"}, ("duration",), '"2" is not one of 3 ... 15'),
    ("duration up to 15", {"duration": "16"}, ("duration",), '"16" is not one of 3 ... 15'),
    ("duration is whole", {"duration": "5.5"}, ("duration",), '"5.5" is not one of 3 ... 15'),
    ("duration is text", {"duration": 5}, ("duration",), "5 is not one of 3 ... 15"),
    (
        "watermark_info has enabled",
        {"watermark_info": {}},
        ("watermark_info",),
        '"enabled" is missing, for example enabled: true',
    ),
    (
        "enabled is a boolean",
        {"watermark_info": {"enabled": "a"}},
        ("watermark_info", "enabled"),
        '"a" is not true or false',
    ),
    (
        "callback_url is a URL",
        {"callback_url": "example.com"},
        ("callback_url",),
        '"example.com" is not a web address; it must start with https:// or http://',
    ),
    (
        "callback_url without spaces",
        {"callback_url": "https://example.com/my hook"},
        ("callback_url",),
        "a web address can't hold spaces; write %20",
    ),
    (
        "callback_url in one line",
        {"callback_url": "https://example.com/hook\n"},
        ("callback_url",),
        "a web address can't hold spaces; write %20",
    ),
    (
        "callback_url with a port that exists",
        {"callback_url": "https://example.com:99999/hook"},
        ("callback_url",),
        "this web address can't be read: Port out of range 0-65535",
    ),
    (
        "callback_url with a host",
        {"callback_url": "https://:80/hook"},
        ("callback_url",),
        "this web address names no host",
    ),
    (
        "external_task_id not empty",
        {"external_task_id": ""},
        ("external_task_id",),
        "is empty; give it a value or leave the key out",
    ),
    # masks
    (
        "at most 6 dynamic masks",
        {"dynamic_masks": [MASK] * 7},
        ("dynamic_masks",),
        "has 7 entries; at most 6 are allowed",
    ),
    (
        "a dynamic mask has both keys",
        {"dynamic_masks": [{}]},
        ("dynamic_masks", 0),
        '"mask" and "trajectories" are missing',
    ),
    (
        "a path of at least 2 points",
        {"dynamic_masks": [{**MASK, "trajectories": POINTS[:1]}]},
        ("dynamic_masks", 0, "trajectories"),
        "has 1 entry; at least 2 are needed",
    ),
    (
        "a path of at most 77 points",
        {"dynamic_masks": [{**MASK, "trajectories": POINTS * 39}]},
        ("dynamic_masks", 0, "trajectories"),
        "has 78 entries; at most 77 are allowed",
    ),
    (
        "a point has x and y",
        {"dynamic_masks": [{**MASK, "trajectories": [*POINTS, {"x": 1}]}]},
        ("dynamic_masks", 0, "trajectories", 2),
        '"y" is missing, for example y: 219',
    ),
    (
        "a point is not negative",
        {"dynamic_masks": [{**MASK, "trajectories": [*POINTS, {"x": -1, "y": 1}]}]},
        ("dynamic_masks", 0, "trajectories", 2, "x"),
        "-1 is not between 0 and 2147483647",
    ),
    (
        "a point is of whole pixels",
        {"dynamic_masks": [{**MASK, "trajectories": [*POINTS, {"x": 279.5, "y": 1}]}]},
        ("dynamic_masks", 0, "trajectories", 2, "x"),
        "279.5 is not a whole number",
    ),
    # camera
    (
        "camera_control has a type",
        {"camera_control": {"config": {"zoom": 1}}},
        ("camera_control",),
        '"type" is missing, for example type: simple',
    ),
    (
        "camera_control by name",
        {"camera_control": {"type": "spin"}},
        ("camera_control", "type"),
        f'"spin" is not one of {MOVES}',
    ),
    (
        "simple needs config",
        {"camera_control": {"type": "simple"}},
        ("camera_control", "type"),
        "type simple needs a config with the movement",
    ),
    (
        "config only with simple",
        {"camera_control": {"type": "forward_up", "config": {"zoom": 1}}},
        ("camera_control", "config"),
        "config goes with type simple only; leave it out or change the type",
    ),
    ("one movement, not none", camera(), ("camera_control", "config"), ONE_NONZERO),
    ("one movement, not zero", camera(zoom=0), ("camera_control", "config"), ONE_NONZERO),
    ("one movement, not two", camera(zoom=1, pan=1), ("camera_control", "config"), ONE_NONZERO),
    (
        "a movement up to 10",
        camera(zoom=10.5),
        ("camera_control", "config", "zoom"),
        "10.5 is not between -10 and 10",
    ),
    (
        "a movement from -10",
        camera(tilt=-11),
        ("camera_control", "config", "tilt"),
        "-11 is not between -10 and 10",
    ),
    (
        "a movement by name",
        camera(speed=1, zoom=1),
        ("camera_control", "config", "speed"),
        'unknown key "speed"; allowed: horizontal, vertical, pan, tilt, roll, zoom',
    ),
]

ACCEPTED = [
    pytest.param({}, id="the least"),
    pytest.param({"prompt": OUT}, id="an image alone"),
    pytest.param({"image": OUT, "image_tail": "t.png"}, id="image_tail alone"),
    pytest.param({"image_tail": "t.png"}, id="first and last frame"),
    pytest.param({"image_tail": "t.png", "dynamic_masks": []}, id="an empty list of masks is none"),
    pytest.param({"static_mask": "m.png", "dynamic_masks": [MASK] * 6}, id="both kinds of masks"),
    pytest.param(camera(zoom=-10, pan=0, tilt=0.0), id="one movement"),
    pytest.param({"camera_control": {"type": "down_back"}}, id="a ready-made movement"),
    pytest.param({"multi_shot": False}, id="multi_shot off"),
    pytest.param(shots(shot(1, "2"), shot(2, "3")), id="shots of the default duration"),
    pytest.param(shots(shot(0, "15"), duration="15"), id="one shot of 15 seconds"),
    pytest.param(
        shots(*(shot(n, "1", "a" * 512) for n in range(6)), duration="6"), id="six long-winded shots"
    ),
    pytest.param(shots(shot_type="intelligence", multi_prompt=OUT), id="the model cuts"),
    pytest.param(shots(shot(1, "5"), shot_type="intelligence"), id="the model cuts what is told"),
    pytest.param({"prompt": "a" * 2500, "negative_prompt": "ä" * 2500}, id="long prompts"),
    pytest.param({"prompt": "A man<<<voice_1>>>says", "voice_list": VOICES, "sound": "on"}, id="a voice"),
    pytest.param(
        {"prompt": SPEAKS, "voice_list": VOICES, "element_list": [], "sound": "on"},
        id="an empty list of elements is none",
    ),
    pytest.param({"voice_list": []}, id="no voices need no sound"),
    pytest.param(
        {"prompt": "<<<element_2>>>", "element_list": [{"element_id": 1}, {"element_id": 2}]}, id="elements"
    ),
    pytest.param({"prompt": "The girl of <<<image_1>>>"}, id="the image by the specification's name"),
    pytest.param(
        shots(shot(1, "5"), shot_type="intelligence", prompt="a"), id="a prompt for the model that cuts"
    ),
    pytest.param({"negative_prompt": "<<<voice_1>>>"}, id="no references in negative_prompt"),
    pytest.param({"sound": "off", "mode": "4k", "cfg_scale": 0, "duration": "3"}, id="lower bounds"),
    pytest.param({"sound": "on", "mode": "std", "cfg_scale": 1, "duration": "15"}, id="upper bounds"),
    pytest.param(
        {"watermark_info": {"enabled": False}, "callback_url": "HTTP://localhost:1/x"}, id="the rest"
    ),
    pytest.param({"image": "datacentre.png"}, id="a path that only begins like a prefix"),
]


@pytest.mark.parametrize(
    ("changes", "path", "text"), [pytest.param(*case, id=rule) for rule, *case in REJECTED]
)
def test_rejected(changes: dict[str, Any], path: tuple[str | int, ...], text: str) -> None:
    assert found(changed(changes)) == [Finding(path, text)]


@pytest.mark.parametrize("changes", ACCEPTED)
def test_accepted(changes: dict[str, Any]) -> None:
    assert found(changed(changes)) == []


def test_every_condition_of_the_schema_has_an_example_above() -> None:
    request = schema.load("request")
    control = request["properties"]["camera_control"]
    members = [*request["allOf"], *control["allOf"], *control["properties"]["config"]["allOf"]]
    assert {member["$comment"] for member in members} <= {text for *_, text in REJECTED}


def test_every_key_of_the_request_has_an_example_above() -> None:
    named = json.dumps([{k: v for k, v in changes.items() if v is not OUT} for _, changes, *_ in REJECTED])
    assert [key for key in schema.load("request")["properties"] if f'"{key}"' not in named] == []


def test_every_mistake_is_reported_at_once() -> None:
    request = changed({"duration": "2", "mode": "Pro", "multi_shot": True, "voice_list": VOICES, "seed": 1})
    assert {path for path, _ in found(request)} == {
        *(("duration",), ("mode",), ("multi_shot",), ("prompt",), ("voice_list",), ("seed",))
    }


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        pytest.param({"image": OUT, "imagee": "a.png"}, ("imagee",), id="a misspelt key is not missing too"),
        pytest.param(
            {"multi_shot": "x", "shot_type": "customize"}, ("multi_shot",), id="no condition on a bad value"
        ),
        pytest.param(
            {"multi_prompt": [shot(1, "6"), shot(1, "6")]}, ("multi_prompt",), id="no sum without effect"
        ),
        pytest.param(
            {"image_tail": "t", "static_mask": "m", "dynamic_masks": [MASK]}, ("static_mask",), id="masks"
        ),
        pytest.param(
            shots(shot(1, "5"), multi_shot=OUT, prompt="a"), ("shot_type",), id="multi_shot forgotten"
        ),
    ],
)
def test_one_mistake_is_one_finding(changes: dict[str, Any], path: tuple[str | int, ...]) -> None:
    assert [finding.path for finding in found(changed(changes))] == [path]


def test_a_reference_that_is_repeated_is_one_mistake() -> None:
    assert len(found(changed({"prompt": "<<<voice_1>>> and <<<voice_1>>>, <<<voice_2>>>"}))) == 2


# -- warnings --------------------------------------------------------------------------------------------------------

BOTH = "the specification says that prompt has no effect with multi_shot: true, the platform's own pages that shot_type: intelligence needs it."
CERTAIN = "customize with multi_prompt is certain"
WARNED: list[tuple[str, dict[str, Any], tuple[str | int, ...], str]] = [
    (
        "no prompt",
        {"prompt": OUT},
        (),
        "no prompt: the clip is paid, and the model decides what happens in it",
    ),
    (
        "a blank prompt",
        {"prompt": " \u200b"},
        (),
        "no prompt: the clip is paid, and the model decides what happens in it",
    ),
    (
        "intelligence without a prompt",
        shots(shot_type="intelligence", multi_prompt=OUT),
        ("shot_type",),
        f"{BOTH} Without one, the paid clip may be of nothing that was asked for; {CERTAIN}",
    ),
    (
        "intelligence with a prompt",
        shots(shot_type="intelligence", multi_prompt=OUT, prompt="a"),
        ("prompt",),
        f"{BOTH} With one, the paid clip may be of something else; {CERTAIN}",
    ),
    (
        "shots with a last frame",
        shots(shot(1, "5"), image_tail="t.png"),
        ("image_tail",),
        "the platform's own pages don't allow image_tail with multi_shot: true, the specification does",
    ),
    (
        "four elements",
        {
            "prompt": "<<<element_1>>><<<element_2>>><<<element_3>>><<<element_4>>>",
            "element_list": [{"element_id": 1}] * 4,
        },
        ("element_list",),
        "more than 3 elements: the platform's own pages allow no more, the specification names no limit",
    ),
    (
        "elements that no prompt names",
        {"prompt": "<<<element_2>>>", "element_list": [{"element_id": 1}] * 3},
        ("element_list",),
        "no prompt names <<<element_1>>>, <<<element_3>>>: what no prompt names may have no effect",
    ),
    (
        "a second voice that no prompt names",
        {"prompt": SPEAKS, "voice_list": VOICES, "sound": "on"},
        ("voice_list",),
        "no prompt names <<<voice_2>>>: what no prompt names may have no effect",
    ),
    (
        "a voice whose id was cut",
        {"prompt": SPEAKS, "voice_list": [{"voice_id": "8.29827E+17"}], "sound": "on"},
        ("voice_list", 0, "voice_id"),
        '"8.29827E+17" looks like an id that a spreadsheet has cut; write it as text',
    ),
    (
        "a reference in negative_prompt",
        {"negative_prompt": "<<<voice_1>>>"},
        ("negative_prompt",),
        "<<<voice_1>>> is mere text here: references work in prompts alone",
    ),
    (
        "what is meant as one in negative_prompt",
        {"negative_prompt": "<<hero>>"},
        ("negative_prompt",),
        '"<<hero>>" is mere text here: references work in prompts alone',
    ),
    (
        "an image of another format",
        {"image": "https://example.com/a.gif"},
        ("image",),
        "ends in .gif; the API takes .jpg, .jpeg and .png alone",
    ),
    (
        "a last frame that is a clip",
        {"image_tail": "https://example.com/a.MP4?x=1"},
        ("image_tail",),
        "ends in .mp4; the API takes .jpg, .jpeg and .png alone",
    ),
    (
        "a callback that can't be called",
        {"callback_url": "http://localhost:8000/"},
        ("callback_url",),
        "the API can't reach localhost: it is this machine",
    ),
]


@pytest.mark.parametrize(
    ("changes", "path", "text"), [pytest.param(*case, id=rule) for rule, *case in WARNED]
)
def test_what_may_be_a_mistake_is_warned_of_and_allowed(
    changes: dict[str, Any], path: tuple[str | int, ...], text: str
) -> None:
    request = changed(changes)
    assert found(request) == []
    assert rules.warnings(request) == [Finding(path, text)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prompt": SPEAKS, "voice_list": VOICES[:1], "sound": "on"},
        {"prompt": "<<<element_1>>> << x", "element_list": [{"element_id": 1}], "voice_list": []},
        shots(shot(1, "2", SPEAKS), shot(2, "3", "<<<voice_2>>>: hi"), voice_list=VOICES, sound="on"),
        {"image_tail": "t.png", "callback_url": "https://example.com/hook", "negative_prompt": "a << b"},
    ],
)
def test_nothing_is_warned_of_where_nothing_is_odd(changes: dict[str, Any]) -> None:
    request = changed(changes)
    assert found(request) == []
    assert rules.warnings(request) == []


# -- images ----------------------------------------------------------------------------------------------------------


def picture(width: int, height: int) -> ImageFile:
    return ImageFile("a.png", 1, 0, 0, "0" * 64, "png", width, height)


def masked(image: Any, static: Any = None, *dynamic: Any, points: Any = POINTS) -> dict[str, Any]:
    request: dict[str, Any] = {**GOOD, "image": image}
    if static is not None:
        request["static_mask"] = static
    if dynamic:
        request["dynamic_masks"] = [{"mask": mask, "trajectories": points} for mask in dynamic]
    return request


def test_masks_as_large_as_the_image_are_good() -> None:
    image = picture(1920, 1080)
    assert rules.check_images(masked(image, image, image, image)) == []


@pytest.mark.parametrize(
    ("width", "height"), [(960, 540), (480, 270), (683, 384), (3840, 2160), (1366, 768), (500, 281)]
)
def test_masks_of_the_image_s_ratio_are_good_but_for_rounding(width: int, height: int) -> None:
    assert rules.check_images(masked(picture(1920, 1080), picture(width, height))) == []


@pytest.mark.parametrize(
    ("width", "height"),
    [
        *((1920, 1085), (960, 544), (512, 512), (300, 300), (960, 541), (1366, 767)),
        *((1920, 1081), (1920, 1079), (1919, 1080), (1921, 1080), (1918, 1079), (2000, 1126)),
    ],
)
def test_masks_of_another_ratio_are_refused(width: int, height: int) -> None:
    text = f"the mask has {width} x {height} pixels, the image 1920 x 1080; their ratio must be the same"
    assert rules.check_images(masked(picture(1920, 1080), picture(width, height))) == [
        Finding(("static_mask",), text)
    ]


def test_masks_of_different_sizes_are_refused() -> None:
    image = picture(1920, 1080)
    text = "the mask has 960 x 540 pixels, another one 1920 x 1080; all masks must be of one size"
    assert rules.check_images(masked(image, image, image, picture(960, 540))) == [
        Finding(("dynamic_masks", 1, "mask"), text)
    ]
    # even where the image itself is a URL, which nobody opened
    assert len(rules.check_images(masked("https://example.com/a.png", image, picture(960, 540)))) == 1


def test_images_that_were_not_opened_are_not_judged() -> None:
    url = "https://example.com/a.png"
    assert rules.check_images(masked(url, url, url, points=[{"x": 10**6, "y": 0}])) == []
    assert rules.check_images(masked(picture(300, 300), url)) == []
    assert rules.check_images(masked(url, picture(300, 300))) == []
    assert rules.check_images(GOOD) == []


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1919, 1079), (1919.0, 0)])
def test_points_inside_the_image_are_good(x: float, y: float) -> None:
    assert (
        rules.check_images(masked(picture(1920, 1080), None, "m.png", points=[*POINTS, {"x": x, "y": y}]))
        == []
    )


@pytest.mark.parametrize(("x", "y"), [(1920, 0), (0, 1080), (5000, 5000)])
def test_points_outside_the_image_are_refused_once_per_path(x: int, y: int) -> None:
    points = [*POINTS, {"x": x, "y": y}, {"x": x, "y": y}]
    text = f"the point ({x}, {y}) is outside the image, which has 1920 x 1080 pixels"
    assert rules.check_images(masked(picture(1920, 1080), None, "m.png", "m.png", points=points)) == [
        Finding(("dynamic_masks", number, "trajectories", 2), text) for number in (0, 1)
    ]


@given(
    width=st.integers(300, 8000),
    height=st.integers(300, 8000),
    scale=st.floats(0.1, 0.9) | st.just(1.0) | st.floats(1.1, 4.0),
    rounded=st.sampled_from([round, math.floor, math.ceil]),
)
def test_a_scaled_copy_is_always_a_mask_of_the_same_ratio(
    width: int, height: int, scale: float, rounded: Callable[[float], int]
) -> None:
    copy = picture(rounded(width * scale), rounded(height * scale))
    assert rules.check_images(masked(picture(width, height), copy)) == []


@given(
    width=st.integers(300, 8000),
    height=st.integers(300, 8000),
    off=st.sampled_from([(0, 1), (1, 0), (0, -1), (-1, 0), (1, -1), (2, 0)]),
)
def test_a_mask_that_is_off_by_a_pixel_is_refused(width: int, height: int, off: tuple[int, int]) -> None:
    mask = picture(width + off[0], height + off[1])
    assert len(rules.check_images(masked(picture(width, height), mask))) == 1


EXIF = (
    ". The photo's EXIF turns it by a quarter, but they count in the picture as it is stored: save it turned"
)


@pytest.mark.parametrize(
    ("orientation", "said"),
    [
        (6, EXIF),
        (8, EXIF),
        (1, ". Turned by a quarter it would fit"),
        (3, ". Turned by a quarter it would fit"),
    ],
)
def test_masks_and_points_of_the_turned_picture_name_the_turning(orientation: int, said: str) -> None:
    photo = picture(1920, 1080)._replace(orientation=orientation)
    for mask in (picture(1080, 1920), picture(540, 960)):
        [(path, text)] = rules.check_images(masked(photo, mask))
        assert path == ("static_mask",)
        assert text.endswith("their ratio must be the same" + said)
    [(_, text)] = rules.check_images(masked(photo, None, "m.png", points=[*POINTS, {"x": 500, "y": 1800}]))
    assert text == "the point (500, 1800) is outside the image, which has 1920 x 1080 pixels" + (
        EXIF if said == EXIF else ""
    )
    [(_, text)] = rules.check_images(masked(photo, picture(1000, 1000)))  # fits neither way
    assert text.endswith("their ratio must be the same")


# -- properties ------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    lengths=st.lists(st.integers(1, 15), min_size=1, max_size=6),
    duration=st.none() | st.integers(3, 15),
)
def test_shots_are_accepted_exactly_where_they_fill_the_clip(
    lengths: list[int], duration: int | None
) -> None:
    entries = [shot(number, str(length)) for number, length in enumerate(lengths)]
    given_duration = OUT if duration is None else str(duration)
    findings = found(changed(shots(*entries, duration=given_duration)))
    assert (findings == []) == (sum(lengths) == (duration or 5))


@given(
    fields=st.dictionaries(
        st.sampled_from(
            [
                *("image", "static_mask", "dynamic_masks", "multi_prompt", "duration", "prompt"),
                *("voice_list", "element_list"),
            ]
        ),
        JSON
        | st.lists(st.dictionaries(st.sampled_from(["index", "duration", "trajectories", "prompt"]), JSON)),
    )
)
def test_rules_are_silent_about_values_that_the_schema_refuses_but_never_fall(fields: dict[str, Any]) -> None:
    request = {**fields, "image": picture(300, 300)}
    for path, text in [*rules.check(request), *rules.check_images(request)]:
        assert path[0] in request
        assert text.isprintable()
