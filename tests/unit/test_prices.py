"""Prices and charges: the table cell by cell, the bound for a voice, and what the API's words are worth in micro-dollars."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.money.prices import BUILT_IN, MOST_CHARGED, Prices, with_voice
from batchgen.request import schema

PUBLISHED = [
    ("off", "std", "0.084"),
    ("off", "pro", "0.112"),
    ("off", "4k", "0.42"),
    ("on", "std", "0.126"),
    ("on", "pro", "0.168"),
    ("on", "4k", "0.42"),
]
VOICED = {"voice_list": [{"voice_id": "v"}], "prompt": "A man<<<voice_1>>>says"}


@pytest.mark.parametrize(("sound", "mode", "per_second"), PUBLISHED)
def test_every_cell_is_what_was_published(sound: str, mode: str, per_second: str) -> None:
    for seconds in range(3, 16):
        fields = {"sound": sound, "mode": mode, "duration": str(seconds)}
        assert BUILT_IN.estimate(fields) == Decimal(per_second) * seconds * 1_000_000


def test_every_sound_and_mode_of_the_specification_has_a_price_and_a_bound_with_a_voice() -> None:
    fields = schema.load("request")["$defs"]
    assert set(BUILT_IN.per_second) == {
        (sound, mode) for sound in (*fields["sound"]["enum"], "voice") for mode in fields["mode"]["enum"]
    }


def test_five_seconds_of_pro_with_sound_are_84_cents_and_a_thousand_are_840_dollars() -> None:
    fields = {"mode": "pro", "sound": "on", "duration": "5"}
    assert BUILT_IN.estimate(fields) == 840_000
    assert sum(BUILT_IN.estimate(fields) for _ in range(1000)) == 840_000_000


def test_fields_left_out_cost_what_their_defaults_cost() -> None:
    assert BUILT_IN.estimate({}) == 420_000
    assert BUILT_IN.estimate({"mode": "std", "sound": "off", "duration": "5"}) == 420_000


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"voice_list": [], "prompt": "A man<<<voice_1>>>says"}, False),
        ({"voice_list": [{"voice_id": "v"}], "prompt": "A man says"}, False),
        (VOICED, True),
        (
            {
                "voice_list": [{"voice_id": "v"}],
                "multi_prompt": [{"prompt": "a"}, {"prompt": "<<<voice_1>>>"}],
            },
            True,
        ),
    ],
)
def test_with_a_named_voice_the_estimate_is_a_bound(fields: dict[str, Any], expected: bool) -> None:
    assert BUILT_IN.is_bound(fields) is expected


@pytest.mark.parametrize("sound", ["off", "on"])
@pytest.mark.parametrize("mode", ["std", "pro", "4k"])
def test_the_bound_for_a_voice_is_twice_the_price_with_sound(mode: str, sound: str) -> None:
    with_sound = {"mode": mode, "sound": "on", "duration": "7"}
    assert BUILT_IN.estimate(VOICED | with_sound | {"sound": sound}) == 2 * BUILT_IN.estimate(with_sound)


def test_a_stated_bound_for_a_voice_beats_twice_the_price_with_sound() -> None:
    per_second = with_voice({("on", "std"): 100, ("on", "pro"): 200, ("voice", "std"): 150})
    assert dict(per_second) == {
        ("on", "std"): 100,
        ("on", "pro"): 200,
        ("voice", "std"): 150,
        ("voice", "pro"): 400,
    }


# -- what the API says it charged ------------------------------------------------------------------------------------


def quota(quota: Any, **more: Any) -> str:
    return json.dumps({"quota": quota, **more})


@pytest.mark.parametrize(
    ("units", "balance", "expected"),
    [
        pytest.param("6", None, 840_000, id="units"),
        pytest.param("6.0", None, 840_000, id="units, as a float prints"),
        pytest.param("0.5", "null", 70_000, id="half a unit"),
        pytest.param("6e0", None, 840_000, id="an exponent"),
        pytest.param(None, quota("0.84", list_price="1.2"), 840_000, id="a balance, and not its list price"),
        pytest.param("", quota("0.84"), 840_000, id="a balance beside empty units"),
        pytest.param("0", quota("0.84"), 840_000, id="a balance beside no units"),
        pytest.param("6", quota("0"), 840_000, id="units beside a balance that wasn't touched"),
        pytest.param("3", quota("0.42"), 840_000, id="the rest of a pack, and the rest from the balance"),
        pytest.param(None, quota(0.84), 840_000, id="a number"),
        pytest.param(None, '{"quota": 0.1000000000000000055}', 100_001, id="rounded up, read exactly"),
        pytest.param(None, quota("0.84", currency="USD"), 840_000, id="dollars by name"),
        pytest.param("0", quota("0"), 0, id="for nothing, by both"),
        pytest.param("0", None, None, id="a clip for nothing, by units alone"),
        pytest.param(None, quota("0.00"), None, id="a clip for nothing, by the balance alone"),
        pytest.param(None, None, None, id="nothing said"),
        pytest.param("", "{}", None, id="empty words"),
        pytest.param("6", quota("0.84", currency="CNY"), None, id="another currency"),
        pytest.param("6", quota("about 1"), None, id="one of two can't be read"),
        pytest.param("6", quota(True), None, id="a truth value"),
        pytest.param("6", quota(["0.84"]), None, id="a list"),
        pytest.param("6", "0.56", None, id="a balance that is a number alone"),
        pytest.param("6", '{"quota": "0", "quota": "5"}', None, id="a key twice"),
        pytest.param("6", "[" * 100_000, None, id="nested without end"),
        pytest.param("-6", None, None, id="negative"),
        pytest.param("NaN", None, None, id="not a number"),
        pytest.param("Infinity", None, None, id="infinite"),
        pytest.param(None, '{"quota": NaN}', None, id="not a number, in JSON"),
        pytest.param(None, '{"quota": Infinity}', None, id="infinite, in JSON"),
        pytest.param("1e99", None, None, id="absurd"),
        pytest.param("6" * 50, None, None, id="too long"),
        pytest.param("1,5", None, None, id="a comma"),
        pytest.param("$6", None, None, id="a sign"),
        pytest.param("٦", None, None, id="other digits"),
        pytest.param("True", None, None, id="a truth value as text"),
    ],
)
def test_a_charge_is_what_the_api_says_and_nothing_where_that_cannot_be_trusted(
    units: str | None, balance: str | None, expected: int | None
) -> None:
    assert BUILT_IN.charge(units, balance) == expected


@pytest.mark.parametrize(
    ("units", "balance", "expected"),
    [
        ("0", None, 0),
        ("", quota("0"), 0),
        ("6", None, 840_000),
        ("", None, None),
        ("free", None, None),
    ],
)
def test_a_failed_task_is_free_where_the_api_says_so_and_not_where_it_says_nothing(
    units: str, balance: str | None, expected: int | None
) -> None:
    assert BUILT_IN.charge(units, balance, failed=True) == expected


def test_the_price_of_a_unit_is_the_accounts_own() -> None:
    contract = Prices(BUILT_IN.per_second, unit=98_000, read_on="2026-11-01")
    assert contract.charge("6", None) == 588_000


@given(
    units=st.none() | st.text() | st.decimals().map(str) | st.floats().map(str),
    balance=st.none()
    | st.text()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.decimals().map(str),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["quota", "currency", "x"]), inner),
    ).map(json.dumps),
    failed=st.booleans(),
)
def test_no_words_of_an_api_make_a_charge_that_is_negative_or_absurd(
    units: str | None, balance: str | None, failed: bool
) -> None:
    charge = BUILT_IN.charge(units, balance, failed=failed)
    assert charge is None or 0 <= charge <= MOST_CHARGED


_AMOUNTS = st.decimals(0, 500, places=6)


@given(units=_AMOUNTS, taken=_AMOUNTS)
def test_a_charge_is_never_less_than_the_bill_and_less_than_a_micro_dollar_more(
    units: Decimal, taken: Decimal
) -> None:
    bill = (units * Decimal("0.14") + taken) * 1_000_000
    charge = BUILT_IN.charge(str(units), quota(str(taken)))
    assert charge is not None
    assert bill <= charge < bill + 1
