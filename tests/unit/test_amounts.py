"""Money is whole micro-dollars: read from what people and JSON write, and shown without a loss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.amounts import LARGEST, about, dollars, micros, shown

AMOUNTS = st.integers(-LARGEST, LARGEST)


@given(AMOUNTS)
def test_an_amount_comes_back_from_text_and_from_json(amount: int) -> None:
    assert micros(shown(amount).replace("$", "").replace(",", "")) == amount
    assert micros(dollars(amount)) == amount


@pytest.mark.parametrize(
    ("written", "amount"),
    [("0.84", 840_000), (0.84, 840_000), (1, 1_000_000), ("0.0000016", 2), (0.1 + 0.2, 300_000)],
)
def test_what_people_write_is_read_to_the_micro_dollar(written: float | str, amount: int) -> None:
    assert micros(written) == amount


@pytest.mark.parametrize("written", ["", "much", "NaN", float("inf"), 10**10, 10**400, "1e400"])
def test_what_is_no_amount_is_refused(written: float | str) -> None:
    with pytest.raises(ValueError, match="is no amount"):
        micros(written)


@pytest.mark.parametrize(
    ("amount", "exact", "cents"),
    [
        (840_000, "$0.84", "$0.84"),
        (-1_234_500_600, "-$1,234.5006", "-$1,234.50"),
        (5_000, "$0.005", "$0.01"),
        (4_999, "$0.004999", "$0.00"),
        (0, "$0.00", "$0.00"),
    ],
)
def test_people_see_all_digits_or_cents(amount: int, exact: str, cents: str) -> None:
    assert (shown(amount), about(amount)) == (exact, cents)
