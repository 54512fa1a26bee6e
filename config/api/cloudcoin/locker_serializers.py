"""Request and response bodies of lockers."""

from typing import Any, Final

from config.api.cloudcoin.fields import CODE, NAME, TAG, Amount, coins, seconds
from config.api.validation import Shape, Text
from lockers.queries import LockerContents

PUT: Final = Shape(
    {
        "name": NAME,
        "amount": Amount(),
        "tag": TAG,
        "transmit_code": Text(maximum=1000, required=False),
    }
)
TAKE: Final = Shape({"name": NAME, "tag": TAG})
TAKE_WITH_CODE: Final = Shape({"name": NAME, "transmit_code": CODE, "tag": TAG})
PEEK: Final = Shape({"transmit_code": CODE})


def locker(each: LockerContents) -> dict[str, Any]:
    return {
        "id": str(each.locker.pk),
        "wallet": each.locker.wallet.name,
        "state": each.locker.state,
        "tag": each.locker.tag,
        "amount": coins(each.locker.amount),
        "remaining": coins(each.units),
        "coins": each.coins,
        "created": seconds(each.locker.created_at),
        "changed": seconds(each.locker.changed_at),
    }
