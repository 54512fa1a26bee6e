"""
Indexes for two statements that read tables whole: the list of deliveries of a webhook that were given up, and the look
at webhooks whose owner manages the wallet, or did.

With 20,000 deliveries of a webhook, of which none failed, a page of those that failed read 826 blocks. With 20,000
webhooks, each of its owner's wallet, each look read 20,051 blocks. Both read an index without entries now.
"""

from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [
        ("webhooks", "0003_by_week"),
    ]

    operations = [
        migrations.AddIndex(
            "Webhook",
            models.Index(fields=["owner"], condition=~Q(owner=F("wallet")), name="webhook_of_managed"),
        ),
        migrations.AddIndex(
            "WebhookDelivery",
            models.Index(
                fields=["webhook", "state", "-created_at", "-id"],
                condition=Q(state__in=["failed", "cancelled"]),
                name="delivery_given_up",
            ),
        ),
    ]
