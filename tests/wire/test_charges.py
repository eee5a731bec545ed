"""What the API charges, beside the estimates: a run warns once where they differ, and all sums agree with the journal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchgen.amounts import micros
from batchgen.cli.export_rows import export_row
from batchgen.ledger.costs import Sums
from batchgen.ledger.reader import Records
from batchgen.ledger.transitions import counted
from batchgen.money.prices import BUILT_IN, VOICE, Prices
from batchgen.page.data import Account, gather
from batchgen.page.nights import Amounts
from batchgen.page.render import overview
from batchgen.run.charges import drift
from batchgen.run.events import Noticed
from tests.support.nights import Night, play
from tests.wire.test_job_names import record

#: What the journal's tasks cost, written down a second time: micro-dollars for each second.
PRICES = {"std": 84_000, "pro": 112_000}


def at(factor: int) -> Prices:
    """Prices so many times the built-in ones; the price of a unit stays."""
    return replace(
        BUILT_IN,
        per_second={key: factor * price for key, price in BUILT_IN.per_second.items()},
        read_on="2020-01-01",
    )


def warnings(night: Night) -> list[str]:
    return [
        one.text or "" for one in night.heard if isinstance(one, Noticed) and one.action == "prices_differ"
    ]


def test_a_run_says_once_that_its_prices_are_not_the_bills() -> None:
    async def scene(night: Night) -> None:
        ran = await night.run(prices=at(2))
        assert (ran.code, ran.tally.buckets) == (0, {"downloaded": 4})  # a warning is no exit code
        (text,) = warnings(night)
        assert "was charged $0.42 and had been estimated at $0.84" in text
        assert "prices of 2020-01-01" in text and "`batchgen spend`" in text
        assert [one.level for one in night.heard if isinstance(one, Noticed)] == ["warning"]

    play(scene, 4)


def test_a_run_whose_clips_cost_what_was_estimated_says_nothing() -> None:
    async def scene(night: Night) -> None:
        assert (await night.run()).code == 0
        assert warnings(night) == []

    play(scene, 4)


@pytest.mark.parametrize(
    ("charged", "estimate", "voice", "warned"),
    [
        (420_000, 420_000, False, False),
        (420_001, 420_000, False, True),
        (419_999, 420_000, False, True),
        (None, 420_000, False, False),
        (420_000, None, False, False),
        (420_000, 1_260_000, True, False),  # an upper bound that holds
        (1_260_001, 1_260_000, True, True),
    ],
)
def test_a_bound_has_to_hold_and_a_price_to_be_met(
    charged: int | None, estimate: int | None, voice: bool, warned: bool
) -> None:
    canonical = '{"mode":"std","duration":"5","prompt":"<<<voice_1>>> hums","voice_list":[{"voice_id":"1"}]}'
    row = record("m", "tote")._replace(estimate=estimate)
    row = row._replace(canonical=canonical) if voice else row
    assert BUILT_IN.per_second[VOICE, "std"] * 5 == 1_260_000
    assert (drift(row, {"charged": charged}, BUILT_IN) is not None) == warned


def test_the_sums_of_spend_export_and_the_journal_agree_after_nights_of_all_kinds() -> None:
    async def scene(night: Night) -> None:
        for _ in range(3):
            await night.run()
        account = night.sandbox.account
        made = {task.id: task.order.fields for task in account.tasks}
        rows = night.rows()
        assert {row.task_id for row in rows if row.task_id} == set(made)
        done = [row for row in rows if row.state.value == "downloaded"]
        assert done and len(done) < len(made)  # some failed, and are free here
        bill = sum(
            PRICES[made[row.task_id or ""]["mode"]] * int(made[row.task_id or ""]["duration"]) for row in done
        )
        total = Sums()
        with Records.read(str(night.ledger)) as ledger:
            for _, sums in ledger.costs.by_quarter():
                total.add(sums)
            exported = [export_row(row, fields, current=now) for row, fields, now in ledger.exported()]
        assert total.charged == bill == sum(micros(row["charged_usd"] or 0) for row in exported)
        assert total.estimated == sum(micros(row["cost_usd_estimate"] or 0) for row in exported)
        assert total.reserved + total.charged == sum(map(counted, rows))

    jobs = [
        {"mode": ("std", "pro")[n % 2], "duration": ("5", "10")[n % 3 == 0], "prompt": f"x {n}"}
        for n in range(24)
    ]
    play(scene, jobs, "task_fails=0.4", "refuse_policy=0.1", "reset_after=0.1", task_seconds=(60.0, 360.0))


def test_the_page_has_the_sums_of_spend_and_says_that_the_prices_are_old() -> None:
    async def scene(night: Night) -> None:
        await night.run(prices=at(2))
        with Records.read(str(night.ledger)) as ledger:
            page = gather(ledger, night.loop.now(), account=Account(at(2)))
            corrected = gather(ledger, night.loop.now(), account=Account(BUILT_IN))
            total = Sums()
            for name, sums in ledger.costs.by_manifest():
                assert name == "m"
                total.add(sums)
        amounts = Amounts(total.estimated, total.charged, total.difference)
        assert amounts.difference < 0 < amounts.charged
        assert (page.money.all, page.money.by_manifest) == (amounts, [amounts])
        assert sum(one.money.charged for one in page.nights) == total.charged
        assert sum(one.money.difference for one in page.nights) == total.difference
        text = overview(page)
        assert f"${total.charged / 1e6:,.2f} charged as the API says" in text and "-$" in text
        assert "The price table is not the bill" in text and "prices of 2020-01-01" in text
        assert corrected.money.all == amounts and corrected.drift is None  # nothing is left to be done

    play(scene, 12, "task_fails=0.2")


def test_a_page_whose_bill_is_as_estimated_warns_of_nothing() -> None:
    async def scene(night: Night) -> None:
        await night.run()
        with Records.read(str(night.ledger)) as ledger:
            page = gather(ledger, night.loop.now())
        assert page.drift is None and "The price table is not" not in overview(page)

    play(scene, 6, "task_fails=0.3")
