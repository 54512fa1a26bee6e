"""The endpoints `/transfers` and `/tokens/{id}/transactions`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from rest_framework.request import Request

from config.api import idempotency, key_scopes, pagination, parsers
from config.api.authentication import caller, credential_id
from config.api.errors import Invalid
from config.api.openapi import LATER_PAGE, NOTHING, Takes, describe
from config.api.renderers import Response
from config.api.treetracker import transfer_serializers, v2, wallet_serializers
from config.api.validation import path_id
from config.api.views import ApiViewSet
from transfers import approvals, errors, operations, queries, token_lists, transfer_lists
from transfers.states import OPEN
from wallets import errors as wallet_errors

_STATUSES = {"completed": 201, "pending": 202, "requested": 202}
_NOBODY = UUID("11111111-1111-4111-8111-111111111111")
_NO_WALLET = wallet_errors.WalletNotFound("Could not find entity by wallet name: nobody")
_NO_TOKEN = wallet_errors.TokenNotFound(f"can not found token by id:{_NOBODY}")
_INVALID_NAME = wallet_errors.InvalidWalletName("invalid wallet name:no body")
_NOT_FREE = [errors.InsufficientTokens(), errors.TokenReserved(_NOBODY)]
# Shared by the actions on one transfer.
_describe = partial(describe, answers=transfer_serializers.CLOSED, tag="transfers")


def _end_of_day(moment: datetime | None) -> datetime | None:
    """Return the end of the day (UTC) of a time, or None if no time is later."""
    if moment is None or (moment.year, moment.month, moment.day) == (9999, 12, 31):
        return None
    return datetime.combine(moment.date() + timedelta(days=1), time(tzinfo=UTC))


def _created(request: Request, row: queries.TransferRow, *, asks: bool) -> Response:
    # By the state alone, so that a repeated request gets the same bytes.
    actions = queries.ACTIONS_OF_CREATOR if row.state in OPEN else ()
    return Response(_shown(request, row, actions if asks or row.has_terms else None), status=_STATUSES[row.state])


def _shown(request: Request, row: queries.TransferRow, actions: Sequence[str] | None) -> Any:
    """Return the body of a transfer in the edition of the path; `actions` as `transfer_serializers.transfer`."""
    write = transfer_serializers.counted_transfer if v2.is_v2(request) else transfer_serializers.transfer
    return write(row, actions=actions)


def _closed(row: queries.TransferRow, *, asks: bool) -> Response:
    """Return the body of a transfer that the caller has just closed. v2 adds no field to it."""
    return Response(transfer_serializers.transfer(row, actions=() if asks or row.has_terms else None))


class TransferViewSet(ApiViewSet):
    """Tokens on their way from one wallet to another."""

    maximum_bytes = parsers.MAXIMUM_LIST_BYTES
    stores_own_answer = frozenset({"create"})
    takes_cached_credentials = frozenset({"create", "list"})

    @describe(
        "transfers.list",
        "List transfers",
        answers=transfer_serializers.TRANSFER_PAGE,
        takes=Takes(query={**transfer_serializers.TRANSFERS_PAGE, **transfer_serializers.TRANSFER_FILTERS}),
        refusals=[
            _NO_WALLET,
            _INVALID_NAME,
            Invalid('"state" must be one of [requested, pending, completed, cancelled, failed]'),
        ],
        tag="transfers",
    )
    def list(self, request: Request) -> Response:
        """
        Lists the transfers in which the caller's wallet, or one that it manages, is a party; the oldest first. With
        `wallet`, those of them that this wallet sends, receives or asked for. With `reference`, those that have exactly
        it; with `metadata[key]=value`, those whose metadata has this value, or all of several. With
        `awaiting_approval=true`, those that await the approval of their sender.
        """
        is_v2 = v2.is_v2(request)
        page = pagination.read(
            request,
            transfer_serializers.filters(request.query_params, is_v2=is_v2),
            scope="transfers",
            later=transfer_serializers.TRANSFERS_LATER,
        )
        page = replace(page, query=transfer_serializers.repeated(page.query))
        starts = [page.values[name] for name in ("after", "created_since") if name in page.values]
        order = page.order or pagination.Order(None, is_descending=is_v2)
        rows = transfer_lists.transfers_visible_to(
            actor_id=caller(request).pk,
            selection=transfer_lists.TransferSelection(
                wallet=page.values.get("wallet"),
                state=page.values.get("state"),
                until=_end_of_day(page.values.get("before")),
                since=max(starts, default=None),
                reference=page.values.get("reference"),
                awaiting_approval="awaiting_approval" in page.values,
                metadata=transfer_serializers.metadata_in(page.values),
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
        "transfers.create",
        "Transfer tokens",
        answers={201: transfer_serializers.CLOSED, 202: transfer_serializers.PENDING},
        takes=Takes(
            body=[transfer_serializers.NEW_BUNDLE, transfer_serializers.NEW_LIST],
            examples={
                "Any two tokens": transfer_serializers.BUNDLE_EXAMPLE,
                "These tokens": transfer_serializers.LIST_EXAMPLE,
                "With terms": transfer_serializers.TERMED_EXAMPLE,
            },
            query=transfer_serializers.INCLUDING,
        ),
        refusals=[
            _NO_WALLET,
            _NO_TOKEN,
            _INVALID_NAME,
            errors.SameWallet(),
            errors.NeitherWalletControlled(),
            errors.TokenElsewhere(_NOBODY),
            errors.ReferenceTaken("order 1007"),
            errors.ExpiryPassed(),
            *_NOT_FREE,
            *key_scopes.LIMITS,
            Invalid('"bundle" is required'),
            Invalid('"tokens[1]" contains a duplicate value'),
        ],
        tag="transfers",
    )
    def create(self, request: Request) -> Response:
        """
        Sends a number of tokens (`bundle`), or named tokens (`tokens`), from one wallet to another. The caller controls
        at least one of the two: it is that wallet, or manages it.

        * 201, `completed`: the tokens have moved. The caller controls both wallets, or an accepted trust relationship
          lets the sender send to the receiver.
        * 202, `pending`: the caller controls the sender. The tokens are reserved until the receiver accepts or
          declines.
        * 202, `requested`: the caller controls the receiver. No token is reserved; the sender fulfils or declines.

        If the sender requires an approval for such transfers (`PUT /wallets/{wallet_id}/approval`), the transfer is
        `pending` with `awaiting_approval` first, and goes on as above when another login has approved it.

        All tokens move, or none. Too few free tokens, and tokens that are elsewhere or reserved, are 403.

        Who sees the transfer sees its `reference` and `metadata`. With `unique_reference`, the reference can belong to
        one transfer only of those that the caller asked for with it, whatever became of the first: 409. From
        `expires_at` on a transfer that is still open cannot complete: it fails, and its tokens are free. A response
        about one transfer with any of these, or to a request with `include=available_actions`, says what the caller may
        do with it.
        """
        asks = transfer_serializers.asks_for_actions(request)
        values = transfer_serializers.read_transfer(request.data, is_v2=v2.is_v2(request))
        wish = {
            "actor": caller(request),
            "sender": values["sender_wallet"],
            "receiver": values["receiver_wallet"],
            "claim": idempotency.claim(request),
            "terms": transfer_serializers.terms(values),
            "credential_id": credential_id(request),
        }
        if "tokens" in values:
            row = operations.send_tokens(token_ids=values["tokens"], **wish)
        else:
            row = operations.send_bundle(size=values["bundle"]["bundle_size"], **wish)
        return _created(request, row, asks=asks)

    def _maybe_open(self, request: Request, row: queries.TransferRow, *, asks: bool) -> Response:
        """As `_closed`, of a transfer that an approval may have left, or made, pending."""
        if row.state not in OPEN or not (asks or row.has_terms):
            return _closed(row, asks=asks)
        actions = queries.available_actions(actor_id=caller(request).pk, row=row, credential_id=credential_id(request))
        return Response(transfer_serializers.transfer(row, actions=actions))

    def rebuild_answer(self, result_id: UUID) -> Response:
        asks = transfer_serializers.asks_for_actions(self.request)
        return _created(self.request, queries.transfer_as_created(transfer_id=result_id), asks=asks)

    @_describe(
        "transfers.get",
        "Show a transfer",
        takes=Takes(path=transfer_serializers.TRANSFER_PATH, query=transfer_serializers.INCLUDING),
        refusals=[errors.TransferNotVisible()],
    )
    def retrieve(self, request: Request, transfer_id: str) -> Response:
        """Returns a transfer in any state. The caller controls its sender, its receiver or its originator."""
        asks, actor_id = transfer_serializers.asks_for_actions(request), caller(request).pk
        row = queries.transfer_visible_to(actor_id=actor_id, transfer_id=path_id("transfer_id", transfer_id))
        shows = asks or row.has_terms
        if not shows:
            return Response(_shown(request, row, None))
        actions = queries.available_actions(actor_id=actor_id, row=row, credential_id=credential_id(request))
        return Response(_shown(request, row, actions))

    @describe(
        "transfers.tokens",
        "List the tokens of a transfer",
        answers=transfer_serializers.TOKENS_OF_TRANSFER,
        takes=Takes(query=LATER_PAGE, path=transfer_serializers.TRANSFER_PATH),
        refusals=[errors.TransferNotVisible(), errors.HistoryDetached("transfer")],
        tag="transfers",
    )
    def tokens(self, request: Request, transfer_id: str) -> Response:
        """
        Lists the tokens that a completed transfer moved, or that a pending one reserves; other transfers have none. The
        caller controls a party of the transfer. A token that has moved on into a wallet that the caller does not
        control is shown as the transfer left it.
        """
        parsed = path_id("transfer_id", transfer_id)
        page = pagination.read(
            request, scope="tokens of transfer", later=transfer_serializers.LATER, parameters=[parsed]
        )
        rows = token_lists.tokens_of_transfer(
            actor_id=caller(request).pk,
            transfer_id=parsed,
            limit=page.limit,
            offset=page.offset,
            after=page.position[0] if page.position else None,
            shows_ids=v2.is_v2(request),
        )
        return page.json_response("tokens", rows)

    @_describe(
        "transfers.accept",
        "Accept a pending transfer",
        takes=Takes(
            body=NOTHING,
            examples={"Request": {}},
            query=transfer_serializers.INCLUDING,
            path=transfer_serializers.TRANSFER_PATH,
        ),
        refusals=[
            errors.TransferNotFound(_NOBODY),
            errors.NotYoursToDecide("accept"),
            errors.TransferNotPending(),
            errors.ApprovalAwaited(),
            *key_scopes.LIMITS,
        ],
    )
    def accept(self, request: Request, transfer_id: str) -> Response:
        """
        Moves the tokens that a `pending` transfer reserves to its receiver, and completes it. The caller controls the
        receiver. In any other state it is refused with 403.
        """
        asks = transfer_serializers.asks_for_actions(request)
        parsed = path_id("transfer_id", transfer_id)
        transfer_serializers.EMPTY.read_body(request.data)
        return _closed(operations.accept(actor=caller(request), transfer_id=parsed), asks=asks)

    @_describe(
        "transfers.fulfill",
        "Fulfil a requested transfer",
        takes=Takes(
            body=[transfer_serializers.FULFILLMENT, transfer_serializers.FULFILLMENT_WITH],
            examples={
                "Whichever tokens": transfer_serializers.IMPLICIT_EXAMPLE,
                "These tokens": transfer_serializers.EXPLICIT_EXAMPLE,
            },
            query=transfer_serializers.INCLUDING,
            path=transfer_serializers.TRANSFER_PATH,
        ),
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
            *key_scopes.LIMITS,
            Invalid('"implicit" is required'),
        ],
    )
    def fulfill(self, request: Request, transfer_id: str) -> Response:
        """
        Moves tokens of the sender to the receiver of a `requested` transfer, and completes it. The caller controls the
        sender. It names the tokens, as many as the transfer asks for, or leaves the choice to the service with
        `implicit`. A transfer that names its tokens takes `implicit` alone. In any other state it is refused with 403.
        If the sender requires an approval for it, the transfer becomes `pending` with `awaiting_approval` instead, with
        its tokens reserved.
        """
        asks = transfer_serializers.asks_for_actions(request)
        parsed = path_id("transfer_id", transfer_id)
        values = transfer_serializers.read_fulfillment(request.data)
        row = operations.fulfill(
            actor=caller(request),
            transfer_id=parsed,
            token_ids=values.get("tokens"),
            credential_id=credential_id(request),
        )
        return self._maybe_open(request, row, asks=asks)

    @_describe(
        "transfers.approve",
        "Approve a transfer",
        takes=Takes(
            body=NOTHING,
            examples={"Request": {}},
            query=transfer_serializers.INCLUDING,
            path=transfer_serializers.TRANSFER_PATH,
        ),
        refusals=[
            errors.TransferNotFound(_NOBODY),
            errors.NotYoursToDecide("approve"),
            errors.ApprovalNotAwaited(),
            errors.SameCredential(),
            errors.AskerWithoutControl(),
        ],
    )
    def approve(self, request: Request, transfer_id: str) -> Response:
        """
        Approves a transfer that awaits the approval of its sender. The caller controls the sender, and uses another
        login than the one that created or fulfilled the transfer. It goes on as a new transfer would now: it is
        completed, or `pending` for the receiver.
        """
        asks = transfer_serializers.asks_for_actions(request)
        parsed = path_id("transfer_id", transfer_id)
        transfer_serializers.EMPTY.read_body(request.data)
        row = approvals.approve(actor=caller(request), credential_id=credential_id(request), transfer_id=parsed)
        return self._maybe_open(request, row, asks=asks)

    @_describe(
        "transfers.refuse",
        "Refuse the approval of a transfer",
        takes=Takes(
            body=NOTHING,
            examples={"Request": {}},
            query=transfer_serializers.INCLUDING,
            path=transfer_serializers.TRANSFER_PATH,
        ),
        refusals=[
            errors.TransferNotFound(_NOBODY),
            errors.NotYoursToDecide("refuse"),
            errors.ApprovalNotAwaited(),
        ],
    )
    def refuse(self, request: Request, transfer_id: str) -> Response:
        """
        Cancels a transfer that awaits the approval of its sender, which the caller controls. Its tokens are free again.
        Each login of the caller may refuse it, also the one that created it.
        """
        asks = transfer_serializers.asks_for_actions(request)
        parsed = path_id("transfer_id", transfer_id)
        transfer_serializers.EMPTY.read_body(request.data)
        return _closed(approvals.refuse(actor=caller(request), transfer_id=parsed), asks=asks)

    @_describe(
        "transfers.decline",
        "Decline a transfer",
        takes=Takes(
            body=NOTHING,
            examples={"Request": {}},
            query=transfer_serializers.INCLUDING,
            path=transfer_serializers.TRANSFER_PATH,
        ),
        refusals=[
            errors.TransferNotFound(_NOBODY),
            errors.NotYoursToDecide("decline"),
            errors.TransferNotOpen(),
        ],
    )
    def decline(self, request: Request, transfer_id: str) -> Response:
        """
        Cancels an open transfer for the side that was asked: the receiver of a `pending` one, the sender of a
        `requested` one. The caller controls that side. Reserved tokens are free again. In any other state it is refused
        with 403.
        """
        asks = transfer_serializers.asks_for_actions(request)
        parsed = path_id("transfer_id", transfer_id)
        transfer_serializers.EMPTY.read_body(request.data)
        return _closed(operations.decline(actor=caller(request), transfer_id=parsed), asks=asks)

    @_describe(
        "transfers.cancel",
        "Cancel a transfer",
        takes=Takes(is_idempotent=True, query=transfer_serializers.INCLUDING, path=transfer_serializers.TRANSFER_PATH),
        refusals=[
            errors.TransferNotFound(_NOBODY),
            errors.NotYoursToDecide("cancel"),
            errors.TransferNotOpen(),
        ],
    )
    def destroy(self, request: Request, transfer_id: str) -> Response:
        """
        Cancels an open transfer for the side that asked: the sender of a `pending` one, the receiver of a `requested`
        one. The caller controls that side. Reserved tokens are free again. In any other state it is refused with 403.
        """
        asks = transfer_serializers.asks_for_actions(request)
        parsed = path_id("transfer_id", transfer_id)
        return _closed(operations.delete(actor=caller(request), transfer_id=parsed), asks=asks)


class HistoryViewSet(ApiViewSet):
    """What happened to one token."""

    @describe(
        "tokens.movements",
        "List the movements of a token",
        answers=transfer_serializers.MOVEMENT_PAGE,
        takes=Takes(query=LATER_PAGE, path=wallet_serializers.TOKEN_PATH),
        refusals=[
            _NO_TOKEN,
            wallet_errors.TokenNotVisible("Have no permission to visit this token"),
            errors.HistoryDetached("token"),
        ],
        tag="tokens",
    )
    def list(self, request: Request, token_id: str) -> Response:
        """
        Lists the completed transfers of a token from wallet to wallet, the oldest first; that it was issued is not
        listed. The token is in the caller's wallet, or in one that it manages.
        """
        parsed = path_id("token_id", token_id)
        page = pagination.read(request, scope="history", later=transfer_serializers.LATER, parameters=[parsed])
        is_v2 = v2.is_v2(request)
        rows = token_lists.token_history(
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
        "transfers.pending",
        "Sum up the pending transfers of a wallet",
        answers=transfer_serializers.PENDING_SUMS,
        takes=Takes(path=wallet_serializers.WALLET_PATH),
        refusals=[
            wallet_errors.WalletNotFound(f"Could not find wallet by id: {_NOBODY}"),
            wallet_errors.WalletNotControlled("Have no permission to access this wallet"),
        ],
        tag="transfers",
    )
    def list(self, request: Request, wallet_id: str) -> Response:
        """
        Returns the sums of the transfers of the caller's wallet, or of one that it manages, in the state `pending`.
        Those that are `requested` reserve nothing and are not counted.
        """
        sums = queries.pending_sums(actor_id=caller(request).pk, wallet_id=path_id("wallet_id", wallet_id))
        return Response(transfer_serializers.pending_sums(sums))


def _number(row: Any) -> list[Any]:
    return [row.number]
