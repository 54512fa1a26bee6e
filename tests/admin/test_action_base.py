"""What the base class checks for every action, under the lock and without its pages."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from config.admin import roles
from config.admin.actions import registry
from config.admin.actions.base import AdminAction
from config.admin.models import Alert, Session
from lockers.models import LockerTask, PaymentRequest
from tests.admin.conftest import a_link_of, furnish
from tests.support.local_network import LocalNetwork, listening
from transfers.models import ActionToken, Transfer
from trusts.models import Trust
from wallets import errors
from wallets.models import ApiKey, BearerToken, OperatorAction, RestrictedKey, Wallet
from wallets.operator_log import Operator
from webhooks.models import Webhook, WebhookDelivery

pytestmark = pytest.mark.django_db

VALUES = {
    "create-wallet": {"name": "birch", "about": "", "with_password": False},
    "issue-tokens": {"count": 2},
    "create-api-key": {"name": "partner"},
    "rotate-api-key": {"old_stays_valid": "0"},
    "cancel-transfer": {"event": "delete"},
    "rehearse-outage": {"servers": "0", "fault": "silent"},
    "create-person": {"name": "nora", "mail": "", "role": roles.VIEWER},
    "change-role": {"role": roles.OPERATOR},
    "change-mail": {"mail": "n@example.org"},
    "change-active": {"active": "no"},
}


def rows_of(staff: User) -> dict[Any, Any]:
    ledger, vera = furnish(staff), User.objects.create_user("vera", is_staff=True)
    Client().force_login(vera)
    return {
        None: None,
        Wallet: ledger.alice,
        ApiKey: ledger.key,
        BearerToken: BearerToken.objects.get(),
        RestrictedKey: ledger.restricted_key,
        LockerTask: ledger.failed,
        Transfer: Transfer.objects.get(pk=ledger.transfers["pending"].id),
        ActionToken: a_link_of(ledger.alice),
        Trust: Trust.objects.get(pk=ledger.trust.id),
        PaymentRequest: ledger.payment_request,
        Webhook: ledger.webhook,
        WebhookDelivery: ledger.delivery,
        User: vera,
        Alert: ledger.alert,
        Session: Session.objects.get(user=vera),
    }


def run(action: AdminAction, who: User, rows: dict[Any, Any], snapshot: dict[str, Any]) -> None:
    operator = Operator(who, confirmation=uuid4().hex, reason="as asked")
    action.run(operator, rows[action.model], VALUES.get(action.name, {}), snapshot)


def test_no_action_runs_on_a_snapshot_that_is_not_current(staff: User, tmp_path: Path, settings: Any) -> None:
    rows, actions = rows_of(staff), OperatorAction.objects.count()
    settings.STATE_DIR = tmp_path

    with LocalNetwork(tmp_path / "raida", base_port=0) as network, listening(network):
        for action in registry.ALL:
            with pytest.raises(errors.ChangedMeanwhile):
                run(action, staff, rows, {"not": "current"})

    assert OperatorAction.objects.count() == actions


def test_no_action_runs_for_a_user_who_has_lost_the_permission(staff: User) -> None:
    rows, actions = rows_of(staff), OperatorAction.objects.count()
    viewer = User.objects.create_user("otto", is_staff=True)

    for action in registry.ALL:
        with pytest.raises(errors.NotPossible, match=r"Your role no longer allows this\."):
            run(action, viewer, rows, {})

    assert OperatorAction.objects.count() == actions


def advisory_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_each_act_holds_its_row_or_else_an_advisory_lock_until_its_commit(staff: User) -> None:
    """An action without a row locks what it will create: of two with one name, the second sees the first."""
    rows = rows_of(staff)
    operator = Operator(staff, confirmation=uuid4().hex, reason="as asked")
    held = set[bool]()

    for action in registry.ALL:
        if type(action).lock is not AdminAction.lock:
            continue
        row, before = rows[action.model], advisory_locks()
        with transaction.atomic(), CaptureQueriesContext(connection) as captured:
            action.lock(operator, row, VALUES.get(action.name, {}))
            # Released by a savepoint that is rolled back.
            holds = advisory_locks() > before
            transaction.set_rollback(True)
        locks_row = any("FOR NO KEY UPDATE" in each["sql"] for each in captured)
        assert (holds, locks_row) == ((True, False) if row is None or not action.locks_row else (False, True)), action
        held.add(holds)

    assert held == {True, False}
