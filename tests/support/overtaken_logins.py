"""A password that is changed between a login of a public page and its act."""

import pytest

from config.web.public_pages import base
from wallets import operations
from wallets.models import Wallet


def change_each_verified_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, change the password of a wallet as soon as a public page has verified it."""
    log_in = base.log_in

    def overtaken(request: object) -> Wallet:
        verified = log_in(request)  # type: ignore[arg-type]
        operations.set_password(wallet=verified, password="another one")
        return verified

    monkeypatch.setattr(base, "log_in", overtaken)
