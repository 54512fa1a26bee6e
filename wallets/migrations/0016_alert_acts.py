from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0015_reports"),
    ]

    operations = [
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
                    ("acknowledged_alert", "acknowledged an alert"),
                ],
                max_length=24,
            ),
        ),
    ]
