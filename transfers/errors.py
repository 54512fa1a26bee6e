"""Refusals of the transfers app. The texts are part of the interface: clients compare them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from wallets.errors import DomainError

# The maximum number of refused rows in the message; the answer lists all of them.
_TOLD_AT_ONCE: Final = 20
# The columns of a batch.
WALLET_COLUMN: Final = "wallet_name"
AMOUNT_COLUMN: Final = "token_transfer_amount_overwrite"


class SameWallet(DomainError):
    """Source and destination are one wallet (the Treetracker contract, row 8)."""

    def __init__(self) -> None:
        super().__init__("Cannot transfer to the same wallet as the originating one!")


class NeitherWalletControlled(DomainError):
    """The caller controls neither side (the Treetracker contract, row 7)."""

    def __init__(self) -> None:
        super().__init__("Current account has no permission to transfer between these wallets")


class InsufficientTokens(DomainError):
    """The source has fewer free tokens than asked."""

    def __init__(self) -> None:
        super().__init__("Do not have enough tokens to send")


class TokenElsewhere(DomainError):
    """A listed token is not in the source wallet."""

    def __init__(self, token_id: UUID) -> None:
        self.token_id = token_id
        super().__init__(f"The token {token_id} do not belongs to sender wallet")


class TokenReserved(DomainError):
    """A listed token is reserved by another transfer."""

    def __init__(self, token_id: UUID) -> None:
        super().__init__(
            f"The token {token_id} can not be transfer for some reason, "
            "for example, it's been pending for another transfer"
        )


class TransferNotFound(DomainError):
    """There is no transfer with this id."""

    def __init__(self, transfer_id: UUID) -> None:
        super().__init__(f"Can not found transfer by id:{transfer_id}")


class TransferNotVisible(DomainError):
    """There is no such transfer, or the caller controls no party of it; the message is the same for both."""

    def __init__(self) -> None:
        super().__init__("Can not find this transfer or it is related to this wallet")


class EventsExpired(DomainError):
    """Events after the cursor are no longer kept."""

    def __init__(self) -> None:
        super().__init__("Events after this cursor are no longer kept. Begin again without a cursor")


class HistoryDetached(DomainError):
    """Movements that the answer would have are in a partition that is detached."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The oldest movements of this {what} are stored elsewhere. Ask the operator to attach them")


class TransferNotPending(DomainError):
    """Only a pending transfer can be accepted."""

    def __init__(self) -> None:
        super().__init__("The transfer state is not pending")


class TransferNotRequested(DomainError):
    """Only a requested transfer can be fulfilled."""

    def __init__(self) -> None:
        super().__init__("Operation forbidden, the transfer state is wrong")


class TransferNotOpen(DomainError):
    """Only an open transfer can be declined or deleted."""

    def __init__(self) -> None:
        super().__init__("The transfer state is not pending and requested")


class ApprovalAwaited(DomainError):
    """The transfer awaits the approval of the sender's side, and cannot be accepted before."""

    def __init__(self) -> None:
        super().__init__("The transfer awaits the approval of its sender")


class ApprovalNotAwaited(DomainError):
    """Only a transfer that awaits an approval can be approved or refused."""

    def __init__(self) -> None:
        super().__init__("The transfer does not await an approval")


class SameCredential(DomainError):
    """A transfer must be approved with another credential than the one that requested it."""

    def __init__(self) -> None:
        super().__init__("The approval needs another login than the one that asked for it")


class AskerWithoutControl(DomainError):
    """The wallet that made the transfer no longer controls its sender."""

    def __init__(self) -> None:
        super().__init__("The wallet that made this transfer no longer controls its sender")


class LinkNeedsApproval(DomainError):
    """The sender requires an approval for such a transfer, and claim links cannot wait for one."""

    def __init__(self) -> None:
        super().__init__("The sender wallet demands an approval for this, which a claim link cannot await")


class NotYoursToDecide(DomainError):
    """The caller does not control the side that may decide."""

    def __init__(self, verb: str) -> None:
        super().__init__(f"Current account has no permission to {verb} this transfer")


class ReferenceTaken(DomainError):
    """A unique reference belongs to another transfer of the same originator, which asked for a unique one too."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"The reference {reference} belongs to another transfer")


class ExpiryPassed(DomainError):
    """A transfer cannot expire before it is created."""

    def __init__(self) -> None:
        super().__init__('"expires_at" must be in the future')


class TokensAlreadyNamed(DomainError):
    """The request named its tokens, so a fulfilment may not name them again."""

    def __init__(self) -> None:
        super().__init__("No need to specify tokens")


class TooFewTokens(DomainError):
    """A fulfilment names fewer tokens than were asked."""

    def __init__(self, asked: int) -> None:
        super().__init__(f"Too few tokens to transfer, please provider {asked} tokens for this transfer")


class TooManyTokens(DomainError):
    """A fulfilment names more tokens than were asked."""

    def __init__(self, asked: int) -> None:
        super().__init__(f"Too many tokens to transfer, please provider {asked} tokens for this transfer")


class CaptureAlreadyIssued(DomainError):
    """A capture has a token already."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} of the captures have a token already or are listed twice")


class ChosenTokenElsewhere(DomainError):
    """A token that a fulfilment names is not in the source wallet."""

    def __init__(self, token_id: UUID) -> None:
        self.token_id = token_id
        # The public service's message says "undefined" instead of the id, and its clients compare it.
        super().__init__("the token:undefined do not belongs to sender walleter")


class BatchTooLarge(DomainError):
    """A batch moves more tokens than one transaction may."""

    def __init__(self, maximum: int) -> None:
        super().__init__(f"A batch must transfer less than or equal to {maximum} tokens in all")


class BatchUncovered(DomainError):
    """The sender has fewer free tokens than all rows of a batch ask together."""

    def __init__(self) -> None:
        super().__init__("sender does not have enough tokens")


class RowInvalid(DomainError):
    """A cell of a batch has the wrong shape. `column` is the name of its column, or "column 7" if it has none."""

    def __init__(self, message: str, *, column: str = WALLET_COLUMN) -> None:
        super().__init__(message)
        self.column = column


class ActionTokenNotVerified(DomainError):
    """No claim link has the code."""

    def __init__(self) -> None:
        super().__init__("ERROR: ActionToken not verified")


class ActionTokenExpired(DomainError):
    """The claim link expired before it was claimed."""

    def __init__(self) -> None:
        super().__init__("ERROR: ActionToken expired")


class ActionTokenCancelled(DomainError):
    """The sender cancelled the claim link."""

    def __init__(self) -> None:
        super().__init__("ERROR: ActionToken has been cancelled")


class ActionTokenRedeemed(DomainError):
    """The claim link was claimed already."""

    def __init__(self) -> None:
        super().__init__("ERROR: ActionToken has already been redeemed")


class ActionTokenNotFound(DomainError):
    """No claim link has the id, or the caller does not control its sender."""

    def __init__(self) -> None:
        super().__init__("Action token not found")


class ActionTokenNotActive(DomainError):
    """Only an active claim link can be cancelled."""

    def __init__(self, state: str) -> None:
        super().__init__(f"Cannot cancel an action token in state '{state}'")


class ActionTokenForAnother(DomainError):
    """The claim link is for another e-mail address than the claimant gave, or the claimant gave none."""

    def __init__(self) -> None:
        super().__init__("ERROR: ActionToken is for another e-mail address")


class TooFewAvailable(DomainError):
    """The sender of claim links has fewer free tokens than asked."""

    def __init__(self, asked: int) -> None:
        super().__init__(f"Wallet does not have {asked} tokens available")


class TokensNotTransferable(DomainError):
    """Open transfers reserve tokens that a claim link names."""

    def __init__(self, token_ids: Sequence[UUID]) -> None:
        super().__init__(f"Token(s) cannot be transferred: {_listed(token_ids)}")


class TokensCommitted(DomainError):
    """Other claim links reserve tokens that a claim link names."""

    def __init__(self, token_ids: Sequence[UUID]) -> None:
        super().__init__(f"Token(s) already committed to an outstanding share link: {_listed(token_ids)}")


class TokensOutsideSender(DomainError):
    """Tokens that a claim link names are not in its sender."""

    def __init__(self, token_ids: Sequence[UUID]) -> None:
        super().__init__(f"Token(s) do not belong to the sender wallet: {_listed(token_ids)}")


def _listed(token_ids: Sequence[UUID]) -> str:
    return ", ".join(map(str, token_ids))


class RowsRefused(DomainError):
    """
    Rows of a batch are refused, and therefore the batch: nothing was changed.

    `problems` are the errors by line of the file; line 1 is the header. If only one row is refused, the message is that
    of the row, as in the public service.
    """

    def __init__(self, problems: Mapping[int, DomainError]) -> None:
        self.problems = dict(sorted(problems.items()))
        texts = [f"line {line}: {error}" for line, error in self.problems.items()]
        if len(texts) == 1:
            message = str(next(iter(self.problems.values())))
        else:
            message = "; ".join(texts[:_TOLD_AT_ONCE])
            if len(texts) > _TOLD_AT_ONCE:
                message += f"; and {len(texts) - _TOLD_AT_ONCE} more"
        super().__init__(message)
        self.extra = {"rows": rows(self.problems)}


def rows(problems: Mapping[int, DomainError]) -> list[dict[str, Any]]:
    """Name refused rows of a batch by line, column and message. `problems` are the errors by line, in order."""
    return [
        # An error that names no column is about the wallet of the row.
        {"line": line, "column": getattr(error, "column", WALLET_COLUMN), "message": str(error)}
        for line, error in problems.items()
    ]
