"""
Bringing coins in lockers to the servers that do not store them yet, and asking for answers that were lost.

A put ends with 13 servers. Others may have stored the coins unheard, may still hold an older number of theirs, because
a take or an import was not heard of there either, or were spared. Each such server is asked which number it holds. It
gets the put where it says that it holds one that the coin's row knows, after a remove where that is the key of another
locker; and nothing where it holds none of them, until it is asked again.

That needs no reservation and repeats nothing blindly. A server's number only moves forward, from the numbers before
the put to the locker's key, and each command names the number that it replaces: one that comes twice, or after the
coin has left the locker, finds another number and is refused.
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

from lockers import coin_secrets, transport
from lockers.models import Coin, Locker
from lockers.raida import codes
from lockers.raida.authenticity import is_locker_key
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import RAIDA_COUNT
from lockers.server_letters import NOT_WAITED_FOR
from lockers.states import CoinState, Mark
from lockers.transport import Answer, GraceWindow, Results
from lockers.worker import circuit_breaker, late_answers, messages, request_encryption
from lockers.worker.late_answers import Unheard
from lockers.worker.messages import CoinWork, Numbers, Reply, Targets
from lockers.worker.request_encryption import KeyCoin

_log = logging.getLogger(__name__)

# In one run of the clock: so many lockers, of which so many are asked about at once, and so many coins of each.
_LOCKERS: Final = 24
_AT_ONCE: Final = 6
_COINS: Final = 1000
# What one locker lacks another may be about to pass on: whatever got something makes the others look again.
_ROUNDS: Final = 3
# A worker that dies leaves its lockers to others after so long.
_CLAIM_SECONDS: Final = 20
# At first each second, as most that is missing is on its way; then after twice as long each time, up to an hour.
_QUICK_MENDS: Final = 8
# A locker that was emptied is looked at so long only, for whoever has its coins now.
_MENDS_WHEN_EMPTY: Final = _QUICK_MENDS
# Servers that were silent lately get half as much time again as the others took.
_FOR_THE_AILING: Final = GraceWindow(share=0.5, seconds=0.05)


@dataclass(slots=True)
class _Patient:
    """A locker with coins that some servers are not known to store, and what those servers said."""

    locker_id: UUID
    mends: int
    keys: Numbers = field(repr=False)
    key_coin: KeyCoin | None = field(repr=False)
    # The coins as they are to be moved from the numbers in `secrets`, and those in `proposed` where there are any.
    pieces: Sequence[CoinWork] = field(repr=False)
    proposed: Mapping[UUID, Numbers] = field(repr=False)
    told: dict[UUID, dict[int, Reply]] = field(default_factory=dict)
    has_moved: bool = False

    @property
    def lacks_servers(self) -> bool:
        return any(reply is not Reply.PASS for each in self.told.values() for reply in each.values())


def follow_up() -> threading.Thread | None:
    """
    Look after what is due in a thread, so that the caller may go on to tasks for which somebody waits.

    Returns None if nothing is due, or this process is still at it.
    """
    if not _at_work.acquire(blocking=False):
        return None
    thread = None
    try:
        lockers = _claim()
        unheard = late_answers.claim_unheard(limit=_LOCKERS)
        if lockers or unheard:
            thread = threading.Thread(target=_look_after, args=(lockers, unheard), name="follow up", daemon=True)
            thread.start()
    finally:
        if thread is None:
            _at_work.release()
    return thread


_at_work: Final = threading.Lock()


def _look_after(lockers: Sequence[UUID], unheard: Sequence[Unheard]) -> None:
    try:
        _mend(lockers)
        _ask_for_what_was_lost(unheard)
    except Exception as error:  # noqa: BLE001 - a thread that nobody waits for
        # The rows say that they are to be looked after, and when again.
        _log.warning("Looking after lockers ended early: %s", type(error).__name__)
    finally:
        connection.close()
        _at_work.release()


def _mend(claimed: Sequence[UUID]) -> None:
    lockers = claimed
    for _ in range(_ROUNDS):
        patients = _load(lockers)
        if not patients:
            break
        _mend_all(patients)
        lockers = [patient.locker_id for patient in patients if patient.lacks_servers]
        if not lockers or not any(patient.has_moved for patient in patients):
            break
    if claimed:
        _put_off(claimed)
        _log.info("%d lockers were looked after", len(claimed))


def _mend_all(patients: Sequence[_Patient]) -> None:
    board = circuit_breaker.Board.load()
    ailing = {each.raida for each in circuit_breaker.ailing()}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mend") as pool:
        answers = list(pool.map(lambda patient: _bring_up(patient, board.resting, ailing), patients))
    for patient, heard in zip(patients, answers, strict=True):
        board.note(heard)
        late_answers.write_mended(locker_id=patient.locker_id, told=patient.told)


def _claim() -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [_CLAIM_SECONDS, _LOCKERS])
        return [row[0] for row in cursor.fetchall()]


_CLAIM: Final = """
UPDATE lockers_locker SET mend_at = now() + make_interval(secs => %s), mends = mends + 1 WHERE id IN (
    SELECT id FROM lockers_locker WHERE mend_at <= now() ORDER BY mend_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id
"""


def _put_off(locker_ids: Sequence[UUID]) -> None:
    """Say when to look at lockers again, or that nothing is left to do."""
    with connection.cursor() as cursor:
        cursor.execute(
            _PUT_OFF,
            {"ids": list(locker_ids), "quick": _QUICK_MENDS, "when_empty": _MENDS_WHEN_EMPTY},
        )


_PUT_OFF: Final = """
WITH mine AS MATERIALIZED (
    SELECT id FROM lockers_locker WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE
)
UPDATE lockers_locker SET mend_at = CASE
    WHEN known.locked_thin OR known.sent_thin AND lockers_locker.mends < %(when_empty)s
    THEN now() + make_interval(secs => least(3600, 0.8 * 2.0 ^ greatest(lockers_locker.mends - %(quick)s, 0))) END
  FROM (SELECT locker.id, coalesce(bool_or(coin.state = 'locked'), false) AS locked_thin,
               coalesce(bool_or(coin.state = 'sent'), false) AS sent_thin
          FROM mine AS locker LEFT JOIN lockers_coin AS coin ON coin.locker_id = locker.id AND coin.passes < 25
         GROUP BY locker.id) AS known
 WHERE lockers_locker.id = known.id
"""


def _load(locker_ids: Sequence[UUID]) -> list[_Patient]:
    patients = []
    for locker in Locker.objects.filter(pk__in=locker_ids).order_by("created_at"):
        rows = list(
            Coin.objects.filter(
                locker=locker, state__in=[CoinState.LOCKED, CoinState.SENT], passes__lt=RAIDA_COUNT
            ).order_by("state", "id")[:_COINS]
        )
        if not rows:
            continue
        keys = tuple(codes.locker_keys(coin_secrets.locker_code(locker)))
        patients.append(
            _Patient(
                locker_id=locker.pk,
                mends=locker.mends,
                keys=keys,
                key_coin=request_encryption.key_coin_of(locker.wallet_id),
                pieces=[
                    CoinWork(
                        coin_id=row.pk,
                        coin=WireCoin(row.denomination, row.serial_number),
                        pown=row.pown,
                        marks=Mark.UNASKED * RAIDA_COUNT,
                        old=coin_secrets.open_numbers(row.secrets, coin_id=row.pk),
                        new=keys,
                    )
                    for row in rows
                ],
                proposed={
                    row.pk: coin_secrets.open_numbers(row.proposed, coin_id=row.pk)
                    for row in rows
                    if row.proposed is not None
                },
            )
        )
    return patients


# A place: the position of a coin among the pieces, and a server.
_Place = tuple[int, int]


def _bring_up(patient: _Patient, resting: frozenset[int], ailing: set[int]) -> Results:
    """Ask, put where a server says that it holds a number of ours, and return who answered. Touches no row."""
    heard: Results = {}

    def ask(command: Command, pieces: Sequence[CoinWork], places: Sequence[_Place]) -> dict[_Place, Reply]:
        told, results = _ask(patient, command, pieces, places, ailing)
        heard.update({raida: result for raida, result in results.items() if isinstance(result, Answer)})
        return told

    pieces = patient.pieces
    open_places = [
        (index, raida)
        for index, piece in enumerate(pieces)
        for raida, letter in enumerate(piece.pown)
        if letter != "p" and raida not in resting
    ]
    held = ask(Command.FIND, pieces, open_places)
    # The number that each server said it holds, where that may be replaced by the locker's key.
    old = {place: pieces[place[0]].old for place, reply in held.items() if reply is Reply.HAS_OLD}
    others = [replace(piece, old=patient.proposed.get(piece.coin_id, piece.old)) for piece in pieces]
    may_hold_others = [
        (index, raida)
        for (index, raida), reply in held.items()
        if reply is Reply.HAS_NEITHER
        and pieces[index].coin_id in patient.proposed
        # A key is another locker's, into which the coin was once to go.
        and not is_locker_key(others[index].old[raida])
    ]
    for place, reply in ask(Command.FIND, others, may_hold_others).items():
        held[place] = reply
        if reply is Reply.HAS_OLD:
            old[place] = others[place[0]].old
    in_others = {place: numbers for place, numbers in old.items() if _is_in_another_locker(patient, place, numbers)}
    old = {place: numbers for place, numbers in old.items() if place not in in_others}
    old |= _leave_other_lockers(patient, in_others, others, ask)
    moving = [replace(pieces[index], old=numbers) for (index, _), numbers in old.items()]
    ready = {place: position for position, place in enumerate(old)}
    put = ask(Command.PUT, moving, [(position, place[1]) for place, position in ready.items()])
    for place, position in ready.items():
        held[place] = put.get((position, place[1]), Reply.SILENT)
        patient.has_moved |= held[place] is Reply.PASS
    for (index, raida), reply in held.items():
        patient.told.setdefault(pieces[index].coin_id, {})[raida] = _WORDS.get(reply, reply)
    return heard


_WORDS: Final = {Reply.HAS_NEW: Reply.PASS, Reply.HAS_NEITHER: Reply.FAIL, Reply.HAS_OLD: Reply.FAIL}

_Ask = Callable[[Command, Sequence[CoinWork], Sequence[_Place]], dict[_Place, Reply]]


def _is_in_another_locker(patient: _Patient, place: _Place, numbers: Numbers) -> bool:
    index, raida = place
    return is_locker_key(numbers[raida]) and patient.pieces[index].coin_id in patient.proposed


def _leave_other_lockers(
    patient: _Patient, held: Mapping[_Place, Numbers], others: Sequence[CoinWork], ask: _Ask
) -> dict[_Place, Numbers]:
    """
    Take coins out of the lockers that they came from, where a server has not done so yet.

    By a remove, or a server that keeps lists of lockers would let whoever has the other code take the coins; by a pown
    where it has forgotten the locker. Returns the places that hold the number proposed for them now.
    """
    # A request to a server has one key: those for several lockers go one after the other.
    keys: dict[int, list[bytes]] = {}
    turns: dict[int, list[_Place]] = {}
    for place, numbers in held.items():
        key, known = numbers[place[1]], keys.setdefault(place[1], [])
        if key not in known:
            known.append(key)
        turns.setdefault(known.index(key), []).append(place)
    left: dict[_Place, Numbers] = {}
    for places in turns.values():
        coming = [replace(piece, new=other.old) for piece, other in zip(patient.pieces, others, strict=True)]
        told = ask(Command.REMOVE, coming, places)
        refused = [place for place, reply in told.items() if reply is Reply.FAIL]
        told |= ask(Command.POWN, coming, refused)
        patient.has_moved |= Reply.PASS in told.values()
        left |= {place: others[place[0]].old for place, reply in told.items() if reply is Reply.PASS}
    return left


def _ask(
    patient: _Patient, command: Command, pieces: Sequence[CoinWork], places: Sequence[_Place], ailing: set[int]
) -> tuple[dict[_Place, Reply], Results]:
    chosen = {
        raida: tuple(index for index, _ in group)
        for raida, group in groupby(sorted(places, key=lambda place: (place[1], place[0])), key=lambda place: place[1])
    }
    if not chosen:
        return {}, {}
    # At first a server that is far is not waited for as long as one that answers late every time.
    patience = settings.RAIDA_TIMEOUT_SECONDS
    if command is Command.FIND:
        patience = min(patience, 1.0 * 2 ** min(patient.mends - 1, 10))
    heard: Results = {}

    def once(chosen: Targets) -> tuple[messages.Replies, set[int]]:
        call = messages.compose(command, pieces, chosen)
        expected = set(chosen) - ailing
        results = transport.ask(
            transport.servers_from_settings(settings.RAIDA_HOSTS),
            request_encryption.encrypted(
                call, request_encryption.ciphers(command, pieces, chosen, key_coin=patient.key_coin)
            ),
            until=transport.within(patience),
            enough=lambda results: expected <= set(results),
            grace=_FOR_THE_AILING,
        )
        heard.update(results)
        return messages.replies(command, chosen, results), messages.refusing(results)

    replies = messages.ask_in_halves(chosen, once) if command in messages.HALVED else once(chosen)[0]
    return {
        (index, raida): reply
        for raida, indices in chosen.items()
        for index, reply in zip(indices, replies[raida], strict=True)
    }, heard


# Answers that a process took with it.


def _ask_for_what_was_lost(lost: Sequence[Unheard]) -> None:
    """Ask the servers about tasks that nobody listens for any more."""
    for unheard in lost:
        resting = circuit_breaker.Board.load().resting
        places = [
            (index, raida)
            for index, letters in enumerate(unheard.letters)
            for raida, letter in enumerate(letters)
            if letter == NOT_WAITED_FOR and raida not in resting
        ]
        patient = _Patient(
            locker_id=unheard.task_id,
            mends=_QUICK_MENDS,
            keys=(),
            key_coin=request_encryption.key_coin_of(unheard.wallet_id),
            pieces=unheard.pieces,
            proposed={},
        )
        ailing = {each.raida for each in circuit_breaker.ailing()}
        held, results = _ask(patient, Command.FIND, unheard.pieces, places, ailing)
        circuit_breaker.Board.load().note(results)
        told: dict[UUID, dict[int, Reply]] = {}
        for (index, raida), reply in held.items():
            told.setdefault(unheard.pieces[index].coin_id, {})[raida] = _WORDS.get(reply, reply)
        late_answers.write_found(task_id=unheard.task_id, told=told)
