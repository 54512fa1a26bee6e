"""
Everything that operators can do at the desk, and on which page it stands.

Each deed asks one act of an app; which rules hold is decided there.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse

from config.admin.actions import lockers, people, transfers, trusts, wallets
from config.admin.confirmation import AdminAction, Confirmation, Done, Reason, operator_of
from config.admin.templatetags import desk
from config.ops import audits
from lockers import retry_plan
from lockers.localnet.control import Control, ControlFailed
from lockers.localnet.faults import InvalidFault, parse_servers
from lockers.models import LockerTask
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import TaskKind, TaskState
from transfers import captures
from transfers.models import Transfer
from transfers.states import OPEN, TransferEvent
from trusts import reports as trusts_overview
from trusts.models import Trust
from trusts.states import OPEN as OPEN_TRUST
from trusts.states import TrustState
from wallets import errors, names, operations, operator_log
from wallets.models import ApiKey, AuditRun, BearerToken, Wallet
from wallets.operator_log import Operator
from wallets.states import OperatorVerb
from wallets.wording import counted, verb

Values = Mapping[str, Any]
_SHOWN_ONCE: Final = "It is shown once, on the next page."


def _change(model: str, row_id: object) -> str:
    return reverse(f"admin:{model}_change", args=[row_id])


_many = counted


# --- wallets ------------------------------------------------------------------------------


class NewWalletForm(Reason):
    name = forms.CharField(max_length=254, strip=False, help_text="No spaces; at least 3 characters. It never changes.")
    about = forms.CharField(max_length=250, required=False)
    with_password = forms.BooleanField(
        required=False,
        label="Give it a password",
        help_text="Without one only a wallet that manages it can act for it.",
    )
    field_order = ("name", "about", "with_password", "reason")

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        try:
            operations.validate_new_name(name)
        except errors.DomainError as error:
            raise forms.ValidationError(str(error)) from error
        return name


class CreateWallet(AdminAction):
    name = "create-wallet"
    label = "Create a wallet"
    verb = "Create the wallet"
    form_class = NewWalletForm

    def shown(self, row: None, values: Values) -> Values:
        return wallets.about_to_create_wallet(name=values["name"])

    def consequences(self, row: None, values: Values, shown: Values) -> Sequence[str]:
        if shown["wallets_of_this_name"]:
            return [f"There is a wallet with the name {values['name']} already: this will be refused."]
        return [
            f"1 new wallet, {values['name']}, with no token and no coin. Wallets are never deleted.",
            f"It gets a password. {_SHOWN_ONCE}" if values["with_password"] else "It gets no password: nobody logs in.",
        ]

    def perform(self, operator: Operator, row: None, values: Values, shown: Values) -> Done:
        wallet, password = wallets.create_wallet(
            operator=operator,
            shown=shown,
            name=values["name"],
            about=values["about"],
            with_password=values["with_password"],
        )
        secrets = [("Wallet", wallet.name), ("Password", password)] if password else []
        return Done(f"The wallet {wallet.name} was created.", self.url_of(wallet), secrets)

    def url_of(self, row: Wallet | None) -> str:
        return reverse("admin:wallets_wallet_changelist") if row is None else _change("wallets_wallet", row.pk)


class _OfWallet(AdminAction):
    model = Wallet

    def url_of(self, row: Wallet) -> str:
        return _change("wallets_wallet", row.pk)


class SetPassword(_OfWallet):
    name = "set-password"
    label = "Set a new password"
    verb = "Set a new password"
    is_dangerous = True

    def shown(self, row: Wallet, values: Values) -> Values:
        return wallets.about_to_set_password(wallet_id=row.pk)

    def consequences(self, row: Wallet, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"{row.name} gets a password drawn at random. {_SHOWN_ONCE}",
            "The password that it has, if any, is worth nothing from then on.",
            f"{_many(shown['valid_bearer_tokens'], 'valid bearer token')} of it will be revoked:"
            " programs that use one must log in again.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, shown: Values) -> Done:
        password = wallets.set_password(operator=operator, shown=shown, wallet_id=row.pk)
        sentence = f"{row.name} has a new password, and its bearer tokens are revoked."
        return Done(sentence, self.url_of(row), [("Wallet", row.name), ("Password", password)])


class RevokeBearerTokens(_OfWallet):
    name = "revoke-bearer-tokens"
    label = "Revoke all bearer tokens"
    verb = "Revoke them"
    is_dangerous = True

    def why_not(self, row: Wallet) -> str:
        return "" if self.shown(row, {})["valid_bearer_tokens"] else "it has no valid one"

    def shown(self, row: Wallet, values: Values) -> Values:
        return wallets.about_to_revoke_bearer_tokens(wallet_id=row.pk)

    def consequences(self, row: Wallet, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"{_many(shown['valid_bearer_tokens'], 'valid bearer token')} of {row.name} will be refused from then on.",
            "Its password stays: whoever knows it can log in again.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, shown: Values) -> Done:
        revoked = wallets.revoke_bearer_tokens(operator=operator, shown=shown, wallet_id=row.pk)
        return Done(f"{_many(revoked, 'bearer token')} of {row.name} revoked.", self.url_of(row))


class RevokeBearerToken(AdminAction):
    name = "revoke-bearer-token"
    label = "Revoke"
    verb = "Revoke it"
    model = BearerToken
    is_dangerous = True

    def why_not(self, row: BearerToken) -> str:
        return "" if self.shown(row, {})["valid"] else "it is not valid any more"

    def heading(self, row: BearerToken) -> str:
        return f"Revoke bearer token {row.prefix}…"

    def shown(self, row: BearerToken, values: Values) -> Values:
        return wallets.about_to_revoke_bearer_token(bearer_token_id=row.pk)

    def consequences(self, row: BearerToken, values: Values, shown: Values) -> Sequence[str]:
        return [f"1 bearer token of {row.wallet.name} will be refused from then on: whoever uses it must log in again."]

    def perform(self, operator: Operator, row: BearerToken, values: Values, shown: Values) -> Done:
        wallets.revoke_bearer_token(operator=operator, shown=shown, bearer_token_id=row.pk)
        return Done(f"The bearer token {row.prefix}… is revoked.", self.url_of(row))

    def url_of(self, row: BearerToken) -> str:
        return _change("wallets_bearertoken", row.pk)


# --- API keys -----------------------------------------------------------------------------


class NewKeyForm(Reason):
    name = forms.CharField(max_length=100, help_text="Whose application it is for.")
    field_order = ("name", "reason")


class CreateApiKey(AdminAction):
    name = "create-api-key"
    label = "Create an API key"
    verb = "Create the key"
    form_class = NewKeyForm

    def shown(self, row: None, values: Values) -> Values:
        return wallets.about_to_create_api_key(name=values["name"])

    def consequences(self, row: None, values: Values, shown: Values) -> Sequence[str]:
        others = shown["valid_keys_of_this_name"]
        return [
            f"1 new key with the name {values['name']}, valid until it is revoked. {_SHOWN_ONCE}",
            *([f"{_many(others, 'valid key')} of this name stays as it is beside it."] if others == 1 else []),
            *([f"{_many(others, 'valid key')} of this name stay as they are beside it."] if others > 1 else []),
        ]

    def perform(self, operator: Operator, row: None, values: Values, shown: Values) -> Done:
        key, plaintext = wallets.create_api_key(operator=operator, shown=shown, name=values["name"])
        return Done(f"The API key {key.name} was created.", self.url_of(key), [("API key", plaintext)])

    def url_of(self, row: ApiKey | None) -> str:
        return reverse("admin:wallets_apikey_changelist") if row is None else _change("wallets_apikey", row.pk)


class _OfApiKey(AdminAction):
    model = ApiKey
    is_dangerous = True

    def why_not(self, row: ApiKey) -> str:
        return "" if self.shown(row, {})["valid"] else "it is not valid any more"

    def shown(self, row: ApiKey, values: Values) -> Values:
        return wallets.about_to_change_api_key(api_key_id=row.pk)

    def url_of(self, row: ApiKey) -> str:
        return _change("wallets_apikey", row.pk)


class RotateForm(Reason):
    old_stays_valid = forms.ChoiceField(
        choices=[("0", "not at all: it is lost or was seen by others"), ("24", "for 24 hours"), ("168", "for 7 days")],
        label="The old key stays valid",
        help_text="As long as the partner needs to put the new one in.",
    )
    field_order = ("old_stays_valid", "reason")


class RotateApiKey(_OfApiKey):
    name = "rotate-api-key"
    label = "Rotate"
    verb = "Rotate the key"
    form_class = RotateForm

    def consequences(self, row: ApiKey, values: Values, shown: Values) -> Sequence[str]:
        hours = int(values["old_stays_valid"])
        return [
            f"1 new key with the name {row.name}. {_SHOWN_ONCE}",
            f"The old one, {row.prefix}…, is refused {f'{hours} hours later' if hours else 'from then on'}.",
        ]

    def perform(self, operator: Operator, row: ApiKey, values: Values, shown: Values) -> Done:
        key, plaintext = wallets.rotate_api_key(
            operator=operator,
            shown=shown,
            api_key_id=row.pk,
            old_stays_valid=timedelta(hours=int(values["old_stays_valid"])),
        )
        return Done(f"The API key {key.name} has a successor.", self.url_of(key), [("API key", plaintext)])


class RevokeApiKey(_OfApiKey):
    name = "revoke-api-key"
    label = "Revoke"
    verb = "Revoke the key"

    def consequences(self, row: ApiKey, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"1 key, {row.name} ({row.prefix}…), is refused from then on, and with it every call of that application.",
            f"It was last used {desk.ago(row.last_used_at)}." if row.last_used_at else "It was never used.",
            "A key that was revoked never comes back.",
        ]

    def perform(self, operator: Operator, row: ApiKey, values: Values, shown: Values) -> Done:
        wallets.revoke_api_key(operator=operator, shown=shown, api_key_id=row.pk)
        return Done(f"The API key {row.name} is revoked.", self.url_of(row))


# --- tokens and transfers -----------------------------------------------------------------


class IssueForm(Reason):
    count = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=transfers.MAXIMUM_ISSUE,
        label="How many",
        help_text="With captures drawn at random. Or a file:",
    )
    file = forms.FileField(
        required=False,
        label="CSV file",
        help_text="A column capture_id, or ids alone, one a line. Each gets one token.",
    )
    captures = forms.CharField(required=False, widget=forms.HiddenInput)
    field_order = ("count", "file", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("file"):
            cleaned["captures"] = " ".join(map(str, _captures_in(cleaned["file"])))
        listed = cleaned.get("captures") or ""
        if any(names.parse_uuid(line) is None for line in listed.split()):
            raise forms.ValidationError("A capture id is a UUID.")
        if bool(cleaned.get("count")) == bool(listed) and not self.errors:
            raise forms.ValidationError("Say how many, or choose a file; one of the two.")
        return cleaned


def _captures_in(file: Any) -> list[UUID]:
    try:
        found = captures.read(file.read())
    except captures.CapturesUnreadable as error:
        raise forms.ValidationError(str(error)) from error
    if len(found) > transfers.MAXIMUM_ISSUE:
        raise forms.ValidationError(f"At most {transfers.MAXIMUM_ISSUE:,} at once; the file holds {len(found):,}.")
    if len(set(found)) < len(found):
        raise forms.ValidationError(f"{_many(len(found) - len(set(found)), 'line')} of the file repeat a capture id.")
    return found


def _captures(values: Values) -> list[UUID] | None:
    return [UUID(line) for line in values["captures"].split()] if values.get("captures") else None


class IssueTokens(_OfWallet):
    name = "issue-tokens"
    label = "Issue tokens"
    verb = "Issue the tokens"
    form_class = IssueForm

    def shown(self, row: Wallet, values: Values) -> Values:
        return transfers.about_to_issue(wallet_id=row.pk, capture_ids=_captures(values))

    def consequences(self, row: Wallet, values: Values, shown: Values) -> Sequence[str]:
        capture_ids = _captures(values)
        number = len(capture_ids) if capture_ids else int(values["count"] or 0)
        taken = shown["captures_issued_already"]
        if taken:
            return [f"{_many(taken, 'capture')} of the file have a token already: this will be refused as a whole."]
        return [
            f"{_many(number, 'new token')} in {row.name}"
            + (", one for each capture of the file." if capture_ids else ", with captures drawn at random."),
            "Tokens are never deleted: what was issued by mistake can only be moved away.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, shown: Values) -> Done:
        issued = transfers.issue_tokens(
            operator=operator,
            shown=shown,
            wallet_id=row.pk,
            count=values.get("count"),
            capture_ids=_captures(values),
        )
        return Done(f"{_many(issued, 'token')} issued to {row.name}.", self.url_of(row))


class CancelForm(Reason):
    event = forms.ChoiceField(label="In whose name", widget=forms.RadioSelect)
    field_order = ("event", "reason")


class CancelTransfer(AdminAction):
    name = "cancel-transfer"
    label = "Cancel"
    verb = "Cancel the transfer"
    model = Transfer
    form_class = CancelForm
    is_dangerous = True

    def form(self, row: Transfer, *args: Any, **kwargs: Any) -> forms.Form:
        form = super().form(row, *args, **kwargs)
        words = {TransferEvent.DELETE: "which asked: withdraw it", TransferEvent.DECLINE: "which was asked: decline it"}
        choices = [(event.value, f"{wallet.name}, {words[event]}") for event, wallet in transfers.deciders(row).items()]
        # When it is closed the act says so, in better words than those of a choice that is not there.
        form.fields["event"].choices = choices or [(event.value, "") for event in words]  # type: ignore[attr-defined]
        return form

    def heading(self, row: Transfer) -> str:
        return f"Cancel transfer {desk.short(row.pk)}"

    def why_not(self, row: Transfer) -> str:
        return "" if row.state in OPEN else f"it is {row.state}, and that is final"

    def intro(self, row: Transfer) -> str:
        return f"{_many(row.token_count, 'token')} from {row.source.name} to {row.destination.name}, {row.state}."

    def shown(self, row: Transfer, values: Values) -> Values:
        return transfers.about_to_cancel(transfer_id=row.pk)

    def consequences(self, row: Transfer, values: Values, shown: Values) -> Sequence[str]:
        wallet = transfers.deciders(row)[TransferEvent(values["event"])]
        return [
            f"The transfer of {_many(row.token_count, 'token')} from {row.source.name} to {row.destination.name} is"
            f" cancelled in the name of {wallet.name}. That is final, and both wallets read of it among their events.",
            f"{_many(shown['tokens_reserved'], 'reserved token')} of {row.source.name} can be used again."
            if shown["tokens_reserved"]
            else "No token was reserved for it.",
        ]

    def perform(self, operator: Operator, row: Transfer, values: Values, shown: Values) -> Done:
        event = TransferEvent(values["event"])
        transfers.cancel_transfer(operator=operator, shown=shown, transfer_id=row.pk, event=event)
        return Done("The transfer is cancelled.", self.url_of(row))

    def url_of(self, row: Transfer) -> str:
        return _change("transfers_transfer", row.pk)


# --- trusts -------------------------------------------------------------------------------


class EndTrust(AdminAction):
    name = "end-trust"
    label = "End"
    verb = "End this trust"
    model = Trust
    is_dangerous = True

    def heading(self, row: Trust) -> str:
        return f"End trust {desk.short(row.pk)}"

    def why_not(self, row: Trust) -> str:
        return "" if row.state in OPEN_TRUST else "it is neither requested nor trusted"

    def shown(self, row: Trust, values: Values) -> Values:
        return trusts.about_to_end(trust_id=row.pk)

    def consequences(self, row: Trust, values: Values, shown: Values) -> Sequence[str]:
        now = "is in force, and ends" if shown["state"] == TrustState.TRUSTED else "is only requested, and is refused"
        return [
            f"{trusts_overview.meaning(row)}: this {now}.",
            f"Neither {row.actor.name} nor {row.target.name} can bring it back by an answer: a new request is needed."
            " Both wallets read of it among their events.",
            "Open transfers stay open, and other trusts stay as they are.",
        ]

    def perform(self, operator: Operator, row: Trust, values: Values, shown: Values) -> Done:
        trusts.end_trust(operator=operator, shown=shown, trust_id=row.pk)
        return Done("The trust is ended.", self.url_of(row))

    def url_of(self, row: Trust) -> str:
        return _change("trusts_trust", row.pk)


# --- coins and tasks ----------------------------------------------------------------------


class StartFind(_OfWallet):
    name = "start-find"
    label = "Find coins"
    verb = "Ask the servers"

    def why_not(self, row: Wallet) -> str:
        return "" if self.shown(row, {})["coins_in_doubt"] else "no coin of it is in doubt"

    def shown(self, row: Wallet, values: Values) -> Values:
        return lockers.about_to_find(wallet_id=row.pk)

    def consequences(self, row: Wallet, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"A task asks all {RAIDA_COUNT} servers about {_many(shown['coins_in_doubt'], 'coin')} of {row.name} that"
            " are in limbo or errored.",
            "It only asks: what the servers say decides which of them are to spend, and none changes hands.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, shown: Values) -> Done:
        task = lockers.start_find(operator=operator, shown=shown, wallet_id=row.pk)
        return Done("The servers are being asked.", _change("lockers_lockertask", task.pk))


class StartFix(_OfWallet):
    name = "start-fix"
    label = "Fix coins"
    verb = "Fix them"

    def why_not(self, row: Wallet) -> str:
        return "" if any(self.shown(row, {}).values()) else "all servers accept every free coin of it"

    def shown(self, row: Wallet, values: Values) -> Values:
        return lockers.about_to_fix(wallet_id=row.pk)

    def consequences(self, row: Wallet, values: Values, shown: Values) -> Sequence[str]:
        return [
            *(
                [f"A task asks the servers first which of {_many(shown['coins_to_check'], 'coin')} they accept."]
                if shown["coins_to_check"]
                else []
            ),
            f"A task lets servers vouch for {_many(shown['coins_to_fix'], 'coin')} of {row.name} with those that refuse"
            f" them{', and for those that are found so' if shown['coins_to_check'] else ''}.",
            "Meanwhile these coins are reserved: their owner cannot spend them for some seconds.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, shown: Values) -> Done:
        task = lockers.start_fix(operator=operator, shown=shown, wallet_id=row.pk)
        return Done("The coins are being fixed.", _change("lockers_lockertask", task.pk))


class CheckCoins(_OfWallet):
    name = "check-coins"
    label = "Check coins"
    verb = "Ask the servers"

    def why_not(self, row: Wallet) -> str:
        return "" if self.shown(row, {})["coins_to_check"] else "it has no free coin"

    def shown(self, row: Wallet, values: Values) -> Values:
        return lockers.about_to_check(wallet_id=row.pk)

    def consequences(self, row: Wallet, values: Values, shown: Values) -> Sequence[str]:
        return [
            f"A task asks all {RAIDA_COUNT} servers whether they accept {_many(shown['coins_to_check'], 'free coin')}"
            f" of {row.name}. No coin is reserved or moved.",
            "Where a server refuses a coin that the books say it accepts, that is written down, and a fix heals"
            " the coin by itself soon.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, shown: Values) -> Done:
        task = lockers.start_health(operator=operator, shown=shown, wallet_id=row.pk)
        return Done("The servers are being asked.", _change("lockers_lockertask", task.pk))


class _OfTask(AdminAction):
    model = LockerTask

    def heading(self, row: LockerTask) -> str:
        return f"{self.label}: {row.kind} of {row.wallet.name}"

    def shown(self, row: LockerTask, values: Values) -> Values:
        return lockers.about_to_act_on(task_id=row.pk)

    def url_of(self, row: LockerTask) -> str:
        return _change("lockers_lockertask", row.pk)


class RetryTask(_OfTask):
    name = "retry-task"
    label = "Retry"
    verb = "Begin it again"

    def why_not(self, row: LockerTask) -> str:
        return retry_plan.why_not_retry(row)

    def consequences(self, row: LockerTask, values: Values, shown: Values) -> Sequence[str]:
        if row.state == TaskState.RUNNING:
            return [
                "A worker is told at once that this task waits; the sweep would do so within seconds.",
                f"{_many(shown['coins'], 'coin')} stay reserved for it. The worker asks the servers what they hold"
                " before it sends anything again.",
            ]
        todo = shown["left_to_do"]
        said = [
            f"{todo[:1].upper()}{todo[1:]}.",
            f"1 new task of the kind {row.kind} for {row.wallet.name}. This one stays as it is.",
        ]
        if row.kind == TaskKind.PUT:
            said.append("The new locker has a new code, which its owner reads from the new task.")
        if shown["later_puts"]:
            said.append(
                f"The wallet has begun {_many(shown['later_puts'], 'put')} of the same amount since this one: ask its"
                " owner first whether that was the same order."
            )
        return said

    def perform(self, operator: Operator, row: LockerTask, values: Values, shown: Values) -> Done:
        task = lockers.retry(operator=operator, shown=shown, task_id=row.pk)
        sentence = "A worker was told." if task.pk == row.pk else "It was begun again, as this task."
        return Done(sentence, self.url_of(task))


class RollBackTask(_OfTask):
    name = "roll-back-task"
    label = "Roll back"
    verb = "Roll it back"
    is_dangerous = True

    def why_not(self, row: LockerTask) -> str:
        return lockers.why_not_roll_back(row)

    def consequences(self, row: LockerTask, values: Values, shown: Values) -> Sequence[str]:
        coins = _many(shown["coins"], "coin")
        if row.state == TaskState.RUNNING:
            return [
                f"The task ends now, from what is known, and lets go of {coins}.",
                "Coins with which nothing was sent go back to the wallet. Those that a server may hold otherwise go to"
                " limbo with both numbers, and a find asks for them.",
            ]
        if row.kind == TaskKind.EXPORT:
            return [
                f"{_many(shown['coins_in_file'], 'coin')} of the file {row.export.file_name}"
                f" {verb(shown['coins_in_file'])} taken back into {row.wallet.name}. The file is worth nothing"
                " from then on.",
                "Coins that somebody has imported meanwhile are theirs, and stay so.",
            ]
        return [
            f"The coins in the locker, {desk.coins(shown['units_in_locker'])} of {desk.coins(row.amount)} as far as is"
            f" known, are taken back into {row.wallet.name}.",
            "Its code opens an empty locker from then on. What somebody has taken out of it first is theirs.",
        ]

    def perform(self, operator: Operator, row: LockerTask, values: Values, shown: Values) -> Done:
        task = lockers.roll_back(operator=operator, shown=shown, task_id=row.pk)
        sentence = "The task is being ended." if task.pk == row.pk else "The coins are being taken back, by this task."
        return Done(sentence, self.url_of(task))


class MarkTaskSeen(_OfTask):
    name = "mark-task-seen"
    label = "Mark as seen"
    verb = "Mark it as seen"

    def why_not(self, row: LockerTask) -> str:
        return lockers.why_not_mark_seen(row)

    def consequences(self, row: LockerTask, values: Values, shown: Values) -> Sequence[str]:
        return [
            "It is counted no more among the tasks that need a human, until something about it changes.",
            f"{_many(shown['unknown_coins'], 'coin')} of it {verb(shown['unknown_coins'])} unknown. No coin is touched,"
            " and finds go on asking.",
        ]

    def perform(self, operator: Operator, row: LockerTask, values: Values, shown: Values) -> Done:
        lockers.mark_seen(operator=operator, shown=shown, task_id=row.pk)
        return Done("It is marked as seen.", self.url_of(row))


# --- the installation ---------------------------------------------------------------------


class RunAudit(AdminAction):
    name = "run-audit"
    label = "Run the audit"
    verb = "Run it now"

    def why_not(self, row: None) -> str:
        return "one is running" if AuditRun.objects.filter(result="running").exists() else ""

    def shown(self, row: None, values: Values) -> Values:
        last = AuditRun.objects.order_by("-pk").first()
        return {"last_audit": last and last.pk}

    def consequences(self, row: None, values: Values, shown: Values) -> Sequence[str]:
        last = AuditRun.objects.exclude(finished_at=None).order_by("-pk").first()
        took = desk.span((last.finished_at - last.started_at).total_seconds()) if last and last.finished_at else ""
        return [
            "Every token, transfer, coin and account is checked as of one moment. Nothing is changed, nobody waits.",
            f"The last one took {took}; this page waits for the result." if took else "This page waits for the result.",
        ]

    def perform(self, operator: Operator, row: None, values: Values, shown: Values) -> Done:
        with transaction.atomic(savepoint=False):
            operator_log.begin(operator)
            operator_log.hold(OperatorVerb.RAN_AUDIT, kind="audit")
            operator_log.compare(shown, self.shown(row, values))
            assert isinstance(operator.staff, User)
            run = operator_log.begin_audit(staff=operator.staff, request_id=operator.request_id)
            operator_log.record(
                operator,
                OperatorVerb.RAN_AUDIT,
                kind="audit",
                object_id=run.pk,
                label=f"audit {run.pk}",
                before=shown,
                after={"audit": run.pk},
            )
        # Not in that transaction: it reads in one of its own, as of one moment.
        audits.complete(run_id=run.pk)
        return Done("The books were audited.", _change("wallets_auditrun", run.pk))

    def url_of(self, row: None) -> str:
        return reverse("admin:wallets_auditrun_changelist")


class RehearseForm(Reason):
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
            _servers_named(text)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
        return text


def _servers_named(text: str) -> list[int]:
    try:
        return sorted(parse_servers(text))
    except InvalidFault as error:
        raise ValueError(str(error)) from error


class RehearseOutage(AdminAction):
    name = "rehearse-outage"
    label = "Rehearse an outage"
    verb = "Let it happen"
    form_class = RehearseForm
    is_dangerous = True

    def why_not(self, row: None) -> str:
        try:
            self.shown(row, {})
        except errors.NotPossible:
            return "no local network of this installation answers, and real servers obey nobody here"
        return ""

    def intro(self, row: None) -> str:
        faults = self.shown(row, {})["faults"]
        return (
            f"{_many(len(faults), 'server')} of the local network misbehave now: {', '.join(sorted(faults, key=int))}."
            if faults
            else f"All {RAIDA_COUNT} servers of the local network behave now."
        )

    def shown(self, row: None, values: Values) -> Values:
        try:
            return {"faults": _control().state()["faults"]}
        except ControlFailed as error:
            raise errors.NotPossible(str(error)) from error

    def consequences(self, row: None, values: Values, shown: Values) -> Sequence[str]:
        named = _servers_named(values["servers"])
        faulty = set(map(int, shown["faults"]))
        after = faulty - set(named) if values["fault"] == "clear" else faulty | set(named)
        well = RAIDA_COUNT - len(after)
        return [
            f"{_many(len(named), 'server')} of the local network: {values['fault']}. Now {len(faulty)} misbehave,"
            f" then {len(after)}.",
            f"{well} of {RAIDA_COUNT} will behave; {QUORUM} decide. "
            + ("Uploads go on." if well >= QUORUM else "Uploads wait, and go on when enough are back."),
            "It lasts until somebody clears it here.",
        ]

    def perform(self, operator: Operator, row: None, values: Values, shown: Values) -> Done:
        with transaction.atomic(savepoint=False):
            operator_log.begin(operator)
            operator_log.hold(OperatorVerb.SET_FAULT, kind="local network")
            operator_log.compare(shown, self.shown(row, values))
            operator_log.record(
                operator,
                OperatorVerb.SET_FAULT,
                kind="local network",
                label=f"servers {values['servers']}: {values['fault']}",
                before=shown,
                after={"servers": values["servers"], "fault": values["fault"]},
            )
            # Last: if it is refused, nothing is written down either.
            try:
                if values["fault"] == "clear":
                    _control().clear(values["servers"])
                else:
                    _control().fault(f"{values['servers']}={values['fault']}")
            except ControlFailed as error:
                raise errors.NotPossible(str(error)) from error
        return Done(f"Servers {values['servers']}: {values['fault']}.", self.url_of(row))

    def url_of(self, row: None) -> str:
        return reverse("admin:index")


def _control() -> Control:
    return Control(settings.STATE_DIR / "raida")


# --- where they stand ---------------------------------------------------------------------

ALL: Final[Sequence[AdminAction]] = (
    CreateWallet(),
    IssueTokens(),
    SetPassword(),
    RevokeBearerTokens(),
    StartFind(),
    StartFix(),
    CheckCoins(),
    RevokeBearerToken(),
    CreateApiKey(),
    RotateApiKey(),
    RevokeApiKey(),
    EndTrust(),
    CancelTransfer(),
    RetryTask(),
    RollBackTask(),
    MarkTaskSeen(),
    RunAudit(),
    RehearseOutage(),
    *people.ALL,
)
# Deeds that concern no row, by the list above which they stand.
ABOVE_LISTS: Final[Mapping[type[Model], Sequence[str]]] = {
    Wallet: ["create-wallet"],
    ApiKey: ["create-api-key"],
    AuditRun: ["run-audit"],
    LockerTask: ["rehearse-outage"],
    User: ["create-person"],
}


def by_name(name: str) -> AdminAction:
    return next(deed for deed in ALL if deed.name == name)


def url_of(deed: AdminAction, row: Any) -> str:
    return reverse(f"admin:{deed.name}", args=[] if row is None else [row.pk])


def urls(site: admin.AdminSite) -> list[URLPattern]:
    return [
        path(
            f"acts/{deed.name}/" if deed.model is None else f"acts/{deed.name}/<str:object_id>/",
            site.admin_view(Confirmation(deed, site)),
            name=deed.name,
        )
        for deed in ALL
    ]


def offered(request: HttpRequest, row: Any, deeds: Sequence[AdminAction]) -> list[tuple[AdminAction, str | None, str]]:
    """Return each deed with its address, or None and why it cannot be done by this person or with this row."""
    found: list[tuple[AdminAction, str | None, str]] = []
    user = operator_of(request)
    for deed in deeds:
        if not deed.may(user, row):
            found.append((deed, None, "your role may not"))
        elif reason := deed.why_not_for(user, row):
            found.append((deed, None, reason))
        else:
            found.append((deed, url_of(deed, row), ""))
    return found
