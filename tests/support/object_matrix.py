"""A request to each endpoint with ids, and who may send it."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.utils import timezone

from config.api import errors
from lockers import account_ledger, vault
from lockers.account_ledger import Posting
from lockers.models import Locker, LockerTask, Payment, ServerHealth
from lockers.operations import export, payment_requests
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.files import CoinRecord, write_bin
from lockers.states import CoinState, FileType, LineType, LockerState, PaymentState, Step, TaskKind, TaskState
from tests.api.caller import PASSWORD, Caller, logged_in
from tests.lockers.stock import stock_of_states
from tests.ports import silent_ports
from transfers import action_tokens, ledger, link_terms
from transfers import operations as transfers
from trusts import operations as trusts
from trusts import restricted_keys
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets import queries
from wallets.models import BearerToken, Token, Wallet
from webhooks import operations as webhooks

CODE: Final = "A-CODE-THAT-IS-LONG-ENOUGH"
LINK_CODE: Final = "THE-CODE-OF-A-CLAIM-LINK"


RECEIPT_ID: Final = "5f0c4a4e9d3b4b7c8f8e2a1d6c7b9e01"


@dataclass
class World:
    """
    alice, mona who manages her, tina who takes what she sends, steve who has nothing to do with her.

    rita is the other side of what alice waits for.
    """

    callers: dict[str, Caller]
    ids: dict[str, Any]


def build() -> World:
    api_key = wallets.create_api_key(name="partner")[1]
    alice, mona, tina, steve, rita = (logged_in(name, api_key) for name in ("alice", "mona", "tina", "steve", "rita"))
    nobody = logged_in("nobody", api_key)
    wallets.revoke_bearer_tokens(wallet=nobody.wallet)
    revoked = Caller(api_key, wallets.authenticate(name_or_id="alice", password=PASSWORD))
    wallets.revoke_bearer_tokens(wallet=alice.wallet)
    alice.bearer = wallets.authenticate(name_or_id="alice", password=PASSWORD)
    callers = {
        "owner": alice,
        "manager": mona,
        "trusted": tina,
        "stranger": steve,
        "no token": Caller(api_key),
        "revoked token": revoked,
        "wrong API key": Caller("x" * 32, alice.bearer),
    }

    for asking, kind, asked in (
        (mona, TrustRequestType.MANAGE, alice),
        (alice, TrustRequestType.SEND, tina),
    ):
        row = trusts.request_trust(actor=asking.wallet, request_type=kind, requestee=asked.wallet.name)
        trusts.accept_trust(actor=asked.wallet, trust_id=row.id)
    incoming = trusts.request_trust(actor=rita.wallet, request_type=TrustRequestType.SEND, requestee="alice")
    outgoing = trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.SEND, requestee="rita")

    transfers.issue_tokens(wallet=alice.wallet, count=5)
    transfers.issue_tokens(wallet=rita.wallet, count=5)
    parties = {"sender": "rita", "receiver": "alice"}
    offered = transfers.send_bundle(actor=rita.wallet, size=1, **parties)
    offering = transfers.send_bundle(actor=alice.wallet, sender="alice", receiver="rita", size=1)
    requested = transfers.send_bundle(actor=rita.wallet, sender="alice", receiver="rita", size=1)
    Wallet.objects.filter(pk=alice.wallet.pk).update(approval_above=0)
    held = transfers.send_bundle(actor=alice.wallet, sender="alice", receiver="tina", size=1, credential_id=uuid4())
    Wallet.objects.filter(pk=alice.wallet.pk).update(approval_above=None)
    link = action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=1)[0]
    offer_link(rita.wallet)
    return World(
        callers,
        {
            "alice": alice.wallet.pk,
            "token": Token.objects.filter(wallet=alice.wallet, transfer_pending_id=None).first().pk,
            "incoming trust": incoming.id,
            "outgoing trust": outgoing.id,
            "offered": offered.id,
            "offering": offering.id,
            "requested": requested.id,
            "held": held.id,
            "session": BearerToken.objects.get(wallet=alice.wallet, revoked_at=None).pk,
            "link": link.id,
            "key": restricted_keys.create(actor=alice.wallet, name="program", scopes=["tokens:read"]).row.pk,
            **webhook_of(alice.wallet),
            **coins_of(alice.wallet),
            **payments_of(alice.wallet, rita.wallet),
        },
    )


def offer_link(sender: Wallet) -> None:
    """Create a claim link of one token with a code that is known beforehand."""
    terms = link_terms.LinkTerms(sender.pk, sender.pk, "", False, "", None, timedelta(days=1))
    ledger.offer_bundle(terms=terms, ids=[uuid4()], digests=[queries.digest(LINK_CODE)], each=1, wait=False)


def webhook_of(wallet: Any) -> dict[str, Any]:
    webhook = webhooks.create(actor=wallet, url="https://shop.example/hook").webhook
    return {"webhook": webhook.pk, "delivery": webhooks.send_test(actor=wallet, webhook_id=webhook.pk).pk}


def coins_of(wallet: Any) -> dict[str, Any]:
    """Two free coins, one of them fracked, one in limbo, one in a file, a filled locker and the task that filled it."""
    locker = Locker(wallet=wallet, amount=10**8, state=LockerState.FILLED)
    locker.code = vault.seal_locker_code(CODE, locker_id=locker.pk)
    locker.save(force_insert=True)
    states = (CoinState.BANK, CoinState.BANK, CoinState.FRACKED, CoinState.LIMBO, CoinState.LOCKED)
    stock_of_states(wallet, *states, first=1, locker=locker)
    now = timezone.now()
    task = LockerTask.objects.create(
        kind=TaskKind.PUT,
        wallet=wallet,
        actor=wallet,
        state=TaskState.COMPLETED,
        step=Step.DONE,
        progress=100,
        locker=locker,
        receipt_id=RECEIPT_ID,
        deadline=now,
        finished_at=now,
        result={"total_stored": 10**8, "total_failed": 0},
    )
    account_ledger.post(task_id=task.pk, postings=[Posting(wallet.pk, 3 * 10**8, LineType.IMPORTED)])
    exported = export.start(actor=wallet, name=wallet.name, units=10**8, file_type=FileType.BIN)
    return {"task": task.pk, "locker": locker.pk, "export": exported.task.pk}


def payments_of(wallet: Any, other: Any) -> dict[str, Any]:
    """A payment request of the wallet, and one of another that it has tried to pay with a code."""
    asked = payment_requests.create(actor=wallet, name=None, units=10**8, description="a tree")
    other_asked = payment_requests.create(actor=other, name=None, units=10**8, description="two trees")
    now = timezone.now()
    task = LockerTask.objects.create(
        kind=TaskKind.TAKE,
        wallet=other,
        actor=wallet,
        state=TaskState.ERROR,
        step=Step.DONE,
        receipt_id=RECEIPT_ID[::-1],
        deadline=now,
        finished_at=now,
        plan={"payment_request": str(other_asked.pk)},
    )
    payment = Payment.objects.create(
        request=other_asked, task=task, payer=wallet, state=PaymentState.FAILED, settled_at=now
    )
    return {"payment request": asked.pk, "asked of alice": other_asked.pk, "payment": payment.pk}


def coin_file() -> str:
    record = CoinRecord(WireCoin(0, 4711), ans=vault.fresh_numbers())
    return base64.b64encode(write_bin([record])).decode()


FORM: Final = "multipart/form-data; boundary=BOUNDARY"


def form(file: str, **fields: str) -> bytes:
    """A multipart form with the fields and the CSV file."""
    head = 'Content-Disposition: form-data; name="{}"{}\r\n'
    parts = [head.format(name, "") + f"\r\n{value}\r\n" for name, value in fields.items()]
    parts.append(head.format("csv", '; filename="rows.csv"') + f"Content-Type: text/csv\r\n\r\n{file}\r\n")
    return ("".join(f"--BOUNDARY\r\n{part}" for part in parts) + "--BOUNDARY--\r\n").encode()


# Of the first four; what the last three get follows from the dialect, but for what is listed under OTHERWISE.
EVERYBODY = (200, 200, 200, 200)


CONTROLLERS = (200, 200, 403, 403)


HIDDEN = (200, 200, 404, 404)


# method, path -> what to ask (ids in braces), the body, the statuses.
TABLE: Final[dict[tuple[str, str], tuple[str, Any, tuple[int, int, int, int]]]] = {
    ("POST", "/auth"): ("/auth", {"wallet": "alice", "password": PASSWORD}, EVERYBODY),
    ("POST", "/auth/password"): (
        "/auth/password", {"old_password": PASSWORD, "new_password": "another one"}, EVERYBODY,
    ),
    ("GET", "/auth/sessions"): ("/auth/sessions?limit=9", None, EVERYBODY),
    ("DELETE", "/auth/sessions/{session_id}"): ("/auth/sessions/{session}", None, (200, 404, 404, 404)),
    ("DELETE", "/auth/token"): ("/auth/token", None, EVERYBODY),
    ("GET", "/wallets"): ("/wallets?limit=9", None, EVERYBODY),
    ("POST", "/wallets"): ("/wallets", {"wallet": "sapling"}, EVERYBODY),
    ("GET", "/wallets/{wallet_id}"): ("/wallets/{alice}", None, CONTROLLERS),
    ("PATCH", "/wallets/{wallet_id}"): ("/wallets/{alice}", {"about": "planted in spring"}, CONTROLLERS),
    ("GET", "/wallets/{wallet_id}/trust_relationships"): ("/wallets/{alice}/trust_relationships", None, CONTROLLERS),
    ("GET", "/wallets/{wallet_id}/approval"): ("/wallets/{alice}/approval", None, CONTROLLERS),
    ("PUT", "/wallets/{wallet_id}/approval"): ("/wallets/{alice}/approval", {"above": 9}, CONTROLLERS),
    # A person's data: not for who acts for the person.
    ("GET", "/wallets/{wallet_id}/export"): ("/wallets/{alice}/export", None, (200, 403, 403, 403)),
    ("POST", "/wallets/{wallet_id}/dismiss"): ("/wallets/{alice}/dismiss", {"manager_wallet": "mona"}, CONTROLLERS),
    ("GET", "/wallets/{wallet_id}/pending-transfers"): ("/wallets/{alice}/pending-transfers", None, CONTROLLERS),
    ("GET", "/wallets/{wallet_id}/balance"): ("/wallets/{alice}/balance", None, CONTROLLERS),
    ("GET", "/wallets/{wallet_id}/statement"): ("/wallets/{alice}/statement", None, CONTROLLERS),
    ("POST", "/wallets/batch-create-wallet"): (
        "/wallets/batch-create-wallet", form("wallet_name\nsapling\n"), EVERYBODY,
    ),
    ("POST", "/wallets/batch-transfer"): (
        "/wallets/batch-transfer",
        form("wallet_name,token_transfer_amount_overwrite\nrita,1\n", sender_wallet="alice"),
        (200, 200, 403, 403),
    ),
    ("GET", "/events"): ("/events?limit=9&wallet=alice", None, CONTROLLERS),
    ("GET", "/tokens"): ("/tokens?limit=9&wallet=alice", None, CONTROLLERS),
    ("GET", "/tokens/{token_id}"): ("/tokens/{token}", None, (200, 200, 401, 401)),
    ("GET", "/tokens/{token_id}/transactions"): ("/tokens/{token}/transactions?limit=9", None, (200, 200, 401, 401)),
    ("GET", "/tokens/{token_id}/proof"): ("/tokens/{token}/proof", None, (200, 200, 401, 401)),
    # The row 13 of the contract: what the caller may not see is left out.
    ("GET", "/action-tokens"): ("/action-tokens", None, EVERYBODY),
    ("POST", "/action-tokens"): (
        "/action-tokens", {"sender_wallet": "alice", "bundle": {"bundle_size": 1}}, (201, 201, 403, 403),
    ),
    ("POST", "/action-tokens/batch"): (
        "/action-tokens/batch", {"sender_wallet": "alice", "bundle": {"bundle_size": 1}, "count": 1}, CONTROLLERS,
    ),
    ("POST", "/action-tokens/redeem"): (
        "/action-tokens/redeem", {"action_token": LINK_CODE, "wallet": "alice"}, CONTROLLERS,
    ),
    ("POST", "/action-tokens/describe"): ("/action-tokens/describe", {"action_token": LINK_CODE}, EVERYBODY),
    ("GET", "/action-tokens/{action_token_id}"): ("/action-tokens/{link}", None, HIDDEN),
    ("DELETE", "/action-tokens/{action_token_id}"): ("/action-tokens/{link}", None, HIDDEN),
    ("GET", "/transfers"): ("/transfers?limit=9&wallet=alice", None, EVERYBODY),
    ("POST", "/transfers"): (
        "/transfers",
        {"bundle": {"bundle_size": 1}, "sender_wallet": "alice", "receiver_wallet": "rita"},
        (202, 202, 403, 403),
    ),
    ("GET", "/transfers/{transfer_id}"): ("/transfers/{offered}", None, HIDDEN),
    ("DELETE", "/transfers/{transfer_id}"): ("/transfers/{offering}", None, CONTROLLERS),
    ("GET", "/transfers/{transfer_id}/tokens"): ("/transfers/{offering}/tokens?limit=9", None, HIDDEN),
    ("GET", "/transfers/{transfer_id}/proof"): ("/transfers/{offering}/proof", None, HIDDEN),
    ("POST", "/transfers/{transfer_id}/accept"): ("/transfers/{offered}/accept", {}, CONTROLLERS),
    ("POST", "/transfers/{transfer_id}/fulfill"): ("/transfers/{requested}/fulfill", {"implicit": True}, CONTROLLERS),
    ("POST", "/transfers/{transfer_id}/decline"): ("/transfers/{offered}/decline", {}, CONTROLLERS),
    ("POST", "/transfers/{transfer_id}/approve"): ("/transfers/{held}/approve", {}, CONTROLLERS),
    ("POST", "/transfers/{transfer_id}/refuse"): ("/transfers/{held}/refuse", {}, CONTROLLERS),
    ("GET", "/trust_relationships"): ("/trust_relationships", None, EVERYBODY),
    ("POST", "/trust_relationships"): (
        "/trust_relationships",
        {"trust_request_type": "send", "requestee_wallet": "nobody", "requester_wallet": "alice"},
        CONTROLLERS,
    ),
    ("GET", "/trust_relationships/{trust_relationship_id}"): (
        "/trust_relationships/{incoming trust}",
        None,
        CONTROLLERS,
    ),
    ("DELETE", "/trust_relationships/{trust_relationship_id}"): (
        "/trust_relationships/{outgoing trust}", None, CONTROLLERS,
    ),
    ("POST", "/trust_relationships/{trust_relationship_id}/accept"): (
        "/trust_relationships/{incoming trust}/accept", {}, CONTROLLERS,
    ),
    ("POST", "/trust_relationships/{trust_relationship_id}/decline"): (
        "/trust_relationships/{incoming trust}/decline", {}, CONTROLLERS,
    ),
    ("GET", "/webhooks"): ("/webhooks?wallet=alice", None, CONTROLLERS),
    ("POST", "/webhooks"): (
        "/webhooks", {"url": "https://shop.example/", "wallet": "alice"}, (201, 201, 403, 403),
    ),
    ("GET", "/webhooks/{webhook_id}"): ("/webhooks/{webhook}", None, HIDDEN),
    ("PATCH", "/webhooks/{webhook_id}"): ("/webhooks/{webhook}", {"state": "disabled"}, HIDDEN),
    ("DELETE", "/webhooks/{webhook_id}"): ("/webhooks/{webhook}", None, HIDDEN),
    ("POST", "/webhooks/{webhook_id}/rotate-secret"): ("/webhooks/{webhook}/rotate-secret", {}, HIDDEN),
    ("POST", "/webhooks/{webhook_id}/test"): ("/webhooks/{webhook}/test", {}, (202, 202, 404, 404)),
    ("GET", "/webhooks/{webhook_id}/deliveries"): ("/webhooks/{webhook}/deliveries", None, HIDDEN),
    ("POST", "/webhooks/{webhook_id}/deliveries/{delivery_id}/resend"): (
        "/webhooks/{webhook}/deliveries/{delivery}/resend", {}, (202, 202, 404, 404),
    ),
    # Keys are those of the wallet that made them; its managers make their own.
    ("GET", "/keys"): ("/keys", None, EVERYBODY),
    ("POST", "/keys"): (
        "/keys", {"name": "x", "scopes": ["tokens:read"], "wallets": ["alice"]}, (201, 201, 403, 403),
    ),
    ("GET", "/keys/{key_id}"): ("/keys/{key}", None, (200, 404, 404, 404)),
    ("PATCH", "/keys/{key_id}"): ("/keys/{key}", {"name": "another"}, (200, 404, 404, 404)),
    ("DELETE", "/keys/{key_id}"): ("/keys/{key}", None, (200, 404, 404, 404)),
    ("POST", "/api/v1/locker"): ("/api/v1/locker", {"name": "alice", "amount": 1}, CONTROLLERS),
    ("GET", "/api/v1/lockers"): ("/api/v1/lockers", None, EVERYBODY),
    ("POST", "/api/v1/lockers/{locker_id}/code"): ("/api/v1/lockers/{locker}/code", None, HIDDEN),
    # The code alone gives access to the coins of a locker.
    ("POST", "/api/v1/locker/peek"): ("/api/v1/locker/peek", {"transmit_code": CODE}, EVERYBODY),
    ("POST", "/api/v1/locker/take"): ("/api/v1/locker/take", {"name": "alice", "transmit_code": CODE}, CONTROLLERS),
    ("GET", "/api/v1/locker/{code}"): (f"/api/v1/locker/{CODE}", None, EVERYBODY),
    ("POST", "/api/v1/locker/{code}"): (f"/api/v1/locker/{CODE}", {"name": "alice"}, CONTROLLERS),
    ("GET", "/api/v1/task/{task_id}"): ("/api/v1/task/{task}", None, HIDDEN),
    ("POST", "/api/v1/import"): ("/api/v1/import", {"name": "alice", "items": [{"data": coin_file()}]}, CONTROLLERS),
    ("GET", "/api/v1/echo"): ("/api/v1/echo", None, EVERYBODY),
    ("POST", "/api/v1/find"): ("/api/v1/find", {"name": "alice"}, CONTROLLERS),
    ("POST", "/api/v1/fix"): ("/api/v1/fix", {"name": "alice"}, CONTROLLERS),
    ("POST", "/api/v1/health"): ("/api/v1/health", {"name": "alice"}, CONTROLLERS),
    ("POST", "/api/v1/break"): ("/api/v1/break", {"name": "alice", "denomination": "1"}, CONTROLLERS),
    ("POST", "/api/v1/wallets"): ("/api/v1/wallets", {"name": "sapling"}, EVERYBODY),
    ("GET", "/api/v1/wallets"): ("/api/v1/wallets", None, EVERYBODY),
    ("GET", "/api/v1/wallets/{name}"): ("/api/v1/wallets/alice", None, CONTROLLERS),
    ("GET", "/api/v1/wallets/{name}/statement"): ("/api/v1/wallets/alice/statement", None, CONTROLLERS),
    ("POST", "/api/v1/transfer"): (
        "/api/v1/transfer", {"srcname": "alice", "dstname": "tina", "amount": 1}, CONTROLLERS,
    ),
    ("POST", "/api/v1/export"): ("/api/v1/export", {"name": "alice", "amount": 1, "type": "bin"}, CONTROLLERS),
    ("GET", "/api/v1/exports"): ("/api/v1/exports", None, EVERYBODY),
    ("GET", "/api/v1/exports/{export_id}"): ("/api/v1/exports/{export}", None, HIDDEN),
    ("GET", "/api/v1/exports/{export_id}/file"): ("/api/v1/exports/{export}/file", None, HIDDEN),
    ("POST", "/api/v1/exports/{export_id}/confirm"): ("/api/v1/exports/{export}/confirm", None, HIDDEN),
    ("POST", "/api/v1/exports/{export_id}/recall"): ("/api/v1/exports/{export}/recall", None, HIDDEN),
    ("POST", "/api/v1/payment-requests"): (
        "/api/v1/payment-requests", {"amount": 1, "description": "x", "wallet": "alice"}, (201, 201, 403, 403),
    ),
    ("GET", "/api/v1/payment-requests"): ("/api/v1/payment-requests", None, EVERYBODY),
    # Who has the id, which cannot be guessed, may read the request and pay.
    ("GET", "/api/v1/payment-requests/{payment_request_id}"): (
        "/api/v1/payment-requests/{payment request}", None, EVERYBODY,
    ),
    ("DELETE", "/api/v1/payment-requests/{payment_request_id}"): (
        "/api/v1/payment-requests/{payment request}", None, HIDDEN,
    ),
    ("POST", "/api/v1/payment-requests/{payment_request_id}/pay"): (
        "/api/v1/payment-requests/{asked of alice}/pay", {"wallet": "alice"}, CONTROLLERS,
    ),
    ("GET", "/api/v1/payment-requests/{payment_request_id}/payments/{payment_id}"): (
        "/api/v1/payment-requests/{asked of alice}/payments/{payment}", None, EVERYBODY,
    ),
    ("GET", "/api/v1/receipts/{receipt_id}"): (f"/api/v1/receipts/{RECEIPT_ID}", None, HIDDEN),
    ("GET", "/api/v1/transactions/{name}/{receipt_id}"): (
        f"/api/v1/transactions/alice/{RECEIPT_ID}", None, CONTROLLERS,
    ),
    # No server is there that could tell what is in it.
    ("GET", "/api/transactions/locker/peek"): (
        f"/api/transactions/locker/peek?locker_key={CODE}", None, (500, 500, 500, 500),
    ),
    ("POST", "/api/transactions/locker/peek"): (
        "/api/transactions/locker/peek", {"locker_key": CODE}, (500, 500, 500, 500),
    ),
    ("POST", "/api/transactions/locker/upload"): (
        "/api/transactions/locker/upload", {"wallet": "alice", "locker_key": CODE, "amount": 1}, CONTROLLERS,
    ),
    ("POST", "/api/transactions/locker/download"): (
        "/api/transactions/locker/download", {"wallet": "alice", "locker_key": CODE}, CONTROLLERS,
    ),
    ("POST", "/api/transactions/locker/put-one-coin"): (
        "/api/transactions/locker/put-one-coin",
        {"wallet": "alice", "locker_key": CODE, "denomination": 1},
        CONTROLLERS,
    ),
    ("GET", "/api/system/tasks"): ("/api/system/tasks?task_id={task}", None, HIDDEN),
    ("GET", "/api/wallets/balance"): ("/api/wallets/balance?wallet_path=alice", None, CONTROLLERS),
}  # fmt: skip


def digests() -> dict[str, str]:
    """What each table of the domain holds, in short."""
    tables = [
        model._meta.db_table
        for label in ("wallets", "trusts", "transfers", "lockers", "webhooks")
        for model in apps.get_app_config(label).get_models()
        # The state of the servers belongs to no wallet.
        if model is not ServerHealth
    ]
    assert len(tables) >= 12
    one = "SELECT '{0}', md5(coalesce(string_agg(each::text, ' ' ORDER BY each::text), '')) FROM {0} AS each"
    with connection.cursor() as cursor:
        # Where no index can serve, the estimated cost is high, and two more processes would be started for each look.
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        cursor.execute(" UNION ALL ".join(one.format(table) for table in tables))
        return dict(cursor.fetchall())


@pytest.fixture(scope="module")
def silent_raida() -> Iterator[Any]:
    with silent_ports(25) as ports:
        yield [f"127.0.0.1:{port}" for port in ports]


ROLES: Final = ("owner", "manager", "trusted", "stranger", "no token", "revoked token", "wrong API key")

# What asks for no bearer token.
OTHERWISE: Final = {("POST", "/auth"): (200, 200, 401), ("POST", "/action-tokens/describe"): (200, 200, 200)}


def expected(endpoint: tuple[str, str]) -> dict[str, int]:
    _, _, statuses = TABLE[endpoint]
    # Without a good bearer: the Treetracker contract, row 3. The locker dialect asks for no API key.
    if endpoint[1].startswith("/api/"):
        default = (401, 401, statuses[0])
    else:
        default = (401, 401, 401) if errors.is_problem_path(endpoint[1]) else (403, 403, 401)
    return dict(zip(ROLES, statuses + OTHERWISE.get(endpoint, default), strict=True))


def as_if_nothing_had_happened(before: dict[str, str], ask: Callable[[], Any]) -> tuple[Any, bool]:
    """Return the answer and whether the tables hold anything else than before, and undo it."""
    with transaction.atomic():
        # Like the transaction around a test: operations inside it may roll back by themselves.
        connection.atomic_blocks[-1]._from_testcase = True
        response = ask()
        has_written = digests() != before
        transaction.set_rollback(True)
    return response, has_written
