"""
What operators do with wallets and credentials: the operations, each with its entry in the log.

An act is one transaction. `shown` is what the operator was shown before confirming, as the function of the same
name with `about_to_` returns it; if it is not so any more, nothing happens.
"""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from wallets import errors, names, operations, operator_log
from wallets.models import ApiKey, BearerToken, Wallet
from wallets.operator_log import Operator
from wallets.states import OperatorVerb

WALLET: Final = "wallet"
API_KEY: Final = "API key"
BEARER_TOKEN: Final = "bearer token"  # noqa: S105 - a kind of thing
_PASSWORD_BYTES: Final = 15

Shown = Mapping[str, Any]


def _valid() -> Q:
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))


def about_to_create_wallet(*, name: str) -> Shown:
    return {"wallets_of_this_name": Wallet.objects.filter(name_key=names.name_key(name)).count()}


@sensitive_variables("password")
def create_wallet(
    *, operator: Operator, shown: Shown, name: str, about: str = "", with_password: bool = False
) -> tuple[Wallet, str]:
    """
    Create a wallet that nobody manages; return it and its password, which is drawn at random, or "".

    :raises InvalidWalletName, WalletNameLength, WalletNameTaken: as `operations.create_wallet`
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES) if with_password else ""
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operations.validate_new_name(name)
        operator_log.hold(OperatorVerb.CREATED_WALLET, kind=WALLET, object_id=names.name_key(name))
        operator_log.compare(shown, about_to_create_wallet(name=name))
        wallet = operations.create_wallet(name=name, about=about, password=password)
        operator_log.record(
            operator,
            OperatorVerb.CREATED_WALLET,
            kind=WALLET,
            object_id=wallet.pk,
            label=name,
            before=shown,
            after={"name": name, "password": "has one" if password else "none"},
        )
    return wallet, password


def about_to_set_password(*, wallet_id: UUID) -> Shown:
    return {
        "valid_bearer_tokens": BearerToken.objects.filter(_valid(), wallet_id=wallet_id).count(),
        "passwords_set_by_operators": operator_log.earlier(OperatorVerb.SET_PASSWORD, kind=WALLET, object_id=wallet_id),
    }


@sensitive_variables("password")
def set_password(*, operator: Operator, shown: Shown, wallet_id: UUID) -> str:
    """
    Give the wallet a new random password, end its bearer tokens, and return the password.

    :raises WalletNotFound: no such wallet
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operator_log.hold(OperatorVerb.SET_PASSWORD, kind=WALLET, object_id=wallet_id)
        wallet = _wallet(wallet_id)
        operator_log.compare(shown, about_to_set_password(wallet_id=wallet_id))
        operations.set_password(wallet=wallet, password=password)
        operator_log.record(
            operator,
            OperatorVerb.SET_PASSWORD,
            kind=WALLET,
            object_id=wallet_id,
            label=wallet.name,
            before=shown,
            after={"valid_bearer_tokens": 0, "password": "a new one"},
        )
    return password


def about_to_revoke_bearer_tokens(*, wallet_id: UUID) -> Shown:
    return {"valid_bearer_tokens": BearerToken.objects.filter(_valid(), wallet_id=wallet_id).count()}


def revoke_bearer_tokens(*, operator: Operator, shown: Shown, wallet_id: UUID) -> int:
    """
    Revoke every bearer token of a wallet and return how many were valid.

    :raises WalletNotFound, NotPossible: no such wallet; it has none that is valid
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operator_log.hold(OperatorVerb.REVOKED_BEARER_TOKENS, kind=WALLET, object_id=wallet_id)
        wallet = _wallet(wallet_id)
        operator_log.compare(shown, about_to_revoke_bearer_tokens(wallet_id=wallet_id))
        revoked = operations.revoke_bearer_tokens(wallet=wallet)
        if not revoked:
            raise errors.NotPossible("This wallet has no valid bearer token.")
        operator_log.record(
            operator,
            OperatorVerb.REVOKED_BEARER_TOKENS,
            kind=WALLET,
            object_id=wallet_id,
            label=wallet.name,
            before=shown,
            after={"valid_bearer_tokens": 0, "revoked": revoked},
        )
    return revoked


def about_to_revoke_bearer_token(*, bearer_token_id: UUID) -> Shown:
    return {"valid": BearerToken.objects.filter(_valid(), pk=bearer_token_id).exists()}


def revoke_bearer_token(*, operator: Operator, shown: Shown, bearer_token_id: UUID) -> None:
    """
    Revoke one bearer token.

    :raises NotPossible: it is not valid any more
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        token = (
            BearerToken.objects.select_for_update(of=("self",))
            .select_related("wallet")
            .filter(pk=bearer_token_id)
            .first()
        )
        operator_log.compare(shown, about_to_revoke_bearer_token(bearer_token_id=bearer_token_id))
        if token is None or not shown["valid"]:
            raise errors.NotPossible("This bearer token is not valid any more.")
        operations.revoke_bearer_token(bearer_token_id=bearer_token_id)
        operator_log.record(
            operator,
            OperatorVerb.REVOKED_BEARER_TOKENS,
            kind=BEARER_TOKEN,
            object_id=bearer_token_id,
            label=f"{token.prefix}… of {token.wallet.name}",
            before=shown,
            after={"valid": False},
            concerns=[(WALLET, token.wallet_id)],
        )


def about_to_create_api_key(*, name: str) -> Shown:
    return {"valid_keys_of_this_name": ApiKey.objects.filter(_valid(), name=name).count()}


@sensitive_variables("plaintext")
def create_api_key(*, operator: Operator, shown: Shown, name: str) -> tuple[ApiKey, str]:
    """
    Create an API key and return it with its plain text, which is not stored.

    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operator_log.hold(OperatorVerb.CREATED_API_KEY, kind=API_KEY, object_id=name)
        operator_log.compare(shown, about_to_create_api_key(name=name))
        api_key, plaintext = operations.create_api_key(name=name)
        operator_log.record(
            operator,
            OperatorVerb.CREATED_API_KEY,
            kind=API_KEY,
            object_id=api_key.pk,
            label=name,
            before=shown,
            after={"begins_with": api_key.prefix},
        )
    return api_key, plaintext


def about_to_change_api_key(*, api_key_id: UUID) -> Shown:
    """What is shown before a key is rotated, or revoked."""
    key = ApiKey.objects.filter(pk=api_key_id).first()
    return {
        "valid": ApiKey.objects.filter(_valid(), pk=api_key_id).exists(),
        "ends_at": key.expires_at.isoformat() if key is not None and key.expires_at else None,
    }


@sensitive_variables("plaintext")
def rotate_api_key(
    *, operator: Operator, shown: Shown, api_key_id: UUID, old_stays_valid: timedelta
) -> tuple[ApiKey, str]:
    """
    Create a key of the same name, let the old one end after a while, and return the new one with its plain text.

    :raises NotPossible: the old key is not valid any more
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        old = _valid_key(api_key_id, shown)
        new, plaintext = operations.create_api_key(name=old.name)
        ApiKey.objects.filter(pk=new.pk).update(batch_access=old.batch_access)
        if old_stays_valid:
            operations.end_api_key(api_key_id=old.pk, after=old_stays_valid)
        else:
            operations.revoke_api_key(api_key_id=old.pk)
        operator_log.record(
            operator,
            OperatorVerb.ROTATED_API_KEY,
            kind=API_KEY,
            object_id=old.pk,
            label=old.name,
            before=shown,
            after={
                "new_key": str(new.pk),
                "new_key_begins_with": new.prefix,
                "old_key_stays_valid_hours": old_stays_valid.total_seconds() / 3600,
            },
            concerns=[(API_KEY, new.pk)],
        )
    return new, plaintext


def revoke_api_key(*, operator: Operator, shown: Shown, api_key_id: UUID) -> None:
    """
    Revoke one API key: whoever uses it is refused from now on.

    :raises NotPossible: it is not valid any more
    :raises AlreadyDone, ChangedMeanwhile: see `oversight`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        key = _valid_key(api_key_id, shown)
        operations.revoke_api_key(api_key_id=api_key_id)
        operator_log.record(
            operator,
            OperatorVerb.REVOKED_API_KEY,
            kind=API_KEY,
            object_id=api_key_id,
            label=key.name,
            before=shown,
            after={"valid": False},
        )


def _valid_key(api_key_id: UUID, shown: Shown) -> ApiKey:
    key = ApiKey.objects.select_for_update().filter(pk=api_key_id).first()
    operator_log.compare(shown, about_to_change_api_key(api_key_id=api_key_id))
    if key is None or not shown["valid"]:
        raise errors.NotPossible("This API key is not valid any more.")
    return key


def _wallet(wallet_id: UUID) -> Wallet:
    wallet = Wallet.objects.filter(pk=wallet_id).first()
    if wallet is None:
        raise errors.WalletNotFound(f"Could not find wallet by id: {wallet_id}")
    return wallet
