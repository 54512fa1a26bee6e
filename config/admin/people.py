"""
What is done to the accounts of people at the desk, each with its entry in the log.

The rules, checked on locked rows at the moment of the act: the operator has the permission; the person is neither a
superuser nor the operator, and has no right that the operator does not have; no such right is granted.
Superusers come from the command line, and only it changes them.

An act is one transaction. `shown` is what `about` returned when the operator confirmed; if it is not so any more,
nothing happens.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from config.admin import roles, sessions
from config.admin.models import SecondFactor, Session
from wallets import errors, names, operator_log, passwords
from wallets.operator_log import Operator
from wallets.request_id import current_request_id
from wallets.states import OperatorVerb

PERSON: Final = "person"
SUPERUSER: Final = "superuser"
NO_ROLE: Final = "none"
_PASSWORD_BYTES: Final = 15

Shown = Mapping[str, Any]


def role_of(person: User) -> str:
    """Return the role in one word; more if the person has several, or single permissions."""
    if person.is_superuser:
        return SUPERUSER
    found = sorted(group.name for group in person.groups.all())
    if person.user_permissions.exists():
        found.append("single permissions")
    return ", ".join(found) or NO_ROLE


def is_active(person: User) -> bool:
    """Tell whether the person can sign in at the desk."""
    return person.is_active and person.is_staff


def about(person: User) -> Shown:
    """Return what a confirmation about a person shows."""
    return {
        "mail": person.email,
        "role": role_of(person),
        "active": is_active(person),
        "second_factor": SecondFactor.objects.filter(user_id=person.pk).exists(),
        "sessions": sessions.of_person(person).count(),
    }


def _rights(person: User) -> set[str]:
    """The permissions by role and by name, of an inactive person too."""
    found = Permission.objects.filter(Q(group__user=person) | Q(user=person))
    return {f"{label}.{name}" for label, name in found.values_list("content_type__app_label", "codename")}


def may_grant(staff: User, role: str) -> bool:
    """Tell whether the operator has every right of a role."""
    return set(roles.ROLES[role]) <= staff.get_all_permissions()


def why_not(staff: User, person: User) -> str:
    """Return why the operator may not act on a person's account, or ""."""
    if person.is_superuser:
        return "a superuser is managed on the command line alone"
    if person.pk == staff.pk:
        return "it is your own account"
    if not _rights(person) <= staff.get_all_permissions():
        return "this person may do what you may not"
    return ""


def _rows(*user_ids: int) -> list[User]:
    # In one order, so that two who act on each other do not wait in a circle.
    found = {row.pk: row for row in User.objects.select_for_update(no_key=True).filter(pk__in=user_ids).order_by("pk")}
    if not set(user_ids) <= set(found):
        raise errors.NotPossible("There is no such person any more.")
    return [found[user_id] for user_id in user_ids]


def _refuse_without(staff: User, permission: str) -> None:
    if not (is_active(staff) and staff.has_perm(permission)):
        raise errors.NotPossible("Your role may not do this any more.")


@contextmanager
def _acting(operator: Operator, permission: str, shown: Shown, person_id: int) -> Iterator[tuple[User, User]]:
    """Give the operator and the person as they are now, locked, if the one may act on the other."""
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        staff, person = _rows(operator.staff.pk, person_id)
        _refuse_without(staff, permission)
        if reason := why_not(staff, person):
            raise errors.NotPossible(f"This is not possible: {reason}.")
        operator_log.compare(shown, about(person))
        yield staff, person


def _record(operator: Operator, verb: OperatorVerb, person: User, shown: Shown, after: Mapping[str, Any]) -> None:
    operator_log.record(
        operator, verb, kind=PERSON, object_id=person.pk, label=person.username, before=shown, after=after
    )


def check_new_name(name: str) -> None:
    """:raises NotPossible: it cannot be the name of a new person; says why"""
    try:
        UnicodeUsernameValidator()(name)
    except ValidationError as error:
        raise errors.NotPossible(" ".join(error.messages)) from error
    key = names.name_key(name)
    if any(names.name_key(taken) == key for taken in User.objects.values_list("username", flat=True)):
        raise errors.NotPossible("There is a person of this name already.")


@sensitive_variables("password")
def create_person(*, operator: Operator, shown: Shown, name: str, mail: str, role: str) -> tuple[User, str]:
    """
    Create an account for the desk; return it and its password, which is drawn at random.

    :raises NotPossible: the name is taken or none, or the operator may not grant the role
    :raises AlreadyDone: see `oversight`
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        (staff,) = _rows(operator.staff.pk)
        _refuse_without(staff, "desk.act_create_person")
        _refuse_grant(staff, role)
        operator_log.hold(OperatorVerb.CREATED_PERSON, kind=PERSON)
        check_new_name(name)
        person = User.objects.create_user(name, email=mail, password=password, is_staff=True)
        person.groups.set([Group.objects.get(name=role)])
        _record(operator, OperatorVerb.CREATED_PERSON, person, shown, {"mail": mail, "role": role, "active": True})
    return person, password


def _refuse_grant(staff: User, role: str) -> None:
    if not may_grant(staff, role):
        raise errors.NotPossible(f"You cannot give the role {role}: it has rights that you do not have.")


def change_role(*, operator: Operator, shown: Shown, person_id: int, role: str) -> None:
    """
    Give a person exactly one role. It holds from the person's next request on.

    :raises NotPossible: see the rules above, or the person has this role already
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with _acting(operator, "desk.act_change_role", shown, person_id) as (staff, person):
        _refuse_grant(staff, role)
        if shown["role"] == role:
            raise errors.NotPossible(f"{person.username} has the role {role} already.")
        person.groups.set([Group.objects.get(name=role)])
        person.user_permissions.clear()
        _record(operator, OperatorVerb.CHANGED_ROLE, person, shown, {"role": role})


def change_mail(*, operator: Operator, shown: Shown, person_id: int, mail: str) -> None:
    """
    Change a person's mail address; "" removes it.

    :raises NotPossible: see the rules above
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with _acting(operator, "desk.act_change_mail", shown, person_id) as (_, person):
        person.email = mail
        person.save(update_fields=["email"])
        _record(operator, OperatorVerb.CHANGED_MAIL, person, shown, {"mail": mail})


def change_active(*, operator: Operator, shown: Shown, person_id: int, active: bool) -> None:
    """
    Let a person sign in, or not any more; the latter ends the person's sessions.

    :raises NotPossible: see the rules above, or it is so already
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with _acting(operator, "desk.act_change_active", shown, person_id) as (_, person):
        if shown["active"] == active:
            raise errors.NotPossible(f"{person.username} is {'active' if active else 'not active'} already.")
        person.is_active, person.is_staff = active, active or person.is_staff
        person.save(update_fields=["is_active", "is_staff"])
        ended = 0 if active else _end_all(person)
        verb = OperatorVerb.ACTIVATED_PERSON if active else OperatorVerb.DEACTIVATED_PERSON
        _record(operator, verb, person, shown, {"active": active, "sessions_ended": ended})


@sensitive_variables("password")
def set_password(*, operator: Operator, shown: Shown, person_id: int) -> str:
    """
    Give a person a new random password, end the sessions that the old one opened, and return it.

    :raises NotPossible: see the rules above
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with _acting(operator, "desk.act_set_person_password", shown, person_id) as (_, person):
        person.set_password(password)
        person.save(update_fields=["password"])
        after = {"password": "a new one", "sessions_ended": _end_all(person)}
        _record(operator, OperatorVerb.SET_PERSON_PASSWORD, person, shown, after)
    return password


def reset_second_factor(*, operator: Operator, shown: Shown, person_id: int) -> None:
    """
    Remove a person's second factor and recovery codes, and end the person's sessions.

    :raises NotPossible: see the rules above, or there is none
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with _acting(operator, "desk.act_reset_second_factor", shown, person_id) as (_, person):
        if not shown["second_factor"]:
            raise errors.NotPossible(f"{person.username} has no second factor.")
        after = {"second_factor": False, "sessions_ended": remove_second_factor(person)}
        _record(operator, OperatorVerb.RESET_SECOND_FACTOR, person, shown, after)


def remove_second_factor(person: User) -> int:
    """Remove the second factor, end the sessions, and return how many there were. In the caller's transaction."""
    SecondFactor.objects.filter(user_id=person.pk).delete()
    return _end_all(person)


def _end_all(person: User) -> int:
    ended = sessions.of_person(person).count()
    Session.objects.filter(user=person).delete()
    return ended


def about_sessions(person: User) -> Shown:
    """Return what is shown before a person's sessions are ended."""
    return {"sessions": sessions.of_person(person).count()}


def end_sessions(*, operator: Operator, shown: Shown, person_id: int) -> int:
    """
    End all sessions of a person, who may be the operator, and return how many there were.

    :raises NotPossible: see the rules above, or there is none
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        person = _whose_sessions(operator, person_id)
        operator_log.compare(shown, about_sessions(person))
        if not shown["sessions"]:
            raise errors.NotPossible(f"{person.username} has no session.")
        ended = _end_all(person)
        _record(operator, OperatorVerb.ENDED_SESSIONS, person, shown, {"sessions_ended": ended})
    return ended


def end_session(*, operator: Operator, shown: Shown, session_id: UUID) -> None:
    """
    End one session of a person, who may be the operator.

    :raises NotPossible: see the rules above, or it has ended already
    :raises AlreadyDone: see `oversight`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        session = Session.objects.select_for_update(of=("self",)).filter(pk=session_id).first()
        if session is None or session.user_id is None:
            raise errors.NotPossible("This session has ended already.")
        person = _whose_sessions(operator, session.user_id)
        session.delete()
        _record(operator, OperatorVerb.ENDED_SESSIONS, person, shown, {"sessions_ended": 1})


def _whose_sessions(operator: Operator, person_id: int) -> User:
    staff, person = _rows(operator.staff.pk, person_id)
    if person.pk != staff.pk:
        _refuse_without(staff, "desk.act_end_session")
        if reason := why_not(staff, person):
            raise errors.NotPossible(f"This is not possible: {reason}.")
    return person


def record_own(person: User, verb: OperatorVerb, after: Mapping[str, Any]) -> None:
    """Write down what a person did to the own account, in the transaction of its effect."""
    operator = Operator(staff=person, confirmation=secrets.token_urlsafe(16), request_id=current_request_id())
    _record(operator, verb, person, {}, after)


@sensitive_variables("password")
def change_own_password(person: User, password: str, *, keep: UUID | None) -> User:
    """Change a person's own password, end the person's other sessions, and return the person as stored now."""
    with transaction.atomic(savepoint=False):
        (fresh,) = _rows(person.pk)
        fresh.password = passwords.encoded(password)
        fresh.save(update_fields=["password"])
        kept = [] if keep is None else [keep]
        ended = sessions.of_person(fresh).exclude(pk__in=kept).count()
        Session.objects.filter(user=fresh).exclude(pk__in=kept).delete()
        record_own(fresh, OperatorVerb.CHANGED_OWN_PASSWORD, {"password": "a new one", "sessions_ended": ended})
    return fresh
