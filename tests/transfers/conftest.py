import pytest

from tests.api.caller import Caller, logged_in
from transfers import operations
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Wallet


@pytest.fixture
def api_key(db: None) -> str:
    return wallets.create_api_key(name="partner")[1]


@pytest.fixture
def alice(api_key: str) -> Caller:
    """Holds 5 tokens."""
    caller = logged_in("alice", api_key)
    operations.issue_tokens(wallet=caller.wallet, count=5)
    return caller


@pytest.fixture
def bob(api_key: str) -> Caller:
    """A stranger to alice, without tokens."""
    return logged_in("bobby", api_key)


@pytest.fixture
def carol(api_key: str) -> Caller:
    """Has no trust with another wallet."""
    return logged_in("carol", api_key)


@pytest.fixture
def sapling(alice: Caller) -> Wallet:
    """A wallet that alice manages, with 3 tokens."""
    wallet = trusts.open_managed_wallet(actor=alice.wallet, name="sapling")
    operations.issue_tokens(wallet=wallet, count=3)
    return wallet
