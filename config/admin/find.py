"""
The search of all pages: one box in the header.

A form that is sent with GET would put what is typed into the URL, and so into the history of the browser and the logs
of proxies. Operators paste secrets too: an API key that a partner read out, a transmit code, the link of a claim. The
box therefore sends POST. What is not like a secret is redirected to `?q=`, so that results can be reloaded and passed
on; what may be a secret is answered in place, without links that hold it; what surely is one is not searched at all.

Each kind of rows is searched by its own page (`LedgerPage.hits`), with the permission to view it and a time limit.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import label_for_field
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods
from psycopg.errors import QueryCanceled

from config.admin import base
from config.admin.links import list_url, page_url
from config.admin.templatetags import formats
from lockers.models import Locker, LockerTask, PaymentRequest
from lockers.raida import codes
from transfers.models import ActionToken, Transfer
from trusts.models import Trust
from wallets import names, restricted_keys
from wallets.models import ApiKey, Event, Wallet
from webhooks import secrets as webhook_secrets
from webhooks.models import Webhook

# Characters of a term: those of the longest reference.
LONGEST: Final = 255
# Rows of a kind that are shown, and that are counted.
SHOWN: Final = 6
COUNTED: Final = 100
# The time limit of one kind of rows, and after what time no further kind is searched.
_KIND_SECONDS: Final = 1.0
_SECONDS: Final = 3.0
_SYMBOL: Final = f"[{codes.ALPHABET}]"
_GROUP: Final = f"{_SYMBOL}{{{codes.GROUP}}}"
# A transmit code as it is generated, in groups, or without them in upper case: a request id has 16 symbols too.
_TRANSMIT_CODE: Final = re.compile(
    rf"(?i:{_GROUP}(?:[- ]{_GROUP}){{{codes.SYMBOLS // codes.GROUP - 1}}})|(?=.*[2-9]){_SYMBOL}{{{codes.SYMBOLS}}}"
)
# Keys and codes of claim links, and transmit codes as other clients write them. Some names and references are like it.
_LIKE_A_SECRET: Final = re.compile(
    r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[!-~]{20,}|[A-Z0-9]{3}-[A-Z0-9]{4}(?:-[0-9A-F]{10})?", re.ASCII
)
_BEARER_TOKEN: Final = re.compile(r"(?:Bearer\s+)?eyJ[A-Za-z0-9_-]+\.", re.IGNORECASE)
# More of one than its pages show.
_RESTRICTED_KEY: Final = re.compile(rf"(?:Bearer\s+)?{restricted_keys.PREFIX}\S{{5,}}", re.IGNORECASE)


class Group(NamedTuple):
    """The rows of one kind. `number` is in words; `url` leads to all of them, "" if there is no such list."""

    title: str
    number: str
    url: str
    heads: Sequence[tuple[str, bool]]
    lines: Sequence[tuple[str, Sequence[tuple[str, object, bool]]]]


class Found(NamedTuple):
    """What was found: groups, the pages of the rows that match exactly, and the kinds that took too long."""

    groups: list[Group]
    exact: list[str]
    late: list[str]

    @property
    def only(self) -> str:
        """The page of the only row, or ""."""
        lines = [line for group in self.groups for line in group.lines]
        return lines[0][0] if len(lines) == 1 and not self.late else ""


@sensitive_variables()
def secret_in(term: str) -> str:
    """Return what kind of secret a term surely is, or ""."""
    if _BEARER_TOKEN.match(term):
        return "a bearer token"
    if _RESTRICTED_KEY.match(term):
        return "a restricted key"
    if term.startswith(webhook_secrets.PREFIX):
        return "the secret of a webhook"
    if _TRANSMIT_CODE.fullmatch(term):
        return "a transmit code"
    if "/claim" in term and "#" in term:
        return "a claim link with its code"
    digest = hashlib.sha256(term.encode("utf-8", "surrogatepass")).digest()
    if ApiKey.objects.filter(digest=digest).exists():
        return "an API key"
    if ActionToken.objects.filter(digest=digest).exists():
        return "the code of a claim link"
    return ""


@sensitive_variables()
def may_be_secret(term: str) -> bool:
    """Return whether a term is so like a key or a code that it should not be in a URL."""
    return base.ids_from(term) is None and _LIKE_A_SECRET.fullmatch(term) is not None


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables()
def find(
    request: HttpRequest, *, site: AdminSite, pages: Callable[[HttpRequest], Iterable[base.LedgerPage]]
) -> HttpResponse:
    """
    Answer a search: results by kind, or a redirect to the page of the one row that matches exactly.

    `pages` returns the pages that the user of a request may view.
    """
    is_typed = request.method == "POST"
    term = (request.POST if is_typed else request.GET).get("q", "").strip()
    context: dict[str, Any] = {"title": "Search", "is_typed": is_typed, "longest": LONGEST, "shown": SHOWN}
    if term and (secret := secret_in(term)):
        context["secret"] = secret
    elif len(term) > LONGEST or not names.is_storable(term):
        context["refusal"] = f"A search has at most {LONGEST} characters, and none that cannot be stored."
    elif term:
        is_private = may_be_secret(term)
        if is_typed and not is_private:
            return HttpResponseRedirect(f"{reverse('admin:find')}?{urlencode({'q': term})}")
        found = results(request, pages(request), site, term, is_private=is_private)
        page = "" if request.GET.get("all") else found.exact[0] if len(found.exact) == 1 else found.only
        if page:
            if page != found.only and not is_private:
                all_of_them = f"{reverse('admin:find')}?{urlencode({'q': term, 'all': 1})}"
                messages.info(request, format_html('There are <a href="{}">other results</a>.', all_of_them))
            return HttpResponseRedirect(page)
        context |= {"found": found, "term": "" if is_private else term, "is_private": is_private}
    return TemplateResponse(request, "desk/find.html", {**site.each_context(request), **context})


@sensitive_variables()
def results(
    request: HttpRequest, pages: Iterable[base.LedgerPage], site: AdminSite, term: str, *, is_private: bool = False
) -> Found:
    """Search the rows of the pages, which the user may view, and events. `is_private`: no URL holds the term."""
    found = Found([], [], [])
    end = time.monotonic() + _SECONDS
    searches: list[tuple[str, base.LedgerPage | None]] = [(page.plural, page) for page in pages]
    if request.user.has_perm("wallets.view_wallet"):
        searches.append(("events", None))
    while searches:
        try:
            with transaction.atomic():
                _limit_statements()
                while searches and time.monotonic() < end:
                    _, page = searches[0]
                    if page is None:
                        _add_events(found, site, request, term)
                    else:
                        _add(found, page, request, term, is_private=is_private)
                    searches.pop(0)
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            # The transaction is over. The other kinds are searched in the next one.
            found.late.append(searches.pop(0)[0])
        if time.monotonic() >= end:
            found.late.extend(title for title, _ in searches)
            break
    return found


def _limit_statements() -> None:
    """For this transaction: end a statement that takes long, and plan each for the term, which may be rare or not."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true),"
            " set_config('plan_cache_mode', 'force_custom_plan', true)",
            [f"{int(_KIND_SECONDS * 1000)}ms"],
        )


def _add(found: Found, page: base.LedgerPage, request: HttpRequest, term: str, *, is_private: bool) -> None:
    queryset = page.get_queryset(request)
    keys = page.hits(queryset, term, limit=COUNTED + 1)
    if not keys:
        return
    by_key = queryset.in_bulk(keys[:SHOWN])
    rows = [by_key[key] for key in keys[:SHOWN] if key in by_key]
    page.prepare(rows)
    lines = [page.line(row) for row in rows]
    found.exact.extend(url for row, (url, _) in zip(rows, lines, strict=True) if page.is_exactly(row, term))
    count = f"more than {COUNTED}" if len(keys) > COUNTED else f"{len(keys)}"
    url = "" if is_private else f"{list_url(page.model)}?{urlencode({'q': term})}"
    heads = [(str(label_for_field(name, page.model, page)), name in page.numbers) for name in page.list_display]
    found.groups.append(Group(page.plural, count, url, heads, lines))


# Where an event leads: the page of what it is about.
_SUBJECTS: Final[Sequence[tuple[str, type[Any]]]] = (
    ("transferId", Transfer), ("taskId", LockerTask), ("paymentRequestId", PaymentRequest), ("lockerId", Locker),
    ("trustRelationshipId", Trust), ("webhookId", Webhook),
)  # fmt: skip


def _add_events(found: Found, site: AdminSite, request: HttpRequest, term: str) -> None:
    """Add stored events. Those of the creation of a transfer are read from the transfer, and have no row."""
    ids = base.ids_from(term)
    if ids is None:
        return
    events = list(Event.objects.select_related("wallet").defer("wallet__password").filter(id__range=ids)[: SHOWN + 1])
    if not events:
        return
    lines = []
    for event in events[:SHOWN]:
        url = next(_subjects(event, site, request), page_url(Wallet, event.wallet_id))
        columns = [
            ("event", formats.short(event.pk), False),
            ("type", event.type.replace("_", " "), False),
            ("wallet", event.wallet.name, False),
            ("at", formats.moment(event.created_at), False),
        ]
        lines.append((url, columns))
        if ids[0] == ids[1]:
            found.exact.append(url)
    count = f"more than {SHOWN}" if len(events) > SHOWN else f"{len(events)}"
    found.groups.append(Group("events", count, "", [(head, False) for head, _, _ in lines[0][1]], lines))


def _subjects(event: Event, site: AdminSite, request: HttpRequest) -> Iterator[str]:
    for field, model in _SUBJECTS:
        thing = event.payload.get(field)
        if isinstance(thing, str) and names.parse_uuid(thing) and site._registry[model].has_view_permission(request):
            yield page_url(model, UUID(thing))
