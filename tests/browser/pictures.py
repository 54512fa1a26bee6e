"""Screenshots, kept for inspection."""

import os
from typing import Final

from playwright.sync_api import Page

# A directory; without one nothing is kept.
_PICTURES: Final = os.environ.get("COPPICE_PICTURES")


def picture(page: Page, name: str) -> None:
    """Keep the page as it is, in both colour schemes and widths."""
    if _PICTURES:
        for scheme in ("light", "dark"):
            for width in (1280, 390):
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                page.set_viewport_size({"width": width, "height": 900})
                page.screenshot(path=f"{_PICTURES}/{name}-{scheme}-{width}.png", full_page=True)
        page.set_viewport_size({"width": 1280, "height": 900})
