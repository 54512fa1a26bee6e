"""Reading wallets, tokens and credentials."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from wallets import errors, names, restrictions
from wallets.models import ApiKey, BearerToken, IdempotentAnswer, Wallet
from wallets.sql_files import load


def digest(secret: str) -> bytes:
    """Return the SHA-256 that is stored of an API key or a bearer token: 256 random bits, so it needs no salt."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def has_api_key(plaintext: str) -> bool:
    """Return whether the API key is registered, even if revoked."""
    return ApiKey.objects.filter(digest=digest(plaintext)).exists()


class WalletReference(NamedTuple):
    """How to look up a wallet that a client names: by id or by the key of its name, whichever is not None."""

    id: UUID | None = None
    name_key: str | None = None


def reference(text: str) -> WalletReference:
    """
    Resolve the text by which a client names a wallet. Every such text goes through this function.

    Text in the form of a UUID is an id; any other text is a name. A stored name that new wallets may not have is found
    by the same text, if its key distinguishes it from others.

    :raises InvalidWalletName: the text can never be a name
    """
    wallet_id = names.parse_uuid(text)
    if wallet_id is not None:
        return WalletReference(id=wallet_id)
    key = names.name_key(text)
    refusal = names.refusal(text)
    # A text of two characters names no wallet, so the answer is 404.
    if refusal is None or isinstance(refusal, errors.WalletNameLength):
        return WalletReference(name_key=key)
    if names.parse_uuid(key) is None and names.is_storable(key):
        stored = Wallet.objects.only("name").filter(name_key=key).first()
        if stored is not None and names.refusal(stored.name) is not None:
            return WalletReference(id=stored.pk)
    raise refusal


def no_such_wallet(text: str) -> errors.WalletNotFound:
    """Return the error for a client's text that names no wallet."""
    wallet_id = names.parse_uuid(text)
    if wallet_id is None:
        return errors.WalletNotFound(f"Could not find entity by wallet name: {text}")
    return errors.WalletNotFound(f"Could not find wallet by id: {wallet_id}")


def account_of(text: str) -> str:
    """Return one short text per wallet, however a client names it, and one per text that names no wallet."""
    try:
        named = reference(text)
    except errors.InvalidWalletName:
        found = None
    else:
        if named.id is not None:
            return str(named.id)
        found = Wallet.objects.filter(name_key=named.name_key).values_list("pk", flat=True).first()
    return digest(names.name_key(text)).hex() if found is None else str(found)


def wallet_by_name(name: str) -> Wallet:
    """
    Return the wallet with this name, for trusted callers. Resolve a client's text by `wallet_by_name_or_id`.

    :raises InvalidWalletName: the text can never be a name
    :raises WalletNotFound: no such wallet
    """
    if names.parse_uuid(name) is not None:
        raise errors.MisleadingWalletName(f"invalid wallet name:{name} has the form of an id")
    return wallet_by_name_or_id(name)


def demands_approvals(*, wallet_id: UUID) -> bool:
    """Return whether some transfers of the wallet's tokens need an approval (`transfers.approvals`)."""
    demanding = Q(approval_above__isnull=False) | Q(approval_of_new_receivers=True)
    return Wallet.objects.filter(demanding, pk=wallet_id).exists()


def wallet_by_id(wallet_id: UUID) -> Wallet:
    """
    Return the wallet with the id.

    :raises WalletNotFound: no such wallet
    """
    wallet = Wallet.objects.filter(pk=wallet_id).first()
    if wallet is None:
        raise errors.WalletNotFound(f"Could not find wallet by id: {wallet_id}")
    return wallet


def wallet_by_name_or_id(text: str) -> Wallet:
    """
    Return the wallet that a client names, as `reference` resolves it.

    :raises InvalidWalletName: the text can never be a name
    :raises WalletNotFound: no such wallet
    """
    named = reference(text)
    matches = Q(name_key=named.name_key) if named.id is None else Q(pk=named.id)
    wallet = Wallet.objects.filter(matches).first()
    if wallet is None:
        raise no_such_wallet(text)
    return wallet


def wallet_in_query(text: str) -> Wallet:
    """
    Return the wallet that a query string names, as `wallet_by_name_or_id`.

    An unescaped plus sign is decoded as a blank, and new names hold no blanks: `?wallet=+254712345678` names that phone
    number, unless a stored name has the blank.

    :raises InvalidWalletName: the text can never be a name
    :raises WalletNotFound: no such wallet
    """
    try:
        return wallet_by_name_or_id(text)
    except errors.InvalidWalletName:
        if " " not in text:
            raise
        try:
            return wallet_by_name_or_id(text.replace(" ", "+"))
        except (errors.InvalidWalletName, errors.WalletNotFound):
            pass
        # The refusal names the text as the client sent it.
        raise


def sessions_page(
    *, wallet: Wallet, limit: int, offset: int = 0, after: tuple[datetime, UUID] | None = None
) -> Sequence[BearerToken]:
    """
    Return the valid bearer tokens of a wallet with their API keys, the newest first. The digests are not read.

    `after` is the position of the last row of the page before: its `created_at` and its id.
    """
    rows = BearerToken.objects.filter(wallet=wallet, revoked_at=None, expires_at__gt=Now())
    if after is not None:
        created_at, token_id = after
        rows = rows.filter(Q(created_at__lt=created_at) | Q(created_at=created_at, pk__gt=token_id))
    rows = rows.select_related("api_key").defer("digest", "api_key__digest").order_by("-created_at", "pk")
    return list(rows[offset : offset + limit])


class OddName(NamedTuple):
    """A stored name that new wallets may not have, and why."""

    wallet_id: UUID
    name: str
    reason: str
    is_reached_by_name: bool


def odd_names() -> Iterator[OddName]:
    """Yield stored names that new wallets may not have, in the order of their keys. Reads all unusual names."""
    unusual = Wallet.objects.exclude(name__regex=names.PLAIN).order_by("name_key")
    for wallet_id, name, key in unusual.values_list("pk", "name", "name_key").iterator():
        refusal = names.refusal(name)
        is_own_key = names.name_key(name) == key
        if refusal is None and is_own_key:
            continue
        if not is_own_key:
            reason = "looks like the name of another wallet"
        elif names.is_like_id(name):
            reason = "has the form of an id"
        elif any(map(names.is_invisible, name)):
            reason = "holds an invisible character"
        else:
            reason = str(refusal).partition(":")[0]
        yield OddName(wallet_id, name, reason, is_own_key and names.parse_uuid(key) is None)


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The number of tokens in a wallet, and of those reserved by pending transfers."""

    total: int
    pending: int

    @property
    def available(self) -> int:
        return self.total - self.pending


class StoredAnswer(NamedTuple):
    """The answer to an earlier request: status and encrypted body, or the id of the result from which it is rebuilt."""

    fingerprint: bytes
    status: int | None
    body: bytes | None
    result_id: UUID | None


class IdempotencyClaim(NamedTuple):
    """The idempotency key of a request, for a statement that stores it together with its effect."""

    key: str
    fingerprint: bytes


# The first CTE of a statement that acts for a wallet: one row, the id of that wallet. `config.api.cached_credentials`
# replaces this text by one that checks the caller's credentials; the id is NULL if they are no longer valid, and then
# the statement must read and change nothing.
ME: Final = "me AS MATERIALIZED (SELECT %(actor)s::uuid AS id)"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that the headers of a request name. None where nothing valid was found."""

    api_key_id: UUID | None
    api_key_is_revoked: bool
    api_key_may_batch: bool
    bearer_token_id: UUID | None
    wallet: Wallet | None
    # The answer to an earlier request with the same idempotency key.
    answer: "StoredAnswer | None"
    # Whether this transaction holds the lock of the idempotency key; None if no key was sent.
    holds_key: bool | None
    # True at most once an hour: the caller must call `operations.touch_last_used`.
    use_is_stale: bool
    # The terms of a restricted key in place of the bearer token. The caller checks its networks, and imposes it.
    restriction: restrictions.Restriction | None = None

    @property
    def are_valid(self) -> bool:
        """Whether both are valid."""
        return self.api_key_id is not None and not self.api_key_is_revoked and self.bearer_token_id is not None


# What requests read of their caller; other columns are loaded when they are read.
_WALLET_FIELDS: Final = ["id", "name"]
# A bearer token, or a restricted key in its place: neither costs the look-up of the other anything.
_BEARER: Final = {
    "bearers": "wallets_bearertoken",
    "is_valid": "bearer.revoked_at IS NULL AND bearer.expires_at > now()",
    "key_columns": "",
}
_RESTRICTED: Final = {
    "bearers": "wallets_restrictedkey",
    "is_valid": "bearer.ended_at IS NULL AND coalesce(bearer.expires_at > now(), true)",
    "key_columns": ", bearer.scopes, bearer.wallet_ids, bearer.networks, bearer.tokens_per_transfer,"
    " bearer.tokens_per_day, bearer.made_with",
}
# Waits until the synchronous standby, if there is one, has everything that was committed before: the commit of a record
# without a meaning. A row that is visible may not have reached the standby if the wait of its commit was cut off, by a
# cancel or by a crash. A standby server commits nothing, and has what it shows.
_REPLICATED: Final = """
    SELECT CASE WHEN current_setting('synchronous_standby_names') <> '' AND NOT pg_is_in_recovery()
           THEN pg_logical_emit_message(true, 'coppice', '') END
"""


def wait_for_the_standby() -> None:
    """Wait until what this session reads cannot be lost in a failover; within a transaction, its commit waits."""
    with connection.cursor() as cursor:
        cursor.execute(_REPLICATED)


# Takes the advisory lock of the key: true if this transaction holds it, false if another does. It ends with the
# transaction, so a process that dies releases it.
HOLDS_KEY: Final = "pg_try_advisory_xact_lock(hashtextextended({wallet}::text || %(key)s, 0))"
# Whether a row may hold an answer that has not expired. All partitions are read, also that of the next week: it has an
# answer if the clock was set back since, for example by a failover. Partitions of expired weeks are dropped
# (`config.ops.partitions`). Because of `IS TRUE`, PostgreSQL does not use the condition to select partitions in each
# execution, which would take 3 % of the instructions of a transfer.
MAY_HOLD_ANSWER: Final = (
    f"(week > (statement_timestamp() AT TIME ZONE 'UTC')::date - {settings.ANSWER_DAYS + 7}) IS TRUE"
)
# The look-up takes the lock too; if the first request commits in between, the unique key of its week decides, and near
# the end of a week the trigger `idempotentanswer_once`.
_ANSWER: Final = {
    "answer_columns": ", answer.fingerprint, answer.status, answer.body, answer.result_id, "
    + HOLDS_KEY.format(wallet="wallet.id"),
    "answer_join": "LEFT JOIN wallets_idempotentanswer AS answer"
    f" ON answer.wallet_id = wallet.id AND answer.key = %(key)s AND {MAY_HOLD_ANSWER}",
}
_NO_ANSWER: Final = {"answer_columns": "", "answer_join": ""}
# By whether a restricted key, and whether an idempotency key was sent.
_LOOK_UP_CREDENTIALS: Final = {
    (is_restricted, is_keyed): load("wallets", "credentials", **bearer, **answer)
    for is_restricted, bearer in ((False, _BEARER), (True, _RESTRICTED))
    for is_keyed, answer in ((False, _NO_ANSWER), (True, _ANSWER))
}


def credentials(
    *, api_key: str, bearer: str, idempotency_key: str | None = None, is_restricted: bool = False
) -> Credentials:
    """
    Look up all credentials of a request in one statement. `is_restricted`: `bearer` has the form of a restricted key.

    With an idempotency key, the caller's open transaction holds the lock of the key afterwards, unless another request
    holds it.
    """
    arguments: dict[str, Any] = {"api_key": digest(api_key), "bearer": digest(bearer)}
    if idempotency_key is not None:
        arguments["key"] = idempotency_key
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_UP_CREDENTIALS[is_restricted, idempotency_key is not None], arguments)
        row: Sequence[Any] = cursor.fetchone()
    stored: Sequence[Any] = row[-5:] if idempotency_key is not None else (None, None, None, None, None)
    restriction = None
    if is_restricted and row[4] is not None:
        scopes, wallet_ids, networks, *others = row[7:13]
        restriction = restrictions.Restriction(
            row[4], row[5], frozenset(scopes), frozenset(wallet_ids), tuple(networks), *others
        )
    return Credentials(
        api_key_id=row[0],
        api_key_is_revoked=row[1],
        api_key_may_batch=row[2],
        use_is_stale=row[3],
        restriction=restriction,
        bearer_token_id=None if is_restricted else row[4],
        wallet=None if row[5] is None else Wallet.from_db("default", _WALLET_FIELDS, row[5:7]),
        answer=None if stored[0] is None else StoredAnswer(bytes(stored[0]), *stored[1:4]),
        holds_key=stored[4],
    )


def has_answer(*, wallet_id: UUID, key: str) -> bool:
    """Tell whether an answer is stored for the idempotency key now."""
    return IdempotentAnswer.objects.filter(wallet=wallet_id, key=key).exists()


class JsonPage(NamedTuple):
    """
    A page of a list as JSON from PostgreSQL.

    Parsing the rows and serializing them again in Python was most of the cost of a page (tests/benchmarks/README.md).
    """

    # The elements, JSON, separated by commas.
    json: str
    # The sort key of the last element if there is a next page, otherwise None.
    last: list[Any] | None
    # The number of elements of the whole list; None if the statement does not count them.
    total: int | None = None


def page_of(rows: str, *position: str, is_whole: str = "true", total: str = "NULL::bigint") -> str:
    """
    Return the SQL of a page, for `read_page` or an `OptimisticPage`.

    `rows` is the SQL of up to `fetch` rows in their order: the column `json` and those of the position, which may be
    cast (`"created_at::text"`). `is_whole` is an SQL condition: whether an optimistic query found the whole page.
    `total` is the SQL of the number of rows of the whole list.
    """
    named = [column.partition("::") for column in position]
    last = ", ".join(f"(array_agg({name}))[(SELECT %(fetch)s::bigint - 1)]{cast}{type_}" for name, cast, type_ in named)
    return f"""
SELECT string_agg(json, ',') FILTER (WHERE place < (SELECT %(fetch)s::bigint)),
       count(*) = (SELECT %(fetch)s::bigint), {last}, {is_whole}, {total}
  FROM (SELECT *, row_number() OVER () AS place FROM ({rows}) AS listed) AS placed
"""  # noqa: S608 - constants


def read_page(statement: str, *, limit: int, arguments: Mapping[str, Any]) -> JsonPage:
    """Read up to `limit` elements with a statement of `page_of`. The parameter `fetch` is one more."""
    return _read_page(statement, limit, arguments)[0]


def _read_page(statement: str, limit: int, arguments: Mapping[str, Any]) -> tuple[JsonPage, bool]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {**arguments, "fetch": limit + 1})
        json, has_more, *last, is_whole, total = cursor.fetchone()
    return JsonPage(json or "", last if has_more else None, total), is_whole


class OptimisticPage:
    """
    Tries an optimistic query first and falls back to the full query if the page may be incomplete.

    Misses are negative-cached per caller for 60 s; a miss costs one extra round trip.
    """

    _SECONDS: Final = 60.0
    _AT_MOST: Final = 10_000

    def __init__(self) -> None:
        # By caller, with the time at which the entry expires.
        self._misses: dict[UUID | None, float] = {}

    def read_page(
        self, quick: str, full: str, *, limit: int, arguments: Mapping[str, Any], whose: UUID | None = None
    ) -> JsonPage:
        """Read a page as `read_page` does. `whose` is the caller by which misses are cached."""
        if time.monotonic() >= self._misses.get(whose, 0.0):
            page, is_whole = _read_page(quick, limit, arguments)
            if is_whole:
                return page
            if len(self._misses) >= self._AT_MOST:
                self._misses.clear()
            self._misses[whose] = time.monotonic() + self._SECONDS
        return read_page(full, limit=limit, arguments=arguments)


def time_json(time: str) -> str:
    """Return the SQL of a time as a JSON string in the form of answers; NULL for NULL."""
    return f"""'"' || to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || '"'"""


def token_json(more: str) -> str:
    """Return the SQL of a token's JSON; the query names the table `token`. `more` is the SQL of fields at its end."""
    return f"""concat('{{"id":"', token.id, '","capture_id":"', token.capture_id,
    '","wallet_id":"', token.wallet_id,
    CASE WHEN token.transfer_pending_id IS NULL THEN '","transfer_pending":false,"transfer_pending_id":null'
         ELSE '","transfer_pending":true,"transfer_pending_id":"' || token.transfer_pending_id || '"' END,
    ',"created_at":', {time_json("token.created_at")}, ',"updated_at":', {time_json("token.updated_at")},
    ',"claim":', token.claim::text{more}, '}}')"""


# The fields are those of the API's `TOKEN`.
TOKEN_JSON: Final = token_json(""", ',"links":{"capture":"/webmap/tree?uuid=', token.capture_id, '"}'""")
_NEVER = 2**63 - 1


_TOKENS: Final = page_of(
    f"""
    WITH {ME}
    SELECT {TOKEN_JSON} AS json, token.arrival FROM wallets_token AS token
     WHERE token.wallet_id = (SELECT id FROM me) AND token.arrival < (SELECT %(before)s::bigint)
     ORDER BY token.arrival DESC LIMIT (SELECT %(fetch)s::bigint) OFFSET (SELECT %(offset)s::bigint)""",  # noqa: S608
    "arrival",
)


def tokens_page(*, wallet_id: UUID, limit: int, offset: int = 0, before: int | None = None) -> JsonPage:
    """
    Return a page of a wallet's tokens, the newest arrival first. The position of a row is its arrival.

    `before` is the arrival of the last row of the page before; with it the cost does not grow with the depth.
    """
    arguments = {"actor": wallet_id, "offset": offset, "before": _NEVER if before is None else before}
    return read_page(_TOKENS, limit=limit, arguments=arguments)


def token(*, token_id: UUID, is_visible_in: Callable[[UUID], bool], as_sent: str) -> str:
    """
    Return the JSON of the token if it is in a wallet that the caller may see.

    `as_sent` is the id as the client wrote it.

    :raises TokenNotFound: no such token
    :raises TokenNotVisible: it is in another wallet
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT token.wallet_id, {TOKEN_JSON} FROM wallets_token AS token WHERE token.id = %s",  # noqa: S608 - constants
            [token_id],
        )
        row = cursor.fetchone()
    if row is None:
        raise errors.TokenNotFound(f"can not found token by id:{as_sent}")
    if not is_visible_in(row[0]):
        raise errors.TokenNotVisible("Have no permission to visit this token")
    return str(row[1])
