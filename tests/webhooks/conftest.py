"""Wallets, and a sender to receivers on this machine."""

from typing import Any

import pytest

from wallets import operations as wallets
from wallets.models import Wallet


@pytest.fixture(autouse=True)
def _local_receivers(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def alice(transactional_db: None) -> Wallet:
    return wallets.create_wallet(name="alice", password="test1234")


@pytest.fixture
def bob(transactional_db: None) -> Wallet:
    return wallets.create_wallet(name="bobby", password="test1234")
