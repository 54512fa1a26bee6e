from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trusts", "0002_schema_objects")]

    operations = [
        migrations.AddIndex(
            model_name="trust",
            index=models.Index(
                condition=models.Q(("state", "trusted"), ("type", "manage")),
                fields=["subject_id"],
                include=("holder_id",),
                name="trust_managers",
            ),
        ),
    ]
