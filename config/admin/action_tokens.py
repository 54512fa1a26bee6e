"""Pages of claim links. Neither code nor digest is read."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from config.admin import base, filters
from config.admin.actions.base import ACTION_TOKEN
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link, page_url
from config.admin.templatetags import formats
from transfers.models import ActionToken, Transfer
from transfers.states import ActionTokenState


class ActionTokenStateFilter(filters.StateFilter):
    values = [(state.value, state.value) for state in ActionTokenState]


class SenderFilter(filters.WalletFilter):
    columns = ("sender",)


def shown_state(row: ActionToken) -> str:
    """Return the state. A link whose time has passed is shown as expired, also before the sweep has closed it."""
    is_over = row.state == ActionTokenState.ACTIVE and row.expires_at <= timezone.now()
    return ActionTokenState.EXPIRED.value if is_over else row.state


def latest_of(wallet_id: Any, *, limit: int) -> list[ActionToken]:
    """Return the newest claim links of a wallet."""
    rows = ActionToken.objects.defer("digest").filter(sender_id=wallet_id).order_by("-created_at", "id")[:limit]
    return [_with_state(row) for row in rows]


def _with_state(row: ActionToken) -> ActionToken:
    row.shown_state = shown_state(row)  # type: ignore[attr-defined]
    return row


def _facts(row: ActionToken) -> Iterator[Fact]:
    yield Fact("state", formats.pill(shown_state(row)))
    yield Fact("from", link(row.sender))
    yield Fact("made by", link(row.originator))
    yield Fact("tokens", f"{row.token_count:,}")
    if row.message:
        yield Fact("message", row.message)
    if row.recipient_email:
        note = "the claimant must give it" if row.email_must_match else "informational"
        yield Fact("e-mail", row.recipient_email, note=note)
    yield Fact("made", formats.full(row.created_at), note=formats.ago(row.created_at))
    yield Fact("expires", formats.full(row.expires_at), note=formats.ago(row.expires_at))
    if row.closed_at is not None:
        yield Fact("closed", formats.full(row.closed_at), note=formats.ago(row.closed_at))
    if row.closed_by is not None:
        yield Fact("closed by", link(row.closed_by))
    if row.state == ActionTokenState.REDEEMED:
        yield Fact("transfer", "the claim", page_url(Transfer, row.pk))
    yield Fact("id", row.pk)


@admin.register(ActionToken)
class ActionTokenPage(base.LedgerPage):
    """Claim links: tokens for a person without a wallet."""

    called = (ACTION_TOKEN, "claim links")
    list_display = ("identity", "status", "tokens", "from_wallet", "made", "ends")
    numbers = ("tokens",)
    list_filter = (
        ActionTokenStateFilter, SenderFilter, filters.TokensFrom, filters.TokensTo, filters.made("created_at"),
    )  # fmt: skip
    ordering = ("-created_at", "id")
    sorts = {"made": ("created_at", "-id")}
    search_help_text = "a claim link's id"
    empty = "No claim link yet. Wallets create them over the API."
    is_partners_work = True
    csv_columns = (
        ("id", lambda row: row.pk),
        ("state", shown_state),
        ("tokens", lambda row: row.token_count),
        *attributes("sender.name", "originator.name", "created_at", "expires_at", "closed_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ActionToken]:
        wallets = ("sender", "originator", "closed_by")
        return ActionToken.objects.select_related(*wallets).defer("digest", *(f"{each}__password" for each in wallets))

    identity = base.column("claim link", lambda row: formats.short(row.pk))
    status = base.column("state", lambda row: formats.pill(shown_state(row)))
    tokens = base.column("tokens", lambda row: f"{row.token_count:,}")
    from_wallet = base.column("from", lambda row: link(row.sender))
    made = base.column("made", lambda row: formats.moment(row.created_at))
    ends = base.column("expires", lambda row: formats.moment(row.expires_at))

    def detail(self, request: HttpRequest, row: ActionToken) -> dict[str, Any]:
        return {"title": f"Claim link {formats.short(row.pk)}", "facts": list(_facts(row))}


def reservation(reserved_by: Any, *, is_link: bool, text: str) -> SafeString:
    """Return a link to the page of what reserves a token."""
    return link(ActionToken(pk=reserved_by) if is_link else Transfer(pk=reserved_by), text)
