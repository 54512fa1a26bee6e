"""
Looking into a locker: at once for a caller who waits, or as a task.

Lockers that the servers have forgotten: their lists are in memory only, while the coins still carry the key.

After a restart real servers answer as if there had never been such a locker (the RAIDA protocol, section 6.2).
What was put into it from here is in the books, and whether it is still there, the coins themselves tell.
"""

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from uuid import UUID

from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from lockers import coin_secrets, server_letters, transport, vault, wrong_code_limits
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
from lockers.worker.messages import CoinWork, Numbers, Reply, Targets
from lockers.worker.task_store import BATCH_COINS

# Puts a call of one batch to the servers.
Question = Callable[[Call, int], Results]

# To open so many sealed codes takes a fifth of a second, and whoever mistypes a code costs that.
_NEWEST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What is in a locker: `listing` is what the servers list, `coins` also those that they forgot to list.

    `keys` open the locker; `code` is the text that they are made of.
    """

    listing: messages.Listing
    coins: frozenset[WireCoin]
    keys: Numbers = field(repr=False)
    code: str = field(repr=False)


def peek(*, actor_id: UUID, code: str, address: str = "") -> messages.Listing:
    """
    Look into the locker that the code opens, at once and without a task. `address` is the caller's.

    :raises InvalidLockerRequest: the text can never be a code
    :raises TooManyWrongCodes: the wallet or the address has sent too many
    :raises PeekFailed: no 13 servers list the same coins; that is all that is known (seed 001)
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
    task_store.advance(held=task_run.held, step=Step.PEEKING, progress=5)
    late = listening.LastOf(task_run.task.id, partial(late_answers.write_peeked, task_run.task.id))
    try:
        code = coin_secrets.task_code(task_run.task)
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
    Return what is in the locker that a code opens: the one answer on which peeks and takes rely.

    Where too few servers list a locker that was filled here, its coins are asked about by `question`. A coin of
    `wallet_id` may hide that question. `listen` is asked for where late answers to a peek go.

    :raises TaskSuperseded: another worker has the task, where `question` is one of a task
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
    Peek at the locker that a code opens: what 13 servers list, the keys, and the text that opened it.

    The candidates of `codes` are tried in turn, the next one only if 13 servers say that the one before opens nothing:
    peeks only, which change nothing. `listen` is asked for where late answers to a peek go.

    :raises InvalidCode: the text can never be a code
    """
    missed: list[tuple[messages.Listing, tuple[bytes, ...], str]] = []
    for candidate in codes.candidates(code):
        keys = tuple(codes.locker_keys(candidate))
        call = Call(command=Command.PEEK, payloads={raida: encode_peek(keys[raida]) for raida in range(RAIDA_COUNT)})
        results = listening.ask(
            asked,
            request_encryption.encrypted(call, {raida: with_locker_key(key) for raida, key in enumerate(keys)}),
            hearing=listen(),
            until=transport.within(settings.RAIDA_TIMEOUT_SECONDS),
            enough=lambda results: messages.is_decided(results, quorum=QUORUM),
            grace=broadcast.GRACE_PEEK,
        )
        circuit_breaker.Board.load().note(results)
        found = messages.listing(results, quorum=QUORUM), keys, candidate
        if found[0].coins or found[0].empty < QUORUM:
            return found
        missed.append(found)
    # What fewer than 13 servers list is more than nothing.
    return max(missed, key=lambda each: each[0].listed)


def spelling_of(code: str, used: str) -> int | None:
    """Which candidate opened the locker, if it is not the text as it was typed: not the code, which is a secret."""
    return None if used == codes.verbatim(code) else codes.candidates(code).index(used)


def note_if_wrong(listing: messages.Listing, wallet_id: UUID, address: str) -> None:
    """Count a code of which 13 servers say that it opens nothing; `address` is a fingerprint."""
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
    key_coin = request_encryption.key_coin_of(wallet_id)

    def once(chosen: Targets) -> tuple[messages.Replies, set[int]]:
        call = messages.compose(Command.DETECT, pieces, chosen)
        lent = request_encryption.ciphers(Command.DETECT, pieces, chosen, key_coin=key_coin)
        results = question(Call(call.command, call.payloads, own | lent), batch)
        return messages.replies(Command.DETECT, chosen, results), messages.refusing(results)

    told = messages.ask_in_halves(chosen, once)
    return [
        piece.coin
        for index, piece in enumerate(pieces)
        if sum(replies[index] is Reply.PASS for replies in told.values()) >= QUORUM
    ]
