"""
The roles of the admin: three groups, whose permissions are reset at each start.

A viewer sees everything and changes nothing. An operator acts on wallets, trusts, transfers and tasks, within the
rights that the wallets have themselves. An administrator also issues tokens, manages API keys and manages accounts. A
superuser has the same rights as an administrator: no role can edit or delete rows of the ledger.
"""

from collections.abc import Mapping
from typing import Final

from django.contrib.auth.models import Group, Permission
from django.db import transaction

VIEWER: Final = "viewer"
OPERATOR: Final = "operator"
ADMINISTRATOR: Final = "administrator"

_VIEWS: Final = (
    "wallets.view_wallet",
    "wallets.view_token",
    "wallets.view_apikey",
    "wallets.view_bearertoken",
    "wallets.view_restrictedkey",
    "wallets.view_auditrun",
    "wallets.view_operatoraction",
    "trusts.view_trust",
    "transfers.view_transfer",
    "transfers.view_actiontoken",
    "lockers.view_lockertask",
    "lockers.view_locker",
    "lockers.view_coin",
    "lockers.view_paymentrequest",
    "webhooks.view_webhook",
    "webhooks.view_webhookdelivery",
    "desk.view_alert",
    "desk.view_request",
)
_ACTS: Final = (
    "wallets.act_create_wallet",
    "wallets.act_set_password",
    "wallets.act_revoke_bearer_tokens",
    "wallets.act_revoke_bearer_token",
    "wallets.act_end_restricted_key",
    "wallets.act_end_restricted_keys",
    "wallets.act_end_trust",
    "wallets.act_cancel_transfer",
    "wallets.act_cancel_payment_request",
    "wallets.act_cancel_action_token",
    "wallets.act_start_find",
    "wallets.act_start_fix",
    "wallets.act_check_coins",
    "wallets.act_retry_task",
    "wallets.act_roll_back_task",
    "wallets.act_mark_task_seen",
    "wallets.act_run_audit",
    "webhooks.act_disable_webhook",
    "webhooks.act_enable_webhook",
    "webhooks.act_test_webhook",
    "webhooks.act_resend_delivery",
    "desk.act_acknowledge_alert",
)
_ADMINISTERS: Final = (
    "wallets.act_issue_tokens",
    "wallets.act_create_api_key",
    "wallets.act_rotate_api_key",
    "wallets.act_revoke_api_key",
    "wallets.act_rehearse_outage",
    "wallets.act_pseudonymise_wallet",
    "auth.view_user",
    "desk.act_end_session",
    "desk.act_create_person",
    "desk.act_change_role",
    "desk.act_change_mail",
    "desk.act_change_active",
    "desk.act_set_person_password",
    "desk.act_reset_second_factor",
)

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    VIEWER: _VIEWS,
    OPERATOR: _VIEWS + _ACTS,
    ADMINISTRATOR: _VIEWS + _ACTS + _ADMINISTERS,
}


def ensure() -> None:
    """Create the groups and set their permissions. Idempotent."""
    known = {
        f"{label}.{codename}": pk
        for pk, label, codename in Permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    with transaction.atomic():
        for name, permissions in ROLES.items():
            group, _ = Group.objects.get_or_create(name=name)
            group.permissions.set([known[permission] for permission in permissions])
