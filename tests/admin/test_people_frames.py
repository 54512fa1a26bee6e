"""What is done to one person is done to that person alone: compared with all rows of accounts, sessions and factors."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone

from config.admin import people, roles
from config.admin.actions import people as actions
from config.admin.actions import registry
from config.admin.actions.base import AdminAction
from config.admin.models import RecoveryCode, SecondFactor, Session
from tests.admin.running import run
from tests.transfers.frames import World
from tests.trusts.powers import undone
from wallets import errors
from wallets.operator_log import Operator

pytestmark = pytest.mark.django_db

LABELS: Final = ("auth", "desk", "wallets")


def build() -> World:
    """Olga, an administrator, and two viewers; each has two sessions and a second factor."""
    roles.ensure()
    world = World(LABELS)
    now = timezone.now()
    for name, role in (("olga", roles.ADMINISTRATOR), ("otto", roles.VIEWER), ("petra", roles.VIEWER)):
        person = User.objects.create_user(name, password="a long password", is_staff=True)
        person.groups.set([Group.objects.get(name=role)])
        world.name(name, person)
        world.name(f"role of {name}", person.groups.through.objects.get(user=person))
        for number in (1, 2):
            session = Session.objects.create(
                digest=uuid4().bytes,
                data="",
                user=person,
                created_at=now,
                last_used_at=now,
                expires_at=now + timedelta(hours=1),
            )
            world.name(f"session {number} of {name}", session)
        factor = SecondFactor.objects.create(user=person, secret=b"sealed", last_step=0)
        world.name(f"factor of {name}", factor)
        world.name(f"code of {name}", RecoveryCode.objects.create(factor=factor, digest=uuid4().bytes))
    return world


def done(action: type[AdminAction], **what: Any) -> Callable[[World], Any]:
    return lambda _: run(action, User.objects.get(username="otto"), **what)


SESSIONS: Final = {"session session 1 of otto: gone", "session session 2 of otto: gone"}
ACTS: Final[dict[str, tuple[Callable[[World], Any], set[str]]]] = {
    "ChangeRole": (
        done(actions.ChangeRole, role=roles.ADMINISTRATOR),
        {"user_groups role of otto: gone", "user_groups new"},
    ),
    "ChangeMail": (done(actions.ChangeMail, mail="o@example.org"), {"user otto: email"}),
    "ChangeActive": (done(actions.ChangeActive, active="no"), {"user otto: is_active", *SESSIONS}),
    "SetPersonPassword": (done(actions.SetPersonPassword), {"user otto: password", *SESSIONS}),
    "ResetSecondFactor": (
        done(actions.ResetSecondFactor),
        {"secondfactor factor of otto: gone", "recoverycode code of otto: gone", *SESSIONS},
    ),
    "EndSessions": (done(actions.EndSessions), SESSIONS),
    "EndSession": (
        lambda world: run(actions.EndSession, Session.objects.get(pk=world.id_of("session 1 of otto"))),
        {"session session 1 of otto: gone"},
    ),
    "CreatePerson": (
        lambda _: run(actions.CreatePerson, name="zora", mail="", role=roles.VIEWER),
        {"user new", "user_groups new"},
    ),
    "change_own_password": (
        lambda world: people.change_own_password(
            User.objects.get(username="otto"), "another long one", keep=world.id_of("session 1 of otto")
        ),
        {"user otto: password", "session session 2 of otto: gone"},
    ),
    "remove_second_factor": (
        lambda _: people.remove_second_factor(User.objects.get(username="otto")),
        {"secondfactor factor of otto: gone", "recoverycode code of otto: gone", *SESSIONS},
    ),
}


def test_what_is_done_to_one_person_touches_nobody_else() -> None:
    world = build()
    found = {}

    for name, (act, _) in ACTS.items():
        with undone():
            changes = world.changes(lambda act=act: act(world))
        assert set(changes.values()) == {1}
        # What was done is written down, and by whom is not of interest here.
        found[name] = {change for change in changes if not change.startswith("operatoraction new")}

    assert found == {name: expected for name, (_, expected) in ACTS.items()}


def test_every_act_on_a_person_is_tried() -> None:
    of_people = {type(each).__name__ for each in registry.ALL if type(each).__module__ == actions.__name__}

    assert of_people | {"change_own_password", "remove_second_factor"} == set(ACTS)


@pytest.mark.parametrize("lost", ["is_active", "is_staff"])
def test_each_act_on_a_person_rests_on_an_account_that_is_active_now(lost: str) -> None:
    """Its own sessions a person ends without any right, so that no later check refuses it."""
    build()
    otto, olga = (User.objects.get(username=name) for name in ("otto", "olga"))
    stale = Operator(User.objects.get(username="olga"), confirmation=uuid4().hex)
    User.objects.filter(pk=olga.pk).update(**{lost: False})
    found = [each for each in registry.ALL if isinstance(each, actions._OnPeople)]
    assert len(found) == len(ACTS) - 2

    for action in found:
        row = {None: None, User: otto, Session: Session.objects.filter(user=otto).first()}[action.model]
        with pytest.raises(errors.NotPossible, match="no longer active"), transaction.atomic():
            action.lock(stale, row, {})
    User.objects.filter(pk=olga.pk).update(**{lost: True})
    for action in found:
        row = {None: None, User: otto, Session: Session.objects.filter(user=otto).first()}[action.model]
        with transaction.atomic():
            operator, _ = action.lock(stale, row, {})
        # With the rights of now, and not those that were read before.
        assert operator.staff is not stale.staff
