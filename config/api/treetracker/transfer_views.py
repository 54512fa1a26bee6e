"""The endpoints `/transfers` and `/tokens/{id}/transactions`."""

from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from config.api import idempotency, pagination, parsers
from config.api.authentication import caller
from config.api.errors import Invalid
from config.api.openapi import LATER_PAGE, describe
from config.api.treetracker import transfer_serializers, v2, wallet_serializers
from config.api.validation import path_id
from config.api.views import ApiViewSet
from transfers import errors, operations, queries
from wallets import errors as wallet_errors

_STATUSES = {"completed": 201, "pending": 202, "requested": 202}
_NOBODY = UUID("11111111-1111-4111-8111-111111111111")
_NO_WALLET = wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody")
_NO_TOKEN = wallet_errors.TokenNotFound(f"can not found token by id:{_NOBODY}")
_INVALID_NAME = wallet_errors.InvalidWalletName("invalid wallet name:no body")
_NOT_FREE = [errors.InsufficientTokens(), errors.TokenReserved(_NOBODY)]
# Shared by the actions on one transfer.
_describe = partial(
    describe, answer=transfer_serializers.TRANSFER_EXAMPLE, path=transfer_serializers.TRANSFER_PATH, tag="transfers"
)


def _end_of_day(moment: datetime | None) -> datetime | None:
    """Return the end of the day (UTC) of a time, or None if no time is later."""
    if moment is None or (moment.year, moment.month, moment.day) == (9999, 12, 31):
        return None
    return datetime.combine(moment.date() + timedelta(days=1), time(tzinfo=UTC))


def _created(request: Request, row: queries.TransferRow) -> Response:
    return Response(_shown(request, row), status=_STATUSES[row.state])


def _shown(request: Request, row: queries.TransferRow) -> Any:
    if v2.is_v2(request):
        return transfer_serializers.counted_transfer(row)
    return transfer_serializers.transfer(row)


class TransferViewSet(ApiViewSet):
    """Tokens on their way from one wallet to another."""

    maximum_bytes = parsers.MAXIMUM_LIST_BYTES
    stores_own_answer = frozenset({"create"})
    takes_cached_credentials = frozenset({"create", "list"})

    @describe(
        "List transfers",
        query={**transfer_serializers.TRANSFERS_PAGE, **transfer_serializers.TRANSFER_FILTERS},
        answer={"transfers": [transfer_serializers.TRANSFER_EXAMPLE]},
        refusals=[
            _NO_WALLET,
            _INVALID_NAME,
            Invalid('"state" must be one of [requested, pending, completed, cancelled, failed]'),
        ],
        tag="transfers",
    )
    def list(self, request: Request) -> Response:
        """
        Transfers in which the caller, or a wallet that it manages, is a party; the oldest first.

        With `wallet`, those that this wallet sends, receives or asked for.
        """
        is_v2 = v2.is_v2(request)
        page = pagination.read(
            request,
            transfer_serializers.TRANSFER_FILTERS_V2 if is_v2 else transfer_serializers.TRANSFER_FILTERS,
            scope="transfers",
            later=transfer_serializers.TRANSFERS_LATER,
        )
        order = page.order or pagination.Order(None, is_descending=is_v2)
        rows = queries.transfers_visible_to(
            actor_id=caller(request).pk,
            selection=queries.TransferSelection(
                wallet=page.values.get("wallet"),
                state=page.values.get("state"),
                until=_end_of_day(page.values.get("before")),
                since=page.values.get("after"),
                sort_by=order.by,
                is_descending=order.is_descending,
                waiting_first=is_v2,
            ),
            counts=page.shows_total,
            shows_token_count=is_v2,
            limit=page.limit,
            offset=page.offset,
            after=page.position,
        )
        return page.json_response("transfers", rows)

    @describe(
        "Transfer tokens",
        body=[transfer_serializers.BUNDLE, transfer_serializers.LIST],
        body_examples={
            "Any two tokens": transfer_serializers.BUNDLE_EXAMPLE,
            "These tokens": transfer_serializers.LIST_EXAMPLE,
        },
        answer=transfer_serializers.TRANSFER_EXAMPLE,
        status=201,
        also={202: transfer_serializers.PENDING_EXAMPLE},
        refusals=[
            _NO_WALLET,
            _NO_TOKEN,
            _INVALID_NAME,
            errors.SameWallet(),
            errors.NeitherWalletControlled(),
            errors.TokenElsewhere(_NOBODY),
            *_NOT_FREE,
            Invalid('"bundle" is required'),
            Invalid('"tokens[1]" contains a duplicate value'),
        ],
        tag="transfers",
    )
    def create(self, request: Request) -> Response:
        """
        201: completed, the tokens are there. 202: the other side has to answer. It is `pending` (the receiver accepts)
        if the caller controls the sender, and `requested` (the sender fulfils) if it controls the receiver.
        """
        values = transfer_serializers.read_transfer(request.data, is_v2=v2.is_v2(request))
        wish = {
            "actor": caller(request),
            "sender": values["sender_wallet"],
            "receiver": values["receiver_wallet"],
            "claim": idempotency.claim(request),
        }
        if "tokens" in values:
            row = operations.send_tokens(token_ids=values["tokens"], **wish)
        else:
            row = operations.send_bundle(size=values["bundle"]["bundle_size"], **wish)
        return _created(request, row)

    def rebuild_answer(self, result_id: UUID) -> Response:
        return _created(self.request, queries.transfer_as_created(transfer_id=result_id))

    @_describe(
        "Show a transfer",
        refusals=[errors.TransferNotVisible()],
    )
    def retrieve(self, request: Request, transfer_id: str) -> Response:
        row = queries.transfer_visible_to(actor_id=caller(request).pk, transfer_id=path_id("transfer_id", transfer_id))
        return Response(_shown(request, row))

    @describe(
        "List the tokens of a transfer",
        query=LATER_PAGE,
        answer={"tokens": [wallet_serializers.TOKEN_EXAMPLE]},
        path=transfer_serializers.TRANSFER_PATH,
        refusals=[errors.TransferNotVisible()],
        tag="transfers",
    )
    def tokens(self, request: Request, transfer_id: str) -> Response:
        """
        The tokens that a completed transfer moved, or that a pending one reserves. A token that has moved on into a
        wallet that the caller does not control is shown as the transfer left it.
        """
        parsed = path_id("transfer_id", transfer_id)
        page = pagination.read(
            request, scope="tokens of transfer", later=transfer_serializers.LATER, parameters=[parsed]
        )
        rows = queries.tokens_of_transfer(
            actor_id=caller(request).pk,
            transfer_id=parsed,
            limit=page.limit,
            offset=page.offset,
            after=page.position[0] if page.position else None,
            shows_ids=v2.is_v2(request),
        )
        return page.json_response("tokens", rows)

    @_describe(
        "Accept a pending transfer",
        body=transfer_serializers.EMPTY,
        body_examples={"Request": {}},
        refusals=[
            errors.TransferNotFound(_NOBODY),
            errors.NotYoursToDecide("accept"),
            errors.TransferNotPending(),
        ],
    )
    def accept(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        transfer_serializers.EMPTY.read_body(request.data)
        return Response(transfer_serializers.transfer(operations.accept(actor=caller(request), transfer_id=parsed)))

    @_describe(
        "Fulfill a requested transfer",
        body=[transfer_serializers.IMPLICIT, transfer_serializers.EXPLICIT],
        body_examples={
            "Whichever tokens": transfer_serializers.IMPLICIT_EXAMPLE,
            "These tokens": transfer_serializers.EXPLICIT_EXAMPLE,
        },
        refusals=[
            errors.TransferNotFound(_NOBODY),
            _NO_TOKEN,
            errors.NotYoursToDecide("fulfill"),
            errors.TransferNotRequested(),
            errors.TokensAlreadyNamed(),
            errors.TooFewTokens(2),
            errors.TooManyTokens(2),
            errors.ChosenTokenElsewhere(_NOBODY),
            *_NOT_FREE,
            Invalid('"implicit" is required'),
        ],
    )
    def fulfill(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        values = transfer_serializers.read_fulfillment(request.data)
        row = operations.fulfill(actor=caller(request), transfer_id=parsed, token_ids=values.get("tokens"))
        return Response(transfer_serializers.transfer(row))

    @_describe(
        "Decline a transfer",
        body=transfer_serializers.EMPTY,
        body_examples={"Request": {}},
        refusals=[
            errors.TransferNotFound(_NOBODY),
            errors.NotYoursToDecide("decline"),
            errors.TransferNotOpen(),
        ],
    )
    def decline(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        transfer_serializers.EMPTY.read_body(request.data)
        return Response(transfer_serializers.transfer(operations.decline(actor=caller(request), transfer_id=parsed)))

    @_describe(
        "Cancel a transfer of one's own",
        refusals=[
            errors.TransferNotFound(_NOBODY),
            errors.NotYoursToDecide("cancel"),
            errors.TransferNotOpen(),
        ],
        is_idempotent=True,
    )
    def destroy(self, request: Request, transfer_id: str) -> Response:
        parsed = path_id("transfer_id", transfer_id)
        return Response(transfer_serializers.transfer(operations.delete(actor=caller(request), transfer_id=parsed)))


class HistoryViewSet(ApiViewSet):
    """What happened to one token."""

    @describe(
        "List the movements of a token",
        query=LATER_PAGE,
        answer={"history": [transfer_serializers.MOVEMENT_EXAMPLE]},
        path=wallet_serializers.TOKEN_PATH,
        refusals=[_NO_TOKEN, wallet_errors.TokenNotVisible("Have no permission to visit this token")],
        tag="tokens",
    )
    def list(self, request: Request, token_id: str) -> Response:
        parsed = path_id("token_id", token_id)
        page = pagination.read(request, scope="history", later=transfer_serializers.LATER, parameters=[parsed])
        is_v2 = v2.is_v2(request)
        rows = queries.token_history(
            actor_id=caller(request).pk,
            token_id=parsed,
            as_sent=token_id,
            limit=page.fetch,
            offset=page.offset,
            after=page.position[0] if page.position else 0,
            shows_ids=is_v2,
        )
        write = transfer_serializers.movement_with_ids if is_v2 else transfer_serializers.movement
        return page.response("history", rows, write=write, position=_number)


class PendingViewSet(ApiViewSet):
    """What is on its way out of and into a wallet."""

    @describe(
        "Sum up the pending transfers of a wallet",
        answer=transfer_serializers.PENDING_SUMS_EXAMPLE,
        path=wallet_serializers.WALLET_PATH,
        refusals=[
            wallet_errors.WalletNotFound(f"Could not find wallet by id: {_NOBODY}"),
            wallet_errors.WalletNotControlled("Have no permission to access this wallet"),
        ],
        tag="transfers",
    )
    def list(self, request: Request, wallet_id: str) -> Response:
        """Transfers in the state `pending`; those that are `requested` reserve nothing and are not counted."""
        sums = queries.pending_sums(actor_id=caller(request).pk, wallet_id=path_id("wallet_id", wallet_id))
        return Response(transfer_serializers.pending_sums(sums))


def _number(row: Any) -> list[Any]:
    return [row.number]
