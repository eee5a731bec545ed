"""A job is kept in few bytes, and gives back what it was made of; values that come twice are found with little memory."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.manifest.repeated import repeated
from batchgen.models import ImageFile, Job, Place, Recipe, Within

_TEXT = st.text(st.characters(), max_size=20)  # half surrogate pairs, too
_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_RECIPE = Recipe("jpeg", (400, 300), (400, 300), (400, 300), words=("turned",))
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "path": _TEXT.map(lambda name: f"/in/{name}"),
    "size": st.integers(0, 2**63),
    "mtime_ns": st.integers(-(2**62), 2**62),
    "inode": st.integers(0, 2**64 - 1),
    "sha256": st.just("0" * 64),
    "format": st.sampled_from(["png", "jpeg"]),
    "width": st.integers(300, 10**5),
    "height": st.integers(300, 10**5),
    "orientation": st.integers(1, 8),
    "xxh3": st.sampled_from(["", "f" * 32]),
    "within": st.none() | st.just(Within("in", ("/in", "/shared"))),
    "recipe": st.none() | st.just(_RECIPE),
}
_IMAGES = st.builds(ImageFile, **_FIELDS)


@given(_IMAGES, _FIELDS["within"])
def test_an_image_for_another_entry_is_the_same_one_but_for_where_it_may_lie(
    image: ImageFile, within: Within | None
) -> None:
    assert {**image._asdict(), "within": None} == {**image.to_be_read(within)._asdict(), "within": None}
    assert image.to_be_read(within).within == within


@given(
    request=st.dictionaries(_TEXT, _VALUE | _IMAGES, max_size=6),
    names=st.tuples(_TEXT, _TEXT, _TEXT, _TEXT, _TEXT | st.just("in/") | st.just("in/a.png")),
    take=st.integers(1, 10**9),
    line=st.integers(0, 2**32 - 1),
    digest=st.binary(min_size=32, max_size=32),
)
def test_a_job_gives_back_what_it_was_made_of(
    request: dict[str, Any],
    names: tuple[str, str, str, str, str],
    take: int,
    line: int,
    digest: bytes,
) -> None:
    manifest, job_id, name, folder, file = names
    where = Place(file, line, min(line, 1))
    job = Job(manifest, job_id, take, name, digest.hex(), request, folder, where)
    assert (job.manifest, job.id, job.take, job.external_task_id) == (manifest, job_id, take, name)
    assert (job.digest, job.output_dir, job.place) == (digest.hex(), folder, where)
    assert [*job.request.items()] == [*request.items()]
    assert [*map(repr, job.request.values())] == [*map(repr, request.values())]  # 1 is not 1.0, -0.0 not 0.0
    assert job == job._replace(take=take) != job._replace(take=take + 1)


def test_that_test_has_every_field_of_an_image() -> None:
    assert _FIELDS.keys() == {*ImageFile._fields}


def test_a_large_value_is_kept_as_it_is_and_not_made_again_at_every_look() -> None:
    base64 = "iVBORw0KGgo" * 1000
    job = Job("m", "j", 1, "e", "0" * 64, {"image": base64}, "/clips", Place("m.yaml"))
    assert job.request["image"] is base64


def test_a_job_from_a_table_takes_few_bytes() -> None:
    request = {
        "model_name": "kling-v3",
        "mode": "pro",
        "image": "https://images.example.com/night/0000001.png",
        "prompt": "Slow camera push-in on product 1, soft light, gentle parallax",
        "duration": "10",
    }
    one, other = (
        Job("m", f"job{n}", 1, f"m.job{n}.0123456789", "0" * 64, request, "/clips", Place("t.csv", n, 1))
        for n in (1, 2)
    )
    own = [getattr(one, slot) for slot in Job.__slots__]
    shared = {id(getattr(other, slot)) for slot in Job.__slots__}
    taken = sys.getsizeof(one) + sum(sys.getsizeof(value) for value in own if id(value) not in shared)
    assert taken < 200 + len(json.dumps(request))


def test_a_job_of_a_folders_image_takes_few_bytes() -> None:
    within = Within("inbox", ("/srv/inbox",))

    def job(number: int) -> Job:
        name = f"set{number}/img{number:06}"
        image = ImageFile(
            f"/srv/inbox/set/{name}.jpg", 500_000, 10**18, 10**6, "0" * 64, "jpeg", 900, 600, within=within
        )
        request = {"model_name": "kling-v3", "mode": "pro", "prompt": f"{name}: slow push-in", "image": image}
        place = Place(f"inbox/{name}.jpg")
        return Job("m", name, 1, f"m.{name}.0123456789", "0" * 64, request, "/clips", place)

    one, other = job(1), job(1)._replace(take=2)
    own = [getattr(one, slot) for slot in Job.__slots__]
    shared = {id(getattr(other, slot)) for slot in Job.__slots__}
    taken = sys.getsizeof(one) + sum(sys.getsizeof(value) for value in own if id(value) not in shared)
    assert taken < 500
    assert one.request["image"].within is within


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 300_000])  # the last are looked at in parts
def test_values_that_come_more_than_once_are_found_in_their_order(count: int) -> None:
    texts = [str(number * number % 1_000_003) for number in range(count)]
    counts = Counter(texts)
    expected = [number for number, text in enumerate(texts) if counts[text] > 1]
    assert repeated(lambda: range(count), texts.__getitem__) == expected
