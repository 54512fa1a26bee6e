"""
Which key hides a request from whoever listens on the way, and what to do where it does not fit.

A server decrypts with the number that it holds for a coin of ours, or with the key of a locker
(the RAIDA protocol, section 4). An answer is encrypted with the same stream as its request, and its
signature is the challenge XORed with the key: a listener who can guess sixteen bytes of an answer
can compute the key. Answers to a put have no body. Others may have one, so the coin that lends its
number is the one of the least value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection

from lockers import coin_secrets
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.encryption import Encryption, with_coin, with_locker_key
from lockers.transport import Call
from lockers.vault import SealBroken
from lockers.worker.messages import CoinWork, Numbers, Targets

# The setting COPPICE_RAIDA_PLAINTEXT.
FALLBACK: Final = "fallback"
NEVER: Final = "never"

# Commands that carry numbers of coins. Those that open a locker are hidden with its key instead.
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
class Spare:
    """A coin that lends its numbers as keys, where `pown` says that the server has them."""

    coin: WireCoin
    pown: str
    numbers: Numbers = field(repr=False)


def spare_coin(wallet_id: UUID) -> Spare | None:
    """
    Return the free coin of least value in a wallet, which is in no task that could change its numbers.

    None if there is none, or if no configured vault key opens it.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SPARE, [wallet_id])
        row = cursor.fetchone()
    if row is None:
        return None
    coin_id, denomination, serial_number, pown, sealed = row
    try:
        return Spare(WireCoin(denomination, serial_number), pown, coin_secrets.open_numbers(sealed, coin_id=coin_id))
    except SealBroken:
        return None


_SPARE: Final = """
SELECT id, denomination, serial_number, pown, secrets FROM lockers_coin
 WHERE wallet_id = %s AND task_id IS NULL AND state = 'bank' ORDER BY denomination, id LIMIT 1
"""


def ciphers(
    command: Command, pieces: Sequence[CoinWork], chosen: Targets, *, spare: Spare | None, back: bool = False
) -> dict[int, Encryption]:
    """Return for each server how to encrypt a command about the chosen coins; servers left out are asked in clear."""
    found: dict[int, Encryption] = {}
    for raida, indices in chosen.items():
        first = pieces[indices[0]]
        if command is Command.REMOVE:
            found[raida] = with_locker_key((first.new if back else first.old)[raida])
        elif command not in WITH_A_COIN:
            continue
        elif spare is not None and spare.pown[raida] == "p":
            found[raida] = with_coin(spare.coin, spare.numbers[raida])
        elif command is Command.PUT or settings.RAIDA_PLAINTEXT == NEVER:
            # Its own number: a put that the server accepts is of coins whose numbers it has.
            found[raida] = with_coin(first.coin, (first.new if back else first.old)[raida])
    return found


def hidden(call: Call, encryption: Mapping[int, Encryption]) -> Call:
    """Return the call with its encryption, in clear for servers that cannot read it if the setting allows that."""
    return replace(call, encryption=encryption, falls_back=settings.RAIDA_PLAINTEXT == FALLBACK)
