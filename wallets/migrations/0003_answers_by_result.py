"""
The stored answer of a transfer is the id of the transfer.

Decided 2026-11-29, against the answer's bytes: the ledger wrote JSON and status codes of HTTP in the statement of the
transfer. The row of a transfer says what it was when it was created, so the API rebuilds the answer from it.
"""

from django.db import migrations, models

FORWARDS = """
UPDATE wallets_idempotentanswer
   SET result_id = (convert_from(body, 'UTF8')::jsonb ->> 'id')::uuid, status = NULL, body = NULL
 WHERE NOT is_sealed
"""
BACKWARDS = """
UPDATE wallets_idempotentanswer
   SET status = 201, body = convert_to(jsonb_build_object('id', result_id)::text, 'UTF8'), is_sealed = false
 WHERE result_id IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [("wallets", "0002_schema_objects")]

    operations = [
        migrations.AddField("idempotentanswer", "result_id", models.UUIDField(null=True)),
        migrations.AlterField("idempotentanswer", "status", models.SmallIntegerField(null=True)),
        migrations.AlterField("idempotentanswer", "body", models.BinaryField(null=True)),
        migrations.RunSQL(FORWARDS, BACKWARDS),
        migrations.RemoveField("idempotentanswer", "is_sealed"),
    ]
