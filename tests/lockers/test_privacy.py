"""What a listener on the network can read: no codes, keys or numbers of puts, peeks and removes."""

import secrets
from typing import Any

import pytest

from lockers import server_request as wire
from lockers import vault
from lockers.models import Coin
from lockers.operations import take
from lockers.raida import codes
from lockers.raida.commands import Command
from lockers.raida.encryption import KIND_COIN, KIND_LOCKER, KIND_PLAIN
from lockers.worker import peek
from tests.localnet.requests import RequestHeader
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import give, kinds, listening, put
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

CODE = codes.generate_code(secrets.token_bytes(codes.RANDOM_SIZE))


def test_puts_peeks_and_removes_are_encrypted_and_show_no_secret(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    give(bob, mint(0, 0, 0, 0))
    keys = codes.locker_keys(CODE)
    with listening(monkeypatch) as heard:
        put(alice, 12, CODE)
        peek.peek(actor_id=alice.pk, code=CODE)
        finish(take.start(actor=bob, name="bob", code=CODE))

    assert kinds(heard, Command.PUT) == [KIND_COIN] * 25
    assert kinds(heard, Command.PEEK) == [KIND_LOCKER] * 50
    assert kinds(heard, Command.REMOVE) == [KIND_LOCKER] * 25
    on_the_way = b"".join(heard)
    taken = Coin.objects.filter(wallet=bob)
    numbers = [number for row in taken for number in vault.open_numbers(row.secrets, coin_id=row.pk)]
    assert [number for number in [*keys, *numbers] if number in on_the_way] == []
    assert_true_to_the_servers()


def test_a_put_of_all_coins_is_encrypted_with_one_of_them(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    with listening(monkeypatch) as heard:
        task = put(alice, 13)

    assert (task.state, task.result["raida"]) == ("completed", "p" * 25)
    assert kinds(heard, Command.PUT) == [KIND_COIN] * 25
    assert_true_to_the_servers()


@pytest.mark.parametrize(("allowed", "board"), [("fallback", "p" * 25), ("never", "bbb" + "p" * 22)])
def test_a_server_that_cannot_decrypt_is_asked_in_clear_only_where_that_is_allowed(
    allowed: str,
    board: str,
    network: LocalNetwork,
    mint: Mint,
    alice: Wallet,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give(alice, mint(1, 0, 0, 0))
    # The coin that lends its numbers is not what the books say, on three servers.
    give(alice, mint(-1, -1, -1, -1))
    lender = Coin.objects.filter(wallet=alice, denomination=-1).order_by("id")[0]
    numbers = list(vault.open_numbers(lender.secrets, coin_id=lender.pk))
    numbers[:3] = [secrets.token_bytes(16)] * 3
    Coin.objects.filter(pk=lender.pk).update(secrets=vault.seal_numbers(numbers, coin_id=lender.pk))
    settings.RAIDA_PLAINTEXT = allowed

    with listening(monkeypatch) as heard:
        task = put(alice, 12)

    assert (task.state, task.result["raida"]) == ("completed", board)
    assert kinds(heard, Command.PUT).count(KIND_PLAIN) == (3 if allowed == "fallback" else 0)
    assert states(alice)["locked"] == 3


@pytest.mark.parametrize("allowed", ["fallback", "never"])
def test_the_key_of_a_locker_that_is_not_there_yet_is_not_sent_in_clear(
    allowed: str, network: LocalNetwork, alice: Wallet, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RAIDA_PLAINTEXT = allowed
    with listening(monkeypatch) as heard:
        task = finish(take.start(actor=alice, name="alice", code="NOBODY-EVER-USED-THIS"))

    assert task.message == "No locker with this code, or it was emptied already: the servers do not say which."
    assert task.result["raida"].count("f") >= 13
    assert set(kinds(heard, Command.PEEK)) == {KIND_LOCKER}


def test_without_plaintext_everything_works_and_nothing_is_in_clear(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = mint(1, 0, 0, 0)
    settings.RAIDA_PLAINTEXT = "never"
    with listening(monkeypatch) as heard:
        give(alice, records)
        put(alice, 13, CODE + "-2")
        network.fault(range(3), "forget")
        finish(take.start(actor=bob, name="bob", code=CODE + "-2"))

    assert states(bob) == {"bank": 4}
    plain = [RequestHeader.decode(data) for data in heard if RequestHeader.decode(data).encryption_kind == KIND_PLAIN]
    assert plain == []
    assert_true_to_the_servers()


def test_no_nonce_comes_twice(network: LocalNetwork) -> None:
    """The answer is encrypted with the stream of its request, so a nonce may serve one exchange of a key only."""
    key = codes.locker_keys(CODE)[0]
    encryption = {raida: wire.Encryption(KIND_LOCKER, key[:5], key) for raida in range(25)}
    call = wire.Call(Command.PEEK, dict.fromkeys(range(25), key), encryption, falls_back=True)
    nonces = []
    for _ in range(400):
        for server in network.servers:
            inquiry = wire.ServerRequest(server, call, 0.0)
            nonces += [inquiry._request.nonce, inquiry._new_request().nonce]

    assert len(set(nonces)) == len(nonces) == 20_000
