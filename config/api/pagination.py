"""
Pagination: `limit` and `start` as in the public service, and signed cursors (keyset pagination, fast at any depth).

    page = pagination.read(request, {"wallet": Text(required=False)}, scope="tokens")
    written = queries.tokens_page(..., limit=page.limit, offset=page.offset, before=page.position and page.position[0])
    return page.json_response("tokens", written)

A page that is not the last has `Link: <…>; rel="next"`. Its cursor is bound to the caller, the endpoint and the
filters: with others it is refused with 422.
"""

import base64
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import renderers
from config.api.errors import Invalid
from config.api.treetracker import v2
from config.api.validation import Field, Number, Shape, Text
from config.web.addresses import public_url
from wallets.queries import JsonPage

MAXIMUM_LIMIT: Final = 1000
_SIGNATURE_BYTES: Final = 16


@dataclass(frozen=True)
class Page:
    """A requested page. `values` are the endpoint's query parameters; `position` is decoded from the cursor."""

    request: Request
    limit: int
    offset: int
    position: list[Any] | None
    values: Mapping[str, Any]
    scope: bytes

    @property
    def fetch(self) -> int:
        """`limit` + 1: the extra row shows that there is a next page."""
        return self.limit + 1

    def response(
        self,
        name: str,
        rows: Sequence[Any],
        *,
        write: Callable[[Any], Any],
        position: Callable[[Any], list[Any]],
    ) -> Response:
        """
        Return `{name: […]}` of up to `limit` rows. `rows` may have one more; `position` returns a row's sort key.

        Values of a position are JSON: numbers, strings, booleans, ids and times.
        """
        shown = rows[: self.limit]
        response = Response({name: [write(row) for row in shown]})
        if len(rows) > self.limit and shown:
            self._link(response, position(shown[-1]))
        return response

    def json_response(self, name: str, page: JsonPage) -> Response:
        """Return `{name: […]}` of rows that PostgreSQL wrote as JSON."""
        response = Response({name: orjson.Fragment(f"[{page.json}]")})
        # Read by `config.api.views`.
        response.is_empty_page = not page.json  # type: ignore[attr-defined]
        if page.last is not None:
            self._link(response, page.last)
        return response

    def _link(self, response: Response, position: list[Any]) -> None:
        query = {name: value for name, value in self.request.query_params.items() if name != "start"}
        query |= {"limit": str(self.limit), "cursor": _sign(renderers.encode(position), self.scope)}
        url = public_url(self.request._request, f"{self.request.path}?{urlencode(query)}")
        response["Link"] = f'<{url}>; rel="next"'


def read(
    request: Request,
    fields: Mapping[str, Field] | None = None,
    *,
    scope: str,
    default_limit: int | None = None,
    parameters: Sequence[object] = (),
) -> Page:
    """
    Read `limit`, `start`, `cursor` and the endpoint's query parameters (`fields`).

    `scope` names the list; `parameters` are other values that narrow it, such as an id in the path. `limit` is
    optional if there is a `default_limit`; below `/wallet/v2` its defaults are those of that version.

    :raises Invalid: a parameter is missing, unknown or of the wrong shape, or the cursor belongs to another list
    """
    if v2.is_v2(request.path_info):
        default_limit = v2.DEFAULT_LIMITS.get(scope, default_limit)
    shape = Shape(
        {
            "limit": Number(1, MAXIMUM_LIMIT, from_text=True, required=default_limit is None),
            "start": Number(1, from_text=True, required=False),
            "cursor": Text(maximum=1000, required=False),
            **(fields or {}),
        }
    )
    values = shape.read_query(request.query_params)
    limit = values.pop("limit", default_limit)
    start = values.pop("start", None)
    cursor = values.pop("cursor", None)
    bound = renderers.encode([scope, request.user.pk, [str(each) for each in parameters], values])
    position = None
    if cursor is not None:
        if start is not None:
            raise Invalid('"start" is not allowed together with "cursor"')
        position = _verify(cursor, bound)
    return Page(request, limit, (start or 1) - 1, position, values, bound)


def _signature(payload: bytes, scope: bytes) -> bytes:
    return salted_hmac("coppice.cursor", payload + b"\0" + scope, algorithm="sha256").digest()[:_SIGNATURE_BYTES]


def _sign(payload: bytes, scope: bytes) -> str:
    return base64.urlsafe_b64encode(_signature(payload, scope) + payload).rstrip(b"=").decode()


def _verify(cursor: str, scope: bytes) -> list[Any]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Invalid('"cursor" is not valid') from None
    signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(payload, scope)):
        raise Invalid('"cursor" is not valid')
    position: list[Any] = orjson.loads(payload)
    return position
