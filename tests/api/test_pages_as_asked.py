"""How the parameters of a list are read, called directly: what v1 and v2 take, and how long a cursor may be."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.http import HttpRequest, QueryDict
from rest_framework.request import Request

from config.api import error_page, pagination
from config.api.errors import Invalid
from config.api.pagination import Later, Order, Page, Sorting
from config.api.treetracker import v2
from config.api.validation import Text
from wallets.models import Wallet
from wallets.queries import JsonPage

LATER = Later(7, sorting=Sorting(["created_at", "name"]), answer=["total", "query", "rows"], defaults={"scope": "all"})


def asked(query: str, *, is_v2: bool = False) -> Request:
    django_request = HttpRequest()
    django_request.GET = QueryDict(query)  # type: ignore[assignment]
    django_request.META = {"SERVER_NAME": "testserver", "SERVER_PORT": "80"}
    django_request.path = "/rows"
    request = Request(django_request)
    request.user = Wallet(pk=UUID(int=1))
    request.resolver_match = SimpleNamespace(namespaces=[v2.NAMESPACE] if is_v2 else [])
    return request


def read(query: str, *, is_v2: bool = False, **options: Any) -> Page:
    options = {"scope": "rows", "later": LATER} | options
    return pagination.read(asked(query, is_v2=is_v2), {"name": Text(required=False)}, **options)


@pytest.mark.parametrize(
    ("query", "is_v2", "problems"),
    [
        ("limit=1&start=1", False, []),
        ("limit=1&start=1", True, ['"start" is not allowed']),
        ("limit=1&offset=0", False, []),
        ("limit=1&offset=0", True, []),
        ("limit=1&offset=-1", True, ['"offset" must be greater than or equal to 0']),
        ("limit=1&start=0", False, ['"start" must be greater than or equal to 1']),
        ("limit=1&start=1&offset=0", False, ['"start" is not allowed together with "offset"']),
        ("", False, ['"limit" is required']),
        ("", True, []),
        ("limit=1e1", False, ['"limit" must be a number']),
        ("limit=1e1", True, []),
        # A parameter that v1.10.3 refuses makes the request one of the later kind.
        ("limit=1e1&name=x", False, []),
        ("limit=2000", False, []),
        ("limit=2001", False, ['"limit" must be less than or equal to 2000']),
        ("limit=1&sort_by=name&order=asc", False, []),
        ("limit=1&sort_by=id", False, ['"sort_by" must be one of [created_at, name]']),
        ("limit=1&cursor=" + "A" * 1000, False, ['"cursor" is not valid']),
        (
            "limit=1&cursor=" + "A" * 1001,
            False,
            ['"cursor" length must be less than or equal to 1000 characters long'],
        ),
    ],
)
def test_what_each_version_takes(query: str, is_v2: bool, problems: list[str]) -> None:
    if not problems:
        read(query, is_v2=is_v2)
        return
    with pytest.raises(Invalid) as refused:
        read(query, is_v2=is_v2)
    assert list(refused.value.problems) == problems


NEWEST, BY_NAME = Order("created_at", True), Order("name", False)
DEFAULT = {"sort_by": "created_at", "order": "desc"}


@pytest.mark.parametrize(
    ("query", "is_v2", "expected"),
    [
        # limit, offset, order, query, answer
        ("limit=3", False, (3, 0, None, {}, ())),
        ("limit=3&start=1", False, (3, 0, None, {}, ())),
        ("limit=3&start=5", False, (3, 4, None, {}, ())),
        ("limit=3&offset=5", False, (3, 5, None, {"scope": "all", "limit": 3, "offset": 5}, LATER.answer)),
        (
            "limit=3&sort_by=name",
            False,
            (3, 0, Order("name", True), {"scope": "all", "sort_by": "name", "order": "desc", "limit": 3, "offset": 0},
             LATER.answer),
        ),
        (
            "limit=3&sort_by=name&order=asc",
            False,
            (3, 0, BY_NAME, {"scope": "all", "sort_by": "name", "order": "asc", "limit": 3, "offset": 0},
             LATER.answer),
        ),
        ("", True, (7, 0, NEWEST, {"scope": "all", **DEFAULT, "limit": 7, "offset": 0}, LATER.answer)),
        (
            "name=x&limit=2&offset=1",
            True,
            (2, 1, NEWEST, {"scope": "all", "name": "x", **DEFAULT, "limit": 2, "offset": 1}, LATER.answer),
        ),
    ],
)  # fmt: skip
def test_what_a_page_is_of(query: str, is_v2: bool, expected: Any) -> None:
    page = read(query, is_v2=is_v2)

    assert (page.limit, page.offset, page.order, page.query, page.answer) == expected
    assert page.position is None
    assert page.values == ({"name": "x"} if query.startswith("name=") else {})
    assert (page.fetch, page.shows_total) == (page.limit + 1, bool(page.answer))


def test_an_order_that_is_none_by_default_is_said_only_if_it_is_sent() -> None:
    later = Later(7, sorting=Sorting(["name"], by="name", order="asc", is_default=False), answer=["query", "rows"])

    for query, order, said in [
        ("", None, {}),
        ("order=desc", Order("name", True), {"order": "desc"}),
        ("sort_by=name", BY_NAME, {"sort_by": "name"}),
    ]:
        page = read(query, is_v2=True, later=later)
        assert (page.order, page.query) == (order, said | {"limit": 7, "offset": 0})
        assert page.shows_total is False
    assert read("limit=1", later=None).answer == ()
    with pytest.raises(Invalid, match='"offset" is not allowed'):
        read("limit=1&offset=1", later=None)
    assert read("", later=None, default_limit=9).limit == 9


def linked(response: Any) -> str:
    """Return the relation of the link of a page, and whether its URL has a cursor; "" without a link."""
    url, _, relation = response.get("Link", "").partition("; rel=")
    return relation.strip('"') + ("+cursor" if "cursor=" in url else "")


@pytest.mark.parametrize(
    ("rows", "is_feed", "end", "link"),
    [
        ([1], False, None, ""), ([1, 2], False, None, ""), ([1, 2, 3], False, None, "next+cursor"),
        ([], False, None, ""), ([], True, None, "monitor"), ([], True, [9], "monitor+cursor"),
        ([1, 2], True, None, "monitor+cursor"), ([1, 2, 3], True, [9], "next+cursor"),
    ],
)  # fmt: skip
def test_which_page_has_a_link(rows: list[int], is_feed: bool, end: Any, link: str) -> None:
    page = read("limit=2")
    response = page.response("rows", rows, write=str, position=lambda row: [row], is_feed=is_feed, end=end)

    assert response.data == {"rows": [str(row) for row in rows[:2]]}
    assert linked(response) == link
    if link:
        query = QueryDict(response["Link"].partition("?")[2].partition(">")[0])
        after = read(query.urlencode()).position
        assert after == (None if "cursor" not in link else rows[1:2] if link == "next+cursor" else end or rows[-1:])


def test_the_link_keeps_the_filters_and_neither_start_nor_offset() -> None:
    for query, is_v2 in (("limit=1&start=3&name=x", False), ("offset=3&name=x", True)):
        page = read(query, is_v2=is_v2)
        response = page.json_response("rows", JsonPage('{"a":1}', ["k"], 4))
        link = QueryDict(response["Link"].partition("?")[2].partition(">")[0])
        assert set(link) == {"limit", "name", "cursor"}
        assert (link["limit"], link["name"]) == (str(page.limit), "x")
        assert read(link.urlencode(), is_v2=is_v2).position == ["k"]
        # The cursor is one of the list, its filter and its version alone, and goes with no other beginning.
        for other, options in [
            (link.urlencode(), {"is_v2": not is_v2}),
            (link.urlencode(), {"is_v2": is_v2, "scope": "others"}),
            (link.urlencode(), {"is_v2": is_v2, "parameters": ["id"]}),
            (link.urlencode().replace("name=x", "name=y"), {"is_v2": is_v2}),
            (link.urlencode() + "&offset=1", {"is_v2": is_v2}),
        ]:
            with pytest.raises(Invalid, match="cursor"):
                read(other, **options)


@pytest.mark.parametrize(("json", "last"), [("", None), ('{"a":1}', None), ('{"a":1}', [1])])
def test_a_page_of_json_says_whether_it_is_empty(json: str, last: Any) -> None:
    response: Any = read("", is_v2=True).json_response("rows", JsonPage(json, last, 4))

    assert response.is_empty_page is (json == "")
    assert list(response.data) == ["total", "query", "rows"]
    assert response.data["total"] == 4
    assert linked(response) == ("" if last is None else "next+cursor")


@pytest.mark.parametrize(
    ("statuses", "words"), [([404], "404"), ([404, 409], "404 or 409"), ([400, 404, 409], "400, 404 or 409")]
)
def test_statuses_in_words(statuses: list[int], words: str) -> None:
    assert error_page._either(statuses) == words
