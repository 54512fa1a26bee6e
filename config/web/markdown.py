"""Markdown of descriptions and of the pages in docs/, as HTML. Raw HTML in it is shown as text."""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.token import Token

_NOT_IN_ANCHORS: Final = re.compile(r"[^\w\- ]")


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def html_of(text: str) -> SafeString:
    """Return a description as HTML."""
    # The parser escapes HTML in the text.
    return SafeString(_focusable(_parser().render(text)))


def page_of(text: str, links: Mapping[str, str] = MappingProxyType({}), *, anchors_of_rows: bool = False) -> SafeString:
    """
    Return a page as HTML. Headings get the anchors that GitHub gives them.

    `links` maps targets of links to those that are written instead. With `anchors_of_rows` each row of a table that
    begins with bold text gets an anchor, too: that of its first cell.
    """
    parser, environment = _parser(), dict[str, Any]()
    tokens = parser.parse(text, environment)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            token.attrSet("id", anchor(following.content))
    if anchors_of_rows:
        for row, cell, inline in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if row.type == "tr_open" and cell.type == "td_open" and inline.content.startswith("**"):
                row.attrSet("id", anchor(inline.content.replace("*", "")))
    for token in _all(tokens):
        if token.type == "link_open":
            target = str(token.attrGet("href"))
            token.attrSet("href", links.get(target, target))
    return SafeString(_focusable(parser.renderer.render(tokens, parser.options, environment)))


def _focusable(html: str) -> str:
    """Let the keyboard scroll what is wider than the page."""
    return html.replace("<pre>", '<pre tabindex="0">').replace("<table>", '<table tabindex="0">')


def anchor(heading: str) -> str:
    """
    Return the anchor of a heading.

    >>> anchor("The later version: `/wallet/v2`")
    'the-later-version-walletv2'
    """
    return _NOT_IN_ANCHORS.sub("", heading.strip().lower()).replace(" ", "-")


def _all(tokens: list[Token]) -> list[Token]:
    return [each for token in tokens for each in (token, *_all(token.children or []))]
