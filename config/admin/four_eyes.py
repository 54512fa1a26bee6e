"""
Actions that need a second operator, if the installation's settings say so.

`COVERED` says which actions, and for which input. `AdminAction.run` calls `is_covered` for each action: if it is, the
confirmation of the first operator, the proposer, creates a proposal and changes nothing else. A second operator with
the permission of the action opens the proposal, sees a new preview, and confirms it with a ticket and a reason; `run`
then performs the action in that request. Besides the locks and checks of every action, `take` and
`check_proposer` check:

* the proposal is open, less than a day old, and for this action and row;
* the approver is not the proposer and has another mail address: one person may have an account with a password and one
  of the OpenID Connect provider;
* the proposer has not lately created or taken over the approver's account;
* the proposer's account is active, and has had the permission ever since it proposed.

Superusers are not exempt. Commands on the server (`manage.py`) are not actions of the admin, and not covered.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Protocol
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction

from config.admin import people
from config.admin.kinds import PERSON, PROPOSAL, WALLET
from config.admin.models import Proposal
from config.admin.states import ProposalState
from lockers import vault
from wallets import errors, operator_log
from wallets.models import OperatorAction
from wallets.operator_log import Operator
from wallets.states import OperatorVerb

LIFETIME: Final = timedelta(days=1)
Values = Mapping[str, Any]


class Act(Protocol):
    """What this module needs of an action of the admin."""

    name: ClassVar[str]
    kind: ClassVar[str]
    label: ClassVar[str]

    def may(self, user: User, row: Any) -> bool: ...

    def label_for(self, row: Any, values: Values) -> str: ...

    def heading(self, row: Any, values: Values) -> str: ...

    def preview(self, row: Any, values: Values, snapshot: Values) -> Sequence[str]: ...

    def log_label(self, subject: Any, values: Values) -> str: ...


def _issues_many(values: Values) -> bool:
    limit = int(settings.FOUR_EYES_ISSUE_ABOVE)
    listed = values.get("captures") or ""
    return 0 <= limit < (len(listed.split()) if listed else int(values.get("count") or 0))


def _keys(values: Values) -> bool:
    return bool(settings.FOUR_EYES_KEYS)


def _vault(values: Values) -> bool:
    return bool(settings.FOUR_EYES_VAULT)


# Which input of an action needs a second operator, by the name of the action.
COVERED: Final[Mapping[str, Callable[[Values], bool]]] = {
    "issue-tokens": _issues_many,
    "create-api-key": _keys,
    "rotate-api-key": _keys,
    "start-find": _vault,
    "start-fix": _vault,
    "retry-task": _vault,
    "roll-back-task": _vault,
}
# With these the proposer could act as the second operator too.
_TAKES_OVER: Final = (
    OperatorVerb.CREATED_PERSON,
    OperatorVerb.CHANGED_ROLE,
    OperatorVerb.CHANGED_MAIL,
    OperatorVerb.ACTIVATED_PERSON,
    OperatorVerb.SET_PERSON_PASSWORD,
    OperatorVerb.RESET_SECOND_FACTOR,
)
_TAKES_RIGHTS: Final = (OperatorVerb.CHANGED_ROLE, OperatorVerb.DEACTIVATED_PERSON)


def is_on() -> bool:
    return settings.FOUR_EYES_ISSUE_ABOVE >= 0 or settings.FOUR_EYES_KEYS or settings.FOUR_EYES_VAULT


def is_covered(action: Act, values: Values) -> bool:
    """Return whether the action, with this input, needs a second operator."""
    rule = COVERED.get(action.name)
    return rule is not None and rule(values)


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    assert isinstance(now, datetime)
    return now


def propose(action: Act, operator: Operator, row: Any, values: Values, snapshot: Values) -> Proposal:
    """Store a proposal of the action and log it, in the transaction of `AdminAction.run`."""
    proposal_id, now = uuid4(), database_now()
    proposal = Proposal.objects.create(
        id=proposal_id,
        proposer=operator.staff,
        action=action.name,
        object_id="" if row is None else str(row.pk),
        title=action.heading(row, values)[:254],
        given=vault.seal(json.dumps(as_sent(values)).encode(), context=_context(proposal_id)),
        shown=list(action.preview(row, values, snapshot)),
        reason=operator.reason[:500],
        created_at=now,
        expires_at=now + LIFETIME,
    )
    operator_log.record(
        operator,
        OperatorVerb.PROPOSED,
        kind=action.kind,
        object_id="" if row is None else row.pk,
        label=action.log_label(row, values) if row is not None else str(action.label),
        before=snapshot,
        after={
            "action": action.label_for(row, values),
            "will": list(proposal.shown),
            "expires_at": proposal.expires_at.isoformat(),
        },
        concerns=_concerns(proposal, row),
    )
    return proposal


def _concerns(proposal: Proposal, row: Any) -> list[tuple[str, object]]:
    """Return what the log names beside the row: the wallet of a task too, for the name of which it is searched."""
    wallet_id = getattr(row, "wallet_id", None)
    return [(PROPOSAL, proposal.pk), *([] if wallet_id is None else [(WALLET, wallet_id)])]


def as_sent(values: Values) -> dict[str, str]:
    """Return cleaned values as a form would send them."""
    return {
        name: "on" if value is True else str(value) for name, value in values.items() if value not in (None, "", False)
    }


def given(proposal: Proposal) -> dict[str, str]:
    """
    Return the input of the form.

    :raises NotPossible: it was decided, or the vault key with which it was sealed is gone
    """
    if proposal.given is None:
        raise errors.NotPossible("This proposal was decided.")
    try:
        found: dict[str, str] = json.loads(vault.open_sealed(proposal.given, context=_context(proposal.pk)))
    except vault.SealBroken as error:
        raise errors.NotPossible("Its input cannot be opened: the vault key was changed. Propose it again.") from error
    return found


def _context(proposal_id: UUID) -> str:
    return f"proposal/{proposal_id}"


def take(proposal_id: UUID, action: Act, approver: User, row: Any) -> Proposal:
    """
    Lock an open proposal and check that the approver may decide on it, before the action's row is locked.

    :raises NotPossible: it may not be approved, or not by this user
    """
    proposal = _locked(proposal_id)
    if (proposal.action, proposal.object_id) != (action.name, "" if row is None else str(row.pk)):
        raise errors.NotPossible("The proposal is for another action.")
    if reason := why_not(proposal, approver):
        raise errors.NotPossible(f"This is not possible: {reason}.")
    return proposal


def check_proposer(proposal: Proposal, action: Act, row: Any) -> None:
    """
    Check, with the row locked, that the proposer still has the right to the action. Its account is locked until commit.

    :raises NotPossible: it has not
    """
    (proposer,) = people.locked(proposal.proposer_id)
    if not _has_right(proposal, action, proposer, row):
        raise errors.NotPossible("The person who proposed it no longer has the right to this action.")


def _has_right(proposal: Proposal, action: Act, proposer: User, row: Any) -> bool:
    # A right that was lost and given again does not count.
    lost = OperatorAction.objects.filter(
        verb__in=_TAKES_RIGHTS,
        things__contains=[operator_log.thing(PERSON, proposer.pk)],
        created_at__gte=proposal.created_at,
    )
    return people.is_active(proposer) and action.may(proposer, row) and not lost.exists()


def approve(proposal: Proposal, approver: User) -> None:
    """Record the approval, in the transaction of the action."""
    _decide(proposal, ProposalState.APPROVED, approver)


def refuse(*, proposal_id: UUID, action: Act, operator: Operator, row: Any) -> Proposal:
    """
    Refuse an open proposal, or withdraw it if the operator made it, and log it. `row` may be gone (None).

    :raises AlreadyDone: this confirmation was used before
    :raises NotPossible: it is not open, or the operator may not decide on it
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        proposal = _locked(proposal_id)
        if reason := why_not_open(proposal):
            raise errors.NotPossible(f"This is not possible: {reason}.")
        (staff,) = people.locked(operator.staff.pk)
        if staff.pk != proposal.proposer_id and not action.may(staff, None):
            raise errors.NotPossible("Your role does not allow this.")
        _decide(proposal, ProposalState.REFUSED, staff)
        operator_log.record(
            operator,
            OperatorVerb.REFUSED_PROPOSAL,
            kind=action.kind,
            object_id=proposal.object_id,
            label=proposal.title,
            before={
                "action": str(action.label),
                "proposed_by": proposal.proposer.get_username(),
                "reason": proposal.reason,
            },
            after={"state": ProposalState.REFUSED.value},
            concerns=_concerns(proposal, row),
        )
    return proposal


def void_if_lost(proposal_id: UUID, action: Act, row: Any) -> None:
    """Make an open proposal void if its proposer lost the right to the action, or the row of the action is gone."""
    with transaction.atomic():
        proposal = _locked(proposal_id)
        if proposal.state != ProposalState.OPEN:
            return
        if (row is None and proposal.object_id) or not _has_right(proposal, action, proposal.proposer, row):
            _decide(proposal, ProposalState.VOID, None)


def why_not_open(proposal: Proposal) -> str:
    if proposal.state != ProposalState.OPEN:
        return f"the proposal is {proposal.state}"
    if database_now() >= proposal.expires_at:
        return "the proposal has expired: it is more than a day old"
    return ""


def why_not(proposal: Proposal, approver: User) -> str:
    """Return why the user may not approve the proposal, or "" if it may."""
    if reason := why_not_open(proposal):
        return reason
    if approver.pk == proposal.proposer_id:
        return "you proposed it, so another person must approve it"
    if approver.email and approver.email.casefold() == proposal.proposer.email.casefold():
        return "you and the person who proposed it have the same mail address, so another person must approve it"
    takeover = OperatorAction.objects.filter(
        staff=proposal.proposer_id,
        verb__in=_TAKES_OVER,
        things__contains=[operator_log.thing(PERSON, approver.pk)],
        created_at__gte=proposal.created_at - LIFETIME,
    )
    if takeover.exists():
        return "the person who proposed it created or changed your account less than a day before, or since"
    return ""


def state_of(proposal: Proposal, now: datetime) -> str:
    """Return the state as lists show it: an open one that is too old has expired."""
    is_late = proposal.state == ProposalState.OPEN and now >= proposal.expires_at
    return "expired" if is_late else str(proposal.state)


def open_count() -> int:
    """Return how many proposals wait for a second operator."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM desk_proposal WHERE state = 'open' AND expires_at > clock_timestamp()")
        return int(cursor.fetchone()[0])


def _locked(proposal_id: UUID) -> Proposal:
    proposal = (
        Proposal.objects.select_for_update(of=("self",)).select_related("proposer").filter(pk=proposal_id).first()
    )
    if proposal is None:
        raise errors.NotPossible("There is no such proposal.")
    return proposal


def _decide(proposal: Proposal, state: ProposalState, by: User | None) -> None:
    proposal.state, proposal.decided_by, proposal.decided_at, proposal.given = state, by, database_now(), None
    proposal.save(update_fields=["state", "decided_by", "decided_at", "given"])
