"""
What an operation changed in the tables of the ledger, by row and column, and the rows beside them.

`build` makes a world in which everything has a neighbour of the same kind that an operation could change by mistake:
a second token, key, answer, transfer, trust, and the same of another wallet.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from django.apps import apps
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from transfers import action_tokens
from transfers import operations as transfers
from transfers.models import ActionToken, Transfer
from trusts import operations as trusts
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import names, queries
from wallets import operations as wallets
from wallets.hashers import TreetrackerHasher
from wallets.models import ApiKey, BearerToken, IdempotentAnswer, KnownOrigin, RestrictedKey, Token, Wallet

PASSWORD: Final = "test1234"
# Of rows that are new: what is told of them.
TOLD: Final = {
    "wallets_apikey": ("name", "batch_access"),
    "wallets_bearertoken": ("wallet_id",),
    "wallets_event": ("wallet_id", "type"),
    "wallets_idempotentanswer": ("wallet_id", "key"),
    "wallets_operatoraction": ("verb", "object_id"),
    "wallets_wallet": ("name",),
    "wallets_token": ("wallet_id",),
    "trusts_trust": ("actor_id", "target_id", "request_type", "state"),
    "trusts_trustchange": ("trust_id", "event", "state"),
    "transfers_actiontoken": ("originator_id", "sender_id", "token_count", "state"),
    "transfers_transfer": ("source_id", "destination_id", "state"),
    "transfers_transferterms": ("source_id", "destination_id", "reference"),
    "transfers_movement": ("source_id", "destination_id"),
    "transfers_tallydelta": ("wallet_id", "tokens"),
    "transfers_issue": ("wallet_id", "tokens"),
    "transfers_controlchange": ("holder_id", "subject_id"),
    "lockers_lockertask": ("kind", "wallet_id"),
    "lockers_locker": ("wallet_id", "state"),
    "lockers_coin": ("wallet_id", "state"),
}

Rows = dict[tuple[str, str], dict[str, Any]]


LEDGER: Final = ("wallets", "trusts", "transfers")


def rows(labels: Sequence[str]) -> Rows:
    """Every row of the apps, by table and primary key."""
    found: Rows = {}
    for label in labels:
        for model in apps.get_app_config(label).get_models(include_auto_created=True):
            table, key = model._meta.db_table, model._meta.pk
            assert key is not None
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT to_jsonb(each)::text FROM {table} AS each")
                for row in (orjson.loads(text) for (text,) in cursor.fetchall()):
                    found[table, str(row[key.column])] = row
    return found


class World:
    """Names for the rows that are there, so that a change can be told in words."""

    def __init__(self, labels: Sequence[str] = LEDGER) -> None:
        self.labels = labels
        # By id, or by table and number.
        self.names: dict[str, str] = {}
        # Of claim links, by name.
        self.codes: dict[str, str] = {}

    def name(self, name: str, row: Model) -> None:
        is_number = isinstance(row.pk, int)
        self.names[f"{row._meta.db_table} {row.pk}" if is_number else str(row.pk)] = name

    def id_of(self, name: str) -> UUID:
        (found,) = [row_id for row_id, each in self.names.items() if each == name]
        return UUID(found)

    def wallet(self, name: str) -> Wallet:
        return Wallet.objects.get(name=name)

    def changes(self, act: Callable[[], Any]) -> Counter[str]:
        """Run the act and return what it changed, as `table row: columns`, `table new …` or `table row: gone`."""
        before = rows(self.labels)
        act()
        after = rows(self.labels)
        found: Counter[str] = Counter()
        for key in before.keys() | after.keys():
            table, row_id = key
            kind = table.partition("_")[2]
            old, new = before.get(key), after.get(key)
            if old is None:
                assert new is not None
                told = [self._told(kind, str(new[column])) for column in TOLD.get(table, ())]
                found[" ".join([f"{kind} new", *told])] += 1
            elif new is None:
                found[f"{kind} {self._named(table, row_id, old)}: gone"] += 1
            elif changed := sorted(column for column in old if old[column] != new[column]):
                found[f"{kind} {self._named(table, row_id, old)}: {', '.join(changed)}"] += 1
        return found

    def _named(self, table: str, row_id: str, row: dict[str, Any]) -> str:
        if table == "wallets_token":
            return f"of {self.names[row['wallet_id']]}"
        return self.names.get(row_id) or self.names.get(f"{table} {row_id}", "another")

    def _told(self, kind: str, value: str) -> str:
        named = self.names.get(f"{kind} {value}") or self.names.get(value)
        return named or ("another" if names.parse_uuid(value) else value)


def build() -> World:
    world = World()
    for name in ("alice", "bobby", "carol", "rita", "zora"):
        wallet = wallets.create_wallet(name=name, password=PASSWORD if name in {"alice", "bobby"} else "")
        world.name(name, wallet)
    # Holds nothing, and nothing waits for it.
    world.name("nina", wallets.create_wallet(name="nina"))
    # Of bobby the hash that an import brought.
    Wallet.objects.filter(name="bobby").update(password=TreetrackerHasher().encode(PASSWORD, "salt"))
    alice, bobby, carol, rita, zora = (world.wallet(name) for name in ("alice", "bobby", "carol", "rita", "zora"))
    _credentials(world, alice, bobby)
    _kept_for_a_while(world, alice, bobby)

    def ask(name: str, asking: Wallet, kind: str, asked: Wallet, *, accepted: bool, by: Wallet | None = None) -> None:
        row = trusts.request_trust(
            actor=by or asking,
            requester=asking.name,
            request_type=TrustRequestType(kind),
            requestee=asked.name,
        )
        world.name(name, Trust(pk=row.id))
        if accepted:
            trusts.accept_trust(actor=asked, trust_id=row.id)

    ask("carol manages alice", carol, "manage", alice, accepted=True)
    ask("carol manages zora", carol, "manage", zora, accepted=True)
    ask("alice may send to zora, of carol", alice, "send", zora, accepted=False, by=carol)
    ask("rita may send to alice", rita, "send", alice, accepted=False)
    ask("rita may send to bobby", rita, "send", bobby, accepted=False)
    ask("alice may send to bobby", alice, "send", bobby, accepted=True)
    ask("bobby may send to zora", bobby, "send", zora, accepted=True)

    for wallet in (alice, bobby, rita):
        transfers.issue_tokens(wallet=wallet, count=12 if wallet == alice else 10)
    for name, sender in (("link of alice", alice), ("another link of alice", alice), ("link of bobby", bobby)):
        [link] = action_tokens.offer_bundles(actor=sender, sender=None, size=2)
        world.name(name, ActionToken(pk=link.id))
        world.codes[name] = link.code
    for giver, receiver, by, name in (
        (alice, rita, alice, "alice offers rita"),
        (alice, rita, alice, "alice offers rita too"),
        (bobby, rita, bobby, "bobby offers rita"),
        (rita, alice, rita, "rita offers alice"),
        (alice, rita, rita, "rita asks alice"),
        (alice, rita, rita, "rita asks alice too"),
        (bobby, rita, rita, "rita asks bobby"),
    ):
        row = transfers.send_bundle(actor=by, sender=giver.name, receiver=receiver.name, size=1)
        world.name(name, Transfer(pk=row.id))
    world.name("a free token of alice", Token.objects.filter(wallet=alice, transfer_pending_id=None)[0])
    return world


def _credentials(world: World, alice: Wallet, bobby: Wallet) -> None:
    now, day = timezone.now(), timedelta(days=1)
    for wallet, name, expires, revoked in (
        (alice, "token 1 of alice", now + day, None),
        (alice, "token 2 of alice", now + day, None),
        (alice, "token of alice, just expired", now - day, None),
        (alice, "token of alice, just revoked", now + day, now - day),
        (alice, "token of alice, expired long ago", now - 31 * day, None),
        (alice, "token of alice, revoked long ago", now + day, now - 31 * day),
        (bobby, "token of bobby", now + day, None),
    ):
        token = BearerToken.objects.create(
            wallet=wallet, prefix="abcdef", digest=queries.digest(name), expires_at=expires, revoked_at=revoked
        )
        world.name(name, token)
    for name, may_batch, expires, revoked in (
        ("key", True, now + 10 * day, None),
        ("key without batches", False, None, None),
        ("key that ends soon", True, now + timedelta(hours=1), None),
        ("revoked key", True, None, now - day),
    ):
        key = ApiKey.objects.create(
            name="partner",
            prefix="abcdef",
            digest=queries.digest(name),
            batch_access=may_batch,
            expires_at=expires,
            revoked_at=revoked,
        )
        world.name(name, key)
    for wallet, name, expires, ended in (
        (alice, "program 1 of alice", None, None),
        (alice, "program 2 of alice", now + day, None),
        (alice, "program of alice, just expired", now - day, None),
        (alice, "program of alice, just ended", None, now - day),
        (bobby, "program of bobby", None, None),
    ):
        program = RestrictedKey.objects.create(
            wallet=wallet,
            name=name,
            prefix="cop_rk_abcd",
            digest=queries.digest(name),
            scopes=["tokens:read"],
            wallet_ids=[wallet.pk],
            expires_at=expires,
            ended_at=ended,
        )
        world.name(name, program)


def _kept_for_a_while(world: World, alice: Wallet, bobby: Wallet) -> None:
    now = timezone.now()
    for wallet, key, days in ((alice, "old", 8), (alice, "fresh", 6), (bobby, "fresh", 6)):
        answer = IdempotentAnswer.objects.create(wallet=wallet, key=key, fingerprint=b"", status=200, body=b"")
        IdempotentAnswer.objects.filter(pk=answer.pk).update(created_at=now - timedelta(days=days))
        world.name(f"{key} answer to {wallet.name}", answer)
    for wallet, days in ((alice, 91), (bobby, 89)):
        origin = KnownOrigin.objects.create(
            kind="wallet",
            account=str(wallet.pk),
            means="address",
            digest=b"",
            last_login_at=now - timedelta(days=days),
        )
        world.name(f"origin of {wallet.name}", origin)
