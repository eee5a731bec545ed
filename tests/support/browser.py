"""A real browser without a window, for pages. Whatever a page does in it, it says nothing and asks nobody for anything.

One that is installed is used; none is downloaded. Playwright runs in a thread of its own: its loop would be in the way of
others.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.program import loop_in_thread

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium
    from playwright.async_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
MISSING = "no browser is here to open pages in (Debian, Ubuntu: apt install chromium)"
ENDS = 60.0  # seconds for any steps on a page
READY = "html[data-ready]"

Steps = Callable[["Page"], Coroutine[Any, Any, None]]


class Browser:
    """Opens pages, each in a context of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chromium: Chromium) -> None:
        self._loop = loop
        self._chromium = chromium

    def visit(
        self, url: str, steps: Steps, *, may: Callable[[str], bool] = lambda url: False, **context: Any
    ) -> None:
        """Open ``url`` and take ``steps`` on it, once it is ready. A word on the console, an error, and a request that
        leaves the disk fail; ``may`` excepts requests and what they say."""
        asyncio.run_coroutine_threadsafe(self._visit(url, steps, may, context), self._loop).result(ENDS)

    async def _visit(
        self, url: str, steps: Steps, may: Callable[[str], bool], options: dict[str, Any]
    ) -> None:
        context = await self._chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(ENDS * 500)
        said: list[str] = []
        asked: list[str] = []
        try:
            page = await context.new_page()
            page.on("console", lambda message: said.append(f"{message.text} ({message.location['url']})"))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", lambda dialog: said.append(dialog.message))
            context.on("request", lambda request: asked.append(request.url))
            await page.goto(url)
            await page.wait_for_selector(READY)
            await steps(page)
        finally:
            await context.close()
        assert [text for text in said if not may(text)] == []
        assert [
            one for one in asked if not one.startswith(("file://", "blob:", "data:")) and not may(one)
        ] == []


def installed() -> str | None:
    """The program of this machine's browser."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def opened() -> Iterator[Browser]:
    """The browser of this machine; where there is none, the test is skipped."""
    program = installed()
    if program is None:
        pytest.skip(MISSING)
    from playwright.async_api import async_playwright

    with loop_in_thread() as loop:

        def wait(work: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(ENDS)

        playwright = wait(async_playwright().start())
        try:
            chromium = wait(playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]))
            try:
                yield Browser(loop, chromium)
            finally:
                wait(chromium.close())
        finally:
            wait(playwright.stop())


async def barriers(page: Page) -> list[Any]:
    """What axe-core finds on a page that keeps somebody out: rules of moderate impact or worse, and up to three places."""
    await page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        (one["id"], [node["target"] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical", "moderate")
    ]
