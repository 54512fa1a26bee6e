"""
The wallets, tokens, API key and logins of a demo installation.

All secrets are random and stored in one file of the state directory that only its owner can read: there is no default
login, and no two demos share a password.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from django.contrib.auth import get_user_model

from transfers import operations as transfers
from wallets import errors, queries
from wallets import operations as wallets

WALLETS = ("alice", "bob", "carol")
OPERATOR = "operator"
TOKENS_AT_LEAST = 100
FILE = "demo.json"


@dataclass(frozen=True)
class Logins:
    """The credentials of the demo: an API key, the wallets' passwords, the operator's name and password."""

    api_key: str
    passwords: Mapping[str, str]
    operator: str
    operator_password: str

    def __repr__(self) -> str:
        return "Logins(…)"


def read_logins(*, state_dir: Path) -> Logins:
    return Logins(**json.loads((state_dir / FILE).read_text(encoding="utf-8")))


def seed(*, state_dir: Path) -> Logins:
    """Create the missing demo data and return the logins. Idempotent."""
    path = state_dir / FILE
    if path.exists():
        logins = read_logins(state_dir=state_dir)
    else:
        logins = Logins(
            api_key=secrets.token_urlsafe(24),
            passwords={name: secrets.token_urlsafe(9) for name in WALLETS},
            operator=OPERATOR,
            operator_password=secrets.token_urlsafe(9),
        )
        _write_private(path, json.dumps(asdict(logins), indent=2))

    if not queries.has_api_key(logins.api_key):
        wallets.create_api_key(name="demo", key=logins.api_key)
    for name, password in logins.passwords.items():
        try:
            wallets.create_wallet(name=name, password=password)
        except errors.WalletNameTaken:
            continue
    alice = queries.wallet_by_name("alice")
    if alice.tokens.count() < TOKENS_AT_LEAST:
        transfers.issue_tokens(wallet=alice, count=TOKENS_AT_LEAST)
    users = get_user_model()
    if not users.objects.filter(username=logins.operator).exists():
        users.objects.create_superuser(logins.operator, password=logins.operator_password)
    return logins


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
