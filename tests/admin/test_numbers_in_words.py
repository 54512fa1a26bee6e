"""How numbers read on every page: grouped by thousands, and with a noun in the right number."""

import html
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.admin.actions import registry
from config.admin.base import LedgerPage
from lockers.models import Attempt, Coin, LockerTask, PaymentRequest, ReceiptLine, ServerHealth, ServerReading
from lockers.states import CoinState, TaskKind
from tests.admin.conftest import SECRET, a_link_of, furnish
from transfers import operations as transfers
from transfers.models import ActionToken
from wallets.models import AuditRun, OperatorAction, Token
from webhooks.models import WebhookDelivery

MANY = 4321
# Numbers that name something, and do not count: they are searched and copied as they are.
SERIAL = 7654321
# What is not prose: ids, times, addresses, and attributes that no person reads.
NO_PROSE = re.compile(
    r"<(script|style|code)\b.*?</\1>|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{8}…|\b[0-9a-f]{32}\b"
    r"|\d{4}-\d\d-\d\d(T\S+| \d\d:\d\d:\d\d)?|https?://\S+",
    re.DOTALL,
)
READ = re.compile(r'(?:title|aria-label|placeholder)="([^"]*)"')


def text_of(page: str) -> str:
    """Return what a person reads or hears of a page, without ids, times and addresses."""
    page = NO_PROSE.sub(" ", page)
    said = " | ".join(READ.findall(page))
    page = re.sub(r"</?(strong|a)\b[^>]*>", "", page)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " | ", page) + " | " + said))


def pages_of(client: Client) -> Iterator[tuple[str, str]]:
    """Yield URL and text of the home, every list, the page of each row, and of each action on it."""
    addresses = [reverse("admin:index"), *(reverse(f"admin:{each}") for each in ("sessions", "second_factor"))]
    for model, page in admin.site._registry.items():
        if not isinstance(page, LedgerPage):
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        addresses.append(reverse(f"{name}_changelist"))
        for row in model._default_manager.all()[:3]:
            addresses.append(reverse(f"{name}_change", args=[row.pk]))
            addresses += [reverse(f"admin:{act.name}", args=[row.pk]) for act in registry.ALL if act.model is model]
    for address in addresses:
        response = client.get(address)
        assert response.status_code in (200, 409), address
        yield address, text_of(response.content.decode())


@pytest.fixture
def crowded(db: None, staff: User) -> SimpleNamespace:
    """Everything that is counted, thousands of times."""
    ledger = furnish(staff)
    alice, now = ledger.alice, timezone.now()
    transfers.issue_tokens(wallet=alice, count=MANY + 3000)
    transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=MANY)
    link = a_link_of(alice)
    Coin.objects.bulk_create(
        Coin(
            wallet=alice, denomination=0, serial_number=SERIAL + place, state=CoinState.FRACKED,
            origin=TaskKind.IMPORT, pown="p" * 15 + "f" * 10, secrets=SECRET, locker=ledger.locker,
        )
        for place in range(1200)
    )  # fmt: skip
    ReceiptLine.objects.bulk_create(
        ReceiptLine(task=ledger.failed, denomination=0, serial_number=SERIAL + place, pown="n" * 25,
                    state=CoinState.LIMBO)
        for place in range(1200)
    )  # fmt: skip
    LockerTask.objects.update(attempt=MANY, amount=MANY * 10**8)
    LockerTask.objects.filter(pk=ledger.failed.pk).update(result={"total_failed": MANY * 10**8, "coins": MANY})
    Attempt.objects.update(number=MANY, batch=MANY)
    PaymentRequest.objects.update(amount=MANY * 10**8)
    ServerReading.objects.update(latency_ms=MANY)
    ServerHealth.objects.update(silences=MANY)
    AuditRun.objects.create(
        result="unsound", finished_at=now, findings_count=MANY, findings=[{"check": "a", "detail": "b"}] * 200
    )
    WebhookDelivery.objects.update(attempt=MANY, milliseconds=MANY, status=500)
    OperatorAction.objects.create(
        staff=staff, verb="issued_tokens", object_kind="wallet", object_id=str(alice.pk), confirmation="y",
        before={"tokens": MANY, "kinds": ["a"]}, after={"tokens": 2 * MANY, "has": True},
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        Token.objects.update(moves=MANY)
        ActionToken.objects.filter(pk=link.pk).update(token_count=MANY)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
    return ledger


def test_every_number_from_a_thousand_on_is_grouped(desk: Client, crowded: SimpleNamespace) -> None:
    seen, wrong = set(), {}
    for address, text in pages_of(desk):
        numbers = re.findall(r"(?<![\w.,-])\d{4,}(?![\w-])", text)
        if found := [number for number in numbers if not SERIAL <= int(number) < SERIAL + 1200]:
            wrong[address] = found
        if "4,321" in text:
            seen.add(address.split("/")[2])

    assert wrong == {}
    # The fixture reaches these pages.
    assert seen >= {"transfers", "lockers", "webhooks", "acts"}


def test_one_thing_is_not_called_many(desk: Client, ledger: SimpleNamespace) -> None:
    a_link_of(ledger.alice)
    LockerTask.objects.update(amount=10**8)
    AuditRun.objects.create(result="unsound", finished_at=timezone.now(), findings_count=1)
    wrong = {}
    for address, text in pages_of(desk):
        # "1 s" is a second, and a verb after the number belongs to another noun.
        found = re.findall(
            r"(?<![\w.,:/-])1 (?:[a-z]+ )?(?!(?:is|was|has|his|as|its|this|days ago|stays)\b)[a-zA-Z]{2,}(?<!s)s\b",
            text,
        )
        if found:
            wrong[address] = found

    assert wrong == {}
