"""Nothing in the ledger can be added, changed or deleted by a form or a bulk action, not by a superuser either."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client

from tests.admin.conftest import a_link_of

pytestmark = pytest.mark.django_db

LEDGER = ("wallets", "trusts", "transfers", "lockers")


def digests() -> Any:
    tables = [
        table
        for table in connection.introspection.table_names()
        if table.startswith(tuple(f"{app}_" for app in LEDGER))
    ]
    one = "SELECT '{0}', md5(coalesce(string_agg(each::text, ' ' ORDER BY each::text), '')) FROM {0} AS each"
    with connection.cursor() as cursor:
        # Where no index can serve, the estimated cost is high, and two more processes would be started for each look.
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        cursor.execute(" UNION ALL ".join(one.format(table) for table in tables))
        return dict(cursor.fetchall())


def test_every_way_of_writing_that_djangos_admin_knows_is_refused(desk: Client, ledger: SimpleNamespace) -> None:
    a_link_of(ledger.alice)
    models = [model for model in admin.site._registry if model._meta.app_label in LEDGER]
    assert len(models) >= 12
    before = digests()
    answers = {}

    for model in models:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        row = model._default_manager.order_by("pk").first()
        form = {field.name: "1" for field in model._meta.fields} | {"_save": "Save"}
        everything = [str(pk) for pk in model._default_manager.values_list("pk", flat=True)]
        bulk = {"action": "delete_selected", "_selected_action": everything, "index": "0", "post": "yes"}
        edited = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": str(row.pk), **form}
        for method, path, body in [
            ("get", "add/", None),
            ("post", "add/", form),
            ("post", "add/?_popup=1", form),
            ("post", "ID/change/", form),
            ("put", "ID/change/", form),
            ("delete", "ID/change/", None),
            ("get", "ID/delete/", None),
            ("post", "ID/delete/", {"post": "yes"}),
            ("get", "ID/history/", None),
            ("post", "", bulk),
            ("post", "", edited),
            ("post", "csv/", bulk),
        ]:
            answer = getattr(desk, method)(base + path.replace("ID", str(row.pk)), body)
            answers.setdefault((method, path), set()).add(answer.status_code)

    # There is no such page; or there is one that can only be read.
    assert answers == {
        ("get", "add/"): {404},
        ("post", "add/"): {404},
        ("post", "add/?_popup=1"): {404},
        ("post", "ID/change/"): {405},
        ("put", "ID/change/"): {405},
        ("delete", "ID/change/"): {405},
        ("get", "ID/delete/"): {404},
        ("post", "ID/delete/"): {404},
        ("get", "ID/history/"): {404},
        ("post", ""): {405},
        ("post", "csv/"): {405},
    }
    assert digests() == before
