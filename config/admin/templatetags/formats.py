"""Template filters for times, amounts and states."""

import re
from datetime import datetime
from uuid import UUID

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

from config.admin import glossary
from lockers.raida.coins import value_of
from wallets import wording

register = template.Library()

_UNITS_PER_COIN = 10**8
_ID = re.compile(r"\b([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
# Mark and CSS class of each state, so that no state is shown by colour only.
_PILLS = {
    "completed": ("✓", "good"),
    "trusted": ("✓", "good"),
    "sound": ("✓", "good"),
    "filled": ("✓", "good"),
    "bank": ("✓", "good"),
    "valid": ("✓", "good"),
    "paid": ("✓", "good"),
    "approved": ("✓", "good"),
    "credited": ("✓", "good"),
    "open": ("◔", "wait"),
    "partly_paid": ("◐", "wait"),
    "redeemed": ("✓", "good"),
    "active": ("◔", "wait"),
    "delivered": ("✓", "good"),
    "pending": ("◔", "wait"),
    "requested": ("?", "wait"),
    "running": ("▸", "wait"),
    "filling": ("▸", "wait"),
    "waiting": ("◔", "wait"),
    "incoming": ("▸", "wait"),
    "fracked": ("◐", "wait"),
    "limbo": ("?", "bad"),
    "unknown": ("?", "bad"),
    "errored": ("!", "bad"),
    "error": ("!", "bad"),
    "failed": ("!", "bad"),
    "unsound": ("!", "bad"),
    "counterfeit": ("✗", "bad"),
    "revoked": ("✗", "quiet"),
    "expired": ("✗", "quiet"),
    "refused": ("✗", "quiet"),
    "void": ("✗", "quiet"),
    "cancelled": ("✗", "quiet"),
    "cancelled_by_originator": ("✗", "quiet"),
    "cancelled_by_target": ("✗", "quiet"),
}


@register.filter
def pill(state: str, words: str = "") -> SafeString:
    """Return a state with its mark."""
    mark, css = _PILLS.get(str(state), ("•", "quiet"))
    return format_html(
        '<span class="pill {}"><span aria-hidden="true">{}</span> {}</span>',
        css,
        mark,
        words or str(state).replace("_", " "),
    )


@register.filter
def with_ids_linked(text: str) -> SafeString:
    """Return a text in which each id leads to its search, which opens the page of its row."""
    find = reverse("admin:find")
    parts = (
        format_html('<a href="{}?q={}">{}</a>', find, part, part) if place % 2 else conditional_escape(part)
        for place, part in enumerate(_ID.split(text))
    )
    return format_html_join("", "{}", ((part,) for part in parts))


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """Return how long ago a time is, with the full time as tooltip."""
    if at is None:
        return "never"
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}", ago(at)
    )


@register.filter
def full(at: datetime | None) -> str:
    """Return a time in full, to the second."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def exact(at: datetime) -> str:
    """Return a time (UTC) to the microsecond."""
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"


@register.filter
def ago(at: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago or how soon a time is, in one unit."""
    if at is None:
        return "never"
    seconds = ((now or timezone.now()) - at).total_seconds()
    span = _span(abs(seconds))
    return f"in {span}" if seconds < 0 else f"{span} ago"


@register.filter
def span(seconds: float) -> str:
    """Return a duration in seconds in one unit."""
    return _span(seconds)


def _span(seconds: float) -> str:
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (36 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:,.0f} days"


@register.filter
def coins(units: int | None) -> str:
    """Return an amount in units of 10^-8 coins as coins, without trailing zeros."""
    if units is None:
        return "–"
    sign, rest = ("-" if units < 0 else ""), abs(int(units))
    whole, part = divmod(rest, _UNITS_PER_COIN)
    return f"{sign}{whole:,}" + (f".{part:08d}".rstrip("0") if part else "")


@register.filter
def worth(units: int | None) -> str:
    """Return an amount in units of 10^-8 coins with its noun."""
    return f"{coins(units)} {'coin' if units == _UNITS_PER_COIN else 'coins'}"


@register.filter
def number(value: int | None) -> str:
    """Return a number with thousands separators."""
    return "–" if value is None else f"{value:,}"


@register.simple_tag
def what_is(label: object) -> SafeString:
    """Return a link to the term in the glossary, or nothing if the label is no term."""
    term = glossary.explained(str(label))
    if term is None:
        return SafeString("")
    return format_html(
        # The mark is not alone on a line: no line ends before it.
        '\N{NO-BREAK SPACE}<a class="what-is" href="{}" title="{}" aria-label="What is “{}”?">?</a>',
        glossary.url_of(term),
        term.meaning,
        str(label).lower().replace("_", " "),
    )


@register.filter
def grouped(value: object) -> object:
    """Return an integer with thousands separators, "–" for no text, and any other value as it is."""
    if value == "" or value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value


@register.filter
def counted(value: int, noun: str) -> str:
    """Return a number with its noun: `"token"`, or `"delivery,deliveries"`."""
    return wording.counted(value, *noun.split(","))


@register.filter
def denomination(value: int) -> str:
    """Return the value of a denomination in coins."""
    return coins(value_of(value))


@register.filter
def short(row_id: UUID | str | None) -> str:
    """
    Return the beginning of an id that tells it from others: 8 characters.

    An id of version 7 begins with the time (`transfers.ids`), and its first 8 characters are those of a whole minute.
    It is written to the end of its first random bits: 18 characters.
    """
    text = str(row_id)
    return f"{text[: 18 if text[14:15] == '7' else 8]}…"


# The first match names the browser: user agents contain the names of others too.
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrom", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


@register.filter
def browser(agent: str) -> str:
    """Return browser and system of a user agent; the user agent itself if the browser is not known."""
    name = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    if not name:
        return agent[:60] or "unknown"
    return f"{name} on {system}" if system else name
