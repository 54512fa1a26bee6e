"""Operations on the coins of a wallet."""

from typing import Any, Final

from rest_framework.request import Request

from config.api.authentication import caller
from config.api.cloudcoin import task_examples, task_serializers
from config.api.cloudcoin.base import COIN_ERRORS, TOO_MANY_TASKS, WALLET_ERRORS, LockersViewSet, describe
from config.api.cloudcoin.fields import AMOUNT_WORDS, NAME, NAME_WORDS, TAG, TAG_WORDS, Amount, Denomination
from config.api.json_schemas import Named
from config.api.openapi import Takes
from config.api.renderers import Response
from config.api.validation import Shape
from lockers import errors
from lockers.operations import break_coin, echo, find, fix, health, transfer

_NAMED: Final = Shape({"name": NAME})
_BREAK: Final = Shape({"name": NAME, "denomination": Denomination()})
_TRANSFER: Final = Shape({"srcname": NAME, "dstname": NAME, "amount": Amount(), "tag": TAG})
_NAMED_BODY: Final = Named("CoinWalletName", "The wallet whose coins are meant.", _NAMED, words={"name": NAME_WORDS})
_BREAK_BODY: Final = Named(
    "CoinBreak",
    "A coin to be broken.",
    _BREAK,
    words={
        "name": NAME_WORDS,
        "denomination": "The value of the coin: a power of ten from 0.0000001 to 1000000, as a number or a text.",
    },
)
_TRANSFER_BODY: Final = Named(
    "NewCoinTransfer",
    "Coins to be moved to another wallet.",
    _TRANSFER,
    words={
        "srcname": "The name or the id of the wallet that has the coins.",
        "dstname": "The name or the id of the wallet that gets them.",
        "amount": AMOUNT_WORDS,
        "tag": TAG_WORDS,
    },
)


def _of_a_wallet(operation_id: str, summary: str, text: str, operation: Any, *refusals: errors.LockerError) -> Any:
    """Return the action that starts an operation on the coins of the wallet that the body names."""

    def action(view: "CoinViewSet", request: Request) -> Response:
        name = _NAMED.read_body(request.data)["name"]
        return Response(task_serializers.started(operation.start(actor=caller(request), name=name)))

    action.__doc__ = text
    return describe(
        operation_id,
        summary,
        answers=task_examples.STARTED,
        takes=Takes(body=_NAMED_BODY, examples={"Request": {"name": "alice"}}),
        refusals=[*WALLET_ERRORS, *refusals, TOO_MANY_TASKS],
        tag="coins",
    )(action)


class CoinViewSet(LockersViewSet):
    """Operations on the coins of a wallet."""

    begins_tasks = frozenset({"transfer", "find", "fix", "health", "break_coin", "echo"})
    inquiries = frozenset({"echo"})

    @describe(
        "coins.transfer",
        "Move coins to another wallet",
        answers=task_examples.TRANSFERRED,
        takes=Takes(
            body=_TRANSFER_BODY,
            examples={"Request": {"srcname": "alice", "dstname": "bob", "amount": 20, "tag": "rent"}},
        ),
        refusals=[*WALLET_ERRORS, *COIN_ERRORS, errors.SameWallets(), errors.ReceiverNotTrusting("alice", "bob")],
        tag="coins",
    )
    def transfer(self, request: Request) -> Response:
        """
        Moves coins of a wallet that the caller controls to another wallet. The caller controls that wallet too, or an
        accepted trust relationship lets the first send to it; otherwise it is refused with 403. The coins are there
        when the call answers `completed`. If a larger coin must be broken first, the answer is `running`, and the task
        completes later.
        """
        values = _TRANSFER.read_body(request.data)
        begun = transfer.start(
            actor=caller(request),
            source=values["srcname"],
            destination=values["dstname"],
            units=values["amount"],
            tag=values.get("tag", ""),
        )
        return Response(task_serializers.done(begun))

    find = _of_a_wallet(
        "coins.find",
        "Look for coins in limbo",
        "Begins a task that asks the servers which secrets they hold of the coins in limbo of a wallet that the caller"
        " controls, and decides about these coins. If no coin is in limbo it is refused with 409.",
        find,
        errors.NothingToFind("No coin of this wallet is in limbo"),
    )
    fix = _of_a_wallet(
        "coins.fix",
        "Repair coins that some servers do not accept",
        "Begins a task that makes servers accept the free coins of a wallet that the caller controls again. Coins that"
        " were not checked within the last ten minutes are checked first. If there is nothing to repair or to check it"
        " is refused with 409.",
        fix,
        errors.NothingToFix("Every free coin of this wallet is accepted by all servers"),
    )
    health = _of_a_wallet(
        "coins.check",
        "Check which servers accept the coins of a wallet",
        "Begins a task that asks the servers about the free coins of a wallet that the caller controls, at most 20,000,"
        " those not checked for the longest time first. It records which servers refuse one; no coin is reserved or"
        " moved.",
        health,
    )

    @describe(
        "coins.break",
        "Break a coin into ten smaller ones",
        answers=task_examples.STARTED,
        takes=Takes(body=_BREAK_BODY, examples={"Request": {"name": "alice", "denomination": "10"}}),
        refusals=[
            *WALLET_ERRORS,
            errors.NotEnoughCoins("The wallet has no free coin of 10 that may be broken"),
            TOO_MANY_TASKS,
        ],
        tag="coins",
    )
    def break_coin(self, request: Request) -> Response:
        """
        Begins a task that changes one coin of a wallet that the caller controls into ten coins of the next lower
        denomination. The coin is free, and no server refuses it.
        """
        values = _BREAK.read_body(request.data)
        begun = break_coin.start(actor=caller(request), name=values["name"], denomination=values["denomination"])
        return Response(task_serializers.started(begun))

    @describe(
        "servers.echo",
        "Ask which servers answer",
        answers=task_examples.STARTED,
        refusals=[TOO_MANY_TASKS],
        tag="coins",
    )
    def echo(self, request: Request) -> Response:
        """Begins a task that asks the 25 servers whether they answer. Any wallet may call it."""
        return Response(task_serializers.started(echo.start(actor=caller(request))))
