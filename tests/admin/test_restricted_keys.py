"""Restricted keys of wallets at the desk."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from config.admin.actions import keys
from tests.admin.running import run
from tests.support.desk_pages import confirm, text_of, url
from tests.transfers import frames
from trusts import restricted_keys
from wallets import queries
from wallets.models import Event, OperatorAction, RestrictedKey

pytestmark = pytest.mark.django_db


def shown(desk: Client, name: str, *ids: Any) -> str:
    response = desk.get(reverse(f"admin:wallets_{name}", args=ids))
    return (response.getvalue() if response.streaming else response.content).decode()


def test_an_operator_ends_a_key_and_the_wallet_sees_it(desk: Client, ledger: SimpleNamespace) -> None:
    key = ledger.restricted_key

    assert confirm(desk, url("end-restricted-key", key), reason="it leaked").status_code == 302

    key = RestrictedKey.objects.get()
    assert key.ended_at is not None
    event = Event.objects.get(type="key.ended")
    assert event.wallet_id == ledger.alice.pk
    assert event.payload == {
        "keyId": str(key.pk),
        "keyName": "the shop",
        "keyScopes": ["tokens:read", "transfers:write"],
        "operator": True,
    }
    assert desk.get(url("end-restricted-key", key)).status_code == 409
    action = OperatorAction.objects.latest("id")
    assert (action.verb, action.object_kind, action.reason) == ("ended_restricted_key", "restricted key", "it leaked")


def test_the_pages_show_a_key_and_never_its_secret(desk: Client, ledger: SimpleNamespace) -> None:
    made = restricted_keys.create(
        actor=ledger.alice,
        name="the stall",
        scopes=["transfers:pending-only"],
        wallets=["sapling"],
        networks=["203.0.113.0/24"],
        tokens_per_transfer=5,
    )
    pages = [
        shown(desk, "wallet_change", ledger.alice.pk),
        shown(desk, "restrictedkey_changelist"),
        shown(desk, "restrictedkey_csv"),
        shown(desk, "restrictedkey_change", made.row.pk),
    ]
    digest = queries.digest(made.secret)

    for page in pages:
        assert "the stall" in page
        assert made.row.prefix in page
        assert made.secret not in page
        assert digest.hex() not in page
    facts = text_of(desk.get(reverse("admin:wallets_restrictedkey_change", args=[made.row.pk])))
    for fact in ("transfers:pending-only", "sapling", "203.0.113.0/24", "5 in one transfer", "never", "valid"):
        assert fact in facts


def test_a_wallet_without_keys_says_so(desk: Client, ledger: SimpleNamespace) -> None:
    assert "This wallet has made no restricted key." in shown(desk, "wallet_change", ledger.bob.pk)


def test_lists_are_narrowed_by_state(desk: Client, ledger: SimpleNamespace) -> None:
    listed = reverse("admin:wallets_restrictedkey_changelist")

    def has_key(state: str) -> bool:
        page = reverse("admin:wallets_restrictedkey_change", args=[ledger.restricted_key.pk])
        return page in desk.get(f"{listed}?state={state}").content.decode()

    assert (has_key("valid"), has_key("ended"), has_key("expired")) == (True, False, False)
    confirm(desk, url("end-restricted-key", ledger.restricted_key))
    assert (has_key("valid"), has_key("ended"), has_key("expired")) == (False, True, False)


def test_an_operator_who_ends_a_key_changes_nothing_beside_it(staff: Any) -> None:
    world = frames.build()
    row = restricted_keys.create(actor=world.wallet("alice"), name="a", scopes=["tokens:read"]).row
    restricted_keys.create(actor=world.wallet("alice"), name="b", scopes=["tokens:read"])
    world.names[f"restrictedkey {row.pk}"] = "key a"

    changes = dict(world.changes(lambda: run(keys.EndRestrictedKey, row, staff="olivia")))

    assert sum(changes.values()) == 3
    assert [each for each in changes if "ended_at" in each] != []
    assert sorted(each.split()[0] for each in changes) == ["event", "operatoraction", "restrictedkey"]
