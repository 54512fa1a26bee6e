"""Pseudonymising a closed wallet: nothing says whose it was, and the ledger is whole."""

import itertools
import re
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import CharField, TextField
from django.utils import timezone

from config.admin import four_eyes
from config.admin.actions.lockers import RetryTask
from config.admin.actions.wallets import PseudonymiseWallet
from config.admin.models import FormerName, Proposal
from config.ops import audits, pseudonyms, wallet_export
from config.seals import sealing
from config.treetracker_import.models import ImportedRow
from lockers.models import LockerTask
from lockers.states import CoinState, PaymentRequestState, TaskKind, TaskState
from tests.admin.running import run
from tests.api.caller import PASSWORD
from tests.support.hidden_tables import hidden, insert
from transfers import approvals
from transfers import operations as transfers
from transfers.models import ApprovalChange
from transfers.queries import Demand
from transfers.states import ActionTokenState, TransferState
from trusts import operations as trusts
from trusts import restricted_keys
from trusts.states import TrustRequestType, TrustState
from wallets import images, operator_log
from wallets import operations as wallets
from wallets.errors import NotPossible
from wallets.models import (
    BearerToken,
    Event,
    IdempotentAnswer,
    KnownOrigin,
    OperatorAction,
    RestrictedKey,
    Wallet,
)
from wallets.operator_log import Operator
from wallets.states import OperatorVerb
from webhooks import operations as webhooks
from webhooks.models import Webhook

NAME = "tamara-oyelaran"


@pytest.fixture
def closed(db: None) -> Wallet:
    """A wallet with a history, which holds nothing any more."""
    return with_a_history(NAME, partner="bobby", address="203.0.113.7", operators=("mona", "olga"))


def with_a_history(name: str, *, partner: str, address: str, operators: tuple[str, str]) -> Wallet:
    wallet = wallets.create_wallet(name=name, password=PASSWORD)
    other = wallets.create_wallet(name=partner, password=PASSWORD)
    # Each text, also of a column that is added later.
    others = {"name", "name_key", "password"}
    texts = {
        field.name: f"https://pictures.example/{name}" if field.name.endswith("_url") else name
        for field in Wallet._meta.concrete_fields
        if isinstance(field, CharField | TextField) and field.name not in others
    }
    assert {"about", "display_name", "logo_url", "cover_url"} <= set(texts)
    Wallet.objects.filter(pk=wallet.pk).update(**texts)
    transfers.issue_tokens(wallet=wallet, count=3)
    wallets.authenticate(name_or_id=name, password=PASSWORD, address=address)
    row = trusts.request_trust(actor=wallet, request_type=TrustRequestType.MANAGE, requestee=partner)
    trusts.accept_trust(actor=other, trust_id=row.id)
    trusts.delete_trust(actor=wallet, trust_id=row.id)
    sent = transfers.send_bundle(actor=wallet, sender=name, receiver=partner, size=3)
    transfers.accept(actor=other, transfer_id=sent.id)
    webhooks.create(actor=wallet, url=f"https://{name}.example/hook")
    restricted_keys.create(
        actor=wallet, name=f"cron of {name}", scopes=["transfers:write"], networks=[address], expires_at=None
    )
    demanded = Demand(above=5, new_receivers=True)
    approvals.demand(actor=wallet, credential_id=uuid4(), wallet_id=wallet.pk, wanted=demanded)
    approvals.demand(actor=wallet, credential_id=uuid4(), wallet_id=wallet.pk, wanted=Demand(above=9))
    proposer, actor = operators
    Proposal.objects.create(
        proposer=User.objects.create_user(proposer), action="issue-tokens", object_id=str(wallet.pk),
        title=f"Issue tokens to {name}", shown=[f"{name} gets 3 tokens"], reason=f"{name} asked", state="void",
        created_at=timezone.now(), expires_at=timezone.now(), decided_at=timezone.now(),
    )  # fmt: skip
    with transaction.atomic():
        operator = Operator(User.objects.create_superuser(actor), f"confirmed by {actor}", f"{name} called me")
        operator_log.begin(operator)
        operator_log.record(
            operator,
            OperatorVerb.SET_PASSWORD,
            kind="wallet",
            object_id=wallet.pk,
            label=name,
            before={"name": name},
            after={"wallets": [name]},
        )
    wallet.refresh_from_db()
    return wallet


def whole_database() -> str:
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        found = []
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT row_to_json(each)::text FROM "{table}" AS each')
            found += [f"{table} {text}" for (text,) in cursor.fetchall()]
    return "\n".join(found)


def finished() -> int:
    """Run the second erasure, as if it were due."""
    FormerName.objects.update(due_at=timezone.now())
    return pseudonyms.finish()


def test_nothing_in_the_database_names_the_wallet_and_the_ledger_is_whole(closed: Wallet) -> None:
    assert NAME in whole_database()
    assert "203.0.113.7" in whole_database()
    events = Event.objects.count()

    assert sealing.seal(is_due=True) == 1

    name = pseudonyms.pseudonymise(wallet_id=closed.pk)

    assert [row for row in whole_database().splitlines() if NAME in row and "desk_formername" not in row] == []
    assert finished() == 1
    after = whole_database()
    assert NAME not in after
    assert "203.0.113.7" not in after
    assert closed.password not in after
    assert name == f"closed-{closed.pk.hex}"
    left = ("password", "about", "display_name", "logo_url", "cover_url", "approval_above", "approval_of_new_receivers")
    assert Wallet.objects.values_list(*left).get(pk=closed.pk) == ("", "", "", None, None, None, None)
    assert Event.objects.count() == events
    told = {key: value for event in Event.objects.all() for key, value in event.payload.items()}
    assert told["walletSender"] == name
    assert (told["walletReceiver"], told["bundle"]) == ("bobby", 3)
    action = OperatorAction.objects.get()
    assert (action.object_label, action.reason, action.before, action.after) == (
        name, "", {"name": name}, {"wallets": [name]},
    )  # fmt: skip
    assert not BearerToken.objects.filter(wallet=closed).exists()
    assert not Webhook.objects.exists()
    assert not RestrictedKey.objects.exists()
    assert not ApprovalChange.objects.exists()
    assert audits.findings() == []
    assert NAME not in "".join(wallet_export.lines(wallet_id=Wallet.objects.get(name="bobby").pk))


def test_its_images_are_deleted_once_that_is_committed(
    closed: Wallet, settings: Any, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    other = Wallet.objects.get(name="bobby")
    picture = images.Picture(b"a picture", "png")
    logo, cover, kept = (images.store(picture, wallet_id=each.pk) for each in (closed, closed, other))
    Wallet.objects.filter(pk=closed.pk).update(
        logo_url=f"https://example.org/media/{logo}", cover_url=f"https://example.org/media/{cover}"
    )

    with django_capture_on_commit_callbacks(execute=True):
        pseudonyms.pseudonymise(wallet_id=closed.pk)
        assert {path.name for path in tmp_path.iterdir()} == {logo, cover, kept}

    assert {path.name for path in tmp_path.iterdir()} == {kept}


def test_the_second_erasure_of_one_wallet_leaves_that_of_another_to_be_done(closed: Wallet) -> None:
    other = with_a_history("zora", partner="carol", address="203.0.113.8", operators=("mina", "otto"))
    for wallet in (closed, other):
        pseudonyms.pseudonymise(wallet_id=wallet.pk)
    FormerName.objects.filter(pk=closed.pk).update(due_at=timezone.now())

    assert pseudonyms.finish() == 1

    assert list(FormerName.objects.values_list("pk", "name")) == [(other.pk, "zora")]


def test_proposals_of_acts_on_its_tasks_no_longer_name_it(closed: Wallet) -> None:
    task = LockerTask.objects.create(
        kind=TaskKind.TAKE, state=TaskState.ERROR, step="done", wallet=closed, actor=closed, receipt_id=uuid4().hex,
        deadline=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    proposer, action = User.objects.get(username="olga"), RetryTask()
    for number in range(2):
        with transaction.atomic():
            operator = Operator(proposer, f"proposed {number}", f"{NAME} called again")
            operator_log.begin(operator)
            made = four_eyes.propose(action, operator, task, {}, {"wallet": NAME, "left_to_do": "all", "later_puts": 0})
        if number:
            refused = Operator(proposer, "refused", f"not what {NAME} wants")
            four_eyes.refuse(proposal_id=made.pk, action=action, operator=refused, row=task)
    assert NAME in "".join(Proposal.objects.filter(action=action.name).values_list("title", flat=True))

    pseudonyms.pseudonymise(wallet_id=closed.pk)
    finished()

    assert NAME not in whole_database()
    assert Proposal.objects.filter(action=action.name).count() == 2


def test_no_row_that_is_about_others_changes(closed: Wallet) -> None:
    """`other` has a row of each kind that is rewritten or deleted, and a name that begins with the same letters."""
    other = with_a_history(f"{NAME}-zora", partner="carol", address="203.0.113.8", operators=("mina", "otto"))
    for wallet in (closed, other):
        IdempotentAnswer.objects.create(wallet=wallet, key="a key", fingerprint=b"-" * 32, status=201, body=b"{}")
        for kind in ("wallet", "token"):
            row = {"name": wallet.name, "of": str(wallet.pk)}
            ImportedRow.objects.create(kind=kind, source_id=wallet.pk, source=row, written=row, note=f"-{wallet.pk}")
    for kind, wallet in (("wallet", closed), ("wallet", other), ("staff", closed)):
        KnownOrigin.objects.create(
            kind=kind, account=str(wallet.pk), means="address", digest=b"-" * 32, last_login_at=timezone.now()
        )
    for wallet, owner in ((closed, other), (other, closed)):
        webhooks.create(actor=wallet, url="https://foreign.example/hook")
        Webhook.objects.filter(wallet=wallet, url="https://foreign.example/hook").update(owner=owner)
    # As an import may bring it.
    bare = Event.objects.create(wallet=closed, number=-1, type="login", payload={}, created_at=timezone.now())
    before = whole_database().splitlines()

    pseudonyms.pseudonymise(wallet_id=closed.pk)
    finished()

    bare.refresh_from_db()
    assert bare.payload == {}
    after = set(whole_database().splitlines())
    gone = [row for row in before if row not in after]
    assert [row for row in gone if str(closed.pk) not in row and NAME not in row.replace(other.name, "")] == []
    # The dump names the partition: of stored answers that of the week, of events the default one.
    assert {re.sub(r"_(\d{8}|default)$", "", row.split()[0]) for row in gone} == {
        "desk_proposal", "transfers_approvalchange", "treetracker_import_importedrow", "wallets_bearertoken",
        "wallets_event", "wallets_idempotentanswer", "wallets_knownorigin", "wallets_operatoraction",
        "wallets_restrictedkey", "wallets_wallet", "webhooks_webhook",
    }  # fmt: skip
    # Of the wallet itself, what names it by its id alone.
    assert KnownOrigin.objects.filter(kind="staff", account=str(closed.pk)).exists()
    assert ImportedRow.objects.get(kind="token", source_id=closed.pk).note == f"-{closed.pk}"
    assert set(Webhook.objects.values_list("wallet", "owner")) == {(other.pk, other.pk)}


# What keeps a wallet open: its table, the columns that name the wallet, all states, and those that count.
_KEEPS: dict[str, tuple[str, list[str], list[str], set[str]]] = {
    "token": ("wallets_token", ["wallet_id"], [""], {""}),
    "open transfer": (
        "transfers_transfer", ["source_id", "destination_id"], TransferState.values, {"requested", "pending"},
    ),
    "active claim link": ("transfers_actiontoken", ["sender_id"], ActionTokenState.values, {"active"}),
    "open trust": ("trusts_trust", ["actor_id", "target_id"], TrustState.values, {"requested", "trusted"}),
    "coin": (
        "lockers_coin", ["wallet_id"], [*CoinState],
        {"waiting", "incoming", "bank", "fracked", "limbo", "errored", "locked", "exported", "change"},
    ),
    "open task": ("lockers_lockertask", ["wallet_id"], [*TaskState], {"running"}),
    "open payment request": (
        "lockers_paymentrequest", ["wallet_id"], [*PaymentRequestState], {"open", "partly_paid"},
    ),
}  # fmt: skip


def test_whatever_still_waits_for_a_wallet_keeps_it_open(db: None) -> None:
    """Each kind in each state, of the wallet and of another."""
    mine, theirs = uuid4(), uuid4()
    with hidden(table for table, *_ in _KEEPS.values()), connection.cursor() as cursor:
        assert pseudonyms.what_is_left(mine) == []
        for kind, (table, columns, states, counting) in _KEEPS.items():
            for column, state in itertools.product(columns, states):
                row = dict.fromkeys(columns, theirs) | {column: mine} | ({"state": state} if state else {})
                row |= {"number": 1} if table == "trusts_trust" else {}
                insert(table, row)
                found = pseudonyms.what_is_left(mine), pseudonyms.what_is_left(uuid4())
                assert found == ([f"1 {kind}"] if state in counting else [], []), (kind, column, state)
                cursor.execute(f"DELETE FROM {table}")


def test_more_tokens_than_are_counted_are_said_to_be_more(closed: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudonyms, "_TOKENS_COUNTED", 3)

    transfers.issue_tokens(wallet=closed, count=2)
    few = pseudonyms.what_is_left(closed.pk)
    transfers.issue_tokens(wallet=closed, count=3)

    assert (few, pseudonyms.what_is_left(closed.pk)) == (["2 tokens"], ["3 tokens or more"])


def test_a_wallet_that_still_holds_or_awaits_something_is_not_closed(closed: Wallet) -> None:
    transfers.issue_tokens(wallet=closed, count=2)
    transfers.send_bundle(actor=closed, sender=NAME, receiver="bobby", size=1)
    trusts.request_trust(actor=closed, request_type=TrustRequestType.SEND, requestee="bobby")
    before = whole_database()

    with pytest.raises(NotPossible, match="The wallet still has: 2 tokens, 1 open transfer, 1 open trust"):
        pseudonyms.pseudonymise(wallet_id=closed.pk)
    with pytest.raises(CommandError, match="still has"):
        call_command("pseudonymise_wallet", NAME, stdout=StringIO())

    assert whole_database() == before


def test_the_command_names_the_pseudonym_and_can_be_repeated(closed: Wallet) -> None:
    printed = StringIO()
    call_command("pseudonymise_wallet", NAME, stdout=printed)
    after = whole_database()

    call_command("pseudonymise_wallet", str(closed.pk), stdout=printed)

    assert printed.getvalue() == f"The wallet is now called closed-{closed.pk.hex}.\n" * 2
    assert whole_database() == after
    with pytest.raises(CommandError, match="Could not find"):
        call_command("pseudonymise_wallet", NAME, stdout=StringIO())
    # The name is free again.
    wallets.create_wallet(name=NAME)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE wallets_event SET payload = '{}'",
        "UPDATE wallets_operatoraction SET reason = ''",
    ],
)
def test_only_pseudonymising_rewrites_what_is_append_only(closed: Wallet, statement: str) -> None:
    pseudonyms.pseudonymise(wallet_id=closed.pk)

    with pytest.raises(IntegrityError, match="only appended"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("table", "column"),
    [("wallets_event", "type"), ("wallets_event", "wallet_id"), ("wallets_operatoraction", "things")],
)
def test_not_even_pseudonymising_rewrites_what_happened(closed: Wallet, table: Any, column: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL coppice.pseudonymises = 'on'")
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with pytest.raises(IntegrityError, match="only appended"), transaction.atomic():
                cursor.execute(statement)


def test_a_wallet_that_took_the_pseudonym_does_not_prevent_it(closed: Wallet) -> None:
    wallets.create_wallet(name=pseudonyms.pseudonym(closed.pk))

    name = pseudonyms.pseudonymise(wallet_id=closed.pk)

    assert name.startswith(f"closed-{closed.pk.hex}-")
    assert pseudonyms.pseudonymise(wallet_id=closed.pk) == name == Wallet.objects.get(pk=closed.pk).name


def test_the_act_of_an_operator_is_logged_under_the_pseudonym(closed: Wallet) -> None:
    outcome = run(PseudonymiseWallet, closed)

    name = f"closed-{closed.pk.hex}"
    assert outcome.message == f"The wallet is now called {name}."
    action = OperatorAction.objects.latest("pk")
    assert (action.verb, action.object_label, action.after) == ("pseudonymised_wallet", name, {"name": name})
    assert action.reason
    finished()
    assert OperatorAction.objects.latest("pk").reason == action.reason
    assert NAME not in whole_database()
    assert audits.findings() == []
    with pytest.raises(NotPossible, match="it is pseudonymised"):
        run(PseudonymiseWallet, Wallet.objects.get(pk=closed.pk))


def test_what_was_written_after_the_name_was_free_is_about_the_wallet_that_took_it(closed: Wallet) -> None:
    pseudonyms.pseudonymise(wallet_id=closed.pk)
    other = wallets.create_wallet(name=NAME, password=PASSWORD, about="another one")
    late, early, of_a_key = (
        Event.objects.create(
            wallet=Wallet.objects.get(name="bobby"), number=number, type="transfer_requested",
            payload={"walletSender": NAME} | more, created_at=at,
        )
        for number, at, more in (
            (-1, timezone.now(), {}), (-2, closed.created_at, {}),
            # The name of a key is erased of the own wallet alone.
            (-3, timezone.now(), {"keyName": "till"}),
        )
    )  # fmt: skip

    # Before the second erasure is due it does nothing.
    assert pseudonyms.finish() == 0
    assert finished() == 1

    late.refresh_from_db()
    early.refresh_from_db()
    of_a_key.refresh_from_db()
    assert (late.payload, early.payload, of_a_key.payload) == (
        {"walletSender": NAME}, {"walletSender": pseudonyms.pseudonym(closed.pk)},
        {"walletSender": NAME, "keyName": "till"},
    )  # fmt: skip
    other.refresh_from_db()
    assert (other.name, other.about) == (NAME, "another one")
    assert not FormerName.objects.exists()
    assert pseudonyms.finish() == 0
