"""The pictures of docs/images show the admin and the demo as they are."""

from pathlib import Path
from typing import Any

from tests.support import picture_sources


def test_the_pictures_are_current() -> None:
    assert picture_sources.changed() == [], "run `make screenshots`, and look at the pictures"


def test_a_change_of_a_source_is_seen(monkeypatch: Any, tmp_path: Path) -> None:
    record = tmp_path / "made-from.txt"
    monkeypatch.setattr(picture_sources, "MADE_FROM", record)
    every = sorted(picture_sources.digests())
    assert picture_sources.changed() == every
    picture_sources.write()
    assert picture_sources.changed() == []

    lines = record.read_text().splitlines()
    altered = f"{'0' * 16} {lines[0].split(' ', 1)[1]}"
    record.write_text("\n".join([altered, *lines[2:], "0 gone.html"]))
    assert picture_sources.changed() == sorted([*every[:2], "gone.html"])
