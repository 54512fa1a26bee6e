"""
Queueing competing claims of wallets to the same coin.

A claim is a coin row with both secrets, committed before the first request is sent. The servers decide one claim at a
time: two at once could split a coin's 25 servers so that no claim has 13. The claim that is being decided is INCOMING;
the others are WAITING, in the order of arrival. A new claim never overtakes a waiting one, so an attacker who repeats
forged claims delays the owner only by the claims made before the owner's.

Each function but `promote_waiting` is a part of its caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Greatest, Now

from lockers import vault
from lockers.models import Coin, LockerTask
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.coins import value_of
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import HELD, SPENDABLE, UNDECIDED, CoinState, Mark, Step, TaskKind
from lockers.worker.task_store import BATCH_COINS, Claim, fence, is_long, time_for
from wallets.audit import listed
from wallets.sql_files import load

# How long a claim waits for earlier ones: longer than any task may take. A coin that is in limbo for longer waits for
# servers that are down, and so would the claim.
PATIENCE: Final = timedelta(hours=1)
# The batches of waiting claims, which are never sent. Claims with two numbers from a file have a separate one.
WAITING_BATCH: Final = -1
WAITING_WITH_TWO_SECRETS: Final = -2

Claimed = tuple[WireCoin, Sequence[bytes], Sequence[bytes]]


@dataclass(slots=True)
class Arrivals:
    """
    The result of saving claims: the rows of those that are first (`saved`), and the coins of the others.

    `waiting` have an earlier claim of another wallet, `busy` one of the same wallet; `held` are in a wallet already.
    """

    saved: dict[WireCoin, UUID] = field(default_factory=dict)
    waiting: set[WireCoin] = field(default_factory=set)
    busy: set[WireCoin] = field(default_factory=set)
    held: set[WireCoin] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.saved or self.waiting)

    def add(self, other: "Arrivals") -> None:
        self.saved |= other.saved
        self.waiting |= other.waiting
        self.busy |= other.busy
        self.held |= other.held


def insert_incoming(
    *,
    task_id: UUID,
    wallet_id: UUID,
    origin: TaskKind,
    coins: Sequence[Claimed],
    first_batch: int = 0,
    waiting_batch: int = WAITING_BATCH,
) -> Arrivals:
    """
    Save claims to coins (identity, old numbers, new numbers) for a task, in the caller's transaction.

    A coin that this ledger already holds is left out; one with another open claim waits (`lockers.competing_claims`).
    """
    # Sorted, so that two imports that share coins cannot deadlock.
    coins = sorted(coins, key=lambda one: one[0])
    arrivals = Arrivals()
    for start in range(0, len(coins), BATCH_COINS):
        arrivals.add(
            claim(
                task_id=task_id,
                wallet_id=wallet_id,
                origin=origin,
                coins=coins[start : start + BATCH_COINS],
                batch=first_batch + start // BATCH_COINS,
                waiting_batch=waiting_batch,
            )
        )
    return arrivals


def park_if_all_wait(task_id: UUID, arrivals: Arrivals) -> None:
    """Park a task all of whose claims wait: no worker takes it until the sweep finds that one can proceed."""
    if arrivals.waiting and not arrivals.saved:
        LockerTask.objects.filter(pk=task_id).update(
            is_parked=True,
            lease_until=None,
            step=Step.WAITING,
            deadline=Now() + PATIENCE + time_for(len(arrivals.waiting)),
        )


# The states are constants, not parameters: only then does PostgreSQL see, in a plan for any values, that the partial
# index of held or of waiting coins serves, and otherwise it reads the whole table for each coin.
_IS_HELD: Final = f"other.state IN {listed(HELD)}"
# Held by a wallet and not on the way into a locker: every other claim is false.
_IS_SETTLED: Final = f"(other.state IN {listed(SPENDABLE)} AND other.locker_id IS NULL)"
_IS_BEFORE: Final = """
SELECT FROM lockers_coin AS other
 WHERE other.denomination = {0}.denomination AND other.serial_number = {0}.serial_number AND other.state = 'waiting'
"""
_IS_OPEN: Final = f"other.state IN {listed((*UNDECIDED, CoinState.WAITING))}"


def _identities(coins: Sequence[WireCoin]) -> dict[str, Any]:
    return {
        "denominations": [coin.denomination for coin in coins],
        "serial_numbers": [coin.serial_number for coin in coins],
    }


def claim(
    *, task_id: UUID, wallet_id: UUID, origin: TaskKind, coins: Sequence[Claimed], batch: int, waiting_batch: int
) -> Arrivals:
    """
    Insert claims to at most a thousand coins, in their order: INCOMING if no other claim is open, otherwise WAITING.

    Coins that a wallet holds, or that this wallet has claimed already, are left out.
    """
    arrivals = Arrivals()
    arrivals.saved = _insert(_INSERT_INCOMING, task_id, wallet_id, origin, coins, batch)
    left = [one for one in coins if one[0] not in arrivals.saved]
    if not left:
        return arrivals
    settled = _settled([coin for coin, _, _ in left])
    own = _claimed_by(wallet_id, [coin for coin, _, _ in left])
    arrivals.held = settled
    arrivals.busy = own - settled
    behind = [one for one in left if one[0] not in settled and one[0] not in own]
    arrivals.waiting = set(_insert(_INSERT_WAITING, task_id, wallet_id, origin, behind, waiting_batch))
    arrivals.busy |= {coin for coin, _, _ in behind if coin not in arrivals.waiting}
    _want_decided(sorted(arrivals.waiting), task_id)
    return arrivals


def _insert(
    statement: str, task_id: UUID, wallet_id: UUID, origin: TaskKind, coins: Sequence[Claimed], batch: int
) -> dict[WireCoin, UUID]:
    if not coins:
        return {}
    rows = {uuid4(): one for one in coins}
    with connection.cursor() as cursor:
        # Without model instances, which would take five times as long.
        cursor.execute(
            statement,
            {
                "wallet": wallet_id,
                "task": task_id,
                "origin": origin,
                "marks": Mark.UNASKED * RAIDA_COUNT,
                "batch": batch,
                "ids": list(rows),
                **_identities([coin for coin, _, _ in rows.values()]),
                "secrets": [vault.seal_numbers(old, coin_id=coin_id) for coin_id, (_, old, _) in rows.items()],
                "proposed": [vault.seal_numbers(new, coin_id=coin_id) for coin_id, (_, _, new) in rows.items()],
            },
        )
        return {rows[coin_id][0]: coin_id for (coin_id,) in cursor.fetchall()}


_INSERT: Final = """
INSERT INTO lockers_coin (id, wallet_id, denomination, serial_number, state, origin, pown, secrets, proposed, task_id,
                          batch, outcome, releasing)
SELECT id, %(wallet)s, denomination, serial_number, '{state}', %(origin)s, repeat('u', 25), secrets, proposed,
       %(task)s, %(batch)s, %(marks)s, false
  FROM unnest(%(ids)s::uuid[], %(denominations)s::smallint[], %(serial_numbers)s::bigint[], %(secrets)b::bytea[],
              %(proposed)b::bytea[]) AS coin (id, denomination, serial_number, secrets, proposed)
{where}
ON CONFLICT DO NOTHING RETURNING id
"""
_INSERT_INCOMING: Final = _INSERT.format(
    state=CoinState.INCOMING, where=f" WHERE NOT EXISTS ({_IS_BEFORE.format('coin')})"
)
_INSERT_WAITING: Final = _INSERT.format(state=CoinState.WAITING, where="")


def _settled(coins: Sequence[WireCoin]) -> set[WireCoin]:
    return _read(_SETTLED, coins)


def unclaimed(coins: QuerySet[Coin]) -> QuerySet[Coin]:
    """Leave out rows of coins that have another row: a wallet of this ledger holds or claims the coin."""
    same = Coin.objects.filter(denomination=OuterRef("denomination"), serial_number=OuterRef("serial_number"))
    # Two conditions, each of which a partial index serves.
    return coins.filter(~Exists(same.filter(state__in=HELD)), ~Exists(same.filter(state=CoinState.WAITING)))


def _claimed_by(wallet_id: UUID, coins: Sequence[WireCoin]) -> set[WireCoin]:
    return _read(_CLAIMED, coins, wallet=wallet_id)


# With OFFSET the inner query stays one, which looks each coin up in the index of held coins.
_SETTLED: Final = f"""
SELECT denomination, serial_number
  FROM unnest(%(denominations)s::smallint[], %(serial_numbers)s::bigint[]) AS given (denomination, serial_number)
 WHERE EXISTS (SELECT FROM lockers_coin AS other
                WHERE other.denomination = given.denomination AND other.serial_number = given.serial_number
                  AND {_IS_HELD} AND {_IS_SETTLED} OFFSET 0)
"""  # noqa: S608 - constants
_CLAIMED: Final = f"""
SELECT denomination, serial_number
  FROM unnest(%(denominations)s::smallint[], %(serial_numbers)s::bigint[]) AS given (denomination, serial_number)
  JOIN lockers_coin AS other USING (denomination, serial_number)
 WHERE other.wallet_id = %(wallet)s AND {_IS_OPEN}
"""  # noqa: S608 - constants


def _read(statement: str, coins: Sequence[WireCoin], **values: Any) -> set[WireCoin]:
    with connection.cursor() as cursor:
        cursor.execute(statement, _identities(coins) | values)
        return {WireCoin(*row) for row in cursor.fetchall()}


def _want_decided(coins: Sequence[WireCoin], task_id: UUID) -> None:
    """Prioritise tasks with earlier claims to the coins over other tasks of their wallets."""
    if not coins:
        return
    with connection.cursor() as cursor:
        cursor.execute(_WANT, _identities(coins) | {"task": task_id})


# Locked tasks are skipped: a worker is processing them.
_WANT: Final = f"""
UPDATE lockers_lockertask SET is_wanted = true WHERE id = ANY (ARRAY(
    SELECT id FROM lockers_lockertask WHERE state = 'running' AND NOT is_wanted AND id IN (
        SELECT other.task_id
          FROM unnest(%(denominations)s::smallint[], %(serial_numbers)s::bigint[])
               AS given (denomination, serial_number)
          JOIN lockers_coin AS other USING (denomination, serial_number)
         WHERE {_IS_OPEN} AND other.task_id <> %(task)s)
       FOR NO KEY UPDATE SKIP LOCKED))
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Promoted:
    """The number of a task's waiting claims that became first, and their batches of coins with two numbers."""

    coins: int
    two_secrets: Sequence[int]


def drop_settled(*, task_id: UUID) -> int:
    """Delete a task's claims to coins that a wallet holds, and return the value of these in units."""
    with connection.cursor() as cursor:
        cursor.execute(_DROP, {"task": task_id})
        return sum(value_of(denomination) for (denomination,) in cursor.fetchall())


# By ids, and each coin is looked up: the plan is the same whatever PostgreSQL knows of the table.
_DROP: Final = f"""
DELETE FROM lockers_coin WHERE task_id = %(task)s AND state = 'waiting' AND id = ANY (ARRAY(
    SELECT mine.id FROM lockers_coin AS mine
     WHERE mine.task_id = %(task)s AND mine.state = 'waiting' AND EXISTS (
           SELECT FROM lockers_coin AS other
            WHERE other.denomination = mine.denomination AND other.serial_number = mine.serial_number
              AND {_IS_HELD} AND {_IS_SETTLED} OFFSET 0)))
RETURNING denomination
"""  # noqa: S608 - constants


def promote(*, task_id: UUID, batch_coins: int) -> Promoted:
    """
    Make the waiting claims of a task that are first now INCOMING, in batches from 0 up. The task has no other batches.

    :raises IntegrityError: another transaction inserted a row that holds one of the coins
    """
    with connection.cursor() as cursor:
        cursor.execute(_PROMOTE, {"task": task_id, "size": batch_coins, "marks": Mark.UNASKED * RAIDA_COUNT})
        rows = cursor.fetchall()
    return Promoted(
        sum(number for _, _, number in rows),
        sorted(batch for batch, waited_in, _ in rows if waited_in == WAITING_WITH_TWO_SECRETS),
    )


_IS_FIRST: Final = load("lockers", "parts/claim_is_first", is_held=_IS_HELD)
_PROMOTE: Final = load("lockers", "promote_claims", is_first=_IS_FIRST)


def has_waiting_claims(*, task_id: UUID) -> bool:
    return Coin.objects.filter(task_id=task_id, state=CoinState.WAITING).exists()


def promote_waiting(*, held: Claim) -> bool:
    """
    Promote those of a task's waiting claims that are first now, and return whether there are any.

    If there are none and some still wait, the task is parked again with the same deadline.
    """
    with transaction.atomic():
        fence(held)
        dropped = drop_settled(task_id=held.task_id)
        if dropped:
            note_left(held.task_id, dropped)
        try:
            with transaction.atomic():
                promoted = promote(task_id=held.task_id, batch_coins=BATCH_COINS)
        except IntegrityError:
            # A concurrent claim to one of these coins has just been committed.
            promoted = Promoted(0, ())
        mine = LockerTask.objects.filter(pk=held.task_id)
        if promoted.coins:
            mine.update(
                deadline=Greatest(F("deadline"), Now() + time_for(promoted.coins)), is_long=is_long(promoted.coins)
            )
            if promoted.two_secrets:
                plan = mine.values_list("plan", flat=True).get()
                mine.update(plan=plan | {"two_secrets": list(promoted.two_secrets)})
        elif has_waiting_claims(task_id=held.task_id):
            mine.update(is_parked=True, lease_until=None, step=Step.WAITING)
    return bool(promoted.coins)


def note_left(task_id: UUID, units: int) -> None:
    """Add to what a task leaves, because a wallet holds it or another task of its wallet claims it, in units."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask SET plan = plan || jsonb_build_object("
            " 'left', coalesce((plan->>'left')::bigint, 0) + %s) WHERE id = %s",
            [units, task_id],
        )


def left_of(*, task_id: UUID) -> tuple[int, int]:
    """Return, in units, the coins that a task has recorded as left out, and those for which it waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce((plan->>'left')::bigint, 0), coalesce((SELECT sum(10::numeric ^ (denomination + 8))"
            "  FROM lockers_coin WHERE task_id = task.id AND state = 'waiting'), 0)"
            " FROM lockers_lockertask AS task WHERE id = %s",
            [task_id],
        )
        left, waiting = cursor.fetchone()
    return int(left), int(waiting)


def give_up(*, task_id: UUID) -> None:
    """Delete a task's waiting claims, for which no request was sent."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM lockers_coin WHERE task_id = %s AND state = 'waiting'", [task_id])


def hand_on(*, task_id: UUID, successor_id: UUID) -> None:
    """Move the waiting claims of a task to another one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_coin SET task_id = %s WHERE task_id = %s AND state = 'waiting'", [successor_id, task_id]
        )


def unpark(*, limit: int) -> list[UUID]:
    """Unpark tasks that can proceed or are past their deadline, and return their ids."""
    with connection.cursor() as cursor:
        cursor.execute(_UNPARK, {"limit": limit})
        return [task_id for (task_id,) in cursor.fetchall()]


_UNPARK: Final = load("lockers", "unpark_tasks", is_first=_IS_FIRST, is_held=_IS_HELD, is_settled=_IS_SETTLED)
