"""What `logged_in` writes without the checks of the operations is what the operations write."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from tests.api.caller import PASSWORD, logged_in
from tests.transfers.frames import rows
from tests.trusts.powers import undone
from wallets import bearer_tokens, operations, passwords
from wallets.models import BearerToken, Wallet

pytestmark = pytest.mark.django_db

APPS: Final = ("wallets", "trusts", "transfers", "lockers", "webhooks")
# What two wallets never have in common. `written` is generated from the others.
OF_ONE: Final = {"id", "number", "wallet_id", "prefix", "digest", "password", "written"}


def written(begin: Callable[[], Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows that it adds or changes, but for the times and what is of one wallet alone."""
    with undone():
        before = rows(APPS)
        begin()
        found = [(table, row) for (table, key), row in rows(APPS).items() if before.get((table, key)) != row]
        token = BearerToken.objects.get()
        assert abs(token.expires_at - token.created_at - bearer_tokens.lifetime()) < timedelta(seconds=30)
        assert passwords.verify(PASSWORD, Wallet.objects.get().password) == (True, False)
    for _, row in found:
        for column in OF_ONE & row.keys():
            assert row.pop(column) is not None, column
        for column, value in row.items():
            if column.endswith("_at") and value is not None:
                row[column] = type(datetime.fromisoformat(value)).__name__
    return sorted(found, key=repr)


def by_the_operations(name: str) -> None:
    operations.create_wallet(name=name, password=PASSWORD)
    operations.authenticate(name_or_id=name, password=PASSWORD)


@pytest.mark.parametrize("name", ["alice", "Zoë+1"])
def test_a_caller_has_the_rows_that_the_operations_write(name: str) -> None:
    found = written(lambda: logged_in(name, "a key"))

    assert found == written(lambda: by_the_operations(name))
    assert [table for table, _ in found] == ["wallets_bearertoken", "wallets_event", "wallets_event", "wallets_wallet"]
