"""
Operations on the accounts of the admin's users.

`config.admin.actions.people` checks the rules on locked rows: the operator has the permission; the person is neither a
superuser nor the operator, and has no right that the operator lacks; no such right is granted. Superusers are created
and changed on the command line only.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from config.admin import roles, sessions
from config.admin.kinds import PERSON
from config.admin.models import Identity, SecondFactor, Session
from wallets import errors, names, operator_log, passwords
from wallets.operator_log import Operator
from wallets.request_id import current_request_id
from wallets.states import OperatorVerb

SUPERUSER: Final = "superuser"
NO_ROLE: Final = "none"


def role_of(person: User) -> str:
    """Return the role; a list if the person has several roles or single permissions."""
    if person.is_superuser:
        return SUPERUSER
    found = sorted(group.name for group in person.groups.all())
    # The list of people asks it for all rows at once.
    has_permissions = getattr(person, "has_permissions", None)
    if person.user_permissions.exists() if has_permissions is None else has_permissions:
        found.append("single permissions")
    return ", ".join(found) or NO_ROLE


def is_active(person: User) -> bool:
    """Return whether the person can sign in to the admin."""
    return person.is_active and person.is_staff


def has_identity(person: User) -> bool:
    """Return whether the account belongs to a person of an OpenID Connect provider, and so takes no password."""
    return Identity.objects.filter(user_id=person.pk).exists()


def about(person: User) -> dict[str, Any]:
    """Return the state of an account on which a decision about it rests."""
    return {
        "mail": person.email,
        "role": role_of(person),
        "active": is_active(person),
        "second_factor": SecondFactor.objects.filter(user_id=person.pk).exists(),
        "sessions": sessions.of_person(person).count(),
    }


def _rights(person: User) -> set[str]:
    """Return the permissions by role and single ones, also of an inactive person."""
    found = Permission.objects.filter(Q(group__user=person) | Q(user=person))
    return {f"{label}.{name}" for label, name in found.values_list("content_type__app_label", "codename")}


def may_grant(staff: User, role: str) -> bool:
    """Return whether the operator has every right of a role."""
    return set(roles.ROLES[role]) <= staff.get_all_permissions()


def why_not(staff: User, person: User) -> str:
    """Return why the operator may not act on a person's account, or ""."""
    if person.is_superuser:
        return "superusers are managed on the command line only"
    if person.pk == staff.pk:
        return "it is your own account"
    if not _rights(person) <= staff.get_all_permissions():
        return "this person has rights that you lack"
    return ""


def locked(*user_ids: int) -> list[User]:
    """
    Lock the accounts until commit, and return them as they are now.

    :raises NotPossible: one of them does not exist any more
    """
    # In the order of their ids, so that two operators who act on each other do not deadlock.
    found = {row.pk: row for row in User.objects.select_for_update(no_key=True).filter(pk__in=user_ids).order_by("pk")}
    if not set(user_ids) <= set(found):
        raise errors.NotPossible("This person no longer exists.")
    return [found[user_id] for user_id in user_ids]


def check_new_name(name: str) -> None:
    """:raises NotPossible: it is invalid or taken"""
    try:
        UnicodeUsernameValidator()(name)
    except ValidationError as error:
        raise errors.NotPossible(" ".join(error.messages)) from error
    if names.name_key(name) in name_keys():
        raise errors.NotPossible("There is already a person of this name.")


def name_keys() -> set[str]:
    """Return the keys by which the names of all accounts are compared."""
    return {names.name_key(name) for name in User.objects.values_list("username", flat=True)}


@sensitive_variables("password")
def create_person(*, staff: User, name: str, mail: str, password: str, role: str) -> User:
    """
    Create an account with one role.

    :raises NotPossible: the name is taken or invalid, or the operator may not grant the role
    """
    _refuse_grant(staff, role)
    check_new_name(name)
    person = User.objects.create_user(name, email=mail, password=password, is_staff=True)
    person.groups.set([Group.objects.get(name=role)])
    return person


def _refuse_grant(staff: User, role: str) -> None:
    if not may_grant(staff, role):
        raise errors.NotPossible(f"You cannot give the role {role}: it has rights that you lack.")


def change_role(*, staff: User, person: User, role: str) -> None:
    """
    Give a person exactly one role. It holds from the person's next request on.

    :raises NotPossible: the operator may not grant the role, or the person has it already
    """
    _refuse_grant(staff, role)
    if role_of(person) == role:
        raise errors.NotPossible(f"{person.username} has the role {role} already.")
    person.groups.set([Group.objects.get(name=role)])
    person.user_permissions.clear()


def change_mail(*, person: User, mail: str) -> None:
    """Change a person's mail address; "" removes it."""
    person.email = mail
    person.save(update_fields=["email"])


def change_active(*, person: User, active: bool) -> int:
    """
    Activate or deactivate an account. The latter ends its sessions; return how many.

    :raises NotPossible: it is so already
    """
    if is_active(person) == active:
        raise errors.NotPossible(f"{person.username} is {'active' if active else 'not active'} already.")
    person.is_active, person.is_staff = active, active or person.is_staff
    person.save(update_fields=["is_active", "is_staff"])
    return 0 if active else end_sessions(person)


@sensitive_variables("password")
def set_password(*, person: User, password: str) -> int:
    """Set a person's password, end the sessions that the old one opened, and return how many there were."""
    person.set_password(password)
    person.save(update_fields=["password"])
    return end_sessions(person)


def remove_second_factor(person: User) -> int:
    """Remove the second factor and its recovery codes, end the person's sessions, and return how many there were."""
    SecondFactor.objects.filter(user_id=person.pk).delete()
    return end_sessions(person)


def end_sessions(person: User) -> int:
    """End all sessions of a person, and return how many there were."""
    ended = sessions.of_person(person).count()
    Session.objects.filter(user=person).delete()
    return ended


def record_own(person: User, verb: OperatorVerb, after: Mapping[str, Any]) -> None:
    """Log what a person did to the own account, in the transaction of its effect."""
    operator_log.record(
        Operator(staff=person, confirmation=secrets.token_urlsafe(16), request_id=current_request_id()),
        verb,
        kind=PERSON,
        object_id=person.pk,
        label=person.username,
        after=after,
    )


@sensitive_variables("password")
def change_own_password(person: User, password: str, *, keep: UUID | None) -> User:
    """Change a person's own password, end the person's other sessions, and return the person as stored now."""
    with transaction.atomic(savepoint=False):
        (fresh,) = locked(person.pk)
        fresh.password = passwords.encoded(password)
        fresh.save(update_fields=["password"])
        kept = [] if keep is None else [keep]
        ended = sessions.of_person(fresh).exclude(pk__in=kept).count()
        Session.objects.filter(user=fresh).exclude(pk__in=kept).delete()
        record_own(fresh, OperatorVerb.CHANGED_OWN_PASSWORD, {"password": "a new one", "sessions_ended": ended})
    return fresh
