"""The export of everything about a wallet: what is in it, what is not, and that it is one whole snapshot."""

import hashlib
import json
import threading
from io import StringIO
from itertools import count, islice
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, models

from config.api import limits
from config.ops import audits, wallet_export
from tests.api.caller import Caller, logged_in
from tests.support import object_matrix
from tests.support.hidden_tables import hidden, insert
from transfers import operations as transfers
from wallets import operations as wallets
from wallets.models import BearerToken, Wallet
from wallets.operator_log import thing

# Binary columns: each holds a digest or what is encrypted. A new one must be named here.
BINARY = {
    "desk.Proposal.given", "desk.RecoveryCode.digest", "desk.SecondFactor.secret", "desk.Session.digest",
    "lockers.Coin.proposed", "lockers.Coin.secrets", "lockers.Locker.code", "lockers.LockerTask.code",
    "lockers.Upload.content", "transfers.ActionToken.digest", "transfers.Seal.hash", "transfers.Seal.previous",
    "transfers.Seal.root", "transfers.Seal.secret", "transfers.Seal.signature",
    "wallets.ApiKey.digest", "wallets.BearerToken.digest",
    "wallets.IdempotentAnswer.body", "wallets.IdempotentAnswer.fingerprint", "wallets.KnownOrigin.digest",
    "wallets.RestrictedKey.digest", "webhooks.Webhook.previous_secret", "webhooks.Webhook.secret",
}  # fmt: skip


def own_models() -> dict[str, type[models.Model]]:
    return {model._meta.label: model for app in audits.APPS for model in apps.get_app_config(app).get_models()}


def test_every_model_is_exported_or_named_as_not_personal() -> None:
    assert set(own_models()) == wallet_export.EXPORTED.keys() | wallet_export.OMITTED.keys()
    assert not wallet_export.EXPORTED.keys() & wallet_export.OMITTED.keys()
    assert all(wallet_export.OMITTED.values())


def test_no_model_with_a_wallet_is_omitted_without_being_a_count() -> None:
    with_wallet = {
        label
        for label, model in own_models().items()
        if any(field.related_model is Wallet for field in model._meta.concrete_fields)
    }

    assert with_wallet - wallet_export.EXPORTED.keys() == {
        "desk.FormerName", "lockers.Turn", "transfers.ControlChange", "transfers.ListTally", "transfers.TallyDelta",
        "transfers.TokenTally", "transfers.WalletDay",
    }  # fmt: skip


def test_no_column_that_names_an_operator_is_exported() -> None:
    models = own_models()
    named = {
        (label, field.column)
        for label in wallet_export.EXPORTED
        for field in models[label]._meta.local_concrete_fields
        if field.related_model is User
    }
    assert ("wallets.OperatorAction", "staff_id") in named
    for label, column in named | {("wallets.OperatorAction", "confirmation")}:
        assert column in wallet_export.EXPORTED[label].without, (label, column)


def test_every_binary_column_is_known_and_left_out() -> None:
    binary = {
        f"{label}.{field.name}"
        for label, model in own_models().items()
        for field in model._meta.concrete_fields
        if isinstance(field, models.BinaryField)
    }

    assert binary == BINARY
    for label, section in wallet_export.EXPORTED.items():
        assert section.without <= {field.column for field in own_models()[label]._meta.concrete_fields}
        named = {f"{label}.{name}" for name in wallet_export.columns(own_models()[label], section)}
        assert not named & (BINARY | {"wallets.Wallet.password", "wallets.BearerToken.prefix"})


def parsed(text: str) -> list[dict[str, Any]]:
    """Return the rows of an export, whose last line is right."""
    head, _, last = text.rstrip("\n").rpartition("\n")
    head += "\n"
    assert json.loads(last) == {"lines": head.count("\n"), "sha256": hashlib.sha256(head.encode()).hexdigest()}
    return [json.loads(line) for line in head.splitlines()]


@pytest.mark.django_db
def test_export_has_the_rows_of_the_wallet_and_no_secret() -> None:
    world = object_matrix.build()
    alice: Caller = world.callers["owner"]
    assert alice.wallet is not None

    response = alice.get(f"/wallets/{alice.wallet.pk}/export")

    assert (response.status_code, response["Content-Type"]) == (200, "application/x-ndjson")
    text = response.getvalue().decode()
    rows = parsed(text)
    by_table: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_table.setdefault(row["table"], []).append(row["row"])
    assert [row["name"] for row in by_table["wallets.Wallet"]] == ["alice"]
    assert {row["wallet_id"] for row in by_table["wallets.Token"]} == {str(alice.wallet.pk)}
    assert {row["id"] for row in by_table["transfers.Transfer"]} == {
        str(world.ids[name]) for name in ("offered", "offering", "requested", "held")
    }
    # Each token arrived by issue, and nothing has moved yet.
    assert len(by_table["transfers.Movement"]) == len(by_table["wallets.Token"]) == 5
    assert by_table["lockers.Locker"][0]["id"] == str(world.ids["locker"])
    assert by_table["webhooks.WebhookDelivery"][0]["id"] == str(world.ids["delivery"])
    exported_tables = set(by_table)
    # What this world has no row of.
    assert wallet_export.EXPORTED.keys() - exported_tables == {
        "treetracker_import.ImportedRow", "transfers.TransferTerms", "wallets.IdempotentAnswer", "wallets.KnownOrigin",
        "wallets.OperatorAction", "transfers.ApprovalChange", "transfers.KnownReceiver", "desk.Request",
        "transfers.DetachedPartition",
    }  # fmt: skip
    assert alice.wallet.password not in text
    assert Wallet.objects.get(pk=alice.wallet.pk).password not in text
    for token in BearerToken.objects.all():
        assert token.prefix not in text
        assert bytes(token.digest).hex() not in text
    assert object_matrix.CODE not in text
    assert world.callers["trusted"].wallet is not None
    other = Wallet.objects.get(name="steve")
    assert str(other.pk) not in text


# The columns by which a row speaks of a wallet; no other column with a wallet does.
_SPEAK = {
    "wallets.Wallet": {"id"}, "wallets.BearerToken": {"wallet_id"}, "wallets.RestrictedKey": {"wallet_id"},
    "wallets.Event": {"wallet_id"}, "wallets.IdempotentAnswer": {"wallet_id"}, "wallets.Token": {"wallet_id"},
    "trusts.Trust": {"actor_id", "target_id", "originator_id"},
    "transfers.Transfer": {"source_id", "destination_id", "originator_id"},
    "transfers.ActionToken": {"originator_id", "sender_id", "closed_by_id"},
    "transfers.KnownReceiver": {"wallet_id", "receiver_id"}, "transfers.ApprovalChange": {"wallet_id", "asked_by_id"},
    "transfers.Issue": {"wallet_id"}, "lockers.Locker": {"wallet_id"}, "lockers.LockerTask": {"wallet_id", "actor_id"},
    "lockers.Export": {"wallet_id"}, "lockers.Coin": {"wallet_id"}, "lockers.PaymentRequest": {"wallet_id", "actor_id"},
    "lockers.Payment": {"payer_id"}, "lockers.Account": {"wallet_id"},
    "lockers.StatementLine": {"wallet_id", "other_wallet_id"}, "webhooks.Webhook": {"wallet_id", "owner_id"},
    "desk.Request": {"wallet_id"},
}  # fmt: skip


@pytest.mark.django_db
def test_which_rows_speak_of_a_wallet() -> None:
    """By each column that names it, and by what belongs to it; with rows that name another wallet, which stay out."""
    mine, theirs = uuid4(), uuid4()
    numbers, all_models = count(1), own_models()
    exported: dict[str, dict[str, str]] = {label: {} for label in wallet_export.EXPORTED}
    expected = {label: set[str]() for label in wallet_export.EXPORTED}

    def add(label: str, why: str, *, is_mine: bool, **row: Any) -> Any:
        model = all_models[label]
        key = model._meta.pk
        if key.column not in row:
            is_uuid = isinstance(getattr(key, "target_field", key), models.UUIDField)
            row[key.column] = uuid4() if is_uuid else next(numbers)
        insert(model._meta.db_table, row)
        exported[label][str(row[key.column])] = why
        if is_mine:
            expected[label].add(why)
        return row[key.column]

    with hidden(all_models[label]._meta.db_table for label in wallet_export.EXPORTED):
        for label in wallet_export.EXPORTED:
            model = all_models[label]
            columns = {field.column for field in model._meta.concrete_fields if field.related_model is Wallet}
            columns |= {"id"} if model is Wallet else set()
            for column in columns if label not in _BY_MORE else ():
                others = {each: uuid4() for each in columns}
                number = {"number": next(numbers)} if label in {"transfers.Transfer", "trusts.Trust"} else {}
                row = others | {column: mine} | number
                add(label, column, is_mine=column in _SPEAK.get(label, set()), **row)
            if columns and label not in _BY_MORE:
                add(label, "nothing", is_mine=False, **{each: uuid4() for each in columns})
        _add_what_belongs(add, mine, theirs)

        found = parsed("".join(wallet_export.lines(wallet_id=mine)))

    named: dict[str, set[str]] = {label: set() for label in wallet_export.EXPORTED}
    for line in found:
        key = all_models[line["table"]]._meta.pk.column
        named[line["table"]].add(exported[line["table"]][str(line["row"][key])])
    assert named == expected
    assert all(expected.values())


# Their rows are added one by one.
_BY_MORE = {"transfers.TransferTerms", "transfers.Movement"}


def _add_what_belongs(add: Any, mine: Any, theirs: Any) -> None:
    """Rows that name the wallet by a text, or by a row that belongs to it; and what each export has."""
    add("transfers.DetachedPartition", "any", is_mine=True)
    for kind, account in (("wallet", mine), ("wallet", theirs), ("staff", mine)):
        add("wallets.KnownOrigin", f"{kind} {account}", is_mine=(kind, account) == ("wallet", mine), kind=kind,
            account=str(account))  # fmt: skip
    for kind, object_id in (("wallet", mine), ("wallet", theirs), ("token", mine)):
        is_mine = (kind, object_id) == ("wallet", mine)
        add("wallets.OperatorAction", f"{kind} {object_id}", is_mine=is_mine, things=[
            thing("key", theirs), thing(kind, object_id)])  # fmt: skip
        add("treetracker_import.ImportedRow", f"{kind} {object_id}", is_mine=is_mine, kind=kind, source_id=object_id)
    for party in ("actor_id", "target_id", "originator_id", ""):
        trust = add("trusts.Trust", f"of changes, {party}", is_mine=bool(party), number=1, actor_id=theirs,
                    target_id=theirs, originator_id=theirs)  # fmt: skip
        with connection.cursor() as cursor:
            if party:
                cursor.execute(f"UPDATE trusts_trust SET {party} = %s WHERE id = %s", [mine, trust])
        add("trusts.TrustChange", party, is_mine=bool(party), trust_id=trust, actor_id=theirs)
    for place, party in enumerate(("source_id", "destination_id", "originator_id", "")):
        number, token = 1000 + place, uuid4()
        parties = dict.fromkeys(("source_id", "destination_id", "originator_id"), theirs)
        parties |= {party: mine} if party else {}
        add("transfers.Transfer", f"of terms, {party}", is_mine=bool(party), number=number, **parties)
        add("transfers.TransferTerms", party, is_mine=bool(party), transfer_number=number, **dict.fromkeys(
            ("source_id", "destination_id", "originator_id"), theirs))  # fmt: skip
        add("transfers.Movement", f"moved, {party}", is_mine=party in {"source_id", "destination_id"}, number=1,
            token_id=token, transfer_number=number, source_id=theirs, destination_id=theirs)  # fmt: skip
        # The issue of the token that moved: to the wallet that sent it.
        add("transfers.Movement", f"issued, {party}", is_mine=party == "source_id", number=0, token_id=token,
            destination_id=mine)  # fmt: skip
    held, elsewhere = (
        add("wallets.Token", f"held by {wallet}", is_mine=wallet == mine, wallet_id=wallet) for wallet in (mine, theirs)
    )
    for token, destination, number in ((held, mine, 0), (held, theirs, 0), (held, mine, 2), (elsewhere, mine, 0)):
        is_mine = (token, destination, number) == (held, mine, 0)
        add("transfers.Movement", f"{token} to {destination}, {number}", is_mine=is_mine, number=number,
            token_id=token, destination_id=destination, source_id=theirs)  # fmt: skip
    for wallet, actor in ((mine, theirs), (theirs, mine), (theirs, theirs)):
        is_mine, why = mine in {wallet, actor}, f"{wallet} by {actor}"
        task = add("lockers.LockerTask", why, is_mine=is_mine, wallet_id=wallet, actor_id=actor)
        add("lockers.ReceiptLine", why, is_mine=is_mine, task_id=task)
        request = add("lockers.PaymentRequest", why, is_mine=is_mine, wallet_id=wallet, actor_id=actor)
        add("lockers.Payment", why, is_mine=wallet == mine, request_id=request, payer_id=theirs)
        webhook = add("webhooks.Webhook", why, is_mine=is_mine, wallet_id=wallet, owner_id=actor)
        add("webhooks.WebhookDelivery", why, is_mine=is_mine, webhook_id=webhook)


@pytest.mark.django_db
def test_movements_of_tokens_that_were_sent_on_are_exported() -> None:
    alice, bob = (wallets.create_wallet(name=name) for name in ("alice", "bobby"))
    transfers.issue_tokens(wallet=alice, count=3)
    sent = transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=2)
    transfers.accept(actor=bob, transfer_id=sent.id)

    of_alice, of_bob = (
        [
            row["row"]
            for row in parsed("".join(wallet_export.lines(wallet_id=each.pk)))
            if row["table"].endswith("Movement")
        ]
        for each in (alice, bob)
    )

    assert sorted(row["number"] for row in of_alice) == [0, 0, 0, 1, 1]
    assert [row["number"] for row in of_bob] == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_export_is_one_snapshot_whatever_is_written_meanwhile(monkeypatch: Any) -> None:
    alice = wallets.create_wallet(name="alice")
    transfers.issue_tokens(wallet=alice, count=60)
    monkeypatch.setattr(wallet_export, "_ROWS_AT_ONCE", 5)
    export = wallet_export.lines(wallet_id=alice.pk)
    begun = list(islice(export, 1))

    def change() -> None:
        try:
            Wallet.objects.filter(pk=alice.pk).update(about="changed")
            transfers.issue_tokens(wallet=alice, count=10)
        finally:
            connection.close()

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    rows = parsed("".join([*begun, *export]))

    assert sum(row["table"] == "wallets.Token" for row in rows) == 60
    assert sum(row["table"] == "transfers.Movement" for row in rows) == 60
    assert not connection.in_atomic_block
    assert len(parsed("".join(wallet_export.lines(wallet_id=alice.pk)))) > len(rows)


@pytest.mark.django_db
def test_the_command_prints_the_export_of_a_wallet_by_name() -> None:
    alice = wallets.create_wallet(name="alice", password="test1234", about="a garden, in Šibenik\nsecond line")
    printed = StringIO()

    call_command("export_wallet", "alice", stdout=printed)

    rows = parsed(printed.getvalue())
    assert rows[0]["row"]["id"] == str(alice.pk)
    assert rows[0]["row"]["about"] == "a garden, in Šibenik\nsecond line"
    with pytest.raises(CommandError, match="Could not find entity by wallet name: nobody"):
        call_command("export_wallet", "nobody", stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_the_command_may_take_longer_than_a_request() -> None:
    alice = wallets.create_wallet(name="alice")

    def limits(**how: bool) -> list[str]:
        export = wallet_export.lines(wallet_id=alice.pk, **how)
        next(export)
        found = []
        with connection.cursor() as cursor:
            for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
                cursor.execute(f"SHOW {name}")
                found.append(cursor.fetchone()[0])
        list(export)
        return found

    assert limits(is_patient=True) == ["0", "0"]
    assert limits() == ["30s", "1min"]


def closed(*responses: Any) -> None:
    """Close responses as the server does, but not the connection of the test."""
    for response in responses:
        for close in response._resource_closers:
            close()


@pytest.mark.django_db
def test_a_wallet_and_an_api_key_get_one_export_at_a_time_and_all_get_two() -> None:
    keys = [wallets.create_api_key(name=name)[1] for name in ("partner", "other", "third")]
    alice, bob, carol = (logged_in(name, key) for name, key in zip(("alice", "bobby", "carol"), keys, strict=True))
    of_same_key = logged_in("sapling", keys[0])

    def asked(caller: Caller) -> Any:
        assert caller.wallet is not None
        return caller.get(f"/wallets/{caller.wallet.pk}/export")

    first, same_key, second = asked(alice), asked(of_same_key), asked(bob)
    refused = [same_key, asked(alice), asked(carol)]

    assert [each.status_code for each in (first, second, *refused)] == [200, 200, 429, 429, 429]
    assert {(each["Error-Code"], each["Retry-After"]) for each in refused} == {("export_in_progress", "10")}
    # One is read to its end, the other is given up before it is read.
    assert first.getvalue().count(b"\n") > 1
    closed(second)
    again = [asked(carol), asked(alice)]
    assert [each.status_code for each in again] == [200, 200]
    closed(*again)
    assert limits._exporting == {}
