"""
The pictures of docs/images, taken from the demo: `make screenshots`.

It starts a system with its own data in a temporary directory, plays the demo in a recorded terminal, opens the admin in
Chromium, and stops everything. The pictures are stored with 128 colours, so that they stay small.
"""

import io
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import django
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

from config.dev.embedded import ROOT, fill_environment
from tests.support import picture_sources

IMAGES: Final = ROOT / "docs" / "images"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
# Of the terminal.
_COLUMNS: Final = 120
_COLOURS: Final = 128
_LONGEST_WAIT: Final = 60_000


def main() -> int:
    """Take all pictures. Return the exit status."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        print("No Chromium: install it (apt-get install chromium) to take the screenshots.", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="coppice-screenshots-") as state:
        # Servers that the shell names are not for demo data.
        for name in ("DATABASE_URL", "REDIS_URL", "COPPICE_RAIDA_HOSTS"):
            os.environ.pop(name, None)
        os.environ |= {"COPPICE_STATE_DIR": state, "DJANGO_SETTINGS_MODULE": "config.settings.base"}
        fill_environment(is_to_start=True)
        django.setup()
        return _taken(Path(state), found)


def _taken(state: Path, chromium: str) -> int:
    from config.dev.demo_data import read_logins
    from config.dev.demo_script import DemoFailed
    from config.dev.supervisor import System
    from config.management.commands.demo import play

    with System(state, demo=True) as system:
        terminal = Console(
            record=True, file=io.StringIO(), width=_COLUMNS, force_terminal=True, color_system="truecolor"
        )
        try:
            play(system, terminal, began=time.time())
        except DemoFailed as error:
            print(f"The demo stopped: {error}", file=sys.stderr)
            return 1
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            _terminal(browser, terminal.export_svg(title="make demo"))
            _admin(browser, system.base_url, read_logins(state_dir=system.state))
            browser.close()
    picture_sources.write()
    return 0


def _admin(browser: Browser, base_url: str, logins: Any) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(_LONGEST_WAIT)
    page.goto(f"{base_url}/admin/")
    page.get_by_label("Username").fill(logins.operator)
    page.get_by_label("Password").fill(logins.operator_password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/admin/")
    # The scheduler audits soon after the start.
    for _ in range(60):
        if page.locator("a.tile.good", has_text="last audit").count():
            break
        time.sleep(1)
        page.reload()
    _save(page, "admin-home", full_page=True)
    page.goto(f"{base_url}/admin/lockers/lockertask/?kind=put&state=completed")
    page.locator("#result_list tbody th a").first.click()
    page.locator("[data-cells]").first.wait_for()
    _save(page, "admin-upload", full_page=True)
    context.close()


def _terminal(browser: Browser, svg: str) -> None:
    """Save the first lines of the demo as a terminal shows them, without the font that the picture would load."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block; width: 1200px }}</style>{svg}")
    height = page.locator("svg").bounding_box()
    page.set_viewport_size({"width": 1200, "height": min(int((height or {"height": 900})["height"]), 1150)})
    _save(page, "demo", full_page=False)
    page.close()


def _save(page: Page, name: str, *, full_page: bool) -> None:
    picture = Image.open(io.BytesIO(page.screenshot(full_page=full_page)))
    path = IMAGES / f"{name}.png"
    picture.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
