"""
Lockers: put, peek and take, as tasks.

Seed 000 has the transmit code in the path, seed 001 in the query. For each there is also a POST with the code in its
body, which no log or history stores.
"""

from typing import Any, Final
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from config.api import pagination
from config.api.authentication import caller
from config.api.cloudcoin import examples, fields, task_serializers
from config.api.cloudcoin.base import (
    CODE_ERRORS,
    COIN_ERRORS,
    DEFAULT_LIMIT,
    NO_NEW_CODE,
    PAGE,
    TOO_MANY_TASKS,
    WALLET_ERRORS,
    LockersViewSet,
    address_of,
    describe,
    list_position,
)
from config.api.cloudcoin.fields import CODE, NAME, TAG, Amount, coins, seconds
from config.api.validation import Guid, Shape, Text
from lockers import errors, queries
from lockers.operations import peek, put, take
from lockers.queries import LockerContents
from wallets import names

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


_CODE_PATH: Final = {"code": fields.CODE}
_PUT_EXAMPLE: Final = {"name": "alice", "amount": 20, "tag": "for Bob"}
_TAKE_EXAMPLE: Final = {"name": "bob", "transmit_code": examples.CODE, "tag": "from Alice"}


class LockerViewSet(LockersViewSet):
    """Lockers: put, peek and take, as tasks (seed 000)."""

    begins_tasks = frozenset({"put_coins", "peek", "peek_with_body", "take", "take_with_body"})

    @describe("List lockers", answer={"lockers": [examples.LOCKER]}, query=PAGE, tag="lockers")
    def list(self, request: Request) -> Response:
        page = pagination.read(request, scope="lockers", default_limit=DEFAULT_LIMIT)
        rows = queries.lockers_page(
            actor=caller(request), limit=page.fetch, offset=page.offset, after=list_position(page.position)
        )
        return page.response(
            "lockers",
            rows,
            write=locker,
            position=lambda row: [row.locker.created_at.isoformat(), str(row.locker.pk)],
        )

    @describe(
        "Put coins into a locker",
        body=PUT,
        body_examples={"Request": _PUT_EXAMPLE},
        answer=examples.STARTED,
        refusals=[*WALLET_ERRORS, *COIN_ERRORS, NO_NEW_CODE],
        tag="lockers",
    )
    def put_coins(self, request: Request) -> Response:
        values = PUT.read_body(request.data)
        begun = put.start(
            actor=caller(request),
            name=values["name"],
            units=values["amount"],
            tag=values.get("tag", ""),
            transmit_code=values.get("transmit_code"),
        )
        return Response(task_serializers.started(begun))

    @describe(
        "Tell the transmit code of a filled locker",
        answer={"transmit_code": examples.CODE},
        path={"locker_id": Guid()},
        refusals=[errors.LockerNotFound(), errors.LockerNotFilled("emptied")],
        is_idempotent=True,
        tag="lockers",
    )
    def code(self, request: Request, locker_id: str) -> Response:
        parsed: UUID | None = names.parse_uuid(locker_id)
        if parsed is None:
            raise errors.LockerNotFound
        return Response({"transmit_code": queries.locker_code(actor=caller(request), locker_id=parsed)})

    @describe(
        "Begin to look into a locker",
        answer=examples.STARTED,
        path=_CODE_PATH,
        refusals=[*CODE_ERRORS, TOO_MANY_TASKS],
        tag="lockers",
    )
    def peek(self, request: Request, code: str) -> Response:
        fields.CODE.read("code", code)
        return Response(
            task_serializers.started(peek.start(actor=caller(request), code=code, address=address_of(request)))
        )

    @describe(
        "Begin to look into a locker, its code in the body",
        body=PEEK,
        body_examples={"Request": {"transmit_code": examples.CODE}},
        answer=examples.STARTED,
        refusals=[*CODE_ERRORS, TOO_MANY_TASKS],
        tag="lockers",
    )
    def peek_with_body(self, request: Request) -> Response:
        values = PEEK.read_body(request.data)
        begun = peek.start(actor=caller(request), code=values["transmit_code"], address=address_of(request))
        return Response(task_serializers.started(begun))

    @describe(
        "Take the coins out of a locker",
        body=TAKE,
        body_examples={"Request": {"name": "bob", "tag": "from Alice"}},
        answer=examples.STARTED,
        path=_CODE_PATH,
        refusals=[*WALLET_ERRORS, *CODE_ERRORS, TOO_MANY_TASKS],
        tag="lockers",
    )
    def take(self, request: Request, code: str) -> Response:
        values = TAKE.read_body(request.data)
        return self._take(request, {**values, "transmit_code": fields.CODE.read("code", code)})

    @describe(
        "Take the coins out of a locker, its code in the body",
        body=TAKE_WITH_CODE,
        body_examples={"Request": _TAKE_EXAMPLE},
        answer=examples.STARTED,
        refusals=[*WALLET_ERRORS, *CODE_ERRORS, TOO_MANY_TASKS],
        tag="lockers",
    )
    def take_with_body(self, request: Request) -> Response:
        return self._take(request, TAKE_WITH_CODE.read_body(request.data))

    def _take(self, request: Request, values: dict[str, Any]) -> Response:
        begun = take.start(
            actor=caller(request),
            name=values["name"],
            code=values["transmit_code"],
            tag=values.get("tag", ""),
            address=address_of(request),
        )
        return Response(task_serializers.started(begun))
