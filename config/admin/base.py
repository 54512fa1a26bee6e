"""
Base class of the admin's read-only pages: a list, its rows as CSV, and a page for each row.

Rows cannot be added, changed or deleted by a form or a bulk action: these pages have no such URL. An operator changes a
row with the buttons on its page (`config.admin.actions`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field, unquote
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern, get_script_prefix, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from config.admin import csv_export
from config.admin.actions import registry
from config.admin.filters import DateFilter
from config.admin.links import page_url
from config.web import replica_pages
from wallets import operator_log

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    # Generic only for the type checker.
    _ModelAdmin, _Paginator = admin.ModelAdmin, Paginator

# Further rows are not counted and have no page number: they are reached by filters.
COUNTED_ROWS: Final = 10_000
_PREPARED_AT_ONCE: Final = 500
# The most recent operators' actions on the page of a row.
ACTIONS_SHOWN: Final = 20


# As many digits as pages show of an id, and the sign for the others (`formats.short`).
_BEGINNING_OF_ID: Final = re.compile(r"([0-9a-f]{8}[0-9a-f-]{0,28})(?:…|\.\.\.)?", re.IGNORECASE | re.ASCII)


def ids_from(term: str) -> tuple[UUID, UUID] | None:
    """Return the lowest and the highest id that begins with a text of at least 8 hexadecimal digits, or None."""
    found = _BEGINNING_OF_ID.fullmatch(term)
    digits = found[1].replace("-", "") if found else ""
    if not 8 <= len(digits) <= 32:
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the table at the top of a row's page. A value may be any text; `url` makes it a link."""

    label: str
    value: object
    url: str = ""
    note: str = ""


class BoundedPaginator(_Paginator):
    """Bounds the COUNT to the rows that have a page number, so that a list of millions opens quickly."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: COUNTED_ROWS + 1].count()

    @property
    def is_bounded(self) -> bool:
        return self.count > COUNTED_ROWS


def reversed_order(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the opposite order."""
    return tuple(name[1:] if name.startswith("-") else f"-{name}" for name in columns)


def column(head: str, value: Callable[[Any], object]) -> Callable[[Any, Any], object]:
    """Return a column of a list, as an attribute of its page: its head, and its value for a row."""
    return admin.display(lambda page, row: value(row), description=head)


SORT: Final = "sort"


class Head(NamedTuple):
    """The head of a column: its label, whether it has numbers, and, if rows can be sorted by it, how."""

    label: str
    is_number: bool
    # The query string that sorts by it, the other way round if it sorts now; `ascending` or `descending` if it does.
    url: str = ""
    direction: str = ""


class Listing(ChangeList):
    """A page of rows, with the values that `prepare` adds for all rows in one statement."""

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        found = super().get_filters_params(params)
        found.pop(SORT, None)
        return found

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the order that the query asks for. Django's own parameter would sort by columns without an index."""
        page: LedgerPage = self.model_admin  # type: ignore[assignment]
        return list(page.order(request))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        page: LedgerPage = self.model_admin  # type: ignore[assignment]
        page.prepare(rows)
        self.result_list = rows
        sorts, asked = page.sorts_for(request), request.GET.get(SORT, "")
        present = asked or next((f"-{name}" if first else name for name, first in page.first_order(request)), "")
        self.heads = []
        for name in page.list_display:
            label, is_number = str(label_for_field(name, self.model, page)), name in page.numbers
            if name not in sorts:
                self.heads.append(Head(label, is_number))
                continue
            direction = {name: "ascending", f"-{name}": "descending"}.get(present, "")
            other = f"-{name}" if direction == "ascending" else name
            self.heads.append(Head(label, is_number, self.get_query_string({SORT: other}), direction))
        self.lines = [(row.pk, *page.line(row)) for row in rows]


class LedgerPage(_ModelAdmin):
    """
    The list, the CSV and the page of a kind of rows.

    A subclass gives `list_display`, `list_filter`, `csv_columns`, `detail_template` and `detail`, orders by an indexed
    column, and finds what was typed into the search in `found`.
    """

    actions = None
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50
    # No "Show all": it would be one page of ten thousand rows.
    list_max_show_all = 0
    sortable_by = ()
    change_list_template = "desk/list.html"
    # Django hides the search of an admin without search fields.
    search_fields = ("pk",)
    csv_columns: ClassVar[Sequence[csv_export.Column]] = ()
    detail_template: ClassVar[str] = "desk/detail.html"
    # Singular and plural, if they differ from the model's.
    called: ClassVar[tuple[str, str] | None] = None
    # The columns that are aligned right.
    numbers: ClassVar[Sequence[str]] = ()
    # The text of an empty list: how the first row is created. A partner's application does it, or the buttons above.
    empty: ClassVar[str] = ""
    is_partners_work: ClassVar[bool] = False
    # The columns that hold an id by which a row is found.
    id_columns: ClassVar[Sequence[str]] = ("pk",)

    # The columns by which rows can be sorted, with the columns of an index, ascending. A list sorts nothing else.
    sorts: ClassVar[Mapping[str, Sequence[str]]] = {}

    def sorts_for(self, request: HttpRequest) -> Mapping[str, Sequence[str]]:
        """Return `sorts` for the filters of a request: each order has an index that matches them."""
        return self.sorts

    def order(self, request: HttpRequest) -> Sequence[str]:
        """
        Return the order that a request asks for, by default that of `get_ordering`.

        :raises IncorrectLookupParameters: the list cannot be sorted so
        """
        asked = request.GET.get(SORT, "")
        if not asked:
            return [str(name) for name in self.get_ordering(request)]
        columns = self.sorts_for(request).get(asked.removeprefix("-"))
        if columns is None:
            raise IncorrectLookupParameters
        return reversed_order(columns) if asked.startswith("-") else columns

    def first_order(self, request: HttpRequest) -> Iterator[tuple[str, bool]]:
        """Yield the sortable column that has the default order, and whether it is descending."""
        default = tuple(str(name) for name in self.get_ordering(request))
        for name, columns in self.sorts_for(request).items():
            if default in (tuple(columns), reversed_order(columns)):
                yield name, default != tuple(columns)

    @property
    def singular(self) -> str:
        return self.called[0] if self.called else str(self.opts.verbose_name)

    @property
    def plural(self) -> str:
        return self.called[1] if self.called else str(self.opts.verbose_name_plural)

    # --- read-only ------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        def name(what: str) -> str:
            return f"{self.opts.app_label}_{self.opts.model_name}_{what}"

        def view(function: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
            return self.admin_site.admin_view(function)

        return [
            path("", view(self.changelist_view), name=name("changelist")),
            path("csv/", view(self.csv_view), name=name("csv")),
            path("<path:object_id>/change/", view(self.change_view), name=name("change")),
        ]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """
        Allow the filters of the list and nothing else.

        Django accepts any column as a parameter, including columns of other tables and secrets, and values that
        PostgreSQL rejects.

        :raises IncorrectLookupParameters: the list has no such filter
        """
        known = {getattr(each, "parameter_name", None) for each in self.list_filter}
        if any(isinstance(each, type) and issubclass(each, DateFilter) for each in self.list_filter):
            known.add(DateFilter.until_name)
        if lookup not in known:
            raise IncorrectLookupParameters
        return True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Listing

    def line(self, row: Any) -> tuple[str, list[tuple[str, object, bool]]]:
        """Return the URL of a row's page, and for each column its head, its value, and whether it is a number."""
        columns: list[tuple[str, object, bool]] = []
        for name in self.list_display:
            _, _, value = lookup_field(name, row, self)
            columns.append((str(label_for_field(name, self.model, self)), value, name in self.numbers))
        return page_url(self.model, row.pk), columns

    def prepare(self, rows: list[Any]) -> None:
        """Load what the rows of a list need from other tables, in one statement for all rows."""

    def prepared(self, rows: Iterator[Any]) -> Iterator[Any]:
        """Yield the rows of a CSV file, prepared in batches that one SQL statement can take."""
        while chunk := list(islice(rows, _PREPARED_AT_ONCE)):
            self.prepare(chunk)
            yield from chunk

    # --- lists ----------------------------------------------------------------------------

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return (queryset.none() if "\0" in term else self.found(queryset, term)), False

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Return the rows that match a search term, by an index: the search of all pages asks each list too."""
        condition = self.with_id(term)
        return queryset.none() if condition is None else queryset.filter(condition)

    def with_id(self, term: str) -> Q | None:
        """Return the condition that an id of the row is the term or begins with it, None if the term is no id."""
        ids = ids_from(term)
        if ids is None:
            return None
        condition = Q()
        for column in self.id_columns:
            condition |= (
                Q(**{column: ids[0]}) if ids[0] == ids[1] else Q(**{f"{column}__gte": ids[0], f"{column}__lte": ids[1]})
            )
        return condition

    def is_exactly(self, row: Any, term: str) -> bool:
        """Return whether a row that was found is the one that the term names in full."""
        ids = ids_from(term)
        return ids is not None and ids[0] == ids[1]

    def hits(self, queryset: QuerySet[Any], term: str, *, limit: int) -> list[Any]:
        """Return the primary keys of the first rows that match a search term, the best first."""
        return list(self.found(queryset, term).values_list("pk", flat=True)[:limit])

    @method_decorator(require_safe)
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return replica_pages.answered(request, lambda: self._list(request, extra_context))  # type: ignore[return-value]

    def _list(self, request: HttpRequest, extra_context: dict[str, Any] | None) -> HttpResponse:
        as_csv = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_csv")
        more = {
            "title": self.plural[:1].upper() + self.plural[1:],
            "singular": self.singular,
            "plural": self.plural,
            "empty": self.empty,
            "is_partners_work": self.is_partners_work,
            "guide": f"{get_script_prefix()}docs/partners/",
            "counted_rows": COUNTED_ROWS,
            "list_buttons": registry.buttons_above(request, self.model),
            "many_buttons": registry.buttons_for_many(request, self.model),
            "csv_url": f"{as_csv}?{request.GET.urlencode()}",
        }
        response = super().changelist_view(request, more | (extra_context or {}))
        if isinstance(response, SimpleTemplateResponse) and not isinstance(response, TemplateResponse):
            # Django renders this for a query that is rejected twice, as if the database were broken.
            return HttpResponseRedirect(f"{request.path}?e=1")
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            shown = response.context_data["cl"]
            response.context_data["page_links"] = [
                (number, shown.get_query_string({PAGE_VAR: number})) if isinstance(number, int) else (None, "")
                for number in shown.paginator.get_elided_page_range(shown.page_num)
            ]
        return response

    @method_decorator(require_safe)
    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send all rows that match the filters of the list, not only one page."""
        return replica_pages.answered(request, lambda: self._csv(request))

    def _csv(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            shown = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(request.path)
        return csv_export.response(
            self.csv_columns,
            self.prepared(shown.queryset.iterator(chunk_size=2000)),
            file_name=f"{self.plural}-{timezone.now():%Y%m%d-%H%M%S}.csv".replace(" ", "-"),
        )

    # --- the page of a row ----------------------------------------------------------------

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        operator_actions = operator_log.acts_on(self.subjects(row), limit=ACTIONS_SHOWN)
        row.operator_actions = operator_actions
        buttons = registry.buttons_of(request, row)
        context = {
            **self.admin_site.each_context(request),
            "operator_actions": operator_actions,
            "title": f"{self.singular} {row}"[:100],
            "opts": self.opts,
            "row": row,
            "singular": self.singular,
            "plural": self.plural,
            "buttons": buttons,
            "not_allowed": [button.label for button in buttons if not button.is_allowed],
            **self.detail(request, row),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.detail_template, context)

    def subjects(self, row: Any) -> Sequence[tuple[str, object]]:
        """Return (kind, id) of the row and of the rows that belong to it, as the operators' log names them."""
        return [(self.singular, row.pk)]

    def detail(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return the context of the template of a row's page: `facts`, and what else the template uses."""
        return {}


def page_of_subject(site: admin.AdminSite, kind: str, row_id: str) -> str:
    """Return the URL of the page of a subject of the operators' log, or "" if there is none."""
    for model, page in site._registry.items():
        if row_id and isinstance(page, LedgerPage) and page.singular == kind:
            return page_url(model, row_id)
    return ""
