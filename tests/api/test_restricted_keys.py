"""Restricted keys: what they are made of, when they end, and what they cannot pass."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from lockers.models import LockerTask
from lockers.queries import TaskView
from tests.api.caller import PASSWORD, Caller, answer, logged_in
from tests.support.object_matrix import coins_of, form
from tests.support.restricted_keys import with_key
from transfers import action_tokens, list_counts
from transfers import operations as transfers
from transfers.list_models import ListTally
from transfers.models import ActionToken, Transfer
from trusts import operations as trusts
from trusts import restricted_keys as making
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets import queries, restricted_keys
from wallets.models import Event, RestrictedKey, Wallet
from wallets.states import KeyScope
from webhooks import operations as webhooks
from webhooks.models import Webhook

pytestmark = pytest.mark.django_db

WRITE, PENDING = KeyScope.TRANSFERS_WRITE.value, KeyScope.TRANSFERS_PENDING_ONLY.value
TOKENS = "/tokens?limit=9"


def code_of(response: Any) -> tuple[int, str]:
    return response.status_code, response["Error-Code"]


def key_of(caller: Caller) -> RestrictedKey:
    assert caller.bearer is not None
    return RestrictedKey.objects.get(digest=queries.digest(caller.bearer))


def send(caller: Caller, receiver: str, size: int = 1, *, sender: str = "alice", **headers: str) -> Any:
    body = {"bundle": {"bundle_size": size}, "sender_wallet": sender, "receiver_wallet": receiver}
    return caller.post("/transfers", body, **headers)


def free_token(caller: Caller) -> str:
    """A token of the wallet that nothing reserves: bundles take any."""
    assert caller.wallet is not None
    return str(caller.wallet.tokens.filter(transfer_pending_id=None).values_list("pk", flat=True)[0])


@pytest.fixture
def sapling(alice: Caller) -> Wallet:
    """A wallet that alice manages."""
    assert alice.wallet is not None
    return trusts.open_managed_wallet(actor=alice.wallet, name="sapling")


@pytest.fixture
def rich(alice: Caller) -> Caller:
    """Alice with 40 tokens."""
    assert alice.wallet is not None
    transfers.issue_tokens(wallet=alice.wallet, count=40)
    return alice


# What a key is made of.


def test_no_repr_has_the_secret(alice: Caller) -> None:
    key = making.create(actor=alice.wallet, name="shop", scopes=["tokens:read"])
    webhook = webhooks.create(actor=alice.wallet, url="https://shop.example/")

    assert key.secret not in repr(key)
    assert webhook.secret not in repr(webhook)
    assert "K7-a" not in repr(TaskView(LockerTask(), [], "K7-a-code", code_used="K7-a-code"))


def test_the_secret_is_shown_once_and_stored_as_a_digest(alice: Caller, sapling: Wallet) -> None:
    terms = {
        "name": "the shop",
        "scopes": [WRITE, "tokens:read"],
        "wallets": ["sapling", str(alice.wallet.pk)],
        "networks": ["127.0.0.1", "2001:db8::/32"],
        "expires_at": "2100-01-01",
        "tokens_per_transfer": 5,
        "tokens_per_day": 10,
    }
    response = alice.post("/keys", terms)
    body = response.json()
    secret = body.pop("key")

    assert response.status_code == 201
    assert secret.startswith("cop_rk_")
    assert len(secret) == 7 + 32 + 6
    assert secret[-6:] == restricted_keys.checksum(secret[7:-6])
    row = RestrictedKey.objects.get()
    assert bytes(row.digest) == queries.digest(secret)
    assert row.prefix == secret[:11] == body["prefix"]
    assert body["scopes"] == ["tokens:read", WRITE]
    assert body["wallets"] == [str(sapling.pk), str(alice.wallet.pk)]
    assert body["networks"] == ["127.0.0.1/32", "2001:db8::/32"]
    assert (body["tokens_per_transfer"], body["tokens_per_day"]) == (5, 10)
    assert body["expires_at"] == "2100-01-01T00:00:00.000Z"
    assert (body["last_used_at"], body["ended_at"]) == (None, None)
    shown = [alice.get("/keys"), alice.get(f"/keys/{body['id']}"), alice.patch(f"/keys/{body['id']}", {"name": "x"})]
    assert all(each.status_code == 200 and secret not in each.content.decode() for each in shown)
    assert shown[0].json()["keys"] == [body]
    assert shown[2].json() == body | {"name": "x"}
    told = Event.objects.get(type="key.created")
    assert (told.wallet_id, told.payload) == (
        alice.wallet.pk,
        {"keyId": body["id"], "keyName": "the shop", "keyScopes": ["tokens:read", WRITE]},
    )


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"scopes": []}, (422, "invalid_value")),
        ({"scopes": ["keys:write"]}, (422, "invalid_value")),
        ({"scopes": [WRITE, PENDING]}, (422, "key_contradictory")),
        ({"scopes": ["coins:move"], "tokens_per_day": 1}, (422, "key_contradictory")),
        ({"scopes": ["lockers:peek"], "wallets": ["sapling"]}, (422, "key_contradictory")),
        ({"expires_at": "2020-01-01"}, (422, "key_contradictory")),
        ({"networks": ["203.0.113.7/24"]}, (422, "network_invalid")),
        ({"networks": ["shop.example"]}, (422, "network_invalid")),
        ({"tokens_per_day": 0}, (422, "invalid_value")),
        ({"wallets": ["bobby"]}, (403, "wallet_not_controlled")),
        ({"wallets": ["nobody"]}, (404, "wallet_not_found")),
    ],
)
def test_terms_that_do_not_fit_are_refused(
    alice: Caller, bob: Caller, sapling: Wallet, terms: dict[str, Any], expected: Any
) -> None:
    response = alice.post("/keys", {"name": "x", "scopes": ["tokens:read"]} | terms)

    assert code_of(response) == expected
    assert response["Content-Type"] == "application/problem+json"
    assert RestrictedKey.objects.count() == 0


def test_a_wallet_has_no_more_than_fifty_valid_keys(alice: Caller) -> None:
    RestrictedKey.objects.bulk_create(
        RestrictedKey(
            wallet=alice.wallet,
            digest=bytes([number]) * 32,
            scopes=["tokens:read"],
            wallet_ids=[alice.wallet.pk],
            ended_at=timezone.now() if number == 49 else None,
            expires_at=timezone.now() if number == 48 else None,
        )
        for number in range(51)
    )
    new = {"name": "x", "scopes": ["tokens:read"]}

    assert alice.post("/keys", new).status_code == 201
    assert code_of(alice.post("/keys", new)) == (409, "too_many_keys")


# When it is valid.


def of_revoked_token(caller: Caller, path: str) -> Any:
    """What a bearer token gets that was revoked."""
    revoked = Caller(caller.api_key, wallets.authenticate(name_or_id="alice", password=PASSWORD))
    wallets.revoke_bearer_tokens(wallet=caller.wallet)
    return answered(revoked.get(path))


def answered(response: Any) -> Any:
    headers = {name: value for name, value in response.headers.items() if name not in {"X-Request-Id", "RateLimit"}}
    body = json.loads(response.content)
    body.pop("instance", None)
    return response.status_code, body, headers


@pytest.mark.parametrize("path", [TOKENS, "/api/v1/wallets", "/webhooks", "/wallet/v2/tokens"])
@pytest.mark.parametrize(
    "lapse",
    [
        pytest.param(lambda key: restricted_keys.end(key_id=key.pk), id="ended"),
        pytest.param(
            lambda key: RestrictedKey.objects.update(expires_at=timezone.now() - timedelta(minutes=9)), id="expired"
        ),
        pytest.param(lambda key: RestrictedKey.objects.update(networks=["203.0.113.0/24"]), id="elsewhere"),
        pytest.param(lambda key: RestrictedKey.objects.update(digest=b"0" * 32), id="unknown"),
    ],
)
def test_a_key_that_is_not_valid_is_refused_at_once_like_a_revoked_token(
    alice: Caller, path: str, lapse: Callable[[RestrictedKey], Any]
) -> None:
    key = with_key(alice, "tokens:read", "coins:read", "webhooks:write")
    assert key.get(path).status_code == 200
    lapse(key_of(key))

    assert answered(key.get(path)) == of_revoked_token(alice, path)


@pytest.mark.parametrize(
    ("address", "networks", "is_admitted"),
    [
        ("203.0.113.7", [], True),
        ("203.0.113.7", ["203.0.113.0/24"], True),
        ("::ffff:203.0.113.7", ["203.0.113.0/24"], True),
        ("203.0.114.7", ["203.0.113.0/24", "2001:db8::/32"], False),
        ("2001:db8::1", ["203.0.113.0/24", "2001:db8::/32"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("2001:db9::1", ["2001:db8::/32"], False),
        ("", ["203.0.113.0/24"], False),
        ("", [], True),
    ],
)
def test_networks_are_compared_with_the_address_of_the_client(
    address: str, networks: list[str], is_admitted: bool
) -> None:
    assert restricted_keys.is_from(address, networks) is is_admitted


def test_an_owner_ends_a_key_and_a_key_ends_none(alice: Caller, bob: Caller) -> None:
    key = with_key(alice, *(scope for scope in KeyScope if scope is not KeyScope.TRANSFERS_PENDING_ONLY))
    path = f"/keys/{key_of(key).pk}"

    for request in (key.delete, key.get):
        assert code_of(request(path)) == (403, "key_scope_missing")
    assert code_of(bob.delete(path)) == (404, "key_not_found")
    ended = alice.delete(path)
    assert ended.status_code == 200
    assert ended.json()["ended_at"] is not None
    assert alice.delete(path).json() == ended.json()
    assert key.get(TOKENS).status_code == 403
    assert [each.payload["keyId"] for each in Event.objects.filter(type="key.ended")] == [ended.json()["id"]]


def test_a_key_is_deleted_thirty_days_after_its_end(alice: Caller) -> None:
    keys = {name: key_of(with_key(alice, "tokens:read")).pk for name in ("valid", "ended", "long ended", "expired")}
    now = timezone.now()
    RestrictedKey.objects.filter(pk=keys["ended"]).update(ended_at=now - timedelta(days=29))
    RestrictedKey.objects.filter(pk=keys["long ended"]).update(ended_at=now - timedelta(days=31))
    RestrictedKey.objects.filter(pk=keys["expired"]).update(expires_at=now - timedelta(days=31))

    wallets.purge_expired()

    assert {name for name, pk in keys.items() if RestrictedKey.objects.filter(pk=pk).exists()} == {"valid", "ended"}


def test_a_new_password_ends_no_key(alice: Caller) -> None:
    key = with_key(alice, "tokens:read")
    body = {"old_password": PASSWORD, "new_password": "another one"}

    assert alice.post("/auth/password", body).status_code == 200
    wallets.set_password(wallet=alice.wallet, password="a third one")
    assert key.get(TOKENS).status_code == 200


def test_the_last_use_is_recorded_once_an_hour(alice: Caller) -> None:
    key = with_key(alice, "tokens:read")
    key.get(TOKENS)
    first = key_of(key).last_used_at
    assert first is not None
    key.get(TOKENS)
    assert key_of(key).last_used_at == first
    RestrictedKey.objects.update(last_used_at=Now() - timedelta(hours=2))
    key.get(TOKENS)
    assert key_of(key).last_used_at >= first


def test_a_key_costs_no_statement_more_than_a_token(alice: Caller) -> None:
    """And a token none more than before: `tests/api/test_statements.py` counts those of requests without a key."""
    key = with_key(alice, "tokens:read")
    key.get(TOKENS)
    alice.get(TOKENS)

    with CaptureQueriesContext(connection) as of_key:
        key.get(TOKENS)
    with CaptureQueriesContext(connection) as of_token:
        alice.get(TOKENS)

    assert len(of_key) == 2
    assert "wallets_bearertoken" not in of_key[0]["sql"]
    assert [each["sql"] for each in of_token if "restricted" in each["sql"]] == []


# What it reaches.


def test_a_dismissed_manager_loses_the_wallet_for_its_keys_too(alice: Caller, sapling: Wallet) -> None:
    key = with_key(alice, "tokens:read", "events:read", wallets=["sapling"])
    assert key.get(f"{TOKENS}&wallet=sapling").status_code == 200
    assert key.get("/events?limit=9").json()["events"] != []

    trusts.dismiss_manager(actor=sapling, wallet_id=sapling.pk, manager="alice")

    assert key.get(f"{TOKENS}&wallet=sapling").status_code == 403
    assert key.get("/events?limit=9").json()["events"] == []
    assert code_of(alice.post("/keys", {"name": "x", "scopes": ["tokens:read"], "wallets": ["sapling"]})) == (
        403,
        "wallet_not_controlled",
    )


def test_a_wallet_that_comes_under_control_later_is_not_reached(alice: Caller) -> None:
    key = with_key(alice, "wallets:read", "tokens:read")
    trusts.open_managed_wallet(actor=alice.wallet, name="sapling")

    assert [each["name"] for each in key.get("/wallets?limit=9").json()["wallets"]] == ["alice"]
    assert key.get(f"{TOKENS}&wallet=sapling").status_code == 403


def test_a_transfer_between_others_that_the_maker_asked_for_is_not_shown(rich: Caller, sapling: Wallet) -> None:
    """The maker is the originator of a transfer between two wallets that it manages."""
    trusts.open_managed_wallet(actor=rich.wallet, name="beech")
    transfers.issue_tokens(wallet=sapling, count=1)
    between = transfers.send_bundle(actor=rich.wallet, sender="sapling", receiver="beech", size=1)
    trusts.open_managed_wallet(actor=rich.wallet, name="oak")
    key = with_key(rich, "transfers:read", wallets=["oak"])

    assert key.get(f"/transfers/{between.id}").status_code == 404
    for query in ("", "&state=completed", "&wallet=beech", "&wallet=alice", "&after=2020-01-01"):
        assert key.get(f"/transfers?limit=9{query}").json()["transfers"] == []
    assert key.get("/wallet/v2/transfers?limit=9").json()["total"] == 0
    assert rich.get(f"/transfers/{between.id}").status_code == 200


def test_numbers_that_are_kept_of_lists_are_not_those_of_a_key(rich: Caller, bob: Caller, sapling: Wallet) -> None:
    for number in range(3):
        trusts.open_managed_wallet(actor=rich.wallet, name=f"beech-{number}")
        transfers.send_bundle(actor=rich.wallet, sender="alice", receiver=f"beech-{number}", size=1)
    transfers.send_bundle(actor=rich.wallet, sender="alice", receiver="sapling", size=1)
    pending = transfers.send_bundle(actor=rich.wallet, sender="alice", receiver="bobby", size=1)
    assert list_counts.roll_up()
    assert ListTally.objects.get(wallet=rich.wallet).managed == 4
    key = with_key(rich, "transfers:read", "wallets:read", wallets=["sapling"])

    totals = {
        path: [caller.get(f"/wallet/v2/{path}").json()["total"] for caller in (rich, key)]
        for path in ("wallets", "transfers", "transfers?sort_by=created_at", "transfers?state=pending")
    }

    assert totals == {
        "wallets": [5, 1],
        "transfers": [5, 1],
        "transfers?sort_by=created_at": [5, 1],
        "transfers?state=pending": [1, 0],
    }
    for query in ("state=pending", "sort_by=created_at", "sort_by=state"):
        listed = key.get(f"/wallet/v2/transfers?{query}").json()["transfers"]
        assert str(pending.id) not in {each["id"] for each in listed}
        assert len(listed) == (0 if query == "state=pending" else 1)


def test_a_key_gives_and_takes_no_control(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    """A manager of a wallet is not bound by the limits of a key, and stays one when the key has ended."""
    key = with_key(alice, "trusts:write", "trusts:read", wallets=["alice", "sapling"])
    wanted = trusts.request_trust(actor=bob.wallet, request_type=TrustRequestType.MANAGE, requestee="alice")
    managing = Trust.objects.get(target=sapling)
    before = list(Trust.objects.order_by("pk").values())

    for kind in ("manage", "yield"):
        body = {"trust_request_type": kind, "requestee_wallet": "bobby", "requester_wallet": "sapling"}
        assert code_of(key.post("/trust_relationships", body)) == (403, "control_needs_session")
    assert code_of(key.post(f"/trust_relationships/{wanted.id}/accept", {})) == (403, "control_needs_session")
    assert code_of(key.post(f"/trust_relationships/{wanted.id}/decline", {})) == (403, "control_needs_session")
    assert code_of(key.delete(f"/trust_relationships/{managing.pk}")) == (403, "control_needs_session")
    assert list(Trust.objects.order_by("pk").values()) == before

    body = {"trust_request_type": "send", "requestee_wallet": "bobby", "requester_wallet": "sapling"}
    asked = key.post("/trust_relationships", body)
    assert asked.status_code == 200
    assert key.delete(f"/trust_relationships/{asked.json()['id']}").status_code == 200


def test_a_key_without_the_wallet_of_its_maker_does_not_act_for_it(rich: Caller, bob: Caller, sapling: Wallet) -> None:
    every = [each for each in KeyScope if each not in {KeyScope.TRANSFERS_PENDING_ONLY, KeyScope.LOCKERS_PEEK}]
    key = with_key(rich, *every, wallets=["sapling"])
    alice = rich.wallet
    offered = action_tokens.offer_bundles(actor=alice, sender=None, size=1)[0]
    coins_of(alice)
    before = Transfer.objects.count()

    # No request names the wallet: the caller's own is meant.
    for path, body in (
        ("/action-tokens", {"bundle": {"bundle_size": 1}}),
        ("/action-tokens/redeem", {"action_token": offered.code}),
        ("/trust_relationships", {"trust_request_type": "send", "requestee_wallet": "bobby"}),
        ("/webhooks", {"url": "https://shop.example/"}),
        ("/api/v1/payment-requests", {"amount": 1, "description": "x"}),
        ("/api/v1/locker", {"name": "Default", "amount": 1}),
        ("/api/v1/export", {"name": "Default", "amount": 1, "type": "bin"}),
        ("/api/v1/transfer", {"srcname": "Default", "dstname": "bobby", "amount": 1}),
    ):
        assert key.post(path, body).status_code == 403, path
    assert send(key, "sapling").status_code == 202, "only asked for: the key does not reach the sender"
    assert send(key, "bobby").status_code == 403
    assert key.get(TOKENS).status_code == 403
    assert key.get("/api/wallets/balance").status_code == 403
    assert [each["name"] for each in key.get("/wallets?limit=9").json()["wallets"]] == ["sapling"]
    assert key.get("/wallet/v2/wallets?limit=9").json()["total"] == 1
    assert key.get("/api/v1/exports").json()["exports"] == []
    assert Transfer.objects.count() == before + 1


def test_nor_does_it_touch_what_that_wallet_has(rich: Caller, bob: Caller, sapling: Wallet) -> None:
    """Requests that name one thing: the maker is a party of each, the wallet of the key of none."""
    every = [each for each in KeyScope if each not in {KeyScope.TRANSFERS_PENDING_ONLY, KeyScope.LOCKERS_PEEK}]
    key = with_key(rich, *every, wallets=["sapling"])
    alice = rich.wallet
    transfers.issue_tokens(wallet=bob.wallet, count=2)
    sent, gift, asked, wanted = (
        transfers.send_bundle(actor=actor, sender=sender, receiver=receiver, size=1).id
        for actor, sender, receiver in (
            (alice, "alice", "bobby"), (bob.wallet, "bobby", "alice"), (bob.wallet, "alice", "bobby"),
            (alice, "bobby", "alice"),
        )
    )  # fmt: skip
    link = action_tokens.offer_bundles(actor=alice, sender=None, size=1)[0].id
    hook = webhooks.create(actor=alice, url="https://shop.example/").webhook.pk
    mine, theirs = (
        trusts.request_trust(actor=one.wallet, request_type=TrustRequestType.SEND, requestee=other).id
        for one, other in ((rich, "bobby"), (bob, "alice"))
    )
    before = [list(model.objects.order_by("pk").values()) for model in (Transfer, ActionToken, Trust, Webhook, Event)]

    for method, path in (
        *(("DELETE", f"/transfers/{each}") for each in (sent, wanted)),
        *(("POST", f"/transfers/{each}/decline") for each in (gift, asked)),
        *(("POST", f"/transfers/{each}/{verb}") for each, verb in ((gift, "accept"), (asked, "fulfill"))),
        *((method, f"/trust_relationships/{each}{verb}") for each in (mine, theirs) for method, verb in (
            ("GET", ""), ("POST", "/accept"), ("POST", "/decline"), ("DELETE", ""))),
        *(("GET", f"/transfers/{each}{more}") for each in (sent, gift, asked, wanted)
          for more in ("", "/tokens?limit=1")),
        *((method, f"/action-tokens/{link}") for method in ("GET", "DELETE")),
        *((method, f"/webhooks/{hook}") for method in ("GET", "DELETE")),
        *(("POST", f"/webhooks/{hook}/{verb}") for verb in ("rotate-secret", "test")),
        ("PATCH", f"/webhooks/{hook}"), ("GET", f"/webhooks/{hook}/deliveries?limit=1"),
    ):  # fmt: skip
        body = None if method in {"GET", "DELETE"} else {"state": "disabled"} if method == "PATCH" else {}
        if path.endswith("/fulfill"):
            body = {"implicit": True}
        answered = key.send(method, path, body)
        assert answered.status_code in {403, 404}, (method, path, answered.content)
        assert answered["Error-Code"] != "key_scope_missing"

    assert [
        list(model.objects.order_by("pk").values()) for model in (Transfer, ActionToken, Trust, Webhook, Event)
    ] == (before)


def test_the_codes_of_lockers_are_for_keys_that_move_coins(alice: Caller, settings: Any) -> None:
    settings.RAIDA_HOSTS = [f"127.0.0.1:{port}" for port in range(1, 26)]
    task = coins_of(alice.wallet)["task"]
    codes = {}
    for scope in ("coins:read", "lockers:peek", "coins:move"):
        data = with_key(alice, scope).get(f"/api/v1/task/{task}").json()["data"]
        codes[scope] = "transmit_code" in data

    assert codes == {"coins:read": False, "lockers:peek": False, "coins:move": True}


# Proposals and limits.


def test_what_a_key_of_proposals_makes_never_completes_by_itself(rich: Caller, bob: Caller, sapling: Wallet) -> None:
    row = trusts.request_trust(actor=rich.wallet, request_type=TrustRequestType.SEND, requestee="bobby")
    trusts.accept_trust(actor=bob.wallet, trust_id=row.id)
    key = with_key(rich, PENDING, wallets=["alice", "sapling"])
    batch = form("wallet_name,token_transfer_amount_overwrite\nsapling,1\nbobby,1\n", sender_wallet="alice")

    made = [send(key, "sapling"), send(key, "bobby")]
    body = {"tokens": [free_token(rich)], "sender_wallet": "alice", "receiver_wallet": "sapling"}
    made.append(key.post("/transfers", body))
    multipart = "multipart/form-data; boundary=BOUNDARY"
    assert key.post("/wallets/batch-transfer", batch, content_type=multipart).status_code == 200
    assert [each.status_code for each in made] == [202, 202, 202]
    assert set(Transfer.objects.values_list("state", flat=True)) == {"pending"}
    assert Transfer.objects.count() == 5

    one = made[0].json()["id"]
    for path, body in (
        (f"/transfers/{one}/accept", {}),
        (f"/transfers/{one}/decline", {}),
        ("/action-tokens", {"bundle": {"bundle_size": 1}}),
    ):
        assert code_of(key.post(path, body)) == (403, "key_scope_missing")
    assert key.delete(f"/transfers/{one}").status_code == 200
    # Who is logged in completes it; the same transfer without the key completes at once.
    assert rich.post(f"/transfers/{made[2].json()['id']}/accept", {}).json()["state"] == "completed"
    # A key of transfers has its wallet's right to send without asking, although it does not reach the receiver.
    assert [send(caller, "bobby").status_code for caller in (rich, with_key(rich, WRITE))] == [201, 201]


def test_a_transfer_above_the_limit_of_one_moves_nothing(rich: Caller, bob: Caller) -> None:
    key = with_key(rich, WRITE, tokens_per_transfer=3)
    transfers.issue_tokens(wallet=bob.wallet, count=9)

    assert code_of(send(key, "bobby", 4)) == (403, "key_limit_exceeded")
    assert code_of(send(key, "bobby", 4, idempotency_key="one")) == (403, "key_limit_exceeded")
    assert Transfer.objects.count() == 0
    assert send(key, "bobby", 3, idempotency_key="one").status_code == 202
    # Asking for tokens moves none.
    assert send(key, "alice", 9, sender="bobby").status_code == 202
    batch = form("wallet_name,token_transfer_amount_overwrite\nalice,9\n", sender_wallet="bobby")
    multipart = "multipart/form-data; boundary=BOUNDARY"
    assert key.post("/wallets/batch-transfer", batch, content_type=multipart).status_code == 200
    # Each transfer of a batch counts for itself.
    wallets.create_wallet(name="carol")
    for number, status in ((4, 403), (3, 200)):
        lines = f"wallet_name,token_transfer_amount_overwrite\nbobby,3\ncarol,{number}\n"
        batch = form(lines, sender_wallet="alice")
        assert key.post("/wallets/batch-transfer", batch, content_type=multipart).status_code == status


def test_the_limit_of_a_day_counts_all_that_moves_or_reserves_tokens(rich: Caller, bob: Caller) -> None:
    key = with_key(rich, WRITE, tokens_per_day=10)
    transfers.issue_tokens(wallet=bob.wallet, count=9)
    batch = form("wallet_name,token_transfer_amount_overwrite\nbobby,1\n", sender_wallet="alice")
    multipart = "multipart/form-data; boundary=BOUNDARY"
    asked = transfers.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=1)
    offered = transfers.send_bundle(actor=bob.wallet, sender="bobby", receiver="alice", size=1)
    link = action_tokens.offer_bundles(actor=bob.wallet, sender=None, size=1)[0]
    steps: list[Callable[[], Any]] = [
        lambda: send(key, "bobby", 1),
        lambda: key.post(
            "/transfers", {"tokens": [free_token(rich)], "sender_wallet": "alice", "receiver_wallet": "bobby"}
        ),
        lambda: key.post("/wallets/batch-transfer", batch, content_type=multipart),
        lambda: key.post(f"/transfers/{asked.id}/fulfill", {"implicit": True}),
        lambda: key.post(f"/transfers/{offered.id}/accept", {}),
        lambda: key.post("/action-tokens", {"bundle": {"bundle_size": 1}}),
        lambda: key.post("/action-tokens/redeem", {"action_token": link.code}),
        lambda: key.post("/action-tokens/batch", {"bundle": {"bundle_size": 1}, "count": 2}),
    ]
    for spent, step in enumerate(steps, start=1):
        assert step().status_code < 300, spent
        assert key_of(key).spent == (spent if spent < 8 else 9)

    assert code_of(send(key, "bobby", 2)) == (403, "key_limit_exceeded")
    assert send(key, "bobby", 1).status_code == 202
    before = Transfer.objects.count(), ActionToken.objects.count()
    # Nothing more, by whatever way.
    asked = transfers.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=1)
    offered = transfers.send_bundle(actor=bob.wallet, sender="bobby", receiver="alice", size=1)
    link = action_tokens.offer_bundles(actor=bob.wallet, sender=None, size=1)[0]
    for number, step in enumerate(steps):
        assert code_of(step()) == (403, "key_limit_exceeded"), number
    assert (Transfer.objects.count(), ActionToken.objects.count()) == (before[0] + 2, before[1] + 1)
    assert key_of(key).spent == 10

    # The owner is not bound by it, and the next day begins with nothing spent.
    assert send(rich, "bobby", 1).status_code == 202
    RestrictedKey.objects.update(spent_on=timezone.now().date() - timedelta(days=1))
    assert send(key, "bobby", 7).status_code == 202
    assert key_of(key).spent == 7


# Stored answers.


def test_a_login_and_the_keys_it_made_are_one_credential(rich: Caller, bob: Caller) -> None:
    """Otherwise who has one bearer token makes itself the second credential that an approval needs."""
    wallet_id = rich.wallet.pk
    token = wallets.authenticate(name_or_id="alice", password=PASSWORD)
    other = Caller(rich.api_key, token, rich.wallet)
    made = rich.post("/keys", {"name": "program", "scopes": [WRITE], "tokens_per_day": 9})
    assert made.status_code == 201, made.content
    key = Caller(rich.api_key, made.json()["key"], rich.wallet)
    asked = transfers.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=2)
    assert rich.send("PUT", f"/wallets/{wallet_id}/approval", {"above": 1}).status_code == 200

    sent = send(key, "bobby", 2).json()
    of_login = send(rich, "bobby", 2).json()
    fulfilled = key.post(f"/transfers/{asked.id}/fulfill", {"implicit": True}).json()
    assert {each["state"] for each in (sent, of_login, fulfilled)} == {"pending"}
    assert key_of(key).spent == 4, "what awaits an approval is reserved"

    for each in (sent, of_login, fulfilled):
        approval = f"/transfers/{each['id']}/approve"
        assert code_of(rich.post(approval, {})) == (403, "transfer_approval_same_login")
        # And no key approves, nor changes the demand.
        assert code_of(key.post(approval, {})) == (403, "key_scope_missing")
    assert code_of(key.send("PUT", f"/wallets/{wallet_id}/approval", {"above": 0})) == (403, "key_scope_missing")
    assert rich.wallet.tokens.count() == 40

    assert other.post(f"/transfers/{fulfilled['id']}/approve", {}).json()["state"] == "completed"
    assert other.post(f"/transfers/{sent['id']}/approve", {}).json()["state"] == "pending", "bobby accepts it"
    assert key_of(key).spent == 4


def test_a_stored_answer_is_for_the_credential_that_got_it(rich: Caller, bob: Caller) -> None:
    key, other = with_key(rich, WRITE), with_key(rich, WRITE)
    first = {who: send(caller, "bobby", 1, idempotency_key="one") for who, caller in (("owner", rich), ("key", key))}
    assert {each.status_code for each in first.values()} == {202}
    assert len({each.json()["id"] for each in first.values()}) == 2

    for who, caller in (("owner", rich), ("key", key)):
        again = send(caller, "bobby", 1, idempotency_key="one")
        assert again["Idempotency-Replayed"] == "true"
        assert answer(again) == answer(first[who])
    assert "Idempotency-Replayed" not in send(other, "bobby", 1, idempotency_key="one")
    assert Transfer.objects.count() == 3

    # Also of an answer that is stored whole, such as one with a secret.
    made = rich.post("/keys", {"name": "x", "scopes": ["tokens:read"]}, idempotency_key="two")
    again = rich.post("/keys", {"name": "x", "scopes": ["tokens:read"]}, idempotency_key="two")
    assert again.json() == made.json()
    # The scope is checked before what is stored, also with a key that this credential used for another request.
    for idempotency_key in ("two", "one"):
        response = key.post("/keys", {"name": "x", "scopes": ["tokens:read"]}, idempotency_key=idempotency_key)
        assert code_of(response) == (403, "key_scope_missing")


def test_a_webhook_that_a_key_made_lives_on_and_is_seen_by_the_owner(alice: Caller) -> None:
    key = with_key(alice, "webhooks:write")
    made = key.post("/webhooks", {"url": "https://shop.example/hook"}).json()["id"]
    restricted_keys.end(key_id=key_of(key).pk)

    assert [(each["id"], each["state"]) for each in alice.get("/webhooks").json()["webhooks"]] == [(made, "enabled")]


def test_the_locker_api_takes_a_key_without_an_api_key(alice: Caller) -> None:
    key = with_key(alice, "coins:read")
    key.api_key = None

    assert key.get("/api/v1/wallets").status_code == 200
    assert key.get(TOKENS).status_code == 401
    stranger = logged_in("steve", alice.api_key)
    assert code_of(stranger.get(f"/keys/{key_of(key).pk}")) == (404, "key_not_found")
