"""Reads of wallets, coins, tasks, receipts, lockers and statements, restricted to what the actor may see."""

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from django.db import connection
from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from lockers import errors, locker_expiry, server_letters, vault
from lockers.locker_expiry import Expiry
from lockers.models import Account, Attempt, Coin, Locker, LockerTask, ReceiptLine, StatementLine
from lockers.raida import codes
from lockers.raida.coins import total_value, value_of
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, Status
from lockers.states import BETWEEN_WALLETS, IN_LOCKER, SPENDABLE, CoinState, LockerState, TaskKind, TaskState
from trusts import queries as trusts
from wallets import names, restrictions
from wallets import queries as wallets
from wallets.errors import WalletNotControlled, WalletNotFound
from wallets.models import Wallet
from wallets.states import KeyScope

# A transmit code is worth its coins, so its task shows it for a limited time. Decided 2026-11-21: for this long after
# the first response that shows it, so that a client that lost the response, or a second one that polls, gets it too.
# Afterwards `locker_code` returns it to the owner on request, while coins are in the locker.
CODE_IS_SHOWN = timedelta(minutes=10)

_POLL_SECONDS: Final = 0.05
# The name that clients of the other product use for the caller's wallet.
_OWN_WALLET: Final = names.name_key("Default")
_RECEIPT: Final = re.compile(r"[0-9a-f]{32}")
# The command whose answers the server grid of a task shows, by kind.
_BOARD_COMMANDS: Final = {
    TaskKind.PUT: Command.PUT,
    TaskKind.TAKE: Command.REMOVE,
    TaskKind.IMPORT: Command.POWN,
    TaskKind.FIND: Command.FIND,
    TaskKind.BREAK: Command.BREAK,
    TaskKind.TRANSFER: Command.BREAK,
    TaskKind.EXPORT: Command.BREAK,
    TaskKind.FIX: Command.FIX,
    TaskKind.HEALTH: Command.DETECT,
}


def wallet_named(*, actor: Wallet, name: str) -> Wallet:
    """
    Return the wallet that a locker call names, by name or id, without a check of rights.

    "Default" is the actor, unless the actor controls a wallet of that name: clients of the other product send it for
    their own wallet, while names are global here.

    :raises InvalidWalletName: the text cannot be a name
    :raises WalletNotFound: no such wallet
    """
    try:
        wallet = wallets.wallet_by_name_or_id(name)
    except WalletNotFound:
        if not _may_mean_own(name):
            raise
        return actor
    if _may_mean_own(name) and not trusts.controls(actor_id=actor.pk, wallet_id=wallet.pk):
        return actor
    return wallet


def _may_mean_own(name: str) -> bool:
    return names.name_key(name) == _OWN_WALLET


def wallet_of(*, actor: Wallet, name: str) -> Wallet:
    """
    Return the named wallet, as `wallet_named` resolves it, if the actor controls it.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the actor neither is nor manages it
    """
    wallet = wallet_named(actor=actor, name=name)
    if not trusts.controls(actor_id=actor.pk, wallet_id=wallet.pk):
        raise not_controlled(name)
    return wallet


def not_controlled(name: str) -> WalletNotControlled:
    return WalletNotControlled(f"The wallet {name} is not yours, and you do not manage it")


def wallets_of(*, actor: Wallet) -> list[Wallet]:
    """Return the actor and the wallets that it manages, the actor first."""
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    found = Wallet.objects.in_bulk(ids)
    return [found[wallet_id] for wallet_id in ids]


# Coins.


def free_counts(*, wallet_id: UUID) -> dict[int, int]:
    """Return the number of spendable, unreserved coins of each denomination."""
    return in_any_state(free_counts_by_state(wallet_id=wallet_id))


def count_by_denomination(rows: QuerySet[Any]) -> dict[int, int]:
    """Return the number of coins or receipt lines of each denomination."""
    return dict(rows.order_by().values_list("denomination").annotate(number=Count("pk")))


def in_any_state(counts: Mapping[CoinState, Mapping[int, int]]) -> dict[int, int]:
    """Return the number of coins of each denomination, summed over the states."""
    return dict(sum((Counter(each) for each in counts.values()), Counter[int]()))


def free_counts_by_state(*, wallet_id: UUID) -> dict[CoinState, dict[int, int]]:
    """Return the same by state, in one statement, so that the counts of all states are of one moment."""
    found: dict[CoinState, dict[int, int]] = {}
    for state, denomination, number in (
        Coin.objects.filter(wallet_id=wallet_id, task=None, state__in=SPENDABLE)
        .values_list("state", "denomination")
        .annotate(number=Count("id"))
        .order_by("state", "denomination")
    ):
        found.setdefault(CoinState(state), {})[denomination] = number
    return found


@dataclass(frozen=True, slots=True)
class Contents:
    """The coins of a wallet by grade, and the denominations of those that count as balance."""

    wallet: Wallet
    # grade, "reserved", "in_locker" or "sent" -> (number of coins, units)
    grades: dict[str, tuple[int, int]]
    denominations: dict[int, int]

    @property
    def balance(self) -> int:
        """Units in spendable coins without reserved ones."""
        return sum(self.grades[grade][1] for grade in SPENDABLE)


def contents_of(*, wallet_list: Sequence[Wallet]) -> list[Contents]:
    """Return the contents of several wallets in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT wallet_id, state, task_id IS NOT NULL, denomination, count(*) FROM lockers_coin"
            # A waiting claim is not the wallet's coin yet.
            " WHERE wallet_id = ANY(%s) AND state <> %s GROUP BY 1, 2, 3, 4",
            [[wallet.pk for wallet in wallet_list], CoinState.WAITING],
        )
        rows = cursor.fetchall()
    result = []
    for wallet in wallet_list:
        grades = dict.fromkeys(_GRADE_NAMES.values(), (0, 0)) | {"reserved": (0, 0)}
        denominations: dict[int, int] = {}
        for wallet_id, state, reserved, denomination, count in rows:
            if wallet_id != wallet.pk:
                continue
            grade = "reserved" if reserved else _GRADE_NAMES.get(state)
            if grade is None:
                continue
            number, units = grades[grade]
            grades[grade] = number + count, units + count * value_of(denomination)
            if grade in SPENDABLE:
                denominations[denomination] = denominations.get(denomination, 0) + count
        result.append(Contents(wallet, grades, denominations))
    return result


_GRADE_NAMES: Final = {
    CoinState.BANK: "bank",
    CoinState.FRACKED: "fracked",
    CoinState.LIMBO: "limbo",
    CoinState.COUNTERFEIT: "counterfeit",
    CoinState.ERRORED: "errored",
    CoinState.LOCKED: "in_locker",
    CoinState.SENT: "sent",
    CoinState.EXPORTED: "exported",
}


# Tasks.


def tasks_visible_to(actor: Wallet) -> QuerySet[LockerTask]:
    """Return the tasks of wallets that the actor controls."""
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    return LockerTask.objects.filter(wallet_id__in=ids).select_related("locker", "wallet", "settled_by")


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task with its attempts, and its transmit code if that may be shown."""

    task: LockerTask
    attempts: Sequence[Attempt]
    code: str | None = dataclasses.field(repr=False)
    # The spelling of the code that opened the locker of a peek or take, if it differs from the one that was sent.
    code_used: str | None = dataclasses.field(default=None, repr=False)
    # The number of coins that a put stored, and the serial number of one of them; set by `final_task` only.
    stored_coins: int = 0
    stored_serial_number: int | None = None
    # What is known now of the locker, if it expires: of a put's, or of one whose coins the task took back.
    expiry: Expiry | None = None

    @property
    def message(self) -> str:
        """What the task did; of a put into a locker that expires also what is known now of its coins."""
        return message_of(self.task, self.expiry)

    @property
    def board(self) -> str:
        """The answer of each server as 25 letters (the RAIDA protocol, section 7.7), u for none yet."""
        known = self.task.result.get("raida")
        if known is not None:
            return str(known)
        answers = self._answers
        return "".join(server_letters.of_answer(code) for code in answers) if answers else "u" * RAIDA_COUNT

    @property
    def commonest_status(self) -> int:
        """The most common status of the servers' answers, or that of a network error without answers."""
        statuses = [code for code in self._answers if code is not None and code >= 0]
        if statuses:
            return max(set(statuses), key=statuses.count)
        # A take that found no locker made its requests without an attempt, and has letters only.
        return int(Status.ALL_FAIL if self.board.count("f") >= QUORUM else Status.NETWORK)

    @property
    def _answers(self) -> Sequence[int | None]:
        command = _BOARD_COMMANDS.get(TaskKind(self.task.kind))
        latest = [attempt for attempt in self.attempts if command is not None and attempt.command == command.name]
        return latest[-1].answers if latest else ()


def message_of(task: LockerTask, expiry: Expiry | None) -> str:
    """Return the message of a task with what is known now of its locker, if it filled one that expires."""
    if expiry is None or task.kind != TaskKind.PUT or task.state == TaskState.RUNNING:
        return task.message
    return f"{task.message} {expiry.message}".strip()


def task_visible_to(*, actor: Wallet, task_id: UUID) -> TaskView:
    """
    Return one task of a wallet that the actor controls.

    :raises TaskNotFound: no such task, or not visible to the actor
    """
    task = tasks_visible_to(actor).filter(pk=task_id).first()
    if task is None:
        raise errors.TaskNotFound
    return TaskView(
        task,
        list(task.attempts.order_by("ordinal")),
        _code_to_show(task),
        _code_used(task, actor),
        expiry=locker_expiry.of_locker(task.locker),
    )


def take_with_id(task_id: UUID) -> LockerTask | None:
    """Return the take with this id and its wallet, for a page that has checked that its visitor may see it."""
    takes = LockerTask.objects.select_related("wallet").defer("code", "wallet__password")
    return takes.filter(pk=task_id, kind=TaskKind.TAKE).first()


def final_task(*, actor: Wallet, task_id: UUID, patience: timedelta) -> TaskView:
    """
    Return a task as soon as it has ended, or in its present state after `patience`.

    Does not wait inside a transaction, whose task no worker can see.

    :raises TaskNotFound: no such task, or not visible to the actor
    """
    end = time.monotonic() + patience.total_seconds()
    while not connection.in_atomic_block and time.monotonic() < end:
        if LockerTask.objects.filter(pk=task_id).exclude(state=TaskState.RUNNING).exists():
            break
        time.sleep(_POLL_SECONDS)
    view = task_visible_to(actor=actor, task_id=task_id)
    is_stored = Q(state__in=IN_LOCKER) | Q(became__in=IN_LOCKER)
    stored = view.task.receipt_lines.filter(is_stored).aggregate(number=Count("id"), lowest=Min("serial_number"))
    return dataclasses.replace(view, stored_coins=stored["number"], stored_serial_number=stored["lowest"])


def _may_see_codes() -> bool:
    """Return whether the credential of the request may have the codes of lockers: they are the coins."""
    restriction = restrictions.current()
    return restriction is None or KeyScope.COINS_MOVE in restriction.scopes


def _code_to_show(task: LockerTask) -> str | None:
    if not _may_see_codes():
        return None
    if task.kind != TaskKind.PUT or task.state != TaskState.COMPLETED or task.locker is None:
        return None
    if task.code_shown_at is not None and task.code_shown_at < timezone.now() - CODE_IS_SHOWN:
        return None
    return vault.locker_code(task.locker)


def _code_used(task: LockerTask, actor: Wallet) -> str | None:
    """Shown only to the actor who sent it, and no longer than a new code: the locker of a peek still has its coins."""
    if not _may_see_codes() or "spelling" not in task.result or task.code is None or task.actor_id != actor.pk:
        return None
    if "payment_request" in task.plan:
        # Of a payment without a login the payee is the actor.
        return None
    if task.finished_at is not None and task.finished_at < timezone.now() - CODE_IS_SHOWN:
        return None
    return codes.candidates(vault.task_code(task))[int(task.result["spelling"])]


# Receipts and lockers.


@dataclass(frozen=True, slots=True)
class Receipt:
    """A task with its receipt lines, and what is known now of its locker, if it expires."""

    task: LockerTask
    lines: Sequence[ReceiptLine]
    expiry: Expiry | None = None

    @property
    def message(self) -> str:
        return message_of(self.task, self.expiry)


def receipt_visible_to(*, actor: Wallet, receipt_id: str, name: str | None = None) -> Receipt:
    """
    Return the receipt of an ended task: each coin with its state and the servers' letters.

    Both sides of a transfer may see its receipt. With `name`, only receipts of that wallet are found.

    :raises WalletNotFound, WalletNotControlled: as for `wallet_of`
    :raises ReceiptNotFound: no such receipt, not visible to the actor, or its task is running
    """
    if not _RECEIPT.fullmatch(receipt_id):
        raise errors.ReceiptNotFound
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk) if name is None else [wallet_of(actor=actor, name=name).pk]
    task = (
        LockerTask.objects.select_related("locker", "wallet", "settled_by")
        .filter(receipt_id=receipt_id)
        .filter(
            Q(wallet_id__in=ids)
            | Exists(StatementLine.objects.filter(task_id=OuterRef("pk"), wallet_id__in=ids, type__in=BETWEEN_WALLETS))
        )
        .exclude(state=TaskState.RUNNING)
        .first()
    )
    if task is None:
        raise errors.ReceiptNotFound
    lines = list(task.receipt_lines.order_by("-denomination", "serial_number"))
    # The other side of a transfer sees no locker: a transfer has none.
    return Receipt(task, lines, locker_expiry.of_locker(task.locker))


@dataclass(frozen=True, slots=True)
class LockerContents:
    locker: Locker
    # Number and units of the coins in the state LOCKED.
    coins: int
    units: int
    # What is known of its coins, if it expires.
    expiry: Expiry | None = None


def lockers_page(
    *, actor: Wallet, limit: int, offset: int = 0, after: tuple[datetime, UUID] | None = None
) -> list[LockerContents]:
    """Return a page of the lockers that wallets of the actor filled, newest first."""
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    found = Locker.objects.filter(wallet_id__in=ids).select_related("wallet").order_by("-created_at", "-id")
    if after is not None:
        found = found.filter(is_before(*after))
    rows = list(found[offset : offset + limit])
    held = counts_by("locker", [row.pk for row in rows], CoinState.LOCKED)
    expiries = locker_expiry.of_lockers(rows)
    return [
        LockerContents(row, sum(held.get(row.pk, {}).values()), total_value(held.get(row.pk, {})), expiries.get(row.pk))
        for row in rows
    ]


def is_before(moment: datetime, key: UUID) -> Q:
    return Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=key)


def counts_by(name: Literal["locker", "export"], keys: Sequence[UUID], state: CoinState) -> dict[UUID, dict[int, int]]:
    """Return for each locker or export the number of its coins in the state by denomination."""
    counts: dict[UUID, dict[int, int]] = {}
    for key, denomination, number in (
        Coin.objects.filter(**{f"{name}__in": keys}, state=state)
        .values_list(f"{name}_id", "denomination")
        .annotate(number=Count("id"))
        .order_by(f"{name}_id", "denomination")
    ):
        counts.setdefault(key, {})[denomination] = number
    return counts


def locker_code(*, actor: Wallet, locker_id: UUID) -> str:
    """
    Return the code of a locker that a wallet of the actor filled, while it is FILLED.

    :raises LockerNotFound: no such locker, or not visible to the actor
    :raises LockerNotFilled: it is being filled, empty, or in limbo
    """
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    locker = Locker.objects.filter(pk=locker_id, wallet_id__in=ids).first()
    if locker is None:
        raise errors.LockerNotFound
    if locker.state != LockerState.FILLED:
        raise errors.LockerNotFilled(locker.state)
    return vault.locker_code(locker)


# Statements.


@dataclass(frozen=True, slots=True)
class Statement:
    """A wallet's balance, the part of it that tasks have reserved, and a page of its lines, newest first."""

    wallet: Wallet
    balance: int
    reserved: int
    lines: Sequence[StatementLine]


def statement_of(*, wallet: Wallet, limit: int, offset: int = 0, before: int | None = None) -> Statement:
    """Return a page of the wallet's statement: lines with numbers below `before`, or the newest lines."""
    lines = StatementLine.objects.filter(wallet=wallet).select_related("task", "other_wallet").order_by("-number")
    if before is not None:
        lines = lines.filter(number__lt=before)
    balance = Account.objects.filter(wallet=wallet).values_list("balance", flat=True).first()
    reserved = Coin.objects.filter(wallet=wallet, state__in=SPENDABLE, task__isnull=False)
    return Statement(
        wallet=wallet,
        balance=int(balance or 0),
        reserved=total_value(count_by_denomination(reserved)),
        lines=list(lines[offset : offset + limit]),
    )
