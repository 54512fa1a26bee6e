"""
Charts rendered on the server as SVG, without style or script: pure functions from numbers to markup.

Colours are CSS classes, so that the style sheet defines them for light and dark. Each shape has its numbers in a
`<title>`; the page shows the same numbers in a table beside the chart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# The height of a chart in its own units; the width is one unit per column, stretched to the page.
HEIGHT: Final = 100
# The least height of a part, so that one failed transfer among thousands is visible.
THINNEST: Final = 2.0
_GAP: Final = 0.18


@dataclass(frozen=True, slots=True)
class Column:
    """One bar: its name, and (class, label, value) of its parts from the bottom up."""

    name: str
    parts: Sequence[tuple[str, str, int]]

    @property
    def total(self) -> int:
        return sum(value for _, _, value in self.parts)


def stacked(columns: Sequence[Column], *, label: str) -> SafeString:
    """Return a stacked bar chart. `label` describes it in a sentence."""
    highest = max((column.total for column in columns), default=0) or 1
    bars = []
    for place, column in enumerate(columns):
        rects, y = [], float(HEIGHT)
        for css, _, value in column.parts:
            if not value:
                continue
            height = min(max(value / highest * HEIGHT, THINNEST), y)
            y -= height
            rects.append((css, f"{place + _GAP / 2:.2f}", f"{y:.2f}", f"{1 - _GAP:.2f}", f"{height:.2f}"))
        told = ", ".join(f"{name} {value:,}" for _, name, value in column.parts if value) or "none"
        bars.append(
            format_html(
                '<g><title>{}: {}</title><rect class="hit" x="{}" y="0" width="1" height="{}"></rect>{}</g>',
                column.name,
                told,
                place,
                HEIGHT,
                format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"></rect>', rects),
            )
        )
    return format_html(
        '<svg class="bars" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>',
        label,
        max(len(columns), 1),
        HEIGHT,
        format_html_join("", "{}", ((bar,) for bar in bars)),
    )


def share(value: int, of: int, *, css: str) -> SafeString:
    """Return a horizontal bar, filled to `value` of `of`. It is decoration: the page shows the number beside it."""
    width = 0.0 if of <= 0 else min(100.0, 100.0 * value / of)
    if value:
        width = max(width, THINNEST)
    return format_html(
        '<svg class="share" aria-hidden="true" viewBox="0 0 100 10" preserveAspectRatio="none">'
        '<rect class="track" width="100" height="10"></rect><rect class="{}" width="{}" height="10"></rect></svg>',
        css,
        f"{width:.1f}",
    )


@dataclass(frozen=True, slots=True)
class Spoke:
    """A line between the centre and another name: the name, CSS class, description and direction."""

    name: str
    css: str
    says: str
    goes_out: bool


# The picture has a column of names on each side of the middle, so that names never meet. In its own units.
_WIDTH: Final = 720
_EDGE: Final = 236
_ROW: Final = 22
_LEAST_HEIGHT: Final = 120
# Characters that fit into a column, and into the middle.
_NAME_LENGTH: Final = 32
_MIDDLE_LENGTH: Final = 16
_GAP_TO_NAME: Final = 6


def around(middle: str, spokes: Sequence[Spoke], *, label: str) -> SafeString:
    """Return a graph with one name in the centre, the others in a column on each side, and an arrow for each spoke."""
    left, right = spokes[: (len(spokes) + 1) // 2], spokes[(len(spokes) + 1) // 2 :]
    height = max(_ROW * len(left) + _ROW, _LEAST_HEIGHT)
    half = len(_cut(middle, _MIDDLE_LENGTH)) * 4.5 + 8
    drawn = []
    for side, column in ((-1, left), (1, right)):
        name_at = _EDGE if side < 0 else _WIDTH - _EDGE
        near = (_WIDTH / 2 + side * half, height / 2)
        for place, spoke in enumerate(column):
            y = height / 2 + (place - (len(column) - 1) / 2) * _ROW
            far = (name_at - side * _GAP_TO_NAME, y)
            begin, end = (near, far) if spoke.goes_out else (far, near)
            anchor = "end" if side < 0 else "start"
            name = _cut(spoke.name, _NAME_LENGTH)
            drawn.append((spoke.says, spoke.css, _path(begin, end), name_at, f"{y + 4:.1f}", anchor, name))
    return format_html(
        '<svg class="around-picture" role="img" aria-label="{}" viewBox="0 0 {} {}">{}'
        '<text class="middle" x="{}" y="{}" text-anchor="middle">{}</text></svg>',
        label,
        _WIDTH,
        height,
        format_html_join(
            "",
            '<g><title>{}</title><path class="{}" d="{}"></path><text x="{}" y="{}" text-anchor="{}">{}</text></g>',
            drawn,
        ),
        _WIDTH // 2,
        f"{height / 2 + 5:.1f}",
        _cut(middle, _MIDDLE_LENGTH),
    )


def _path(begin: tuple[float, float], end: tuple[float, float]) -> str:
    """Return an arrow whose head is two strokes, so that it needs no SVG marker."""
    angle = math.atan2(end[1] - begin[1], end[0] - begin[0])
    heads = [(end[0] - 8 * math.cos(angle + turn), end[1] - 8 * math.sin(angle + turn)) for turn in (-0.45, 0.45)]
    strokes = " ".join(f"M{end[0]:.1f} {end[1]:.1f}L{x:.1f} {y:.1f}" for x, y in heads)
    return f"M{begin[0]:.1f} {begin[1]:.1f}L{end[0]:.1f} {end[1]:.1f} {strokes}"


def _cut(name: str, length: int) -> str:
    """Return a name of at most `length` characters. Both ends stay: names of one kind often begin alike."""
    half = length // 2
    return name if len(name) <= length else f"{name[: length - half]}…{name[1 - half :]}"
