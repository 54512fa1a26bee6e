"""Operators' actions on wallets and their credentials, and the audit."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from config.admin.actions import base
from config.admin.actions.base import AdminAction, Outcome, ReasonForm, Values
from config.admin.links import page_url
from config.admin.templatetags import formats
from config.ops import audits, pseudonyms
from wallets import api_key_rotation, errors, names, operations, operator_log, restricted_keys
from wallets.models import ApiKey, AuditRun, BearerToken, Wallet
from wallets.operator_log import Operator
from wallets.states import AuditResult, OperatorVerb
from wallets.wording import counted

SHOWN_ONCE: Final = "It is shown once, on the next page."
_PASSWORD_BYTES: Final = 15


def new_password() -> str:
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def _valid() -> Q:
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))


def _valid_bearer_tokens(wallet_id: UUID) -> int:
    return BearerToken.objects.filter(_valid(), wallet_id=wallet_id).count()


def _keys_that_stay(snapshot: Values) -> list[str]:
    """Return a sentence on the restricted keys of a wallet, which new passwords and revoked tokens do not end."""
    number = snapshot["valid_restricted_keys"]
    if not number:
        return []
    return [f"{counted(number, 'restricted key')} of it will stay valid."]


def _keys_that_end(snapshot: Values) -> list[str]:
    keys = counted(snapshot["valid_restricted_keys"], "restricted key")
    return [f"{keys} of it will end: requests that use them are refused. A key that has ended cannot be restored."]


class NewWalletForm(ReasonForm):
    name = forms.CharField(
        max_length=254, strip=False, help_text="At least 3 characters, no spaces. It cannot be changed later."
    )
    about = forms.CharField(max_length=250, required=False)
    with_password = forms.BooleanField(
        required=False,
        label="Give it a password",
        help_text="Without a password, only a wallet that manages it can act for it.",
    )

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
    confirm_label = "Create the wallet"
    verb = OperatorVerb.CREATED_WALLET
    kind = base.WALLET
    above = Wallet
    form_class = NewWalletForm

    def lock_key(self, row: None, values: Values) -> str:
        return names.name_key(values["name"])

    def snapshot(self, row: None, values: Values) -> Values:
        return {"wallets_of_this_name": Wallet.objects.filter(name_key=names.name_key(values["name"])).count()}

    def preview(self, row: None, values: Values, snapshot: Values) -> Sequence[str]:
        if snapshot["wallets_of_this_name"]:
            return [f"A wallet named {values['name']} already exists: this will be refused."]
        password = f"a password. {SHOWN_ONCE}" if values["with_password"] else "no password, so it cannot log in."
        return [
            f"1 new wallet, {values['name']}, without tokens or coins. Wallets cannot be deleted.",
            f"It gets {password}",
        ]

    @sensitive_variables("password", "shown_once")
    def perform(self, operator: Operator, row: None, values: Values, snapshot: Values) -> Outcome:
        password = new_password() if values["with_password"] else ""
        wallet = operations.create_wallet(name=values["name"], about=values["about"], password=password)
        shown_once = [("Wallet", wallet.name), ("Password", password)] if password else []
        after = {"name": wallet.name, "password": "has one" if password else "none"}
        return Outcome(f"The wallet {wallet.name} was created.", after, subject=wallet, secrets=shown_once)


class WalletAction(AdminAction):
    """An action on a wallet. The advisory lock lets different actions on one wallet run side by side."""

    model = Wallet
    kind = base.WALLET
    locks_row = False


class NewPasswordForm(ReasonForm):
    end_keys = forms.BooleanField(
        required=False,
        label="End its restricted keys too",
        help_text="If someone else may have used the wallet. Programs that use a key need a new one.",
    )


class SetPassword(WalletAction):
    name = "set-password"
    form_class = NewPasswordForm
    label = confirm_label = "Set a new password"
    verb = OperatorVerb.SET_PASSWORD
    is_dangerous = True

    def snapshot(self, row: Wallet, values: Values) -> Values:
        earlier = operator_log.earlier(self.verb, kind=self.kind, object_id=row.pk)
        return {
            "valid_bearer_tokens": _valid_bearer_tokens(row.pk),
            "valid_restricted_keys": restricted_keys.count_valid(row),
            "passwords_set_by_operators": earlier,
        }

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"{row.name} gets a random password. {SHOWN_ONCE}",
            "Its current password, if it has one, stops working.",
            f"{counted(snapshot['valid_bearer_tokens'], 'valid bearer token')} of it will be revoked:"
            " programs that use them must log in again.",
            *(_keys_that_end(snapshot) if values["end_keys"] else _keys_that_stay(snapshot)),
        ]

    @sensitive_variables("password", "shown_once")
    def perform(self, operator: Operator, row: Wallet, values: Values, snapshot: Values) -> Outcome:
        password = new_password()
        operations.set_password(wallet=row, password=password, ends_keys=values["end_keys"])
        keys = " and its restricted keys have ended" if values["end_keys"] else ""
        message = f"{row.name} has a new password. Its bearer tokens are revoked{keys}."
        shown_once = [("Wallet", row.name), ("Password", password)]
        after = {"valid_bearer_tokens": 0, "password": "a new one"}
        if values["end_keys"]:
            after["valid_restricted_keys"] = 0
        return Outcome(message, after, secrets=shown_once)


class PseudonymiseWallet(WalletAction):
    name = "pseudonymise-wallet"
    label = "Pseudonymise"
    confirm_label = "Pseudonymise the wallet"
    verb = OperatorVerb.PSEUDONYMISED_WALLET
    is_dangerous = True

    def why_not(self, user: User, row: Wallet) -> str:
        if pseudonyms.is_pseudonymised(row):
            return "it is pseudonymised"
        left = pseudonyms.what_is_left(row.pk)
        return f"it still has: {', '.join(left)}" if left else ""

    def snapshot(self, row: Wallet, values: Values) -> Values:
        # No name: the log keeps it.
        return {"valid_bearer_tokens": _valid_bearer_tokens(row.pk)}

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"{row.name} will be called {pseudonyms.pseudonym(row.pk)}, also in events and in the operators' log.",
            "Reasons that operators gave for actions on it are deleted. The one below is kept: leave the name out.",
            "Its texts, images, password, logins, restricted keys and webhooks are deleted. No one can log in as this"
            " wallet any more.",
            "Its transfers, tokens' histories and trusts stay. This cannot be undone.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, snapshot: Values) -> Outcome:
        row.name = pseudonyms.pseudonymise(wallet_id=row.pk)
        return Outcome(f"The wallet is now called {row.name}.", {"name": row.name})

    def log_label(self, subject: Wallet, values: Values) -> str:
        return subject.name


class RevokeBearerTokens(WalletAction):
    name = "revoke-bearer-tokens"
    label = "Revoke all bearer tokens"
    confirm_label = "Revoke them"
    verb = OperatorVerb.REVOKED_BEARER_TOKENS
    is_dangerous = True

    def why_not(self, user: User, row: Wallet) -> str:
        return "" if _valid_bearer_tokens(row.pk) else "it has no valid bearer token"

    def snapshot(self, row: Wallet, values: Values) -> Values:
        return {
            "valid_bearer_tokens": _valid_bearer_tokens(row.pk),
            "valid_restricted_keys": restricted_keys.count_valid(row),
        }

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        tokens = counted(snapshot["valid_bearer_tokens"], "valid bearer token")
        return [
            f"{tokens} of {row.name} will be revoked: requests that use them are refused.",
            "Its password stays valid and can be used to log in again.",
            *_keys_that_stay(snapshot),
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, snapshot: Values) -> Outcome:
        revoked = operations.revoke_bearer_tokens(wallet=row)
        after = {"valid_bearer_tokens": 0, "revoked": revoked}
        return Outcome(f"{counted(revoked, 'bearer token')} of {row.name} revoked.", after)


class EndRestrictedKeys(WalletAction):
    name = "end-restricted-keys"
    label = "End all restricted keys"
    confirm_label = "End them"
    verb = OperatorVerb.ENDED_RESTRICTED_KEYS
    is_dangerous = True

    def why_not(self, user: User, row: Wallet) -> str:
        return "" if restricted_keys.count_valid(row) else "it has no valid restricted key"

    def snapshot(self, row: Wallet, values: Values) -> Values:
        return {"valid_restricted_keys": restricted_keys.count_valid(row)}

    def preview(self, row: Wallet, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            *_keys_that_end(snapshot),
            f"{row.name} sees an event for each. Its password and its bearer tokens stay valid.",
            "Transfers and webhooks that the keys made stay.",
        ]

    def perform(self, operator: Operator, row: Wallet, values: Values, snapshot: Values) -> Outcome:
        ended = operations.end_restricted_keys(wallet=row)
        after = {"valid_restricted_keys": 0, "ended": ended}
        return Outcome(f"{counted(ended, 'restricted key')} of {row.name} ended.", after)


class RevokeBearerToken(AdminAction):
    name = "revoke-bearer-token"
    label = "Revoke"
    confirm_label = "Revoke it"
    verb = OperatorVerb.REVOKED_BEARER_TOKENS
    kind = base.BEARER_TOKEN
    model = BearerToken
    is_dangerous = True
    label_for_many = "Revoke the selected"

    def preview_of_many(self, rows: Sequence[BearerToken], values: Values) -> Sequence[str]:
        wallets = len({row.wallet_id for row in rows})
        return [
            f"{counted(len(rows), 'bearer token')} of {counted(wallets, 'wallet')} will be revoked:"
            f" the programs that use {'it' if len(rows) == 1 else 'them'} must log in again.",
        ]

    def why_not(self, user: User, row: BearerToken) -> str:
        return "" if self.snapshot(row, {})["valid"] else "it is no longer valid"

    def snapshot(self, row: BearerToken, values: Values) -> Values:
        return {"valid": BearerToken.objects.filter(_valid(), pk=row.pk).exists()}

    def preview(self, row: BearerToken, values: Values, snapshot: Values) -> Sequence[str]:
        return [f"1 bearer token of {row.wallet.name} will be revoked: the program that uses it must log in again."]

    def perform(self, operator: Operator, row: BearerToken, values: Values, snapshot: Values) -> Outcome:
        operations.revoke_bearer_token(bearer_token_id=row.pk)
        message = f"The bearer token {row.prefix}… is revoked."
        return Outcome(message, {"valid": False}, concerns=[(base.WALLET, row.wallet_id)])

    def log_label(self, subject: BearerToken, values: Values) -> str:
        return f"{subject} of {subject.wallet.name}"


# --- API keys -----------------------------------------------------------------------------


class NewKeyForm(ReasonForm):
    name = forms.CharField(max_length=100, help_text="The application that will use it.")


class ApiKeyAction(AdminAction):
    kind = base.API_KEY

    def log_label(self, subject: ApiKey, values: Values) -> str:
        return subject.name


class CreateApiKey(ApiKeyAction):
    name = "create-api-key"
    label = "Create an API key"
    confirm_label = "Create the key"
    verb = OperatorVerb.CREATED_API_KEY
    above = ApiKey
    form_class = NewKeyForm

    def lock_key(self, row: None, values: Values) -> str:
        return str(values["name"])

    def snapshot(self, row: None, values: Values) -> Values:
        return {"valid_keys_of_this_name": ApiKey.objects.filter(_valid(), name=values["name"]).count()}

    def preview(self, row: None, values: Values, snapshot: Values) -> Sequence[str]:
        others = snapshot["valid_keys_of_this_name"]
        stay = "stays" if others == 1 else "stay"
        return [
            f"1 new key with the name {values['name']}, valid until it is revoked. {SHOWN_ONCE}",
            *([f"{counted(others, 'valid key')} of this name {stay} valid."] if others else []),
        ]

    @sensitive_variables("plaintext")
    def perform(self, operator: Operator, row: None, values: Values, snapshot: Values) -> Outcome:
        key, plaintext = operations.create_api_key(name=values["name"])
        message = f"The API key {key.name} was created."
        return Outcome(message, {"begins_with": key.prefix}, subject=key, secrets=[("API key", plaintext)])


class ExistingKeyAction(ApiKeyAction):
    model = ApiKey
    is_dangerous = True

    def why_not(self, user: User, row: ApiKey) -> str:
        return "" if self.snapshot(row, {})["valid"] else "it is no longer valid"

    def snapshot(self, row: ApiKey, values: Values) -> Values:
        return {
            "valid": ApiKey.objects.filter(_valid(), pk=row.pk).exists(),
            "ends_at": row.expires_at.isoformat() if row.expires_at else None,
        }


class RotateForm(ReasonForm):
    old_stays_valid = forms.ChoiceField(
        choices=[("0", "not at all: it was lost or leaked"), ("24", "for 24 hours"), ("168", "for 7 days")],
        label="The old key stays valid",
        help_text="The time that the partner needs to switch to the new key.",
    )


class RotateApiKey(ExistingKeyAction):
    name = "rotate-api-key"
    label = "Rotate"
    confirm_label = "Rotate the key"
    verb = OperatorVerb.ROTATED_API_KEY
    form_class = RotateForm

    def preview(self, row: ApiKey, values: Values, snapshot: Values) -> Sequence[str]:
        hours = int(values["old_stays_valid"])
        return [
            f"1 new key with the name {row.name}. {SHOWN_ONCE}",
            f"The old key, {row.prefix}…, stops working {f'in {hours} hours' if hours else 'at once'}.",
        ]

    @sensitive_variables("plaintext")
    def perform(self, operator: Operator, row: ApiKey, values: Values, snapshot: Values) -> Outcome:
        hours = int(values["old_stays_valid"])
        new, plaintext = api_key_rotation.rotate(api_key_id=row.pk, overlap=timedelta(hours=hours))
        return Outcome(
            f"The API key {new.name} was rotated.",
            {"new_key": str(new.pk), "new_key_begins_with": new.prefix, "old_key_stays_valid_hours": float(hours)},
            concerns=[(base.API_KEY, new.pk)],
            secrets=[("API key", plaintext)],
            url=page_url(ApiKey, new.pk),
        )


class RevokeApiKey(ExistingKeyAction):
    name = "revoke-api-key"
    label = "Revoke"
    confirm_label = "Revoke the key"
    verb = OperatorVerb.REVOKED_API_KEY

    def preview(self, row: ApiKey, values: Values, snapshot: Values) -> Sequence[str]:
        return [
            f"1 key, {row.name} ({row.prefix}…), stops working at once: every request of that application is refused.",
            f"It was last used {formats.ago(row.last_used_at)}." if row.last_used_at else "It was never used.",
            "A revoked key cannot be restored.",
        ]

    def perform(self, operator: Operator, row: ApiKey, values: Values, snapshot: Values) -> Outcome:
        operations.revoke_api_key(api_key_id=row.pk)
        return Outcome(f"The API key {row.name} is revoked.", {"valid": False})


# --- the audit ----------------------------------------------------------------------------


class RunAudit(AdminAction):
    name = "run-audit"
    label = "Run the audit"
    confirm_label = "Run it now"
    verb = OperatorVerb.RAN_AUDIT
    kind = base.AUDIT
    above = AuditRun

    def why_not(self, user: User, row: None) -> str:
        return (
            "an audit is running"
            if AuditRun.objects.filter(result=AuditResult.RUNNING, is_of_all=True).exists()
            else ""
        )

    def snapshot(self, row: None, values: Values) -> Values:
        last = AuditRun.objects.order_by("-pk").first()
        return {"last_audit": last and last.pk}

    def preview(self, row: None, values: Values, snapshot: Values) -> Sequence[str]:
        last = AuditRun.objects.filter(is_of_all=True).exclude(finished_at=None).order_by("-pk").first()
        took = formats.span((last.finished_at - last.started_at).total_seconds()) if last and last.finished_at else ""
        return [
            "Checks every token, transfer, coin and account in one consistent snapshot. Nothing is changed or blocked.",
            *([f"The last audit took {took}."] if took else []),
            "This page waits for the result.",
        ]

    def perform(self, operator: Operator, row: None, values: Values, snapshot: Values) -> Outcome:
        run = operator_log.begin_audit(staff=operator.staff, request_id=operator.request_id)
        # The audit reads in its own transaction, as of one moment.
        complete = partial(audits.complete, run_id=run.pk)
        return Outcome("The audit has ended.", {"audit": run.pk}, subject=run, after_commit=complete)

    def log_label(self, subject: Any, values: Values) -> str:
        return f"audit {subject.pk}"
