"""The components of the API description for pages of lists."""

from typing import Any, Final

from config.api.json_schemas import Keyed, Named, Sometimes

# The filters that a list may repeat, by name. Values of times are instants.
_FILTERS: Final[dict[str, Any]] = {
    "name": "ali",
    "scope": "managed",
    "order_by": "created_at",
    "created_at_start_date": "2024-01-01T00:00:00.000Z",
    "created_at_end_date": "2024-12-31T00:00:00.000Z",
    "state": "requested",
    "type": "send",
    "request_type": "send",
    "search": "ali",
    "exclude_managed": False,
    "wallet": "alice",
    "before": "2024-12-31T00:00:00.000Z",
    "after": "2024-01-01T00:00:00.000Z",
    "created_since": "2024-01-01T00:00:00.000Z",
    "reference": "order 1007",
    "metadata": Keyed({"shop": "north"}),
    "awaiting_approval": "true",
}
LIST_QUERY: Final = Named(
    "ListQuery",
    "The page, order and filters of a list, as they were read from the request.",
    {
        "limit": 10,
        "offset": 0,
        "sort_by": Sometimes("created_at"),
        "order": Sometimes("desc"),
        **{name: Sometimes(example) for name, example in _FILTERS.items()},
    },
    words={
        "limit": "The maximum number of rows.",
        "offset": "The number of rows that were skipped.",
        "sort_by": "The field by which the list is sorted, if it can be sorted.",
        "order": "The direction, `asc` or `desc`, if it can be sorted.",
        **dict.fromkeys(_FILTERS, "The filter of this name, if it was sent or has a default."),
    },
)
_TOTAL: Final = (
    "The number of rows of all pages. Present below `/wallet/v2`, and if a parameter of that version is sent."
)


def page(name: str, rows: dict[str, list[Any]], *, has_total: bool = False, has_query: bool = False) -> Named:
    """Return the component of a page: `rows` is the name of the list with one row, as `{"tokens": [TOKEN]}`."""
    ((field, (row,)),) = rows.items()
    example: dict[str, Any] = {field: [row]}
    words: dict[str, str | Named] = {field: "The rows of the page, no more than `limit`."}
    if has_total:
        example["total"], words["total"] = Sometimes(1), _TOTAL
    if has_query:
        example["query"] = Sometimes(LIST_QUERY)
        words["query"] = "What was asked. Present below `/wallet/v2`, and if a parameter of that version is sent."
    return Named(name, f"A page of a list: {field}.", example, words=words)
