"""Puts coins into a wallet without a network, as if they had been imported; for tests that need no server."""

import secrets
from itertools import count

from lockers import account_ledger, vault
from lockers.models import Coin, Locker, LockerTask
from lockers.raida.coins import Coin as WireCoin
from lockers.states import CoinState, LineType, Step, TaskKind, TaskState
from wallets.models import Wallet

_serial_numbers = count(500_000)


def stock(wallet: Wallet, *denominations: int, state: CoinState = CoinState.BANK) -> list[Coin]:
    """Give the wallet a coin of each denomination, with the line of its statement that belongs to them."""
    pown = "p" * 25 if state is CoinState.BANK else "p" * 13 + "f" * 12
    rows = [
        Coin(
            wallet=wallet,
            denomination=denomination,
            serial_number=next(_serial_numbers),
            state=state,
            origin=TaskKind.IMPORT,
            pown=pown,
        )
        for denomination in denominations
    ]
    for row in rows:
        row.secrets = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
    Coin.objects.bulk_create(rows)
    post(wallet, sum(WireCoin(denomination, 0).value for denomination in denominations))
    return rows


def stock_of_states(wallet: Wallet, *states: CoinState, first: int, locker: Locker) -> None:
    """Give the wallet a coin of 1 in each state, with serial numbers from `first` on; locked ones are in the locker."""
    powns = {CoinState.LIMBO: "n" * 25, CoinState.FRACKED: "p" * 13 + "f" * 12}
    for number, state in enumerate(states, start=first):
        row = Coin(
            wallet=wallet,
            denomination=0,
            serial_number=number,
            state=state,
            origin=TaskKind.IMPORT,
            pown=powns.get(state, "p" * 25),
            locker=locker if state == CoinState.LOCKED else None,
        )
        row.secrets = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
        row.proposed = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
        row.save(force_insert=True)


def post(wallet: Wallet, units: int) -> LockerTask:
    """Post `units` to the wallet's account as imported."""
    task = LockerTask.objects.create(
        kind=TaskKind.IMPORT,
        wallet=wallet,
        actor=wallet,
        state=TaskState.COMPLETED,
        step=Step.DONE,
        progress=100,
        receipt_id=secrets.token_hex(16),
        deadline="2026-01-01T00:00Z",
        finished_at="2026-01-01T00:00Z",
    )
    account_ledger.post(task_id=task.pk, postings=[account_ledger.Posting(wallet.pk, units, LineType.IMPORTED)])
    return task
