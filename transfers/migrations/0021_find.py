"""An index for the search of operators: by reference."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("transfers", "0009_reports")]

    operations = [
        migrations.AddIndex(
            model_name="transferterms",
            index=models.Index(
                condition=models.Q(("reference", ""), _negated=True), fields=["reference"], name="terms_by_reference"
            ),
        ),
    ]
