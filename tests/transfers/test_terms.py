"""The terms of a transfer: reference, metadata and expiry, from the request to the answers and the rows."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from tests.api.caller import Caller, answer, refusal
from tests.support.multipart import TRANSFER, upload
from tests.support.transfer_requests import FIELDS, bundle, listed
from tests.transfers.books import assert_sound, books, held_by, let_expire, reserved_by
from transfers import ledger, operations, queries, tasks
from transfers.models import Transfer, TransferTerms
from wallets.errors import KeyInUse
from wallets.models import ApiKey, Event, Wallet
from wallets.queries import IdempotencyClaim
from wallets.sql_files import load

LATER = "2040-01-02T03:04:05.678Z"


def everything() -> dict[str, Any]:
    return {**books(), "terms": list(TransferTerms.objects.values_list()), "events": Event.objects.count()}


@pytest.mark.parametrize("receiver", ["sapling", "bobby"])
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_transfer_shows_its_terms_in_every_answer(
    alice: Caller, bob: Caller, sapling: Wallet, receiver: str, is_listed: bool
) -> None:
    tokens = held_by(alice.wallet)[:2]
    wish = listed("alice", receiver, tokens) if is_listed else bundle("alice", receiver, 2)
    metadata = {"shop": "north \u2603", 'a"b': "", "n": "1"}

    status, body = answer(
        alice.post("/transfers", {**wish, "reference": 'order "7"', "metadata": metadata, "expires_at": LATER})
    )

    is_open = receiver == "bobby"
    assert status == (202 if is_open else 201)
    expiry = ["expires_at"] if is_open else []
    assert list(body) == [*FIELDS, "reference", "metadata", *expiry, "available_actions"]
    assert (body["reference"], body["metadata"]) == ('order "7"', metadata)
    assert body.pop("available_actions") == (["delete"] if is_open else [])
    assert body.get("expires_at") == (LATER if is_open else None)
    row = Transfer.objects.get()
    moment = datetime(2040, 1, 2, 3, 4, 5, 678000, tzinfo=UTC) if is_open else None
    assert (row.has_terms, row.expires_at) == (True, moment)
    assert TransferTerms.objects.values().get() == {
        "transfer_id": row.number, "originator_id": row.originator_id, "source_id": row.source_id,
        "destination_id": row.destination_id, "reference": 'order "7"', "unique_reference": False, "metadata": metadata,
    }  # fmt: skip
    assert answer(alice.get("/transfers?limit=5"))[1] == {"transfers": [body]}
    shown = answer(alice.get(f"/transfers/{body['id']}"))[1]
    assert shown == {**body, "available_actions": ["delete"] if is_open else []}
    v2 = answer(alice.get(f"/wallet/v2/transfers/{body['id']}"))[1]
    assert v2 == {**body, "token_count": 2, "available_actions": shown["available_actions"]}
    assert_sound()


@pytest.mark.parametrize(
    "terms", [{"reference": "r"}, {"metadata": {"a": "b"}}, {"expires_at": "2040-01-01"}, {"metadata": {}}, {}]
)
def test_only_the_terms_that_were_sent_are_shown_and_stored(alice: Caller, bob: Caller, terms: dict[str, Any]) -> None:
    body = answer(alice.post("/transfers", {**bundle("alice", "bobby", 1), **terms}))[1]

    known = [name for name, value in terms.items() if value]
    assert list(body) == [*FIELDS, *known, *(["available_actions"] if known else [])]
    assert TransferTerms.objects.count() == (terms.keys() <= {"reference", "metadata"} and bool(known))
    assert Transfer.objects.get().has_terms is (True if TransferTerms.objects.exists() else None)
    assert_sound()


def test_a_request_is_sent_fulfilled_and_shown_with_its_terms(alice: Caller, bob: Caller) -> None:
    wish = {**bundle("alice", "bobby", 2), "reference": "r", "expires_at": LATER}
    asked = answer(bob.post("/transfers", wish))[1]
    assert (asked["state"], asked["expires_at"], asked["available_actions"]) == ("requested", LATER, ["delete"])

    status, body = answer(alice.post(f"/transfers/{asked['id']}/fulfill", {"implicit": True}))

    assert (status, body["state"], body["reference"], body["expires_at"]) == (200, "completed", "r", LATER)
    assert body["available_actions"] == []
    assert_sound()


@pytest.mark.django_db(transaction=True)
def test_a_repeated_request_gets_the_same_bytes_whatever_became_of_the_transfer(alice: Caller, bob: Caller) -> None:
    wish = {
        **bundle("alice", "bobby", 2),
        "reference": "r", "unique_reference": True, "metadata": {"b": "1", "aa": "2"}, "expires_at": LATER,
    }  # fmt: skip
    first = alice.post("/transfers", wish, idempotency_key="k-1")
    assert (first.status_code, first.json()["available_actions"]) == (202, ["delete"])
    answer(bob.post(f"/transfers/{first.json()['id']}/accept"))

    second = alice.post("/transfers", wish, idempotency_key="k-1")

    assert (second.status_code, second.content) == (202, first.content)
    assert second["Idempotency-Replayed"] == "true"
    assert Transfer.objects.count() == TransferTerms.objects.count() == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"reference": ""}, '"reference" is not allowed to be empty'),
    ({"reference": 7}, '"reference" must be a string'),
    ({"reference": None}, '"reference" must be a string'),
    ({"reference": "x" * 256}, '"reference" length must be less than or equal to 255 characters long'),
    ({"unique_reference": True}, '"unique_reference" missing required peer "reference"'),
    ({"reference": "r", "unique_reference": "yes"}, '"unique_reference" must be a boolean'),
    ({"metadata": []}, '"metadata" must be of type object'),
    ({"metadata": None}, '"metadata" must be of type object'),
    ({"metadata": {"a": 1}}, '"metadata.a" must be a string'),
    ({"metadata": {"": "a"}}, '"metadata" must not have an empty key'),
    ({"metadata": {str(key): "" for key in range(21)}}, '"metadata" must have less than or equal to 20 keys'),
    ({"metadata": {"a": "x" * 2041}}, '"metadata" must have less than or equal to 2048 bytes'),
    ({"metadata": {"a": "\u2603" * 700}}, '"metadata" must have less than or equal to 2048 bytes'),
    ({"expires_at": "soon"}, '"expires_at" must be in ISO 8601 date format'),
    ({"expires_at": None}, '"expires_at" must be in ISO 8601 date format'),
    ({"expires_at": 2040}, '"expires_at" must be in ISO 8601 date format'),
    ({"expires_at": "2020-01-01"}, '"expires_at" must be in the future'),
]


@pytest.mark.parametrize("prefix", ["", "/wallet/v2"])
@pytest.mark.parametrize(("terms", "message"), BAD)
def test_terms_of_the_wrong_shape_are_refused_and_change_nothing(
    alice: Caller, bob: Caller, terms: dict[str, Any], message: str, prefix: str
) -> None:
    before = everything()

    assert answer(alice.post(f"{prefix}/transfers", {**bundle("alice", "bobby", 1), **terms})) == refusal(422, message)
    assert everything() == before


def test_terms_of_the_greatest_size_are_taken(alice: Caller, bob: Caller) -> None:
    metadata = {f"{key:02}": "" for key in range(19)} | {"a": "x" * (2048 - 19 * 8 - 8)}
    wish = {**bundle("alice", "bobby", 1), "reference": "\u2603" * 255, "metadata": metadata}

    status, body = answer(alice.post("/transfers", wish))

    assert (status, body["reference"], body["metadata"]) == (202, "\u2603" * 255, metadata)


@pytest.mark.django_db(transaction=True)
def test_a_unique_reference_is_taken_once_by_each_originator(alice: Caller, bob: Caller, sapling: Wallet) -> None:
    unique = {"reference": "order 7", "unique_reference": True}
    assert alice.post("/transfers", {**bundle("alice", "bobby", 1), **unique}).status_code == 202
    # Nor by a managed wallet's transfer: alice is the originator.
    for sender, also in (("alice", {}), ("sapling", {"metadata": {"a": "b"}})):
        before = everything()
        taken = refusal(409, "The reference order 7 belongs to another transfer")
        assert answer(alice.post("/transfers", {**bundle(sender, "bobby", 1), **unique, **also})) == taken
        assert answer(alice.post("/wallet/v2/transfers", {**bundle(sender, "bobby", 1), **unique})) == taken
        assert everything() == before
    # Another originator, another reference, and one that need not be unique.
    assert bob.post("/transfers", {**bundle("alice", "bobby", 1), **unique}).status_code == 202
    for terms in ({**unique, "reference": "Order 7"}, {"reference": "order 7"}, {"reference": "order 7"}):
        assert alice.post("/transfers", {**bundle("alice", "bobby", 1), **terms}).status_code == 202
    assert_sound()


def test_a_statement_without_terms_names_none(alice: Caller, bob: Caller, settings: Any) -> None:
    sent: list[str] = []

    def note(execute: Any, sql: Any, *arguments: Any) -> Any:
        sent.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(note):
        alice.post("/transfers", bundle("alice", "bobby", 1))
        (plain,) = [sql for sql in sent if "INSERT INTO transfers_transfer" in sql]
        assert not [word for word in ("expires_at", "has_terms", "transferterms") if word in plain]
        sent.clear()
        alice.post("/transfers", {**bundle("alice", "bobby", 1), "reference": "r", "metadata": {"a": "b"}})
        # The terms are stored by the statement that moves or reserves the tokens.
        (termed,) = [sql for sql in sent if "INSERT INTO transfers_transfer" in sql]
        assert "INSERT INTO transfers_transferterms" in termed
        sent.clear()
        settings.OPEN_TRANSFER_HOURS = 24
        alice.post("/transfers", bundle("alice", "bobby", 1))
        assert len([sql for sql in sent if "INSERT INTO" in sql]) == 1


@pytest.mark.parametrize("asked_by", ["alice", "bob"])
def test_row_34_by_default_an_open_transfer_expires_when_the_setting_says(
    alice: Caller, bob: Caller, sapling: Wallet, settings: Any, asked_by: str
) -> None:
    caller = {"alice": alice, "bob": bob}[asked_by]
    assert "expires_at" not in answer(caller.post("/transfers", bundle("alice", "bobby", 1)))[1]
    settings.OPEN_TRANSFER_HOURS = 36

    body = answer(caller.post("/transfers", bundle("alice", "bobby", 1)))[1]
    named = answer(caller.post("/transfers", {**bundle("alice", "bobby", 1), "expires_at": LATER}))[1]
    done = answer(alice.post("/transfers", bundle("alice", "sapling", 1)))[1]

    assert list(body) == [*FIELDS, "expires_at", "available_actions"]
    row = Transfer.objects.get(pk=body["id"])
    assert row.expires_at == row.created_at + timedelta(hours=36)
    assert (row.has_terms, TransferTerms.objects.count()) == (None, 0)
    assert named["expires_at"] == LATER
    assert list(done) == FIELDS
    assert_sound()


def test_row_34_without_an_expiry_an_open_transfer_waits(alice: Caller, bob: Caller) -> None:
    for caller in (alice, bob):
        assert answer(caller.post("/transfers", bundle("alice", "bobby", 1)))[0] == 202
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE transfers_transfer SET created_at = now() - interval '10 years'")
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
    before = everything()

    tasks.expire()

    assert sorted(Transfer.objects.values_list("state", flat=True)) == ["pending", "requested"]
    assert everything() == before


@pytest.mark.parametrize("state", ["pending", "requested"])
def test_row_34_an_open_transfer_expires(alice: Caller, bob: Caller, state: str) -> None:
    asking = alice if state == "pending" else bob
    ids = [answer(asking.post("/transfers", {**bundle("alice", "bobby", 2), "expires_at": LATER}))[1]["id"]
           for _ in range(2)]  # fmt: skip
    events = Event.objects.count()
    tasks.expire()
    assert set(Transfer.objects.values_list("state", flat=True)) == {state}
    let_expire(ids[0])

    tasks.expire()

    expired, kept = (Transfer.objects.get(pk=each) for each in ids)
    assert (expired.state, expired.closed_event, expired.closed_from, expired.closed_by_id, expired.reserved_count) == (
        "failed", "expire", state, None, 0
    )  # fmt: skip
    assert expired.closed_at is not None
    assert timezone.now() - expired.closed_at < timedelta(minutes=1)
    assert (kept.state, kept.closed_at) == (state, None)
    assert reserved_by(ids[0]) == []
    assert len(reserved_by(ids[1])) == (2 if state == "pending" else 0)
    written = list(Event.objects.order_by("number")[events:].values_list("wallet__name", "type", "payload"))
    payload = {
        "transferId": ids[0], "walletSender": "alice", "walletReceiver": "bobby", "transferState": "failed",
        "claim": False, "bundle": 2,
    }  # fmt: skip
    assert written == [("alice", "transfer_failed", payload), ("bobby", "transfer_failed", payload)]
    shown = answer(alice.get(f"/transfers/{ids[0]}"))[1]
    assert (shown["state"], shown["available_actions"]) == ("failed", [])
    assert_sound()
    before = everything()
    tasks.expire()
    assert everything() == before


EVENTS = [
    ("pending", "accept", "The transfer state is not pending"),
    ("pending", "decline", "The transfer state is not pending and requested"),
    ("pending", "delete", "The transfer state is not pending and requested"),
    ("requested", "fulfill", "Operation forbidden, the transfer state is wrong"),
    ("requested", "decline", "The transfer state is not pending and requested"),
    ("requested", "delete", "The transfer state is not pending and requested"),
]


@pytest.mark.parametrize(("state", "event", "message"), EVENTS)
def test_after_its_expiry_a_transfer_counts_as_failed_before_it_is_closed(
    alice: Caller, bob: Caller, state: str, event: str, message: str
) -> None:
    asking, other = (alice, bob) if state == "pending" else (bob, alice)
    opened = answer(asking.post("/transfers", {**bundle("alice", "bobby", 2), "expires_at": LATER}))[1]
    path = f"/transfers/{opened['id']}"
    let_expire(opened["id"])
    before = everything()
    actor = asking if event == "delete" else other
    body = {"fulfill": {"implicit": True}}.get(event)

    def act() -> Any:
        return answer(actor.delete(path) if event == "delete" else actor.post(f"{path}/{event}", body))

    assert act() == refusal(403, message)
    assert everything() == before
    assert answer(actor.get(path))[1]["available_actions"] == []
    tasks.expire()
    assert act() == refusal(403, message)
    assert_sound()


def test_a_batch_frees_a_bounded_number_of_tokens_but_at_least_one_transfer(
    alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (3, 1, 1):
        body = answer(alice.post("/transfers", {**bundle("alice", "bobby", size), "expires_at": LATER}))[1]
        let_expire(body["id"])
    monkeypatch.setattr(operations, "_FREED_AT_ONCE", 2)
    sizes, expire = [], ledger.expire

    def note(*, transfer_ids: list[UUID]) -> list[UUID]:
        sizes.append(len(transfer_ids))
        return expire(transfer_ids=transfer_ids)

    monkeypatch.setattr(ledger, "expire", note)

    assert operations.expire_due() == 3
    assert sizes == [1, 2]


def listed_with(caller: Caller, query: str, prefix: str = "") -> list[str]:
    status, body = answer(caller.get(f"{prefix}/transfers?limit=100{query}"))
    assert status == 200, body
    return [row["reference"] for row in body["transfers"]]


def test_a_list_is_narrowed_by_terms_to_those_that_the_reader_sees(
    alice: Caller, bob: Caller, carol: Caller, sapling: Wallet
) -> None:
    def send(caller: Caller, receiver: str, reference: str, sender: str = "alice", **metadata: str) -> None:
        wish = {**bundle(sender, receiver, 1), "reference": reference, "metadata": metadata}
        assert caller.post("/transfers", wish).status_code < 300

    send(alice, "bobby", "a", shop="north", row="1")
    send(alice, "sapling", "b", shop="north", row="2")
    send(alice, "carol", "c", sender="sapling", shop="north ", row="1")
    operations.issue_tokens(wallet=bob.wallet, count=1)
    send(carol, "carol", "a", sender="bobby", shop="north")
    alice.post("/transfers", bundle("alice", "bobby", 1))

    assert listed_with(alice, "&reference=a") == ["a"]
    assert listed_with(bob, "&reference=a") == ["a", "a"]
    assert listed_with(alice, "&reference=A") == listed_with(alice, "&reference=%25") == []
    assert listed_with(alice, "&metadata[shop]=north") == ["a", "b"]
    assert listed_with(alice, "&metadata%5Bshop%5D=north+") == ["c"]
    assert listed_with(alice, "&metadata[row]=1") == ["a", "c"]
    assert listed_with(alice, "&metadata[row]=1&metadata[shop]=north") == ["a"]
    assert listed_with(alice, "&metadata[row]=1&metadata[shop]=south") == []
    assert listed_with(bob, "&metadata[shop]=north") == ["a", "a"]
    assert listed_with(bob, "&metadata[row]=2") == listed_with(carol, "&metadata[row]=2") == []
    assert listed_with(carol, "&metadata[row]=1") == ["c"]
    # Together with the other filters, and in the order of the list.
    assert listed_with(alice, "&metadata[row]=1&reference=c") == ["c"]
    assert listed_with(alice, "&metadata[row]=1&reference=a&wallet=carol") == []
    assert listed_with(alice, "&metadata[row]=1&wallet=carol") == ["c"]
    assert listed_with(alice, "&metadata[shop]=north&wallet=sapling") == ["b"]
    assert listed_with(alice, "&metadata[shop]=north&state=completed") == ["b"]
    assert listed_with(alice, "&metadata[shop]=north&state=pending") == ["a"]
    assert listed_with(alice, "&metadata[shop]=north&sort_by=created_at&order=desc") == ["b", "a"]
    assert listed_with(alice, "&metadata[shop]=north", "/wallet/v2") == ["a", "b"]
    since = Transfer.objects.order_by("number")[1].created_at.isoformat().replace("+00:00", "Z")
    assert listed_with(alice, f"&metadata[shop]=north&created_since={since}") == ["b"]
    assert listed_with(alice, f"&metadata[shop]=north&created_since=2000&after={since}") == ["b"]
    assert listed_with(alice, "&reference=a&created_since=2040") == []

    page = "sort_by=created_at&order=desc&limit=1&metadata[shop]=north&metadata[row]=1&created_since=2020&reference=a"
    for prefix in ("", "/wallet/v2"):
        _, body = answer(alice.get(f"{prefix}/transfers?{page}"))
        assert (len(body["transfers"]), body["total"], body["query"]) == (
            1,
            1,
            {
                "limit": 1,
                "offset": 0,
                "sort_by": "created_at",
                "order": "desc",
                "reference": "a",
                "metadata": {"shop": "north", "row": "1"},
                "created_since": "2020-01-01T00:00:00.000Z",
            },
        )


def test_pages_of_a_narrowed_list_follow_each_other(alice: Caller, bob: Caller) -> None:
    for _ in range(3):
        alice.post("/transfers", {**bundle("alice", "bobby", 1), "reference": "r", "metadata": {"a": "b"}})
    for query in ("reference=r", "metadata[a]=b", "created_since=2020"):
        found, path = [], f"/transfers?limit=1&{query}"
        while path:
            response = alice.get(path)
            found += response.json()["transfers"]
            path = response["Link"].partition("<")[2].partition(">")[0] if "Link" in response else ""
        assert len({row["id"] for row in found}) == len(found) == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("metadata=a", '"metadata" must name a key: metadata[key]'),
        ("metadata[]=a", '"metadata[]" is not allowed'),
        ("metadata[a]=a&metadata[a]=b", '"metadata[a]" must be a string'),
        ("&".join(f"metadata[{key}]=" for key in range(21)), '"metadata" must have less than or equal to 20 keys'),
        ("reference=", '"reference" is not allowed to be empty'),
        ("created_since=soon", '"created_since" must be in ISO 8601 date format'),
    ],
)
def test_wrong_filters_are_refused(alice: Caller, query: str, message: str) -> None:
    assert answer(alice.get(f"/transfers?limit=5&{query}")) == refusal(422, message)


def scans(plan: dict[str, Any]) -> set[str]:
    """Return the indexes that a plan reads, and the tables that it reads whole."""
    found = {plan["Index Name"]} if "Index Name" in plan else set()
    if plan["Node Type"] == "Seq Scan":
        found = {plan["Relation Name"]}
    return found.union(*(scans(each) for each in plan.get("Plans", [])))


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("reference=order+7", {"terms_by_source", "terms_by_destination", "terms_by_originator"}),
        ("metadata[order]=7", {"terms_by_metadata"}),
    ],
)
def test_terms_are_found_by_an_index_whatever_others_wrote(
    alice: Caller, bob: Caller, query: str, indexes: set[str]
) -> None:
    terms = {"reference": "order 7", "metadata": {"order": "7"}}
    assert alice.post("/transfers", {**bundle("alice", "bobby", 1), **terms}).status_code == 202
    with connection.cursor() as cursor:
        # The same terms of strangers, and other terms of the reader.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "INSERT INTO transfers_transferterms (transfer_number, originator_id, source_id, destination_id, reference,"
            "       unique_reference, metadata)"
            " SELECT -n, wallet, wallet, gen_random_uuid(), 'order ' || number, false,"
            "        jsonb_build_object('order', number::text)"
            "   FROM generate_series(1, 6000) AS n,"
            "        LATERAL (SELECT CASE WHEN n %% 2 = 0 THEN %s::uuid ELSE gen_random_uuid() END,"
            "                        CASE WHEN n %% 2 = 0 THEN 1000 + n ELSE 7 END) AS other (wallet, number)",
            [alice.wallet.pk],
        )
        # All that the statement joins: statistics of other tests' rows gave another plan.
        cursor.execute("ANALYZE transfers_transferterms, transfers_transfer, wallets_wallet, trusts_trust")
    captured: list[tuple[str, Any]] = []

    def note(execute: Any, sql: Any, params: Any, *rest: Any) -> Any:
        captured.append((sql, params))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(note):
        assert listed_with(alice, f"&{query}") == ["order 7"]
    sql, params = next((sql, params) for sql, params in captured if "transferterms" in sql)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql, params)
        plan = cursor.fetchone()[0][0]["Plan"]
    # Which of its indexes serves a party, the planner decides by the statistics of the moment.
    assert indexes & scans(plan)
    assert "transfers_transferterms" not in scans(plan)
    if "metadata" in query:
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 150


def test_the_expired_are_found_by_the_index_of_open_transfers(alice: Caller, bob: Caller) -> None:
    with connection.cursor() as cursor:
        statement = load("transfers", "due")
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", {"transfers": 100, "tokens": 25_000})
        # Without rows both cost the same.
        (index,) = scans(cursor.fetchone()[0][0]["Plan"])
        assert index in {"transfer_open_by_expiry", "transfer_open_by_age"}


@pytest.mark.parametrize("prefix", ["", "/wallet/v2"])
def test_available_actions_are_told_to_who_asks_by_what_it_controls_now(
    alice: Caller, bob: Caller, carol: Caller, sapling: Wallet, prefix: str
) -> None:
    ask, plain = "?include=available_actions", bundle("sapling", "bobby", 1)

    def actions(caller: Caller, path: str) -> Any:
        return answer(caller.get(f"{prefix}{path}{ask}"))[1]["available_actions"]

    offered = answer(alice.post(f"{prefix}/transfers{ask}", plain))[1]
    asked = answer(bob.post(f"{prefix}/transfers{ask}", plain))[1]
    assert (offered["state"], offered.pop("available_actions")) == ("pending", ["delete"])
    assert (asked["state"], asked.pop("available_actions")) == ("requested", ["delete"])
    path, other = f"/transfers/{offered['id']}", f"/transfers/{asked['id']}"
    assert actions(alice, path) == ["delete"]
    assert actions(bob, path) == ["accept", "decline"]
    assert actions(alice, other) == ["fulfill", "decline"]
    assert actions(bob, other) == ["delete"]
    # Without the parameter the answer is as it was.
    assert answer(alice.get(f"{prefix}{path}"))[1] == offered
    closed = [
        answer(bob.post(f"{prefix}{path}/accept{ask}")),
        answer(alice.post(f"{prefix}{other}/fulfill{ask}", {"implicit": True})),
    ]
    assert [(status, body["state"], body["available_actions"]) for status, body in closed] == [
        (200, "completed", []), (200, "completed", [])
    ]  # fmt: skip
    assert actions(alice, path) == []


def test_an_unknown_parameter_is_refused_before_anything_is_done(alice: Caller, bob: Caller) -> None:
    opened = answer(alice.post("/transfers", bundle("alice", "bobby", 1)))[1]
    path, before = f"/transfers/{opened['id']}", everything()

    wrong = refusal(422, '"include" must be one of [available_actions]')
    assert answer(alice.post("/transfers?include=all", bundle("alice", "bobby", 1))) == wrong
    for event in ("accept", "decline", "fulfill"):
        assert answer(bob.post(f"{path}/{event}?include=all")) == wrong
    assert answer(alice.delete(f"{path}?include=all")) == answer(alice.get(f"{path}?include=all")) == wrong
    assert answer(alice.post("/transfers?x=1", bundle("alice", "bobby", 1))) == refusal(422, '"x" is not allowed')
    assert everything() == before


def test_the_rows_of_a_batch_have_references(alice: Caller, bob: Caller, carol: Caller, settings: Any) -> None:
    ApiKey.objects.update(batch_access=True)
    settings.OPEN_TRANSFER_HOURS = 1
    file = "wallet_name,reference,token_transfer_amount_overwrite\nbobby,order 7,2\ncarol,,1\n"

    assert answer(upload(alice, TRANSFER, file, sender_wallet="alice"))[0] == 200

    sent = Transfer.objects.order_by("number").values_list("destination__name", "has_terms")
    assert list(sent) == [("bobby", True), ("carol", None)]
    assert {each.expires_at - each.created_at for each in Transfer.objects.all() if each.expires_at} == {
        timedelta(hours=1)
    }
    assert listed_with(alice, "&reference=order+7") == ["order 7"]
    # A batch without a reference expires too.
    file = "wallet_name,token_transfer_amount_overwrite\nbobby,1\ncarol,1\n"
    assert answer(upload(alice, TRANSFER, file, sender_wallet="alice"))[0] == 200
    assert [each.expires_at - each.created_at for each in Transfer.objects.order_by("number")[2:]] == (
        [timedelta(hours=1)] * 2
    )
    assert_sound()
    before = everything()
    long = f"wallet_name,reference,token_transfer_amount_overwrite\nbobby,{'x' * 256},1\n"
    status, body = answer(upload(alice, TRANSFER, long, sender_wallet="alice"))
    assert (status, body["rows"][0]["column"]) == (422, "reference")
    assert body["message"] == '"[0].reference" length must be less than or equal to 255 characters long'
    assert everything() == before


@pytest.mark.django_db(transaction=True)
def test_a_repeated_request_that_missed_the_first_is_told_of_its_key_and_not_of_its_reference(
    alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = ledger.Terms("order 7", is_unique=True)
    claim = IdempotencyClaim("k-1", b"0" * 32)
    wish = {"actor": alice.wallet, "sender": "alice", "receiver": "bobby", "size": 1, "claim": claim, "terms": terms}
    operations.send_bundle(**wish)
    before = everything()
    # As if the first had committed after this statement began.
    monkeypatch.setitem(ledger._KEYED, "is_duplicate", "false::boolean")
    ledger._send_statement.cache_clear()
    try:
        with pytest.raises(KeyInUse):
            operations.send_bundle(**wish)
    finally:
        ledger._send_statement.cache_clear()
    assert everything() == before


def test_the_transfers_that_expire_first_are_due_with_no_more_tokens_than_are_freed_at_once(
    alice: Caller, bob: Caller
) -> None:
    later = queries.now() + timedelta(days=1)

    def sent(actor: Caller, size: int, expires_at: Any = later) -> Any:
        return operations.send_bundle(
            actor=actor.wallet, sender="alice", receiver="bobby", size=size, terms=ledger.Terms(expires_at=expires_at)
        ).id

    # What is only requested reserves nothing.
    made = [sent(alice, 1), sent(bob, 3), sent(alice, 2)]
    cancelled, never = sent(alice, 1), sent(alice, 1)
    operations.delete(actor=alice.wallet, transfer_id=cancelled)
    # The last is the first to expire.
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for place, transfer_id in enumerate([*made, cancelled], start=1):
            cursor.execute(
                "UPDATE transfers_transfer SET expires_at = now() - %s * interval '1 hour' WHERE id = %s",
                [place, transfer_id],
            )
    due = made[::-1]

    assert never not in queries.transfers_due(transfers=10, tokens=10)
    for limit, tokens, number in ((10, 10, 3), (2, 10, 2), (1, 10, 1), (10, 0, 1), (10, 1, 1), (10, 2, 2), (10, 3, 3)):
        assert queries.transfers_due(transfers=limit, tokens=tokens) == due[:number], (limit, tokens)
