"""
The database of a wallet service in three editions, and rows for it.

The tables come from one description (columns, types, editions), as those of the service are documented; they have no
foreign keys, as there.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import psycopg
from psycopg import sql

EDITIONS = ("1.10.3", "1.10.25", "1.45", "keycloak")
# Type, and the first edition that has the column.
ENUMS = {
    "transfer_type": "send deduct managed",
    "transfer_state": "requested pending completed cancelled failed",
    "entity_trust_request_type": "send receive manage yield deduct release",
    "entity_trust_type": "send manage deduct",
    "entity_trust_state_type": "requested cancelled_by_originator cancelled_by_actor cancelled_by_target trusted",
    "wallet_event_type": "trust_request trust_request_granted trust_request_cancelled_by_originator"
    " trust_request_cancelled_by_actor trust_request_cancelled_by_target transfer_requested"
    " transfer_request_cancelled_by_source transfer_request_cancelled_by_destination"
    " transfer_request_cancelled_by_originator transfer_pending_cancelled_by_source"
    " transfer_pending_cancelled_by_destination transfer_pending_cancelled_by_requestor transfer_completed"
    " transfer_failed login wallet_created",
}
TIME = "timestamp NOT NULL DEFAULT now()"
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "wallet": {
        "id": ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "1.10.3"),
        "name": ("varchar NOT NULL UNIQUE", "1.10.3"),
        "password": ("varchar", "1.10.3"),
        "salt": ("varchar", "1.10.3"),
        "logo_url": ("varchar", "1.10.3"),
        "created_at": (TIME, "1.10.25"),
        "about": ("varchar", "1.10.25"),
        "cover_url": ("varchar", "1.45"),
        "display_name": ("varchar", "1.45"),
        "keycloak_account_id": ("uuid", "keycloak"),
    },
    "token": {
        "id": ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "1.10.3"),
        "capture_id": ("uuid NOT NULL UNIQUE", "1.10.3"),
        "wallet_id": ("uuid NOT NULL", "1.10.3"),
        "transfer_pending": ("boolean NOT NULL DEFAULT false", "1.10.3"),
        "transfer_pending_id": ("uuid", "1.10.3"),
        "created_at": (TIME, "1.10.3"),
        "updated_at": (TIME, "1.10.3"),
        "claim": ("boolean NOT NULL DEFAULT false", "1.45"),
        "action_token_id": ("uuid", "keycloak"),
    },
    "transfer": {
        "id": ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "1.10.3"),
        "originator_wallet_id": ("uuid NOT NULL", "1.10.3"),
        "source_wallet_id": ("uuid NOT NULL", "1.10.3"),
        "destination_wallet_id": ("uuid NOT NULL", "1.10.3"),
        "type": ("{schema}.transfer_type NOT NULL DEFAULT 'send'", "1.10.3"),
        "parameters": ("json", "1.10.3"),
        "state": ("{schema}.transfer_state NOT NULL", "1.10.3"),
        "created_at": (TIME, "1.10.3"),
        "closed_at": (TIME, "1.10.3"),
        "active": ("boolean DEFAULT true", "1.10.3"),
        "claim": ("boolean NOT NULL DEFAULT false", "1.45"),
    },
    "transaction": {
        "id": ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "1.10.3"),
        "token_id": ("uuid NOT NULL", "1.10.3"),
        "transfer_id": ("uuid NOT NULL", "1.10.3"),
        "source_wallet_id": ("uuid NOT NULL", "1.10.3"),
        "destination_wallet_id": ("uuid NOT NULL", "1.10.3"),
        "processed_at": (TIME, "1.10.3"),
        "claim": ("boolean DEFAULT false", "1.45"),
    },
    "wallet_trust": {
        "id": ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "1.10.3"),
        "actor_wallet_id": ("uuid", "1.10.3"),
        "target_wallet_id": ("uuid NOT NULL", "1.10.3"),
        "type": ("{schema}.entity_trust_type", "1.10.3"),
        "originator_wallet_id": ("uuid", "1.10.3"),
        "request_type": ("{schema}.entity_trust_request_type NOT NULL", "1.10.3"),
        "state": ("{schema}.entity_trust_state_type", "1.10.3"),
        "created_at": (TIME, "1.10.3"),
        "updated_at": (TIME, "1.10.3"),
        "active": ("boolean DEFAULT true", "1.10.3"),
    },
    "wallet_event": {
        "id": ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "1.10.3"),
        "wallet_id": ("uuid NOT NULL", "1.10.3"),
        "type": ("{schema}.wallet_event_type NOT NULL", "1.10.3"),
        "created_at": (TIME, "1.10.3"),
        "payload": ("json NOT NULL DEFAULT '{{}}'", "1.45"),
    },
    "api_key": {
        "id": ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "1.10.3"),
        "key": ("varchar", "1.10.3"),
        "tree_token_api_access": ("boolean", "1.10.3"),
        "hash": ("varchar", "1.10.3"),
        "salt": ("varchar", "1.10.3"),
        "name": ("varchar", "1.10.3"),
        "batch_create_access": ("boolean DEFAULT false", "1.10.25"),
    },
    "action_token": {
        "id": ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "keycloak"),
        "sender_wallet_id": ("uuid NOT NULL", "keycloak"),
        "token_ids": ("jsonb", "keycloak"),
        "token_count": ("integer", "keycloak"),
        "state": ("varchar DEFAULT 'active'", "keycloak"),
        "created_at": ("timestamptz DEFAULT now()", "keycloak"),
    },
}


# The names of the ids that were made.
NAMES: dict[str, str] = {}


def an_id(name: str) -> UUID:
    """An id that is the same in every run, by a name."""
    found = uuid5(UUID(int=7), name)
    NAMES[str(found)] = name
    return found


def step_id(token: UUID, transfer: UUID) -> UUID:
    """The id of the transaction of a token and a transfer."""
    return an_id(f"{token} {transfer}")


def hashed(password: str, salt: str) -> str:
    return hmac.new(salt.encode(), password.encode(), hashlib.sha512).hexdigest()


def a_salt(name: str) -> str:
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


@dataclass
class Service:
    """A database of one edition; rows are added by name."""

    connection: "psycopg.Connection[Any]"
    dsn: str
    schema: str
    edition: str

    def build(self) -> None:
        """Create the tables, in one transaction."""
        statements = [
            "DROP SCHEMA IF EXISTS wallet CASCADE",
            "DROP SCHEMA IF EXISTS public CASCADE",
            f"CREATE SCHEMA {self.schema}",
        ]
        for name, values in ENUMS.items():
            listed = ", ".join(f"'{value}'" for value in values.split())
            statements.append(f"CREATE TYPE {self.schema}.{name} AS ENUM ({listed})")
        for table, columns in TABLES.items():
            own = [
                f"{column} {type_.format(schema=self.schema)}"
                for column, (type_, since) in columns.items()
                if EDITIONS.index(since) <= EDITIONS.index(self.edition)
            ]
            if own:
                statements.append(f"CREATE TABLE {self.schema}.{table} ({', '.join(own)})")
        self.run("; ".join(statements))

    def run(self, statement: Any, values: Any = None) -> Any:
        return self.connection.execute(statement, values)

    def add(self, table: str, **values: Any) -> UUID:
        """Insert a row, without what the edition has no column for, and return its id."""
        known = TABLES[table]
        values = {
            name: json.dumps(value) if isinstance(value, dict | list) else value
            for name, value in values.items()
            if EDITIONS.index(known[name][1]) <= EDITIONS.index(self.edition)
        }
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
            sql.Identifier(self.schema, table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        )
        return UUID(str(self.run(statement, list(values.values())).fetchone()[0]))

    def change(self, table: str, row: UUID, **values: Any) -> None:
        pairs = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in values.items()
        )
        self.run(sql.SQL("UPDATE {} SET {} WHERE id = {}").format(
            sql.Identifier(self.schema, table), pairs, sql.Literal(row)))  # fmt: skip

    def wallet(self, name: str, *, at: str = "2023-01-01", password: str | None = None, **more: Any) -> UUID:
        salt = a_salt(name)
        secret = {"password": hashed(password, salt), "salt": salt} if password else {}
        return self.add("wallet", **{"id": an_id(name), "name": name, "created_at": at, **secret, **more})

    def token(self, name: str, wallet: UUID, *, at: str = "2023-01-02", **more: Any) -> UUID:
        values = {"id": an_id(name), "capture_id": an_id(f"capture {name}"), "created_at": at, "updated_at": at}
        return self.add("token", wallet_id=wallet, **(values | more))

    def transfer(
        self,
        name: str,
        source: UUID,
        destination: UUID,
        *,
        state: str = "completed",
        at: str = "2023-02-01",
        **more: Any,
    ) -> UUID:
        values = {"id": an_id(name), "originator_wallet_id": source, "created_at": at, "closed_at": at}
        return self.add(
            "transfer", source_wallet_id=source, destination_wallet_id=destination, state=state, **(values | more)
        )

    def step(
        self, token: UUID, transfer: UUID, source: UUID, destination: UUID, *, at: str = "2023-02-01", **more: Any
    ) -> UUID:
        """A transaction; its id is made of those of token and transfer."""
        values = {"id": step_id(token, transfer), "processed_at": at}
        return self.add(
            "transaction", token_id=token, transfer_id=transfer, source_wallet_id=source,
            destination_wallet_id=destination, **(values | more),
        )  # fmt: skip

    def moved(self, name: str, source: UUID, destination: UUID, tokens: list[UUID], *, at: str = "2023-02-01") -> UUID:
        """A transfer of listed tokens that completed at once, and where they are now."""
        transfer = self.transfer(name, source, destination, at=at, parameters={"tokens": [str(t) for t in tokens]})
        for token in tokens:
            self.step(token, transfer, source, destination, at=at)
            self.change("token", token, wallet_id=destination)
        return transfer

    def trust(self, name: str, actor: Any, target: UUID, kind: str, state: Any = "trusted", **more: Any) -> UUID:
        values = {
            "id": an_id(name),
            "originator_wallet_id": actor,
            "created_at": "2023-01-03",
            "updated_at": "2023-01-03",
        }
        return self.add(
            "wallet_trust", actor_wallet_id=actor, target_wallet_id=target, request_type=kind, state=state,
            type="manage" if kind in {"manage", "yield"} else "send", **(values | more),
        )  # fmt: skip


@contextmanager
def service(dsn: str, *, edition: str = "keycloak", schema: str = "wallet") -> Iterator[Service]:
    """A service whose tables are made in an empty database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        made = Service(connection, dsn, schema, edition)
        made.build()
        yield made
