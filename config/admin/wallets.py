"""Pages of wallets, tokens, audits and the operators' log."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from config.admin import action_tokens, base, charts, credentials, filters
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link, list_url, page_url
from config.admin.requests import requests_fact
from config.admin.templatetags import formats
from lockers import queries as lockers
from lockers import reports as coins_overview
from lockers.models import Coin, LockerTask
from transfers import action_token_lists, counters
from transfers import reports as transfers
from transfers.models import ActionToken, Transfer
from trusts import reports as trusts
from trusts.models import Trust
from wallets import names, reports
from wallets.models import AuditRun, BearerToken, OperatorAction, RestrictedKey, Token, Wallet
from wallets.states import AuditResult, OperatorVerb
from wallets.wording import counted

_ABOUT_SHOWN: Final = 500
MANAGED_SHOWN: Final = 50


@admin.register(Wallet)
class WalletPage(base.LedgerPage):
    """Wallets, which hold tokens and coins."""

    list_display = ("name", "tokens", "reserved", "can_log_in", "made")
    numbers = ("tokens", "reserved")
    list_filter = (filters.made("created_at", "created"), filters.AgeFilter)
    ordering = ("name_key",)
    sorts = {"name": ("name_key",)}
    search_help_text = "a part of a name, or an id"
    detail_template = "desk/wallet.html"
    empty = "No wallet yet."
    csv_columns = (
        *attributes("id", "name", "display_name", "about"),
        ("tokens", lambda wallet: wallet.counts.total),
        ("reserved", lambda wallet: wallet.counts.pending),
        ("password", lambda wallet: "has one" if wallet.has_password else "none"),
        *attributes("created_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Wallet]:
        return Wallet.objects.defer("password")

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        if names.parse_uuid(term):
            return super().found(queryset, term)
        named = Q(name_key__contains=names.name_key(term))
        # Repeats the predicate of the partial index.
        called = Q(display_name__iregex=re.escape(term)) & ~Q(display_name="")
        return queryset.filter(named | called | (self.with_id(term) or Q()))

    def hits(self, queryset: QuerySet[Any], term: str, *, limit: int) -> list[Any]:
        """Return exact names first, then names that begin with the term, names with it, and display names with it."""
        condition = self.with_id(term)
        found = [] if condition is None else list(queryset.filter(condition).values_list("pk", flat=True)[:limit])
        if not names.parse_uuid(term):
            found += reports.wallets_called(term, limit=limit)
        return list(dict.fromkeys(found))[:limit]

    def is_exactly(self, row: Wallet, term: str) -> bool:
        return super().is_exactly(row, term) or row.name_key == names.name_key(term)

    def prepare(self, rows: list[Any]) -> None:
        counts = counters.token_counts([wallet.pk for wallet in rows])
        able = reports.wallets_with_password([wallet.pk for wallet in rows])
        for wallet in rows:
            wallet.counts = counts[wallet.pk]
            wallet.has_password = wallet.pk in able

    tokens = base.column("tokens", lambda wallet: f"{wallet.counts.total:,}")
    reserved = base.column("reserved", lambda wallet: f"{wallet.counts.pending:,}")
    can_log_in = base.column("password", lambda wallet: "has one" if wallet.has_password else "none")
    made = base.column("created", lambda wallet: formats.moment(wallet.created_at))

    def detail(self, request: HttpRequest, row: Wallet) -> dict[str, Any]:
        counts = counters.token_counts([row.pk])[row.pk]
        contents = lockers.contents_of(wallet_list=[row])[0]
        neighbours = trusts.neighbours(wallet_id=row.pk)
        managed = trusts.managed_by(wallet_id=row.pk, limit=MANAGED_SHOWN + 1)
        managers = trusts.managers_of(wallet_id=row.pk)
        held = counters.token_counts([wallet.pk for wallet in managed[:MANAGED_SHOWN]])
        keys = list(row.bearer_tokens.defer("digest").order_by("-created_at", "pk")[:10])
        for key in keys:
            key.validity = credentials.validity(key)  # type: ignore[attr-defined]
        newest_keys = row.restricted_keys.defer("digest").order_by("-created_at", "pk")[:10]
        here = f"?wallet={row.pk}"
        return {
            "title": row.name,
            "counts": counts,
            "contents": contents,
            "grades": [(name.replace("_", " "), *each) for name, each in contents.grades.items() if each[0]],
            "checks": coins_overview.checks_of(wallet_id=row.pk),
            "denominations": sorted(contents.denominations.items(), reverse=True),
            "neighbours": neighbours[: trusts.NEIGHBOURS_SHOWN],
            "neighbours_are_more": len(neighbours) > trusts.NEIGHBOURS_SHOWN,
            "managed": [(wallet, held[wallet.pk].total) for wallet in managed[:MANAGED_SHOWN]],
            "managed_are_more": len(managed) > MANAGED_SHOWN,
            "picture": _picture(row, neighbours),
            "moves": transfers.latest_transfers(wallet_id=row.pk, limit=10),
            "claim_links": action_tokens.latest_of(row.pk, limit=10),
            "keys": keys,
            "restricted_keys": [(key, credentials.state_of_key(key)) for key in newest_keys],
            "links": {
                "tokens": list_url(Token) + here,
                "transfers": list_url(Transfer) + here,
                "claim_links": list_url(ActionToken) + here,
                "trusts": list_url(Trust) + here,
                "coins": list_url(Coin) + here,
                "tasks": list_url(LockerTask) + here,
                "keys": list_url(BearerToken) + here,
                "restricted_keys": list_url(RestrictedKey) + here,
            },
            "facts": [
                Fact("id", row.pk),
                Fact("display name", row.display_name or "–"),
                _about(row),
                Fact("managed by", format_html_join(", ", "{}", ((link(each),) for each in managers)) or "no wallet"),
                # As text: a partner or an import chose the address, and the operator's browser should not ask for it.
                *(Fact(name, url) for name, url in (("logo", row.logo_url), ("cover", row.cover_url)) if url),
                Fact(
                    "password",
                    "has one"
                    if row.pk in reports.wallets_with_password([row.pk])
                    else "none: only a manager can act for it",
                ),
                *_approvals(row),
                Fact("created", formats.full(row.created_at), note=formats.ago(row.created_at)),
                *requests_fact(request, "refused", "its requests that were refused", wallet=row.pk, status="refused"),
                *requests_fact(request, "requests", "all its requests", wallet=row.pk),
            ],
        }


def _about(wallet: Wallet) -> Fact:
    note = f"the first {_ABOUT_SHOWN:,} of {len(wallet.about):,} characters" if len(wallet.about) > _ABOUT_SHOWN else ""
    return Fact("about", wallet.about[:_ABOUT_SHOWN] + "…" * bool(note) or "–", note=note)


def _picture(wallet: Wallet, neighbours: Sequence[trusts.Neighbour]) -> SafeString:
    return charts.around(
        wallet.name,
        [
            charts.Spoke(each.name, f"t-{each.state}", each.says, each.goes_out)
            for each in neighbours[: trusts.NEIGHBOURS_SHOWN]
        ],
        label=f"Wallets that share a trust with {wallet.name}. The list below says the same in words.",
    )


class ReservedFilter(filters.Choice):
    title = "reserved"
    parameter_name = "reserved"
    values = (("yes", "by a pending transfer or a claim link"), ("no", "free"))

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(transfer_pending_id__isnull=value == "no")


@admin.register(Token)
class TokenPage(base.LedgerPage):
    """Tokens, one per planted tree."""

    list_display = ("id", "holder", "state", "moved", "made")
    numbers = ("moved",)
    list_filter = (filters.WalletFilter, ReservedFilter)
    list_select_related = ("wallet",)
    search_help_text = "a token's id or a capture's id"
    id_columns = ("pk", "capture_id")
    detail_template = "desk/token.html"
    empty = "No token yet. An administrator issues them on the page of a wallet."
    csv_columns = (
        *attributes("id", "capture_id", "wallet.name"),
        ("reserved by", lambda token: token.transfer_pending_id),
        *attributes("moves", "created_at", "updated_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        return Token.objects.select_related("wallet").defer("wallet__password")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Each order has an index; over all tokens there is only that of the primary key.
        if request.GET.get("wallet"):
            return ("wallet", "-arrival")
        return ("id",)

    holder = base.column("holder", lambda token: link(token.wallet))

    @admin.display(description="state")
    def state(self, token: Any) -> SafeString | str:
        if token.transfer_pending_id is None:
            return "free"
        return action_tokens.reservation(token.transfer_pending_id, is_link=token.is_in_link, text="reserved")

    def prepare(self, rows: list[Any]) -> None:
        links = action_token_lists.links_among([row.transfer_pending_id for row in rows if row.transfer_pending_id])
        for row in rows:
            row.is_in_link = row.transfer_pending_id in links

    moved = base.column("moves", lambda token: f"{token.moves:,}")
    made = base.column("issued", lambda token: formats.moment(token.created_at))

    def subjects(self, row: Token) -> Sequence[tuple[str, object]]:
        return [*super().subjects(row), (transfers.ISSUE, transfers.issue_of(row))]

    def detail(self, request: HttpRequest, row: Token) -> dict[str, Any]:
        history = transfers.provenance(token_id=row.pk)
        return {
            "title": f"Token {formats.short(row.pk)}",
            "history": history,
            "detached": len(history) < min(row.moves + 1, transfers.STAGES_SHOWN),
            "facts": [
                Fact("id", row.pk),
                Fact("capture", row.capture_id, note="the tree that it represents"),
                Fact("holder", link(row.wallet)),
                Fact("state", "free") if row.transfer_pending_id is None else _reserved(row.transfer_pending_id),
                Fact("issued", formats.full(row.created_at), note=formats.ago(row.created_at)),
                _issuer(row),
                Fact("moved", f"{row.moves:,} times" if row.moves != 1 else "once"),
            ],
        }


def _issuer(row: Any) -> Fact:
    """Return who issued a token; the actions of operators on it and on its issue are loaded."""
    action = next((each for each in row.operator_actions if each.verb == OperatorVerb.ISSUED_TOKENS), None)
    if action is None:
        return Fact("issued by", "not recorded", note="by a command on the server, or an import")
    return Fact("issued by", link(action, action.staff.get_username()), note=action.reason)


def _approvals(row: Wallet) -> Iterator[Fact]:
    """Yield which transfers of its tokens need an approval, if the wallet requires any."""
    if row.approval_above is not None:
        words = f"each transfer of more than {counted(row.approval_above, 'token')}"
        yield Fact("needs approval", words, note="by a second login, or by a manager")
    if row.approval_of_new_receivers:
        words = "each transfer to a wallet to which it never sent"
        yield Fact("needs approval", words, note="by a second login, or by a manager")


def _reserved(reserved_by: Any) -> Fact:
    if action_token_lists.links_among([reserved_by]):
        return Fact("state", "reserved by a claim link", page_url(ActionToken, reserved_by))
    return Fact("state", "reserved by a pending transfer", page_url(Transfer, reserved_by))


class AuditResultFilter(filters.StateFilter):
    title = "result"
    parameter_name = "result"
    values = [(value, label.lower()) for value, label in AuditResult.choices]


def _result(run: AuditRun) -> str:
    return run.get_result_display().lower()


def _scope(run: AuditRun) -> str:
    return "all history" if run.is_of_all else "what is new"


def _is_known(run: AuditRun) -> bool:
    """Return whether the audit ended with a result: one that runs or did not end says nothing about findings."""
    return run.result in (AuditResult.SOUND, AuditResult.UNSOUND)


@admin.register(AuditRun)
class AuditRunPage(base.LedgerPage):
    """Runs of the audit."""

    called = ("audit", "audits")
    list_display = ("id", "outcome", "found_number", "of", "who", "begun", "took")
    numbers = ("found_number",)
    list_filter = (AuditResultFilter, filters.made("started_at", "begun"))
    sorts = {"begun": ("id",)}
    list_select_related = ("staff",)
    ordering = ("-id",)
    search_help_text = "the number of an audit"
    detail_template = "desk/audit.html"
    empty = "No audit yet. The scheduler runs one every few minutes."
    csv_columns = (
        *attributes("id"),
        ("result", _result),
        ("findings", lambda run: run.findings_count),
        ("of", _scope),
        ("by", lambda run: run.staff or "the scheduler"),
        *attributes("started_at", "finished_at"),
    )

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(pk=term) if term.isdecimal() and len(term) < 19 else queryset.none()

    outcome = base.column("result", lambda run: formats.pill(run.result, _result(run)))
    found_number = base.column("findings", lambda run: f"{run.findings_count:,}" if _is_known(run) else "–")
    of = base.column("of", _scope)
    who = base.column("by", lambda run: str(run.staff or "the scheduler"))
    begun = base.column("begun", lambda run: formats.moment(run.started_at))
    took = base.column(
        "took",
        lambda run: (
            "–" if run.finished_at is None else formats.span((run.finished_at - run.started_at).total_seconds())
        ),
    )

    def detail(self, request: HttpRequest, row: AuditRun) -> dict[str, Any]:
        return {
            "title": f"Audit {row.pk}",
            "facts": [
                Fact("result", formats.pill(row.result, _result(row))),
                Fact("findings", row.findings_count if _is_known(row) else "–"),
                Fact("of", _scope(row)),
                Fact("by", row.staff or "the scheduler"),
                Fact("begun", formats.full(row.started_at), note=formats.ago(row.started_at)),
                Fact("ended", formats.full(row.finished_at) or "not yet"),
                *([Fact("error", row.error)] if row.error else []),
            ],
        }


class VerbFilter(filters.StateFilter):
    title = "action"
    parameter_name = "verb"
    values = OperatorVerb.choices


class KindFilter(filters.Typed):
    title = "of"
    parameter_name = "object_id"
    hint = "an id"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(object_id=value)


@admin.register(OperatorAction)
class OperatorActionPage(base.LedgerPage):
    """The operators' log."""

    called = ("action", "actions")
    list_display = ("id", "who", "what", "of", "reason", "at")
    list_filter = (VerbFilter, filters.made("created_at", "done"), filters.AgeFilter, KindFilter)
    sorts = {"at": ("id",)}
    list_select_related = ("staff",)
    ordering = ("-id",)
    search_help_text = "a user's name"
    detail_template = "desk/action.html"
    empty = "No action yet. Every action of an operator is recorded here."
    csv_columns = (
        *attributes("id"),
        ("by", lambda action: action.staff.get_username()),
        ("did", lambda action: action.get_verb_display()),
        ("kind", lambda action: action.object_kind),
        ("object", lambda action: action.object_id),
        ("called", lambda action: action.object_label),
        *attributes("reason"),
        ("at", lambda action: action.created_at),
    )

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(staff__username=term)

    who = base.column("who", lambda action: action.staff.get_username())
    what = base.column("did", lambda action: action.get_verb_display())
    of = base.column("of", lambda action: f"{action.object_kind} {action.object_label or action.object_id}".strip())
    at = base.column("when", lambda action: formats.moment(action.created_at))

    def subjects(self, row: OperatorAction) -> Sequence[tuple[str, object]]:
        return []

    def detail(self, request: HttpRequest, row: OperatorAction) -> dict[str, Any]:
        return {
            "title": f"{row.staff.get_username()} {row.get_verb_display()}",
            "before": _pairs(row.before),
            "after": _pairs(row.after),
            "facts": [
                Fact("who", row.staff.get_username()),
                Fact("did", row.get_verb_display()),
                Fact(
                    "of",
                    f"{row.object_kind} {row.object_label}".strip(),
                    base.page_of_subject(self.admin_site, row.object_kind, row.object_id),
                    note=row.object_id,
                ),
                *(
                    Fact("concerns", f"{kind} {formats.short(thing_id)}", url)
                    for kind, _, thing_id in (thing.partition(":") for thing in row.things)
                    if (kind, thing_id) != (row.object_kind, row.object_id)
                    and (url := base.page_of_subject(self.admin_site, kind, thing_id))
                ),
                Fact("why", row.reason or "–"),
                Fact("when", formats.full(row.created_at), note=formats.ago(row.created_at)),
                *(
                    requests_fact(request, "request", row.request_id, q=row.request_id)
                    if row.request_id
                    else [Fact("request", "–")]
                ),
            ],
        }


def _pairs(values: Any) -> Iterable[tuple[str, object]]:
    return [(str(key).replace("_", " "), value) for key, value in values.items()] if isinstance(values, dict) else []
