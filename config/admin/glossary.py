"""The terms of docs/glossary.md, to which the pages link where a term stands."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from django.urls import get_script_prefix

from config.environment import ROOT
from config.web import markdown

_ROW: Final = re.compile(r"^\| (?P<cell>\*\*(?P<terms>[^*]+)\*\*[^|]*) \| (?P<meaning>.*) \|$", re.MULTILINE)
# Words of the pages that the glossary explains under another term.
_ALSO: Final[Mapping[str, str]] = {
    "actions of operators": "action",
    "answers of the 25 servers": "server grid",
    "acknowledged": "alert",
    "acknowledged by": "alert",
    "approve": "approval",
    "asked by": "originator",
    "attempts, with the answers of the 25 servers": "attempt",
    "cancelled": "cancel",
    "completed": "transfer",
    "coins by state": "coin",
    "coins in doubt": "limbo",
    "deliveries": "webhook",
    "delivery": "webhook",
    "errored": "counterfeit",
    "events of": "webhook",
    "findings": "audit",
    # An API key expires otherwise than a transfer, and that otherwise than a locker.
    "expires": "",
    "fulfill": "fulfil",
    "holder": "wallet",
    "last transfers": "transfer",
    "made by": "originator",
    "managed by": "managed wallet",
    "metadata": "terms",
    "on servers": "thin",
    "payee": "payment request",
    "payments, newest first": "payment",
    "pending": "transfer",
    "raida servers": "raida",
    "reference": "terms",
    "refuse": "approval",
    "requested": "transfer",
    "requests": "request log",
    "reserved now": "reserved",
    "running tasks": "task",
    "secret part": "bearer token",
    "servers": "quorum",
    "sits in": "wallet",
    "transfers per day": "transfer",
    "trusts with other wallets": "trust",
    "value": "denomination",
    # Of deliveries.
    "waiting": "",
    "workers": "attempt",
}


class Term(NamedTuple):
    """A term: its anchor on the page of the glossary, and its meaning as plain text."""

    anchor: str
    meaning: str


@cache
def terms() -> Mapping[str, Term]:
    """Return all terms in lower case. Of two with one name the first is returned."""
    found: dict[str, Term] = {}
    for row in _ROW.finditer((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")):
        term = Term(markdown.anchor(row["cell"].replace("*", "")), re.sub(r"[`*]", "", row["meaning"]))
        for name in row["terms"].split(","):
            found.setdefault(re.sub(r" \(.*\)", "", name).strip().lower(), term)
    return found


def explained(label: str) -> Term | None:
    """Return the term that a label of a page names, or None."""
    name = label.lower().replace("_", " ")
    name = _ALSO.get(name, name)
    return terms().get(name) or terms().get(name.removesuffix("s"))


def url_of(term: Term) -> str:
    """Return the URL of a term in the glossary."""
    return f"{get_script_prefix()}docs/glossary/#{term.anchor}"
