"""What the page of ``report`` costs: to build, to open, and to filter at each letter."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import BATCHGEN, MB, Contender, in_turn
from tests.bench.rows import Goal, Row
from tests.support.book import Book
from tests.support.browser import Browser, installed, opened

if TYPE_CHECKING:
    from playwright.async_api import Page

_LETTERS = """async () => {
    const query = document.getElementById("query");
    const times = [];
    for (const letter of "steam rises from") {
        query.value += letter;
        const begin = performance.now();
        query.dispatchEvent(new Event("input"));
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - begin);
    }
    return Math.max(...times);
}"""


def page(folder: Path, repetitions: int) -> Row:
    """A page of 10,000 clips in a browser, and how long one of 100,000 takes to build."""
    row = Row("the page of 10,000 clips, and of 100,000")
    builds = []
    for number in (10_000, 100_000):
        (folder / f"{number}").mkdir()
        with Book(folder / f"{number}") as book:
            book.add("first")
        book.grow(number - 1)
        name = f"report, {number:,} clips"
        builds.append(
            Contender(name, [*BATCHGEN, "report", "--ledger", "ledger.db"], book.folder, units=number)
        )
    in_turn(builds, repetitions)
    row.tell(*builds, unit="clips_per_second")
    size = (folder / "10000" / "ledger.html").stat().st_size
    row.goals += [
        Goal("bytes of the page of 10,000 clips", size / MB, 1, "MB"),
        Goal("100,000 clips: time", builds[1].seconds, 30, "s"),
        Goal("100,000 clips: memory", builds[1].peak / MB, 300, "MB"),
    ]
    if installed() is None:
        row.remarks.append("not opened: no browser is installed on this machine")
        return row
    with opened() as browser:
        shown, letter = zip(*(_open(browser, folder) for _ in range(repetitions)), strict=True)
    row.figures["browser"] = {
        "shown_ms": statistics.median(shown),
        "slowest_letter_ms": statistics.median(letter),
    }
    row.goals += [
        Goal("10,000 clips: on screen", statistics.median(shown), 500, "ms"),
        Goal("10,000 clips: the slowest letter", statistics.median(letter), 100, "ms"),
    ]
    return row


def _open(browser: Browser, folder: Path) -> tuple[float, float]:
    """Milliseconds until the page is there, and of its slowest letter."""
    times: list[float] = []

    async def look(page: Page) -> None:
        times.append(float(await page.get_attribute("html", "data-ready") or 0))
        times.append(float(await page.evaluate(_LETTERS)))

    browser.visit((folder / "10000" / "ledger.html").as_uri(), look)
    return times[0], times[1]
