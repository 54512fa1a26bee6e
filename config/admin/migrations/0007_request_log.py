"""Restricted keys in the request log, and fewer indexes that a successful request is in."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models
from django.db.models import Q
from django.db.models.deletion import DO_NOTHING

_FORMER = ("by_route", "by_request_id", "by_status", "300", "400", "500")
_INDEXES = (
    *(
        BrinIndex(
            autosummarize=True,
            fields=[column],
            name=name,
            opclasses=[f"text_bloom_ops(n_distinct_per_range={values})"],
            pages_per_range=32,
        )
        for column, name, values in (
            ("route", "request_route_summary", 100),
            ("request_id", "request_id_summary", 2000),
        )
    ),
    models.Index(
        condition=Q(("status__in", (200, 201)), _negated=True), fields=["status", "id"], name="request_by_status"
    ),
    models.Index(condition=Q(("status__gte", 400)), fields=["id"], name="request_refused"),
    models.Index(condition=Q(("status__gte", 500)), fields=["id"], name="request_failed"),
)


class Migration(migrations.Migration):
    dependencies = [
        ("desk", "0006_proposer"),
        ("wallets", "0019_session_events"),
    ]

    operations = [
        migrations.AddField(
            model_name="request",
            name="restricted_key",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=DO_NOTHING,
                related_name="+",
                to="wallets.restrictedkey",
            ),
        ),
        *(migrations.RemoveIndex(model_name="request", name=f"request_{name}") for name in _FORMER),
        *(migrations.AddIndex(model_name="request", index=index) for index in _INDEXES),
    ]
