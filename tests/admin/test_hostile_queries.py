"""Every list of the desk with every parameter and values that no browser sends: never a 500, never a hidden column."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import User
from django.contrib.messages.storage.fallback import FallbackStorage
from django.core.exceptions import SuspiciousOperation
from django.test import Client, RequestFactory
from django.urls import reverse

from tests.support.admin_lists import LISTS
from wallets.models import Wallet

VALUES = [
    "", "%00", "a%00b", "%ED%A0%80", "%ff", "%F0%9F", "9" * 400, "-1", "0", "1e999", "nan", "0x10", "%EF%BC%91",
    "2026-13-45", "0000-00-00", "99999-01-01T00:00:00Z", "3f2b8a1e-5c4d-4e6f-8a9b-0c1d2e3f4a5", "%25", "%5C",
    "'%22%3B--", "x" * 5000, "a,b,,", "None", "True", "%0A%0D%09", ".", "-.1.-", "9223372036854775808", "2147483648",
]  # fmt: skip
OF_DJANGO = [
    "q",
    "p",
    "o",
    "ot",
    "all",
    "e",
    "pp",
    "_popup",
    "_to_field",
    "_facets",
    "_changelist_filters",
    "bogus",
    "",
]
LOOKUPS = ["exact", "in", "isnull", "range", "gt", "regex", "year", "date", "startswith", "contains", "nonsense", ""]
# What a query of another list would find out letter by letter.
HIDDEN = [
    "wallet__password__startswith", "password__startswith", "password", "digest__startswith", "user__password",
    "staff__password__startswith", "code__startswith", "secrets__isnull", "originator__password__regex",
    "actor__password__startswith", "source__password__startswith", "wallet__apikey__digest", "groups__user__password",
    "bearer_tokens__digest__startswith", "pk__in", "id__gt", "wallet__name",
]  # fmt: skip


def parameters(name: Any) -> Any:
    page = next(
        page
        for model, page in admin.site._registry.items()
        if f"{model._meta.app_label}_{model._meta.model_name}" == name
    )
    columns = [field.name for field in page.model._meta.get_fields()]
    filters = [each.parameter_name for each in page.list_filter if issubclass(each, SimpleListFilter)]
    assert len(filters) == len(page.list_filter)
    return filters, [
        *OF_DJANGO,
        *filters,
        *(f"{column}__{lookup}".removesuffix("__") for column, lookup in itertools.product(columns, LOOKUPS)),
        *HIDDEN,
    ]


def outcomes(name: Any, staff: Any, queries: Any) -> Any:
    """Return what becomes of each query: the rows that it finds, without the page that shows them, or a refusal."""
    page = next(
        page for page in admin.site._registry.values() if f"{page.opts.app_label}_{page.opts.model_name}" == name
    )
    found = {}
    for query in queries:
        request = RequestFactory().get(f"/admin/?{query}")
        request.user, request.session = staff, {}
        request._messages = FallbackStorage(request)
        try:
            found[query] = len(page.get_changelist_instance(request).result_list)
        except (IncorrectLookupParameters, SuspiciousOperation):
            found[query] = "refused"
    return found


@pytest.mark.parametrize("name", LISTS)
def test_no_query_of_a_list_fails(staff: User, name: Any) -> None:
    filters, every = parameters(name)
    read = [*OF_DJANGO, *filters]
    queries = [f"{parameter}={value}" for parameter in filters for value in VALUES]
    queries += [
        f"{parameter}={value}" for parameter in OF_DJANGO for value in VALUES[:: 1 if parameter in "qpo" else 7]
    ]
    queries += [f"{parameter}={value}&{parameter}=%00" for parameter in filters for value in ("", "x")]
    # What is refused is the name: one value for each, and both for each column and each lookup.
    unread = [
        f"{parameter}={('%00', 'x')[(number + number // len(LOOKUPS)) % 2]}"
        for number, parameter in enumerate(every)
        if parameter not in read
    ]

    outcomes(name, staff, queries)

    # Columns are no parameters, and those of other tables neither.
    assert set(outcomes(name, staff, unread).values()) == {"refused"}


@pytest.mark.parametrize("name", LISTS)
def test_a_hostile_query_of_a_page_or_a_file_is_answered(desk: Client, name: Any) -> None:
    filters, _ = parameters(name)
    queries = [f"{parameter}=%00" for parameter in (*filters, "q", "p", "o", "state__exact")]
    queries += [f"q={value}" for value in ("%ED%A0%80", "9" * 400, "%F0%9F")]

    for what, query in itertools.product(("changelist", "csv"), queries):
        assert desk.get(f"{reverse(f'admin:{name}_{what}')}?{query}").status_code in (200, 302), query


def test_a_column_is_no_parameter(desk: Client, ledger: SimpleNamespace) -> None:
    url = reverse("admin:wallets_token_changelist")
    begins = Wallet.objects.get(name="alice").password[:3]

    right = desk.get(f"{url}?wallet__password__startswith={begins}")
    wrong = desk.get(f"{url}?wallet__password__startswith=x")
    again = desk.get(f"{url}?e=1&wallet__password__startswith={begins}")

    assert {(each.status_code, each["Location"]) for each in (right, wrong, again)} == {(302, f"{url}?e=1")}
    assert desk.get(f"{url}?e=1").status_code == 200
