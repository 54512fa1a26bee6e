"""Operations on the coins of a wallet."""

from rest_framework.request import Request
from rest_framework.response import Response

from config.api.authentication import caller
from config.api.cloudcoin import coin_serializers, examples, task_serializers
from config.api.cloudcoin.base import COIN_ERRORS, TOO_MANY_TASKS, WALLET_ERRORS, LockersViewSet, describe
from lockers import errors
from lockers.operations import break_coin, echo, find, fix, health, transfer


class CoinViewSet(LockersViewSet):
    """Operations on the coins of a wallet."""

    begins_tasks = frozenset({"transfer", "find", "fix", "health", "break_coin", "echo"})

    @describe(
        "Move coins to another wallet",
        body=coin_serializers.TRANSFER,
        body_examples={"Request": {"srcname": "alice", "dstname": "bob", "amount": 20, "tag": "rent"}},
        answer=examples.TRANSFERRED,
        refusals=[*WALLET_ERRORS, *COIN_ERRORS, errors.SameWallets(), errors.ReceiverNotTrusting("alice", "bob")],
        tag="coins",
    )
    def transfer(self, request: Request) -> Response:
        values = coin_serializers.TRANSFER.read_body(request.data)
        begun = transfer.start(
            actor=caller(request),
            source=values["srcname"],
            destination=values["dstname"],
            units=values["amount"],
            tag=values.get("tag", ""),
        )
        return Response(task_serializers.done(begun))

    @describe(
        "Look for coins in limbo",
        body=coin_serializers.FIND,
        body_examples={"Request": {"name": "alice"}},
        answer=examples.STARTED,
        refusals=[*WALLET_ERRORS, errors.NothingToFind("No coin of this wallet is in limbo"), TOO_MANY_TASKS],
        tag="coins",
    )
    def find(self, request: Request) -> Response:
        values = coin_serializers.FIND.read_body(request.data)
        return Response(task_serializers.started(find.start(actor=caller(request), name=values["name"])))

    @describe(
        "Fix coins that some servers do not accept",
        body=coin_serializers.FIX,
        body_examples={"Request": {"name": "alice"}},
        answer=examples.STARTED,
        refusals=[
            *WALLET_ERRORS,
            errors.NothingToFix("Every free coin of this wallet is accepted by all servers"),
            TOO_MANY_TASKS,
        ],
        tag="coins",
    )
    def fix(self, request: Request) -> Response:
        values = coin_serializers.FIX.read_body(request.data)
        return Response(task_serializers.started(fix.start(actor=caller(request), name=values["name"])))

    @describe(
        "Check which servers accept the coins of a wallet",
        body=coin_serializers.HEALTH,
        body_examples={"Request": {"name": "alice"}},
        answer=examples.STARTED,
        refusals=[*WALLET_ERRORS, TOO_MANY_TASKS],
        tag="coins",
    )
    def health(self, request: Request) -> Response:
        values = coin_serializers.HEALTH.read_body(request.data)
        return Response(task_serializers.started(health.start(actor=caller(request), name=values["name"])))

    @describe(
        "Break a coin into ten smaller ones",
        body=coin_serializers.BREAK,
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
        values = coin_serializers.BREAK.read_body(request.data)
        begun = break_coin.start(
            actor=caller(request),
            name=values["name"],
            denomination=values["denomination"],
        )
        return Response(task_serializers.started(begun))

    @describe(
        "Ask the 25 servers whether they are there", answer=examples.STARTED, refusals=[TOO_MANY_TASKS], tag="coins"
    )
    def echo(self, request: Request) -> Response:
        return Response(task_serializers.started(echo.start(actor=caller(request))))
