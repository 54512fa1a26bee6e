"""What the pictures of docs/images show: templates, styles and demo data, and their digests when they were taken."""

import hashlib
from pathlib import Path
from typing import Final

from config.dev.embedded import ROOT

# Beside the pictures. `make screenshots` writes it.
MADE_FROM: Final = ROOT / "docs" / "images" / "made-from.txt"
_DESK: Final = "config/admin/templates/desk"
_SOURCES: Final = (
    "config/admin/templates/admin/*.html", "config/admin/static/desk/*.css", "config/dev/demo_data.py",
    "config/dev/demo_script.py", "tests/screenshots.py",
    *(
        f"{_DESK}/{name}.html"
        for name in (
            "around", "around_page", "buttons", "coin_counts", "detail", "facts", "find_box", "home",
            "operator_actions", "server_grid", "task", "tiles",
        )
    ),
)  # fmt: skip


def digests() -> dict[str, str]:
    """Return the digest of each source as it is now, by its path."""
    paths = sorted({path for pattern in _SOURCES for path in _found(pattern)})
    return {path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in paths}


def _found(pattern: str) -> list[Path]:
    found = list(ROOT.glob(pattern))
    assert found, f"{pattern} is gone: name in this module what the pictures show"
    return found


def write() -> None:
    """Record that the pictures show the sources as they are now."""
    MADE_FROM.write_text("".join(f"{digest} {path}\n" for path, digest in digests().items()))


def changed() -> list[str]:
    """Return the sources that differ from those of the pictures."""
    lines = MADE_FROM.read_text().splitlines() if MADE_FROM.exists() else []
    then = dict(reversed(line.split(" ", 1)) for line in lines)
    now = digests()
    return sorted(path for path in then.keys() | now.keys() if then.get(path) != now.get(path))
