"""The approvals that a wallet demands, and the types of their events."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0013_restricted_key_acts"),
    ]

    operations = [
        migrations.AddField(
            model_name="wallet",
            name="approval_above",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="wallet",
            name="approval_of_new_receivers",
            field=models.BooleanField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="event",
            name="type",
            field=models.CharField(
                choices=[
                    ("login", "Login"),
                    ("wallet_created", "Wallet Created"),
                    ("trust_request", "Trust Request"),
                    ("trust_request_granted", "Trust Request Granted"),
                    ("trust_request_cancelled_by_target", "Trust Request Cancelled By Target"),
                    ("trust_request_cancelled_by_originator", "Trust Request Cancelled By Originator"),
                    ("management_ended", "Management Ended"),
                    ("transfer_requested", "Transfer Requested"),
                    ("transfer_completed", "Transfer Completed"),
                    ("transfer_request_cancelled_by_destination", "Transfer Request Cancelled By Destination"),
                    ("transfer_pending_cancelled_by_requestor", "Transfer Pending Cancelled By Requestor"),
                    ("transfer_failed", "Transfer Failed"),
                    ("transfer_approval_requested", "Transfer Approval Requested"),
                    ("approval_changed", "Approval Changed"),
                    ("approval_change_requested", "Approval Change Requested"),
                    ("locker.put.settled", "Locker Put Settled"),
                    ("locker.take.settled", "Locker Take Settled"),
                    ("coins.import.settled", "Coins Import Settled"),
                    ("coins.export.settled", "Coins Export Settled"),
                    ("coins.transfer.settled", "Coins Transfer Settled"),
                    ("coins.received", "Coins Received"),
                    ("payment_request.partly_paid", "Payment Request Partly Paid"),
                    ("payment_request.paid", "Payment Request Paid"),
                    ("payment_request.paid_late", "Payment Request Paid Late"),
                    ("payment_request.cancelled", "Payment Request Cancelled"),
                    ("payment_request.expired", "Payment Request Expired"),
                    ("webhook.disabled", "Webhook Disabled"),
                ],
                max_length=41,
            ),
        ),
    ]
