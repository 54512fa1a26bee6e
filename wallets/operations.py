"""Changing wallets and credentials."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple, TypedDict, Unpack
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Greatest, Now
from django.views.decorators.debug import sensitive_variables

from wallets import bearer_tokens, errors, event_sequence, images, names, operator_log, origins, passwords, queries
from wallets.deadlocks import retry_on_deadlock
from wallets.models import ApiKey, BearerToken, RestrictedKey, Wallet
from wallets.states import EventType

# Characters of a wallet's name in a login at the public service.
_PUBLIC_NAME_LENGTHS: Final = (4, 36)


@sensitive_variables("password")
def create_wallet(*, name: str, password: str = "", about: str = "", creator: Wallet | None = None) -> Wallet:
    """
    Create a wallet without a manager and return it. Without a password it cannot authenticate.

    The `creator`, if any, gets an event too.

    :raises InvalidWalletName: the name holds white space or control characters
    :raises MisleadingWalletName: it holds an invisible character, or has the form of an id
    :raises WalletNameLength: it is shorter than 3 or longer than 254 characters
    :raises WalletNameTaken: another wallet has it
    :raises InvalidPassword: the authentication endpoint could not accept the password
    """
    key = validate_new_name(name)
    encoded = _encoded(password) if password else ""
    with transaction.atomic(savepoint=False):
        try:
            with transaction.atomic():
                wallet = Wallet.objects.create(name=name, name_key=key, password=encoded, about=about)
        except IntegrityError as error:
            raise errors.WalletNameTaken(f"The wallet '{name}' has been existed") from error
        parties = [wallet.pk] if creator is None else [wallet.pk, creator.pk]
        record_events(
            [
                (party, EventType.WALLET_CREATED, {"parentWallet": creator and creator.pk, "childWallet": name})
                for party in parties
            ]
        )
    return wallet


def validate_new_name(name: str) -> str:
    """
    Return the key of a name that a new wallet may have.

    :raises InvalidWalletName: the name holds white space or control characters
    :raises MisleadingWalletName: it holds an invisible character, or has the form of an id
    :raises WalletNameLength: it is shorter than 3 or longer than 254 characters
    """
    if (refusal := names.refusal(name)) is not None:
        raise refusal
    return names.name_key(name)


_RECORD = f"""
WITH announced AS MATERIALIZED (SELECT WHERE {event_sequence.ANNOUNCED})
INSERT INTO wallets_event (id, number, wallet_id, type, payload, created_at)
SELECT gen_random_uuid(), {event_sequence.NEXT}, event.wallet_id, event.type,
       CASE current_setting('{operator_log.OPERATOR_SETTING}', true) WHEN 'acts'
            THEN event.payload::jsonb || '{{"operator": true}}' ELSE event.payload::jsonb END, clock_timestamp()
  FROM announced CROSS JOIN unnest(%s::uuid[], %s::text[], %s::text[]) AS event (wallet_id, type, payload)
"""  # noqa: S608 - constants


def record_events(events: Sequence[tuple[UUID, EventType, Mapping[str, Any]]]) -> None:
    """
    Write events (wallet, type, payload) in their order. Those of an operator's action carry `"operator": true`.

    The caller has opened the transaction of the effect, so that an event exists if and only if the effect does.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _RECORD,
            [
                [wallet_id for wallet_id, _, _ in events],
                [type_.value for _, type_, _ in events],
                [orjson.dumps(payload).decode() for _, _, payload in events],
            ],
        )


class WalletChanges(TypedDict, total=False):
    """The fields of a wallet that its controllers change."""

    about: str
    display_name: str
    logo_url: str
    cover_url: str


def change_wallet(*, wallet_id: UUID, **changes: Unpack[WalletChanges]) -> None:
    """
    Set the given fields of a wallet, and delete the stored images that it no longer refers to after the commit.

    The caller has opened a transaction and authorised it.
    """
    replaced: list[str] = []
    if pictured := [field for field in ("logo_url", "cover_url") if field in changes]:
        # Locked, so that of two changes the second finds the image of the first.
        stored = Wallet.objects.select_for_update(no_key=True).values(*pictured).get(pk=wallet_id)
        replaced = [name for url in stored.values() if (name := images.own_name(url, wallet_id=wallet_id))]
    if changes:
        Wallet.objects.filter(pk=wallet_id).update(**changes)
    for name in replaced:
        transaction.on_commit(partial(images.delete, name))


@retry_on_deadlock
@sensitive_variables("password")
def set_password(*, wallet: Wallet, password: str, ends_keys: bool = False) -> None:
    """
    Set a new password, and end bearer tokens and logins in flight that rest on the old one; `ends_keys` ends the
    restricted keys too.

    :raises InvalidPassword: the authentication endpoint could not accept the password
    """
    encoded = _encoded(password)
    with transaction.atomic(savepoint=False):
        # This update locks the row first. A login that held the lock before has committed its token, which the next
        # statement sees; a later login finds a different hash than the one that it verified.
        Wallet.objects.filter(pk=wallet.pk).update(password=encoded)
        _record_password(wallet, ended=_valid_tokens(wallet).update(revoked_at=Now()))
        if ends_keys:
            end_restricted_keys(wallet=wallet)


class EndedAccess(NamedTuple):
    """The numbers of bearer tokens and restricted keys that a new password ended."""

    sessions: int
    keys: int


@sensitive_variables("old", "new", "encoded", "stored")
def change_password(*, wallet: Wallet, old: str, new: str, kept_token_id: UUID, ends_keys: bool = False) -> EndedAccess:
    """
    Set a new password in the name of the owner, who knows the old one, and end all bearer tokens but one; `ends_keys`
    ends the restricted keys too.

    :raises WrongPassword: the old password is wrong, or was changed meanwhile
    :raises WeakPassword: the new one has fewer than 8 characters, or is the old one or the name of the wallet
    :raises InvalidPassword: the authentication endpoint could not accept the new one
    :raises SessionNotFound: the token that would stay valid has ended
    """
    stored = Wallet.objects.values_list("password", flat=True).get(pk=wallet.pk)
    if not passwords.verify(old, stored)[0]:
        raise errors.WrongPassword
    if len(passwords.composed(new)) < passwords.MINIMUM_CHOSEN_LENGTH:
        raise errors.WeakPassword(f"A new password has at least {passwords.MINIMUM_CHOSEN_LENGTH} characters.")
    if passwords.are_same(new, old) or names.name_key(new) == names.name_key(wallet.name):
        raise errors.WeakPassword("A new password is neither the old one nor the name of the wallet.")
    encoded = _encoded(new)
    with transaction.atomic(savepoint=False):
        # Locks the row as `set_password` does. If the password was changed since it was verified, the old one is wrong.
        if not Wallet.objects.filter(pk=wallet.pk, password=stored).update(password=encoded):
            raise errors.WrongPassword
        keep_session(wallet=wallet, bearer_token_id=kept_token_id)
        ended = _valid_tokens(wallet).exclude(pk=kept_token_id).update(revoked_at=Now())
        _record_password(wallet, ended=ended)
        return EndedAccess(ended, end_restricted_keys(wallet=wallet) if ends_keys else 0)


def _record_password(wallet: Wallet, *, ended: int) -> None:
    record_events([(wallet.pk, EventType.PASSWORD_CHANGED, {"sessionsEnded": ended})])


def keep_session(*, wallet: Wallet, bearer_token_id: UUID) -> None:
    """
    Keep a bearer token of the wallet from being revoked before the caller's transaction ends.

    :raises SessionNotFound: it has ended
    """
    if _valid_tokens(wallet).filter(pk=bearer_token_id).select_for_update(no_key=True).first() is None:
        raise errors.SessionNotFound


@sensitive_variables("password")
def _encoded(password: str) -> str:
    if not 1 <= len(passwords.composed(password)) <= passwords.MAXIMUM_LENGTH or "\0" in password:
        raise errors.InvalidPassword(f"A password has 1 to {passwords.MAXIMUM_LENGTH} characters, and no NUL.")
    return passwords.encoded(password)


@sensitive_variables("password", "plaintext")
def authenticate(
    *,
    name_or_id: str,
    password: str,
    api_key_id: UUID | None = None,
    address: str | None = None,
    name_lengths: tuple[int, int] = _PUBLIC_NAME_LENGTHS,
) -> str:
    """
    Return a new bearer token for the wallet, valid for `COPPICE_BEARER_TOKEN_DAYS`. Its owner sees the API key and the
    client's address. If the wallet has more than `COPPICE_BEARER_TOKENS_PER_WALLET`, those used least recently end.

    The token is stored only if the verified hash is still the stored one and the client's API key, if any, is still
    valid: a change or revocation while the hash was computed ends this login too. A hash that is not of the preferred
    kind is replaced.

    :raises InvalidWalletName: the text can never be a name
    :raises WalletNotFound: no such wallet
    :raises WalletNameLength: no such wallet, and the text has fewer or more characters than `name_lengths`
    :raises InvalidCredentials: the password is wrong, or the wallet has none
    :raises ApiKeyEnded: the API key was revoked or has expired
    """
    wallet = _account(name_or_id, password, name_lengths)
    stored = wallet.password
    while True:
        is_correct, is_outdated = passwords.verify(password, stored)
        if not is_correct:
            raise errors.InvalidCredentials("Invalid credentials")
        encoded = passwords.encoded(password) if is_outdated else None
        with transaction.atomic(savepoint=False):
            is_to_change = encoded is not None or settings.BEARER_TOKENS_PER_WALLET > 0
            now_stored = _password_until_commit(wallet.pk, is_to_change=is_to_change)
            if now_stored == stored:
                if api_key_id is not None and not is_valid_until_commit(api_key_id):
                    raise errors.ApiKeyEnded
                if encoded is not None:
                    Wallet.objects.filter(pk=wallet.pk).update(password=encoded)
                return _issue_bearer_token(wallet, api_key_id=api_key_id, address=address)
        # Another login replaced an old hash, or the password was changed: verify again.
        stored = now_stored


@sensitive_variables("password")
def _account(name_or_id: str, password: str, name_lengths: tuple[int, int]) -> Wallet:
    """Return the wallet that logs in. If there is none, a hash is computed before the refusal, as for one."""
    try:
        return queries.wallet_by_name_or_id(name_or_id)
    except errors.WalletNotFound:
        passwords.verify(password, "")
        # The public service refuses shorter and longer names with this message; stored names may be either.
        shortest, longest = name_lengths
        if len(name_or_id) < shortest:
            raise errors.WalletNameLength(f'"wallet" length must be at least {shortest} characters long') from None
        if len(name_or_id) > longest:
            raise errors.WalletNameLength(
                f'"wallet" length must be less than or equal to {longest} characters long'
            ) from None
        raise


@sensitive_variables("password")
def verify_password(*, name_or_id: str, password: str) -> Wallet:
    """
    Return the wallet whose password this is, for one act without a bearer token.

    The act calls `hold_password` in its transaction: the password may have changed since.

    :raises InvalidWalletName: the text can never be a name
    :raises WalletNotFound: no such wallet
    :raises WalletNameLength: no such wallet, and the text is too short or too long for a name
    :raises InvalidCredentials: the password is wrong, or the wallet has none
    """
    wallet = _account(name_or_id, password, _PUBLIC_NAME_LENGTHS)
    if not passwords.verify(password, wallet.password)[0]:
        raise errors.InvalidCredentials("Invalid credentials")
    return wallet


def hold_password(wallet: Wallet) -> None:
    """
    Lock the password that `verify_password` verified until the transaction ends, which the caller has opened.

    :raises InvalidCredentials: it has changed since
    """
    if _password_until_commit(wallet.pk, is_to_change=False) != wallet.password:
        raise errors.InvalidCredentials("Invalid credentials")


def _password_until_commit(wallet_id: UUID, *, is_to_change: bool) -> str:
    """Return the stored hash, locked against changes until the transaction ends."""
    # Logins of one wallet do not wait for each other unless they replace the hash, or end other tokens.
    strength = "FOR NO KEY UPDATE" if is_to_change else "FOR SHARE"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT password FROM wallets_wallet WHERE id = %s {strength}", [wallet_id])  # noqa: S608
        return str(cursor.fetchone()[0])


def is_valid_until_commit(api_key_id: UUID, *, is_to_change: bool = False) -> bool:
    """Return whether an API key is valid, and lock it until the caller's transaction ends."""
    strength = "FOR NO KEY UPDATE" if is_to_change else "FOR SHARE"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT revoked_at IS NULL AND coalesce(expires_at > now(), true)"  # noqa: S608 - a constant
            f"  FROM wallets_apikey WHERE id = %s {strength}",
            [api_key_id],
        )
        row = cursor.fetchone()
    return row is not None and bool(row[0])


@sensitive_variables("plaintext")
def _issue_bearer_token(wallet: Wallet, *, api_key_id: UUID | None, address: str | None) -> str:
    plaintext = bearer_tokens.new_token(wallet)
    BearerToken.objects.create(
        wallet=wallet,
        prefix=bearer_tokens.shown_part(plaintext),
        digest=queries.digest(plaintext),
        api_key_id=api_key_id,
        address=address,
        expires_at=Now() + bearer_tokens.lifetime(),
    )
    if settings.BEARER_TOKENS_PER_WALLET > 0:
        newest = _valid_tokens(wallet).order_by(Greatest("created_at", "last_used_at").desc(), "-created_at", "pk")
        ended = [*newest.values_list("pk", flat=True)[settings.BEARER_TOKENS_PER_WALLET :]]
        _end_sessions(wallet.pk, BearerToken.objects.filter(pk__in=ended))
    record_events([(wallet.pk, EventType.LOGIN, {"wallet": wallet.name})])
    return plaintext


def revoke_bearer_tokens(*, wallet: Wallet) -> int:
    """Revoke every bearer token of the wallet and return how many were valid."""
    return _end_sessions(wallet.pk, _valid_tokens(wallet))


def _end_sessions(wallet_id: UUID, tokens: QuerySet[BearerToken]) -> int:
    """Revoke bearer tokens of a wallet, which gets an event if there are any, and return how many."""
    with transaction.atomic(savepoint=False):
        if ended := tokens.update(revoked_at=Now()):
            record_events([(wallet_id, EventType.SESSIONS_ENDED, {"sessionsEnded": ended})])
        return ended


def end_restricted_keys(*, wallet: Wallet) -> int:
    """
    End every restricted key of the wallet that is valid, and return how many.

    Waits for transfers in progress that use one, and for a request that creates one: it locks the wallet too.
    """
    with transaction.atomic(savepoint=False):
        Wallet.objects.select_for_update(no_key=True).values("pk").get(pk=wallet.pk)
        valid = RestrictedKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), wallet=wallet, ended_at=None)
        rows = list(valid.defer("digest").select_for_update(no_key=True).order_by("pk"))
        if rows:
            RestrictedKey.objects.filter(pk__in=[row.pk for row in rows]).update(ended_at=Now())
            record_events([(wallet.pk, EventType.KEY_ENDED, row.event_payload) for row in rows])
        return len(rows)


def _valid_tokens(wallet: Wallet) -> QuerySet[BearerToken]:
    return BearerToken.objects.filter(wallet=wallet, revoked_at=None, expires_at__gt=Now())


def end_session(*, wallet: Wallet, bearer_token_id: UUID) -> None:
    """
    Revoke one bearer token of the wallet in the name of its owner.

    :raises SessionNotFound: the wallet has no such token that is valid
    """
    if not _end_sessions(wallet.pk, _valid_tokens(wallet).filter(pk=bearer_token_id)):
        raise errors.SessionNotFound


def revoke_bearer_token(*, bearer_token_id: UUID) -> None:
    """Revoke one bearer token. A token that was revoked keeps its time."""
    token = BearerToken.objects.only("wallet_id").filter(pk=bearer_token_id, revoked_at=None).first()
    if token is not None:
        _end_sessions(token.wallet_id, BearerToken.objects.filter(pk=bearer_token_id, revoked_at=None))


@sensitive_variables("key", "plaintext")
def create_api_key(*, name: str, key: str | None = None) -> tuple[ApiKey, str]:
    """
    Create an API key and return it with its plain text, which is not stored. `key` registers an existing key.

    :raises InvalidApiKey: the given key has fewer than 20 characters, or others than visible ASCII
    :raises ApiKeyTaken: the given key is registered already
    """
    if key is not None and not (20 <= len(key) <= 256 and key.isascii() and key.isprintable() and " " not in key):
        raise errors.InvalidApiKey("An API key has 20 to 256 visible ASCII characters.")
    plaintext = secrets.token_urlsafe(32) if key is None else key
    try:
        with transaction.atomic():
            api_key = ApiKey.objects.create(name=name, prefix=plaintext[:6], digest=queries.digest(plaintext))
    except IntegrityError as error:
        raise errors.ApiKeyTaken("This API key is registered already.") from error
    return api_key, plaintext


def revoke_api_key(*, api_key_id: UUID) -> None:
    """Revoke one API key. A key that was revoked keeps its time."""
    ApiKey.objects.filter(pk=api_key_id, revoked_at=None).update(revoked_at=Now())


def end_api_key(*, api_key_id: UUID, after: timedelta) -> None:
    """Expire an API key after `after`, unless it expires earlier."""
    ends = Now() + after
    ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=ends), pk=api_key_id, revoked_at=None).update(
        expires_at=ends
    )


def touch_last_used(
    *, api_key_id: UUID | None, bearer_token_id: UUID | None = None, restricted_key_id: UUID | None = None
) -> None:
    """Set `last_used_at` of the credentials to now. Skips rows that are locked by another transaction."""
    for table, row_id in (
        ("wallets_apikey", api_key_id),
        ("wallets_bearertoken", bearer_token_id),
        ("wallets_restrictedkey", restricted_key_id),
    ):
        if row_id is None:
            continue
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET last_used_at = now() WHERE id = ANY (ARRAY("  # noqa: S608 - two constants
                f"SELECT id FROM {table} WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED))",
                [row_id],
            )


def store_response(*, wallet_id: UUID, key: str, fingerprint: bytes, status: int, body: bytes) -> bool:
    """
    Store the answer to a request with an idempotency key, in the transaction of its effect.

    Returns False if an answer is stored already; the caller must then roll its transaction back.
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute(
                "INSERT INTO wallets_idempotentanswer (wallet_id, key, fingerprint, status, body)"
                " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [wallet_id, key, fingerprint, status, body],
            )
        except IntegrityError as error:
            # Stored on the other side of the end of a week.
            if "idempotency_key_is_used_once" in str(error):
                return False
            raise
        return bool(cursor.rowcount == 1)


# Small enough for the statement timeout.
_PURGED_AT_ONCE = 10_000


def purge_expired() -> int:
    """
    Delete bearer tokens and restricted keys `COPPICE_ENDED_TOKEN_DAYS` after their end, and expired origins.

    Returns the number of bearer tokens. Stored answers leave with their partitions (`config.ops.partitions`).
    """
    _delete_in_slices(origins.expired())
    ended = Now() - timedelta(days=settings.ENDED_TOKEN_DAYS)
    _delete_in_slices(RestrictedKey.objects.filter(Q(expires_at__lt=ended) | Q(ended_at__lt=ended)))
    return _delete_in_slices(BearerToken.objects.filter(Q(expires_at__lt=ended) | Q(revoked_at__lt=ended)))


def _delete_in_slices(rows: QuerySet[Any]) -> int:
    """Delete rows. They are looked for once: no index has the conditions, so each search reads the table."""
    total = 0
    found = rows.values_list("pk", flat=True).iterator(chunk_size=_PURGED_AT_ONCE)
    while ids := list(islice(found, _PURGED_AT_ONCE)):
        # One may have been renewed meanwhile.
        total += rows.filter(pk__in=ids).delete()[0]
    return total
