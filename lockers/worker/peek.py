"""
Peek: list the coins of a locker, at once for an API request or as a task.

Servers keep their lists of lockers in memory only. After a restart they answer as if a locker had never existed, while
its coins still carry the key (the RAIDA protocol, section 6.2). Coins that were put into a locker from this ledger are
therefore asked about one by one.
"""

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from uuid import UUID

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from lockers import server_letters, transport, vault, wrong_code_limits
from lockers.errors import NO_CODE, InvalidLockerRequest, PeekFailed
from lockers.models import Coin, Locker
from lockers.raida import codes
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.encryption import with_coin, with_locker_key
from lockers.raida.errors import InvalidCode
from lockers.raida.payloads import encode_peek
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, Status
from lockers.states import CoinState, LockerState, Step, TaskState
from lockers.transport import Call, Results
from lockers.worker import (
    broadcast,
    circuit_breaker,
    finalize,
    late_answers,
    listening,
    messages,
    request_encryption,
    task_store,
)
from lockers.worker.broadcast import TaskRun
from lockers.worker.messages import CoinWork, Numbers, Reply
from lockers.worker.task_store import BATCH_COINS

# Sends a call of one batch to the servers.
Question = Callable[[Call, int], Results]

# Lockers that are searched for a code: to decrypt this many codes takes a fifth of a second, for each mistyped code.
_NEWEST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What is in a locker: `listing` is what the servers list, `coins` are also those that they have forgotten.

    `keys` open the locker; they are derived from `code`.
    """

    listing: messages.Listing
    coins: frozenset[WireCoin]
    keys: Numbers = field(repr=False)
    code: str = field(repr=False)


def peek(*, actor_id: UUID, code: str, address: str = "") -> messages.Listing:
    """
    Return what 13 servers list for a locker code, at once and without a task. `address` is the caller's.

    :raises InvalidLockerRequest: the text can never be a code
    :raises TooManyWrongCodes: the wallet or the address has sent too many
    :raises PeekFailed: no 13 servers list the same coins
    """
    asked_from = wrong_code_limits.fingerprint(address)
    wrong_code_limits.refuse_guesser(wallet_id=actor_id, address=asked_from)
    try:
        seen = look(code, broadcast.servers(), wallet_id=actor_id, question=broadcast.ask_at_once)
    except InvalidCode:
        raise InvalidLockerRequest(NO_CODE) from None
    listing = seen.listing
    if not seen.coins:
        note_if_wrong(listing, actor_id, asked_from)
        answered = [status for status in listing.statuses if status is not None and status >= 0]
        status = max(set(answered), key=answered.count) if answered else int(Status.NETWORK)
        raise PeekFailed(
            locker_key=code,
            successes=listing.listed,
            status=status,
            detail=Status(status).name if status in set(Status) else str(status),
            is_refusal=listing.empty >= QUORUM,
        )
    return replace(listing, coins=seen.coins, code_used=None if seen.code == codes.verbatim(code) else seen.code)


def run(task_run: TaskRun) -> None:
    """Peek for a task, and end it with what the servers list."""
    task_store.advance(held=task_run.held, step=Step.PEEKING, progress=5)
    late = listening.LastOf(task_run.task.id, partial(late_answers.write_peeked, task_run.task.id))
    try:
        code = vault.task_code(task_run.task)
        seen = look(
            code, task_run.servers, wallet_id=task_run.task.wallet_id, question=task_run.question, listen=late.begin
        )
        _tell_what_was_seen(task_run, seen, spelling=spelling_of(code, seen.code))
        late.task_has_ended()
    finally:
        late.drop()


def _tell_what_was_seen(task_run: TaskRun, seen: Seen, *, spelling: int | None) -> None:
    listing = seen.listing
    if not seen.coins:
        note_if_wrong(listing, task_run.task.actor_id, task_run.task.plan.get("from", ""))
        finalize.finish(held=task_run.held, state=TaskState.ERROR, message=why_nothing(listing), result=board(listing))
        return
    coins = sorted(seen.coins, reverse=True)
    is_listed = seen.coins == listing.coins
    finalize.finish(
        held=task_run.held,
        state=TaskState.COMPLETED,
        message="" if is_listed else "Too few servers list this locker; its coins were found one by one.",
        result={
            "total": sum(coin.value for coin in coins),
            "coins": [{"sn": coin.serial_number, "denomination": coin.denomination} for coin in coins],
            **({} if spelling is None else {"spelling": spelling}),
            **board(listing),
        },
    )


@sensitive_variables("code")
def look(
    code: str,
    asked: Sequence[transport.Server],
    *,
    wallet_id: UUID,
    question: Question,
    listen: Callable[[], listening.Hearing | None] = lambda: None,
) -> Seen:
    """
    Return what is in the locker that a code opens; peeks and takes both rely on it.

    If too few servers list a locker that was filled here, `question` asks about its coins; a coin of `wallet_id` may be
    the key coin. `listen` returns where late answers to a peek go.

    :raises TaskSuperseded: `question` belongs to a task that another worker has
    """
    listing, keys, used = look_into(code, asked, listen=listen)
    coins = listing.coins
    if listing.is_partial or not coins:
        found = look_for(code, wallet_id=wallet_id, question=question)
        if found is not None and (found.keys == keys or not coins):
            coins, keys, used = coins | found.coins, found.keys, found.code
    return Seen(listing, coins, keys, used)


def look_into(
    code: str, asked: Sequence[transport.Server], *, listen: Callable[[], listening.Hearing | None] = lambda: None
) -> tuple[messages.Listing, tuple[bytes, ...], str]:
    """
    Peek at the locker that a code opens, and return what 13 servers list, the keys, and the text that opened it.

    The candidates of `codes` are tried in turn, each only after 13 servers have said that the one before opens nothing.
    `listen` returns where late answers to a peek go.

    :raises InvalidCode: the text can never be a code
    """
    missed: list[tuple[messages.Listing, tuple[bytes, ...], str]] = []
    for candidate in codes.candidates(code):
        keys = codes.locker_keys(candidate)
        call = Call(command=Command.PEEK, payloads={raida: encode_peek(keys[raida]) for raida in range(RAIDA_COUNT)})
        results = listening.ask(
            asked,
            request_encryption.encrypted(call, {raida: with_locker_key(key) for raida, key in enumerate(keys)}),
            hearing=listen(),
            until=transport.within(settings.RAIDA_TIMEOUT_SECONDS),
            enough=lambda results: messages.is_decided(results, quorum=QUORUM),
            grace=broadcast.GRACE_PEEK,
        )
        circuit_breaker.Circuits.load().record(results)
        found = messages.listing(results, quorum=QUORUM), keys, candidate
        if found[0].coins or found[0].empty < QUORUM:
            return found
        missed.append(found)
    # Prefer a candidate that some servers list.
    return max(missed, key=lambda each: each[0].listed)


def spelling_of(code: str, used: str) -> int | None:
    """Return the number of the candidate that opened the locker, or None for the code as typed. It is not secret."""
    return None if used == codes.verbatim(code) else codes.candidates(code).index(used)


def note_if_wrong(listing: messages.Listing, wallet_id: UUID | None, address: str) -> None:
    """Count a wrong guess if 13 servers say that the code opens nothing; `address` is a fingerprint."""
    if listing.empty >= QUORUM:
        wrong_code_limits.note_wrong_code(wallet_id=wallet_id, address=address)


def why_nothing(listing: messages.Listing) -> str:
    answered = listing.listed + listing.empty
    if answered < QUORUM:
        return (
            f"Only {answered} of {RAIDA_COUNT} servers answered; {QUORUM} are needed to know what is in the locker."
            " Nothing was changed."
        )
    if listing.listed:
        return f"Fewer than {QUORUM} servers list the same coins for this code. Nothing was changed."
    return "No locker with this code, or it was emptied already: the servers do not say which."


def board(listing: messages.Listing) -> dict[str, object]:
    return {"raida": "".join(server_letters.of_peek(code) for code in listing.statuses)}


@dataclass(frozen=True, slots=True)
class Found:
    """Coins that 13 servers hold with the keys of a locker that they do not list."""

    coins: frozenset[WireCoin]
    keys: Numbers = field(repr=False)
    code: str = field(repr=False)


def look_for(code: str, *, wallet_id: UUID, question: Question) -> Found | None:
    """
    Return what is still in a locker that was filled from this ledger and that too few servers list.

    A coin of `wallet_id` may be the key coin. Raises what `question` raises.
    """
    for candidate in codes.candidates(code):
        rows = Coin.objects.filter(locker__in=_filled_with(candidate), state=CoinState.LOCKED).order_by("id")
        keys = codes.locker_keys(candidate)
        pieces = [task_store.coin_of_row(row, old=keys) for row in rows.defer("secrets", "proposed")]
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
        # The audit reports rows that cannot be decrypted.
        with contextlib.suppress(vault.SealBroken):
            if vault.locker_code(row) == code:
                found.append(row)
    return found


def _still_there(question: Question, wallet_id: UUID, batch: int, pieces: list[CoinWork]) -> list[WireCoin]:
    chosen = dict.fromkeys(range(RAIDA_COUNT), tuple(range(len(pieces))))
    # The request contains the locker key and is never sent in clear: without a key coin, one of these coins is used.
    first = pieces[0]
    own = {raida: with_coin(first.coin, key) for raida, key in enumerate(first.old)}
    told = request_encryption.ask(
        Command.DETECT,
        pieces,
        chosen,
        lambda call: question(call, batch),
        key_coin=request_encryption.key_coin_of(wallet_id),
        otherwise=own,
    )
    return [
        piece.coin
        for index, piece in enumerate(pieces)
        if sum(replies[index] is Reply.PASS for replies in told.values()) >= QUORUM
    ]
