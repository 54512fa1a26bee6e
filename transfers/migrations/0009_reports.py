"""
Days of wallets, for balances at any time and statements (`transfers.balances`).

What was counted so far is counted again from the transfers, in this transaction: some 20 seconds for each million.
"""

import django.db.models.deletion
from django.db import migrations, models

_FILL = """
INSERT INTO transfers_walletday (wallet_id, day, received, sent, issued, lines, first_number, last_number)
SELECT wallet_id, (at AT TIME ZONE 'UTC')::date, sum(received), sum(sent), sum(issued), count(*),
       min(number), max(number)
  FROM (SELECT side.wallet_id, closed_at AS at, side.received, side.sent, 0 AS issued,
               CASE closed_event WHEN '' THEN number END AS number
          FROM transfers_transfer
         CROSS JOIN LATERAL (VALUES (destination_id, moved_count, 0), (source_id, 0, moved_count)
                            ) AS side (wallet_id, received, sent)
         WHERE state = 'completed'
           AND (closed_event <> '' OR number <= (SELECT coalesce(max(number), 0) FROM transfers_tallymark))
         UNION ALL SELECT wallet_id, issued_at, 0, 0, tokens, NULL FROM transfers_issue) AS line
 WHERE received + sent + issued > 0 GROUP BY 1, 2 ORDER BY 1, 2
"""


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0008_list_spans"),
        ("wallets", "0010_claim_link_acts"),
    ]

    operations = [
        migrations.AddField(model_name="tallydelta", name="at", field=models.DateTimeField(null=True)),
        migrations.AddField(model_name="tallydelta", name="is_issue", field=models.BooleanField(db_default=False)),
        migrations.AddIndex(
            model_name="issue", index=models.Index(fields=["wallet", "issued_at"], name="issue_by_wallet")
        ),
        *(
            migrations.AddIndex(
                model_name="transfer",
                index=models.Index(
                    condition=models.Q(("state", "completed"), models.Q(("closed_event", ""), _negated=True)),
                    fields=[party, "closed_at"],
                    name=f"transfer_late_by_{party}",
                ),
            )
            for party in ("source", "destination")
        ),
        migrations.CreateModel(
            name="WalletDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("received", models.BigIntegerField()),
                ("sent", models.BigIntegerField()),
                ("issued", models.BigIntegerField()),
                ("lines", models.BigIntegerField()),
                ("first_number", models.BigIntegerField(null=True)),
                ("last_number", models.BigIntegerField(null=True)),
                (
                    "wallet",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("wallet", "day"), name="wallet_day_once")],
            },
        ),
        # The table of deltas is locked by the columns that it got: none is added meanwhile.
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(_FILL, migrations.RunSQL.noop)],
        ),
    ]
