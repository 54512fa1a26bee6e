"""What else an operator's action concerns: the task that a retry made, the key that took the place of another."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.conf import settings
from django.db import migrations, models

# What is known of earlier actions: their object, and what they say that they made.
FORWARDS = """
ALTER TABLE wallets_operatoraction DISABLE TRIGGER operatoraction_append_only;
UPDATE wallets_operatoraction
   SET things = array_remove(ARRAY[
           CASE WHEN object_id <> '' THEN object_kind || ':' || object_id END,
           CASE WHEN after ->> 'task' <> object_id THEN 'task:' || (after ->> 'task') END,
           'API key:' || (after ->> 'new_key')
       ], NULL);
ALTER TABLE wallets_operatoraction ENABLE TRIGGER operatoraction_append_only;
"""


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("wallets", "0012_rights_that_end"),
    ]

    operations = [
        migrations.AddField(
            model_name="operatoraction",
            name="things",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=128), blank=True, default=list, size=None
            ),
        ),
        migrations.RunSQL(FORWARDS, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="operatoraction",
            index=django.contrib.postgres.indexes.GinIndex(fields=["things"], name="operator_action_by_thing"),
        ),
    ]
