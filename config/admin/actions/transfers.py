"""What operators do with tokens and transfers: the operations, each with its entry in the log (see `.wallets`)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import transaction

from config.admin.actions.wallets import WALLET
from transfers import counters, errors, operations, reports
from transfers.models import Transfer
from transfers.states import DECIDES, OPEN, Side, TransferEvent, TransferState
from wallets import operator_log, queries
from wallets.models import Token, Wallet
from wallets.operator_log import Operator
from wallets.queries import NO_TOKENS
from wallets.states import OperatorVerb

TRANSFER: Final = "transfer"
# More than this at once is for `manage.py issue_tokens`: a page should answer within seconds.
MAXIMUM_ISSUE: Final = 100_000

Shown = Mapping[str, Any]


def about_to_issue(*, wallet_id: UUID, capture_ids: Sequence[UUID] | None = None) -> Shown:
    return {
        "issues_by_operators": operator_log.earlier(OperatorVerb.ISSUED_TOKENS, kind=WALLET, object_id=wallet_id),
        "captures_issued_already": Token.objects.filter(capture_id__in=capture_ids).count() if capture_ids else 0,
    }


def issue_tokens(
    *,
    operator: Operator,
    shown: Shown,
    wallet_id: UUID,
    count: int | None = None,
    capture_ids: Sequence[UUID] | None = None,
) -> int:
    """
    Create tokens in a wallet, `count` or one for each capture, and return how many.

    :raises wallets.errors.WalletNotFound: no such wallet
    :raises transfers.errors.CaptureAlreadyIssued: a capture has a token already; then none is created
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operator_log.hold(OperatorVerb.ISSUED_TOKENS, kind=WALLET, object_id=wallet_id)
        wallet = queries.wallet_by_id(wallet_id)
        operator_log.compare(shown, about_to_issue(wallet_id=wallet_id, capture_ids=capture_ids))
        before = counters.token_counts([wallet_id]).get(wallet_id, NO_TOKENS).total
        captures = [uuid4() for _ in range(count or 0)] if capture_ids is None else list(capture_ids)
        token_ids = [uuid4() for _ in captures]
        issued = operations.issue_tokens(wallet=wallet, capture_ids=captures, token_ids=token_ids)
        # What is issued in one statement has one time; no page tells of an act token by token.
        firsts = Token.objects.filter(pk__in=token_ids[:: operations.ISSUED_AT_ONCE])
        operator_log.record(
            operator,
            OperatorVerb.ISSUED_TOKENS,
            kind=WALLET,
            object_id=wallet_id,
            label=wallet.name,
            before={**shown, "tokens": before},
            after={"issued": issued, "tokens": before + issued},
            concerns=[(reports.ISSUE, reports.issue_of(token)) for token in firsts],
        )
    return issued


# The events by which an operator may end an open transfer, each in the name of the wallet that decides on it.
CANCELLING: Final = (TransferEvent.DELETE, TransferEvent.DECLINE)


def deciders(transfer: Transfer) -> dict[TransferEvent, Wallet]:
    """Return in whose name each event could cancel the transfer; nothing if it is closed."""
    sides = {Side.SOURCE: transfer.source, Side.DESTINATION: transfer.destination}
    return {
        event: sides[DECIDES[TransferState(transfer.state), event]] for event in CANCELLING if transfer.state in OPEN
    }


def about_to_cancel(*, transfer_id: UUID) -> Shown:
    """:raises transfers.errors.TransferNotFound: no such transfer"""
    transfer = Transfer.objects.filter(pk=transfer_id).first()
    if transfer is None:
        raise errors.TransferNotFound(transfer_id)
    return {
        "state": transfer.state,
        "tokens_asked": transfer.token_count,
        "tokens_reserved": transfer.reserved_count,
    }


def cancel_transfer(*, operator: Operator, shown: Shown, transfer_id: UUID, event: TransferEvent) -> None:
    """
    Cancel an open transfer in the name of the wallet that may: DELETE for who asked, DECLINE for who was asked.

    :raises transfers.errors.TransferNotFound, transfers.errors.TransferNotOpen: as their names say
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        # Locked before it is compared, by the operation's own order: the transfer first.
        transfer = Transfer.objects.select_for_update(no_key=True, of=("self",)).filter(pk=transfer_id).first()
        if transfer is None:
            raise errors.TransferNotFound(transfer_id)
        operator_log.compare(shown, about_to_cancel(transfer_id=transfer_id))
        wallet = deciders(transfer).get(event)
        if wallet is None:
            raise errors.TransferNotOpen
        cancel = operations.delete if event is TransferEvent.DELETE else operations.decline
        row = cancel(actor=wallet, transfer_id=transfer_id)
        operator_log.record(
            operator,
            OperatorVerb.CANCELLED_TRANSFER,
            kind=TRANSFER,
            object_id=transfer_id,
            label=f"{transfer.token_count} tokens from {row.source_wallet} to {row.destination_wallet}",
            before=shown,
            after={"state": row.state, "tokens_reserved": 0, "in_the_name_of": wallet.name, "event": event.value},
            concerns=[(WALLET, transfer.source_id), (WALLET, transfer.destination_id)],
        )
