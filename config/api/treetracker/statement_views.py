"""The endpoints `/wallets/{id}/balance` and `/wallets/{id}/statement`."""

from datetime import datetime
from uuid import UUID

from rest_framework.request import Request

from config.api import pagination
from config.api.authentication import caller
from config.api.errors import Invalid
from config.api.openapi import PAGE, Takes, describe
from config.api.renderers import Response
from config.api.treetracker import statement_serializers as serializers
from config.api.treetracker.wallet_serializers import WALLET_PATH
from config.api.validation import Shape, path_id
from config.api.views import ApiViewSet
from transfers import balances
from transfers.balances import Line
from trusts import queries as trust_queries
from wallets import errors

_REFUSALS = (
    errors.WalletNotFound("Could not find wallet by id: 11111111-1111-4111-8111-111111111111"),
    errors.WalletNotControlled("Have no permission to access this wallet"),
)


class StatementViewSet(ApiViewSet):
    """What the caller's wallet, or one that it manages, held and when its tokens moved."""

    @describe(
        "wallets.balance",
        "Show the balance of a wallet at a time",
        answers=serializers.BALANCE,
        takes=Takes(query=serializers.AT, path=WALLET_PATH),
        refusals=[*_REFUSALS, Invalid('"at" must be in ISO 8601 date format')],
        tag="wallets",
    )
    def balance(self, request: Request, wallet_id: str) -> Response:
        """
        Returns how many tokens the caller's wallet, or one that it manages, held just before `at`, or holds now. What
        moved exactly at this time is not in it. Another wallet is 403, an unknown id 404.

        A transfer takes its time before it is committed: a balance at a time in the last minute can still change.
        """
        wallet = _readable(request, wallet_id)
        values = Shape(serializers.AT).read_query(request.query_params)
        return Response(serializers.balance(wallet, balances.balance(wallet_id=wallet, at=values.get("at"))))

    @describe(
        "wallets.statement",
        "List the movements of a wallet between two times",
        answers=serializers.STATEMENT,
        takes=Takes(query={**PAGE, **serializers.PERIOD}, path=WALLET_PATH),
        refusals=[*_REFUSALS, Invalid('"to" must not be before "from"')],
        tag="wallets",
    )
    def statement(self, request: Request, wallet_id: str) -> Response:
        """
        Lists what moved tokens into the caller's wallet or out of it, or of one that it manages: the oldest first, with
        the balance after each line. The period begins with `from`, by default with the first movement, and ends before
        `to`, by default now; a later `to` is answered as now. All pages of one listing have the same period.

        What is issued or imported is a line too. Tokens that wait in a pending transfer or a claim link have not moved.
        A transfer takes its time before it is committed: lines of the last minute can still be added. Another wallet is
        403, an unknown id 404.
        """
        page = pagination.read(
            request,
            serializers.PERIOD,
            scope="token statement",
            default_limit=serializers.DEFAULT_LIMIT,
            parameters=[path_id("wallet_id", wallet_id)],
        )
        start, end, after = page.values.get("from"), page.values.get("to"), None
        if start is not None and end is not None and end < start:
            raise Invalid('"to" must not be before "from"')
        wallet = _readable(request, wallet_id)
        if page.position is not None:
            at, kind, number, *period = page.position
            after = datetime.fromisoformat(at), kind, number
            start, end = (datetime.fromisoformat(each) for each in period)
        found = balances.statement(
            wallet_id=wallet, start=start, end=end, limit=page.fetch, offset=page.offset, after=after
        )

        def position(row: Line) -> list[object]:
            return [*row.position, found.start, found.end]

        response = page.response("lines", found.lines, write=serializers.line, position=position)
        response.data = serializers.head(wallet, found) | response.data
        return response


def _readable(request: Request, wallet_id: str) -> UUID:
    parsed = path_id("wallet_id", wallet_id)
    return trust_queries.wallet_controlled_by(actor_id=caller(request).pk, wallet_id=parsed).pk
