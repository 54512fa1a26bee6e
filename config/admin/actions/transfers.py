"""Operators' actions on tokens and transfers."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from django import forms
from django.contrib.auth.models import User

from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, ReasonForm, Values
from config.admin.actions.wallets import WalletAction
from transfers import action_tokens, captures, counters, errors, operations, reports
from transfers.models import ActionToken, Transfer
from transfers.states import DECIDES, OPEN, ActionTokenState, Side, TransferEvent, TransferState
from wallets import names, operator_log
from wallets.models import Token, Wallet
from wallets.operator_log import Operator
from wallets.states import OperatorVerb
from wallets.wording import counted, verb

# More than this at once is for `manage.py issue_tokens`: a page should answer within seconds.
MAXIMUM_ISSUE: Final = 100_000


class IssueForm(ReasonForm):
    count = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAXIMUM_ISSUE,
        label="How many",
        help_text="With random capture ids. Or upload a file:",
    )
    file = forms.FileField(
        required=False,
        label="CSV file",
        help_text="A column capture_id, or one id per line. One token is issued for each.",
    )
    captures = forms.CharField(required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("file"):
            cleaned["captures"] = " ".join(map(str, _captures_in(cleaned["file"])))
        listed = cleaned.get("captures") or ""
        if any(names.parse_uuid(line) is None for line in listed.split()):
            raise forms.ValidationError("Each capture id must be a UUID.")
        if bool(cleaned.get("count")) == bool(listed) and not self.errors:
            raise forms.ValidationError("Enter a number or choose a file, not both.")
        return cleaned


def _captures_in(file: Any) -> list[UUID]:
    try:
        found = captures.read(file.read())
    except captures.CapturesUnreadable as error:
        raise forms.ValidationError(str(error)) from error
    if len(found) > MAXIMUM_ISSUE:
        raise forms.ValidationError(
            f"At most {MAXIMUM_ISSUE:,} tokens at once; the file has {len(found):,} capture ids."
        )
    if len(set(found)) < len(found):
        repeated = len(found) - len(set(found))
        raise forms.ValidationError(
            f"{counted(repeated, 'line')} of the file {verb(repeated, 'repeats', 'repeat')} another capture id."
        )
    return found


def _capture_ids(values: Values) -> list[UUID] | None:
    return [UUID(line) for line in values["captures"].split()] if values.get("captures") else None


class IssueTokens(WalletAction):
    name = "issue-tokens"
    label = "Issue tokens"
    confirm_label = "Issue the tokens"
    verb = OperatorVerb.ISSUED_TOKENS
    form_class = IssueForm

    def snapshot(self, row: Wallet, values: Values) -> Values:
        capture_ids = _capture_ids(values)
        return {
            "issues_by_operators": operator_log.earlier(self.verb, kind=self.kind, object_id=row.pk),
            "captures_issued_already": Token.objects.filter(capture_id__in=capture_ids).count() if capture_ids else 0,
        }

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        capture_ids = _capture_ids(values)
        number = len(capture_ids) if capture_ids else int(values["count"] or 0)
        taken = snapshot["captures_issued_already"]
        if taken:
            has = verb(taken, "has", "have")
            return [f"{counted(taken, 'capture')} of the file already {has} a token: no token will be issued."]
        which = "one for each capture of the file" if capture_ids else "with random capture ids"
        return [
            f"{counted(number, 'new token')} in {row.name}, {which}.",
            "Tokens cannot be deleted: tokens issued by mistake can only be transferred.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, snapshot: Values) -> Outcome:
        before = counters.token_counts([row.pk])[row.pk].total
        capture_ids, count = _capture_ids(values), values.get("count")
        token_ids = [uuid4() for _ in capture_ids or range(count or 0)]
        issued = operations.issue_tokens(wallet=row, count=count, capture_ids=capture_ids, token_ids=token_ids)
        # All tokens of one statement have the same time, so the first one names the issue on their pages.
        firsts = Token.objects.filter(pk__in=token_ids[:: operations.ISSUED_AT_ONCE])
        return Outcome(
            f"{counted(issued, 'token')} issued to {row.name}.",
            {"issued": issued, "tokens": before + issued},
            {"tokens": before},
            concerns=[(reports.ISSUE, reports.issue_of(token)) for token in firsts],
        )


# The events by which an operator cancels an open transfer, each in the name of the wallet that decides on it.
_CANCELLING: Final = {
    TransferEvent.DELETE: "which requested it: withdraw it",
    TransferEvent.DECLINE: "which was asked: decline it",
}


def _deciders(transfer: Transfer) -> dict[TransferEvent, Wallet]:
    """Return in whose name each event could cancel the transfer; nothing if it is closed."""
    sides = {Side.SOURCE: transfer.source, Side.DESTINATION: transfer.destination}
    return {
        event: sides[DECIDES[TransferState(transfer.state), event]] for event in _CANCELLING if transfer.state in OPEN
    }


class CancelForm(ReasonForm):
    event = forms.ChoiceField(label="In whose name", widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        deciders = _deciders(self.row).items()
        choices = [(event.value, f"{wallet.name}, {_CANCELLING[event]}") for event, wallet in deciders]
        # The choices of a closed transfer stay valid: the action itself refuses it, with a better message.
        self.fields["event"].choices = choices or [(event.value, "") for event in _CANCELLING]  # type: ignore[attr-defined]


class CancelManyForm(ReasonForm):
    event = forms.ChoiceField(
        label="In whose name",
        widget=forms.RadioSelect,
        choices=[(event.value, f"of the wallet {words}") for event, words in _CANCELLING.items()],
    )


class CancelTransfer(AdminAction):
    name = "cancel-transfer"
    label = "Cancel"
    confirm_label = "Cancel the transfer"
    verb = OperatorVerb.CANCELLED_TRANSFER
    kind = base.TRANSFER
    model = Transfer
    form_class = CancelForm
    is_dangerous = True
    label_for_many = "Cancel the selected"

    def form_for_many(self, *args: Any, **kwargs: Any) -> ReasonForm:
        return CancelManyForm(*args, **kwargs)

    def preview_of_many(self, rows: Sequence[Transfer], values: Values) -> Sequence[str]:
        tokens, reserved = sum(row.token_count for row in rows), sum(row.reserved_count for row in rows)
        return [
            f"{counted(len(rows), 'transfer')} of {counted(tokens, 'token')} {verb(len(rows))} cancelled, each in the"
            f" name of the wallet {_CANCELLING[TransferEvent(values['event'])]}. That is final."
            " Both wallets of each get an event.",
            f"{counted(reserved, 'reserved token')} can be used again."
            if reserved
            else "No token was reserved for them.",
        ]

    def why_not(self, user: User, row: Transfer) -> str:
        return "" if row.state in OPEN else f"it is {row.state}, and that is final"

    def intro(self, row: Transfer) -> str:
        return f"{counted(row.token_count, 'token')} from {row.source.name} to {row.destination.name}, {row.state}."

    def snapshot(self, row: Transfer, values: Values) -> Values:
        return {"state": row.state, "tokens_asked": row.token_count, "tokens_reserved": row.reserved_count}

    def preview(self, row: Transfer, values: Values, snapshot: Values) -> Sequence[str]:
        wallet = _deciders(row)[TransferEvent(values["event"])]
        return [
            f"The transfer of {counted(row.token_count, 'token')} from {row.source.name} to {row.destination.name} is"
            f" cancelled in the name of {wallet.name}. That is final. Both wallets get an event.",
            f"{counted(snapshot['tokens_reserved'], 'reserved token')} of {row.source.name} can be used again."
            if snapshot["tokens_reserved"]
            else "No token was reserved for it.",
        ]

    def perform(self, operator: Operator, row: Transfer, values: Values, snapshot: Values) -> Outcome:
        event = TransferEvent(values["event"])
        wallet = _deciders(row).get(event)
        if wallet is None:
            raise errors.TransferNotOpen
        cancel = operations.delete if event is TransferEvent.DELETE else operations.decline
        state = cancel(actor=wallet, transfer_id=row.pk).state
        return Outcome(
            "The transfer is cancelled.",
            {"state": state, "tokens_reserved": 0, "in_the_name_of": wallet.name, "event": event.value},
            concerns=[(base.WALLET, row.source_id), (base.WALLET, row.destination_id)],
        )

    def log_label(self, subject: Transfer, values: Values) -> str:
        tokens = counted(subject.token_count, "token")
        return f"{tokens} from {subject.source.name} to {subject.destination.name}"


class CancelActionToken(AdminAction):
    name = "cancel-action-token"
    label = "Cancel"
    confirm_label = "Cancel the claim link"
    verb = OperatorVerb.CANCELLED_ACTION_TOKEN
    kind = base.ACTION_TOKEN
    model = ActionToken
    is_dangerous = True
    label_for_many = "Cancel the selected"

    def preview_of_many(self, rows: Sequence[ActionToken], values: Values) -> Sequence[str]:
        tokens = sum(row.token_count for row in rows)
        return [
            f"{counted(len(rows), 'claim link')} of {counted(tokens, 'token')} {verb(len(rows))} cancelled. That is"
            " final: a person who opens one is told so. No event is written.",
            f"{counted(tokens, 'reserved token')} can be used again.",
        ]

    def why_not(self, user: User, row: ActionToken) -> str:
        return "" if row.state == ActionTokenState.ACTIVE else f"it is {row.state}, and that is final"

    def snapshot(self, row: ActionToken, values: Values) -> Values:
        return {"state": row.state, "tokens_reserved": row.token_count}

    def preview(self, row: ActionToken, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"The claim link of {counted(row.token_count, 'token')} of {row.sender.name} is cancelled. That is final:"
            " a person who opens it is told so. No event is written.",
            f"{counted(row.token_count, 'reserved token')} of {row.sender.name} can be used again.",
        ]

    def perform(self, operator: Operator, row: ActionToken, values: Values, snapshot: Values) -> Outcome:
        action_tokens.cancel_locked(row, actor_id=None)
        return Outcome(
            "The claim link is cancelled.",
            {"state": ActionTokenState.CANCELLED.value, "tokens_reserved": 0},
            concerns=[(base.WALLET, row.sender_id)],
        )

    def log_label(self, subject: ActionToken, values: Values) -> str:
        return f"{counted(subject.token_count, 'token')} from {subject.sender.name}"
