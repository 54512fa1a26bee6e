"""
Lockers that the servers have forgotten: their lists are in memory only, while the coins still carry the key.

After a restart real servers answer as if there had never been such a locker (the RAIDA protocol, section 6.2).
What was put into it from here is in the books, and whether it is still there, the coins themselves tell.
"""

import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from lockers import coin_secrets, vault
from lockers.models import Coin, Locker
from lockers.raida import codes
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.encryption import with_coin
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import CoinState, LockerState
from lockers.transport import Call, Results
from lockers.worker import messages, request_encryption, split_batches
from lockers.worker.messages import CoinWork, Numbers, Reply, Targets
from lockers.worker.task_store import BATCH_COINS

# Puts a call of one batch to the servers.
Question = Callable[[Call, int], Results]

# To open so many sealed codes takes a fifth of a second, and whoever mistypes a code costs that.
_NEWEST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """Coins that 13 servers hold with the keys of a locker which they do not list."""

    coins: frozenset[WireCoin]
    keys: Numbers = field(repr=False)
    code: str = field(repr=False)


def look_for(code: str, *, wallet_id: UUID, question: Question) -> Found | None:
    """
    Return what is still in a locker that was filled from this ledger and that too few servers list.

    `wallet_id` is the wallet of which a coin may hide what is asked. Raises what `question` raises.
    """
    for candidate in codes.candidates(code):
        rows = Coin.objects.filter(locker__in=_filled_with(candidate), state=CoinState.LOCKED).order_by("id")
        keys = codes.locker_keys(candidate)
        pieces = [
            CoinWork(row.pk, WireCoin(row.denomination, row.serial_number), row.pown, "", keys, keys)
            for row in rows.defer("secrets", "proposed")
        ]
        coins = frozenset(
            coin
            for start in range(0, len(pieces), BATCH_COINS)
            for coin in _still_there(question, wallet_id, start // BATCH_COINS, pieces[start : start + BATCH_COINS])
        )
        if coins:
            return Found(coins, keys, candidate)
    return None


def _filled_with(code: str) -> Collection[Locker]:
    found = []
    for row in Locker.objects.filter(state=LockerState.FILLED).order_by("-created_at", "id").only("code")[:_NEWEST]:
        # One row that cannot be opened is for the audit to find.
        with contextlib.suppress(vault.SealBroken):
            if coin_secrets.locker_code(row) == code:
                found.append(row)
    return found


def _still_there(question: Question, wallet_id: UUID, batch: int, pieces: list[CoinWork]) -> list[WireCoin]:
    chosen = dict.fromkeys(range(RAIDA_COUNT), tuple(range(len(pieces))))
    # The question names the key, so it is never asked in clear: without another coin, one of these hides it.
    first = pieces[0]
    own = {raida: with_coin(first.coin, key) for raida, key in enumerate(first.old)}
    spare = request_encryption.spare_coin(wallet_id)

    def once(chosen: Targets) -> tuple[split_batches.Replies, set[int]]:
        call = messages.compose(Command.DETECT, pieces, chosen)
        lent = request_encryption.ciphers(Command.DETECT, pieces, chosen, spare=spare)
        results = question(Call(call.command, call.payloads, own | lent), batch)
        return messages.replies(Command.DETECT, chosen, results), split_batches.refusing(results)

    told = split_batches.ask(chosen, once)
    return [
        piece.coin
        for index, piece in enumerate(pieces)
        if sum(replies[index] is Reply.PASS for replies in told.values()) >= QUORUM
    ]
