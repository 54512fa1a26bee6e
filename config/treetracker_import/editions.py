"""The tables of the wallet service that are read: the columns of all editions, and what a missing one stands for."""

from typing import Final, NamedTuple


class Column(NamedTuple):
    """A column to read. `default` is the SQL of the value where an edition lacks the column; None if all have it."""

    name: str
    type: str
    default: str | None = None


class Table(NamedTuple):
    """A table to read into the temporary table `import_<staged>`. An edition may lack a table that is `optional`."""

    name: str
    staged: str
    columns: tuple[Column, ...]
    optional: bool = False
    # The condition of an import of what is new, with the parameters `since` and `open`.
    since: str = ""


WALLET: Final = Table(
    "wallet",
    "wallet",
    (
        Column("id", "uuid"),
        Column("name", "text"),
        Column("password", "text"),
        Column("salt", "text"),
        Column("logo_url", "text"),
        Column("about", "text", "NULL"),
        Column("cover_url", "text", "NULL"),
        Column("display_name", "text", "NULL"),
        Column("keycloak_account_id", "uuid", "NULL"),
        Column("created_at", "timestamptz", "now()"),
    ),
)
TOKEN: Final = Table(
    "token",
    "token",
    (
        Column("id", "uuid"),
        Column("capture_id", "uuid"),
        Column("wallet_id", "uuid"),
        Column("transfer_pending", "boolean"),
        Column("transfer_pending_id", "uuid"),
        Column("action_token_id", "uuid", "NULL"),
        Column("claim", "boolean", "false"),
        Column("created_at", "timestamptz"),
        Column("updated_at", "timestamptz"),
    ),
)
TRANSFER: Final = Table(
    "transfer",
    "transfer",
    (
        Column("id", "uuid"),
        Column("originator_wallet_id", "uuid"),
        Column("source_wallet_id", "uuid"),
        Column("destination_wallet_id", "uuid"),
        Column("type", "text"),
        Column("parameters", "jsonb"),
        Column("state", "text"),
        Column("claim", "boolean", "false"),
        Column("created_at", "timestamptz"),
        Column("closed_at", "timestamptz", "NULL"),
    ),
    since="created_at >= {since} OR state IN ('requested', 'pending') OR id = ANY ({open})"
    " OR id IN (SELECT transfer_id FROM {schema}.transaction WHERE processed_at >= {since})",
)
TRANSACTION: Final = Table(
    "transaction",
    "transaction",
    (
        Column("id", "uuid"),
        Column("token_id", "uuid"),
        Column("transfer_id", "uuid"),
        Column("source_wallet_id", "uuid"),
        Column("destination_wallet_id", "uuid"),
        Column("processed_at", "timestamptz"),
    ),
    since="processed_at >= {since}",
)
TRUST: Final = Table(
    "wallet_trust",
    "trust",
    (
        Column("id", "uuid"),
        Column("actor_wallet_id", "uuid"),
        Column("target_wallet_id", "uuid"),
        Column("originator_wallet_id", "uuid"),
        Column("type", "text"),
        Column("request_type", "text"),
        Column("state", "text"),
        Column("created_at", "timestamptz"),
        Column("updated_at", "timestamptz"),
    ),
)
EVENT: Final = Table(
    "wallet_event",
    "event",
    (
        Column("id", "uuid"),
        Column("wallet_id", "uuid"),
        Column("type", "text"),
        Column("payload", "jsonb", "'{}'"),
        Column("created_at", "timestamptz"),
    ),
    optional=True,
    since="created_at >= {since}",
)
LINK: Final = Table(
    "action_token",
    "link",
    (
        Column("id", "uuid"),
        Column("sender_wallet_id", "uuid"),
        Column("state", "text"),
        Column("token_count", "integer", "0"),
    ),
    optional=True,
)
# Its rows hold secrets, so they are read one by one and staged as digests.
API_KEY: Final = Table(
    "api_key",
    "key",
    (
        Column("id", "uuid"),
        Column("key", "text"),
        Column("name", "text", "NULL"),
        Column("tree_token_api_access", "boolean", "NULL"),
        Column("batch_create_access", "boolean", "false"),
    ),
    optional=True,
)
COPIED: Final = (WALLET, TOKEN, TRANSFER, TRANSACTION, TRUST, EVENT, LINK)
