"""The endpoints `/transfers` and `/tokens/{id}/transactions`."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from config.api import pagination
from config.api.authentication import caller
from config.api.validation import path_id
from config.api.views import ApiViewSet
from transfers import operations, queries, serializers
from transfers.states import TransferState
from wallets import serializers as wallet_serializers


class TransferViewSet(ApiViewSet):
    """Tokens on their way from one wallet to another."""

    def list(self, request: Request) -> Response:
        page = pagination.read(request, serializers.TRANSFER_FILTERS, scope="transfers")
        rows = queries.transfers_visible_to(
            actor_id=caller(request).pk,
            wallet=page.values.get("wallet"),
            state=page.values.get("state"),
            limit=page.fetch,
            offset=page.offset,
            after=page.position[0] if page.position else 0,
        )
        return page.response("transfers", rows, write=serializers.transfer, position=_number)

    def create(self, request: Request) -> Response:
        values = serializers.read_transfer(request.data)
        parties = {"sender": values["sender_wallet"], "receiver": values["receiver_wallet"]}
        if "tokens" in values:
            row = operations.send_tokens(actor=caller(request), token_ids=values["tokens"], **parties)
        else:
            row = operations.send_bundle(actor=caller(request), size=values["bundle"]["bundle_size"], **parties)
        return Response(serializers.transfer(row), status=201 if row.state == TransferState.COMPLETED else 202)

    def retrieve(self, request: Request, transfer_id: str) -> Response:
        row = queries.transfer_visible_to(
            actor_id=caller(request).pk, transfer_id=path_id("transfer_id", transfer_id)
        )
        return Response(serializers.transfer(row))

    def tokens(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        page = pagination.read(request, scope="tokens of transfer", parameters=[parsed])
        rows = queries.tokens_of_transfer(
            actor_id=caller(request).pk,
            transfer_id=parsed,
            limit=page.fetch,
            offset=page.offset,
            after=page.position[0] if page.position else None,
        )
        return page.response("tokens", rows, write=wallet_serializers.token, position=_last)

    def accept(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        serializers.EMPTY.read_body(request.data)
        return Response(serializers.transfer(operations.accept(actor=caller(request), transfer_id=parsed)))

    def fulfill(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        values = serializers.read_fulfillment(request.data)
        row = operations.fulfill(actor=caller(request), transfer_id=parsed, token_ids=values.get("tokens"))
        return Response(serializers.transfer(row))

    def decline(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        serializers.EMPTY.read_body(request.data)
        return Response(serializers.transfer(operations.decline(actor=caller(request), transfer_id=parsed)))

    def destroy(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        return Response(serializers.transfer(operations.delete(actor=caller(request), transfer_id=parsed)))


class HistoryViewSet(ApiViewSet):
    """What happened to one token."""

    def list(self, request: Request, token_id: str) -> Response:
        parsed = path_id("token_id", token_id)
        page = pagination.read(request, scope="history", parameters=[parsed])
        rows = queries.token_history(
            actor_id=caller(request).pk,
            token_id=parsed,
            written=token_id,
            limit=page.fetch,
            offset=page.offset,
            after=page.position[0] if page.position else 0,
        )
        return page.response("history", rows, write=serializers.movement, position=_number)


def _number(row: Any) -> list[Any]:
    return [row.number]


def _last(row: Any) -> list[Any]:
    return [row[-1]]
