"""
Wallets and tokens to measure with: one manager, the wallets that it manages, and their tokens.

    forest          the manager who moves tokens
      plot-i-j-a/b  pairs of wallets, so that no two clients ever want the same one; tokens go there and back
      grove-i-a/b   the same, for explicit lists
      stand-i-a/b   the same, for bundles of 100
      big-a, big-b  the same, for bundles of 10,000
      hot           the wallet from which all clients draw at once
    park            the manager who reads; a million tokens came to it, each by a transfer of its own
      bed-i         120 wallets that it manages
"""

from dataclasses import dataclass
from uuid import UUID

import psycopg

from transfers import counters
from transfers import operations as transfers
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Token, Wallet

CLIENTS = 32
PAIRS = 2
BEDS = 120
# What `settle` issues.
SETTLED = BEDS * 5 + CLIENTS * (PAIRS * 2 * 12 + 200)


@dataclass(frozen=True)
class Estate:
    """Who asks, and which tokens lie in the first grove of each client."""

    api_key: str
    bearer: str
    reader: Wallet
    reader_bearer: str
    listed: list[list[UUID]]

    @property
    def headers(self) -> dict[str, str]:
        return {"treetracker-api-key": self.api_key, "Authorization": f"Bearer {self.bearer}"}

    @property
    def reader_headers(self) -> dict[str, str]:
        return {"treetracker-api-key": self.api_key, "Authorization": f"Bearer {self.reader_bearer}"}


def plot(client: int, pair: int, side: str) -> str:
    return f"plot-{client}-{pair}-{side}"


def settle() -> Estate:
    """Make all wallets, and the tokens that go there and back."""
    _, api_key = wallets.create_api_key(name="benchmark")
    manager = wallets.create_wallet(name="forest", password="acorns and oaks")
    reader = wallets.create_wallet(name="park", password="roses and elms")
    bearer = wallets.authenticate(name_or_id="forest", password="acorns and oaks")
    reader_bearer = wallets.authenticate(name_or_id="park", password="roses and elms")
    listed = []

    def managed(name: str, count: int, actor: Wallet = manager) -> Wallet:
        wallet = trusts.open_managed_wallet(actor=actor, name=name)
        if count:
            transfers.issue_tokens(wallet=wallet, count=count)
        return wallet

    for number in range(BEDS):
        managed(f"bed-{number}", 5, reader)
    for client in range(CLIENTS):
        for pair in range(PAIRS):
            for side in "ab":
                managed(plot(client, pair, side), 12)
        grove = managed(f"grove-{client}-a", 100)
        listed.append(list(Token.objects.filter(wallet=grove).order_by("id").values_list("id", flat=True)))
        managed(f"grove-{client}-b", 0)
        managed(f"stand-{client}-a", 100)
        managed(f"stand-{client}-b", 0)
    for name in ("hot", "big-a", "big-b"):
        managed(name, 0)
    return Estate(api_key, bearer, reader, reader_bearer, listed)


def issue(name: str, count: int) -> None:
    transfers.issue_tokens(wallet=Wallet.objects.get(name=name), count=count)


_GROW = """
CREATE TEMPORARY TABLE grown AS
SELECT gen_random_uuid() AS token, gen_random_uuid() AS transfer, nextval('transfers_arrival') AS issued,
       nextval('transfers_arrival') AS arrival, nextval('wallets_event_number') AS number, clock_timestamp() AS at
  FROM generate_series(1, %(count)s);
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state,
       token_count, reserved_count, moved_count, created_at, closed_at, closed_event)
SELECT transfer, number, %(nursery)s, %(nursery)s, %(park)s, '{"bundle": {"bundleSize": 1}}', 'completed',
       1, 0, 1, at, at, ''
  FROM grown;
INSERT INTO wallets_token (id, capture_id, wallet_id, moves, arrival, lot, claim, created_at, updated_at)
SELECT token, gen_random_uuid(), %(park)s, 1, arrival,
       floor(random() * 4294967296 - 2147483648)::integer, false, at, at
  FROM grown;
INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
SELECT issued, token, 0, NULL, NULL, %(nursery)s, at FROM grown
 UNION ALL
SELECT arrival, token, 1, number, %(nursery)s, %(park)s, at FROM grown;
INSERT INTO transfers_tallydelta (wallet_id, tokens) VALUES (%(nursery)s, %(count)s);
DROP TABLE grown;
"""


def grow(connection: "psycopg.Connection[tuple[object, ...]]", estate: Estate, count: int) -> None:
    """
    Bring `count` tokens to the reader, each by a transfer of its own, as the ledger would have written them.

    Only the load does without waiting for the disk; what is measured waits.
    """
    nursery = Wallet.objects.filter(name="nursery").first() or wallets.create_wallet(name="nursery")
    with connection.transaction(), psycopg.ClientCursor(connection) as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off; SET LOCAL work_mem = '256MB'")
        cursor.execute(_GROW, {"count": count, "nursery": nursery.pk, "park": estate.reader.pk})


def tidy(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """Leave the database as an hour of rest would."""
    counters.recount()
    counters.roll_up()
    connection.execute("VACUUM (ANALYZE)")
    connection.execute("CHECKPOINT")
