"""A staff member, and a little of everything for the desk to show."""

import copy
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from config.admin.models import Alert, Request
from config.ops import request_log
from lockers.models import Attempt, Coin, Locker, LockerTask, ReceiptLine, ServerHealth, ServerReading
from lockers.operations import payment_requests
from lockers.states import CoinState, LockerState, TaskKind, TaskState
from tests.tables import empty_tables
from transfers import action_tokens
from transfers import operations as transfers
from transfers.models import ActionToken
from trusts import operations as trusts
from trusts import restricted_keys
from wallets import operations as wallets
from wallets.models import AuditRun, OperatorAction, Wallet
from wallets.states import AuditResult, OperatorVerb
from webhooks import operations as webhooks

# The text in secret fields; no page may show it.
SECRET = b"sealed-and-never-shown"


class Committed:
    """
    The rows of `furnish`, committed once for consecutive tests that use the fixture `ledger`.

    To make them takes longer than most of these tests. Each test has its own transaction, which is rolled back, and a
    copy of the objects.
    """

    def __init__(self) -> None:
        self._rows: SimpleNamespace | None = None

    def provide(self) -> SimpleNamespace:
        """Return a copy of staff, session cookies and ledger, after making the rows if there are none."""
        if self._rows is None:
            # A worker process of an earlier test may have written as it ended.
            empty_tables()
            staff = User.objects.create_superuser("olivia", password="a long password")
            client = Client()
            client.force_login(staff)
            self._rows = SimpleNamespace(staff=staff, cookies=client.cookies, ledger=furnish(staff))
        return copy.deepcopy(self._rows)

    def remove(self) -> None:
        if self._rows is not None:
            empty_tables()
            self._rows = None


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[Committed]:
    rows = Committed()
    yield rows
    with django_db_blocker.unblock():
        rows.remove()


@pytest.fixture
def committed_rows(
    request: pytest.FixtureRequest, committed: Committed, django_db_blocker: Any
) -> SimpleNamespace | None:
    """What is committed before the transaction of a test with the fixture `ledger` begins; for other tests nothing."""
    marker = request.node.get_closest_marker("django_db")
    is_transactional = "transactional_db" in request.fixturenames or (marker and marker.kwargs.get("transaction"))
    with django_db_blocker.unblock():
        if "ledger" in request.fixturenames and not is_transactional:
            return committed.provide()
        committed.remove()
    return None


# Overridden to commit or remove rows before the transaction of the test begins. `db` and the mark `django_db` use it.
@pytest.fixture
def _django_db_helper(committed_rows: SimpleNamespace | None, _django_db_helper: None) -> None:
    pass


@pytest.fixture
def staff(db: None, committed_rows: SimpleNamespace | None) -> User:
    if committed_rows is not None:
        person: User = committed_rows.staff
        return person
    return User.objects.create_superuser("olivia", password="a long password")


@pytest.fixture
def desk(staff: User, committed_rows: SimpleNamespace | None) -> Client:
    client = Client()
    if committed_rows is not None:
        client.cookies = committed_rows.cookies
    else:
        client.force_login(staff)
    return client


@pytest.fixture
def ledger(db: None, staff: User, committed_rows: SimpleNamespace | None) -> SimpleNamespace:
    """Alice and bob, tokens, transfers of each state, a trust, coins, tasks, an audit and an action."""
    if committed_rows is not None:
        rows: SimpleNamespace = committed_rows.ledger
        return rows
    return furnish(staff)


def a_link_of(wallet: Wallet) -> ActionToken:
    """Return a claim link of a wallet, of one token."""
    return ActionToken.objects.get(pk=action_tokens.offer_bundles(actor=wallet, sender=None, size=1)[0].id)


def furnish(staff: User) -> SimpleNamespace:
    """Make the same, with a staff member that is there."""
    alice = wallets.create_wallet(name="alice", password="correct horse")
    bob = wallets.create_wallet(name="bobby", password="battery staple")
    key, _ = wallets.create_api_key(name="partner")
    wallets.authenticate(name_or_id="alice", password="correct horse")
    restricted_key = restricted_keys.create(
        actor=alice, name="the shop", scopes=["transfers:write", "tokens:read"], tokens_per_day=500
    ).row
    transfers.issue_tokens(wallet=alice, count=20)
    sapling = trusts.open_managed_wallet(actor=alice, name="sapling")
    made = {
        "completed": transfers.send_bundle(actor=alice, sender="alice", receiver="sapling", size=3),
        "pending": transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=2),
        "requested": transfers.send_bundle(actor=bob, sender="alice", receiver="bobby", size=1),
    }
    made["cancelled"] = transfers.decline(
        actor=bob, transfer_id=transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=1).id
    )
    made["accepted"] = transfers.accept(
        actor=bob, transfer_id=transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=4).id
    )
    trust = trusts.request_trust(actor=bob, requestee="alice", request_type="send")
    now = timezone.now()
    locker = Locker.objects.create(wallet=alice, state=LockerState.FILLED, code=SECRET, tag="for bob", amount=10**8)
    common = {"wallet": alice, "actor": alice, "deadline": now + timedelta(minutes=5)}
    running = LockerTask.objects.create(
        kind=TaskKind.PUT, step="sending", progress=40, message="Sending", tag="spring", amount=25 * 10**8,
        locker=locker, code=SECRET, receipt_id=uuid4().hex, attempt=1, **common,
    )  # fmt: skip
    failed = LockerTask.objects.create(
        kind=TaskKind.TAKE, state=TaskState.ERROR, step="done", message="Only 9 of 25 servers answered.", code=SECRET,
        receipt_id=uuid4().hex, attempt=1, finished_at=now, result={"total_failed": 3, "raida": "p" * 9 + "n" * 16},
        **common,
    )  # fmt: skip
    Attempt.objects.create(
        task=running, ordinal=1, number=1, command="PUT", answers=[241] * 12 + [242, -2, -3, -1, 17] + [None] * 8
    )
    Attempt.objects.create(
        task=failed, ordinal=1, number=1, command="REMOVE", answers=[241] * 9 + [-2] * 16, settled_at=now
    )
    for raida in range(25):
        ServerReading.objects.create(raida=raida, outcome="answered", answered_at=now, latency_ms=20 + 7 * raida)
    # A thread of an earlier test may have committed some: it has a separate connection.
    ServerHealth.objects.all().delete()
    ServerHealth.objects.create(raida=13, silences=4, silent_since=now - timedelta(hours=2))
    coins = [
        Coin.objects.create(
            wallet=alice, denomination=denomination, serial_number=number, state=state, origin=TaskKind.IMPORT,
            pown=pown, secrets=SECRET, task=task, batch=None if task is None else 0,
            outcome="" if task is None else "n" * 25,
        )
        for number, (denomination, state, pown, task) in enumerate(
            [
                (0, CoinState.BANK, "p" * 25, None),
                (1, CoinState.FRACKED, "p" * 20 + "f" * 5, None),
                (0, CoinState.LIMBO, "p" * 10 + "n" * 15, None),
                (2, CoinState.BANK, "p" * 25, running),
            ],
            start=1,
        )
    ]  # fmt: skip
    ReceiptLine.objects.create(task=failed, denomination=0, serial_number=99, pown="n" * 25, state=CoinState.LIMBO)
    asked = [
        payment_requests.create(actor=alice, name=None, units=units * 10**8, description=words)
        for units, words in ((5, "Two seedlings"), (12, "A grove"))
    ]
    webhook = webhooks.create(actor=alice, url="https://shop.example/hook?token=secret").webhook
    delivery = webhooks.send_test(actor=alice, webhook_id=webhook.pk)
    audit = AuditRun.objects.create(result=AuditResult.SOUND, finished_at=now)
    action = OperatorAction.objects.create(
        staff=staff, verb=OperatorVerb.ISSUED_TOKENS, object_kind="wallet", object_id=str(alice.pk),
        object_label="alice", before={"tokens": 0}, after={"tokens": 20}, reason="spring planting", confirmation="x",
        things=[f"wallet:{alice.pk}"],
    )  # fmt: skip
    alert = Alert.objects.create(
        kind="tasks-in-need", title="tasks that need action", state="1: coins unknown, or past the deadline",
        opened_at=now, seen_at=now, noticed_at=now,
    )  # fmt: skip
    request_log.create_partitions([now.date()])
    Request.objects.create(
        id=request_log.first_id(now), method="GET", route="/wallets/{wallet_id}", status=403, milliseconds=4,
        error="wallet_not_controlled", api_key=key, wallet=bob, request_id="of-bobby",
    )  # fmt: skip
    return SimpleNamespace(
        alice=alice, bob=bob, sapling=sapling, key=key, restricted_key=restricted_key, transfers=made,
        trust=trust, locker=locker, running=running,
        failed=failed, coins=coins, webhook=webhook, delivery=delivery, audit=audit, action=action,
        payment_request=asked[0], alert=alert,
    )  # fmt: skip
