"""Pages of the desk whose values are as long as their columns allow, without a place to break."""

from typing import Any, Final

from django.db import connection, models, transaction
from playwright.sync_api import expect

from config.admin.links import list_url
from config.admin.models import Alert, Session
from lockers.models import LockerTask
from tests.browser.watched import Watched
from tests.support.admin_lists import MODELS
from tests.support.desk_in_chromium import Desk, beyond_the_edge, desk, show, signed_in, tab, watched
from wallets.models import OperatorAction

# Fixtures.
__all__ = ["desk", "signed_in", "tab", "watched"]

# Of a text without a limit, and of one value in a document.
_LONG: Final = 500
# Values whose form the database checks, and values that are never shown.
_KEPT: Final = frozenset(
    {
        "desk.session.data",
        "lockers.coin.outcome",
        "lockers.coin.pown",
        "lockers.lockertask.receipt_id",
        "trusts.trust.managed_name_key",
        "wallets.wallet.name_key",
        "wallets.wallet.password",
        "auth.user.password",
    }
)
_DOCUMENTS: Final = {
    (LockerTask, "result"): {"message": "W" * _LONG},
    (OperatorAction, "before"): {"name": "W" * _LONG},
    (OperatorAction, "after"): {"name": "W" * _LONG},
}


def _lengthen(desk: Desk) -> None:
    """Give each text of all rows that the desk shows its longest value."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            # Triggers refuse changes of rows that never change.
            cursor.execute("SET LOCAL session_replication_role = replica")
        Alert.objects.update(acknowledged_at=models.F("seen_at"), acknowledged_by=desk.ledger.action.staff)
        for model in (*MODELS, Session):
            label = model._meta.label_lower
            values: dict[str, Any] = {
                field.name: "W" * (field.max_length or _LONG)
                for field in model._meta.concrete_fields
                if isinstance(field, models.CharField | models.TextField) and not field.choices
            }
            values |= {name: document for (of, name), document in _DOCUMENTS.items() if of is model}
            kept = {name for name in values if f"{label}.{name}" in _KEPT}
            model._base_manager.update(**{name: value for name, value in values.items() if name not in kept})


def test_no_list_and_no_page_of_a_row_is_wider_than_its_window(desk: Desk, watched: Watched) -> None:
    desk.meanwhile(lambda: _lengthen(desk))
    page = watched.page
    wrong = []

    def look(name: str) -> None:
        if beyond := beyond_the_edge(page):
            wrong.append(f"{name}: {beyond} pixels beyond the edge")

    show(page, "dark", 390)
    for model in MODELS:
        name = model._meta.label_lower
        page.goto(desk.home.removesuffix("/admin/") + list_url(model))
        look(name)
        page.goto(page.locator("#result_list tbody th a").first.evaluate("link => link.href"))
        expect(page.locator("table.facts").first).to_be_attached()
        look(f"a row of {name}")

    assert wrong == []
