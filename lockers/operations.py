"""
Beginning work on coins: what a caller asks for becomes a task, reserved coins and saved secrets.

Each operation is one transaction and talks to no network; a worker does that afterwards
(`lockers.worker.runner`). Transfers between wallets and exports need no server: they are done when the
call returns. Lock order: trust, export, coins, task, locker, accounts.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from lockers import (
    coin_import,
    coin_secrets,
    coin_selection,
    contested,
    delivery,
    dispatch,
    errors,
    fair_queue,
    file_names,
    guess_limits,
    queries,
)
from lockers.coin_breaks import FIRST_BREAK
from lockers.contested import Arrivals
from lockers.models import Coin, Export, Locker, LockerTask, Upload
from lockers.raida import codes, files
from lockers.raida.coins import LOWEST_DENOMINATION, format_amount
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.errors import InvalidCode
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState, FileType, Mark, Step, TaskKind, TaskState
from lockers.worker import health_check, task_store
from lockers.worker.task_store import BATCH_COINS
from trusts import queries as trusts
from wallets.errors import WalletNotControlled
from wallets.models import Wallet

# A put of more coins in one task would outlast a worker's time limit when servers are silent.
MAXIMUM_PUT_COINS: Final = 20_000
# A transfer is one statement however many coins move; this bounds its time and the memory of their ids.
MAXIMUM_TRANSFER_COINS: Final = 100_000
# A file is made in memory: 20,000 coins of a .stack are 20 MB. A ZIP has a member for each coin, of which
# importers read 2,000.
MAXIMUM_EXPORT_COINS: Final = {
    FileType.BIN: 20_000,
    FileType.PNG: 20_000,
    FileType.STACK: 20_000,
    FileType.ZIP: files.MAXIMUM_MEMBERS,
}
# Between counting the free coins and locking them others may take some.
_CHOICES: Final = 3

# A put that breaks its way down to the smallest coin has as many more calls as so many coins have.
_COINS_FOR_BREAKS: Final = 14 * BATCH_COINS

WEAK_CODE: Final = (
    "This transmit code is short enough to be guessed, and whoever has the code has the coins."
    " Leave transmit_code out to get a safe one."
)


@dataclass(frozen=True, slots=True)
class Started:
    """A task that was just begun, and what the caller should be told besides."""

    task: LockerTask
    warning: str = ""
    files: Sequence[coin_import.FileOutcome] = ()


def _wallet_for(actor: Wallet, name: str) -> Wallet:
    """
    The named wallet; the actor's control of it holds until the transaction ends.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: it is somebody else's
    """
    wallet = queries.wallet_of(actor=actor, name=name)
    if not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=wallet.pk):
        raise WalletNotControlled(f"The wallet {name} is not yours, and you do not manage it")
    return wallet


def check_lockers_are_on() -> None:
    """:raises LockersOff: no RAIDA servers are named"""
    if not settings.RAIDA_HOSTS:
        raise errors.LockersOff


def _open_task(
    kind: TaskKind, *, wallet: Wallet, actor: Wallet, coins: int = 0, is_bounded: bool = True, **fields: Any
) -> LockerTask:
    """
    :raises LockersOff: no RAIDA servers are named
    :raises TooManyTasks: the actor has as many open tasks as it may have, and `is_bounded`
    """
    check_lockers_are_on()
    if is_bounded:
        fair_queue.admit(actor_id=actor.pk)
    task = LockerTask.objects.create(
        kind=kind,
        wallet=wallet,
        actor=actor,
        receipt_id=secrets.token_hex(16),
        deadline=timezone.now() + task_store.time_for(coins),
        **fields,
    )
    dispatch.ring_on_commit(task.pk)
    return task


def _finished_task(kind: TaskKind, *, wallet: Wallet, actor: Wallet, message: str, **fields: Any) -> LockerTask:
    """A task for work that needs no server, and that the running transaction does whole."""
    now = timezone.now()
    return LockerTask.objects.create(
        kind=kind,
        wallet=wallet,
        actor=actor,
        state=TaskState.COMPLETED,
        step=Step.DONE,
        progress=100,
        message=message,
        receipt_id=secrets.token_hex(16),
        deadline=now,
        finished_at=now,
        **fields,
    )


@sensitive_variables("code")
def _checked_code(code: str, *, is_new: bool = False) -> str:
    try:
        return codes.for_new_locker(code) if is_new else codes.verbatim(code)
    except InvalidCode:
        raise errors.InvalidLockerRequest(errors.NO_NEW_CODE if is_new else errors.NO_CODE) from None


# Putting.


@sensitive_variables("code", "transmit_code")
def start_put(*, actor: Wallet, name: str, units: int, tag: str = "", transmit_code: str | None = None) -> Started:
    """
    Reserve coins worth exactly `units`, make the locker they shall go into, and begin the upload.

    Without `transmit_code` a safe one is drawn.

    :raises WalletNotFound, WalletNotControlled: as their names say
    :raises NotEnoughCoins: the free coins are worth less
    If no set of coins makes the amount, a bigger one is reserved too: the servers break it first.

    :raises NoExactChange: that cannot be, because no bigger coin is known to be good on every server that knows it
    :raises CoinsBusy: other tasks are choosing the same coins just now
    :raises InvalidLockerRequest: the code can never be one, or the amount needs more than 20,000 coins
    """
    code = codes.generate_code(secrets.token_bytes(codes.RANDOM_SIZE)) if transmit_code is None else transmit_code
    code = _checked_code(code, is_new=True)
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        coin_ids, to_break = _lock_coins_or_break(wallet, units, at_most=MAXIMUM_PUT_COINS)
        locker = Locker(wallet=wallet, amount=units, tag=tag)
        locker.code = coin_secrets.seal_locker_code(code, locker_id=locker.pk)
        locker.save(force_insert=True)
        task = _open_task(
            TaskKind.PUT,
            wallet=wallet,
            actor=actor,
            coins=len(coin_ids) + _COINS_FOR_BREAKS * (to_break is not None),
            is_long=task_store.is_long(len(coin_ids)),
            tag=tag,
            amount=units,
            locker=locker,
            plan={} if to_break is None else {"breaks": True},
        )
        _reserve(coin_ids, task=task, locker=locker)
        if to_break is not None:
            _reserve_to_break(to_break, task=task)
    return Started(task, WEAK_CODE if transmit_code is not None and codes.is_weak(code) else "")


def start_put_of_one(
    *, actor: Wallet, name: str, denomination: int, tag: str = "", transmit_code: str | None = None
) -> Started:
    """Begin the upload of one coin of a denomination; refuses as `start_put`."""
    counts = queries.free_counts(wallet_id=queries.wallet_of(actor=actor, name=name).pk)
    if not counts.get(denomination):
        raise errors.NotEnoughCoins(
            f"The wallet has no free coin of {format_amount(coin_selection.value_of(denomination))}"
        )
    return start_put(
        actor=actor, name=name, units=coin_selection.value_of(denomination), tag=tag, transmit_code=transmit_code
    )


def _lock_coins_or_break(wallet: Wallet, units: int, *, at_most: int) -> tuple[list[UUID], UUID | None]:
    """
    Choose and lock free coins that make `units` exactly, bank coins before fracked ones.

    If none do, as many of them as fit, and a bigger one to break for the rest.
    """
    for _ in range(_CHOICES):
        free = queries.free_counts_by_state(wallet_id=wallet.pk)
        available = queries.in_any_state(free)
        wanted = coin_selection.choose(available, units)
        if wanted is not None:
            _refuse_too_many(sum(wanted.values()), at_most=at_most)
            locked = _lock_free(wallet, wanted)
            if len(locked) == sum(wanted.values()):
                return locked, None
            # Some were taken in between: count again. The locks of this try are kept, and are part of the next one.
            continue
        plan = coin_selection.choose_to_break(available, free.get(CoinState.BANK, {}), units)
        if plan is None:
            _refuse_while_healing(wallet, available, units)
            _refuse_amount(available, units)
        assert plan is not None
        wanted, denomination = plan
        # Breaking adds nine coins for each of at most fourteen denominations.
        _refuse_too_many(sum(wanted.values()), at_most=at_most, besides=9 * 14)
        to_break = _lock_one_to_break(wallet, denomination)
        if to_break is None:
            continue
        # One more of the broken coin's denomination than are wanted, in case that it is among them.
        found = _lock_free(wallet, {each: count + (each == denomination) for each, count in wanted.items()})
        locked = _as_many_as(wanted, [coin_id for coin_id in found if coin_id != to_break])
        if len(locked) == sum(wanted.values()):
            return locked, to_break
    raise errors.CoinsBusy("Other uploads are choosing the same coins just now; try again in a moment")


def _refuse_too_many(number: int, *, at_most: int, besides: int = 0) -> None:
    if number + besides > at_most:
        raise errors.InvalidLockerRequest(f"This amount needs {number} coins; at most {at_most} go at once")


def _lock_free(wallet: Wallet, wanted: Mapping[int, int]) -> list[UUID]:
    """Lock as many of these free coins as there are and nobody else has locked, and return them."""
    with connection.cursor() as cursor:
        cursor.execute(
            _LOCK_FREE, [list(wanted), list(wanted.values()), wallet.pk, [str(state) for state in SPENDABLE]]
        )
        return [row[0] for row in cursor.fetchall()]


def _lock_one_to_break(wallet: Wallet, denomination: int) -> UUID | None:
    """Lock a free bank coin, the one that most servers accept; None if there is none."""
    free = Coin.objects.filter(wallet=wallet, denomination=denomination, state=CoinState.BANK, task=None)
    best = free.order_by("-passes", "id").select_for_update(no_key=True, skip_locked=True, of=("self",))
    return best.values_list("id", flat=True).first()


def _refuse_while_healing(wallet: Wallet, available: Mapping[int, int], units: int) -> None:
    """Coins that a fix has reserved are back in a moment: they are not missing."""
    healing = Coin.objects.filter(wallet=wallet, state__in=SPENDABLE, task__kind=TaskKind.FIX)
    counts: dict[int, int] = dict(healing.values_list("denomination").annotate(number=Count("id")))
    if counts and coin_selection.total(available) + coin_selection.total(counts) >= units:
        raise errors.CoinsBusy("Coins of this wallet are being healed just now; try again in a moment")


def _as_many_as(wanted: Mapping[int, int], coin_ids: Sequence[UUID]) -> list[UUID]:
    left = dict(wanted)
    kept = []
    rows = dict(Coin.objects.filter(pk__in=coin_ids).values_list("id", "denomination"))
    for coin_id in coin_ids:
        if left.get(rows[coin_id], 0):
            left[rows[coin_id]] -= 1
            kept.append(coin_id)
    return kept


def _reserve_to_break(coin_id: UUID, *, task: LockerTask) -> None:
    free = Coin.objects.filter(pk=coin_id, task=None, state=CoinState.BANK)
    if not free.update(task=task, batch=FIRST_BREAK, outcome=Mark.UNASKED * RAIDA_COUNT, family=coin_id):
        raise errors.CoinsBusy("Another upload took the same coin just now; try again")


def start_break(*, actor: Wallet, name: str, denomination: int) -> Started:
    """
    Begin to break one coin of a denomination into ten of the next lower one.

    :raises WalletNotFound, WalletNotControlled: as their names say
    :raises NotEnoughCoins: no free coin of the denomination is known to be good on every server that knows it
    :raises InvalidLockerRequest: the smallest coin cannot be broken
    """
    if denomination == LOWEST_DENOMINATION:
        raise errors.InvalidLockerRequest("The smallest coin cannot be broken")
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        coin_id = _lock_one_to_break(wallet, denomination)
        if coin_id is None:
            raise errors.NotEnoughCoins(
                f"The wallet has no free coin of {format_amount(coin_selection.value_of(denomination))}"
                " that may be broken"
            )
        task = _open_task(
            TaskKind.BREAK, wallet=wallet, actor=actor, coins=1, amount=coin_selection.value_of(denomination)
        )
        _reserve_to_break(coin_id, task=task)
    return Started(task)


_LOCK_FREE: Final = """
SELECT coin.id FROM unnest(%s::smallint[], %s::int[]) AS want(denomination, number)
CROSS JOIN LATERAL (
    SELECT id FROM lockers_coin
     WHERE wallet_id = %s AND denomination = want.denomination AND task_id IS NULL AND state = ANY(%s)
     ORDER BY state, id LIMIT want.number FOR NO KEY UPDATE SKIP LOCKED) AS coin
"""


def _refuse_amount(available: Mapping[int, int], units: int) -> None:
    total = coin_selection.total(available)
    if total < units:
        raise errors.NotEnoughCoins(
            f"Not enough coins: {format_amount(total)} of {format_amount(units)} are free in this wallet"
        )
    below, above = coin_selection.below_and_above(available, units)
    possible = " or ".join(format_amount(each) for each in (below, above) if each)
    raise errors.NoExactChange(
        f"The coins in this wallet cannot make {format_amount(units)} exactly; the nearest are {possible}"
    )


def _reserve(coin_ids: Sequence[UUID], *, task: LockerTask, locker: Locker | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_coin SET task_id = %s, locker_id = %s, outcome = %s,"
            " batch = ((chosen.position - 1) / %s)::smallint"
            " FROM unnest(%s::uuid[]) WITH ORDINALITY AS chosen(id, position)"
            " WHERE lockers_coin.id = chosen.id AND lockers_coin.task_id IS NULL",
            [task.pk, None if locker is None else locker.pk, Mark.UNASKED * RAIDA_COUNT, BATCH_COINS, list(coin_ids)],
        )
        if cursor.rowcount != len(coin_ids):
            raise errors.CoinsBusy("Other uploads took the same coins just now; try again")


# Moving coins between wallets of this ledger.


def transfer_coins(*, actor: Wallet, source: str, destination: str, units: int, tag: str = "") -> Started:
    """
    Move coins worth exactly `units` from one wallet to another, for good, and at once if no coin must be broken.

    If one must, what control and trust allow at the time of the call is carried out some seconds later.

    The same control and trust as for tokens decide. Where tokens would wait for the receiver's consent,
    this is refused. Decided 2026-11-21: coins that wait would be reserved for as long as a stranger likes,
    while a locker does the same without anybody's consent and can be taken back by whoever has its code.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the source is somebody else's
    :raises SameWallets: source and destination are one
    :raises ReceiverNotTrusting: the actor does not control the destination, and no trust lets the source push to it
    :raises NotEnoughCoins, NoExactChange, CoinsBusy, InvalidLockerRequest: as for `start_put`
    """
    with transaction.atomic(savepoint=False):
        giver = _wallet_for(actor, source)
        receiver = queries.wallet_named(actor=actor, name=destination)
        if giver.pk == receiver.pk:
            raise errors.SameWallets
        if not (
            trusts.controls_until_commit(actor_id=actor.pk, wallet_id=receiver.pk)
            or trusts.may_push_until_commit(sender_id=giver.pk, receiver_id=receiver.pk)
        ):
            raise errors.ReceiverNotTrusting(giver.name, receiver.name)
        coin_ids, to_break = _lock_coins_or_break(giver, units, at_most=MAXIMUM_TRANSFER_COINS)
        asked: dict[str, Any] = {"wallet": giver, "actor": actor, "tag": tag, "amount": units}
        if to_break is not None:
            plan = {"receiver": str(receiver.pk)}
            return _break_first(TaskKind.TRANSFER, coin_ids, to_break, plan=plan, **asked)
        task = _finished_task(TaskKind.TRANSFER, message="Transferred.", **asked)
        _tell_result(task, delivery.hand_over(task=task, receiver=receiver, coin_ids=coin_ids))
    return Started(task)


def _break_first(
    kind: TaskKind, coin_ids: Sequence[UUID], to_break: UUID, *, plan: dict[str, Any], **asked: Any
) -> Started:
    """Reserve the coins, and leave what was asked for to a worker, who has the servers break one before."""
    task = _open_task(kind, coins=len(coin_ids) + _COINS_FOR_BREAKS, plan=plan | {"breaks": True}, **asked)
    _reserve(coin_ids, task=task)
    _reserve_to_break(to_break, task=task)
    return Started(task)


def _tell_result(task: LockerTask, result: Mapping[str, Any]) -> None:
    task.result = dict(result)
    task.save(update_fields=["result"])


# Giving coins out as files.


def export_coins(*, actor: Wallet, name: str, units: int | None, file_type: FileType, tag: str = "") -> Started:
    """
    Turn coins worth exactly `units`, or all free ones if that is None, into a file for their owner.

    The coins leave the balance here and now, unless one must be broken first; the file can be fetched until its
    arrival is confirmed (`fetch_export`), and as long as nobody else has imported it, it can be recalled.

    :raises WalletNotFound, WalletNotControlled: as their names say
    :raises NotEnoughCoins, NoExactChange, CoinsBusy: as for `start_put`
    :raises InvalidLockerRequest: more coins than a file of this type takes
    """
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        if units is None:
            units = coin_selection.total(queries.free_counts(wallet_id=wallet.pk))
            if not units:
                _refuse_while_healing(wallet, {}, 1)
                raise errors.NotEnoughCoins("The wallet has no free coins")
        coin_ids, to_break = _lock_coins_or_break(wallet, units, at_most=MAXIMUM_EXPORT_COINS[file_type])
        asked: dict[str, Any] = {"wallet": wallet, "actor": actor, "tag": tag, "amount": units}
        if to_break is not None:
            return _break_first(TaskKind.EXPORT, coin_ids, to_break, plan={"type": file_type}, **asked)
        task = _finished_task(TaskKind.EXPORT, message="Exported.", **asked)
        _tell_result(task, delivery.write_out(task=task, file_type=file_type, coin_ids=coin_ids))
    return Started(task)


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of coins: whoever has the content has the coins."""

    name: str
    type: FileType
    content: bytes = field(repr=False)


def fetch_export(*, actor: Wallet, export_id: UUID) -> ExportedFile:
    """
    Make the file of an export, and count that it was given out.

    As often as asked for, because an answer may be lost on its way, until its arrival is confirmed.

    :raises ExportNotFound: no such export, or of somebody else's wallet
    :raises ExportConfirmed: its arrival was confirmed
    :raises ExportReturned: coins of it came back, or are being recalled
    """
    with transaction.atomic(savepoint=False):
        export = _lock_export(actor, export_id)
        if export.confirmed_at is not None:
            raise errors.ExportConfirmed
        rows = queries.coins_in_file(export=export)
        if len(rows) != export.coin_count:
            raise errors.ExportReturned
        records = [
            files.CoinRecord(
                WireCoin(row.denomination, row.serial_number),
                coin_secrets.open_numbers(row.secrets, coin_id=row.pk),
                pown=row.pown,
            )
            for row in rows
        ]
        content = _write_file(FileType(export.type), records, export.task.tag)
        Export.objects.filter(pk=export.pk).update(fetched=export.fetched + 1, fetched_at=Now())
    return ExportedFile(export.file_name, FileType(export.type), content)


def _write_file(file_type: FileType, records: Sequence[files.CoinRecord], tag: str) -> bytes:
    match file_type:
        case FileType.BIN:
            return files.write_bin(records)
        case FileType.PNG:
            return files.write_png(records)
        case FileType.STACK:
            return files.write_stack(records)
        case FileType.ZIP:
            return files.write_zip(
                [
                    files.Member(
                        file_names.name_of([record.coin], tag=tag, extension=FileType.BIN), files.write_bin([record])
                    )
                    for record in records
                ]
            )


def _lock_export(actor: Wallet, export_id: UUID) -> Export:
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    export = (
        Export.objects.select_related("task", "wallet")
        .select_for_update(no_key=True, of=("self",))
        .filter(pk=export_id, wallet_id__in=ids)
        .first()
    )
    # The list was read without a lock on the trust; the coins are worth asking again with one.
    if export is None or not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=export.wallet_id):
        raise errors.ExportNotFound
    return export


def confirm_export(*, actor: Wallet, export_id: UUID) -> queries.ExportView:
    """
    Note that the file arrived: from now on it is not given out again. A second time changes nothing.

    :raises ExportNotFound: no such export, or of somebody else's wallet
    """
    with transaction.atomic(savepoint=False):
        export = _lock_export(actor, export_id)
        if export.confirmed_at is None:
            Export.objects.filter(pk=export.pk).update(confirmed_at=Now())
        return queries.export_visible_to(actor=actor, export_id=export.pk)


def recall_export(*, actor: Wallet, export_id: UUID) -> Started:
    """
    Begin to take the coins of an export back with the secrets that were kept, which makes its file worthless.

    For a file that was lost. Coins that somebody has imported meanwhile are theirs, and stay so.

    :raises ExportNotFound: no such export, or of somebody else's wallet
    :raises ExportReturned: all its coins came back, or are being recalled
    """
    with transaction.atomic(savepoint=False):
        export = _lock_export(actor, export_id)
        rows = queries.coins_in_file(export=export)
        task = _open_task(
            TaskKind.IMPORT,
            wallet=export.wallet,
            actor=actor,
            coins=len(rows),
            is_long=task_store.is_long(len(rows)),
            tag=export.task.tag,
        )
        saved = task_store.insert_incoming(
            task_id=task.pk,
            wallet_id=export.wallet_id,
            # Such coins may be somebody else's by now, which does not make them counterfeit.
            origin=TaskKind.TAKE,
            coins=[
                (
                    WireCoin(row.denomination, row.serial_number),
                    coin_secrets.open_numbers(row.secrets, coin_id=row.pk),
                    coin_secrets.fresh_numbers(),
                )
                for row in rows
            ],
        )
        if not saved:
            raise errors.ExportReturned
        _park_if_all_wait(task, saved)
        outcome = coin_import.FileOutcome(export.file_name, accepted=len(saved.saved), waiting=len(saved.waiting))
        task.result = {"files": [coin_import.outcome_as_json(outcome)]}
        task.save(update_fields=["result"])
    return Started(task, files=[outcome])


# Looking and taking.


@sensitive_variables("code")
def start_take(*, actor: Wallet, name: str, code: str, tag: str = "", address: str = "") -> Started:
    """
    Begin to take all coins out of the locker that the code opens, into the named wallet.

    `address` is the caller's, for counting wrong codes.

    :raises WalletNotFound, WalletNotControlled, InvalidLockerRequest: as for `start_put`
    :raises TooManyWrongCodes, TooManyTasks: as their names say
    """
    code = _checked_code(code)
    asked_from = guess_limits.fingerprint(address)
    guess_limits.refuse_guesser(wallet_id=actor.pk, address=asked_from)
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        task_id = uuid4()
        task = _open_task(
            TaskKind.TAKE,
            wallet=wallet,
            actor=actor,
            id=task_id,
            tag=tag,
            code=coin_secrets.seal_task_code(code, task_id=task_id),
            plan={"from": asked_from},
        )
    return Started(task)


@sensitive_variables("code")
def start_peek(*, actor: Wallet, code: str, address: str = "") -> Started:
    """
    Begin to look into the locker that the code opens. `address` is the caller's, for counting wrong codes.

    :raises InvalidLockerRequest: the text can never be a code
    :raises TooManyWrongCodes, TooManyTasks: as their names say
    """
    code = _checked_code(code)
    asked_from = guess_limits.fingerprint(address)
    guess_limits.refuse_guesser(wallet_id=actor.pk, address=asked_from)
    with transaction.atomic(savepoint=False):
        task_id = uuid4()
        task = _open_task(
            TaskKind.PEEK,
            wallet=actor,
            actor=actor,
            id=task_id,
            code=coin_secrets.seal_task_code(code, task_id=task_id),
            plan={"from": asked_from},
        )
    return Started(task)


# Whoever asked has read the answer by then.
_LOOKS_ARE_KEPT: Final = timedelta(days=1)
_PURGED_AT_ONCE: Final = 1000


def purge_looks() -> int:
    """Delete peeks and echoes that ended a day ago, and return how many."""
    old = LockerTask.objects.filter(kind__in=[TaskKind.PEEK, TaskKind.ECHO], finished_at__lt=Now() - _LOOKS_ARE_KEPT)
    total = 0
    while ids := list(old.order_by("finished_at").values_list("pk", flat=True)[:_PURGED_AT_ONCE]):
        LockerTask.objects.filter(pk__in=ids).delete()
        total += len(ids)
    return total


def start_echo(*, actor: Wallet) -> Started:
    """Begin to ask all servers whether they are there."""
    with transaction.atomic(savepoint=False):
        return Started(_open_task(TaskKind.ECHO, wallet=actor, actor=actor))


def show_task(*, actor: Wallet, task_id: UUID) -> queries.TaskView:
    """
    Return a task, with the transmit code that it made if that may be told, and note when it was told first.

    :raises TaskNotFound: no such task, or somebody else's
    """
    view = queries.task_visible_to(actor=actor, task_id=task_id)
    if view.code is not None and view.task.code_shown_at is None:
        # Before the answer leaves: one that is lost was told too, and may be asked for again for a while.
        LockerTask.objects.filter(pk=task_id, code_shown_at=None).update(code_shown_at=Now())
    return view


# Importing.


@sensitive_variables("uploads")
def start_import(*, actor: Wallet, name: str, uploads: Sequence[tuple[str, bytes]], tag: str = "") -> Started:
    """
    Save coins of files with fresh numbers proposed for each, and begin to make them ours.

    `uploads` are pairs of file name and content. Afterwards the giver's copies are worthless. Files that unfold to
    more than a request should read are kept, sealed, for a worker; what is wrong with them the task tells.

    :raises WalletNotFound, WalletNotControlled, TooManyTasks: as their names say
    :raises InvalidLockerRequest: they unfold to more, or hold more coins, than one import takes
    :raises NothingToImport: no file held a coin that could be imported; each file's outcome is in `extra`
    :raises ImportUnderWay: the same, and another task of the wallet has yet to find out about some of the coins
    """
    if not coin_import.is_small(uploads):
        return _keep_for_a_worker(actor=actor, name=name, uploads=uploads, tag=tag)
    found = coin_import.read(uploads)
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        if not found.records:
            raise coin_import.refusal(found)
        task = _open_task(
            TaskKind.IMPORT,
            wallet=wallet,
            actor=actor,
            coins=len(found.records),
            is_long=task_store.is_long(len(found.records)),
            tag=tag,
        )
        saved = coin_import.save(found, task_id=task.pk, wallet_id=wallet.pk)
        if not saved:
            raise coin_import.refusal(found, is_busy=bool(saved.busy))
        _park_if_all_wait(task, saved)
        task.plan = {"two_secrets": found.two_secrets}
        task.result = {"files": [coin_import.outcome_as_json(outcome) for outcome in found.outcomes]}
        task.save(update_fields=["plan", "result"])
    return Started(task, files=found.outcomes)


@sensitive_variables("uploads", "sealed")
def _keep_for_a_worker(*, actor: Wallet, name: str, uploads: Sequence[tuple[str, bytes]], tag: str) -> Started:
    task_id = uuid4()
    sealed = coin_secrets.seal_upload(uploads, task_id=task_id)
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        # How many coins there are is not known yet; as many as one import takes have to find room.
        task = _open_task(
            TaskKind.IMPORT,
            wallet=wallet,
            actor=actor,
            id=task_id,
            coins=coin_import.MAXIMUM_COINS,
            is_long=True,
            tag=tag,
            plan={"uploaded": True},
        )
        Upload.objects.create(pk=task.pk, content=sealed)
    return Started(task)


def _park_if_all_wait(task: LockerTask, arrivals: Arrivals) -> None:
    """Let no worker take a task that has nothing to do yet; the sweep does not lose sight of it."""
    if not arrivals.saved and arrivals.waiting:
        LockerTask.objects.filter(pk=task.pk).update(
            is_parked=True,
            step=Step.WAITING,
            deadline=Now() + contested.PATIENCE + task_store.time_for(len(arrivals.waiting)),
        )


# Finding.


def start_find(*, actor: Wallet, name: str) -> Started:
    """
    Begin to ask the servers about every free coin in limbo of the wallet.

    :raises WalletNotFound, WalletNotControlled: as their names say
    :raises NothingToFind: no coin of the wallet is in limbo
    """
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        task = _reserve_limbo(wallet=wallet, actor=actor, limit=BATCH_COINS * 10, is_bounded=True)
    if task is None:
        raise errors.NothingToFind("No coin of this wallet is in limbo")
    return Started(task)


def start_overdue_finds(*, limit: int = BATCH_COINS) -> list[UUID]:
    """Begin a find for each wallet that has had coins in limbo for a while, and return the tasks' ids."""
    started = []
    for wallet_id in queries.coins_to_find(limit=limit):
        with transaction.atomic(savepoint=False):
            wallet = Wallet.objects.get(pk=wallet_id)
            task = _reserve_limbo(wallet=wallet, actor=wallet, limit=limit, is_bounded=False)
            if task is not None:
                started.append(task.pk)
    return started


def _reserve_limbo(*, wallet: Wallet, actor: Wallet, limit: int, is_bounded: bool) -> LockerTask | None:
    rows = list(
        Coin.objects.filter(wallet=wallet, state__in=[CoinState.LIMBO, CoinState.ERRORED], task=None)
        .order_by("locker_id", "origin", "id")
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .only("id", "locker_id", "origin", "family")[:limit]
    )
    if not rows:
        return None
    # A coin that may have been broken is found together with its ten.
    broken = [row.pk for row in rows if row.family == row.pk]
    rows = [row for row in rows if row.family != row.pk]
    # A remove has one locker's key, so no batch mixes lockers, or ways of arrival.
    groups: list[tuple[UUID | None, str, list[UUID]]] = []
    for row in rows:
        if not groups or groups[-1][:2] != (row.locker_id, row.origin) or len(groups[-1][2]) >= BATCH_COINS:
            groups.append((row.locker_id, row.origin, []))
        groups[-1][2].append(row.pk)
    task = _open_task(
        TaskKind.FIND,
        wallet=wallet,
        actor=actor,
        coins=(len(groups) + len(broken)) * BATCH_COINS,
        is_bounded=is_bounded,
        is_long=task_store.is_long(len(rows)),
        plan={"puts": [number for number, (locker_id, _, _) in enumerate(groups) if locker_id is not None]},
    )
    for number, (_, _, coin_ids) in enumerate(groups):
        Coin.objects.filter(pk__in=coin_ids).update(task=task, batch=number, outcome=Mark.SENT * RAIDA_COUNT)
    for number, coin_id in enumerate(broken):
        members = Q(pk=coin_id) | Q(family=coin_id, state=CoinState.CHANGE, task=None)
        Coin.objects.filter(members).update(task=task, batch=FIRST_BREAK - number, outcome=Mark.SENT * RAIDA_COUNT)
    Locker.objects.filter(pk__in={row.locker_id for row in rows if row.locker_id}).update(changed_at=Now())
    return task


# Healing.


def start_fix(*, actor: Wallet, name: str) -> Started:
    """
    Begin to heal the free coins of the wallet that some servers do not accept, after a look which those are.

    :raises WalletNotFound, WalletNotControlled: as their names say
    :raises NothingToFix: there is no such coin, as the servers have said within the last minutes
    """
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        coin_ids = task_store.free_to_heal(wallet_id=wallet.pk)
        unchecked = health_check.not_checked_lately(health_check.at_rest(wallet.pk)).count()
        if not coin_ids and not unchecked:
            raise errors.NothingToFix("Every free coin of this wallet is accepted by all servers")
        task = _begin_fix(coin_ids, looks_at=unchecked, wallet=wallet, actor=actor, is_bounded=True)
    return Started(task)


def start_overdue_fixes() -> list[UUID]:
    """Begin a fix for each wallet with coins to heal, while 13 servers are up, and return the tasks' ids."""
    started = []
    for wallet_id in queries.wallets_to_heal():
        with transaction.atomic(savepoint=False):
            wallet = Wallet.objects.get(pk=wallet_id)
            coin_ids = task_store.free_to_heal(wallet_id=wallet_id)
            if coin_ids:
                started.append(_begin_fix(coin_ids, wallet=wallet, actor=wallet, is_bounded=False).pk)
    return started


def _begin_fix(
    coin_ids: Sequence[UUID], *, wallet: Wallet, actor: Wallet, is_bounded: bool, looks_at: int = 0
) -> LockerTask:
    task_id = uuid4()
    looked_at = min(looks_at, health_check.MOST)
    task = _open_task(
        TaskKind.FIX,
        wallet=wallet,
        actor=actor,
        id=task_id,
        coins=(len(coin_ids) + looked_at) * BATCH_COINS // task_store.FIX_COINS,
        is_bounded=is_bounded,
        is_long=task_store.is_long(max(len(coin_ids), looked_at)),
        code=coin_secrets.fresh_generators(task_id=task_id),
        plan={"looks": True} if looks_at else {},
    )
    task_store.reserve_coins_to_heal(task_id=task_id, coin_ids=coin_ids)
    return task


def start_health(*, actor: Wallet, name: str) -> Started:
    """
    Begin to ask the servers which free coins of the wallet they accept, and to write down where they refuse one.

    No coin is reserved for it.

    :raises WalletNotFound, WalletNotControlled, TooManyTasks: as their names say
    """
    with transaction.atomic(savepoint=False):
        wallet = _wallet_for(actor, name)
        coins = min(health_check.at_rest(wallet.pk).count(), health_check.MOST)
        task = _open_task(TaskKind.HEALTH, wallet=wallet, actor=actor, coins=coins, is_long=task_store.is_long(coins))
    return Started(task)
