"""
Which key encrypts a request, and when a request may be sent in clear.

A server decrypts with the number that it holds for a coin, or with the key of a locker (the RAIDA protocol, section 4).
An answer is encrypted with the same stream as its request, and its signature is the challenge XORed with the key: a
listener who can guess sixteen bytes of an answer can compute the key. Answers to a put have no body, others may have
one. Therefore the key coin, whose numbers serve as keys, is the free coin of least value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection

from lockers import vault
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.encryption import Encryption, with_coin, with_locker_key
from lockers.transport import Call, Results
from lockers.vault import SealBroken
from lockers.worker import messages
from lockers.worker.messages import CoinWork, Numbers, Replies, Targets

# The setting COPPICE_RAIDA_PLAINTEXT.
FALLBACK: Final = "fallback"
NEVER: Final = "never"

# Commands that carry numbers of coins. Those that open a locker are encrypted with its key instead.
WITH_A_COIN: Final = frozenset(
    {
        Command.PUT,
        Command.POWN,
        Command.DETECT,
        Command.FIND,
        Command.GET_TICKET,
        Command.FIX,
        Command.BREAK,
        Command.JOIN,
    }
)


@dataclass(frozen=True, slots=True)
class KeyCoin:
    """A coin whose numbers serve as keys, for the servers that hold them according to `pown`."""

    coin: WireCoin
    pown: str
    numbers: Numbers = field(repr=False)


def key_coin_of(wallet_id: UUID) -> KeyCoin | None:
    """
    Return the free coin of least value in a wallet; no task that could change its numbers has it.

    None if there is none, or if no configured vault key opens it.
    """
    with connection.cursor() as cursor:
        cursor.execute(_KEY_COIN, [wallet_id])
        row = cursor.fetchone()
    if row is None:
        return None
    coin_id, denomination, serial_number, pown, sealed = row
    try:
        return KeyCoin(WireCoin(denomination, serial_number), pown, vault.open_numbers(sealed, coin_id=coin_id))
    except SealBroken:
        return None


_KEY_COIN: Final = """
SELECT id, denomination, serial_number, pown, secrets FROM lockers_coin
 WHERE wallet_id = %s AND task_id IS NULL AND state = 'bank' ORDER BY denomination, id LIMIT 1
"""


def encrypted_for(
    call: Call, coins: Sequence[CoinWork], targets: Targets, *, wallet_id: UUID, back: bool = False
) -> Call:
    """Return a call about coins with its encryption; a free coin of the wallet is the key coin where one is needed."""
    key_coin = key_coin_of(wallet_id) if call.command in WITH_A_COIN else None
    return encrypted(call, ciphers(call.command, coins, targets, key_coin=key_coin, back=back))


def ciphers(
    command: Command, coins: Sequence[CoinWork], targets: Targets, *, key_coin: KeyCoin | None, back: bool = False
) -> dict[int, Encryption]:
    """Return, for each server, the encryption of a command about coins; servers left out get it in clear."""
    found: dict[int, Encryption] = {}
    for raida, indices in targets.items():
        first = coins[indices[0]]
        if command is Command.REMOVE:
            found[raida] = with_locker_key((first.new if back else first.old)[raida])
        elif command not in WITH_A_COIN:
            continue
        elif key_coin is not None and key_coin.pown[raida] == "p":
            found[raida] = with_coin(key_coin.coin, key_coin.numbers[raida])
        elif command is Command.PUT or settings.RAIDA_PLAINTEXT == NEVER:
            # Its own number: a server that accepts a put has the numbers of its coins.
            found[raida] = with_coin(first.coin, (first.new if back else first.old)[raida])
    return found


def encrypted(call: Call, encryption: Mapping[int, Encryption]) -> Call:
    """Return the call with its encryption; if the setting allows, it is repeated in clear where a server needs that."""
    return replace(call, encryption=encryption, falls_back=settings.RAIDA_PLAINTEXT == FALLBACK)


def ask(
    command: Command,
    coins: Sequence[CoinWork],
    targets: Targets,
    send: Callable[[Call], Results],
    *,
    key_coin: KeyCoin | None,
    otherwise: Mapping[int, Encryption] | None = None,
) -> Replies:
    """
    Send an encrypted command about coins with `send`, and return each server's reply about each of its coins.

    Servers that the key coin does not serve get the encryption in `otherwise`; with it, nothing is sent in clear. A
    command that changes nothing is repeated in halves where most servers refuse it (`messages.ask_in_halves`).
    """

    def once(part: Targets) -> tuple[Replies, set[int]]:
        call, found = messages.compose(command, coins, part), ciphers(command, coins, part, key_coin=key_coin)
        results = send(
            encrypted(call, found) if otherwise is None else replace(call, encryption={**otherwise, **found})
        )
        return messages.replies(command, part, results), messages.refusing(results)

    return messages.ask_in_halves(targets, once) if command in messages.HALVED else once(targets)[0]
