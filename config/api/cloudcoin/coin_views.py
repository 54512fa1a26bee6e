"""Operations on the coins of a wallet."""

from typing import Any, Final

from rest_framework.request import Request
from rest_framework.response import Response

from config.api.authentication import caller
from config.api.cloudcoin import examples, task_serializers
from config.api.cloudcoin.base import COIN_ERRORS, TOO_MANY_TASKS, WALLET_ERRORS, LockersViewSet, describe
from config.api.cloudcoin.fields import NAME, TAG, Amount, Denomination
from config.api.validation import Shape
from lockers import errors
from lockers.operations import break_coin, echo, find, fix, health, transfer

_NAMED: Final = Shape({"name": NAME})
_BREAK: Final = Shape({"name": NAME, "denomination": Denomination()})
_TRANSFER: Final = Shape({"srcname": NAME, "dstname": NAME, "amount": Amount(), "tag": TAG})


def _of_a_wallet(summary: str, operation: Any, *refusals: errors.LockerError) -> Any:
    """Return the action that starts an operation on the coins of the wallet that the body names."""

    def action(view: "CoinViewSet", request: Request) -> Response:
        name = _NAMED.read_body(request.data)["name"]
        return Response(task_serializers.started(operation.start(actor=caller(request), name=name)))

    return describe(
        summary,
        body=_NAMED,
        body_examples={"Request": {"name": "alice"}},
        answer=examples.STARTED,
        refusals=[*WALLET_ERRORS, *refusals, TOO_MANY_TASKS],
        tag="coins",
    )(action)


class CoinViewSet(LockersViewSet):
    """Operations on the coins of a wallet."""

    begins_tasks = frozenset({"transfer", "find", "fix", "health", "break_coin", "echo"})

    @describe(
        "Move coins to another wallet",
        body=_TRANSFER,
        body_examples={"Request": {"srcname": "alice", "dstname": "bob", "amount": 20, "tag": "rent"}},
        answer=examples.TRANSFERRED,
        refusals=[*WALLET_ERRORS, *COIN_ERRORS, errors.SameWallets(), errors.ReceiverNotTrusting("alice", "bob")],
        tag="coins",
    )
    def transfer(self, request: Request) -> Response:
        values = _TRANSFER.read_body(request.data)
        begun = transfer.start(
            actor=caller(request),
            source=values["srcname"],
            destination=values["dstname"],
            units=values["amount"],
            tag=values.get("tag", ""),
        )
        return Response(task_serializers.done(begun))

    find = _of_a_wallet("Look for coins in limbo", find, errors.NothingToFind("No coin of this wallet is in limbo"))
    fix = _of_a_wallet(
        "Fix coins that some servers do not accept",
        fix,
        errors.NothingToFix("Every free coin of this wallet is accepted by all servers"),
    )
    health = _of_a_wallet("Check which servers accept the coins of a wallet", health)

    @describe(
        "Break a coin into ten smaller ones",
        body=_BREAK,
        body_examples={"Request": {"name": "alice", "denomination": "10"}},
        answer=examples.STARTED,
        refusals=[
            *WALLET_ERRORS,
            errors.NotEnoughCoins("The wallet has no free coin of 10 that may be broken"),
            TOO_MANY_TASKS,
        ],
        tag="coins",
    )
    def break_coin(self, request: Request) -> Response:
        values = _BREAK.read_body(request.data)
        begun = break_coin.start(actor=caller(request), name=values["name"], denomination=values["denomination"])
        return Response(task_serializers.started(begun))

    @describe(
        "Ask the 25 servers whether they are there", answer=examples.STARTED, refusals=[TOO_MANY_TASKS], tag="coins"
    )
    def echo(self, request: Request) -> Response:
        return Response(task_serializers.started(echo.start(actor=caller(request))))
