"""Operators' actions on coins and tasks, and on the local network of RAIDA servers."""

from collections.abc import Callable, Sequence
from typing import ClassVar

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
    nothing_to_do = "no coin of it is in doubt"

    def snapshot(self, row: Wallet, values: Values) -> Values:
        in_doubt = Coin.objects.filter(wallet_id=row.pk, state__in=DOUBTFUL, task=None)
        return {"coins_in_doubt": in_doubt.count()}

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"A task asks all {RAIDA_COUNT} servers about {counted(snapshot['coins_in_doubt'], 'coin')} of {row.name}"
            " that are in limbo or errored.",
            "It only asks: what the servers say decides which of them are to spend, and none changes hands.",
        ]


class StartFix(CoinsAction):
    name = "start-fix"
    label = "Fix coins"
    confirm_label = "Fix them"
    verb = OperatorVerb.STARTED_FIX
    start = fix.start
    message = "The coins are being fixed."
    nothing_to_do = "all servers accept every free coin of it"

    def snapshot(self, row: Wallet, values: Values) -> Values:
        return {
            "coins_to_fix": retry_plan.coins_to_fix(wallet_id=row.pk),
            "coins_to_check": health_check.not_checked_lately(health_check.at_rest(row.pk)).count(),
        }

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        to_check = snapshot["coins_to_check"]
        first = f"A task asks the servers first which of {counted(to_check, 'coin')} they accept."
        return [
            *([first] if to_check else []),
            f"A task lets servers vouch for {counted(snapshot['coins_to_fix'], 'coin')} of {row.name} with those that"
            f" refuse them{', and for those that are found so' if to_check else ''}.",
            "Meanwhile these coins are reserved: their owner cannot spend them for some seconds.",
        ]


class CheckCoins(CoinsAction):
    name = "check-coins"
    label = "Check coins"
    confirm_label = "Ask the servers"
    verb = OperatorVerb.CHECKED_COINS
    start = health.start
    message = "The servers are being asked."
    nothing_to_do = "it has no free coin"

    def snapshot(self, row: Wallet, values: Values) -> Values:
        return {"coins_to_check": health_check.at_rest(row.pk).count()}

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"A task asks all {RAIDA_COUNT} servers whether they accept"
            f" {counted(snapshot['coins_to_check'], 'free coin')} of {row.name}. No coin is reserved or moved.",
            "Where a server refuses a coin that the books say it accepts, that is written down, and a fix heals"
            " the coin by itself soon.",
        ]


# --- tasks --------------------------------------------------------------------------------


class TaskAction(AdminAction):
    """An action on a task. `lockers.current_results` takes the same row lock to settle coins that it left open."""

    model = LockerTask
    kind = base.TASK

    def heading(self, row: LockerTask) -> str:
        return f"{self.label}: {self.log_label(row, {})}"

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
    confirm_label = "Begin it again"
    verb = OperatorVerb.RETRIED_TASK

    def why_not(self, user: User, row: LockerTask) -> str:
        return retry_plan.why_not_retry(row)

    def preview(self, row: LockerTask, values: Values, snapshot: Values) -> Sequence[str]:
        if row.state == TaskState.RUNNING:
            return [
                "A worker is told at once that this task waits; the sweep would do so within seconds.",
                f"{counted(snapshot['coins'], 'coin')} stay reserved for it. The worker asks the servers what they hold"
                " before it sends anything again.",
            ]
        todo, later = snapshot["left_to_do"], snapshot["later_puts"]
        new_code = "The new locker has a new code, which its owner reads from the new task."
        same_order = (
            f"The wallet has begun {counted(later, 'put')} of the same amount since this one: ask its owner first"
            " whether that was the same order."
        )
        return [
            f"{todo[:1].upper()}{todo[1:]}.",
            f"1 new task of the kind {row.kind} for {row.wallet.name}. This one stays as it is.",
            *([new_code] if row.kind == TaskKind.PUT else []),
            *([same_order] if later else []),
        ]

    def perform(self, operator: Operator, row: LockerTask, values: Values, snapshot: Values) -> Outcome:
        task = task_recovery.retry(row)
        return self.outcome(
            row, task, ("A worker was told.", "It was begun again, as this task."), coins=task.coins.count()
        )


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
                f"The task ends now, from what is known, and lets go of {counted(snapshot['coins'], 'coin')}.",
                "Coins with which nothing was sent go back to the wallet. Those that a server may hold otherwise go to"
                " limbo with both numbers, and a find asks for them.",
            ]
        if row.kind == TaskKind.EXPORT:
            coins = snapshot["coins_in_file"]
            return [
                f"{counted(coins, 'coin')} of the file {row.export.file_name} {verb(coins)} taken back into"
                f" {row.wallet.name}. The file is worth nothing from then on.",
                "Coins that somebody has imported meanwhile are theirs, and stay so.",
            ]
        held, put = formats.coins(snapshot["units_in_locker"]), formats.coins(row.amount)
        return [
            f"The coins in the locker, {held} of {put} as far as is known, are taken back into {row.wallet.name}.",
            "Its code opens an empty locker from then on. What somebody has taken out of it first is theirs.",
        ]

    def perform(self, operator: Operator, row: LockerTask, values: Values, snapshot: Values) -> Outcome:
        messages = ("The task is being ended.", "The coins are being taken back, by this task.")
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
            "It is counted no more among the tasks that need a human, until something about it changes.",
            f"{counted(unknown, 'coin')} of it {verb(unknown)} unknown. No coin is touched, and finds go on asking.",
        ]

    def perform(self, operator: Operator, row: LockerTask, values: Values, snapshot: Values) -> Outcome:
        task_recovery.mark_seen(row)
        return Outcome("It is marked as seen.", {"seen": True})


# --- the local network --------------------------------------------------------------------


class RehearseForm(ReasonForm):
    servers = forms.CharField(
        initial="0-11", help_text="A number from 0 to 24, a span such as 0-11, or * for all.", max_length=20
    )
    fault = forms.ChoiceField(
        choices=[
            ("silent", "read, and never answer"),
            ("down", "take no connection"),
            ("delay:2", "answer 2 seconds late"),
            ("drop-reply", "do the work, and never answer"),
            ("garbage", "answer with nonsense"),
            ("clear", "behave again"),
        ],
        label="From now on they",
    )
    field_order = ("servers", "fault", "reason")

    def clean_servers(self) -> str:
        text = str(self.cleaned_data["servers"]).strip()
        try:
            parse_servers(text)
        except InvalidFault as error:
            raise forms.ValidationError(str(error)) from error
        return text


def _control() -> Control:
    return Control(settings.STATE_DIR / "raida")


class RehearseOutage(AdminAction):
    name = "rehearse-outage"
    label = "Rehearse an outage"
    confirm_label = "Let it happen"
    verb = OperatorVerb.SET_FAULT
    kind = "local network"
    above = LockerTask
    form_class = RehearseForm
    is_dangerous = True

    def why_not(self, user: User, row: None) -> str:
        try:
            self.snapshot(row, {})
        except errors.NotPossible:
            return "no local network of this installation answers, and real servers obey nobody here"
        return ""

    def intro(self, row: None) -> str:
        faults = self.snapshot(row, {})["faults"]
        if not faults:
            return f"All {RAIDA_COUNT} servers of the local network behave now."
        named = ", ".join(sorted(faults, key=int))
        return f"{counted(len(faults), 'server')} of the local network misbehave now: {named}."

    def snapshot(self, row: None, values: Values) -> Values:
        try:
            return {"faults": _control().state()["faults"]}
        except ControlFailed as error:
            raise errors.NotPossible(str(error)) from error

    def preview(self, row: None, values: Values, snapshot: Values) -> Sequence[str]:
        named, faulty = set(parse_servers(values["servers"])), set(map(int, snapshot["faults"]))
        after = faulty - named if values["fault"] == "clear" else faulty | named
        well = RAIDA_COUNT - len(after)
        return [
            f"{counted(len(named), 'server')} of the local network: {values['fault']}. Now {len(faulty)} misbehave,"
            f" then {len(after)}.",
            f"{well} of {RAIDA_COUNT} will behave; {QUORUM} decide. "
            + ("Uploads go on." if well >= QUORUM else "Uploads wait, and go on when enough are back."),
            "It lasts until somebody clears it here.",
        ]

    def perform(self, operator: Operator, row: None, values: Values, snapshot: Values) -> Outcome:
        servers, fault = values["servers"], values["fault"]
        try:
            _control().clear(servers) if fault == "clear" else _control().fault(f"{servers}={fault}")
        except ControlFailed as error:
            raise errors.NotPossible(str(error)) from error
        return Outcome(f"Servers {servers}: {fault}.", {"servers": servers, "fault": fault}, url=self.url_of(None))

    def url_of(self, row: None) -> str:
        return reverse("admin:index")

    def log_label(self, subject: None, values: Values) -> str:
        return f"servers {values['servers']}: {values['fault']}"
