"""The price table, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest

from batchgen.money.prices import MILLS_PER_SECOND, cost_mills, cost_usd, is_floor
from batchgen.request import schema

PUBLISHED = [
    ("off", "std", 0.084),
    ("off", "pro", 0.112),
    ("off", "4k", 0.42),
    ("on", "std", 0.126),
    ("on", "pro", 0.168),
    ("on", "4k", 0.42),
]


@pytest.mark.parametrize(("sound", "mode", "per_second"), PUBLISHED)
def test_every_cell_is_what_was_published(sound: str, mode: str, per_second: float) -> None:
    for seconds in range(3, 16):
        fields = {"sound": sound, "mode": mode, "duration": str(seconds)}
        assert cost_usd(fields) == round(per_second * seconds, 3)
        assert cost_mills(fields) == round(per_second * seconds * 1000)


def test_every_sound_and_mode_of_the_specification_has_a_price() -> None:
    fields = schema.load("request")["$defs"]
    assert set(MILLS_PER_SECOND) == {
        (sound, mode) for sound in fields["sound"]["enum"] for mode in fields["mode"]["enum"]
    }


def test_five_seconds_of_pro_with_sound_are_84_cents_and_a_thousand_are_840_dollars() -> None:
    fields = {"mode": "pro", "sound": "on", "duration": "5"}
    assert cost_usd(fields) == 0.84
    assert sum(cost_mills(fields) for _ in range(1000)) == 840_000


def test_fields_left_out_cost_what_their_defaults_cost() -> None:
    assert cost_usd({}) == cost_usd({"mode": "std", "sound": "off", "duration": "5"}) == 0.42


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"voice_list": [], "prompt": "A man<<<voice_1>>>says"}, False),
        ({"voice_list": [{"voice_id": "v"}], "prompt": "A man says"}, False),
        ({"voice_list": [{"voice_id": "v"}], "prompt": "A man<<<voice_1>>>says"}, True),
        (
            {
                "voice_list": [{"voice_id": "v"}],
                "multi_prompt": [{"prompt": "a"}, {"prompt": "<<<voice_1>>>"}],
            },
            True,
        ),
    ],
)
def test_with_a_voice_the_estimate_is_a_floor(fields: dict[str, Any], expected: bool) -> None:
    assert is_floor(fields) is expected
