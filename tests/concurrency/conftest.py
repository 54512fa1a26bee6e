import pytest

from transfers import operations
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Wallet


@pytest.fixture
def alice(transactional_db: None) -> Wallet:
    return wallets.create_wallet(name="alice")


@pytest.fixture
def bob(transactional_db: None) -> Wallet:
    """A stranger to alice."""
    return wallets.create_wallet(name="bobby")


@pytest.fixture
def carol(transactional_db: None) -> Wallet:
    """A stranger to both."""
    return wallets.create_wallet(name="carol")


@pytest.fixture
def sapling(alice: Wallet) -> Wallet:
    """A wallet that alice manages."""
    return trusts.open_managed_wallet(actor=alice, name="sapling")


@pytest.fixture
def stocked(alice: Wallet) -> Wallet:
    """Alice with 40 tokens."""
    operations.issue_tokens(wallet=alice, count=40)
    return alice
