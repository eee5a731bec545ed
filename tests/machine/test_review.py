"""``batchgen review`` as a process: its address, its end, its environment, and a kill while a verdict is written."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.ledger import orders
from batchgen.ledger.orders import Wish
from batchgen.ledger.reader import Records
from batchgen.models import Record, State
from tests.support.book import NIGHT, Book
from tests.support.browser import Browser, barriers
from tests.support.program import ENDS, KEY, Desk, until

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.usefixtures("desk")


@pytest.fixture
def tote(desk: Desk) -> Record:
    with Book(desk.folder) as book:
        return book.add("tote")


@contextmanager
def review(desk: Desk, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = desk.start("review", "--ledger", str(desk.folder / "ledger.db"), *options)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "--json" in options:
            found = json.loads(line)
            assert set(found) == {"schema_version", "url", "ledger"}
            line = found["url"]
        yield process, line.strip()
    finally:
        process.kill()
        process.communicate()


def judge(url: str, record: Record, verdict: str, note: str | None = None) -> Any:
    token = url.rstrip("/").rpartition("/")[2]
    headers = {
        "Content-Type": "application/json",
        "X-Batchgen-Token": token,
        "Origin": url[: url.index(f"/{token}")],
    }
    body = {"external_task_id": record.external_task_id, "verdict": verdict, "note": note}
    data = json.dumps(body).encode()
    with closing(
        urllib.request.urlopen(urllib.request.Request(f"{url}verdicts", data, headers), timeout=ENDS)
    ) as answer:
        return json.load(answer)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_ends_it_and_what_was_judged_stays(desk: Desk, tote: Record, number: int, code: int) -> None:
    """Away from a terminal no browser is opened."""
    browser = desk.write("bin/browser", '#!/bin/sh\necho "$1" > "$OUT"\n')
    browser.chmod(0o755)
    desk.env |= {"BROWSER": f"{browser} %s", "OUT": str(desk.folder / "opened")}
    with review(desk, "--json") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert judge(url, tote, "keep") == {"verdict": "keep"}
        with urllib.request.urlopen(url, timeout=ENDS) as page:
            assert b"batchgen-live" in page.read()
        process.send_signal(number)
        ended = desk.finish(process)
    assert (ended.code, ended.out, "Traceback" in ended.err) == (code, "", False), ended.err
    assert not (desk.folder / "opened").exists()
    with Records.read(str(desk.folder / "ledger.db")) as ledger:
        assert ledger.verdicts.all()[tote.external_task_id].verdict == "keep"


def test_a_kill_loses_no_verdict_that_was_answered(desk: Desk, tote: Record) -> None:
    with review(desk) as (process, url):
        said = []
        for number in range(40):
            if number == 30:
                process.kill()
            try:
                judge(url, tote, "retake" if number % 2 else "keep")
            except OSError:
                break
            said.append("retake" if number % 2 else "keep")
    with Records.read(str(desk.folder / "ledger.db")) as ledger:
        written = [one.verdict for one in ledger.verdicts.history(tote.external_task_id)]
    assert written[: len(said)] == said and len(written) <= len(said) + 1
    assert len(said) >= 30
    with review(desk) as (_, url):  # whatever it left, the next one begins
        judge(url, tote, "keep")


def test_the_key_is_in_nothing_that_it_starts_and_nothing_that_it_says_or_keeps(
    desk: Desk, tote: Record, tmp_path: Path
) -> None:
    """On a terminal it opens the browser, with an address that leads to the page once."""
    browser = desk.write(
        "bin/browser", '#!/bin/sh\necho "$1" > "$OUT.new"; env >> "$OUT.new"; mv "$OUT.new" "$OUT"\n'
    )
    browser.chmod(0o755)
    out = tmp_path / "opened"
    desk.env |= {"BROWSER": f"{browser} %s", "OUT": str(out), "POWERTOKENS_API_KEY": KEY, "TERM": "dumb"}
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [*desk.program, "review", "--ledger", "ledger.db"],
            cwd=desk.folder,
            env=desk.env,
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        try:
            url = terminal.readline().decode().strip()
            assert url.startswith("http://127.0.0.1:")
            until(out.exists)
            opened, *variables = out.read_text().splitlines()
            assert "/open/" in opened and url.rstrip("/").rpartition("/")[2] not in opened
            assert not [one for one in variables if KEY in one or one.startswith("POWERTOKENS_API_KEY")]
            assert urllib.request.urlopen(opened, timeout=ENDS).geturl() == url
            with pytest.raises(urllib.error.HTTPError, match="400"):
                judge(url, tote, "retake", f"slower {KEY}")
            process.send_signal(signal.SIGINT)
            assert process.wait(ENDS) == 130
        finally:
            process.kill()
            process.wait()
    with Records.read(str(desk.folder / "ledger.db")) as ledger:
        assert ledger.verdicts.all() == {}


def test_a_browser_judges_by_keys_orders_by_a_button_and_follows_what_others_write(
    browser: Browser, desk: Desk, tote: Record
) -> None:
    """The second tab, and a run, change what the first shows; nothing is asked of another host."""
    path = str(desk.folder / "ledger.db")

    def said() -> list[tuple[str | None, str | None]]:
        with Records.read(path) as ledger:
            return [(one.verdict, one.note) for one in ledger.verdicts.history(tote.external_task_id)]

    async def judged(page: Page) -> None:
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("k")
        await page.wait_for_selector("figure.kept")
        await until_async(lambda: said() == [("keep", None)])
        # The verdict's own news comes while the note is written.
        async with page.expect_response("**/data") as news:
            await page.keyboard.press("n")
            await page.keyboard.type("slow")
        await (await news.value).finished()
        await page.evaluate("new Promise(requestAnimationFrame)")
        await page.keyboard.type("er <b>")
        await page.keyboard.press("Enter")
        await until_async(lambda: said()[-1] == ("retake", "slower <b>"))
        assert "Nothing of that is ordered or paid yet" in await page.inner_text("#orders-text")
        assert await page.inner_text("#order") == "Order 1 take, about $0.56"
        assert await barriers(page) == []
        with Records.read(path) as ledger:
            assert ledger.orders.standing() == []
        with Book(desk.folder) as run:  # which holds the ledger
            await asyncio.to_thread(run.add, "vase", State.SUBMITTED, at=NIGHT + 60)
            await page.wait_for_selector("text=vase")
            assert "tote" in await page.inner_text(":focus")  # which isn't where it was
            await page.click("#order")
            await page.wait_for_selector("text=1 ordered: the next run")
        await page.wait_for_selector("text=Take 2 is ordered")
        with Records.read(path) as ledger:
            assert [(one.key, one.note) for one in ledger.orders.standing()] == [
                (("shop", "tote", 2), "slower <b>")
            ]

    with review(desk) as (_, url):
        origin = url[: url.index("/", 8)]
        browser.visit(url, judged, may=lambda one: one.startswith(origin))


def test_what_the_server_did_not_write_is_taken_back_on_the_page_and_said(
    browser: Browser, desk: Desk
) -> None:
    """A job that took two tasks costs one of them again; what is ordered already isn't counted; a dead server is told."""
    with Book(desk.folder) as book:
        book.add("tote", State.FAILED, message="an outage")
        tote = book.add("tote", retry=2, at=NIGHT + 9)
        book.add("vase", at=NIGHT + 5)
        given = book.add("given", at=NIGHT + 1)
    with review(desk) as (process, url):
        judge(url, tote, "retake", "slower")
        judge(url, given, "retake")
        orders.order(str(desk.folder / "ledger.db"), [Wish("shop", "given")], at=NIGHT, by="me")

        async def look(page: Page) -> None:
            order = page.locator("#order")
            assert await order.inner_text() == "Order 1 take, about $0.56"
            assert (await page.inner_text("#orders-text")).startswith("1 clip is marked to take again.")
            process.kill()
            await page.click("[aria-label='Keep shop/vase']")
            await page.wait_for_selector("text=The verdict on shop/vase was not written")
            assert await page.locator("figure.kept").count() == 0
            assert await page.get_attribute("[aria-label='Keep shop/vase']", "aria-pressed") == "false"
            await order.click()
            await page.wait_for_selector("text=Nothing was ordered")
            assert await order.is_enabled() and await page.locator("text=Take 2 is ordered").count() == 1
            await page.wait_for_selector("text=The server of this page has gone")

        origin = url[: url.index("/", 8)]
        browser.visit(
            url,
            look,
            may=lambda one: one.startswith(origin) or "ERR_" in one,
        )
    with Records.read(str(desk.folder / "ledger.db")) as ledger:
        assert {one.key for one in ledger.orders.standing()} == {("shop", "given", 2)}


def test_a_clip_plays_on_while_news_come_and_the_page_catches_up_once_it_is_stopped(
    browser: Browser, desk: Desk, tote: Record
) -> None:
    async def look(page: Page) -> None:
        await page.click("[aria-label='Play shop/tote']")
        await page.wait_for_selector("video")
        async with page.expect_response("**/data") as news:
            with Book(desk.folder) as run:
                await asyncio.to_thread(run.add, "vase", at=NIGHT + 60)
        await (await news.value).finished()
        await page.wait_for_selector("#overview :text('2 done')")
        assert await page.locator("video").count() == 1 and await page.locator(".card").count() == 1
        await page.keyboard.press("Escape")
        await page.wait_for_selector("[aria-label='Play shop/vase']")
        assert await page.locator("video").count() == 0

    with review(desk) as (_, url):
        origin = url[: url.index("/", 8)]
        browser.visit(url, look, may=lambda one: one.startswith(origin))


async def until_async(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(ENDS):
        while not condition():
            await asyncio.sleep(0.02)


def test_what_it_can_not_do_is_one_line(desk: Desk, tote: Record) -> None:
    assert "there is no ledger" in desk.run("review", "--ledger", "none.db").err
    with review(desk) as (_, url):
        port = url.split(":")[2].split("/")[0]
        taken = desk.run("review", "--ledger", "ledger.db", "--port", port)
    assert taken.code == 2 and "another --port may be free" in taken.err
