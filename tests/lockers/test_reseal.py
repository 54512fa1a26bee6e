"""After a new vault key, everything is sealed again with it while workers continue."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from config.admin import second_factor
from config.admin.models import SecondFactor
from config.management.commands import doctor
from lockers import key_rotation, vault
from lockers.models import Coin, Locker, LockerTask
from lockers.operations import fix, peek, put
from lockers.states import CoinState
from tests.lockers.stock import stock
from tests.support.databases import database_url
from tests.support.second_factors import set_up
from wallets.models import Wallet

NEW_KEY = base64.b64encode(b"n" * 32).decode()
CODE = "A-CODE-THAT-IS-LONG-ENOUGH"


@pytest.fixture(autouse=True)
def _read_the_keys_again() -> Iterator[None]:
    vault._keys.cache_clear()
    yield
    vault._keys.cache_clear()


def change_keys(settings: Any, key: str, *old: str) -> None:
    settings.VAULT_KEY, settings.VAULT_OLD_KEYS = key, list(old)
    vault._keys.cache_clear()


def secrets_of_everything() -> list[Any]:
    """All sealed values of all tables, opened."""
    coins = Coin.objects.order_by("id")
    return [
        *(vault.open_numbers(row.secrets, coin_id=row.pk) for row in coins),
        *(vault.open_numbers(row.proposed, coin_id=row.pk) for row in coins if row.proposed is not None),
        *(vault.locker_code(row) for row in Locker.objects.order_by("id")),
        *(vault.task_code(row) for row in LockerTask.objects.filter(kind="peek")),
        *(vault.generators(row) for row in LockerTask.objects.filter(kind="fix")),
        *(
            vault.open_sealed(row.secret, context=second_factor.context_of_factor(row.pk))
            for row in SecondFactor.objects.order_by("id")
        ),
    ]


def reseal(**options: Any) -> str:
    said = io.StringIO()
    call_command("reseal", stdout=said, **options)
    return said.getvalue()


def test_everything_is_sealed_with_the_new_key_and_nothing_is_lost(
    alice: Wallet, settings: Any, monkeypatch: Any
) -> None:
    stock(alice, 0, 0, 1, state=CoinState.FRACKED)
    row = Coin.objects.order_by("id")[0]
    row.proposed = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
    row.save(update_fields=["proposed"])
    put.start(actor=alice, name="alice", units=10**8, transmit_code=CODE)
    peek.start(actor=alice, code=CODE)
    fix.start(actor=alice, name="alice")
    set_up(User.objects.create_user("otto"))
    before = secrets_of_everything()
    assert len(before) == 3 + 1 + 1 + 1 + 1 + 1
    assert "COPPICE_VAULT_KEY alone" in doctor.vault()
    old = settings.VAULT_KEY
    change_keys(settings, NEW_KEY, old)
    # More than one page of coins.
    monkeypatch.setattr(key_rotation, "_PAGE", 2)

    with pytest.raises(doctor.CheckFailed, match="8 secrets are sealed with an earlier key"):
        doctor.vault()
    assert reseal(dry_run=True).splitlines()[0] == "coins: 3 to re-encrypt"
    assert sum(each.old for each in key_rotation.counts()) == 8
    assert "Done: 8 values" in reseal()

    change_keys(settings, NEW_KEY)
    assert secrets_of_everything() == before
    assert "Done: 0 values" in reseal()
    assert "COPPICE_VAULT_KEY alone" in doctor.vault()


def test_a_concurrent_write_is_not_overwritten(alice: Wallet, settings: Any, monkeypatch: Any) -> None:
    (coin,) = stock(alice, 0)
    change_keys(settings, NEW_KEY, settings.VAULT_KEY)
    others = vault.fresh_numbers()
    seal_again = vault.reseal

    def write_first(sealed: bytes, *, context: str) -> bytes:
        Coin.objects.filter(pk=coin.pk).update(secrets=vault.seal_numbers(others, coin_id=coin.pk))
        return seal_again(sealed, context=context)

    monkeypatch.setattr(vault, "reseal", write_first)

    assert sum(number for _, number in key_rotation.reseal()) == 0
    assert vault.open_numbers(Coin.objects.get().secrets, coin_id=coin.pk) == others


@pytest.mark.django_db(transaction=True)
def test_a_row_that_is_locked_is_left_for_the_next_run(alice: Wallet, settings: Any) -> None:
    stock(alice, 0, 0)
    change_keys(settings, NEW_KEY, settings.VAULT_KEY)

    with psycopg.connect(database_url()) as other:
        other.execute("SELECT FROM lockers_coin ORDER BY id LIMIT 1 FOR UPDATE")
        with pytest.raises(CommandError, match="1 values were changed concurrently"):
            reseal()
        other.rollback()

    assert "Done: 1 values" in reseal()


def test_what_was_passed_over_is_taken_by_the_next_pass(alice: Wallet, settings: Any) -> None:
    stock(alice, 0, 0)
    row = Coin.objects.order_by("id")[0]
    change_keys(settings, NEW_KEY, settings.VAULT_KEY)
    written = []

    for name, number in key_rotation.reseal():
        if not written:
            # As if another transaction had held the row during the first pass.
            Coin.objects.filter(pk=row.pk).update(secrets=row.secrets)
        written.append((name, number))

    assert written == [("coins", 2), ("coins", 1)]
    assert [each.old for each in key_rotation.counts()] == [0, 0, 0, 0, 0, 0, 0, 0]


def test_what_no_key_opens_is_counted_and_left_alone(alice: Wallet, settings: Any) -> None:
    stock(alice, 0)
    change_keys(settings, NEW_KEY)
    before = list(Coin.objects.values())

    with pytest.raises(doctor.CheckFailed, match="1 secrets are sealed with a key that is not configured"):
        doctor.vault()
    with pytest.raises(CommandError, match="No configured key decrypts 1 values"):
        reseal()

    assert list(Coin.objects.values()) == before
