"""An index for the search of operators: by reference."""

from django.db import migrations, models
from django.db.models.functions import MD5


class Migration(migrations.Migration):
    dependencies = [("transfers", "0009_reports")]

    operations = [
        migrations.AddIndex(
            model_name="transferterms",
            index=models.Index(
                MD5("reference"), condition=models.Q(("reference", ""), _negated=True), name="terms_by_reference"
            ),
        ),
    ]
