"""An index of the request log by restricted key."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("desk", "0008_former_name")]

    operations = [
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=Q(("restricted_key__isnull", False)),
                fields=["restricted_key", "id"],
                name="request_by_restricted_key",
            ),
        ),
    ]
