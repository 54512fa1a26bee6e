"""Who follows the events on a replica misses none that is committed late, and reads the own ones at once."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from config.ops import wallet_export
from config.postgresql import replica
from tests.api.caller import PASSWORD, Caller
from tests.concurrency.writers import uncommitted
from tests.support import replicas
from tests.support.restricted_keys import with_key
from tests.support.standby import Standby, follow, streaming_standby
from transfers import events, operations
from transfers.errors import EventsExpired
from trusts import operations as trusts
from wallets import event_sequence
from wallets import operations as wallets
from wallets.models import Event, EventPosition, Wallet

pytestmark = pytest.mark.django_db(transaction=True)

# Without the row of the published position.
_OF_A_PRIMARY = event_sequence.SETTLED.replace("pg_is_in_recovery()", "false")


@pytest.fixture(scope="module")
def standby(django_db_setup: None) -> Iterator[Standby]:
    with streaming_standby() as server:
        yield server


@pytest.fixture
def followed(transactional_db: None, standby: Standby, settings: Any) -> Iterator[Standby]:
    with replicas.configured(standby.url(), settings):
        yield standby
        standby.delay(0)
        standby.resume()
        standby.catch_up()


class Follower:
    """A client that follows the cursor on the replica alone."""

    def __init__(self, wallet: Wallet) -> None:
        self.wallet, self.position, self.seen = wallet, (0, -1), []

    def read(self) -> list[str]:
        with replica.reading():
            wallet_ids = events.wallets_of(actor_id=self.wallet.pk, wallet=None)
            rows, _ = events.page_of(wallet_ids, limit=100, after=self.position)
        if rows:
            self.position = (rows[-1].number, rows[-1].party)
        return [row.type for row in rows]


def send(alice: Wallet, bob: Wallet, size: int) -> None:
    operations.send_bundle(actor=alice, sender="alice", receiver="bobby", size=size)


@pytest.mark.parametrize("is_published", [True, False], ids=["published", "control"])
def test_an_event_that_is_committed_late_is_read_in_its_place(
    followed: Standby, stocked: Wallet, bob: Wallet, is_published: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(followed)
    follower = Follower(stocked)
    follower.read()
    with uncommitted(lambda: send(stocked, bob, 2)):
        send(stocked, bob, 1)
        follow(followed)
        with monkeypatch.context() as patch:
            if not is_published:
                patch.setattr(event_sequence, "SETTLED", _OF_A_PRIMARY)
            early = follower.read()
    follow(followed)
    late = follower.read()

    # The control reads the later event, and never the earlier one.
    assert (early, late) == (([], ["transfer_requested"] * 2) if is_published else (["transfer_requested"], []))


@pytest.mark.parametrize("is_compared", [True, False], ids=["compared", "control"])
def test_a_page_that_is_read_while_the_replica_catches_up_says_what_was_removed(
    followed: Standby, stocked: Wallet, bob: Wallet, is_compared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(stocked)
    send(stocked, bob, 1)
    trusts.request_trust(actor=stocked, request_type="send", requestee="bobby")
    follow(followed)
    followed.pause()
    # What `config.ops.event_retention` does, two minutes apart.
    EventPosition.objects.update(kept_from=Event.objects.latest("number").number + 1)
    with connections["default"].cursor() as cursor:
        cursor.execute("TRUNCATE wallets_event_default")
        cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
        (position,) = cursor.fetchone()
    page = events._page

    def after_catching_up(**given: Any) -> str:
        followed.resume()
        followed.wait_for(position)
        return page(**given)

    monkeypatch.setattr(events, "_page", after_catching_up)
    if is_compared:
        with pytest.raises(EventsExpired):
            follower.read()
    else:
        monkeypatch.setattr(events, "_kept_from", lambda: 0)
        assert follower.read() == ["transfer_requested"]


def test_the_published_mark_neither_runs_ahead_nor_goes_back(followed: Standby, stocked: Wallet, bob: Wallet) -> None:
    event_sequence.publish()
    before = EventPosition.objects.get()
    with uncommitted(lambda: send(stocked, bob, 2)):
        send(stocked, bob, 1)
        event_sequence.publish()
        held = EventPosition.objects.get()
    event_sequence.publish()
    after = EventPosition.objects.get()

    assert before.settled == held.settled == after.settled - 2
    assert before.at < held.at < after.at
    EventPosition.objects.update(settled=after.settled + 5)
    event_sequence.publish()
    assert EventPosition.objects.get().settled == after.settled + 5


@pytest.fixture
def program(stocked: Wallet) -> Caller:
    """The program of alice."""
    return program_of(stocked)


def program_of(wallet: Wallet) -> Caller:
    key = wallets.create_api_key(name=f"of {wallet.name}")[1]
    wallets.set_password(wallet=wallet, password=PASSWORD)
    return Caller(key, wallets.authenticate(name_or_id=wallet.name, password=PASSWORD), wallet)


def asked(program: Caller, path: str) -> tuple[str, Any, str]:
    """Return which server read the events, the events of the answer, and the link to later ones."""
    with replicas.statements() as executed:
        answer = program.get(path)
    assert answer.status_code == 200
    on_replica, elsewhere = ([sql for alias, sql in executed if (alias == replica.ALIAS) is it] for it in (True, False))
    # Credentials are looked up on the primary, and so is what the wallet controls.
    assert not any("bearer" in sql or "trusts_power" in sql for sql in on_replica)
    assert any("wallets_bearertoken" in sql or "wallets_restrictedkey" in sql for sql in elsewhere)
    link = answer["Link"].partition("<")[2].partition(">")[0].removeprefix("http://testserver")
    return "replica" if on_replica else "primary", json.loads(answer.content)["events"], link


def bundles(shown: Any) -> list[int]:
    return [each["payload"]["bundle"] for each in shown if "bundle" in each["payload"]]


def test_the_replica_answers_as_the_primary_does(
    followed: Standby, program: Caller, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program.wallet is not None
    for size in (1, 2, 3):
        send(program.wallet, bob, size)
    follow(followed)
    found = []
    path = "/events?limit=2"
    for _ in range(3):
        found.append(asked(program, path))
        path = found[-1][2]
    with monkeypatch.context() as patch:
        patch.setattr(replica, "is_configured", lambda: False)
        path = "/events?limit=2"
        for server, shown, link in found:
            assert ("primary", shown, link) == asked(program, path)
            assert server == "replica"
            path = link
    assert bundles([each for _, shown, _ in found for each in shown]) == [1, 2, 3]


def test_an_export_of_the_replica_is_that_of_the_primary(
    followed: Standby, program: Caller, bob: Wallet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.wallet is not None
    send(program.wallet, bob, 2)
    # Its time is noted once a minute.
    program.get("/events?limit=1")
    follow(followed)
    with replicas.statements() as executed:
        shown = b"".join(program.get(f"/wallets/{program.wallet.pk}/export").streaming_content).decode()
        call_command("export_wallet", "alice")
    assert replicas.count_of(executed, replica.ALIAS) > 2 * len(wallet_export.EXPORTED)
    assert not connections[replica.ALIAS].in_atomic_block
    assert shown == "".join(wallet_export.lines(wallet_id=program.wallet.pk))
    assert shown == capsys.readouterr().out
    # An export that is not read to its end leaves no transaction open.
    lines = replica.read_lines(lambda: wallet_export.lines(wallet_id=bob.pk))
    assert connections[replica.ALIAS].in_atomic_block
    lines.close()  # type: ignore[attr-defined]
    assert not connections[replica.ALIAS].in_atomic_block


def test_with_ten_seconds_of_lag_a_reader_finds_the_own_events_and_no_answer_is_older_than_the_limit(
    followed: Standby, program: Caller, bob: Wallet, carol: Wallet, settings: Any
) -> None:
    assert program.wallet is not None
    other = program_of(carol)
    trusts.request_trust(actor=carol, request_type="send", requestee="bobby")
    send(program.wallet, bob, 1)
    follow(followed)
    followed.delay(10)
    send(program.wallet, bob, 2)

    settings.REPLICA_MAX_LAG = 60
    server, shown, _ = asked(program, "/events?limit=100")
    assert (server, bundles(shown)) == ("primary", [1, 2])
    server, shown, _ = asked(other, "/events?limit=100")
    assert (server, shown[-1]["type"]) == ("replica", "trust_request")
    settings.REPLICA_MAX_LAG = 2
    deadline = time.monotonic() + 60
    while asked(other, "/events?limit=100")[0] == "replica":
        # The row of each second arrives ten seconds late.
        event_sequence.publish()
        assert time.monotonic() < deadline
    with pytest.raises(replica.TooFarBehind) as found:
        replica.state()
    assert 2 < found.value.lag_seconds < 60
    assert str(found.value).endswith("s behind, more than COPPICE_REPLICA_MAX_LAG=2")
    followed.delay(0)
    follow(followed)
    assert asked(other, "/events?limit=100")[0] == "replica"


def test_a_restricted_key_reads_no_more_from_the_replica(
    followed: Standby, program: Caller, bob: Wallet, sapling: Wallet
) -> None:
    assert program.wallet is not None
    key = with_key(program, "events:read", wallets=["sapling"])
    operations.send_bundle(actor=program.wallet, sender="alice", receiver="sapling", size=2)
    send(program.wallet, bob, 1)
    follow(followed)
    server, shown, _ = asked(key, "/events?limit=100")
    assert server == "replica"
    assert {each["wallet_id"] for each in shown} == {str(sapling.pk)}
    assert key.get("/events?limit=9&wallet=alice").status_code == 403


def test_what_decides_and_other_lists_are_read_from_the_primary(
    followed: Standby, program: Caller, bob: Wallet
) -> None:
    follow(followed)
    body = {"bundle": {"bundle_size": 2}, "sender_wallet": "alice", "receiver_wallet": "bobby"}
    with replicas.statements() as executed:
        sent = [program.post("/transfers", body, idempotency_key="once") for _ in range(2)]
        path = f"/transfers/{json.loads(sent[0].content)['id']}"
        answers = [
            *sent,
            program.get("/transfers?limit=10"),
            program.get("/tokens?limit=10"),
            program.get("/wallets?limit=10"),
            program.get("/trust_relationships?limit=10"),
            program.get(path),
            program.delete(path),
            program.post("/auth", {"wallet": "alice", "password": PASSWORD}),
        ]
    assert [each.status_code for each in answers] == [202, 202, 200, 200, 200, 200, 200, 200, 200]
    assert sent[1]["Idempotency-Replayed"] == "true"
    assert len(executed) > 10
    assert replicas.count_of(executed, replica.ALIAS) == 0
