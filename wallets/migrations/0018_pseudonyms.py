"""Pseudonymising a closed wallet: the action of operators, and its name in events and in the operators' log."""

from django.db import migrations, models

from wallets.sql_files import create_object, load


def _replaced(name: str) -> str:
    return load("wallets", f"schema/{name}").replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER")


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0017_newest_first"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="operatoraction",
            options={
                "permissions": [
                    ("act_create_wallet", "Can create wallets"),
                    ("act_set_password", "Can set the passwords of wallets"),
                    ("act_revoke_bearer_tokens", "Can revoke all bearer tokens of a wallet"),
                    ("act_revoke_bearer_token", "Can revoke a bearer token"),
                    ("act_create_api_key", "Can create API keys"),
                    ("act_rotate_api_key", "Can rotate API keys"),
                    ("act_revoke_api_key", "Can revoke API keys"),
                    ("act_issue_tokens", "Can issue tokens"),
                    ("act_end_trust", "Can end trusts between wallets"),
                    ("act_cancel_transfer", "Can cancel transfers in the name of others"),
                    ("act_cancel_payment_request", "Can cancel payment requests in the name of others"),
                    ("act_cancel_action_token", "Can cancel claim links of others"),
                    ("act_start_find", "Can look for coins in doubt"),
                    ("act_start_fix", "Can fix coins"),
                    ("act_check_coins", "Can check coins"),
                    ("act_retry_task", "Can begin tasks again"),
                    ("act_roll_back_task", "Can roll tasks back"),
                    ("act_mark_task_seen", "Can mark tasks as seen"),
                    ("act_run_audit", "Can run the audit"),
                    ("act_pseudonymise_wallet", "Can pseudonymise closed wallets"),
                    ("act_rehearse_outage", "Can let servers of the local network misbehave"),
                ]
            },
        ),
        migrations.AlterField(
            model_name="operatoraction",
            name="verb",
            field=models.CharField(
                choices=[
                    ("issued_tokens", "issued tokens"),
                    ("created_wallet", "created a wallet"),
                    ("set_password", "set a password"),
                    ("created_api_key", "created an API key"),
                    ("rotated_api_key", "rotated an API key"),
                    ("revoked_api_key", "revoked an API key"),
                    ("revoked_bearer_tokens", "revoked bearer tokens"),
                    ("ended_trust", "ended a trust"),
                    ("cancelled_transfer", "cancelled a transfer"),
                    ("ended_payment_request", "cancelled a payment request"),
                    ("cancelled_action_token", "cancelled a claim link"),
                    ("retried_task", "retried a task"),
                    ("started_find", "began to find coins"),
                    ("rolled_back_task", "rolled a task back"),
                    ("saw_task", "marked a task as seen"),
                    ("started_fix", "began to fix coins"),
                    ("checked_coins", "began to check coins"),
                    ("ran_audit", "ran the audit"),
                    ("set_fault", "set a fault of the local network"),
                    ("created_person", "created an account"),
                    ("changed_role", "changed a role"),
                    ("changed_mail", "changed a mail address"),
                    ("activated_person", "activated an account"),
                    ("deactivated_person", "deactivated an account"),
                    ("set_person_password", "set the password of an account"),
                    ("changed_own_password", "changed the own password"),
                    ("set_up_second_factor", "set up a second factor"),
                    ("reset_second_factor", "reset a second factor"),
                    ("ended_sessions", "ended sessions"),
                    ("disabled_webhook", "disabled a webhook"),
                    ("enabled_webhook", "enabled a webhook"),
                    ("tested_webhook", "tested a webhook"),
                    ("resent_delivery", "sent a delivery again"),
                    ("pseudonymised_wallet", "pseudonymised a wallet"),
                ],
                max_length=24,
            ),
        ),
        create_object("wallets", "event_append_only__2", drop=_replaced("event_append_only")),
        create_object("wallets", "event_pseudonymised", drop="DROP TRIGGER event_pseudonymised ON wallets_event"),
        create_object("wallets", "operatoraction_append_only__2", drop=_replaced("operatoraction_append_only")),
        create_object(
            "wallets",
            "operatoraction_pseudonymised",
            drop="DROP TRIGGER operatoraction_pseudonymised ON wallets_operatoraction",
        ),
    ]
