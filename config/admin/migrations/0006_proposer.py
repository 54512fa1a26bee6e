"""The name of the field for the proposer of an action."""

from django.conf import settings
from django.db import migrations, models


def _approved_by_another(by: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=~models.Q(("state", "approved"))
        | models.Q(("decided_by__isnull", False)) & ~models.Q(("decided_by", models.F(by))),
        name="proposal_is_approved_by_another",
    )


class Migration(migrations.Migration):
    dependencies = [
        ("desk", "0005_identities"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    # The column keeps its name, so that processes of the earlier version go on while this one is started.
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint(model_name="proposal", name="proposal_is_approved_by_another"),
                migrations.RenameField(model_name="proposal", old_name="maker", new_name="proposer"),
                migrations.AlterField(
                    model_name="proposal",
                    name="proposer",
                    field=models.ForeignKey(
                        db_column="maker_id",
                        on_delete=models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                migrations.AddConstraint(model_name="proposal", constraint=_approved_by_another("proposer")),
            ]
        )
    ]
