"""
The base of operators' actions: one class per button of the admin, one transaction per action.

`AdminAction.run` locks the subject, checks that nothing changed since the preview, performs one operation of the domain
and writes the row of the log, all in one transaction: there is a log row if and only if there is an effect.
`config.admin.confirmation` has the pages.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any, ClassVar, Final
from uuid import UUID

from django import forms
from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.db.models import Model
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables

from config.admin import four_eyes, kinds
from config.admin.kinds import PROPOSAL
from config.admin.links import list_url, page_url
from config.admin.models import Proposal
from wallets import errors, operator_log
from wallets.operator_log import Operator
from wallets.states import OperatorVerb

# Kinds of subjects, as the log names them: the singular of the page that lists them.
WALLET: Final = kinds.WALLET
API_KEY: Final = "API key"
BEARER_TOKEN: Final = "bearer token"  # noqa: S105 - a kind of subject
RESTRICTED_KEY: Final = "restricted key"
TRUST: Final = "trust"
TRANSFER: Final = "transfer"
ACTION_TOKEN: Final = "claim link"  # noqa: S105 - a kind of subject
TASK: Final = "task"
LOCKER: Final = "locker"
PAYMENT_REQUEST: Final = "payment request"
WEBHOOK: Final = "webhook"
DELIVERY: Final = "delivery"
AUDIT: Final = "audit"
PERSON: Final = kinds.PERSON
ALERT: Final = "alert"

TICKET_SECONDS: Final = 15 * 60
_SALT: Final = "coppice.admin.action"

Values = Mapping[str, Any]


def input_digest(values: Values) -> str:
    """Return a digest of the answers to an action's questions."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


class InvalidTicket(Exception):
    """The confirmation's ticket is forged, expired or for something else; the message is for the operator."""


class ReasonForm(forms.Form):
    """
    The form of an action: its own questions, and the reason.

    The confirmation page requires the reason; the page with the questions does not ask for it.
    """

    reason = forms.CharField(max_length=500, required=False)

    def __init__(self, *args: Any, row: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields([name for name in self.fields if name != "reason"])
        self.row = row


@dataclass(frozen=True, slots=True)
class ActionButton:
    """
    A button on a page. `url` is None if the action is not possible now; then `because` says why.

    `is_allowed` is false if the user's role does not allow it at all: the page names such actions in one line.
    """

    label: str
    url: str | None
    because: str = ""
    is_dangerous: bool = False
    is_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What an action did: the message for the operator, and `after` for the log.

    `subject` is the row that the log names, if it is not the row of the page (one that was created), and `concerns`
    are further rows as (kind, id). `before` is logged beside the snapshot. None of them may hold a secret; `secrets`
    are shown once, as (label, text). `url` is the page that follows, by default that of the subject. `after_commit`
    is called when the transaction has ended.
    """

    message: str
    after: Values
    before: Values = field(default_factory=dict)
    subject: Any = None
    concerns: Sequence[tuple[str, object]] = ()
    secrets: Sequence[tuple[str, str]] = field(default=(), repr=False)
    url: str = ""
    verb: OperatorVerb | None = None
    after_commit: Callable[[], object] | None = None


class AdminAction:
    """
    One button of the admin.

    A subclass gives the class attributes, and says why the action is not possible, what the decision rests on
    (`snapshot`), what will happen (`preview`), and which operation of the domain does it (`perform`).
    """

    # The name of its URL and, with `app`, of its permission.
    name: ClassVar[str]
    app: ClassVar[str] = "wallets"
    # The button on the page of the row, and the button that confirms.
    label: ClassVar[str]
    confirm_label: ClassVar[str]
    is_dangerous: ClassVar[bool] = False
    # What the log says: who did what to which kind of subject.
    verb: ClassVar[OperatorVerb]
    kind: ClassVar[str]
    # The class of its row. An action without a row has the model above whose list its button is.
    model: ClassVar[type[Model] | None] = None
    above: ClassVar[type[Model] | None] = None
    form_class: ClassVar[type[ReasonForm]] = ReasonForm
    # The button above a list, which does it with all selected rows; "" if it is for one row at a time.
    label_for_many: ClassVar[str] = ""
    # Whether `lock` takes a row lock; otherwise, and for an action without a row, an advisory lock.
    locks_row: ClassVar[bool] = True

    # --- permission -----------------------------------------------------------------------

    @property
    def permission(self) -> str:
        return f"{self.app}.act_{self.name.replace('-', '_')}"

    def may(self, user: User, row: Any) -> bool:
        """Return whether the user's role allows the action; `row` is None before it is known."""
        return user.has_perm(self.permission)

    def why_not(self, user: User, row: Any) -> str:
        """Return why the user cannot do it with the row now, or "" if it is possible."""
        return ""

    def button(self, user: User, row: Any) -> ActionButton:
        """Return the button that the user sees on the page of the row."""
        if not self.may(user, row):
            return ActionButton(self.label_for(row, {}), None, is_allowed=False)
        reason = self.why_not(user, row)
        url = None if reason else reverse(f"admin:{self.name}", args=[] if row is None else [row.pk])
        return ActionButton(self.label_for(row, {}), url, reason, self.is_dangerous)

    def label_for(self, row: Any, values: Values) -> str:
        """Return what the action does to the row with these answers; without answers, what it would do to it now."""
        return self.label

    # --- form and preview -----------------------------------------------------------------

    @property
    def has_questions(self) -> bool:
        """Whether the form asks for more than the reason."""
        return set(self.form_class.base_fields) != {"reason"}

    def form(self, row: Any, *args: Any, **kwargs: Any) -> ReasonForm:
        return self.form_class(*args, row=row, **kwargs)

    def form_for_many(self, *args: Any, **kwargs: Any) -> ReasonForm:
        """Return the form whose answers hold for all selected rows."""
        return self.form_class(*args, **kwargs)

    def preview_of_many(self, rows: Sequence[Any], values: Values) -> Sequence[str]:
        """Return what will happen to all selected rows, in sentences that count."""
        raise NotImplementedError

    def heading(self, row: Any, values: Values) -> str:
        return self.label if row is None else f"{self.label_for(row, values)}: {self.log_label(row, {})}"

    def intro(self, row: Any) -> str:
        """Return the sentence above the questions."""
        return ""

    def snapshot(self, row: Any, values: Values) -> Values:
        """Return the values on which the operator's decision rests, as JSON can hold them."""
        return {}

    def preview(self, row: Any, values: Values, snapshot: Values) -> Sequence[str]:
        """Return what will happen, in sentences with numbers."""
        raise NotImplementedError

    def url_of(self, row: Any) -> str:
        """Return the page to go back to: that of the row, or the list."""
        if row is not None:
            return page_url(type(row), row.pk)
        assert self.above is not None
        return list_url(self.above)

    # --- ticket ---------------------------------------------------------------------------

    def ticket(self, user: User, row: Any, values: Values, snapshot: Values) -> str:
        """Return the signed ticket of a confirmation page: who, what, on which row, with which input and preview."""
        return signing.dumps(
            {**self._scope(user, row, values), "snapshot": dict(snapshot), "number": token_urlsafe(16)}, salt=_SALT
        )

    def redeem(self, ticket: str, user: User, row: Any, values: Values) -> tuple[str, Values]:
        """
        Return the number of a ticket, which `run` accepts once, and its snapshot.

        :raises InvalidTicket: it is forged, older than 15 minutes, or not for this user, action, row and input
        """
        try:
            found = signing.loads(ticket, salt=_SALT, max_age=TICKET_SECONDS)
        except signing.SignatureExpired as error:
            raise InvalidTicket(
                "This confirmation expired: it is more than 15 minutes old. Review the action again."
            ) from error
        except signing.BadSignature as error:
            raise InvalidTicket("This confirmation is not valid. Review the action again.") from error
        number, snapshot = found.pop("number"), found.pop("snapshot")
        if found != self._scope(user, row, values):
            raise InvalidTicket("This confirmation is for another action or other input. Review the action again.")
        return number, snapshot

    def _scope(self, user: User, row: Any, values: Values) -> dict[str, Any]:
        return {
            "user": user.pk,
            "action": self.name,
            "row": None if row is None else str(row.pk),
            "values": input_digest(values),
        }

    # --- effect ---------------------------------------------------------------------------

    @sensitive_variables("outcome")
    def run(
        self, operator: Operator, row: Any, values: Values, snapshot: Values, *, proposal_id: UUID | None = None
    ) -> Outcome:
        """
        Do it, and log it, in one transaction.

        An action that needs a second operator (`config.admin.four_eyes`) is proposed instead, unless `proposal_id`
        names the proposal that this approves.

        :raises AlreadyDone: this confirmation was used before
        :raises ChangedMeanwhile: the subject is not as the snapshot says
        :raises NotPossible: the operator may not do it any more, or it is not possible any more
        :raises DomainError: the operation of the domain refuses it
        """
        with transaction.atomic(savepoint=False):
            operator_log.begin(operator)
            proposal = None
            if proposal_id is not None:
                proposal = four_eyes.take(proposal_id, self, operator.staff, row)
            operator, row = self.lock(operator, row, values)
            if not self.may(operator.staff, row):
                raise errors.NotPossible("Your role no longer allows this.")
            operator_log.compare(snapshot, self.snapshot(row, values))
            if reason := self.why_not(operator.staff, row):
                raise errors.NotPossible(f"This is not possible: {reason}.")
            if proposal is not None:
                four_eyes.check_proposer(proposal, self, row)
                four_eyes.approve(proposal, operator.staff)
            elif four_eyes.is_covered(self, values):
                made = four_eyes.propose(self, operator, row, values, snapshot)
                url = reverse("admin:proposal", args=[made.pk])
                return Outcome("Proposed. Nothing was changed yet: a second operator must approve it.", {}, url=url)
            outcome = self.perform(operator, row, values, snapshot)
            subject = row if outcome.subject is None else outcome.subject
            operator_log.record(
                operator,
                outcome.verb or self.verb,
                kind=self.kind,
                object_id="" if subject is None else subject.pk,
                label=self.log_label(subject, values),
                before={**snapshot, **outcome.before},
                after={**outcome.after, **_approval(proposal)},
                concerns=[*outcome.concerns, *([] if proposal is None else [(PROPOSAL, proposal.pk)])],
            )
        if outcome.after_commit is not None:
            outcome.after_commit()
        return outcome

    def lock(self, operator: Operator, row: Any, values: Values) -> tuple[Operator, Any]:
        """Lock the subject until commit. Return the operator and the row as they are now."""
        if row is None or not self.locks_row:
            operator_log.hold(self.verb, kind=self.kind, object_id=self.lock_key(row, values))
        return operator, None if row is None else self._current(row)

    def lock_key(self, row: Any, values: Values) -> object:
        """Return the id that the advisory lock is on."""
        return "" if row is None else row.pk

    def _current(self, row: Model) -> Model:
        rows = type(row)._default_manager.filter(pk=row.pk)
        found = (rows.select_for_update(no_key=True, of=("self",)) if self.locks_row else rows).first()
        if found is None:
            raise errors.NotPossible("It no longer exists.")
        return found

    def perform(self, operator: Operator, row: Any, values: Values, snapshot: Values) -> Outcome:
        """Do it by one operation of the domain, inside the transaction of `run`."""
        raise NotImplementedError

    def log_label(self, subject: Any, values: Values) -> str:
        """Return how the log calls the subject."""
        return str(subject)


def _approval(proposal: Proposal | None) -> dict[str, Any]:
    """Return what the log says of an action that was approved."""
    return (
        {} if proposal is None else {"proposed_by": proposal.proposer.get_username(), "proposed_for": proposal.reason}
    )
