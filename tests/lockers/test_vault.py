"""Secrets at rest open for the row they were sealed for, and nowhere else."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from lockers import vault

NEW_KEY = base64.b64encode(b"n" * 32).decode()


@pytest.fixture(autouse=True)
def _read_the_keys_again() -> Iterator[None]:
    vault._keys.cache_clear()
    yield
    vault._keys.cache_clear()


def test_what_is_sealed_for_a_row_opens_for_it() -> None:
    sealed = vault.seal(b"secret", context="coin/1")

    assert vault.open_sealed(sealed, context="coin/1") == b"secret"
    assert b"secret" not in sealed
    assert vault.seal(b"secret", context="coin/1") != sealed


@pytest.mark.parametrize("context", ["coin/2", "locker/1", ""])
def test_it_opens_for_no_other_row(context: str) -> None:
    sealed = vault.seal(b"secret", context="coin/1")

    with pytest.raises(vault.SealBroken):
        vault.open_sealed(sealed, context=context)


def test_one_flipped_bit_anywhere_is_noticed() -> None:
    sealed = vault.seal(b"secret", context="coin/1")

    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(vault.SealBroken):
            vault.open_sealed(bytes(damaged), context="coin/1")


def test_cut_short_it_does_not_open() -> None:
    sealed = vault.seal(b"", context="coin/1")

    for length in range(len(sealed)):
        with pytest.raises(vault.SealBroken):
            vault.open_sealed(sealed[:length], context="coin/1")


def test_an_old_key_opens_what_it_sealed_and_seals_nothing_more(settings: Any) -> None:
    sealed = vault.seal(b"secret", context="coin/1")
    settings.VAULT_OLD_KEYS = [settings.VAULT_KEY]
    settings.VAULT_KEY = NEW_KEY
    vault._keys.cache_clear()

    assert vault.open_sealed(sealed, context="coin/1") == b"secret"
    assert vault.seal(b"secret", context="coin/1")[0] != sealed[0]


def test_two_keys_of_one_id_are_refused(settings: Any) -> None:
    """The first byte of a sealed value could not tell which of them opens it."""
    keys = {}
    for number in range(1000):
        key = base64.b64encode(number.to_bytes(32, "big")).decode()
        identity = vault._identity(vault._raw(key))
        if identity in keys:
            break
        keys[identity] = key
    settings.VAULT_KEY, settings.VAULT_OLD_KEYS = key, [keys[identity]]
    vault._keys.cache_clear()
    try:
        with pytest.raises(vault.SealBroken, match="two vault keys share an id"):
            vault.seal(b"secret", context="coin/1")
    finally:
        vault._keys.cache_clear()


def test_numbers_of_which_a_single_one_is_like_the_key_of_a_locker_are_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = bytes(range(1, 17)) * 25
    drawn = [whole[:-4] + b"\xff" * 4, whole]
    monkeypatch.setattr(vault.secrets, "token_bytes", lambda size: drawn.pop(0))

    assert b"".join(vault.fresh_numbers()) == whole
    assert drawn == []
