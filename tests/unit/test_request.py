"""Identity stays what it is forever; the streamed body is exactly the request."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import tracemalloc
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import ImageError
from batchgen.models import ImageFile
from batchgen.request import image_fields, schema
from batchgen.request.body import LONG, READ, Body, fetch
from batchgen.request.identity import canonical, digest, external_task_id

DATA = bytes(range(256)) * 4
SHA256 = hashlib.sha256(DATA).hexdigest()
INLINE = base64.b64encode(DATA).decode()
URL = "https://example.com/frame.png"

# Written once and never to be changed: whoever changes one makes people pay twice.
GOLDEN_CANONICAL = (
    '{"camera_control":{"config":{"horizontal":0,"zoom":2.5},"type":"simple"},"cfg_scale":0.5,"duration":"5",'
    '"image":"https://example.com/frame.png","mode":"std","model_name":"kling-v3","multi_shot":false,'
    '"prompt":"Grüße, \\"日本\\"\\n","sound":"off"}'
)


def image(path: str | Path, data: bytes = DATA) -> ImageFile:
    """A value as if these bytes had been checked at this path."""
    sha256, xxh3 = hashlib.sha256(data).hexdigest(), xxhash.xxh3_128(data).hexdigest()
    return ImageFile(str(path), len(data), 0, 0, sha256, "png", 400, 300, xxh3=xxh3)


def put(folder: Path, data: bytes, name: str = "a.png") -> ImageFile:
    (folder / name).write_bytes(data)
    return image(folder / name, data)


def as_sent(value: Any) -> Any:
    """The request's values as the API must read them."""
    if isinstance(value, ImageFile):
        return base64.b64encode(Path(value.path).read_bytes()).decode()
    if isinstance(value, Mapping):
        return {key: as_sent(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    return value


def test_the_canonical_text_of_a_request_is_golden() -> None:
    fields = {
        "prompt": 'Grüße, "日本"\n',
        "image": URL,
        "model_name": "kling-v3",
        "camera_control": {"type": "simple", "config": {"zoom": 2.50, "horizontal": 0.0}},
        "callback_url": "https://example.com/hook",
        "external_task_id": "mine",
    }

    text = canonical(fields)

    assert text == GOLDEN_CANONICAL
    assert digest(text) == "56f1e97b5b40648c065c9a8c5c9de091c98df27b009a9f5a254e66aa564217b7"


def test_the_canonical_text_of_images_is_golden() -> None:
    fields = {
        "model_name": "kling-v3",
        "image": image("somewhere/a.png"),
        "static_mask": INLINE,
        "dynamic_masks": [{"mask": image("b.png"), "trajectories": [{"x": 1.0, "y": 2}, {"x": 3, "y": 4}]}],
        "duration": "15",
    }

    text = canonical(fields)

    by_bytes = '{"sha256":"785b0751fc2c53dc14a4ce3d800e69ef9ce1009eb327ccf458afe09c242c26c9"}'
    assert text == (
        '{"cfg_scale":0.5,"duration":"15",'
        f'"dynamic_masks":[{{"mask":{by_bytes},"trajectories":[{{"x":1,"y":2}},{{"x":3,"y":4}}]}}],'
        f'"image":{by_bytes},"mode":"std","model_name":"kling-v3","multi_shot":false,"sound":"off",'
        f'"static_mask":{by_bytes}}}'
    )
    assert digest(text) == "f9f96ff4a7c9b419fc1162091eb3b9eb8a429f49503f2b9ac8e99321953e7fba"


CAT = {"model_name": "kling-v3", "image": URL}
POINTS = [{"x": 5.0, "y": 1}, {"x": 2, "y": 3.0}]
SHOTS = [{"index": 1.0, "prompt": "a", "duration": "2"}, {"index": 2, "prompt": "b", "duration": "3"}]


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        (
            {"voice_list": [], "element_list": [{"element_id": 160}], "prompt": "<<<element_1>>>"},
            "b95512f324bdcb7bf048",
        ),
        (
            {"voice_list": [{"voice_id": "a"}], "element_list": [], "sound": "on", "prompt": "<<<voice_1>>>"},
            "a6d0fe168ec4eb194ce0",
        ),
        ({"dynamic_masks": [], "image_tail": URL}, "907a217fbcf830cef84b"),
        ({"dynamic_masks": [{"mask": URL, "trajectories": POINTS}]}, "6e7e72e9bec94732f5b5"),
        ({"camera_control": {"type": "simple", "config": {"zoom": 5.0, "pan": 0}}}, "5100bf08ff6f492b2d88"),
        ({"multi_shot": True, "shot_type": "customize", "multi_prompt": SHOTS}, "697b30851981f45b1206"),
        (
            {"prompt": "", "negative_prompt": "😀 \u2028", "cfg_scale": 0.30000000000000004},
            "cbe7c0a5e58dd10ad20b",
        ),
        ({"watermark_info": {"enabled": False}, "duration": "15", "mode": "4k"}, "71c4939e62ee80e3e62c"),
    ],
)
def test_digests_of_all_kinds_of_fields_are_golden(fields: dict[str, Any], start: str) -> None:
    assert digest(canonical({**CAT, **fields})).startswith(start)


@pytest.mark.parametrize("name", ["voice_list", "element_list", "dynamic_masks"])
def test_an_empty_list_is_part_of_the_identity_but_not_sent(name: str) -> None:
    assert json.loads(b"".join(Body({**CAT, name: []}).pieces())) == CAT
    assert json.loads(canonical({**CAT, name: []}))[name] == []


def test_external_task_ids_are_golden() -> None:
    content = digest("{}")
    assert [
        external_task_id("night-shop", "hero", 1, content),
        external_task_id("night-shop", "hero", 2, content),
        external_task_id("Été à la plage", "häuser/Straße 7", 1, content),
        external_task_id("夜", "~~", 1, content),
        external_task_id("m" * 100, "x" * 31 + "/yz", 1, content),
        external_task_id("a", "half \ud800 a pair", 1, content),
    ] == [
        "night-shop.hero.4d16ed53d9680bbb26fe",
        "night-shop.hero.b5f6e7914296dbcb52ec",
        "Ete-a-la-plage.hauser-Stra-e-7.5752ce4c0f710484cca0",
        "x.x.4f0b5ce9425155784b37",
        "mmmmmmmmmmmmmmmmmmmmmmmm.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.a15462d15069075aa9c9",
        "a.half-a-pair.ad0941d9a17cab39a3e3",
    ]


def test_defaults_are_those_of_the_schema() -> None:
    assert schema.defaults() == {
        "multi_shot": False,
        "sound": "off",
        "cfg_scale": 0.5,
        "mode": "std",
        "duration": "5",
    }


@pytest.mark.parametrize(("name", "value"), schema.defaults().items())
def test_a_default_written_out_changes_nothing(name: str, value: Any) -> None:
    fields = {"model_name": "kling-v3", "image": URL}
    assert canonical({**fields, name: value}) == canonical(fields)


def test_order_and_the_spelling_of_numbers_change_nothing() -> None:
    a = {"image": URL, "cfg_scale": 1, "camera_control": {"config": {"pan": -3, "zoom": 0}, "type": "simple"}}
    b = {
        "camera_control": {"type": "simple", "config": {"zoom": -0.0, "pan": -3.0}},
        "cfg_scale": 1.0,
        "image": URL,
    }
    assert canonical(a) == canonical(b)


def test_an_image_counts_by_its_bytes_wherever_they_come_from() -> None:
    by_path, moved, inline = image("a.png"), image("/elsewhere/b.png"), INLINE
    texts = {canonical({"image": each}) for each in (by_path, moved, inline)}
    assert len(texts) == 1
    assert SHA256 in texts.pop()
    assert canonical({"image": image("a.png", b"other")}) != canonical({"image": by_path})


@pytest.mark.parametrize("url", [URL, "http://localhost/a.png", "HTTPS://EXAMPLE.COM/a.png"])
def test_an_image_s_url_stays_text(url: str) -> None:
    assert json.loads(canonical({"image_tail": url}))["image_tail"] == url


@pytest.mark.parametrize("name", sorted(schema.load("request")["properties"]))
def test_every_field_but_two_shapes_the_clip(name: str) -> None:
    values = {
        "image": (URL, "https://example.com/other.png"),
        "image_tail": (URL, INLINE),
        "static_mask": (URL, INLINE),
        "dynamic_masks": ([{"mask": URL, "trajectories": []}], [{"mask": INLINE, "trajectories": []}]),
    }
    one, two = values.get(name, ("one", "two"))
    same = canonical({name: one}) == canonical({name: two})
    assert same == (name in {"callback_url", "external_task_id"})


NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt": st.text(
                st.characters(exclude_categories=())
            ),  # lone surrogates and control characters, too
            "cfg_scale": NUMBERS,
            "sound": st.booleans(),
            "element_list": st.lists(st.fixed_dictionaries({"element_id": NUMBERS}), max_size=3),
            "camera_control": st.dictionaries(
                st.text(max_size=5), st.text() | NUMBERS | st.none(), max_size=3
            ),
        },
    )
)
def test_the_canonical_text_is_spelt_as_the_standard_library_spells_it(fields: dict[str, Any]) -> None:
    def whole(value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, dict):
            return {key: whole(item) for key, item in value.items()}
        return [whole(item) for item in value] if isinstance(value, list) else value

    spelt = json.dumps(
        whole({**schema.defaults(), **fields}), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    halves = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", spelt)
    assert canonical(fields) == halves


def test_the_request_given_is_left_as_it_is() -> None:
    fields: dict[str, Any] = {
        "image": image("a.png"),
        "callback_url": "https://example.com",
        "dynamic_masks": [{"mask": image("b.png"), "trajectories": [{"x": 1.0, "y": 1.0}]}],
    }
    before = repr(fields)
    canonical(fields)
    assert repr(fields) == before


def test_half_a_surrogate_pair_has_an_identity_and_a_body() -> None:
    fields = {"prompt": "a \ud800 b 日"}

    text = canonical(fields)

    assert text.encode().decode() == text
    assert len(digest(text)) == 64
    assert json.loads(text)["prompt"] == fields["prompt"]
    assert json.loads(b"".join(Body(fields).pieces())) == fields


NAMES = st.text(max_size=60) | st.text("ab-_~./ éß日", max_size=60)


@given(
    manifest=NAMES, job=NAMES, take=st.integers(1, 10**6), content=st.text("0123456789abcdef", max_size=64)
)
def test_an_id_is_short_and_safe_whatever_the_names(manifest: str, job: str, take: int, content: str) -> None:
    made = external_task_id(manifest, job, take, content)

    assert re.fullmatch(r"[A-Za-z0-9_-]{1,24}\.[A-Za-z0-9_-]{1,32}\.[0-9a-f]{20}", made)
    assert "--" not in made
    assert made == external_task_id(manifest, job, take, content)


def test_an_id_tells_apart_what_looks_alike() -> None:
    ids = [
        external_task_id("a", "b c", 1, "d"),
        external_task_id("a", "b-c", 1, "d"),
        external_task_id("a", "b c", 11, "d"),
        external_task_id("a", "b c", 1, "d1"),
        external_task_id("a b", "c", 1, "d"),
        external_task_id("A", "b c", 1, "d"),
    ]
    assert len(set(ids)) == len(ids)


def test_an_accent_in_one_character_or_two_makes_one_id() -> None:
    assert external_task_id("é", "fée", 1, "") == external_task_id("e\u0301", "fe\u0301e", 1, "")


def test_image_values_are_found_with_their_paths_also_in_unchecked_requests() -> None:
    fields = {
        "static_mask": 1,
        "image": "x",
        "dynamic_masks": [{"mask": "y"}, {"trajectories": []}, 7, {"mask": None}],
    }
    assert list(image_fields.image_values(fields)) == [
        (("image",), "x"),
        (("static_mask",), 1),
        (("dynamic_masks", 0, "mask"), "y"),
        (("dynamic_masks", 3, "mask"), None),
    ]
    assert list(image_fields.image_values({"dynamic_masks": "text"})) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SIZES = st.sampled_from([1, 2, 3, 4, READ - 1, READ, READ + 1, 2 * READ, 500_000])


@settings(max_examples=60, deadline=None)
@given(
    fields=st.dictionaries(st.text(), JSON, max_size=4),
    sizes=st.dictionaries(st.sampled_from(["image", "image_tail", "static_mask", "zz"]), SIZES, max_size=3),
    masks=st.lists(SIZES, max_size=2),
)
def test_the_body_is_exactly_the_request_with_each_file_s_base64(
    fields: dict[str, Any], sizes: dict[str, int], masks: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for name, size in sizes.items():
        fields[name] = put(folder, os.urandom(size), name)
    fields["dynamic_masks"] = [
        {"mask": put(folder, os.urandom(size), f"{index}"), "x": index} for index, size in enumerate(masks)
    ]

    body = Body(fields)
    first, second = list(body.pieces()), list(body.pieces())

    assert json.loads(b"".join(first)) == {k: as_sent(value) for k, value in fields.items() if value != []}
    assert body.length == sum(map(len, first))
    assert first == second
    assert all(first)


@settings(max_examples=20, deadline=None)
@given(st.text('"\\\n\0é日😀a', min_size=1, max_size=40))
def test_a_long_text_is_sent_in_pieces_as_it_is(part: str) -> None:
    text = part * (2 * LONG // len(part) + 1)

    body = Body({"image": text, "prompt": part})
    pieces = list(body.pieces())

    assert json.loads(b"".join(pieces)) == {"image": text, "prompt": part}
    assert body.length == sum(map(len, pieces))
    assert len(pieces) >= 4


def test_a_request_without_files_is_one_piece() -> None:
    assert list(Body({"image": URL, "prompt": "é"}).pieces()) == [
        '{"image":"https://example.com/frame.png","prompt":"é"}'.encode()
    ]


def failing(pieces: Iterator[bytes]) -> tuple[int, str]:
    """How many bytes came before the ImageError, and its text."""
    sent = 0
    try:
        for piece in pieces:
            sent += len(piece)
    except ImageError as error:
        return sent, str(error)
    raise AssertionError("the body came whole")


def other_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [
    (other_bytes, "the file changed since it was checked: its bytes are others"),
    (shorter, "the file changed since it was checked: 600,000 bytes then, 599,999 now"),
    (longer, "the file changed since it was checked: 600,000 bytes then, 600,001 now"),
    (Path.unlink, "there is no such file"),
    (fifo, "it is a named pipe, not an image file"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
@pytest.mark.parametrize("name", ["image", "static_mask"])
@pytest.mark.parametrize("known", [{}, {"xxh3": ""}], ids=["inspected", "remembered"])
def test_a_file_that_is_not_what_was_checked_leaves_the_body_incomplete(
    change: Any, said: str, name: str, known: Any, tmp_path: Path
) -> None:
    fields = {
        each: put(tmp_path, os.urandom(600_000), each)._replace(**known)
        for each in ("image", "image_tail", "static_mask")
    }
    body = Body(fields)
    change(tmp_path / name)

    sent, reason = failing(body.pieces())

    assert reason == f"{tmp_path / name}: {said}"
    assert sent < body.length


@pytest.mark.parametrize(
    ("change", "said"),
    [(shorter, "it became shorter"), (longer, "it grew"), (other_bytes, "its bytes are others")],
)
def test_a_file_that_changes_while_it_is_sent_leaves_the_body_incomplete(
    change: Any, said: str, tmp_path: Path
) -> None:
    body = Body({"image": put(tmp_path, os.urandom(600_000))})
    pieces = body.pieces()
    sent = len(next(pieces)) + len(next(pieces))
    change(tmp_path / "a.png")

    rest, reason = failing(pieces)

    assert reason == f"{tmp_path / 'a.png'}: the file changed since it was checked: {said}"
    assert sent + rest < body.length


def test_a_file_replaced_while_it_is_sent_is_sent_as_it_was(tmp_path: Path) -> None:
    data = os.urandom(600_000)
    body = Body({"image": put(tmp_path, data)})
    pieces = body.pieces()
    start = next(pieces) + next(pieces)
    put(tmp_path, b"another", "b.png")
    os.replace(tmp_path / "b.png", tmp_path / "a.png")

    assert json.loads(start + b"".join(pieces)) == {"image": base64.b64encode(data).decode()}
    with pytest.raises(ImageError, match="600,000 bytes then, 7 now"):
        list(body.pieces())


def test_a_file_touched_but_not_changed_is_sent(tmp_path: Path) -> None:
    body = Body({"image": put(tmp_path, DATA)})
    os.utime(tmp_path / "a.png", (0, 0))
    assert json.loads(b"".join(body.pieces())) == {"image": INLINE}


def test_a_file_that_an_earlier_run_has_read_is_proven_by_its_digest(tmp_path: Path) -> None:
    body = Body({"image": put(tmp_path, DATA)._replace(xxh3="")})
    assert json.loads(b"".join(body.pieces())) == {"image": INLINE}


def test_a_file_that_was_just_inspected_is_proven_by_the_quicker_checksum(tmp_path: Path) -> None:
    body = Body({"image": put(tmp_path, DATA)._replace(xxh3="0" * 32)})
    assert failing(body.pieces())[1].endswith("its bytes are others")


def test_fetching_leaves_it_to_the_sending_to_say_what_is_wrong(tmp_path: Path) -> None:
    body = Body({"image": put(tmp_path, DATA), "image_tail": put(tmp_path, DATA, "b.png")})
    (tmp_path / "a.png").unlink()
    for image in body.files:
        fetch(image)
    assert failing(body.pieces())[1] == f"{tmp_path / 'a.png'}: there is no such file"


def test_no_descriptor_stays_open_however_the_sending_ends(tmp_path: Path) -> None:
    body = Body({"image": put(tmp_path, os.urandom(600_000))})
    before = len(os.listdir("/proc/self/fd"))

    stopped = body.pieces()
    next(stopped), next(stopped)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    stopped.close()
    assert len(os.listdir("/proc/self/fd")) == before

    list(body.pieces())
    other_bytes(tmp_path / "a.png")
    with pytest.raises(ImageError):
        list(body.pieces())
    assert len(os.listdir("/proc/self/fd")) == before


def test_sixteen_large_bodies_at_once_stay_small(tmp_path: Path) -> None:
    files = [put(tmp_path, os.urandom(10 * 1024 * 1024), f"{number}.png") for number in range(16)]
    sums = [0] * 16
    tracemalloc.start()
    try:
        bodies = [Body({"image": file}) for file in files]
        for step in zip_longest(*(body.pieces() for body in bodies)):
            for number, piece in enumerate(step):
                sums[number] += len(piece or b"")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert sums == [body.length for body in bodies]
    assert peak < 25_000_000
