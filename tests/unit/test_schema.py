"""The schemas against the specification, and what schema.py makes of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from batchgen.request import messages, schema
from batchgen.request.schema import Finding

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas"
REQUEST: dict[str, Any] = json.loads((SCHEMAS / "image2video.schema.json").read_text())
MANIFEST: dict[str, Any] = json.loads((SCHEMAS / "manifest.schema.json").read_text())
KINDS = ("defaults", "inline", "folder", "table", "row", "sidecar")
GOOD = {"model_name": "kling-v3", "image": "https://example.com/frame.png"}

# -- the specification's facts ---------------------------------------------------------------------------------------

# The lines of the specification's page that state a field's name, type, requirement, default, options, length or
# range, in its order and its spelling; only the options of a field are joined into one line.
PAGE = """
model_name
enum<string>
required
Available options:
kling-v3
image
string
image_tail
string
multi_shot
boolean
default:false
shot_type
enum<string>
Available options:
customize, intelligence
prompt
string
Maximum string length: 2500
multi_prompt
object[]
negative_prompt
string
Maximum string length: 2500
element_list
object[]
voice_list
object[]
sound
enum<string>
default:off
Available options:
on, off
cfg_scale
number
default:0.5
Required range: 0 <= x <= 1
mode
enum<string>
default:std
Available options:
std, pro, 4k
static_mask
string
dynamic_masks
object[]
camera_control
object
duration
enum<string>
default:5
Available options:
3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
watermark_info
object
callback_url
string
external_task_id
string
"""

IMAGE = {"type": "string", "minLength": 1, "pattern": r"^(?!\s*[Dd][Aa][Tt][Aa]:)"}
MOVEMENT = {"type": "number", "minimum": -10, "maximum": 10}
PIXEL = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
SECONDS = [str(second) for second in range(1, 16)]

# Everything the schema may ask of a single value, from the page's prose as well, and from the platform's own pages for the shapes
# that the page leaves open. Where neither speaks: ids and numbers fit their type (int, long), nothing is empty.
FACTS: dict[str, dict[str, Any]] = {
    "model_name": {"type": "string", "enum": ["kling-v3"], "required": True},
    "image": IMAGE,
    "image_tail": IMAGE,
    "multi_shot": {"type": "boolean", "default": False},
    "shot_type": {"type": "string", "enum": ["customize", "intelligence"]},
    "prompt": {"type": "string", "maxLength": 2500},
    "multi_prompt": {"type": "array", "minItems": 1, "maxItems": 6},
    "multi_prompt[]": {"type": "object"},
    "multi_prompt[].index": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1, "required": True},
    "multi_prompt[].prompt": {"type": "string", "maxLength": 512, "required": True},
    "multi_prompt[].duration": {"type": "string", "enum": SECONDS, "required": True},
    "negative_prompt": {"type": "string", "maxLength": 2500},
    "element_list": {"type": "array"},
    "element_list[]": {"type": "object"},
    "element_list[].element_id": {
        "type": "integer",
        "minimum": -(2**63),
        "maximum": 2**63 - 1,
        "required": True,
    },
    "voice_list": {"type": "array", "maxItems": 2},
    "voice_list[]": {"type": "object"},
    "voice_list[].voice_id": {"type": "string", "minLength": 1, "required": True},
    "sound": {"type": "string", "enum": ["on", "off"], "default": "off"},
    "cfg_scale": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
    "mode": {"type": "string", "enum": ["std", "pro", "4k"], "default": "std"},
    "static_mask": IMAGE,
    "dynamic_masks": {"type": "array", "maxItems": 6},
    "dynamic_masks[]": {"type": "object"},
    "dynamic_masks[].mask": {**IMAGE, "required": True},
    "dynamic_masks[].trajectories": {"type": "array", "minItems": 2, "maxItems": 77, "required": True},
    "dynamic_masks[].trajectories[]": {"type": "object"},
    "dynamic_masks[].trajectories[].x": {**PIXEL, "required": True},
    "dynamic_masks[].trajectories[].y": {**PIXEL, "required": True},
    "camera_control": {"type": "object"},
    "camera_control.type": {
        "type": "string",
        "enum": ["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"],
        "required": True,
    },
    "camera_control.config": {"type": "object"},
    **{
        f"camera_control.config.{name}": MOVEMENT
        for name in ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
    },
    "duration": {"type": "string", "enum": SECONDS[2:], "default": "5"},
    "watermark_info": {"type": "object"},
    "watermark_info.enabled": {"type": "boolean", "required": True},
    "callback_url": {"type": "string", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]"},
    "external_task_id": {"type": "string", "minLength": 1},
}
NOT_FACTS = {
    *("description", "examples", "$comment"),  # words
    *("$ref", "properties", "items", "required", "additionalProperties"),  # walked below
    "allOf",  # conditions, see CONDITIONS
}


def page_facts() -> dict[str, dict[str, Any]]:
    lines = iter(PAGE.split("\n"))
    types = {"object[]": "array", "enum<string>": "string"}
    facts: dict[str, dict[str, Any]] = {}
    name, previous = "", ""
    for line in lines:
        label, _, value = line.partition(":")
        if line in ("string", "boolean", "number", "object", *types):
            name = previous
            facts[name] = {"type": types.get(line, line)}
        elif line == "required":
            facts[name]["required"] = True
        elif label == "default":
            kind = facts[name]["type"]
            facts[name]["default"] = value if kind == "string" else json.loads(value)
        elif label == "Available options":
            facts[name]["enum"] = next(lines).split(", ")
        elif label == "Maximum string length":
            facts[name]["maxLength"] = int(value)
        elif label == "Required range":
            low, high = value.split("<= x <=")
            facts[name].update(minimum=int(low), maximum=int(high))
        previous = line
    return facts


def walk(node: Mapping[str, Any], document: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every object, list and value that the request schema describes, under its path, with references resolved."""
    if "$ref" in node:
        node = {**document["$defs"][node["$ref"].removeprefix("#/$defs/")], **node}
    yield path, node
    for name, child in node.get("properties", {}).items():
        required = {"is_required": True} if name in node.get("required", ()) else {}
        yield from walk({**child, **required}, document, f"{path}.{name}".lstrip("."))
    if "items" in node:
        yield from walk(node["items"], document, f"{path}[]")


def test_schema_says_exactly_what_the_table_of_facts_says() -> None:
    found = {}
    for path, node in walk(REQUEST, REQUEST):
        if path:
            facts = {key: value for key, value in node.items() if key not in NOT_FACTS}
            required = facts.pop("is_required", False)
            found[path] = {**facts, **({"required": True} if required else {})}
    assert found == FACTS


def test_table_of_facts_agrees_with_the_page() -> None:
    page = page_facts()
    table = {path: facts for path, facts in FACTS.items() if "." not in path and "[" not in path}
    said = ("type", "required", "default", "enum")
    assert {k: {f: v for f, v in facts.items() if f in said} for k, facts in table.items()} == {
        k: {f: v for f, v in facts.items() if f in said} for k, facts in page.items()
    }
    for name, facts in page.items():
        assert {key: FACTS[name].get(key) for key in facts} == facts, name


def test_every_object_refuses_unknown_keys() -> None:
    objects = [path for path, node in walk(REQUEST, REQUEST) if node.get("type") == "object"]
    open_ones = [
        path for path, node in walk(REQUEST, REQUEST) if path in objects and node["additionalProperties"]
    ]
    assert len(objects) == 9
    assert open_ones == []


SHOTS = [{"index": 1, "prompt": "a", "duration": "5"}]
MASKS = [{"mask": "b.png", "trajectories": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]}]
ABSENT = None


def pictures_allowed(r: Mapping[str, Any]) -> bool:
    tail, camera = "image_tail" in r, "camera_control" in r
    masks = "static_mask" in r or bool(r.get("dynamic_masks"))
    return ("image" in r or tail) and [tail, masks, camera].count(True) <= 1


def shots_allowed(r: Mapping[str, Any]) -> bool:
    if not r.get("multi_shot", False):
        return "shot_type" not in r and "multi_prompt" not in r
    if "shot_type" not in r or ("prompt" in r and r["shot_type"] != "intelligence"):
        return False
    return r["shot_type"] != "customize" or "multi_prompt" in r


def voices_allowed(r: Mapping[str, Any]) -> bool:
    if r.get("voice_list") and r.get("element_list"):
        return False
    return not r.get("voice_list") or r.get("sound") == "on"


def camera_allowed(r: Mapping[str, Any]) -> bool:
    control = r["camera_control"]
    if control["type"] != "simple":
        return "config" not in control
    return [bool(value) for value in control.get("config", {}).values()].count(True) == 1


CONDITIONS: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "image, image_tail, masks, camera_control": (
        pictures_allowed,
        {
            "image": [ABSENT, "a.png"],
            "image_tail": [ABSENT, "b.png"],
            "static_mask": [ABSENT, "c.png"],
            "dynamic_masks": [ABSENT, [], MASKS],
            "camera_control": [ABSENT, {"type": "forward_up"}],
        },
    ),
    "multi_shot, shot_type, prompt, multi_prompt": (
        shots_allowed,
        {
            "image": ["a.png"],
            "multi_shot": [ABSENT, False, True],
            "shot_type": [ABSENT, "customize", "intelligence"],
            "prompt": [ABSENT, "", "a"],
            "multi_prompt": [ABSENT, SHOTS],
        },
    ),
    "element_list, voice_list, sound": (
        voices_allowed,
        {
            "image": ["a.png"],
            "element_list": [ABSENT, [], [{"element_id": 1}]],
            "voice_list": [ABSENT, [], [{"voice_id": "a"}], [{"voice_id": "a"}, {"voice_id": "b"}]],
            "sound": [ABSENT, "off", "on"],
        },
    ),
    "camera_control": (
        camera_allowed,
        {
            "image": ["a.png"],
            "camera_control": [
                {"type": type_, **({} if config is None else {"config": config})}
                for type_ in ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")
                for config in (
                    *(None, {}, {"zoom": 0}, {"zoom": 1}, {"pan": -10, "zoom": 0.0}, {"pan": 1, "zoom": 1}),
                    *({name: 3} for name in ("horizontal", "vertical", "tilt", "roll")),
                )
            ],
        },
    ),
}


@pytest.mark.parametrize("group", CONDITIONS)
def test_conditions_hold_for_every_combination_of_their_keys(group: str) -> None:
    allowed, choices = CONDITIONS[group]
    for values in itertools.product(*choices.values()):
        request = {k: v for k, v in zip(choices, values, strict=True) if v is not ABSENT}
        request["model_name"] = "kling-v3"
        assert (schema.check_request(request) == []) == allowed(request), request


# -- the documents ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["request", "manifest"])
def test_schema_is_valid_draft_2020_12(name: str) -> None:
    document = schema.load(name)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(document)


def described(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every property of a document that doesn't only refer to another one."""

    def visit(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if isinstance(node, list):
            for number, child in enumerate(node):
                yield from visit(child, f"{path}/{number}")
        elif isinstance(node, Mapping):
            for name, child in node.get("properties", {}).items():
                if isinstance(child, Mapping) and set(child) != {"$ref"}:
                    yield f"{path}/{name}", child
            for name, child in node.items():
                if name not in ("if", "then", "else", "oneOf", "examples"):
                    yield from visit(child, f"{path}/{name}")

    return visit(document, "")


@pytest.mark.parametrize("document", [REQUEST, MANIFEST], ids=["request", "manifest"])
def test_every_key_has_a_description_and_an_example(document: dict[str, Any]) -> None:
    definitions = document["$defs"]
    described_keys = dict(described(document))
    assert len(described_keys) > 25
    for path, node in described_keys.items():
        target = definitions.get(node.get("$ref", "").removeprefix("#/$defs/"), {})
        assert node["description"].endswith("."), path
        assert node.get("examples") or target.get("examples"), path


def test_every_condition_has_a_text_for_people() -> None:
    control = REQUEST["properties"]["camera_control"]
    members = [*REQUEST["allOf"], *control["allOf"], *control["properties"]["config"]["allOf"]]
    assert len({member["$comment"] for member in members}) == 12


WORDS = ("description", "examples", "$comment", "default")


def without_words(node: Any) -> Any:
    """A schema's own demands; what is in ``properties`` are names, not keywords."""
    if isinstance(node, list):
        return [without_words(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {name: without_words(child) for name, child in value.items()}
        if key == "properties"
        else without_words(value)
        for key, value in node.items()
        if key not in WORDS
    }


def test_manifest_knows_every_field_of_the_request_and_asks_the_same_of_it() -> None:
    fields = MANIFEST["$defs"]["fields"]["properties"]
    assert list(fields) == list(REQUEST["properties"])
    for name, node in fields.items():
        asked = without_words(schema._resolved(node, "manifest"))
        if name == "external_task_id":
            asked.pop("pattern")  # batchgen's own retries have ids that nobody else gives
        if name == "camera_control":
            asked["properties"]["config"].pop("allOf")  # tested below, with what people type
        of_request = without_words(schema._resolved(REQUEST["properties"][name], "request"))
        if name == "camera_control":
            of_request["properties"]["config"].pop("allOf")
        assert asked == of_request, name
        default = schema.natural({name: node["default"]})[name] if "default" in node else None
        assert default == REQUEST["properties"][name].get("default"), name


def test_templates_differ_from_the_fields_in_the_length_of_prompts_alone() -> None:
    templates, fields = (
        MANIFEST["$defs"]["templates"]["properties"],
        MANIFEST["$defs"]["fields"]["properties"],
    )

    def unlimited(node: Any) -> Any:
        text = json.dumps(without_words(schema._resolved(node, "manifest")))
        return text.replace(', "maxLength": 2500', "").replace(', "maxLength": 512', "")

    for name, node in templates.items():
        assert unlimited(node) == unlimited(fields[name])
    for kind in ("folder", "table", "defaults", "row"):
        assert {name: schema._schema(kind)["properties"][name] for name in templates} == {
            name: schema._resolved(node, "manifest") for name, node in templates.items()
        }


# What a validator in strict mode, such as ajv's, asks of a schema beyond its being valid. By hand, with npm's ajv:
# new Ajv2020({strict: true}) and addSchema of both documents.
APPLIES = {
    **dict.fromkeys(("properties", "required", "additionalProperties"), "object"),
    **dict.fromkeys(("items", "minItems", "maxItems"), "array"),
    **dict.fromkeys(("minLength", "maxLength", "pattern"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum"), "number"),
}
IN_PLACE = ("not", "if", "then", "else")
KNOWN = {
    *("$schema", "$id", "$ref", "$comment", "$defs", "title", "description", "examples", "default"),
    *("type", "enum", "const", "allOf", "anyOf", "oneOf", *IN_PLACE, *APPLIES),
}


def strict_mistakes(node: Any, at: str, kind: str = "") -> Iterator[str]:
    """``kind`` is the type that the schemas around this one ask of the same value."""
    if isinstance(node, bool):
        return
    yield from (f"{at}: unknown keyword {key}" for key in node.keys() - KNOWN)
    if "type" in node:
        if not isinstance(node["type"], str):
            yield f"{at}: several types"
        kind = "number" if node["type"] == "integer" else node["type"]
    yield from (
        f"{at}: {key} without its type" for key in APPLIES.keys() & node.keys() if APPLIES[key] != kind
    )
    yield from (
        f"{at}: {key} is required, but no property"
        for key in {*node.get("required", ())} - {*node.get("properties", ())}
    )
    for group in ("properties", "$defs"):
        for name, child in node.get(group, {}).items():
            yield from strict_mistakes(child, f"{at}/{group}/{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(node.get(keyword), dict):
            yield from strict_mistakes(node[keyword], f"{at}/{keyword}")
    for keyword in IN_PLACE:
        if keyword in node:
            yield from strict_mistakes(node[keyword], f"{at}/{keyword}", kind)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for number, child in enumerate(node.get(keyword, ())):
            yield from strict_mistakes(child, f"{at}/{keyword}/{number}", kind)


@pytest.mark.parametrize("name", ["request", "manifest"])
def test_schema_compiles_in_strict_mode(name: str) -> None:
    assert list(strict_mistakes(schema.load(name), "#")) == []
    assert schema.load(name)["$id"] == schema.FILES[name]


def test_the_check_for_strict_mode_sees_what_it_looks_for() -> None:
    bad = {"type": ["string", "number"], "pattern": "a", "required": ["a"], "hint": 1, "if": {"minItems": 1}}
    assert len(list(strict_mistakes(bad, "#"))) == 6


def test_no_text_of_a_form_or_a_rule_hides_the_text_of_its_key_in_an_editor() -> None:
    """An editor shows the first description that it meets from the inside out."""
    definitions = MANIFEST["$defs"]
    groups = [definitions[group]["properties"] for group in ("keys", "fields", "templates")]
    shown = [(name, node) for group in groups for name, node in group.items()]
    assert len(shown) > 20
    for name, node in shown:
        first = node.get("anyOf", [{}])[0]
        target = REQUEST["$defs"].get(first.get("$ref", "").rpartition("/")[2], {})
        inner = [first, target, *first.get("allOf", ()), *target.get("allOf", ())]
        assert [one["description"] for one in inner if "description" in one] == [], name
        assert len(node["description"]) > 10
    of = definitions["fields"]["properties"]
    moves = of["camera_control"]["anyOf"][0]["properties"]["config"]["properties"]
    assert "path" in of["image"]["description"]
    assert of["image"]["examples"][0] == "images/hero.png"
    assert "{stem}" in definitions["templates"]["properties"]["prompt"]["examples"][0]
    assert "down (negative) or up" in moves["pan"]["description"] and "film" in moves["pan"]["description"]
    assert (
        "left (negative) or right" in moves["tilt"]["description"] and "film" in moves["tilt"]["description"]
    )


def test_each_kind_of_entry_holds_the_fields_that_make_sense_there() -> None:
    fields = set(REQUEST["properties"])
    keys = {kind: set(resolve_kind(kind)["properties"]) for kind in KINDS}
    assert keys == {
        "inline": fields | {"id", "take", "takes", "skip", "prepare"},
        "row": fields | {"id", "take", "takes", "skip", "prepare"},
        "sidecar": fields - {"image"} | {"id", "take", "takes", "skip", "prepare"},
        "folder": fields - {"image", "external_task_id"}
        | {"folder", "match", "allow", "allow_fields", "take", "takes", "skip", "prepare"},
        "table": fields - {"external_task_id"}
        | {"table", "allow", "allow_fields", "take", "takes", "skip", "prepare"},
        "defaults": fields - {"external_task_id"} | {"take", "takes", "skip", "prepare"},
    }
    assert set(MANIFEST["properties"]) == {
        *(
            "version",
            "name",
            "output_dir",
            "concurrency",
            "max_running",
            "downloads",
            "max_cost_usd",
            "defaults",
            "jobs",
        )
    }


def resolve_kind(kind: str) -> dict[str, Any]:
    node: dict[str, Any] = MANIFEST["$defs"][kind]
    return resolve_kind(node["$ref"].removeprefix("#/$defs/")) if "$ref" in node else node


# -- an editor's view ------------------------------------------------------------------------------------------------


def retrieve(uri: str) -> Resource[Any]:
    return Resource.from_contents(json.loads(Path(uri.removeprefix("file://")).read_text()))


def editor(pointer: str = "") -> Draft202012Validator:
    """A plain validator that finds the schemas by their files, as a language server does."""
    uri = (SCHEMAS / "manifest.schema.json").as_uri()
    return Draft202012Validator(
        {"$ref": f"{uri}#{pointer}"},
        registry=Registry(retrieve=retrieve),  # type: ignore[call-arg]
    )


EXAMPLE: dict[str, Any] = {
    "version": 1,
    "name": "night-shop",
    "output_dir": "../clips",
    "concurrency": 4,
    "max_running": 5,
    "max_cost_usd": 200,
    "defaults": {"model_name": "kling-v3", "mode": "pro", "duration": 5},
    "jobs": [
        {"id": "hero", "image": "images/hero.png", "prompt": "Slow camera push-in"},
        {"folder": "inbox", "match": "**/*.png", "prompt": "{stem}: gentle parallax"},
        {"table": "shots.csv"},
    ],
}


def test_editor_accepts_an_image_a_folder_and_a_table() -> None:
    assert list(editor().iter_errors(EXAMPLE)) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "a", "imagee": "b.png"},
        {"folder": "a", "image": "b.png"},
        {"folder": "a", "table": "b.csv"},
        {"table": "a.csv", "id": "b"},
        {"image": "a.png", "duration": 2},
        {"image": "a.png", "match": "*"},
        {"image": "data:image/png;base64,AAAA"},
        "a.png",
    ],
)
def test_editor_marks_a_bad_entry(entry: Any) -> None:
    assert not editor().is_valid({"version": 1, "jobs": [entry]})


IN_AN_ENTRY = {group: choices for group, (_, choices) in CONDITIONS.items() if group != "camera_control"}
TYPED: dict[str, list[Any]] = {
    "multi_shot": [ABSENT, False, True, "yes", "No"],
    "voice_list": [ABSENT, [], [{"voice_id": 5}], '[{"voice_id": "a"}]'],
    "sound": [ABSENT, "off", "On", False],
    "dynamic_masks": [ABSENT, [], MASKS, json.dumps(MASKS)],
}


@pytest.mark.parametrize("group", IN_AN_ENTRY)
def test_editor_marks_an_entry_s_keys_exactly_where_no_defaults_could_mend_them(group: str) -> None:
    choices: dict[str, list[Any]] = {
        key: TYPED.get(key, values) for key, values in IN_AN_ENTRY[group].items()
    }
    combinations = [
        {key: value for key, value in zip(choices, values, strict=True) if value is not ABSENT}
        for values in itertools.product(*choices.values())
    ]
    good = editor()
    whole = {
        json.dumps(one): schema.check_request(
            {**GOOD, **one} if "image" not in choices else {"model_name": "kling-v3", **one}
        )
        == []
        for one in map(schema.natural, combinations)
    }
    assert any(whole.values())
    for own in combinations:
        mended = [
            given
            for given in combinations
            if whole.get(json.dumps(order({**schema.natural(given), **schema.natural(own)}, choices)))
        ]
        plain = {"version": 1, "jobs": [own]}
        if mended:
            assert good.is_valid({**plain, "defaults": mended[0]}), (own, mended[0])
        else:
            assert not good.is_valid(plain), own


def order(fields: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: fields[key] for key in keys if key in fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": None, "multi_shot": True, "shot_type": "customize"},
        {"image_tail": "a.png", "camera_control": None, "static_mask": None, "dynamic_masks": None},
        {"image_tail": None, "camera_control": {"type": "forward_up"}},
        {"element_list": None, "voice_list": [{"voice_id": "a"}], "sound": None},
        {
            "duration": "5 s",
            "cfg_scale": "0.5",
            "camera_control": {"type": "simple", "config": {"zoom": "5", "pan": "0"}},
        },
        {"dynamic_masks": [{"mask": "a.png", "trajectories": [{"x": "1", "y": 2.0}, {"x": 3, "y": "4.0"}]}]},
    ],
)
def test_editor_takes_nulls_and_natural_forms(fields: dict[str, Any]) -> None:
    assert list(editor().iter_errors({"version": 1, "jobs": [{"image": "a.png", **fields}]})) == []


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"zoom": "0"},
        {"zoom": 1, "pan": "2"},
        {"zoom": 0.0, "pan": "-0.0"},
        {"zoom": "much"},
        {"zoom": 11},
    ],
)
def test_editor_marks_a_camera_that_makes_no_movement_or_two_or_too_wide_a_one(
    config: dict[str, Any],
) -> None:
    entry = {"image": "a.png", "camera_control": {"type": "simple", "config": config}}
    assert schema.check_entry("inline", schema.natural(entry)) != []
    assert not editor().is_valid({"version": 1, "jobs": [entry]})


@pytest.mark.parametrize("seconds", range(18))
def test_editor_takes_a_bare_number_of_seconds_as_batchgen_does(seconds: int) -> None:
    taken = schema.check_entry("inline", schema.natural({"duration": seconds})) == []
    assert taken == (3 <= seconds <= 15)
    assert editor("/$defs/inline").is_valid({"duration": seconds}) == taken


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 20)
    | st.floats()
    | st.integers()
    | st.sampled_from(
        ["", "5", "-1", "0.5", "012", "1e3", "1e999", "4.0", "yes", "ON", "oN", "off", "True", "a.png", "pro"]
    )
    | st.text(max_size=4)
)
OBJECTS = st.dictionaries(
    st.sampled_from(["index", "prompt", "duration", "element_id", "voice_id", "enabled", "type", "config"]),
    SCALARS,
    max_size=3,
)
CELLS = st.one_of(st.lists(OBJECTS, max_size=3), OBJECTS).map(json.dumps)
SHOT = st.fixed_dictionaries({"index": SCALARS, "prompt": SCALARS, "duration": st.integers(1, 15)})
VALUES = SCALARS | st.lists(OBJECTS, max_size=3) | OBJECTS | CELLS | st.lists(SHOT, min_size=1, max_size=2)


@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_editor_never_marks_what_batchgen_accepts(data: st.DataObject, kind: str) -> None:
    keys = sorted(resolve_kind(kind)["properties"])
    key = data.draw(st.sampled_from(keys))
    entry = dict.fromkeys(resolve_kind(kind).get("required", ()), "x") | {key: data.draw(VALUES)}
    if schema.check_entry(kind, schema.natural(entry)) == []:
        assert editor(f"/$defs/{kind}").is_valid(entry), entry


# -- natural forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        pytest.param({"duration": 5}, {"duration": "5"}, id="a number for seconds"),
        pytest.param({"id": 7}, {"id": "7"}, id="a number for a name"),
        pytest.param({"id": "012"}, {"id": "012"}, id="an id keeps its zero"),
        pytest.param({"prompt": 1.50}, {"prompt": 1.50}, id="a fraction has many spellings"),
        pytest.param({"prompt": True}, {"prompt": True}, id="true is no prompt"),
        pytest.param({"sound": True}, {"sound": "on"}, id="sound as a boolean"),
        pytest.param({"sound": "No"}, {"sound": "off"}, id="sound in words"),
        pytest.param({"sound": "on"}, {"sound": "on"}, id="sound as the API has it"),
        pytest.param({"multi_shot": "YES"}, {"multi_shot": True}, id="yes"),
        pytest.param({"multi_shot": "off"}, {"multi_shot": False}, id="off"),
        pytest.param({"multi_shot": "yEs"}, {"multi_shot": "yEs"}, id="an odd case"),
        pytest.param({"multi_shot": 1}, {"multi_shot": 1}, id="1 is not true"),
        pytest.param({"cfg_scale": "0.5"}, {"cfg_scale": 0.5}, id="a number in a cell"),
        pytest.param({"cfg_scale": "0,5"}, {"cfg_scale": "0,5"}, id="a decimal comma"),
        pytest.param({"cfg_scale": "1e999"}, {"cfg_scale": "1e999"}, id="a number out of range"),
        pytest.param({"take": "2"}, {"take": 2}, id="a take in a cell"),
        pytest.param({"take": "012"}, {"take": "012"}, id="octal or decimal"),
        pytest.param({"take": 2.0}, {"take": 2}, id="a whole number with a point"),
        pytest.param({"take": "9" * 5000}, {"take": "9" * 5000}, id="thousands of digits"),
        pytest.param({"id": 16**5000}, {"id": 16**5000}, id="a number too long to print"),
        pytest.param(
            {"element_list": '[{"element_id": "12"}]'},
            {"element_list": [{"element_id": 12}]},
            id="a list as JSON",
        ),
        pytest.param(
            {"voice_list": [{"voice_id": 5}]}, {"voice_list": [{"voice_id": "5"}]}, id="inside a list"
        ),
        pytest.param(
            {"watermark_info": {"enabled": "yes"}},
            {"watermark_info": {"enabled": True}},
            id="inside an object",
        ),
        pytest.param(
            {"watermark_info": '{"a": 1, "a": 1}'}, {"watermark_info": '{"a": 1, "a": 1}'}, id="a key twice"
        ),
        pytest.param({"dynamic_masks": "[NaN]"}, {"dynamic_masks": "[NaN]"}, id="JSON without NaN"),
        pytest.param({"element_list": "[" * 10**5}, {"element_list": "[" * 10**5}, id="JSON too deep"),
        pytest.param({"prompt": "[1]"}, {"prompt": "[1]"}, id="a prompt that looks like JSON"),
        pytest.param({"mode": 4, "unknown": "yes", 3: 4}, {"mode": 4, "unknown": "yes", 3: 4}, id="all else"),
        pytest.param({"version": "1", "name": 2024}, {"version": 1, "name": "2024"}, id="the manifest's own"),
        pytest.param({"defaults": {"duration": 5}}, {"defaults": {"duration": 5}}, id="not into defaults"),
        *(
            pytest.param({"duration": typed}, {"duration": "5"}, id=f"seconds as {typed!r}")
            for typed in (5, 5.0, "5", "5.0", "5s", "5 s", "5 sec", "5 seconds", "5.00 s")
        ),
        *(
            pytest.param({"duration": typed}, {"duration": typed}, id=f"no seconds in {typed!r}")
            for typed in (5.5, "5.5", "05", "5 m", "5,0", " 5", "s", True, "-5", "5 s.", "100s")
        ),
        pytest.param(
            {
                "camera_control": {
                    "type": "simple",
                    "config": {"zoom": "5", "pan": "0", "tilt": 2.0, "roll": "-0.5"},
                }
            },
            {
                "camera_control": {
                    "type": "simple",
                    "config": {"zoom": 5, "pan": 0, "tilt": 2.0, "roll": -0.5},
                }
            },
            id="movements as text",
        ),
        pytest.param(
            {"camera_control": '{"type": "simple", "config": {"zoom": "5"}}'},
            {"camera_control": {"type": "simple", "config": {"zoom": 5}}},
            id="an object as JSON",
        ),
        pytest.param(
            {"dynamic_masks": [{"mask": "m", "trajectories": [{"x": "1", "y": 2.0}]}]},
            {"dynamic_masks": [{"mask": "m", "trajectories": [{"x": 1, "y": 2}]}]},
            id="points as text and with a point",
        ),
        pytest.param(
            {
                "multi_prompt": [
                    {"index": "1", "prompt": 7, "duration": "2 s"},
                    {"index": 2.0, "duration": 3.0},
                ]
            },
            {"multi_prompt": [{"index": 1, "prompt": "7", "duration": "2"}, {"index": 2, "duration": "3"}]},
            id="inside a shot",
        ),
        pytest.param(
            {"element_list": [{"element_id": "8.29827E+17"}]},
            {"element_list": [{"element_id": "8.29827E+17"}]},
            id="an id that a spreadsheet has cut",
        ),
        pytest.param({"prompt": 5.0}, {"prompt": 5.0}, id="5.0 is no text"),
    ],
)
def test_natural_forms_are_read_where_they_mean_one_thing(typed: Any, read: Any) -> None:
    found = schema.natural(typed)
    assert found == read
    assert [type(value) for value in found.values()] == [type(value) for value in read.values()]


@given(
    fields=st.dictionaries(st.sampled_from([*REQUEST["properties"], "id", "take", "version", "x"]), VALUES)
)
def test_natural_reads_a_second_time_what_it_has_read_as_it_is(fields: dict[str, Any]) -> None:
    once = schema.natural(fields)
    assert repr(schema.natural(once)) == repr(once)
    assert list(once) == list(fields)


# -- what is wrong, in words -----------------------------------------------------------------------------------------

ENTRIES = [
    ("manifest", EXAMPLE, []),
    ("manifest", {}, [((), '"version" and "jobs" are missing')]),
    ("manifest", {"jobs": [1]}, [((), '"version" is missing, for example version: 1')]),
    ("manifest", {"version": 2, "jobs": [1]}, [(("version",), "2 is not allowed; it must be 1")]),
    ("manifest", {"version": 1, "jobs": []}, [(("jobs",), "is empty; at least 1 entry is needed")]),
    ("manifest", {"version": 1, "job": [1]}, [(("job",), 'unknown key "job"; did you mean "jobs"?')]),
    (
        "manifest",
        {"version": 1, "jobs": "a"},
        [(("jobs",), '"a" is not a list')],
    ),
    (
        "manifest",
        {"version": 1, "jobs": [1], "mode": "pro"},
        [(("mode",), '"mode" belongs in defaults or in an entry of jobs')],
    ),
    (
        "manifest",
        {"version": 1, "jobs": [1], "folder": "inbox"},
        [(("folder",), '"folder" belongs in an entry of jobs')],
    ),
    (
        "manifest",
        {"version": 1, "jobs": [1], "concurrency": 0, "max_running": 2.5, "max_cost_usd": 0},
        [
            (("concurrency",), "0 is not between 1 and 1000000"),
            (("max_running",), "2.5 is not a whole number"),
            (("max_cost_usd",), "0 is too small; it must be more than 0"),
        ],
    ),
    ("manifest", [], [((), "a list is not a set of keys and values (key: value)")]),
    ("manifest", None, [((), "is empty; give it a value or leave the key out")]),
    ("inline", {}, []),
    (
        "inline",
        "hero",
        [((), '"hero" is not a set of keys and values (key: value)')],
    ),
    ("inline", {"promt": "x"}, [(("promt",), 'unknown key "promt"; did you mean "prompt"?')]),
    (
        "inline",
        {"Image-Tail": "x"},
        [(("Image-Tail",), 'unknown key "Image-Tail"; did you mean "image_tail"?')],
    ),
    ("inline", {"MODE": "x"}, [(("MODE",), 'unknown key "MODE"; did you mean "mode"?')]),
    ("inline", {"colour": "x"}, [(("colour",), 'unknown key "colour"')]),
    ("inline", {None: 1}, [(("None",), "unknown key nothing")]),
    ("inline", {"match": "*"}, [(("match",), '"match" goes with folder')]),
    ("inline", {"concurrency": 1}, [(("concurrency",), '"concurrency" belongs at the top of the manifest')]),
    ("inline", {"take": 0}, [(("take",), "0 is not between 1 and 1000000")]),
    ("inline", {"id": 1.5}, [(("id",), "1.5 is not text; put it in quotes")]),
    ("inline", {"id": "a" * 201}, [(("id",), "has 201 characters; at most 200 are allowed")]),
    ("inline", {"prompt": None}, [(("prompt",), "is empty; give it a value or leave the key out")]),
    ("folder", {"folder": "a", "match": "**/*.png", "take": 2}, []),
    ("folder", {"folder": ""}, [(("folder",), "is empty; give it a value or leave the key out")]),
    (
        "folder",
        {"folder": "a", "id": "b"},
        [(("id",), '"id" names a single job; it can\'t hold for several')],
    ),
    (
        "folder",
        {"folder": "a", "image": "b"},
        [(("image",), '"image" can\'t be given here: the images are those of the folder')],
    ),
    (
        "folder",
        {"folder": "a", "table": "b"},
        [(("table",), '"table" can\'t stand beside folder; make two entries of them')],
    ),
    ("table", {"table": "a.csv", "image": "b.png"}, []),
    (
        "table",
        {"table": "a.csv", "external_task_id": "b"},
        [(("external_task_id",), '"external_task_id" names a single job; it can\'t hold for several')],
    ),
    ("table", {"table": "a.csv", "allow_fields": ["external_task_id", "callback_url", "image_urls"]}, []),
    (
        "folder",
        {"folder": "a", "allow_fields": ["image_url"]},
        [
            (
                ("allow_fields", 0),
                '"image_url" is not one of callback_url, external_task_id, image_urls; did you mean "image_urls"?',
            )
        ],
    ),
    (
        "inline",
        {"allow_fields": []},
        [(("allow_fields",), '"allow_fields" goes with folder or table: this job is the manifest\'s own')],
    ),
    ("sidecar", {"allow_fields": []}, [(("allow_fields",), '"allow_fields" belongs in an entry of jobs')]),
    (
        "inline",
        {"allow": ["a"]},
        [(("allow",), '"allow" goes with folder or table: this job is the manifest\'s own')],
    ),
    ("sidecar", {"allow": ["a"]}, [(("allow",), '"allow" belongs in an entry of jobs')]),
    ("row", {"allow": "a"}, [(("allow",), '"allow" belongs in an entry of jobs')]),
    (
        "manifest",
        {"version": 1, "jobs": [1], "allow": ["a"]},
        [(("allow",), '"allow" belongs in an entry of jobs')],
    ),
    ("row", {"id": "a", "external_task_id": "b", "image": "c.png"}, []),
    ("row", {"element_list": "[1"}, [(("element_list",), '"[1" is not a list, nor is it JSON')]),
    ("row", {"folder": "a"}, [(("folder",), '"folder" belongs in an entry of jobs')]),
    ("sidecar", {"id": "a", "external_task_id": "b", "prompt": "c"}, []),
    ("defaults", {"model_name": "kling-v3", "take": 2}, []),
    ("defaults", {"id": "a"}, [(("id",), '"id" names a single job; it can\'t hold for several')]),
    ("defaults", {"jobs": []}, [(("jobs",), '"jobs" belongs at the top of the manifest')]),
    # no condition between keys is judged before a job is whole
    ("inline", {"multi_shot": True, "prompt": "a", "image_tail": "b", "static_mask": "c"}, []),
]


@pytest.mark.parametrize(("kind", "data", "expected"), ENTRIES)
def test_entries_are_judged_by_their_keys_and_values(kind: str, data: Any, expected: list[Any]) -> None:
    assert schema.check_entry(kind, data) == [Finding(path, text) for path, text in expected]


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [
        *(
            ("inline", word, "duration")
            for word in ("seconds", "length", "Duration (s)", "SECS", "clip length")
        ),
        *(("inline", word, "prompt") for word in ("text", "caption", "Prompt text", "promt")),
        *(("inline", word, "negative_prompt") for word in ("negative", "neg", "negativePrompt", "avoid")),
        *(
            ("inline", word, "image")
            for word in ("img", "picture", "photo", "first_frame", "image_url", "file")
        ),
        *(("inline", word, "image_tail") for word in ("tail", "last_frame", "end_image", "imageTail")),
        *(("inline", word, "sound") for word in ("audio", "generate_audio", "sounds")),
        *(("inline", word, "mode") for word in ("quality", "resolution", "MODE")),
        *(("inline", word, "camera_control") for word in ("camera", "camera_motion", "camera-control")),
        *(
            ("inline", "model", "model_name"),
            ("inline", "cfg", "cfg_scale"),
            ("inline", "shots", "multi_prompt"),
        ),
        *(
            ("inline", "voice", "voice_list"),
            ("inline", "elements", "element_list"),
            ("inline", "mask", "static_mask"),
        ),
        *(
            ("inline", "watermark", "watermark_info"),
            ("inline", "webhook", "callback_url"),
            ("row", "variant", "take"),
        ),
        *(("folder", "directory", "folder"), ("folder", "glob", "match"), ("table", "csv", "table")),
        *(
            ("manifest", "output", "output_dir"),
            ("manifest", "budget", "max_cost_usd"),
            ("manifest", "tasks", "jobs"),
        ),
        *(
            ("manifest", "workers", "concurrency"),
            ("manifest", "slots", "max_running"),
            ("manifest", "common", "defaults"),
        ),
    ],
)
def test_an_unknown_key_suggests_what_people_mean_by_it(kind: str, key: str, meant: str) -> None:
    texts = {text for path, text in schema.check_entry(kind, {key: "x"}) if path == (key,)}
    assert texts == {f'unknown key "{key}"; did you mean "{meant}"?'}


@pytest.mark.parametrize(
    ("kind", "key", "said"),
    [
        ("inline", "output", 'did you mean "output_dir"? That belongs at the top of the manifest'),
        ("inline", "glob", 'did you mean "match"? That goes with folder'),
        ("manifest", "seconds", 'did you mean "duration"? That belongs in defaults or in an entry of jobs'),
        (
            "folder",
            "picture",
            'did you mean "image"? That can\'t be given here: the images are those of the folder',
        ),
    ],
)
def test_an_unknown_key_may_mean_one_that_belongs_elsewhere(kind: str, key: str, said: str) -> None:
    entry = {"folder": "x", key: "x"} if kind == "folder" else {key: "x"}
    found = {text for path, text in schema.check_entry(kind, entry) if path == (key,)}
    assert found == {f'unknown key "{key}"; {said}'}


@pytest.mark.parametrize(
    ("fields", "path", "meant"),
    [
        ({"multi_prompt": [{"text": "a"}]}, ("multi_prompt", 0, "text"), "prompt"),
        ({"multi_prompt": [{"seconds": 2}]}, ("multi_prompt", 0, "seconds"), "duration"),
        ({"multi_prompt": [{"number": 2}]}, ("multi_prompt", 0, "number"), "index"),
        ({"voice_list": [{"id": "a"}]}, ("voice_list", 0, "id"), "voice_id"),
        ({"element_list": [{"id": 1}]}, ("element_list", 0, "id"), "element_id"),
        (
            {"camera_control": {"type": "simple", "config": {"yaw": 1}}},
            ("camera_control", "config", "yaw"),
            "tilt",
        ),
        ({"dynamic_masks": [{"mask": "a", "path": []}]}, ("dynamic_masks", 0, "path"), "trajectories"),
    ],
)
def test_an_unknown_key_inside_a_field_suggests_one_of_that_field(fields: Any, path: Any, meant: str) -> None:
    assert f'unknown key "{path[-1]}"; did you mean "{meant}"?' in {
        text for where, text in schema.check_entry("inline", fields) if where == path
    }


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        ("mode", "1080p", "pro"),
        ("mode", "720p", "std"),
        ("mode", "4K", "4k"),
        ("shot_type", "auto", "intelligence"),
    ],
)
def test_a_value_of_another_tool_suggests_the_api_s(field: str, value: str, meant: str) -> None:
    [(_, text)] = schema.check_entry("inline", {field: value})
    assert text.endswith(f'did you mean "{meant}"?')


def test_every_word_stands_for_keys_and_values_that_there_are() -> None:
    known = json.dumps([REQUEST, MANIFEST])
    for meant, words in messages._SYNONYMS.items():
        assert f'"{meant}"' in known
        assert {messages._plain(word) for word in words} == words
        assert meant not in words


@pytest.mark.parametrize(
    "id_", ["hero", "spring/hero", "a b", "..a", "a..", "a/.b", "ä/日本", "~2", "a" * 200]
)
def test_job_ids_that_are_good(id_: str) -> None:
    assert schema.check_entry("inline", {"id": id_}) == []


@pytest.mark.parametrize(
    "id_",
    [
        *(
            "/a",
            "a/",
            "a//b",
            "..",
            ".",
            "../a",
            "a/..",
            "a/../b",
            "./a",
            "a/./b",
            "a\\b",
            "a\n",
            "\ta",
            "a\x7f",
            "",
        )
    ],
)
def test_job_ids_that_are_refused(id_: str) -> None:
    [finding] = schema.check_entry("inline", {"id": id_})
    assert finding.path == ("id",)
    assert "can't be used as an id" in finding.text or finding.text.startswith("is empty")


@pytest.mark.parametrize("id_", ["a", "night-shop-hero-1", "a~b", "~", "a~2b", "a.b", "...", "ä", "a:b@c"])
def test_external_task_ids_that_are_good(id_: str) -> None:
    assert schema.check_entry("inline", {"external_task_id": id_}) == []


@pytest.mark.parametrize(
    "id_",
    [
        *("", " a", "a b", "a\n", "a\t", "a\u00a0b", "a\x00", "a\x85", "a/b", "a\\b", "a?b", "a#b", "a%20"),
        *("a~2", "~2", "a~002", ".", ".."),
    ],
)
def test_external_task_ids_that_are_refused(id_: str) -> None:
    [finding] = schema.check_entry("inline", {"external_task_id": id_})
    assert finding.path == ("external_task_id",)
    assert schema.check_request({**GOOD, "external_task_id": "a~2"}) == []  # batchgen's own retries pass


@given(
    fields=st.dictionaries(st.sampled_from(sorted(REQUEST["properties"])), VALUES),
    whole=st.booleans(),
)
def test_a_request_is_valid_exactly_where_nothing_is_found(fields: dict[str, Any], whole: bool) -> None:
    request = {**(GOOD if whole else {}), **schema.natural(fields)}
    findings = schema._check("request", request)  # jsonschema's own word; check_request asks is_valid first
    assert schema.is_valid(request) == (findings == [])
    for path, text in findings:
        assert text.isprintable()
        assert len(text) < 400
        assert not path or path[0] in request


@given(data=st.data(), kind=st.sampled_from(["manifest", *KINDS]))
def test_a_part_of_a_manifest_is_good_exactly_where_jsonschema_finds_nothing(
    data: st.DataObject, kind: str
) -> None:
    known = sorted(schema._schema(kind)["properties"])
    entry = data.draw(st.dictionaries(st.sampled_from([*known, "unknown"]), VALUES | st.text(max_size=3)))
    entry = {key: data.draw(VALUES) for key in schema._schema(kind).get("required", ())} | entry
    read = schema.natural(entry)
    assert schema._is_good(kind, read) == (schema._check(kind, read) == [])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(16**5000, id="a number too long to print"),
        pytest.param("a\ud800", id="half a character"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(json.loads("[" * 900 + "]" * 900), id="deep"),
        pytest.param("\u202e\x1b[31m", id="terminal control"),
        pytest.param("A" * 10**6, id="long"),
    ],
)
@pytest.mark.parametrize(
    "field", ["image", "mode", "cfg_scale", "element_list", "multi_shot", "callback_url"]
)
def test_hostile_values_are_refused_in_one_short_printable_line(field: str, value: Any) -> None:
    findings = schema.check_request({**GOOD, field: value})
    if field == "image" and isinstance(value, str) and "\ud800" not in value:
        assert findings == []
        return
    [finding] = findings
    assert finding.path[:1] in ((field,), ())
    assert finding.text.isprintable()
    assert len(finding.text) < 200


def test_a_long_value_is_cut_in_its_message() -> None:
    [finding] = schema.check_request({**GOOD, "mode": "A" * 10**6})
    assert finding.text == '"' + "A" * 60 + "... is not one of std, pro, 4k"


def test_nesting_beyond_python_s_stack_is_a_finding() -> None:
    value: list[Any] = []
    for _ in range(10**5):
        value = [value]
    [finding] = schema.check_entry("inline", {"prompt": value})
    assert "nested too deeply" in finding.text
    assert not schema.is_valid({**GOOD, "prompt": value})
