"""`GET /events` and `GET /wallets/{id}/pending-transfers`."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.api.caller import PASSWORD, Caller, answer, refusal
from tests.support.pagination import next_path
from transfers import events as feed
from transfers import operations
from transfers.models import Transfer
from wallets.models import Event, Wallet

STRANGE = "11111111-1111-4111-8111-111111111111"


def read(caller: Any, query: str = "limit=1000") -> Any:
    status, body = answer(caller.get(f"/events?{query}"))
    assert status == 200, body
    return body["events"]


def told(caller: Any, query: str = "limit=1000") -> Any:
    """Return what the caller reads: whose event, and of which type."""
    names = {str(wallet.pk): wallet.name for wallet in Wallet.objects.all()}
    return [(names[event["wallet_id"]], event["type"]) for event in read(caller, query)]


def send(caller: Any, sender: Any, receiver: Any, size: Any) -> Any:
    body = {"sender_wallet": sender, "receiver_wallet": receiver, "bundle": {"bundle_size": size}}
    response = caller.post("/transfers", body)
    assert response.status_code in (201, 202), response.content
    return answer(response)[1]["id"]


def test_a_login_and_new_wallets_are_events(alice: Caller) -> None:
    before = len(read(alice))
    alice.post("/auth", {"wallet": "alice", "password": PASSWORD}, authorization=None)
    alice.post("/auth", {"wallet": "alice", "password": "wrong"}, authorization=None)
    alice.post("/wallets", {"wallet": "sapling"})
    alice.post("/wallets", {"wallet": "sapling"})
    sapling = Wallet.objects.get(name="sapling")

    events = read(alice)[before:]

    made = {"parentWallet": str(alice.wallet.pk), "childWallet": "sapling"}
    assert [(event["wallet_id"], event["type"], event["payload"]) for event in events] == [
        (str(alice.wallet.pk), "login", {"wallet": "alice"}),
        (str(sapling.pk), "wallet_created", made),
        (str(alice.wallet.pk), "wallet_created", made),
    ]
    assert [list(event) for event in events] == [["id", "wallet_id", "type", "created_at", "payload"]] * 3
    assert len({event["id"] for event in events}) == 3


def test_the_last_page_names_the_url_of_later_events(alice: Caller) -> None:
    for query in ("limit=100", "limit=100&wallet=alice", "limit=2", "limit=100&since=2020-01-01", "limit=1&start=2"):
        path, seen = f"/events?{query}", []
        while path:
            response = alice.get(path)
            seen += answer(response)[1]["events"]
            last, path = response, next_path(response)
        later = next_path(last, "monitor")
        assert "start" not in later
        assert answer(alice.get(later)) == (200, {"events": []}), query
        assert next_path(alice.get(later), "monitor") == later

        alice.post("/auth", {"wallet": "alice", "password": PASSWORD}, authorization=None)

        (event,) = answer(alice.get(later))[1]["events"]
        assert event["type"] == "login"
        assert event["id"] not in {each["id"] for each in seen}
    # Before the first event there is no position: the URL is the same.
    beyond = "/events?limit=5&since=2999-01-01"
    assert next_path(alice.get(beyond), "monitor").replace("%3A", ":").startswith(beyond)


def test_what_happens_to_a_trust_is_an_event_of_both_wallets(alice: Caller, bob: Caller) -> None:
    since = len(read(alice)), len(read(bob))
    asked = {"trust_request_type": "send", "requestee_wallet": "bobby"}
    trust_id = answer(alice.post("/trust_relationships", asked))[1]["id"]
    for _ in range(2):  # said again, nothing happens
        bob.post(f"/trust_relationships/{trust_id}/accept")
    bob.post(f"/trust_relationships/{trust_id}/decline")
    alice.delete(f"/trust_relationships/{trust_id}")
    alice.post(f"/trust_relationships/{trust_id}/accept")  # is not hers to do

    for caller, first in zip((alice, bob), since, strict=True):
        events = read(caller)[first:]
        assert [event["type"] for event in events] == [
            "trust_request",
            "trust_request_granted",
            "trust_request_cancelled_by_target",
            "trust_request_cancelled_by_originator",
        ]
        for event in events:
            assert list(event["payload"].items()) == [
                ("trustRelationshipId", trust_id),
                ("requesterWallet", "alice"),
                ("requesteeWallet", "bobby"),
                ("trustRequestType", "send"),
            ]


@pytest.mark.parametrize(
    ("close", "type_", "state"),
    [
        (lambda alice, bob, path: bob.post(f"{path}/accept"), "transfer_completed", "completed"),
        (
            lambda alice, bob, path: bob.post(f"{path}/decline"),
            "transfer_request_cancelled_by_destination",
            "cancelled",
        ),
        (lambda alice, bob, path: alice.delete(path), "transfer_pending_cancelled_by_requestor", "cancelled"),
        (lambda alice, bob, path: operations.expire(transfer_ids=[path[11:]]), "transfer_failed", "failed"),
    ],
)
def test_a_pending_transfer_is_two_events_of_both_wallets(
    alice: Caller, bob: Caller, close: Any, type_: str, state: str
) -> None:
    since = len(read(alice)), len(read(bob))
    transfer_id = send(alice, "alice", "bobby", 2)
    opened = [read(alice)[since[0]], read(bob)[since[1]]]
    close(alice, bob, f"/transfers/{transfer_id}")
    bob.post(f"/transfers/{transfer_id}/accept")  # is refused: it is closed

    for caller, first, before in zip((alice, bob), since, opened, strict=True):
        events = read(caller)[first:]
        assert events[0] == before, "an event does not change"
        assert [event["type"] for event in events] == ["transfer_requested", type_]
        assert {event["wallet_id"] for event in events} == {str(caller.wallet.pk)}
        assert [list(event["payload"].items()) for event in events] == [
            [
                ("transferId", transfer_id),
                ("walletSender", "alice"),
                ("walletReceiver", "bobby"),
                ("bundle", 2),
                ("transferState", each),
                ("claim", False),
            ]
            for each in ("pending", state)
        ]


def test_a_fulfilled_request_tells_that_it_was_requested(alice: Caller, bob: Caller) -> None:
    token = str(alice.wallet.tokens.first().pk)
    body = {"sender_wallet": "alice", "receiver_wallet": "bobby", "tokens": [token]}
    transfer_id = answer(bob.post("/transfers", body))[1]["id"]
    assert alice.post(f"/transfers/{transfer_id}/fulfill", {"implicit": True}).status_code == 200

    events = read(alice)[-2:]

    assert [(event["type"], event["payload"]["transferState"]) for event in events] == [
        ("transfer_requested", "requested"),
        ("transfer_completed", "completed"),
    ]
    assert [event["payload"]["tokenTransferred"] for event in events] == [[token]] * 2


def test_an_immediate_transfer_is_an_event_of_both_wallets_and_no_row(alice: Caller, sapling: Wallet) -> None:
    rows = Event.objects.count()
    transfer_id = send(alice, "alice", "sapling", 1)

    assert Event.objects.count() == rows
    source, destination = read(alice)[-2:]
    at = Transfer.objects.get().created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert source["id"] != destination["id"]
    assert (source["wallet_id"], destination["wallet_id"]) == (str(alice.wallet.pk), str(sapling.pk))
    for event in (source, destination):
        assert (event["type"], event["created_at"]) == ("transfer_completed", at)
        assert event["payload"] == {
            "transferId": transfer_id,
            "walletSender": "alice",
            "walletReceiver": "sapling",
            "bundle": 1,
            "transferState": "completed",
            "claim": False,
        }
    assert read(alice)[-2:] == [source, destination], "the ids stay"


def test_since_finds_what_has_an_earlier_number_than_what_was_before(carol: Caller) -> None:
    """A time is taken before the number, by a statement that may last: a later event may have an earlier number."""
    # After all that is there, which the search for a beginning passes over.
    begin = timezone.now() + timedelta(days=1)
    times = [0, 0, 50, 0, 10, 0, 20, 0, 30, *[0] * 12]
    ids = []
    with connection.cursor() as cursor:
        for seconds in times:
            cursor.execute(
                "INSERT INTO wallets_event (id, number, wallet_id, type, payload, created_at)"
                " VALUES (gen_random_uuid(), nextval('wallets_event_number'), %s, 'login', '{}', %s)"
                " RETURNING id::text",
                [carol.wallet.pk, begin + timedelta(seconds=seconds)],
            )
            ids.append(cursor.fetchone()[0])

    for since in (0, 5, 10, 15, 25, 35, 50):
        moment = (begin + timedelta(seconds=since)).isoformat().replace("+00:00", "Z")
        found = [event["id"] for event in read(carol, f"limit=99&since={moment}")]
        assert found == [each for each, seconds in zip(ids, times, strict=True) if seconds >= since], since


@pytest.fixture
def busy(alice: Caller, bob: Caller, sapling: Wallet) -> Any:
    """alice with a manager's variety of events."""
    for size in (1, 2):
        send(alice, "alice", "sapling", size)
        pending = send(alice, "sapling", "bobby", 1)
        bob.post(f"/transfers/{pending}/accept")
    alice.post("/trust_relationships", {"trust_request_type": "send", "requestee_wallet": "bobby"})
    send(bob, "alice", "bobby", 1)
    return alice


def test_the_cursor_and_start_visit_every_event_once(busy: Any) -> None:
    everything = read(busy)
    assert len(everything) == 14

    for limit in (1, 2, 5, 13, 14):
        path, seen = f"/events?limit={limit}", []
        while path:
            response = busy.get(path)
            page = answer(response)[1]["events"]
            assert len(page) <= limit
            seen += page
            path = next_path(response)
        assert seen == everything
    for start in (1, 2, 7, 14, 15):
        assert read(busy, f"limit=3&start={start}") == everything[start - 1 :][:3]


def test_since_leaves_out_what_was_before(busy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The events are only moments old, so the floor is looked for where it would be if statements took no time.
    monkeypatch.setattr(feed, "_LONGEST_STATEMENT", timedelta(0))
    everything = read(busy)
    moments = sorted({event["created_at"] for event in everything})

    for moment in moments:
        expected = [event for event in everything if event["created_at"] >= moment]
        assert read(busy, f"limit=1000&since={moment}") == expected
        first = busy.get(f"/events?limit=1&since={moment}")
        assert answer(first)[1]["events"] == expected[:1]
        assert next_path(first) is not None or len(expected) == 1
        if len(expected) > 1:
            assert answer(busy.get(next_path(first)))[1]["events"] == expected[1:2]
    tomorrow = (timezone.now() + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    assert read(busy, f"limit=9&since={tomorrow}") == []
    assert read(busy, "limit=1000&since=0001-01-01") == everything


def test_the_events_of_a_range_are_those_of_the_pages(busy: Any, bob: Caller, sapling: Wallet) -> None:
    alice, receiver = busy.wallet.pk, bob.wallet.pk
    for wallet_ids in ([alice], [receiver], [sapling.pk], [alice, receiver], [alice, receiver, sapling.pk]):
        every, _ = feed.page_of(wallet_ids, limit=1000)
        numbers = [each.number for each in every]
        for after, upto in ((0, feed.settled_number()), (numbers[0], numbers[-1]), (numbers[1], numbers[-1] - 1)):
            found = feed.events_between(wallet_ids=wallet_ids, after=after, upto=upto)
            assert found == [each for each in every if after < each.number <= upto]
        later = [feed.have_events_after(wallet_ids, number=numbers[-1] - before) for before in (0, 1)]
        assert later == [False, True]


def test_events_are_shown_to_who_controls_the_wallet(busy: Any, bob: Caller, carol: Caller) -> None:
    assert {who for who, _ in told(busy)} == {"alice", "sapling"}
    assert {who for who, _ in told(busy, "limit=99&wallet=sapling")} == {"sapling"}
    assert told(busy, "limit=99&wallet=alice") + told(busy, "limit=99&wallet=sapling")
    assert told(bob) == [
        ("bobby", "wallet_created"),
        ("bobby", "login"),
        *[("bobby", "transfer_requested"), ("bobby", "transfer_completed")] * 2,
        ("bobby", "trust_request"),
        ("bobby", "transfer_requested"),
    ]
    assert told(carol) == [("carol", "wallet_created"), ("carol", "login")]
    foreign = refusal(403, "Wallet do not belongs to wallet logged in")
    assert answer(carol.get("/events?limit=9&wallet=sapling")) == foreign
    assert answer(bob.get(f"/events?limit=9&wallet={busy.wallet.pk}")) == foreign


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 422, '"limit" is required'),
        ("limit=2001", 422, '"limit" must be less than or equal to 2000'),
        ("limit=1&since=", 422, '"since" must be in ISO 8601 date format'),
        ("limit=1&since=yesterday", 422, '"since" must be in ISO 8601 date format'),
        ("limit=1&since=2024-02-30", 422, '"since" must be in ISO 8601 date format'),
        ("limit=1&since=1700000000", 422, '"since" must be in ISO 8601 date format'),
        ("limit=1&since=9999-12-31T23:59:59-14:00", 422, '"since" must be in ISO 8601 date format'),
        ("limit=1&type=login", 422, '"type" is not allowed'),
        ("limit=1&wallet=", 422, '"wallet" is not allowed to be empty'),
        ("limit=1&wallet=nobody", 404, "Could not find entity by wallet name: nobody"),
        (f"limit=1&wallet={STRANGE}", 404, f"Could not find wallet by id: {STRANGE}"),
    ],
)
def test_a_query_of_the_wrong_shape_is_refused(carol: Caller, query: str, status: int, message: str) -> None:
    assert answer(carol.get(f"/events?{query}")) == refusal(status, message)


def test_a_page_takes_as_many_statements_for_many_rows_as_for_few(busy: Any) -> None:
    busy.get("/wallets?limit=1")  # notes that the credentials are in use, once an hour
    for query, expected in (("limit=1", 4), ("limit=1000", 4), ("limit=1000&since=2024-01-01&wallet=sapling", 6)):
        with CaptureQueriesContext(connection) as captured:
            read(busy, query)
        assert len(captured) == expected


def test_an_event_is_never_changed(carol: Caller) -> None:
    for change in (lambda: Event.objects.update(type="login"), lambda: Event.objects.all().delete()):
        with pytest.raises(IntegrityError, match="events are only appended"), transaction.atomic():
            change()


def test_pending_transfers_are_summed_up(busy: Any, bob: Caller, carol: Caller, sapling: Wallet) -> None:
    send(busy, "alice", "carol", 1)
    send(busy, "sapling", "carol", 2)
    send(busy, "sapling", "bobby", 1)
    sums = {}
    for caller, wallet in ((busy, busy.wallet), (busy, sapling), (bob, bob.wallet), (carol, carol.wallet)):
        status, body = answer(caller.get(f"/wallets/{wallet.pk}/pending-transfers"))
        assert (status, body["wallet_id"], body["wallet_name"]) == (200, str(wallet.pk), wallet.name)
        sums[wallet.name] = list(body.items())[2:]

    def expected(out: Any, tokens_out: Any, into: Any, tokens_in: Any) -> Any:
        return [
            ("pending_outgoing", {"total_amount": tokens_out, "count": out}),
            ("pending_incoming", {"total_amount": tokens_in, "count": into}),
            ("net_pending", tokens_in - tokens_out),
        ]

    # What is only requested (one of bob's) is not pending.
    assert sums == {
        "alice": expected(1, 1, 0, 0),
        "sapling": expected(2, 3, 0, 0),
        "bobby": expected(0, 0, 1, 1),
        "carol": expected(0, 0, 2, 3),
    }


def test_pending_transfers_are_shown_to_who_controls_the_wallet(alice: Caller, bob: Caller) -> None:
    assert answer(bob.get(f"/wallets/{alice.wallet.pk}/pending-transfers")) == refusal(
        403, "Have no permission to access this wallet"
    )
    assert answer(bob.get(f"/wallets/{STRANGE}/pending-transfers")) == refusal(
        404, f"Could not find wallet by id: {STRANGE}"
    )
    assert answer(bob.get("/wallets/abc/pending-transfers")) == refusal(422, '"wallet_id" must be a valid GUID')
