"""Administrators' actions on the accounts of the admin's users, and users' actions on their own sessions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from django import forms
from django.contrib.auth.models import User
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables

from config.admin import people, roles, sessions
from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, ReasonForm, Values
from config.admin.actions.wallets import SHOWN_ONCE, new_password
from config.admin.links import page_url
from config.admin.models import Session
from config.admin.templatetags import formats
from wallets import errors
from wallets.operator_log import Operator
from wallets.states import OperatorVerb
from wallets.wording import counted, verb

_MAY: Final = {
    roles.VIEWER: "see everything, change nothing",
    roles.OPERATOR: "see everything and act on wallets, trusts, transfers and tasks",
    roles.ADMINISTRATOR: "also issue tokens, manage API keys and manage accounts",
}
_ROLES: Final = [(role, f"{role}: {_MAY[role]}") for role in roles.ROLES]
_STAYS: Final = "The password stays valid: this person can sign in again."


def _sessions_end(snapshot: Values) -> str:
    number = snapshot["sessions"]
    return f"{counted(number, 'session')} {verb(number, 'ends', 'end')}"


class _OnPeople(AdminAction):
    app = "desk"
    kind = base.PERSON

    def locked(self, operator: Operator, *others: int) -> tuple[Operator, list[User]]:
        """
        Lock the operator's own account and others. Return the operator with the rights of this moment, and the others.

        :raises NotPossible: an account does not exist any more, or the operator's is not active any more
        """
        staff, *found = people.locked(operator.staff.pk, *others)
        if not people.is_active(staff):
            raise errors.NotPossible("Your account is no longer active.")
        return replace(operator, staff=staff), found


class NewPersonForm(ReasonForm):
    name = forms.CharField(max_length=150, help_text="Letters, digits and @ . + - _. It cannot be changed later.")
    mail = forms.EmailField(required=False, max_length=254, label="Mail address")
    role = forms.ChoiceField(choices=_ROLES, widget=forms.RadioSelect, initial=roles.VIEWER)

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        try:
            people.check_new_name(name)
        except errors.NotPossible as error:
            raise forms.ValidationError(str(error)) from error
        return name


class CreatePerson(_OnPeople):
    name = "create-person"
    label = "Create an account"
    confirm_label = "Create the account"
    verb = OperatorVerb.CREATED_PERSON
    above = User
    form_class = NewPersonForm

    def preview(self, row: None, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"1 new account, {values['name']}, with the role {values['role']}: {_MAY[values['role']]}.",
            f"It gets a random password. {SHOWN_ONCE}",
            "Accounts cannot be deleted; deactivate an account that is no longer needed.",
        ]

    def lock(self, operator: Operator, row: None, values: Values) -> tuple[Operator, None]:
        operator, _ = super().lock(operator, row, values)
        return self.locked(operator)[0], None

    @sensitive_variables("password", "shown_once")
    def perform(self, operator: Operator, row: None, values: Values, snapshot: Values) -> Outcome:
        mail, role, password = values["mail"], values["role"], new_password()
        person = people.create_person(
            staff=operator.staff, name=values["name"], mail=mail, password=password, role=role
        )
        shown_once = [("Name", person.username), ("Password", password)]
        after = {"mail": mail, "role": role, "active": True}
        return Outcome(f"The account {person.username} was created.", after, subject=person, secrets=shown_once)


class PersonAction(_OnPeople):
    """An action on the account of another person."""

    model = User

    def why_not(self, user: User, row: User) -> str:
        return people.why_not(user, row)

    def snapshot(self, row: User, values: Values) -> Values:
        return people.about(row)

    def lock(self, operator: Operator, row: User, values: Values) -> tuple[Operator, User]:
        operator, (person,) = self.locked(operator, row.pk)
        return operator, person


class RoleForm(ReasonForm):
    role = forms.ChoiceField(choices=_ROLES, widget=forms.RadioSelect)


class ChangeRole(PersonAction):
    name = "change-role"
    label = confirm_label = "Change the role"
    verb = OperatorVerb.CHANGED_ROLE
    form_class = RoleForm

    def intro(self, row: User) -> str:
        return f"{row.username} has the role {people.role_of(row)}."

    def preview(self, row: User, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"{row.username} is {snapshot['role']}, and will be {values['role']}: {_MAY[values['role']]}.",
            "It applies from the next request of this person.",
        ]

    def perform(self, operator: Operator, row: User, values: Values, snapshot: Values) -> Outcome:
        role = values["role"]
        people.change_role(staff=operator.staff, person=row, role=role)
        return Outcome(f"{row.username} has the role {role}.", {"role": role})


class MailForm(ReasonForm):
    mail = forms.EmailField(required=False, max_length=254, label="Mail address", help_text="Empty: none.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("mail", self.row.email)


class ChangeMail(PersonAction):
    name = "change-mail"
    label = "Change the mail address"
    confirm_label = "Change it"
    verb = OperatorVerb.CHANGED_MAIL
    form_class = MailForm

    def preview(self, row: User, values: Values, snapshot: Values) -> Sequence[str]:
        old, new = snapshot["mail"] or "none", values["mail"] or "none"
        return [f"The mail address of {row.username} is {old}, and will be {new}."]

    def perform(self, operator: Operator, row: User, values: Values, snapshot: Values) -> Outcome:
        people.change_mail(person=row, mail=values["mail"])
        return Outcome(f"The mail address of {row.username} is changed.", {"mail": values["mail"]})


class ActiveForm(ReasonForm):
    active = forms.ChoiceField(
        choices=[("no", "no: cannot sign in"), ("yes", "yes: can sign in")],
        widget=forms.RadioSelect,
        label="Active",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.row is not None:
            self.initial.setdefault("active", "no" if people.is_active(self.row) else "yes")


class ChangeActive(PersonAction):
    name = "change-active"
    label = "Deactivate or activate"
    confirm_label = "Change it"
    verb = OperatorVerb.DEACTIVATED_PERSON
    form_class = ActiveForm
    is_dangerous = True

    def label_for(self, row: User, values: Values) -> str:
        active = values.get("active", "no" if people.is_active(row) else "yes")
        return "Activate" if active == "yes" else "Deactivate"

    def intro(self, row: User) -> str:
        return f"{row.username} is {'active' if people.is_active(row) else 'not active'}."

    def preview(self, row: User, values: Values, snapshot: Values) -> Sequence[str]:
        if values["active"] == "yes":
            return [f"{row.username} can sign in, with the role {snapshot['role']} and the current password."]
        return [
            f"{row.username} can no longer sign in, and {_sessions_end(snapshot)} at once.",
            "Role, password and second factor are kept in case the account is activated again.",
        ]

    def perform(self, operator: Operator, row: User, values: Values, snapshot: Values) -> Outcome:
        active = values["active"] == "yes"
        after = {"active": active, "sessions_ended": people.change_active(person=row, active=active)}
        message = f"{row.username} is {'active' if active else 'no longer active'}."
        return Outcome(message, after, verb=OperatorVerb.ACTIVATED_PERSON if active else None)


class SetPersonPassword(PersonAction):
    name = "set-person-password"
    label = confirm_label = "Set a new password"
    verb = OperatorVerb.SET_PERSON_PASSWORD
    is_dangerous = True

    def why_not(self, user: User, row: User) -> str:
        return super().why_not(user, row) or ("they sign in with the provider" if people.has_identity(row) else "")

    def preview(self, row: User, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"{row.username} gets a random password. {SHOWN_ONCE}",
            f"The old password stops working, and {_sessions_end(snapshot)}.",
            "The second factor stays." if snapshot["second_factor"] else "There is no second factor.",
        ]

    @sensitive_variables("password", "shown_once")
    def perform(self, operator: Operator, row: User, values: Values, snapshot: Values) -> Outcome:
        password = new_password()
        after = {"password": "a new one", "sessions_ended": people.set_password(person=row, password=password)}
        shown_once = [("Name", row.username), ("Password", password)]
        return Outcome(f"{row.username} has a new password.", after, secrets=shown_once)


class ResetSecondFactor(PersonAction):
    name = "reset-second-factor"
    label = "Reset the second factor"
    confirm_label = "Reset it"
    verb = OperatorVerb.RESET_SECOND_FACTOR
    is_dangerous = True

    def why_not(self, user: User, row: User) -> str:
        return super().why_not(user, row) or ("" if people.about(row)["second_factor"] else "there is no second factor")

    def preview(self, row: User, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"The authenticator app and the recovery codes of {row.username} stop working, and"
            f" {_sessions_end(snapshot)}.",
            "Until a new one is set up, the password alone is enough to sign in, or to set one up where the role"
            " requires it. First make sure that the request comes from this person.",
        ]

    def perform(self, operator: Operator, row: User, values: Values, snapshot: Values) -> Outcome:
        after = {"second_factor": False, "sessions_ended": people.remove_second_factor(row)}
        return Outcome(f"The second factor of {row.username} is reset.", after)


# --- sessions -----------------------------------------------------------------------------


class SessionsAction(_OnPeople):
    """A person may end the own sessions; ending those of others takes the permission."""

    verb = OperatorVerb.ENDED_SESSIONS
    is_dangerous = True

    @property
    def permission(self) -> str:
        return "desk.act_end_session"

    def person(self, row: Any) -> User | None:
        raise NotImplementedError

    def may(self, user: User, row: Any) -> bool:
        person = None if row is None else self.person(row)
        return row is None or (person is not None and person.pk == user.pk) or user.has_perm(self.permission)

    def why_not(self, user: User, row: Any) -> str:
        person = self.person(row)
        if person is None:
            return "no person is signed in with it"
        return "" if person.pk == user.pk else people.why_not(user, person)

    def url_of(self, row: Any) -> str:
        return reverse("admin:sessions")

    def outcome(self, operator: Operator, person: User, message: str, ended: int) -> Outcome:
        url = self.url_of(person) if person.pk == operator.staff.pk else page_url(User, person.pk)
        return Outcome(message, {"sessions_ended": ended}, subject=person, url=url)


class EndSessions(SessionsAction):
    name = "end-sessions"
    label = "End all sessions"
    confirm_label = "End them"
    model = User

    def person(self, row: User) -> User:
        return row

    def heading(self, row: User, values: Values) -> str:
        return f"End all sessions of {row.username}"

    def why_not(self, user: User, row: User) -> str:
        return ("" if self.snapshot(row, {})["sessions"] else "there is no session") or super().why_not(user, row)

    def snapshot(self, row: User, values: Values) -> Values:
        return {"sessions": sessions.of_person(row).count()}

    def preview(self, row: User, values: Values, snapshot: Values) -> Sequence[str]:
        ended = counted(snapshot["sessions"], "session")
        return [f"{ended} of {row.username} end at once, in every browser.", _STAYS]

    def lock(self, operator: Operator, row: User, values: Values) -> tuple[Operator, User]:
        operator, (person,) = self.locked(operator, row.pk)
        return operator, person

    def perform(self, operator: Operator, row: User, values: Values, snapshot: Values) -> Outcome:
        ended = people.end_sessions(row)
        return self.outcome(operator, row, f"{counted(ended, 'session')} of {row.username} ended.", ended)


class EndSession(SessionsAction):
    name = "end-session"
    label = "End"
    confirm_label = "End the session"
    model = Session

    def person(self, row: Session) -> User | None:
        return row.user

    def heading(self, row: Session, values: Values) -> str:
        return f"End a session of {row.user}"

    def snapshot(self, row: Session, values: Values) -> Values:
        signed_in = f"{row.created_at:%Y-%m-%d %H:%M}"
        return {"from": row.address, "browser": formats.browser(row.agent), "signed_in": signed_in}

    def preview(self, row: Session, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"The session of {row.user} from {row.address or 'an unknown address'}, {formats.browser(row.agent)}, begun"
            f" {formats.ago(row.created_at)}, ends at once.",
            _STAYS,
        ]

    def lock(self, operator: Operator, row: Session, values: Values) -> tuple[Operator, Session]:
        operator, session = super().lock(operator, row, values)
        if session.user_id is None:
            raise errors.NotPossible("This session has ended already.")
        operator, (session.user,) = self.locked(operator, session.user_id)
        return operator, session

    def perform(self, operator: Operator, row: Session, values: Values, snapshot: Values) -> Outcome:
        assert row.user is not None
        row.delete()
        return self.outcome(operator, row.user, "The session has ended.", 1)
