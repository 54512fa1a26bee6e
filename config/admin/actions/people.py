"""What administrators can do with the accounts of people at the desk, and people with their own sessions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django import forms
from django.contrib.auth.models import User
from django.urls import reverse

from config.admin import people, roles
from config.admin.confirmation import AdminAction, Done, Reason
from config.admin.models import Session
from config.admin.templatetags import desk
from wallets import errors
from wallets.operator_log import Operator

Values = Mapping[str, Any]
_SHOWN_ONCE: Final = "It is shown once, on the next page."
_MAY: Final = {
    roles.VIEWER: "see everything, change nothing",
    roles.OPERATOR: "see everything and help: the acts on wallets, transfers and tasks that make nothing new",
    roles.ADMINISTRATOR: "all of that, issue tokens, manage API keys, and manage the accounts of people",
}
_ROLES: Final = [(role, f"{role}: {_MAY[role]}") for role in roles.ROLES]


def _sessions(number: int) -> str:
    return f"{number:,} session{'' if number == 1 else 's'}"


class NewPersonForm(Reason):
    name = forms.CharField(max_length=150, help_text="Letters, digits and @ . + - _; it never changes.")
    mail = forms.EmailField(required=False, max_length=254, label="Mail address")
    role = forms.ChoiceField(choices=_ROLES, widget=forms.RadioSelect, initial=roles.VIEWER)
    field_order = ("name", "mail", "role", "reason")

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        try:
            people.check_new_name(name)
        except errors.NotPossible as error:
            raise forms.ValidationError(str(error)) from error
        return name


class CreatePerson(AdminAction):
    name = "create-person"
    label = "Create an account"
    verb = "Create the account"
    app = "desk"
    form_class = NewPersonForm

    def shown(self, row: None, values: Values) -> Values:
        return {}

    def consequences(self, row: None, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"1 new account, {values['name']}, with the role {values['role']}: {_MAY[values['role']]}.",
            f"It gets a password drawn at random. {_SHOWN_ONCE}",
            "Accounts are never deleted; an account that is not needed any more is deactivated.",
        ]

    def perform(self, operator: Operator, row: None, values: Values, shown: Values) -> Done:
        person, password = people.create_person(
            operator=operator, shown=shown, name=values["name"], mail=values["mail"], role=values["role"]
        )
        secrets = [("Name", person.username), ("Password", password)]
        return Done(f"The account {person.username} was created.", self.url_of(person), secrets)

    def url_of(self, row: User | None) -> str:
        if row is None:
            return reverse("admin:auth_user_changelist")
        return reverse("admin:auth_user_change", args=[row.pk])


class _OfPerson(AdminAction):
    model = User
    app = "desk"

    def heading(self, row: User) -> str:
        return f"{self.label}: {row.username}"

    def why_not_for(self, user: User, row: User) -> str:
        return people.why_not(user, row) or self.why_not(row)

    def shown(self, row: User, values: Values) -> Values:
        return people.about(row)

    def url_of(self, row: User) -> str:
        return reverse("admin:auth_user_change", args=[row.pk])


class RoleForm(Reason):
    role = forms.ChoiceField(choices=_ROLES, widget=forms.RadioSelect)
    field_order = ("role", "reason")


class ChangeRole(_OfPerson):
    name = "change-role"
    label = "Change the role"
    verb = "Change the role"
    form_class = RoleForm

    def intro(self, row: User) -> str:
        return f"{row.username} has the role {people.role_of(row)}."

    def consequences(self, row: User, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"{row.username} is {shown['role']}, and will be {values['role']}: {_MAY[values['role']]}.",
            "It holds from the next page on that this person opens.",
        ]

    def perform(self, operator: Operator, row: User, values: Values, shown: Values) -> Done:
        people.change_role(operator=operator, shown=shown, person_id=row.pk, role=values["role"])
        return Done(f"{row.username} has the role {values['role']}.", self.url_of(row))


class MailForm(Reason):
    mail = forms.EmailField(required=False, max_length=254, label="Mail address", help_text="Empty: none.")
    field_order = ("mail", "reason")


class ChangeMail(_OfPerson):
    name = "change-mail"
    label = "Change the mail address"
    verb = "Change it"
    form_class = MailForm

    def form(self, row: User, *args: Any, **kwargs: Any) -> forms.Form:
        return super().form(row, *args, **{"initial": {"mail": row.email}, **kwargs})

    def consequences(self, row: User, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"The mail address of {row.username} is {shown['mail'] or 'none'}, and will be {values['mail'] or 'none'}."
        ]

    def perform(self, operator: Operator, row: User, values: Values, shown: Values) -> Done:
        people.change_mail(operator=operator, shown=shown, person_id=row.pk, mail=values["mail"])
        return Done(f"The mail address of {row.username} is changed.", self.url_of(row))


class ActiveForm(Reason):
    active = forms.ChoiceField(
        choices=[("no", "no: cannot sign in any more"), ("yes", "yes: can sign in")],
        widget=forms.RadioSelect,
        label="Active",
    )
    field_order = ("active", "reason")


class ChangeActive(_OfPerson):
    name = "change-active"
    label = "Deactivate or activate"
    verb = "Change it"
    form_class = ActiveForm
    is_dangerous = True

    def intro(self, row: User) -> str:
        return f"{row.username} is {'active' if people.is_active(row) else 'not active'}."

    def consequences(self, row: User, values: Values, shown: Values) -> Sequence[str]:
        if values["active"] == "yes":
            return [f"{row.username} can sign in, with the role {shown['role']} and the password that there is."]
        return [
            f"{row.username} cannot sign in any more, and {_sessions(shown['sessions'])} end at once.",
            "Role, password and second factor stay for the case that the account is activated again.",
        ]

    def perform(self, operator: Operator, row: User, values: Values, shown: Values) -> Done:
        active = values["active"] == "yes"
        people.change_active(operator=operator, shown=shown, person_id=row.pk, active=active)
        return Done(f"{row.username} is {'active' if active else 'not active any more'}.", self.url_of(row))


class SetPersonPassword(_OfPerson):
    name = "set-person-password"
    label = "Set a new password"
    verb = "Set a new password"
    is_dangerous = True

    def consequences(self, row: User, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"{row.username} gets a password drawn at random. {_SHOWN_ONCE}",
            f"The old password is refused from then on, and {_sessions(shown['sessions'])} end.",
            "The second factor stays." if shown["second_factor"] else "There is no second factor.",
        ]

    def perform(self, operator: Operator, row: User, values: Values, shown: Values) -> Done:
        password = people.set_password(operator=operator, shown=shown, person_id=row.pk)
        secrets = [("Name", row.username), ("Password", password)]
        return Done(f"{row.username} has a new password.", self.url_of(row), secrets)


class ResetSecondFactor(_OfPerson):
    name = "reset-second-factor"
    label = "Reset the second factor"
    verb = "Reset it"
    is_dangerous = True

    def why_not(self, row: User) -> str:
        return "" if people.about(row)["second_factor"] else "there is none"

    def consequences(self, row: User, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"The authenticator app and the recovery codes of {row.username} are refused from then on, and"
            f" {_sessions(shown['sessions'])} end.",
            "Until a new one is set up the password alone is enough to sign in, or to set one up where the role must"
            " have one. Make sure that it is this person who asks.",
        ]

    def perform(self, operator: Operator, row: User, values: Values, shown: Values) -> Done:
        people.reset_second_factor(operator=operator, shown=shown, person_id=row.pk)
        return Done(f"The second factor of {row.username} is reset.", self.url_of(row))


class _EndsSessions(AdminAction):
    """A person may end the own sessions; those of others take the permission."""

    app = "desk"
    is_dangerous = True

    @property
    def permission(self) -> str:
        return "desk.act_end_session"

    def person(self, row: Any) -> User | None:
        raise NotImplementedError

    def may(self, user: User, row: Any) -> bool:
        person = None if row is None else self.person(row)
        return row is None or (person is not None and person.pk == user.pk) or user.has_perm(self.permission)

    def why_not_for(self, user: User, row: Any) -> str:
        person = self.person(row)
        if person is None:
            return "no person is signed in with it"
        return self.why_not(row) or ("" if person.pk == user.pk else people.why_not(user, person))


class EndSessions(_EndsSessions):
    name = "end-sessions"
    label = "End all sessions"
    verb = "End them"
    model = User

    def person(self, row: User) -> User:
        return row

    def heading(self, row: User) -> str:
        return f"End all sessions of {row.username}"

    def why_not(self, row: User) -> str:
        return "" if people.about_sessions(row)["sessions"] else "there is none"

    def shown(self, row: User, values: Values) -> Values:
        return people.about_sessions(row)

    def consequences(self, row: User, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"{_sessions(shown['sessions'])} of {row.username} end at once, in every browser.",
            "The password stays: with it, and the second factor if there is one, a new session can begin.",
        ]

    def perform(self, operator: Operator, row: User, values: Values, shown: Values) -> Done:
        ended = people.end_sessions(operator=operator, shown=shown, person_id=row.pk)
        return Done(f"{_sessions(ended)} of {row.username} ended.", _back(operator.staff, row))

    def url_of(self, row: User) -> str:
        return reverse("admin:sessions")


class EndSession(_EndsSessions):
    name = "end-session"
    label = "End"
    verb = "End the session"
    model = Session

    def person(self, row: Session) -> User | None:
        return row.user

    def heading(self, row: Session) -> str:
        return f"End a session of {row.user}"

    def shown(self, row: Session, values: Values) -> Values:
        return {
            "from": row.address,
            "browser": desk.browser(row.agent),
            "signed_in": f"{row.created_at:%Y-%m-%d %H:%M}",
        }

    def consequences(self, row: Session, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"The session of {row.user} from {row.address or 'an unknown address'}, {desk.browser(row.agent)}, begun"
            f" {desk.ago(row.created_at)}, ends at once.",
            "The password stays: with it, and the second factor if there is one, a new session can begin.",
        ]

    def perform(self, operator: Operator, row: Session, values: Values, shown: Values) -> Done:
        people.end_session(operator=operator, shown=shown, session_id=row.pk)
        return Done("The session has ended.", _back(operator.staff, row.user))

    def url_of(self, row: Session) -> str:
        return reverse("admin:sessions")


def _back(staff: User, person: User | None) -> str:
    if person is None or person.pk == staff.pk:
        return reverse("admin:sessions")
    return reverse("admin:auth_user_change", args=[person.pk])


ALL: Final[Sequence[AdminAction]] = (
    CreatePerson(),
    ChangeRole(),
    ChangeMail(),
    ChangeActive(),
    SetPersonPassword(),
    ResetSecondFactor(),
    EndSessions(),
    EndSession(),
)
