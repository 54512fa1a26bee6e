"""Totals of lists, compared with plain counts of all rows."""

from transfers import counters, transfer_lists
from transfers.models import Transfer
from trusts.controlled_wallets import WalletOrder, WalletSelection
from trusts.queries import CONTROLLED_BY_ACTOR
from wallets.models import Wallet

_NEWEST_FIRST = WalletSelection(order=WalletOrder.CREATED_AT, is_descending=True)


def wrong_totals() -> list[tuple[str, int | None, int, int | None, int]]:
    """Return of each wallet whose totals are wrong: the name, and total and count of its transfers and wallets."""
    parties = [{row.source_id, row.destination_id, row.originator_id} for row in Transfer.objects.all()]
    wrong = []
    for wallet in Wallet.objects.all():
        mine = {row.pk for row in Wallet.objects.raw(CONTROLLED_BY_ACTOR, {"actor": wallet.pk})}
        visible = sum(bool(each & mine) for each in parties)
        transfers = transfer_lists.transfers_visible_to(actor_id=wallet.pk, limit=1, counts=True).total
        wallets = counters.wallets_page(actor_id=wallet.pk, limit=1, selection=_NEWEST_FIRST, has_total=True).total
        if (transfers, wallets) != (visible, len(mine)):
            wrong.append((wallet.name, transfers, visible, wallets, len(mine)))
    return wrong
