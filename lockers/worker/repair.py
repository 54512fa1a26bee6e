"""
Repair lockers: put their coins also on servers that do not store them yet, and ask for answers that were lost.

A put ends with 13 servers. Others may have stored the coins without an answer, may still hold an older number because a
take or an import did not reach them, or were skipped. Each such server is asked which number it holds. It gets the put
if it holds one that the coin's row knows, after a remove if that is the key of another locker; and nothing if it holds
neither, until it is asked again.

This needs no reservation. A server's number only moves forward, from the numbers before the put to the locker's key,
and each command names the number that it replaces: a command that arrives twice, or after the coin has left the locker,
is refused.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection

from lockers import transport, vault
from lockers.models import Coin, Locker
from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.statuses import RAIDA_COUNT
from lockers.server_letters import NOT_WAITED_FOR
from lockers.states import CoinState
from lockers.transport import Answer, Call, GraceWindow, Results
from lockers.worker import circuit_breaker, late_answers, request_encryption, task_store
from lockers.worker.late_answers import LostAnswers
from lockers.worker.messages import CoinWork, Numbers, Reply
from lockers.worker.request_encryption import KeyCoin
from wallets.sql_files import load

_log = logging.getLogger(__name__)

# Lockers in one run, lockers at once, and coins of each.
_LOCKERS: Final = 24
_AT_ONCE: Final = 6
_COINS: Final = 1000
# A coin may be on its way from one locker to another: after progress in one, the others are tried again.
_ROUNDS: Final = 3
# After this time, another worker may claim the lockers of one that died.
_CLAIM_SECONDS: Final = 20
# The first attempts are about a second apart, as most missing answers arrive soon. Then the time doubles, up to
# an hour.
_QUICK_ATTEMPTS: Final = 8
# A locker that was emptied is tried this often only, for the new owner of its coins.
_ATTEMPTS_WHEN_EMPTY: Final = _QUICK_ATTEMPTS
# Servers whose last request failed get a grace window of half the time that the others took.
_GRACE_FOR_FAILING: Final = GraceWindow(share=0.5, seconds=0.05)


@dataclass(slots=True)
class _LockerRepair:
    """A locker whose coins some servers are not known to store, and what those servers said."""

    locker_id: UUID
    mends: int
    keys: Numbers = field(repr=False)
    key_coin: KeyCoin | None = field(repr=False)
    # The coins with the numbers in `secrets`, and the numbers in `proposed` where there are any.
    pieces: Sequence[CoinWork] = field(repr=False)
    proposed: Mapping[UUID, Numbers] = field(repr=False)
    told: dict[UUID, dict[int, Reply]] = field(default_factory=dict)
    has_moved: bool = False

    @property
    def lacks_servers(self) -> bool:
        return any(reply is not Reply.PASS for each in self.told.values() for reply in each.values())


def follow_up() -> threading.Thread | None:
    """
    Repair what is due in a thread, so that the worker can go on to tasks.

    Returns None if nothing is due, or if the last run of this process has not ended.
    """
    if not _at_work.acquire(blocking=False):
        return None
    thread = None
    try:
        lockers = _claim()
        lost_answers = late_answers.claim_lost(limit=_LOCKERS)
        if lockers or lost_answers:
            thread = threading.Thread(target=_look_after, args=(lockers, lost_answers), name="follow up", daemon=True)
            thread.start()
    finally:
        if thread is None:
            _at_work.release()
    return thread


_at_work: Final = threading.Lock()


def _look_after(lockers: Sequence[UUID], lost_answers: Sequence[LostAnswers]) -> None:
    try:
        _repair(lockers)
        _ask_for_lost(lost_answers)
    except Exception as error:  # noqa: BLE001 - the thread has no caller
        # The rows have the time of the next attempt.
        _log.warning("Looking after lockers ended early: %s", type(error).__name__)
    finally:
        connection.close()
        _at_work.release()


def _repair(claimed: Sequence[UUID]) -> None:
    lockers = claimed
    for _ in range(_ROUNDS):
        repairs = _load(lockers)
        if not repairs:
            break
        _repair_all(repairs)
        lockers = [repair.locker_id for repair in repairs if repair.lacks_servers]
        if not lockers or not any(repair.has_moved for repair in repairs):
            break
    if claimed:
        _put_off(claimed)
        _log.info("%d lockers were looked after", len(claimed))


def _repair_all(repairs: Sequence[_LockerRepair]) -> None:
    circuits = circuit_breaker.Circuits.load()
    failing = {each.raida for each in circuit_breaker.failing()}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="repair") as pool:
        answers = list(pool.map(lambda repair: _complete(repair, circuits.open, failing), repairs))
    for repair, heard in zip(repairs, answers, strict=True):
        circuits.record(heard)
        late_answers.write_repaired(locker_id=repair.locker_id, told=repair.told)


def _claim() -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [_CLAIM_SECONDS, _LOCKERS])
        return [row[0] for row in cursor.fetchall()]


_CLAIM: Final = """
UPDATE lockers_locker SET mend_at = now() + make_interval(secs => %s), mends = mends + 1 WHERE id = ANY (ARRAY(
    SELECT id FROM lockers_locker WHERE mend_at <= now() ORDER BY mend_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED))
RETURNING id
"""


def _put_off(locker_ids: Sequence[UUID]) -> None:
    """Schedule the next attempt for lockers that still lack servers."""
    with connection.cursor() as cursor:
        cursor.execute(
            _PUT_OFF,
            {"ids": list(locker_ids), "quick": _QUICK_ATTEMPTS, "when_empty": _ATTEMPTS_WHEN_EMPTY},
        )


_PUT_OFF: Final = load("lockers", "schedule_repair")


def _load(locker_ids: Sequence[UUID]) -> list[_LockerRepair]:
    repairs = []
    for locker in Locker.objects.filter(pk__in=locker_ids).order_by("created_at"):
        rows = list(
            Coin.objects.filter(
                locker=locker, state__in=[CoinState.LOCKED, CoinState.SENT], passes__lt=RAIDA_COUNT
            ).order_by("state", "id")[:_COINS]
        )
        if not rows:
            continue
        keys = vault.locker_keys(locker)
        repairs.append(
            _LockerRepair(
                locker_id=locker.pk,
                mends=locker.mends,
                keys=keys,
                key_coin=request_encryption.key_coin_of(locker.wallet_id),
                pieces=[task_store.coin_of_row(row, new=keys) for row in rows],
                proposed={
                    row.pk: vault.open_numbers(row.proposed, coin_id=row.pk) for row in rows if row.proposed is not None
                },
            )
        )
    return repairs


# A place: the position of a coin, and a server.
_Place = tuple[int, int]


def _complete(repair: _LockerRepair, skipped: frozenset[int], failing: set[int]) -> Results:
    """Ask, put where a server holds a number that the row knows, and return the answers. Writes no row."""
    heard: Results = {}

    def ask(command: Command, pieces: Sequence[CoinWork], places: Sequence[_Place]) -> dict[_Place, Reply]:
        told, results = _ask(repair, command, pieces, places, failing)
        heard.update({raida: result for raida, result in results.items() if isinstance(result, Answer)})
        return told

    pieces = repair.pieces
    open_places = [
        (index, raida)
        for index, piece in enumerate(pieces)
        for raida, letter in enumerate(piece.pown)
        if letter != "p" and raida not in skipped
    ]
    held = ask(Command.FIND, pieces, open_places)
    # The number that each server said it holds, where that may be replaced by the locker's key.
    old = {place: pieces[place[0]].old for place, reply in held.items() if reply is Reply.HAS_OLD}
    others = [replace(piece, old=repair.proposed.get(piece.coin_id, piece.old)) for piece in pieces]
    may_hold_others = [
        (index, raida)
        for (index, raida), reply in held.items()
        if reply is Reply.HAS_NEITHER
        and pieces[index].coin_id in repair.proposed
        # A locker key belongs to another locker, into which the coin was to go once.
        and not is_locker_key(others[index].old[raida])
    ]
    for place, reply in ask(Command.FIND, others, may_hold_others).items():
        held[place] = reply
        if reply is Reply.HAS_OLD:
            old[place] = others[place[0]].old
    in_others = {place: numbers for place, numbers in old.items() if _is_in_another_locker(repair, place, numbers)}
    old = {place: numbers for place, numbers in old.items() if place not in in_others}
    old |= _leave_other_lockers(repair, in_others, others, ask)
    moving = [replace(pieces[index], old=numbers) for (index, _), numbers in old.items()]
    ready = {place: position for position, place in enumerate(old)}
    put = ask(Command.PUT, moving, [(position, place[1]) for place, position in ready.items()])
    for place, position in ready.items():
        held[place] = put.get((position, place[1]), Reply.SILENT)
        repair.has_moved |= held[place] is Reply.PASS
    for (index, raida), reply in held.items():
        repair.told.setdefault(pieces[index].coin_id, {})[raida] = _WORDS.get(reply, reply)
    return heard


_WORDS: Final = {Reply.HAS_NEW: Reply.PASS, Reply.HAS_NEITHER: Reply.FAIL, Reply.HAS_OLD: Reply.FAIL}

_Ask = Callable[[Command, Sequence[CoinWork], Sequence[_Place]], dict[_Place, Reply]]


def _is_in_another_locker(repair: _LockerRepair, place: _Place, numbers: Numbers) -> bool:
    index, raida = place
    return is_locker_key(numbers[raida]) and repair.pieces[index].coin_id in repair.proposed


def _leave_other_lockers(
    repair: _LockerRepair, held: Mapping[_Place, Numbers], others: Sequence[CoinWork], ask: _Ask
) -> dict[_Place, Numbers]:
    """
    Remove coins from the lockers that they came from, where a server has not done so yet.

    A server that keeps lists of lockers would otherwise let a holder of the other code take the coins. A server that
    has forgotten the locker gets a pown. Returns the places that now hold the proposed number.
    """
    # A request has one key, so requests for several lockers are sent one after the other.
    keys: dict[int, list[bytes]] = {}
    turns: dict[int, list[_Place]] = {}
    for place, numbers in held.items():
        key, known = numbers[place[1]], keys.setdefault(place[1], [])
        if key not in known:
            known.append(key)
        turns.setdefault(known.index(key), []).append(place)
    left: dict[_Place, Numbers] = {}
    for places in turns.values():
        coming = [replace(piece, new=other.old) for piece, other in zip(repair.pieces, others, strict=True)]
        told = ask(Command.REMOVE, coming, places)
        refused = [place for place, reply in told.items() if reply is Reply.FAIL]
        told |= ask(Command.POWN, coming, refused)
        repair.has_moved |= Reply.PASS in told.values()
        left |= {place: others[place[0]].old for place, reply in told.items() if reply is Reply.PASS}
    return left


def _ask(
    repair: _LockerRepair, command: Command, pieces: Sequence[CoinWork], places: Sequence[_Place], failing: set[int]
) -> tuple[dict[_Place, Reply], Results]:
    chosen = {
        raida: tuple(index for index, _ in group)
        for raida, group in groupby(sorted(places, key=lambda place: (place[1], place[0])), key=lambda place: place[1])
    }
    if not chosen:
        return {}, {}
    # The first attempts have a short timeout, which doubles with each.
    patience = settings.RAIDA_TIMEOUT_SECONDS
    if command is Command.FIND:
        patience = min(patience, 1.0 * 2 ** min(repair.mends - 1, 10))
    heard: Results = {}

    def send(call: Call) -> Results:
        expected = set(call.payloads) - failing
        results = transport.ask(
            transport.servers_from_settings(settings.RAIDA_HOSTS),
            call,
            until=transport.within(patience),
            enough=lambda results: expected <= set(results),
            grace=_GRACE_FOR_FAILING,
        )
        heard.update(results)
        return results

    replies = request_encryption.ask(command, pieces, chosen, send, key_coin=repair.key_coin)
    return {
        (index, raida): reply
        for raida, indices in chosen.items()
        for index, reply in zip(indices, replies[raida], strict=True)
    }, heard


# Late answers that were lost with a process.


def _ask_for_lost(lost: Sequence[LostAnswers]) -> None:
    """Ask the servers about coins of tasks whose late answers were lost."""
    for lost_answers in lost:
        skipped = circuit_breaker.Circuits.load().open
        places = [
            (index, raida)
            for index, letters in enumerate(lost_answers.letters)
            for raida, letter in enumerate(letters)
            if letter == NOT_WAITED_FOR and raida not in skipped
        ]
        repair = _LockerRepair(
            locker_id=lost_answers.task_id,
            mends=_QUICK_ATTEMPTS,
            keys=(),
            key_coin=request_encryption.key_coin_of(lost_answers.wallet_id),
            pieces=lost_answers.pieces,
            proposed={},
        )
        failing = {each.raida for each in circuit_breaker.failing()}
        held, results = _ask(repair, Command.FIND, lost_answers.pieces, places, failing)
        circuit_breaker.Circuits.load().record(results)
        told: dict[UUID, dict[int, Reply]] = {}
        for (index, raida), reply in held.items():
            told.setdefault(lost_answers.pieces[index].coin_id, {})[raida] = _WORDS.get(reply, reply)
        late_answers.write_found(task_id=lost_answers.task_id, told=told)
