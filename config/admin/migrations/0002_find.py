"""The request log."""

from django.conf import settings
from django.db import migrations, models
from django.db.models import Q
from django.db.models.deletion import DO_NOTHING

from wallets.sql_files import create_object

_INDEXES = (
    models.Index(condition=Q(("api_key__isnull", False)), fields=["api_key", "id"], name="request_by_key"),
    models.Index(condition=Q(("wallet__isnull", False)), fields=["wallet", "id"], name="request_by_wallet"),
    models.Index(fields=["route", "id"], name="request_by_route"),
    models.Index(fields=["request_id"], name="request_by_request_id"),
    models.Index(condition=Q(("status__gte", 300)), fields=["status", "id"], name="request_by_status"),
    models.Index(condition=Q(("error", ""), _negated=True), fields=["error", "id"], name="request_by_error"),
    *(
        models.Index(
            condition=Q(("status__gte", first), ("status__lt", first + 100)), fields=["id"], name=f"request_{first}"
        )
        for first in (300, 400, 500)
    ),
    models.Index(
        condition=Q(("api_key__isnull", False), ("status__gte", 400)),
        fields=["api_key", "id"],
        name="request_refused_by_key",
    ),
    models.Index(
        condition=Q(("status__gte", 400), ("wallet__isnull", False)),
        fields=["wallet", "id"],
        name="request_refused_by_wallet",
    ),
)


def _reference(to: str) -> "models.ForeignKey[object, object]":
    return models.ForeignKey(
        db_constraint=False, db_index=False, null=True, on_delete=DO_NOTHING, related_name="+", to=to
    )


class Migration(migrations.Migration):
    dependencies = [
        ("desk", "0001_initial"),
        ("wallets", "0011_find"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # Django creates no partitioned tables.
        migrations.SeparateDatabaseAndState(
            database_operations=[create_object("config/admin", "desk_request", drop="DROP TABLE desk_request")],
            state_operations=[
                migrations.CreateModel(
                    name="Request",
                    fields=[
                        ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                        ("request_id", models.CharField(blank=True, max_length=64)),
                        ("method", models.CharField(max_length=7)),
                        ("route", models.CharField(max_length=200)),
                        ("status", models.SmallIntegerField()),
                        ("milliseconds", models.FloatField()),
                        ("client", models.CharField(blank=True, max_length=45)),
                        ("error", models.CharField(blank=True, max_length=40)),
                        ("api_key", _reference("wallets.apikey")),
                        ("user", _reference(settings.AUTH_USER_MODEL)),
                        ("wallet", _reference("wallets.wallet")),
                    ],
                ),
            ],
        ),
        *(migrations.AddIndex(model_name="request", index=index) for index in _INDEXES),
    ]
