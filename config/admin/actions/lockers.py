"""Operators' actions on coins and tasks, and on the local network of RAIDA servers."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.urls import reverse

from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, ReasonForm, Values
from config.admin.actions.wallets import WalletAction
from config.admin.links import page_url
from config.admin.templatetags import formats
from lockers import retry_plan, task_recovery
from lockers.localnet.control import Control, ControlFailed
from lockers.localnet.faults import InvalidFault, parse_servers
from lockers.models import Coin, LockerTask
from lockers.operations import find, fix, health, new_task
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import DOUBTFUL, TaskKind, TaskState
from lockers.worker import health_check
from wallets import errors, operator_log
from wallets.models import Wallet
from wallets.operator_log import Operator
from wallets.states import OperatorVerb
from wallets.wording import counted, verb

# --- coins of a wallet --------------------------------------------------------------------


class CoinsAction(WalletAction):
    """Begins a task about the coins of a wallet, if there is any coin for it."""

    start: ClassVar[Callable[..., new_task.Started]]
    message: ClassVar[str]
    nothing_to_do: ClassVar[str]

    def why_not(self, user: User, row: Wallet) -> str:
        return "" if any(self.snapshot(row, {}).values()) else self.nothing_to_do

    def perform(self, operator: Operator, row: Wallet, values: Values, snapshot: Values) -> Outcome:
        task = type(self).start(actor=row, name=str(row.pk)).task
        # A health check reserves no coin.
        after = {"task": str(task.pk), **({} if task.kind == TaskKind.HEALTH else {"coins": task.coins.count()})}
        return Outcome(self.message, after, concerns=[(base.TASK, task.pk)], url=page_url(LockerTask, task.pk))


class StartFind(CoinsAction):
    name = "start-find"
    label = "Find coins"
    confirm_label = "Ask the servers"
    verb = OperatorVerb.STARTED_FIND
    start = find.start
    message = "The servers are being asked."
    nothing_to_do = "none of its coins is in doubt"

    def snapshot(self, row: Wallet, values: Values) -> Values:
        in_doubt = Coin.objects.filter(wallet_id=row.pk, state__in=DOUBTFUL, task=None)
        return {"coins_in_doubt": in_doubt.count()}

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"A task asks all {RAIDA_COUNT} servers about the coins of {row.name} that are in limbo or errored:"
            f" {counted(snapshot['coins_in_doubt'], 'coin')}.",
            "It only queries: the answers decide which coins are spendable. No coin changes its owner.",
        ]


class StartFix(CoinsAction):
    name = "start-fix"
    label = "Fix coins"
    confirm_label = "Fix them"
    verb = OperatorVerb.STARTED_FIX
    start = fix.start
    message = "The coins are being fixed."
    nothing_to_do = "all servers accept all of its free coins"

    def snapshot(self, row: Wallet, values: Values) -> Values:
        return {
            "coins_to_fix": retry_plan.coins_to_fix(wallet_id=row.pk),
            "coins_to_check": health_check.not_checked_lately(health_check.at_rest(row.pk)).count(),
        }

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        to_check = snapshot["coins_to_check"]
        first = f"A task first asks the servers which of {counted(to_check, 'coin')} they accept."
        return [
            *([first] if to_check else []),
            f"A task repairs {counted(snapshot['coins_to_fix'], 'coin')} of {row.name} that some servers refuse"
            f"{', and those that the first step finds' if to_check else ''}: servers that accept a coin vouch for it.",
            "The coins are reserved while the task runs, usually for some seconds: they cannot be spent.",
        ]


class CheckCoins(CoinsAction):
    name = "check-coins"
    label = "Check coins"
    confirm_label = "Ask the servers"
    verb = OperatorVerb.CHECKED_COINS
    start = health.start
    message = "The servers are being asked."
    nothing_to_do = "it has no free coins"

    def snapshot(self, row: Wallet, values: Values) -> Values:
        return {"coins_to_check": health_check.at_rest(row.pk).count()}

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"A task asks all {RAIDA_COUNT} servers whether they accept"
            f" {counted(snapshot['coins_to_check'], 'free coin')} of {row.name}. No coin is reserved or moved.",
            "If a server refuses a coin that the ledger records as accepted, the refusal is recorded, and a fix"
            " task repairs the coin automatically.",
        ]


# --- tasks --------------------------------------------------------------------------------


class TaskAction(AdminAction):
    """An action on a task. `lockers.current_results` takes the same row lock to settle coins that it left open."""

    model = LockerTask
    kind = base.TASK

    def snapshot(self, row: LockerTask, values: Values) -> Values:
        retries, roll_backs = (
            operator_log.earlier(each, kind=self.kind, object_id=row.pk)
            for each in (OperatorVerb.RETRIED_TASK, OperatorVerb.ROLLED_BACK_TASK)
        )
        found = task_recovery.state_of(row)
        return {**found, "begun_again_by_operators": retries, "rolled_back_by_operators": roll_backs}

    def log_label(self, subject: LockerTask, values: Values) -> str:
        return f"{subject.kind} of {subject.wallet.name}"

    def outcome(self, row: LockerTask, task: LockerTask, messages: tuple[str, str], **after: object) -> Outcome:
        """Return what `task` will do for `row`, which may be the same; `messages` are for the same and for another."""
        found: list[tuple[str, object]] = [(base.TASK, each.pk) for each in (row, task)]
        found += [(base.LOCKER, each.locker_id) for each in (row, task) if each.locker_id is not None]
        concerns = [*found, *((base.WALLET, each.wallet_id) for each in (row, task))]
        after = {"task": str(task.pk), **after}
        return Outcome(messages[row.pk != task.pk], after, concerns=concerns, url=page_url(LockerTask, task.pk))


class RetryTask(TaskAction):
    name = "retry-task"
    label = "Retry"
    confirm_label = "Retry the task"
    verb = OperatorVerb.RETRIED_TASK

    def why_not(self, user: User, row: LockerTask) -> str:
        return retry_plan.why_not_retry(row)

    def preview(self, row: LockerTask, values: Values, snapshot: Values) -> Sequence[str]:
        if row.state == TaskState.RUNNING:
            coins = snapshot["coins"]
            return [
                "The task is enqueued again at once; a periodic task would do so within seconds.",
                f"{counted(coins, 'coin')} {verb(coins, 'stays', 'stay')} reserved for it. The worker asks the servers"
                " for their state before it sends anything again.",
            ]
        todo, later = snapshot["left_to_do"], snapshot["later_puts"]
        new_code = "The new locker has a new code, which its owner reads from the new task."
        same_order = (
            f"The wallet has started {counted(later, 'put')} of the same amount since this one: first ask its owner"
            " whether that was the same order."
        )
        return [
            f"{todo[:1].upper()}{todo[1:]}.",
            f"1 new task of the kind {row.kind} for {row.wallet.name}. This task does not change.",
            *([new_code] if row.kind == TaskKind.PUT else []),
            *([same_order] if later else []),
        ]

    def perform(self, operator: Operator, row: LockerTask, values: Values, snapshot: Values) -> Outcome:
        task = task_recovery.retry(row)
        return self.outcome(row, task, ("The task was enqueued.", "This task retries it."), coins=task.coins.count())


class RollBackTask(TaskAction):
    name = "roll-back-task"
    label = "Roll back"
    confirm_label = "Roll it back"
    verb = OperatorVerb.ROLLED_BACK_TASK
    is_dangerous = True

    def why_not(self, user: User, row: LockerTask) -> str:
        return task_recovery.why_not_roll_back(row)

    def preview(self, row: LockerTask, values: Values, snapshot: Values) -> Sequence[str]:
        if row.state == TaskState.RUNNING:
            return [
                f"The task ends now, with the answers so far, and releases {counted(snapshot['coins'], 'coin')}.",
                "Coins that were not sent to a server return to the wallet. Coins whose state on a server is unknown"
                " go to limbo, and a find task asks for them.",
            ]
        if row.kind == TaskKind.EXPORT:
            coins = snapshot["coins_in_file"]
            return [
                f"{counted(coins, 'coin')} of the file {row.export.file_name} {verb(coins)} taken back into"
                f" {row.wallet.name}. The file becomes worthless.",
                "Coins that another owner has already imported stay with that owner.",
            ]
        held, put = formats.coins(snapshot["units_in_locker"]), formats.coins(row.amount)
        return [
            f"The coins in the locker, {held} of {put} as far as is known, are taken back into {row.wallet.name}.",
            "Its code then opens an empty locker. Coins that were already taken out stay with their new owner.",
        ]

    def perform(self, operator: Operator, row: LockerTask, values: Values, snapshot: Values) -> Outcome:
        messages = ("The task is ending.", "This task takes the coins back.")
        return self.outcome(row, task_recovery.roll_back(row), messages)


class MarkTaskSeen(TaskAction):
    name = "mark-task-seen"
    label = "Mark as seen"
    confirm_label = "Mark it as seen"
    verb = OperatorVerb.SAW_TASK

    def why_not(self, user: User, row: LockerTask) -> str:
        return task_recovery.why_not_mark_seen(row)

    def preview(self, row: LockerTask, values: Values, snapshot: Values) -> Sequence[str]:
        unknown = snapshot["unknown_coins"]
        return [
            "The task no longer counts as one that needs action, until something about it changes.",
            f"{counted(unknown, 'coin')} of it {verb(unknown)} unknown. No coin is changed, and find tasks continue"
            " to ask.",
        ]

    def perform(self, operator: Operator, row: LockerTask, values: Values, snapshot: Values) -> Outcome:
        task_recovery.mark_seen(row)
        return Outcome("The task is marked as seen.", {"seen": True})


# --- the local network --------------------------------------------------------------------


class RehearseForm(ReasonForm):
    servers = forms.CharField(
        initial="0-11", help_text="A number from 0 to 24, a span such as 0-11, or * for all.", max_length=20
    )
    fault = forms.ChoiceField(
        choices=[
            ("silent", "read requests and never answer"),
            ("down", "refuse connections"),
            ("delay:2", "answer 2 seconds late"),
            ("drop-reply", "execute requests and never answer"),
            ("garbage", "answer with garbage"),
            ("clear", "work normally again"),
        ],
        label="From now on they",
    )

    def clean_servers(self) -> str:
        text = str(self.cleaned_data["servers"]).strip()
        try:
            parse_servers(text)
        except InvalidFault as error:
            raise forms.ValidationError(str(error)) from error
        return text


def _control(orders: Callable[[Control], Any]) -> Any:
    """:raises NotPossible: the local network does not run, or refuses the orders"""
    try:
        return orders(Control(settings.STATE_DIR / "raida"))
    except ControlFailed as error:
        raise errors.NotPossible(str(error)) from error


class RehearseOutage(AdminAction):
    name = "rehearse-outage"
    label = "Rehearse an outage"
    confirm_label = "Set the fault"
    verb = OperatorVerb.SET_FAULT
    kind = "local network"
    above = LockerTask
    form_class = RehearseForm
    is_dangerous = True

    def why_not(self, user: User, row: None) -> str:
        try:
            self.snapshot(row, {})
        except errors.NotPossible:
            return "this installation runs no local network, and real servers cannot be controlled"
        return ""

    def intro(self, row: None) -> str:
        faulty = ", ".join(sorted(self.snapshot(row, {})["faults"], key=int))
        return f"Servers of the local network with a fault now: {faulty or 'none'}."

    def snapshot(self, row: None, values: Values) -> Values:
        return {"faults": _control(Control.state)["faults"]}

    def preview(self, row: None, values: Values, snapshot: Values) -> Sequence[str]:
        named, faulty = set(parse_servers(values["servers"])), set(map(int, snapshot["faults"]))
        after = faulty - named if values["fault"] == "clear" else faulty | named
        well = RAIDA_COUNT - len(after)
        return [
            f"{counted(len(named), 'server')} of the local network: {values['fault']}. With a fault: {len(faulty)} now,"
            f" {len(after)} then.",
            f"{well} of {RAIDA_COUNT} will work normally; the quorum is {QUORUM}. "
            + ("Uploads continue." if well >= QUORUM else "Uploads wait until enough servers work again."),
            "It lasts until an operator clears it here.",
        ]

    def perform(self, operator: Operator, row: None, values: Values, snapshot: Values) -> Outcome:
        servers, fault = values["servers"], values["fault"]
        _control(lambda to: to.clear(servers) if fault == "clear" else to.fault(f"{servers}={fault}"))
        return Outcome(f"Servers {servers}: {fault}.", {"servers": servers, "fault": fault}, url=self.url_of(None))

    def url_of(self, row: None) -> str:
        return reverse("admin:index")

    def log_label(self, subject: None, values: Values) -> str:
        return f"servers {values['servers']}: {values['fault']}"
