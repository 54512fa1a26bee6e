"""Cursors of the lists of coins: each is good for its own list alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from lockers.operations import payment_requests
from lockers.states import CoinState
from tests.api.caller import Caller, logged_in
from tests.lockers.stock import post
from tests.support.coin_rows import a_coin
from tests.support.pagination import next_path
from trusts import operations as trusts
from wallets.models import Wallet

pytestmark = pytest.mark.django_db
DESCRIPTION = Path(__file__).parents[2] / "docs/openapi.json"


@pytest.fixture
def alice(settings: Any) -> Caller:
    """She and a wallet that she manages have at least two rows in each list."""
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    caller = logged_in("alice", "unused")
    own = caller.wallet
    for wallet in (own, trusts.open_managed_wallet(actor=own, name="savings")):
        rows_of(wallet)
    return caller


def rows_of(wallet: Wallet) -> None:
    for _ in range(2):
        post(wallet, 10**8)
        a_coin(wallet, CoinState.LOCKED)
        a_coin(wallet, CoinState.EXPORTED)
        payment_requests.create(actor=wallet, name=None, units=1, description="x", reference="r")


def test_a_cursor_is_good_for_its_own_list_alone(alice: Caller) -> None:
    bob = logged_in("bobby", "unused")
    rows_of(bob.wallet)
    asked = "/api/v1/payment-requests"
    pages = [
        "/api/v1/exports?", "/api/v1/lockers?", f"{asked}?", f"{asked}?reference=r&", f"{asked}?state=open&",
        f"{asked}?wallet=alice&", "/api/v1/wallets/alice/statement?", "/api/v1/wallets/savings/statement?",
    ]  # fmt: skip
    takes = {
        path: {each.get("name") for each in methods.get("get", {}).get("parameters", [])}
        for path, methods in json.loads(DESCRIPTION.read_text())["paths"].items()
    }
    described = {path for path, names in takes.items() if path.startswith("/api/") and "cursor" in names}
    assert {
        page.partition("?")[0].replace("alice", "{name}").replace("savings", "{name}") for page in pages
    } == described
    cursors = {page: next_path(alice.get(f"{page}limit=1")).partition("cursor=")[2] for page in pages}

    for own, cursor in cursors.items():
        for page in pages:
            response = alice.get(f"{page}limit=1&cursor={cursor}")
            assert (response.status_code, "is not valid" in response.text) == (
                (200, False) if page == own else (422, True)
            ), (own, page)
        of_bob = own.replace("alice", "bobby").replace("savings", "bobby")
        assert bob.get(f"{of_bob}limit=1&cursor={cursor}").status_code == 422, own
