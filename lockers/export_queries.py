"""Reads of exports and the coins in their files, restricted to what the actor may see."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from lockers import errors, queries
from lockers.models import Coin, Export
from lockers.raida.coins import total_value
from lockers.states import HELD, SPENDABLE, CoinState
from trusts import queries as trusts
from wallets.models import Wallet


def coins_in_file(*, export: Export) -> list[Coin]:
    """
    Return the coins of an export, with their sealed secrets, without those imported or recalled here, or being so.

    Another wallet's undecided claim does not count: it may be false.
    """
    returned = Coin.objects.filter(
        Q(state__in=SPENDABLE, locker=None) | Q(state__in=[*HELD, CoinState.WAITING], wallet_id=export.wallet_id),
        denomination=OuterRef("denomination"),
        serial_number=OuterRef("serial_number"),
    )
    return list(
        Coin.objects.filter(~Exists(returned), export=export, state=CoinState.EXPORTED)
        .order_by("-denomination", "serial_number")
        .only("id", "denomination", "serial_number", "secrets", "pown")
    )


@dataclass(frozen=True, slots=True)
class ExportView:
    export: Export
    # Number and units of the coins in the state EXPORTED.
    coins: int
    units: int


def exports_page(
    *, actor: Wallet, limit: int, offset: int = 0, after: tuple[datetime, UUID] | None = None
) -> list[ExportView]:
    """Return a page of the exports of the actor's wallets, newest first."""
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    found = Export.objects.filter(wallet_id__in=ids)
    if after is not None:
        found = found.filter(queries.is_before(*after))
    return _export_views(found.order_by("-created_at", "-pk")[offset : offset + limit])


def export_visible_to(*, actor: Wallet, export_id: UUID) -> ExportView:
    """
    Return one export of the actor's wallets.

    :raises ExportNotFound: no such export, or not visible to the actor
    """
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    views = _export_views(Export.objects.filter(pk=export_id, wallet_id__in=ids))
    if not views:
        raise errors.ExportNotFound
    return views[0]


def _export_views(found: QuerySet[Export]) -> list[ExportView]:
    rows = list(found.select_related("task", "wallet"))
    out = queries.counts_by("export", [row.pk for row in rows], CoinState.EXPORTED)
    return [ExportView(row, sum(out.get(row.pk, {}).values()), total_value(out.get(row.pk, {}))) for row in rows]
