"""
Lockers: put, peek and take, as tasks.

Seed 000 has the transmit code in the path, seed 001 in the query. For each there is also a POST with the code in its
body, which no log or history stores.
"""

from typing import Any, Final
from uuid import UUID

from rest_framework.request import Request

from config.api import pagination
from config.api.authentication import caller
from config.api.cloudcoin import examples, fields, task_examples, task_serializers
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
)
from config.api.cloudcoin.fields import (
    AMOUNT_WORDS,
    CODE,
    CODE_WORDS,
    NAME,
    NAME_WORDS,
    NEW_CODE_WORDS,
    TAG,
    TAG_WORDS,
    Amount,
    seconds,
)
from config.api.json_schemas import Named
from config.api.openapi import Takes
from config.api.renderers import Response
from config.api.validation import Guid, Moment, Shape, Text
from lockers import errors, queries
from lockers.operations import peek, put, take
from lockers.queries import LockerContents
from lockers.raida.coins import json_amount as coins
from wallets import names

PUT: Final = Shape(
    {
        "name": NAME,
        "amount": Amount(),
        "tag": TAG,
        "transmit_code": Text(maximum=1000, required=False),
        "expires_at": Moment(required=False),
    }
)
TAKE: Final = Shape({"name": NAME, "tag": TAG})
TAKE_WITH_CODE: Final = Shape({"name": NAME, "transmit_code": CODE, "tag": TAG})
PEEK: Final = Shape({"transmit_code": CODE})
_PUT_BODY: Final = Named(
    "LockerPut",
    "Coins to be put into a new locker.",
    PUT,
    words={
        "name": NAME_WORDS,
        "amount": AMOUNT_WORDS,
        "tag": TAG_WORDS,
        "transmit_code": f"{NEW_CODE_WORDS} Without it a code that cannot be guessed is made.",
        "expires_at": (
            "When what is still in the locker is taken back into the wallet, at least 5 minutes and at most 366 days"
            " ahead. Without it the coins stay there until someone takes them."
        ),
    },
)
_TAKE_BODY: Final = Named(
    "LockerTake", "The wallet that gets the coins.", TAKE, words={"name": NAME_WORDS, "tag": TAG_WORDS}
)
_TAKE_WITH_CODE_BODY: Final = Named(
    "LockerTakeWithCode",
    "The locker to be emptied, and the wallet that gets its coins.",
    TAKE_WITH_CODE,
    words={"name": NAME_WORDS, "transmit_code": CODE_WORDS, "tag": TAG_WORDS},
)
_PEEK_BODY: Final = Named("LockerPeek", "The locker to look into.", PEEK, words={"transmit_code": CODE_WORDS})


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
        **task_serializers.expiry(each.expiry),
    }


_CODE_PATH: Final = {"code": fields.CODE}
_BAD_EXPIRY: Final = errors.ExpiryOutOfRange('"expires_at" must be at least 5 minutes and at most 366 days ahead')
_PUT_EXAMPLE: Final = {"name": "alice", "amount": 20, "tag": "for Bob"}
_TAKE_EXAMPLE: Final = {"name": "bob", "transmit_code": task_examples.CODE, "tag": "from Alice"}


class LockerViewSet(LockersViewSet):
    """Lockers: put, peek and take, as tasks (seed 000)."""

    begins_tasks = frozenset({"put_coins", "peek", "peek_with_body", "take", "take_with_body"})
    inquiries = frozenset({"peek", "peek_with_body"})

    @describe(
        "lockers.list",
        "List lockers",
        answers=examples.LOCKER_PAGE,
        takes=Takes(query=PAGE),
        tag="lockers",
    )
    def list(self, request: Request) -> Response:
        """
        Lists the lockers that the caller's wallet, and those that it manages, have filled; the newest first. Codes are
        not shown.
        """
        page = pagination.read(request, scope="lockers", default_limit=DEFAULT_LIMIT)
        rows = queries.lockers_page(
            actor=caller(request), limit=page.fetch, offset=page.offset, after=pagination.by_creation(page.position)
        )
        return page.response(
            "lockers",
            rows,
            write=locker,
            position=lambda row: [row.locker.created_at, row.locker.pk],
        )

    @describe(
        "lockers.put",
        "Put coins into a locker",
        answers=task_examples.STARTED,
        takes=Takes(body=_PUT_BODY, examples={"Request": _PUT_EXAMPLE}),
        refusals=[*WALLET_ERRORS, *COIN_ERRORS, NO_NEW_CODE, _BAD_EXPIRY],
        tag="lockers",
    )
    def put_coins(self, request: Request) -> Response:
        """
        Begins a task that stores coins of a wallet that the caller controls in a new locker. They are reserved at once,
        and leave the balance when 13 of the 25 servers have stored them. The task's `data` has the code of the locker.

        With `expires_at` the locker expires: a task begins then that takes back into the wallet what is still in it. If
        a holder of the code takes the coins at the same time, 13 servers decide each coin. `expiry` in the task, the
        receipt and `GET /api/v1/lockers` says what came of it; while servers are silent that is not known, and they are
        asked again. Before that time the wallet can take its coins back as every holder of the code can.
        """
        values = PUT.read_body(request.data)
        begun = put.start(
            actor=caller(request),
            name=values["name"],
            units=values["amount"],
            tag=values.get("tag", ""),
            transmit_code=values.get("transmit_code"),
            expires_at=values.get("expires_at"),
        )
        return Response(task_serializers.started(begun))

    @describe(
        "lockers.code",
        "Tell the code of a filled locker",
        answers=examples.LOCKER_CODE,
        takes=Takes(path={"locker_id": Guid()}, is_idempotent=True),
        refusals=[errors.LockerNotFound(), errors.LockerNotFilled("emptied")],
        tag="lockers",
    )
    def code(self, request: Request, locker_id: str) -> Response:
        """
        Returns the code of a locker in the state `filled` that a wallet which the caller controls has filled. In any
        other state it is refused with 409. It is a POST, so that no cache or history stores the answer.
        """
        parsed: UUID | None = names.parse_uuid(locker_id)
        if parsed is None:
            raise errors.LockerNotFound
        return Response({"transmit_code": queries.locker_code(actor=caller(request), locker_id=parsed)})

    @describe(
        "lockers.peek_by_path",
        "Look into a locker, its code in the path",
        answers=task_examples.STARTED,
        takes=Takes(path=_CODE_PATH),
        refusals=[*CODE_ERRORS, TOO_MANY_TASKS],
        tag="lockers",
    )
    def peek(self, request: Request, code: str) -> Response:
        """
        Begins a task that lists the coins in a locker. Any wallet with the code may call it. The code becomes a part of
        a URL, which histories and logs of other programs may store: prefer `POST /api/v1/locker/peek`.
        """
        fields.CODE.read("code", code)
        return Response(
            task_serializers.started(peek.start(actor=caller(request), code=code, address=address_of(request)))
        )

    @describe(
        "lockers.peek",
        "Look into a locker",
        answers=task_examples.STARTED,
        takes=Takes(body=_PEEK_BODY, examples={"Request": {"transmit_code": task_examples.CODE}}),
        refusals=[*CODE_ERRORS, TOO_MANY_TASKS],
        tag="lockers",
    )
    def peek_with_body(self, request: Request) -> Response:
        """
        Begins a task that lists the coins in a locker; nothing is taken. Any wallet with the code may call it. Too many
        wrong codes of a wallet or an address are refused with 429.
        """
        values = PEEK.read_body(request.data)
        begun = peek.start(actor=caller(request), code=values["transmit_code"], address=address_of(request))
        return Response(task_serializers.started(begun))

    @describe(
        "lockers.take_by_path",
        "Take the coins out of a locker, its code in the path",
        answers=task_examples.STARTED,
        takes=Takes(body=_TAKE_BODY, examples={"Request": {"name": "bob", "tag": "from Alice"}}, path=_CODE_PATH),
        refusals=[*WALLET_ERRORS, *CODE_ERRORS, TOO_MANY_TASKS],
        tag="lockers",
    )
    def take(self, request: Request, code: str) -> Response:
        """
        Begins a task that moves all coins of a locker into a wallet that the caller controls. Everyone with the code
        may take them. The code becomes a part of a URL, which histories and logs of other programs may store: prefer
        `POST /api/v1/locker/take`.
        """
        values = TAKE.read_body(request.data)
        return self._take(request, {**values, "transmit_code": fields.CODE.read("code", code)})

    @describe(
        "lockers.take",
        "Take the coins out of a locker",
        answers=task_examples.STARTED,
        takes=Takes(body=_TAKE_WITH_CODE_BODY, examples={"Request": _TAKE_EXAMPLE}),
        refusals=[*WALLET_ERRORS, *CODE_ERRORS, TOO_MANY_TASKS],
        tag="lockers",
    )
    def take_with_body(self, request: Request) -> Response:
        """
        Begins a task that moves all coins of a locker into a wallet that the caller controls. Everyone with the code
        may take them, and the first one gets them. Too many wrong codes of a wallet or an address are refused with 429.
        """
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
