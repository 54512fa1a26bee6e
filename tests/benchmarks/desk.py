"""
The operators' desk over a million tokens: what its pages take, one after the other, as one operator opens them.

`python -m tests.benchmarks.desk` measures this part alone, in a minute or two.
"""

import http.client
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import django
import psycopg

from tests.benchmarks import machine

if TYPE_CHECKING:
    from tests.benchmarks.data import Estate

LIMIT_MILLISECONDS = 300
HOME = "/admin/"
PAGES = (
    HOME,
    "/admin/?days=90",
    "/admin/wallets/wallet/",
    "/admin/wallets/wallet/?q=park",
    "/admin/wallets/token/",
    "/admin/wallets/token/?wallet=park",
    "/admin/wallets/token/?reserved=yes",
    "/admin/transfers/transfer/",
    "/admin/transfers/transfer/?p=100",
    "/admin/transfers/transfer/?state=completed",
    "/admin/transfers/transfer/?state=open",
    "/admin/transfers/transfer/?state=cancelled",
    "/admin/transfers/transfer/?wallet=park",
    "/admin/transfers/transfer/?wallet=bed-7",
    "/admin/transfers/transfer/?waits=older",
    "/admin/lockers/coin/?state=limbo",
    "/admin/lockers/lockertask/",
    "/admin/lockers/lockertask/?need=yes",
)


class Timing(NamedTuple):
    """How long the requests of one page took, each from the first byte sent to the last one read."""

    path: str
    milliseconds: Sequence[float]

    @property
    def median(self) -> float:
        return median(self.milliseconds)


# 20,000 pending transfers that reserve a token each, 80,000 that were cancelled, 100,000 coins, 5,000 tasks; and all
# transfers spread over half a year, as a ledger of that age would have them.
_FURNISH = """
SET LOCAL session_replication_role = replica;
UPDATE transfers_transfer SET created_at = now() - (number %% 180) * interval '1 day',
                              closed_at = now() - (number %% 180) * interval '1 day' + interval '1 minute';
DELETE FROM transfers_daytally;
INSERT INTO transfers_daytally (day, transfers, tokens)
SELECT (created_at AT TIME ZONE 'UTC')::date, count(*), sum(moved_count) FROM transfers_transfer GROUP BY 1;
CREATE TEMPORARY TABLE slow AS
SELECT gen_random_uuid() AS id, nextval('wallets_event_number') AS number, place,
       now() - (place %% 180) * interval '1 day' AS at
  FROM generate_series(1, 100000) AS place;
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from, closed_by_id)
SELECT id, number, %(park)s, %(park)s, %(nursery)s, '{"bundle": {"bundleSize": 1}}',
       CASE WHEN place <= 20000 THEN 'pending' ELSE 'cancelled' END, 1, (place <= 20000)::int, 0, at,
       CASE WHEN place > 20000 THEN at + interval '1 hour' END, CASE WHEN place > 20000 THEN 'decline' ELSE '' END,
       CASE WHEN place > 20000 THEN 'pending' ELSE '' END, CASE WHEN place > 20000 THEN %(nursery)s::uuid END
  FROM slow;
UPDATE wallets_token AS token SET transfer_pending_id = slow.id
  FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM wallets_token WHERE wallet_id = %(park)s LIMIT 20000)
       AS taken
  JOIN slow USING (place) WHERE token.id = taken.id;
INSERT INTO lockers_lockertask (
       id, kind, wallet_id, actor_id, state, step, progress, message, tag, receipt_id, attempt, deadline, plan, result,
       request_id, finished_at, created_at)
SELECT gen_random_uuid(), (ARRAY['put', 'take', 'import'])[1 + place %% 3], %(park)s, %(park)s,
       CASE WHEN place %% 50 = 0 THEN 'error' ELSE 'completed' END, 'done',
       CASE WHEN place %% 50 = 0 THEN 40 ELSE 100 END, 'Stored.', '', replace(gen_random_uuid()::text, '-', ''), 1,
       now(), '{}', '{}', '',
       now() - place * interval '10 minutes', now() - place * interval '10 minutes'
  FROM generate_series(1, 5000) AS place;
INSERT INTO lockers_coin (
       id, wallet_id, denomination, serial_number, state, origin, pown, secrets, outcome, releasing)
SELECT gen_random_uuid(), %(park)s, place %% 6, place, CASE WHEN place %% 1000 = 0 THEN 'limbo' ELSE 'bank' END,
       'import', repeat('p', 25), '\\x00', '', false
  FROM generate_series(1, 100000) AS place;
DROP TABLE slow;
"""


def furnish(connection: "psycopg.Connection[tuple[object, ...]]", estate: "Estate") -> str:
    """Make what operators look at besides the tokens, and a staff member; return the cookie of the session."""
    # These read Django's settings, which name the database only now.
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    from transfers import counters  # noqa: PLC0415
    from wallets.models import Wallet  # noqa: PLC0415

    nursery = Wallet.objects.get(name="nursery")
    with connection.transaction(), psycopg.ClientCursor(connection) as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off; SET LOCAL work_mem = '256MB'")
        cursor.execute(_FURNISH, {"park": estate.reader.pk, "nursery": nursery.pk})
    # The worker does this every few seconds.
    counters.roll_up()
    connection.execute("VACUUM (ANALYZE)")
    client = Client()
    client.force_login(User.objects.create_superuser("benchmark", password=None))
    return f"sessionid={client.cookies['sessionid'].value}"


def measure(address: tuple[str, int], cookie: str, *, times: int) -> list[Timing]:
    """Open each page some times, after once to warm up, and return what each time took."""
    connection = http.client.HTTPConnection(*address, timeout=60)

    def once(path: str) -> float:
        begun = time.perf_counter()
        connection.request("GET", path, headers={"Host": "localhost", "Cookie": cookie})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
        return (time.perf_counter() - begun) * 1000

    # Each thread of the server has a connection of its own, and plans anew.
    for path in PAGES:
        for _ in range(3):
            once(path)
    found = [Timing(path, [once(path) for _ in range(times)]) for path in PAGES]
    connection.close()
    return found


def table(timings: Sequence[Timing]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return [
        "| page of the desk | median ms | least–most |",
        "|---|--:|--:|",
        *(
            f"| `{timing.path}` | **{timing.median:.0f}**"
            f" | {min(timing.milliseconds):.0f}–{max(timing.milliseconds):.0f} |"
            for timing in timings
        ),
    ]


def main() -> None:
    with machine.running() as running:
        django.setup()
        from tests.benchmarks import data  # noqa: PLC0415

        estate = data.settle()
        with running.connect() as connection:
            data.grow(connection, estate, 1_000_000)
            data.tidy(connection)
            cookie = furnish(connection, estate)
        running.start_web()
        print("\n".join(table(measure(running.address, cookie, times=15))))  # noqa: T201 - a command


if __name__ == "__main__":
    main()
