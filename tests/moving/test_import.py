"""The command: credentials that keep working, refusals, and that nothing stays of an import that fails."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from config.management.commands.import_treetracker import moment
from config.treetracker_import import decisions, importing, source, writing
from config.treetracker_import.models import ImportedRow, ImportRun
from config.treetracker_import.source import opened
from tests.moving.conftest import imported
from tests.moving.planted import everything, plant_history, plant_open_transfers
from tests.moving.service import Service, an_id, hashed
from wallets.models import ApiKey, Token, Wallet


def log_in(key: str, name: str, password: str) -> Any:
    return APIClient().post(
        "/wallet/auth", {"wallet": name, "password": password}, format="json", headers={"TREETRACKER-API-KEY": key}
    )


def test_a_partner_goes_on_with_the_same_key_and_password(peer: Service) -> None:
    key = "partner-key-of-the-old-service"
    one, two = peer.wallet("anna", password="acorns & oaks"), peer.wallet("bert")
    peer.wallet("salted", password="x")
    # The text of the salt is the key, whatever it is.
    peer.change("wallet", an_id("salted"), salt="a$b$c", password=hashed("päss", "a$b$c"))
    peer.trust("manages", one, two, "manage")
    tokens = [peer.token(f"t{n}", two) for n in range(3)]
    peer.moved("sent", two, one, [tokens[0]])
    peer.add("api_key", key=key, name="partner", tree_token_api_access=True)
    imported(peer)
    before = Wallet.objects.get(pk=one).password
    recorded = json.dumps(list(ImportedRow.objects.values_list("source", "written", "note")))
    assert before.rpartition("$")[2] not in recorded
    assert key not in recorded

    assert log_in(key, "anna", "acorns and oaks").status_code == 401
    answer = log_in(key, "anna", "acorns & oaks")

    assert answer.status_code == 200
    after = Wallet.objects.get(pk=one).password
    assert before.startswith("treetracker_hmac_sha512$")
    assert not after.startswith("treetracker_hmac_sha512$")
    assert log_in(key, "anna", "acorns & oaks").status_code == 200
    assert Wallet.objects.get(pk=one).password == after
    assert log_in(key, "salted", "päss").status_code == 200
    client = APIClient(headers={"TREETRACKER-API-KEY": key, "Authorization": f"Bearer {answer.json()['token']}"})
    listed = client.get("/wallet/wallets?limit=10").json()["wallets"]
    assert {(wallet["name"], wallet["id"], wallet["tokens_in_wallet"]) for wallet in listed} == {
        ("anna", str(one), 1), ("bert", str(two), 2),
    }  # fmt: skip
    history = client.get(f"/wallet/tokens/{tokens[0]}/transactions?limit=10").json()["history"]
    assert [(each["sender_wallet"], each["receiver_wallet"]) for each in history] == [("bert", "anna")]
    moved = client.get("/wallet/transfers?limit=10").json()["transfers"]
    assert [(each["id"], each["state"], each["created_at"]) for each in moved] == [
        (str(an_id("sent")), "completed", "2023-02-01T00:00:00.000Z")
    ]
    sent = client.post(
        "/wallet/transfers",
        {"sender_wallet": "bert", "receiver_wallet": "anna", "bundle": {"bundle_size": 2}},
        format="json",
    )
    assert (sent.status_code, sent.json()["state"]) == (201, "completed")


def test_what_the_import_itself_does_is_not_before_anything_in_the_source(
    peer: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the source's server may be ahead."""
    ahead = timezone.now() + timedelta(hours=1)

    @contextmanager
    def read(*arguments: Any, **options: Any) -> Iterator[source.Source]:
        with opened(*arguments, **options) as found:
            yield replace(found, snapshot_at=ahead)

    peer.wallet("anna")
    peer.add("api_key", key="partner-key-of-the-old-service", name="partner", tree_token_api_access=True)
    monkeypatch.setattr(importing, "opened", read)
    imported(peer)

    assert ApiKey.objects.get().created_at == ahead


def test_nothing_stays_of_an_import_that_fails(peer: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_history(peer)
    plant_open_transfers(peer)
    before = everything()

    def fail(*args: Any, **options: Any) -> None:
        raise psycopg.errors.DiskFull("no space left")

    for place in ("_write_history", "_count", "record"):
        with monkeypatch.context() as patch:
            patch.setattr(writing, place, fail)
            with pytest.raises(CommandError, match="Nothing was written: no space left"):
                imported(peer)
        assert everything() == before
        assert not ImportRun.objects.exists()
        assert not ImportedRow.objects.exists()
    imported(peer)
    assert ImportRun.objects.count() == 1


def test_nothing_stays_if_the_sides_differ_or_the_audit_finds_something(
    peer: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = peer.wallet("anna", password="secret"), peer.wallet("bert")
    peer.token("t0", one)
    asked = peer.transfer(
        "asked", one, two, state="requested", originator_wallet_id=two, parameters={"bundle": {"bundleSize": 1}}
    )
    before = everything()
    # A token that the import loses, one that it puts elsewhere, and what only the audit sees.
    for change, said in (
        ("DELETE FROM transfers_issue", "issue"),
        ("UPDATE wallets_token SET wallet_id = gen_random_uuid()", f"Wallet {one} has 1 tokens in the source and 0"),
        ("DELETE FROM wallets_token", "1 tokens of the source are not in Coppice"),
        ("UPDATE wallets_wallet SET password = ''", "1 wallets could not log in"),
        ("UPDATE wallets_token SET capture_id = gen_random_uuid()", "1 tokens stand for another capture"),
        ("DELETE FROM transfers_transfer", f"Transfer {asked} is requested in the source and missing in Coppice"),
    ):
        whole = writing._count

        def damage(change: str = change, whole: Any = whole) -> None:
            whole()
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL session_replication_role = replica")
                cursor.execute(change)
                cursor.execute("SET LOCAL session_replication_role = origin")

        with monkeypatch.context() as patch:
            patch.setattr(writing, "_count", damage)
            with pytest.raises(CommandError, match=said):
                imported(peer)
        assert everything() == before


def test_the_source_is_read_in_a_read_only_transaction(peer: Service) -> None:
    with opened(peer.dsn) as source, pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="read-only"):
        source.connection.execute("CREATE TABLE wallet.mine ()")
    peer.wallet("anna")
    with opened(peer.dsn) as source:
        source.connection.execute("SELECT FROM wallet.wallet")
        peer.wallet("bert")
        row = source.connection.execute("SELECT count(*) FROM wallet.wallet").fetchone()
    assert row == (1,)


def test_no_setting_of_the_source_changes_what_is_read(peer: Service) -> None:
    """Neither a limit of time nor a form of values, and no policy that hides rows without a word."""
    theirs = {
        "statement_timeout": "7s", "idle_in_transaction_session_timeout": "7s", "TimeZone": "Asia/Tokyo",
        "DateStyle": "German", "client_encoding": "LATIN1", "row_security": "on",
    }  # fmt: skip
    options = quote(" ".join(f"-c {name}={value}" for name, value in theirs.items()))
    with opened(f"{peer.dsn}{'&' if '?' in peer.dsn else '?'}options={options}") as source:
        ours = {name: source.connection.execute(f"SHOW {name}").fetchone() for name in theirs}
        isolation = source.connection.execute("SHOW transaction_isolation").fetchone()

    assert {name: row and row[0] for name, row in ours.items()} == {
        "statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "TimeZone": "UTC",
        "DateStyle": "ISO, DMY", "client_encoding": "UTF8", "row_security": "off",
    }  # fmt: skip
    assert isolation == ("repeatable read",)


@pytest.mark.parametrize("missing", ["SELECT ON ALL TABLES IN", "USAGE ON"])
def test_a_role_needs_both_rights_to_read_a_table(peer: Service, missing: str) -> None:
    # A name that no other process uses: roles are those of the whole server.
    role = f"reader_{uuid4().hex}"
    peer.run(f"CREATE ROLE {role}")
    try:
        for right in ("SELECT ON ALL TABLES IN", "USAGE ON"):
            peer.run(f"GRANT {right} SCHEMA wallet TO {role}")
        peer.run(f"SET ROLE {role}")
        assert source._locked(peer.connection, "wallet") == set()
        peer.run(f"RESET ROLE; REVOKE {missing} SCHEMA wallet FROM {role}; SET ROLE {role}")
        assert "wallet" in source._locked(peer.connection, "wallet")
    finally:
        peer.run(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_source_that_cannot_be_read_is_refused_in_words(peer: Service, service_url: str) -> None:
    for dsn, options, said in (
        ("postgresql://user:secret@127.0.0.1:1/x", {}, "The source does not answer"),
        ("postgresql://user:secret@host/x?nonsense=secret", {}, "The DSN is not a URL"),
        (service_url, {"schema": "elsewhere"}, "The schema elsewhere has no table wallet"),
    ):
        with pytest.raises(CommandError, match=said) as caught:
            imported(Service(peer.connection, dsn, "", ""), **options)
        assert "secret" not in str(caught.value)
    # What the source can store and Coppice cannot.
    peer.transfer("bad", an_id("a"), an_id("b"), parameters={"tokens": ["\0"]})
    with pytest.raises(CommandError, match="Nothing was written: unsupported Unicode escape sequence"):
        imported(peer)
    peer.run("ALTER TABLE wallet.token DROP COLUMN capture_id")
    with pytest.raises(CommandError, match=r"The table wallet\.token has no column capture_id"):
        imported(peer)
    peer.run("ALTER TABLE wallet.wallet RENAME TO other")
    with pytest.raises(CommandError, match="No table wallet in the schemas wallet and public"):
        imported(peer)


RENAME: dict[str, Any] = {"kind": "name_alike", "id": str(an_id("BOBBY")), "action": "rename", "name": "chosen"}
FIELDS, NAMED, NO_ID = (
    "it has the fields kind and action, and may have id and name", "a name belongs to the action rename of one wallet",
    "the id is not a UUID",
)  # fmt: skip
# What a decision is, and what is said of it.
WRONG_DECISIONS: list[tuple[Any, str]] = [
    (["kind", "action"], FIELDS),
    ({**RENAME, "comment": "x"}, FIELDS),
    *(({field: value for field, value in RENAME.items() if field != without}, said) for without, said in (
        ("kind", FIELDS), ("action", FIELDS), ("id", NAMED),
    )),
    ({**RENAME, "kind": "x"}, "there is no kind 'x'"),
    ({**RENAME, "action": "fail"}, "for name_alike the action is one of refuse, rename"),
    # Without an id it would be a decision on all rows of the kind.
    *(({**RENAME, "id": id_}, NO_ID) for id_ in (None, "", "x", 7)),
    ({**RENAME, "action": "refuse"}, NAMED),
    ({**RENAME, "name": 7}, NAMED),
    ({**RENAME, "name": ""}, "at least 3 characters"),
    ({**RENAME, "name": "a b"}, "invalid wallet name"),
]  # fmt: skip
WRONG_FILES: list[Any] = [
    [], {"decisions": []}, {"format": 2, "decisions": []}, {"format": 1}, {"format": 1, "decisions": {}},
]  # fmt: skip


def test_decisions_are_of_one_form(tmp_path: Any) -> None:
    path = tmp_path / "decisions.json"

    def read(content: Any) -> Any:
        path.write_text(json.dumps(content))
        return decisions.read(path)

    of_all = {"kind": "name_alike", "action": "refuse"}
    assert read({"format": 1, "decisions": [RENAME, of_all]}) == [
        ("name_alike", an_id("BOBBY"), "rename", "chosen"), ("name_alike", None, "refuse", None),
    ]  # fmt: skip
    for entry, said in WRONG_DECISIONS:
        with pytest.raises(decisions.UnreadableDecisions, match=f"^{path}, decision 2: .*{said}"):
            read({"format": 1, "decisions": [RENAME, entry]})
    for content in WRONG_FILES:
        with pytest.raises(decisions.UnreadableDecisions, match=r"is not \{"):
            read(content)


def test_decisions_that_cannot_be_followed_are_refused(peer: Service, tmp_path: Any) -> None:
    path = tmp_path / "decisions.json"
    path.write_text("no json")

    with pytest.raises(CommandError, match="cannot be read"):
        imported(peer, decisions=path)


def test_decisions_override_what_is_usual(peer: Service, tmp_path: Any) -> None:
    peer.wallet("bobby", at="2023-01-01", password="p")
    upper = peer.wallet("BOBBY", at="2023-01-02", password="p")
    two = peer.wallet("two", password="p")
    peer.token("t0", upper)
    peer.transfer("bundle", upper, two, state="pending", parameters={"bundle": {"bundleSize": 1}})
    path = tmp_path / "decisions.json"

    def decide(*entries: dict[str, Any]) -> None:
        path.write_text(json.dumps({"format": 1, "decisions": entries}))

    # The younger one has tokens, so it keeps its name.
    elder = str(an_id("bobby"))
    decide({"kind": "name_alike", "id": elder, "action": "rename", "name": "TWO"})
    with pytest.raises(CommandError, match='names it "TWO": another wallet has that name'):
        imported(peer, decisions=path)
    decide({"kind": "bundle_unreserved", "action": "refuse"})
    with pytest.raises(CommandError, match="1 findings wait for a decision, the first of them bundle_unreserved"):
        imported(peer, decisions=path)
    decide(
        {"kind": "name_alike", "id": elder, "action": "rename", "name": "bobby-north"},
        {"kind": "bundle_unreserved", "action": "refuse"},
        {"kind": "bundle_unreserved", "id": str(an_id("bundle")), "action": "fail"},
    )
    imported(peer, decisions=path)

    assert dict(Wallet.objects.values_list("id", "name"))[an_id("bobby")] == "bobby-north"
    assert not Token.objects.exclude(transfer_pending_id=None).exists()


def test_since_is_for_a_second_import(peer: Service) -> None:
    with pytest.raises(CommandError, match="nothing was imported yet"):
        imported(peer, since=moment("2023-01-01"))


@pytest.mark.django_db(transaction=True)
def test_an_import_does_not_begin_while_another_session_writes(make_service: Any) -> None:
    peer = make_service()
    peer.wallet("anna")
    wrote, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with psycopg.connect(**connection.get_connection_params()) as other:
            other.execute("UPDATE wallets_wallet SET about = ''")
            wrote.set()
            may_end.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    wrote.wait(60)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        with pytest.raises(CommandError, match="Another session is writing"):
            imported(peer)
    finally:
        may_end.set()
        writer.join()
        connection.close()
    assert not Wallet.objects.exists()
