"""What the base class checks for every action, under the lock and without its pages."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

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
