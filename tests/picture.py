"""Makes README's picture of the page: ``python -m tests.picture PAGE PICTURE``, which is what ``make picture`` does.

PAGE is the one that ``make run`` ends with; a browser must be installed. The picture has few colours, so that it is small.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.support.browser import opened

if TYPE_CHECKING:
    from playwright.async_api import FloatRect, Page

WIDTH, HEIGHT = 1200, 904  # of the picture, in pixels
WINDOW = {"width": WIDTH, "height": 4000}  # so high that nothing waits to be scrolled to
ORDER = "#sort=name"
COLOURS = 256


def main(page: str, picture: str) -> None:
    taken: list[bytes] = []

    async def steps(shown: Page) -> None:
        await shown.wait_for_function("[...document.images].every(one => one.complete)")
        box = await shown.locator("#gallery").bounding_box()
        assert box is not None
        clip: FloatRect = {"x": 0, "y": box["y"] - 16, "width": WIDTH, "height": HEIGHT}
        taken.append(await shown.screenshot(clip=clip))

    with opened() as browser:
        browser.visit(Path(page).resolve().as_uri() + ORDER, steps, viewport=WINDOW, bypass_csp=True)
    with Image.open(io.BytesIO(taken[0])) as screenshot:
        few = screenshot.convert("RGB").quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    few.save(picture, optimize=True)
    sys.stdout.write(f"{picture}: {Path(picture).stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
