"""Request and response bodies of exports."""

from collections.abc import Mapping
from typing import Any, Final

from config.api.cloudcoin.fields import NAME, TAG, Amount, coins, seconds
from config.api.errors import Invalid
from config.api.validation import Flag, Shape, Text
from lockers.queries import ExportView
from lockers.states import FileType

EXPORT: Final = Shape(
    {
        "name": NAME,
        "amount": Amount(required=False),
        "all": Flag(required=False),
        "tag": TAG,
        "type": Text(choices=tuple(FileType)),
    }
)


def amount_or_all(values: Mapping[str, Any]) -> int | None:
    """
    Return the units to export, or None for all.

    :raises Invalid: neither or both are asked for
    """
    if ("amount" in values) == values.get("all", False):
        raise Invalid('Either "amount" is required, or "all" must be true')
    return values.get("amount")


def export(each: ExportView) -> dict[str, Any]:
    row = each.export
    return {
        "id": str(row.pk),
        "wallet": row.wallet.name,
        "type": row.type,
        "file": row.file_name,
        "tag": row.task.tag,
        "amount": coins(row.task.amount or 0),
        "coins": row.coin_count,
        "remaining": coins(each.units),
        "fetched": row.fetched,
        "confirmed": seconds(row.confirmed_at),
        "created": seconds(row.created_at),
        "receipt_id": row.task.receipt_id,
    }
