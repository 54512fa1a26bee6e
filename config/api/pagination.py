"""
Pagination: `limit`, `start` and `offset` as in the public service, signed cursors (keyset pagination, fast at any
depth), sorting, and the keys `total` and `query` of v2's answers.

    LATER = Later(1000, sorting=Sorting(["created_at", "name"]), answer=["total", "query", "wallets"])
    page = pagination.read(request, {"name": Text(required=False)}, scope="wallets", later=LATER)
    written = queries.wallets_page(..., limit=page.limit, offset=page.offset, order=page.order, after=page.position,
                                   counts=page.shows_total)
    return page.json_response("wallets", written)

A page that is not the last has `Link: <…>; rel="next"`. Its cursor is bound to the caller, the endpoint, the filters
and the order: with others it is refused with 422. The last page of a feed, a list that grows only at its end, has
`rel="monitor"` instead: the URL of the rows that will come after it.
"""

import base64
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.utils.crypto import salted_hmac
from rest_framework.request import Request

from config.api import error_codes as codes
from config.api import renderers
from config.api.errors import Invalid
from config.api.renderers import Response
from config.api.treetracker import v2
from config.api.validation import Field, Number, Shape, Text
from config.web.addresses import public_url
from wallets.queries import JsonPage

MAXIMUM_LIMIT: Final = 2000
_SIGNATURE_BYTES: Final = 16
# Parameters of lists that v1.10.3 refuses. A request with one of them gets `total` and `query` at every path.
LATER_PARAMETERS: Final = frozenset(
    {
        "offset", "sort_by", "order", "name", "search", "before", "after", "created_at_start_date",
        "created_at_end_date", "scope", "exclude_managed",
    }
)  # fmt: skip


class Order(NamedTuple):
    """The order of a list: a name of `Sorting.keys` or None for the list's own order, and its direction."""

    by: str | None
    is_descending: bool


@dataclass(frozen=True)
class Sorting:
    """The values of `sort_by` and `order`, and those that stand for one that is not sent (`by`, `order`)."""

    keys: Sequence[str]
    orders: Sequence[str] = ("asc", "desc")
    by: str = "created_at"
    order: str = "desc"
    # Whether v2 also sorts so, and says so in `query`, if neither is sent.
    is_default: bool = True

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "sort_by": Text(choices=self.keys, required=False),
            "order": Text(choices=self.orders, required=False),
        }


@dataclass(frozen=True)
class Later:
    """
    What v2 adds to a list: `offset` and a limit that may be missing; sorting; keys of the answer.

    `answer` names the keys in their order, with the name of the rows among them, and `total` and `query` as far as
    the list has them; empty if it has neither. `defaults` are values of filters that `query` has if they are not sent.
    """

    default_limit: int
    sorting: Sorting | None = None
    answer: Sequence[str] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    # The message about a limit or offset below the minimum or with a fraction; `{}` is its name.
    unfit: str = ""


@dataclass(frozen=True)
class Page:
    """
    A requested page. `values` are the endpoint's query parameters; `position` is decoded from the cursor.

    `order` is None for the list's own order. `query` is the validated query, as v2 repeats it.
    """

    request: Request
    limit: int
    offset: int
    position: list[Any] | None
    values: Mapping[str, Any]
    scope: bytes
    order: Order | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    answer: Sequence[str] = ()

    @property
    def fetch(self) -> int:
        """`limit` + 1: the extra row shows that there is a next page."""
        return self.limit + 1

    @property
    def shows_total(self) -> bool:
        """Whether the answer has a `total`: the number of all rows of the list, whatever the page."""
        return "total" in self.answer

    def response(
        self,
        name: str,
        rows: Sequence[Any],
        *,
        write: Callable[[Any], Any],
        position: Callable[[Any], list[Any]],
        total: int | None = None,
        is_feed: bool = False,
        end: list[Any] | None = None,
    ) -> Response:
        """
        Return `{name: […]}` of up to `limit` rows. `rows` may have one more; `position` returns a row's sort key.

        Values of a position are JSON: numbers, strings, booleans, ids and times. `total` is needed if `shows_total`.
        A feed is a list to which rows are only added, at its end. The URL of later rows begins after the position
        `end`, by default after the last row.
        """
        shown = rows[: self.limit]
        response = Response(self._body(name, [write(row) for row in shown], total))
        if len(rows) > self.limit and shown:
            self._link(response, position(shown[-1]))
        elif is_feed:
            self._link(response, end or (position(shown[-1]) if shown else self.position), relation="monitor")
        return response

    def json_response(self, name: str, page: JsonPage) -> Response:
        """Return `{name: […]}` of rows that PostgreSQL wrote as JSON."""
        response = Response(self._body(name, orjson.Fragment(f"[{page.json}]"), page.total))
        # Read by `config.api.views`.
        response.is_empty_page = not page.json  # type: ignore[attr-defined]
        if page.last is not None:
            self._link(response, page.last)
        return response

    def _body(self, name: str, rows: Any, total: int | None) -> dict[str, Any]:
        parts = {name: rows, "total": total, "query": self.query}
        return {key: parts[key] for key in self.answer or [name]}

    def _link(self, response: Response, position: list[Any] | None, relation: str = "next") -> None:
        query = {name: value for name, value in self.request.query_params.items() if name not in {"start", "offset"}}
        query |= {"limit": str(self.limit)}
        if position is not None:
            # Times whole, and not with milliseconds as in answers: rows of one millisecond have an order too.
            query["cursor"] = _sign(orjson.dumps(position), self.scope)
        url = public_url(self.request._request, f"{self.request.path}?{urlencode(query)}")
        response["Link"] = f'<{url}>; rel="{relation}"'


def by_creation(position: Sequence[Any] | None) -> tuple[datetime, UUID] | None:
    """Return the position of a list in the order of creation, whose rows have the sort key `[created_at, id]`."""
    return None if position is None else (datetime.fromisoformat(position[0]), UUID(position[1]))


def read(
    request: Request,
    fields: Mapping[str, Field] | None = None,
    *,
    scope: str,
    default_limit: int | None = None,
    later: Later | None = None,
    parameters: Sequence[object] = (),
) -> Page:
    """
    Read `limit`, `start`, `offset`, `cursor`, `sort_by`, `order` and the endpoint's query parameters (`fields`).

    `scope` names the list; `parameters` are other values that narrow it, such as an id in the path. `limit` is
    optional if there is a `default_limit`, and at v2 if there is a `later` one. A list without `later` has neither
    `offset` nor an order.

    :raises Invalid: a parameter is missing, unknown or of the wrong shape, or the cursor belongs to another list
    """
    is_v2 = later is not None and v2.is_v2(request)
    # Whether v1 would refuse the request.
    is_later = is_v2 or (later is not None and not LATER_PARAMETERS.isdisjoint(request.query_params))
    if later is not None and is_v2:
        default_limit = later.default_limit
    sorting = None if later is None else later.sorting
    values = _shape(
        fields or {},
        sorting,
        is_lenient=is_later,
        unfit=later.unfit if later is not None and is_later else "",
        needs_limit=default_limit is None,
        takes=[*([] if is_v2 else ["start"]), *([] if later is None else ["offset"])],
    ).read_query(request.query_params)
    limit = values.pop("limit", default_limit)
    start, offset, cursor = (values.pop(name, None) for name in ("start", "offset", "cursor"))
    if start is not None and offset is not None:
        raise Invalid('"start" is not allowed together with "offset"')
    narrowed = [str(each) for each in parameters] + (["v2"] if is_v2 else [])
    bound = renderers.encode([scope, request.user.pk, narrowed, values])
    position = None
    if cursor is not None:
        for name, value in (("start", start), ("offset", offset)):
            if value is not None:
                raise Invalid(f'"{name}" is not allowed together with "cursor"')
        position = _verify(cursor, bound)
    skipped = offset or (start or 1) - 1
    order, sorted_by = _order(values, sorting, is_v2=is_v2)
    page = Page(request, limit, skipped, position, values, bound, order)
    if later is None or not is_later:
        return page
    query = {**later.defaults, **values, **sorted_by, "limit": limit, "offset": skipped}
    return replace(page, query=query, answer=later.answer)


def _shape(
    fields: Mapping[str, Field],
    sorting: Sorting | None,
    *,
    is_lenient: bool,
    unfit: str,
    needs_limit: bool,
    takes: Sequence[str],
) -> Shape:
    number = partial(Number, from_text=True, is_lenient=is_lenient, unfit=unfit)
    bounds: dict[str, Field] = {"limit": number(1, MAXIMUM_LIMIT, required=needs_limit)}
    for name in takes:
        bounds[name] = number(0 if name == "offset" else 1, required=False)
    cursor = {"cursor": Text(maximum=1000, required=False)}
    return Shape({**bounds, **cursor, **fields, **({} if sorting is None else sorting.fields)})


def _order(values: dict[str, Any], sorting: Sorting | None, *, is_v2: bool) -> tuple[Order | None, Mapping[str, Any]]:
    """Take `sort_by` and `order` out of the values: return the order, and the two as `query` has them."""
    if sorting is None:
        return None, {}
    sent: dict[str, Any] = {name: values.pop(name) for name in ("sort_by", "order") if name in values}
    if not sent and not (is_v2 and sorting.is_default):
        return None, {}
    whole: dict[str, Any] = {"sort_by": sorting.by, "order": sorting.order} | sent
    return Order(whole["sort_by"], whole["order"] == "desc"), whole if sorting.is_default else sent


def _signature(payload: bytes, scope: bytes) -> bytes:
    return salted_hmac("coppice.cursor", payload + b"\0" + scope, algorithm="sha256").digest()[:_SIGNATURE_BYTES]


def _sign(payload: bytes, scope: bytes) -> str:
    return base64.urlsafe_b64encode(_signature(payload, scope) + payload).rstrip(b"=").decode()


def _verify(cursor: str, scope: bytes) -> list[Any]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Invalid('"cursor" is not valid', code=codes.CURSOR_INVALID) from None
    signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(payload, scope)):
        raise Invalid('"cursor" is not valid', code=codes.CURSOR_INVALID)
    position: list[Any] = orjson.loads(payload)
    return position
