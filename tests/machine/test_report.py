"""The page of ``batchgen report``, in a real browser: what a person finds on it, and that nothing on it can do harm.

Every visit fails where the page says anything on the console or asks for anything that isn't on this disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import stat
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from batchgen.judgements import Verdict
from batchgen.ledger import orders, runs, verdicts
from batchgen.ledger.budgets import set_budgets
from batchgen.ledger.orders import Wish
from batchgen.ledger.runs import RunRecord
from batchgen.models import State
from tests.support.book import KEY, NIGHT, Book
from tests.support.browser import ENDS, Browser, barriers
from tests.support.pictures import make_jpeg, make_png
from tests.support.program import Desk, Result

if TYPE_CHECKING:
    from playwright.async_api import Page

DAY = 86_400.0


def report(folder: Path, *options: str, ledger: Path | None = None) -> Result:
    (folder / "desk").mkdir(exist_ok=True)
    desk = Desk(folder / "desk")
    desk.env["POWERTOKENS_API_KEY"] = KEY
    return desk.run("report", "--ledger", str(ledger or folder / "ledger.db"), *options)


def url_of(path: Path, hash_: str = "") -> str:
    return f"file://{quote(str(path))}{hash_}"


def _run(number: int, ended: float | None, code: int | None, summary: str | None) -> RunRecord:
    host, began = os.uname().nodename, NIGHT + number * 3600
    return RunRecord(0, f"run-{number}", began, ended, "run", "[]", host, 99_999_999, "0.1.0", code, summary)


CAPPED = '{"jobs": {"downloaded": 1, "pending": 1}, "stopped": ["the deadline passed"]}'
REFUSED = json.dumps({"stopped": [f"the file /{'long/' * 60} can't be read"]})
RUNS = (
    _run(0, NIGHT + 7200, 4, CAPPED),
    _run(1, None, None, None),
    _run(2, NIGHT + 7230, 2, REFUSED),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night with everything in it, and its page."""
    folder = tmp_path_factory.mktemp("night")
    with Book(folder) as book:
        for number, name in enumerate(("mug.jpg", "wide.png", "tall.png")):
            size = ((640, 480), (900, 320), (320, 700))[number]
            make = make_jpeg if name.endswith("jpg") else make_png
            (folder / name).write_bytes(make(*size, seed=0x4080C0 + number))
        for before in (1, 2, 3):
            book.add(f"earlier-{before}", at=NIGHT - before * DAY, picture="mug.jpg", manifest="catalogue")
        mugs = [
            book.add("mug", take=take, at=NIGHT + take, picture="mug.jpg", words="Steam rises from the mug")
            for take in (1, 2, 3)
        ]
        book.add("bag", picture="wide.png", mode="4k", duration="10", words="The bag turns")
        book.add("shoe", picture="tall.png", manifest="catalogue", words="Laces loosen", seconds=900.0)
        book.add("lost", clip=False, picture="wide.png")
        for job, frame in (("risky", 17), ("risky-2", 99)):
            for number in (1, 2):
                said = f"risk control refused frame {frame}"
                code = "failed_content"
                book.add(job, State.FAILED, retry=number, code=code, message=said, picture="mug.jpg")
        book.add("policy", State.REJECTED, code="1301", message="refused by the content policy")
        book.add("maybe", State.UNKNOWN, message="no answer")
        book.add("ready", State.SUCCEEDED)
        book.add("running", State.SUBMITTED)
    verdicts.give(str(book.path), [Verdict(mugs[1].external_task_id, NIGHT, "keep", None, "me")])
    orders.order(str(book.path), [Wish("shop", "bag")], at=NIGHT, by="me")
    for run in RUNS:
        runs.add(str(book.path), run)
    assert report(folder).code == 0
    return folder


async def names(page: Page) -> list[str]:
    """The jobs that are shown, in order."""
    return [text.strip() for text in await page.locator("#cards .job").all_text_contents()]


async def until(page: Page, condition: str) -> None:
    """Wait for a condition in the page's script. Playwright's own way is refused by the page's policy."""
    end = asyncio.get_running_loop().time() + ENDS
    while not await page.evaluate(condition):
        assert asyncio.get_running_loop().time() < end, condition
        await asyncio.sleep(0.02)


async def search(page: Page, text: str) -> None:
    await page.fill("#query", text)


# -- what is on it -----------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_night_brought_beside_the_nights_before(
    browser: Browser, folder: Path
) -> None:
    async def look(page: Page) -> None:
        numbers = dict(
            zip(
                await page.locator(".number dt").all_inner_texts(),
                await page.locator(".number .value").all_inner_texts(),
                strict=True,
            )
        )
        assert numbers == {"Done": "6", "Failed": "3", "Waiting": "2", "Unknown": "1", "Money": "$7.28"}
        assert "usually 1" in await page.inner_text(".number.done")
        assert await page.locator("table tbody tr").count() >= 8  # four nights, four days
        assert "at most" in str(await page.get_attribute("svg.slots", "aria-label"))

    browser.visit(url_of(folder / "ledger.html"), look)


def test_the_page_has_the_newest_runs_with_how_they_ended_and_links_to_the_clips_of_their_nights(
    browser: Browser, folder: Path
) -> None:
    async def look(page: Page) -> None:
        rows = page.locator("[aria-labelledby=runs] tbody tr")
        refused, killed, capped = [" ".join(text.split()) for text in await rows.all_inner_texts()]
        assert "30 s" not in killed and "– killed run" in killed
        assert " exit 2 run; the file /long/" in refused
        assert capped.endswith("2 h exit 4 run; 1 of 2 jobs done; the deadline passed")
        assert [await rows.nth(n).get_attribute("title") for n in range(3)] == [
            f"run_id run-{n}" for n in (2, 1, 0)
        ]
        await rows.nth(2).locator("a").click()
        assert (
            await page.input_value("#query")
            == f"night:{datetime.fromtimestamp(NIGHT - DAY / 2, UTC):%Y-%m-%d}"
        )
        assert "mug" in await names(page)

    browser.visit(url_of(folder / "ledger.html"), look)


def test_what_is_left_of_each_budget_that_is_set_is_said(tmp_path: Path) -> None:
    with Book(tmp_path) as book:
        book.add("mug", at=time.time())
    said = "Budget left:"
    assert report(tmp_path).code == 0
    assert said not in (tmp_path / "ledger.html").read_text()
    set_budgets(
        str(book.path), {"day": 1_000_000, "month": 560_000}, "Asia/Tokyo", usual="UTC", at=0.0, by=None
    )
    assert report(tmp_path).code == 0
    text = re.sub(r"<[^>]+>|\s+", " ", (tmp_path / "ledger.html").read_text())
    (line,) = re.findall(rf"{said}.*?spent\.", re.sub(" +", " ", text))
    assert re.fullmatch(
        rf"{said} \$0\.44 of the day's \$1\.00 until [-\d]+ 00:00 \(Asia/Tokyo\);"
        r" \$0\.00 of the month's \$0\.56 until [-\d]+ 00:00 \(Asia/Tokyo\)\..*",
        line,
    )


def test_failures_stand_by_cause_with_what_to_do_and_lead_to_their_clips(
    browser: Browser, folder: Path
) -> None:
    async def look(page: Page) -> None:
        causes = await page.locator(".notice h3").all_inner_texts()
        assert any(text.startswith("2 × The picture or the prompt was turned down") for text in causes)
        assert "--retry-failed" in await page.inner_text(".notice.refused")
        await page.click(".notice.refused h3 a")
        assert await names(page) == ["policy"]
        assert page.url.endswith("#q=cause:refused-1301")

    browser.visit(url_of(folder / "ledger.html"), look)


def test_what_is_paid_and_may_be_lost_is_said(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        text = await page.inner_text("section:has(#risks)")
        assert "1 × Unknown outcome" in text and "batchgen resolve JOB" in text
        assert "1 × Paid, and no longer on this disk" in text
        await search(page, "risk:any")
        assert set(await names(page)) == {"maybe", "ready", "lost"}

    browser.visit(url_of(folder / "ledger.html"), look)


def test_a_card_has_the_clip_beside_its_picture_and_what_was_asked(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        await search(page, "job:bag")
        card = page.locator(".card")
        assert await card.locator(".source img").count() == 1
        await card.scroll_into_view_if_needed()  # what isn't in sight has no text yet
        text = await card.inner_text()
        for part in ("shop", "bag", "The bag turns", "4k · 10 s · $0.56", "Take 2 is ordered"):
            assert part in text
        await until(page, "document.querySelector('.source img').naturalWidth > 100")

    browser.visit(url_of(folder / "ledger.html"), look)


def test_a_long_reason_is_shown_in_part_until_it_is_asked_for_and_whole_in_print(
    browser: Browser, tmp_path: Path
) -> None:
    with Book(tmp_path) as book:
        book.add("long", State.FAILED, message="it isn't allowed in this region; " * 30)
        book.add("short", State.FAILED, message="it isn't allowed")
    assert report(tmp_path).code == 0

    async def look(page: Page) -> None:
        height = "document.querySelector('.message.long').clientHeight"
        whole = "document.querySelector('.message.long').scrollHeight"
        assert await page.locator(".whole:visible").count() == await page.locator(".long").count() == 1
        assert await page.evaluate(f"{height} < {whole} / 2")
        await page.emulate_media(media="print")
        assert await page.evaluate(f"{height} >= {whole}")
        assert await page.locator(".whole:visible").count() == 0
        await page.emulate_media(media="screen")
        await page.click(".whole:visible")
        assert await page.locator(".whole:visible, .long").count() == 0

    browser.visit(url_of(tmp_path / "ledger.html"), look)


def test_takes_of_a_job_stand_side_by_side(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        await search(page, "job:mug")
        assert await names(page) == ["mug"]
        tops = await page.evaluate(
            "[...document.querySelectorAll('figure.clip .box')].map(box => box.getBoundingClientRect().top)"
        )
        assert len(tops) == 3 and len(set(tops)) == 1
        assert await page.locator("figure.kept .state").text_content() == "Take 2 · done"

    browser.visit(url_of(folder / "ledger.html"), look)


# -- filter and order --------------------------------------------------------------------------------------------------


FILTERS: tuple[tuple[str, set[str]], ...] = (
    ("steam", {"mug"}),
    ("STEAM rises", {"mug"}),
    ('"steam from"', set()),
    ("state:failed", {"risky", "risky-2"}),
    ("state:rejected", {"policy"}),
    ("manifest:catalogue -earlier", {"shoe"}),
    ("manifest:cat*", {"shoe", "earlier-1", "earlier-2", "earlier-3"}),
    ("take:>1", {"mug"}),
    ("verdict:keep", {"mug"}),
    ("mode:4k", {"bag"}),
    ("length:10", {"bag"}),
    ("cost>0.6", {"risky", "risky-2"}),
    ("cost:>=0.56 night:2026-11-28", {"earlier-1"}),
    ("risk:missing", {"lost"}),
    ('"frame 99"', {"risky-2"}),
    ("take:x", set()),
    (":", set()),
)


def test_a_filter_leaves_what_fits_all_its_words(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        for query, expected in FILTERS:
            await search(page, query)
            assert set(await names(page)) == expected, query
            assert await page.locator("#nothing").is_visible() == (not expected)

    browser.visit(url_of(folder / "ledger.html"), look)


def test_filter_and_order_stand_in_the_address_and_come_back_with_it(browser: Browser, folder: Path) -> None:
    kept: list[str] = []

    async def choose(page: Page) -> None:
        await page.click(".chip.done")
        await page.select_option("#sort", "slowest")
        kept.append(page.url.partition("#")[2])
        assert (await names(page))[0] == "shoe"
        assert await page.get_attribute(".chip.done", "aria-pressed") == "true"

    async def come_back(page: Page) -> None:
        assert await page.input_value("#query") == "state:done"
        assert (await names(page))[0] == "shoe"
        await page.click(".chip.done")
        assert len(await names(page)) == 13

    browser.visit(url_of(folder / "ledger.html"), choose)
    browser.visit(url_of(folder / "ledger.html", f"#{kept[0]}"), come_back)


def test_the_order_is_by_time_name_or_trouble(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        assert (await names(page))[-3:] == ["earlier-1", "earlier-2", "earlier-3"]
        await page.select_option("#sort", "name")
        assert (await names(page))[:4] == ["earlier-1", "earlier-2", "earlier-3", "shoe"]
        await page.select_option("#sort", "problems")
        assert (await names(page))[0] == "maybe"

    browser.visit(url_of(folder / "ledger.html"), look)


# -- clips -------------------------------------------------------------------------------------------------------------


def test_a_clip_is_loaded_when_it_is_asked_for_and_one_plays_at_a_time(
    browser: Browser, folder: Path
) -> None:
    asked: list[str] = []

    async def look(page: Page) -> None:
        page.on("request", lambda request: asked.append(request.url))
        assert await page.locator("video").count() == 0 and not any(".mp4" in one for one in asked)
        await page.click("[aria-label='Play shop/mug']")
        await until(page, "document.querySelector('video')?.currentTime > 0")
        assert "clips/shop/mug.mp4" in str(await page.get_attribute("video", "src"))
        await page.click("[aria-label='Play shop/bag']")
        await until(page, "document.querySelector('video')?.currentTime > 0")
        assert await page.locator("video").count() == 1
        assert "clips/shop/bag.mp4" in str(await page.get_attribute("video", "src"))
        await page.keyboard.press("Escape")
        assert await page.locator("video").count() == 0

    browser.visit(url_of(folder / "ledger.html"), look)


# -- keys --------------------------------------------------------------------------------------------------------------


def test_the_cards_are_walked_and_played_by_keys_with_the_focus_in_sight(
    browser: Browser, folder: Path
) -> None:
    async def at(page: Page) -> str:
        return str(await page.evaluate("document.activeElement.querySelector('.job')?.textContent ?? ''"))

    async def look(page: Page) -> None:
        await page.select_option("#sort", "name")
        await page.keyboard.press("Escape")
        await page.keyboard.press("ArrowRight")
        assert await at(page) == "earlier-1"
        await page.keyboard.press("ArrowRight")
        assert await at(page) == "earlier-2"
        await page.keyboard.press("ArrowDown")
        below = await at(page)
        assert below not in ("", "earlier-1", "earlier-2")
        await page.keyboard.press("ArrowUp")
        assert await at(page) == "earlier-2"
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        await page.keyboard.press("Enter")
        await until(page, "document.querySelector('video')?.currentTime > 0")
        await page.keyboard.press("Escape")
        await page.keyboard.press("/")
        await page.keyboard.type("state:failed")
        assert set(await names(page)) == {"risky", "risky-2"}
        await page.keyboard.press("ArrowDown")
        assert await at(page) == "risky"

    browser.visit(url_of(folder / "ledger.html"), look)


def test_a_take_is_chosen_by_its_number_and_judged_by_a_letter(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        await search(page, "job:mug")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("3")
        await page.keyboard.press("r")
        assert (await page.input_value("#command")).endswith(" shop/mug@3")
        assert await page.get_attribute("[aria-label='Retake shop/mug@3']", "aria-pressed") == "true"
        await page.keyboard.press("r")
        assert await page.locator("#tray").is_hidden()

    browser.visit(url_of(folder / "ledger.html"), look)


# -- choices -----------------------------------------------------------------------------------------------------------


def test_choices_become_one_line_to_copy_and_outlast_a_reload(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        for name in ("shop/mug", "shop/bag", "catalogue/shoe"):
            await page.click(f"[aria-label='Retake {name}']")
        option = f"--ledger {folder / 'ledger.db'}"
        assert (
            await page.input_value("#command") == f"batchgen retake {option} shop/mug shop/bag catalogue/shoe"
        )
        await page.fill("[aria-label='What should be different in the next take of bag']", "it's too slow")
        await page.keyboard.press("Enter")
        lines = (await page.input_value("#command")).split("\n")
        assert lines[1] == f"batchgen retake {option} --note 'it'\"'\"'s too slow' shop/bag"
        await page.reload()
        await page.wait_for_selector("html[data-ready]")
        assert (await page.input_value("#command")).split("\n") == lines
        await page.click("#forget")
        assert await page.locator("#tray").is_hidden()

    browser.visit(url_of(folder / "ledger.html"), look)


def test_a_filter_by_buttons_takes_the_place_of_one_of_its_kind_and_escape_clears_it(
    browser: Browser, folder: Path
) -> None:
    async def look(page: Page) -> None:
        labels = [" ".join(text.split()) for text in await page.locator(".chip").all_inner_texts()]
        assert labels[:2] == ["done 9", "failed 2"] and labels[-2:] == ["keep 1", "not judged 7"]
        await page.click(".chip.done")
        await page.click(".chip.keep")
        assert await page.input_value("#query") == "state:done verdict:keep" and await names(page) == ["mug"]
        assert page.url.endswith("#q=state:done+verdict:keep")
        await page.click(".chip.failed")
        assert await page.input_value("#query") == "verdict:keep state:failed" and await names(page) == []
        await page.click("#clear")
        assert len(await names(page)) == 13 and await page.locator("#nothing").is_hidden()
        await search(page, "job:mug")
        await page.keyboard.press("Escape")
        assert await page.input_value("#query") == "" and len(await names(page)) == 13
        await page.goto(page.url.partition("#")[0] + "#sort=nonsense&q=job:shoe")
        await until(page, "document.querySelectorAll('.card').length === 1")
        assert await page.input_value("#sort") == "newest"
        await page.evaluate("location.hash = 'risks'")  # a place on the page is no filter
        await page.evaluate("new Promise(requestAnimationFrame)")
        assert await page.input_value("#query") == "job:shoe"

    browser.visit(url_of(folder / "ledger.html"), look)


def test_keys_that_are_the_browsers_own_and_letters_in_a_note_judge_nothing(
    browser: Browser, folder: Path
) -> None:
    async def look(page: Page) -> None:
        await search(page, "job:mug")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Control+k")
        await page.keyboard.press("Alt+r")
        assert await page.locator("#tray").is_hidden()
        await page.keyboard.press("2")
        assert await page.locator("figure.chosen .state").text_content() == "Take 2 · done"
        await page.keyboard.press("n")
        await page.keyboard.type("k r")
        await page.keyboard.press("Escape")
        assert await page.evaluate("document.activeElement.classList.contains('card')")
        assert (await page.input_value("#command")).endswith("--note 'k r' shop/mug@2")

    browser.visit(url_of(folder / "ledger.html"), look)


def test_many_choices_are_several_lines_and_a_name_that_looks_like_an_option_is_a_name(
    browser: Browser, folder: Path
) -> None:
    async def look(page: Page) -> None:
        chosen = [[f"shop/{number}", {"verdict": "keep", "note": ""}] for number in range(401)]
        chosen.append(["-shop/x", {"verdict": "retake", "note": ""}])
        await page.evaluate(
            "(chosen) => sessionStorage.setItem(`batchgen ${location.pathname}`, JSON.stringify(chosen))",
            chosen,
        )
        await page.reload()
        await page.wait_for_selector("html[data-ready]")
        keep, more, again = (await page.input_value("#command")).split("\n")
        assert keep.startswith("batchgen retake --keep") and keep.endswith(" shop/399")
        assert more.startswith("batchgen retake --keep") and more.endswith("ledger.db shop/400")
        assert again.endswith(" -- -shop/x")
        assert (await page.inner_text("#tray-count")).startswith("401 to keep, 1 to take again: run this")
        await page.click("#forget")
        await page.reload()
        await page.wait_for_selector("html[data-ready]")
        assert await page.locator("#tray").is_hidden()

    browser.visit(url_of(folder / "ledger.html"), look)


# -- phone, dark, print, assistance ------------------------------------------------------------------------------------


def test_nothing_is_wider_than_a_phone(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for table in ("nights", "runs", "money"):
            assert await page.evaluate(
                f"(box => box.scrollWidth <= box.clientWidth)(document.querySelector('[aria-labelledby={table}] .scroll'))"
            )
        assert await page.locator("[aria-labelledby=money] td:visible").count() == 3 * (
            4 + 1 + 2
        )  # days, all, manifests
        assert await page.evaluate(
            "[...document.querySelectorAll('main button, main select, main input')].filter(one => one.offsetParent)"
            ".every(one => one.getBoundingClientRect().height >= 34)"
        )

    browser.visit(
        url_of(folder / "ledger.html"),
        look,
        viewport={"width": 390, "height": 844},
        is_mobile=True,
        has_touch=True,
    )


def test_the_page_is_dark_where_that_is_wanted(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        red, *_ = re.findall(
            r"\d+", await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        )
        assert int(red) < 40

    browser.visit(url_of(folder / "ledger.html"), look, color_scheme="dark")


def test_a_print_has_the_cards_and_no_controls(browser: Browser, folder: Path) -> None:
    async def look(page: Page) -> None:
        await page.emulate_media(media="print")
        assert await page.locator("#bar").is_hidden() and await page.locator(".judge").first.is_hidden()
        assert await page.locator(".card").first.is_visible()
        assert (await page.pdf(format="A4")).startswith(b"%PDF")

    browser.visit(url_of(folder / "ledger.html"), look)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, folder: Path, scheme: str) -> None:
    async def look(page: Page) -> None:
        await page.click("#help-button")
        await page.click("[aria-label='Retake shop/mug']")
        assert await barriers(page) == []

    browser.visit(url_of(folder / "ledger.html"), look, color_scheme=scheme)


# -- hostile texts -----------------------------------------------------------------------------------------------------

HOSTILE = (
    "</script><script>console.log('script')</script>",
    "<!--<script>",
    "<img src=x onerror=console.log('image')>",
    "javascript:console.log('link')",
    "\"'><svg onload=console.log('svg')>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066 \u200b invisible",
    "=cmd|' /C calc'!A0 $(touch pwned) `touch pwned`",
    "a\nb\r\n\x1b[31m",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with markup in every field, in a folder whose name has all that a URL minds."""
    folder = tmp_path_factory.mktemp("it's 100% #1 ?&ü") / "javascript:x"
    folder.mkdir()
    with Book(folder) as book:
        for number, text in enumerate(HOSTILE):
            picture = f"{number} {text[:8].replace('/', '_')}%20#?.png"
            (folder / picture).write_bytes(make_png(seed=number))
            job = text.replace("/", "|")
            book.add(
                job,
                words=text,
                manifest=f"m{number} {text[:20].replace('/', '_')}",
                picture=picture,
                at=NIGHT + number,
            )
            book.add(f"f{number}", State.FAILED, words=text, message=text, code=text[:20])
            book.add(f"r{number}", State.REJECTED, words=text, message=text, code=text[:20])
    assert report(folder).code == 0
    return folder


def test_markup_in_every_field_is_text(browser: Browser, hostile: Path) -> None:
    async def look(page: Page) -> None:
        text = await page.inner_text("body")
        assert "<img src=x onerror=console.log('image')>" in text and "{{ 7 * 7 }}" in text
        assert "\u202e" not in text and "\\u202e" in text and "\x1b" not in text
        assert await page.locator("img[src=x], svg[onload], #cards script").count() == 0
        assert await page.evaluate("document.scripts.length") == 2
        links = await page.evaluate("[...document.querySelectorAll('a')].map(one => one.protocol)")
        assert set(links) == {"file:"}

    browser.visit(url_of(hostile / "ledger.html"), look)


def test_clips_and_pictures_are_found_whatever_their_names_are(browser: Browser, hostile: Path) -> None:
    async def look(page: Page) -> None:
        await search(page, "state:done")
        plays = await page.locator(".play").all()
        pictures = await page.locator(".source img").all()
        assert len(plays) == len(pictures) == len(HOSTILE)
        for button in plays:
            await button.click()
            await until(page, "document.querySelector('video')?.readyState >= 2")
            await page.keyboard.press("Escape")
        for image in pictures:
            await image.scroll_into_view_if_needed()
            await image.evaluate("image => image.decode()")
        targets = await page.evaluate("[...document.querySelectorAll('.source a')].map(one => one.href)")
        assert len(targets) == len(HOSTILE)

    browser.visit(url_of(hostile / "ledger.html"), look)


def test_a_shell_reads_back_the_names_that_were_chosen(browser: Browser, hostile: Path) -> None:
    lines: list[str] = []

    async def look(page: Page) -> None:
        await search(page, "state:done")
        await page.select_option("#sort", "oldest")
        for button in await page.locator("button.retake").all():
            await button.click()
        lines.append(await page.input_value("#command"))

    browser.visit(url_of(hostile / "ledger.html"), look)
    (line,) = lines[0].split("\n")
    words = line.replace("batchgen retake --ledger ", "printf '%s\\0' ", 1)
    came = subprocess.run(["bash", "-c", words], cwd=hostile, capture_output=True, check=True).stdout.split(
        b"\0"
    )
    ledger, *chosen, _ = [word.decode("utf-8", "surrogatepass") for word in came]
    assert ledger == str(hostile / "ledger.db")
    expected = [
        f"m{number} {text[:20].replace('/', '_')}/{text.replace('/', '|')}"
        for number, text in enumerate(HOSTILE)
    ]
    assert chosen == expected and not (hostile / "pwned").exists()


def test_the_policy_lets_nothing_run_but_the_pages_own_script(browser: Browser, hostile: Path) -> None:
    text = (hostile / "ledger.html").read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert "unsafe" not in policy[1] and "default-src &#39;none&#39;" in policy[1]
    refused: list[str] = []

    async def look(page: Page) -> None:
        page.on("console", lambda message: refused.append(message.text))
        await page.evaluate(
            "document.addEventListener('securitypolicyviolation', (one) => (window.refused ??= []).push(one.violatedDirective))"
        )
        for tag in ("script", "style"):
            await page.evaluate(
                "(tag) => { const one = document.createElement(tag); one.append('window.ran = 1'); document.body.append(one); }",
                tag,
            )
        await page.evaluate("fetch('https://example.com/').catch(() => {})")
        await until(page, "window.refused?.length >= 3")
        assert await page.evaluate("window.ran") is None

    browser.visit(url_of(hostile / "ledger.html"), look, may=lambda one: True)
    assert len(refused) >= 3


def test_the_key_is_nowhere_in_a_page(tmp_path: Path) -> None:
    with Book(tmp_path) as book:
        book.add("plain", words=f"a prompt with {KEY} in it")
        book.add("failed", State.FAILED, message=f"the header was {KEY}", code="1200")
    assert report(tmp_path).code == 0
    text = (tmp_path / "ledger.html").read_text("utf-8")
    assert KEY not in text + data_of(text) and "[key]" in data_of(text)
    assert "signed=secret" not in text + data_of(text)


def data_of(text: str) -> str:
    """What the page's script reads."""
    import base64
    import zlib

    packed = re.search(r'id="data">([^<]+)</script>', text)
    assert packed
    return zlib.decompress(base64.b64decode(packed[1])).decode()


# -- the file ----------------------------------------------------------------------------------------------------------


def test_the_page_is_private_and_lies_beside_the_ledger_or_where_it_is_wanted(
    folder: Path, tmp_path: Path
) -> None:
    assert stat.S_IMODE((folder / "ledger.html").stat().st_mode) == 0o600
    came = report(folder, "--output", str(tmp_path / "a page.html"))
    assert came.out == f"{tmp_path / 'a page.html'}\n"
    assert len(list((tmp_path / "a page_files").iterdir())) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a page.html", "a page_files"]


def test_a_file_that_is_no_page_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.html").write_text("mine")
    came = report(folder, "--output", str(tmp_path / "notes.html"))
    assert came.code == 2 and "is no page that batchgen made" in came.err
    assert (tmp_path / "notes.html").read_text() == "mine"


def test_without_a_ledger_it_is_the_ledger_that_is_missed_and_not_its_folder(tmp_path: Path) -> None:
    came = report(tmp_path, ledger=tmp_path / "state" / "ledger.db")
    assert (came.code, came.out) == (2, "") and "there is no ledger at" in came.err


def test_a_thumbnail_is_made_once_and_never_of_another_picture(tmp_path: Path) -> None:
    (tmp_path / "cup.png").write_bytes(make_png(seed=1))
    (tmp_path / "other.png").write_bytes(make_png(seed=2))
    with Book(tmp_path) as book:
        book.add("cup", picture="cup.png")
        book.add("other", picture="other.png")
    (tmp_path / "other.png").write_bytes(make_png(seed=3))
    assert report(tmp_path, "--json").json["thumbnails"] == 1
    (thumbnail,) = (tmp_path / "ledger_files").iterdir()
    made = thumbnail.stat().st_mtime_ns
    (tmp_path / "cup.png").unlink()
    assert report(tmp_path, "--json").json["thumbnails"] == 1
    assert thumbnail.stat().st_mtime_ns == made


def test_an_empty_ledger_has_a_page_that_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    from batchgen.ledger.writer import Ledger

    Ledger.open(str(tmp_path / "ledger.db"), origin="https://api.example").close()
    assert report(tmp_path).code == 0

    async def look(page: Page) -> None:
        assert "batchgen run manifests/" in await page.inner_text("header")

    browser.visit(url_of(tmp_path / "ledger.html"), look)


# -- many clips --------------------------------------------------------------------------------------------------------


def test_ten_thousand_clips_are_small_and_there_at_once(browser: Browser, tmp_path: Path) -> None:
    """The bounds leave room for a busy machine; ``make bench`` measures."""
    with Book(tmp_path) as book:
        book.add("first")
    book.grow(9_999)
    (tmp_path / "ledger_files").mkdir()
    (tmp_path / "one.jpg").write_bytes(make_jpeg(32, 24))
    for number in range(1, 10_000):
        name = hashlib.sha256(str(number).encode()).hexdigest()[:16]
        os.link(tmp_path / "one.jpg", tmp_path / "ledger_files" / f"{name}.jpg")
    came = report(tmp_path, "--json").json
    assert (came["takes"], came["thumbnails"]) == (10_000, 9_999)
    assert came["bytes"] <= 1_000_000

    async def look(page: Page) -> None:
        assert int(str(await page.get_attribute("html", "data-ready"))) < 3000
        await until(page, "document.querySelectorAll('.card').length === 200")
        took = await page.evaluate(
            """async () => {
                const query = document.getElementById("query");
                const times = [];
                for (const letter of "steam") {
                    query.value += letter;
                    const begin = performance.now();
                    query.dispatchEvent(new Event("input"));
                    await new Promise(requestAnimationFrame);
                    times.push(performance.now() - begin);
                }
                return Math.min(...times);
            }"""
        )
        assert took < 500
        await search(page, "")
        await until(page, "document.querySelectorAll('.card').length === 200")
        await page.click("#more")
        assert await page.locator(".card").count() == 400
        where = "[...document.getElementById('cards').children].indexOf(document.activeElement)"
        assert await page.evaluate(where) == 200  # the first of those that came
        for key, place, shown in (
            ("End", 399, 400),
            ("ArrowRight", 400, 600),
            ("Home", 0, 600),
            ("End", 599, 600),
        ):
            await page.keyboard.press(key)
            assert (await page.evaluate(where), await page.locator(".card").count()) == (place, shown), key
        await page.keyboard.press("ArrowDown")
        assert await page.evaluate(where) > 599 and await page.locator(".card").count() == 800
        assert await page.locator("#cards img:not([loading=lazy])").count() == 0

    browser.visit(url_of(tmp_path / "ledger.html"), look)
