"""What the triggers of the database refuse, and what the audit finds of changes that were made without the triggers."""

from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.api.caller import Caller
from tests.transfers.books import assert_sound, held_by
from transfers import action_tokens, audit, list_counts, operations
from transfers.ledger import Terms
from transfers.models import Movement, Transfer
from wallets.models import Wallet


def execute(statement: Any, **values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.fixture
def books(alice: Caller, bob: Caller, sapling: Wallet) -> Any:
    """One transfer of each kind and state: completed list and bundle, pending list and bundle, requested, cancelled."""
    mine = held_by(alice.wallet)
    send = {"actor": alice.wallet, "sender": "alice"}
    # First: a bundle is drawn at random, and might draw the token that is named here.
    operations.send_bundle(actor=alice.wallet, sender="sapling", receiver="alice", size=1)
    completed = operations.send_tokens(**send, receiver="sapling", token_ids=mine[:1])
    pending = operations.send_tokens(**send, receiver="bobby", token_ids=[held_by(alice.wallet)[0]])
    operations.send_bundle(**send, receiver="bobby", size=1)
    terms = Terms("order 7", expires_at=timezone.now() + timedelta(days=1))
    requested = operations.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=1, terms=terms)
    cancelled = operations.send_bundle(**send, receiver="bobby", size=1)
    operations.decline(actor=bob.wallet, transfer_id=cancelled.id)
    link = action_tokens.offer_tokens(
        actor=alice.wallet, sender="sapling", token_ids=[each for each in held_by(sapling) if each != mine[0]][:1]
    )
    action_tokens.offer_bundles(actor=alice.wallet, sender=None, size=1)
    action_tokens.redeem(actor=bob.wallet, code=link.code)
    assert list_counts.roll_up()
    assert_sound()
    return {
        "link": link.id,
        "completed": completed.id,
        "pending": pending.id,
        "requested": requested.id,
        "cancelled": cancelled.id,
        "moved": mine[0],
        "alice": alice.wallet.pk,
        "bob": bob.wallet.pk,
        "strange": uuid4(),
    }


# Why, in the words of the rule that refuses it.
APPENDED = "transfers_movement is append-only"
CLOSED = "an open transfer is closed once, a closed one never changes"
LIES = "a transfer is between two wallets, moves what was asked or nothing, and is closed when decided"
MOVES = "a token changes its wallet only with its next number and a later arrival"
REFUSED = [
    ("UPDATE transfers_movement SET destination_id = %(bob)s", APPENDED),
    ("UPDATE transfers_movement SET processed_at = now() WHERE number = 0", APPENDED),
    ("DELETE FROM transfers_movement WHERE number > 0", APPENDED),
    ("DELETE FROM transfers_transfer", "a transfer is closed, never deleted"),
    ("UPDATE transfers_transfer SET state = 'pending', closed_at = NULL WHERE id = %(completed)s", LIES),
    ("UPDATE transfers_transfer SET state = 'completed' WHERE id = %(cancelled)s", LIES),
    ("UPDATE transfers_transfer SET closed_at = now() WHERE id = %(completed)s", CLOSED),
    ("UPDATE transfers_transfer SET state = 'requested', reserved_count = 0 WHERE id = %(pending)s", CLOSED),
    # Only what awaits an approval becomes pending.
    ("UPDATE transfers_transfer SET state = 'pending', reserved_count = 1 WHERE id = %(requested)s", CLOSED),
    ("UPDATE transfers_transfer SET token_count = 2 WHERE id = %(pending)s", LIES),
    ("UPDATE transfers_transfer SET parameters = '{}' WHERE id = %(requested)s", CLOSED),
    ("UPDATE transfers_transfer SET destination_id = %(alice)s WHERE id = %(requested)s", LIES),
    # All or nothing: completed without tokens, or closed without a time.
    ("UPDATE transfers_transfer SET state = 'completed', closed_at = now() WHERE id = %(requested)s", LIES),
    ("UPDATE transfers_transfer SET state = 'cancelled' WHERE id = %(requested)s", LIES),
    ("UPDATE transfers_transfer SET state = 'cancelled', closed_at = now() WHERE id = %(pending)s", LIES),
    ("UPDATE wallets_token SET wallet_id = %(bob)s WHERE id = %(moved)s", MOVES),
    ("UPDATE wallets_token SET moves = moves + 1 WHERE id = %(moved)s", MOVES),
    ("UPDATE wallets_token SET wallet_id = %(bob)s, moves = moves + 1 WHERE id = %(moved)s", MOVES),
    ("UPDATE wallets_token SET arrival = arrival + 1 WHERE id = %(moved)s", MOVES),
    (
        "UPDATE wallets_token SET capture_id = %(strange)s WHERE id = %(moved)s",
        "id, capture_id, lot and created_at of a token cannot change",
    ),
    (
        "UPDATE wallets_token SET transfer_pending_id = %(strange)s WHERE id = %(moved)s",
        "a token is reserved by a transfer or a claim link",
    ),
    # An approval of what needs none.
    (
        "UPDATE transfers_transfer SET approved_at = now(), approved_by_id = source_id WHERE id = %(pending)s",
        "what awaits an approval is fixed, and is approved once",
    ),
    ("DELETE FROM wallets_token WHERE id = %(moved)s", "a token cannot be deleted: the history refers to it"),
    ("DELETE FROM wallets_wallet WHERE id = %(bob)s", "transfers and history name wallets for ever"),
]


@pytest.mark.parametrize(("statement", "why"), REFUSED)
def test_the_database_refuses(books: Any, statement: Any, why: Any) -> None:
    with pytest.raises(IntegrityError, match=why), transaction.atomic():
        execute(statement, **books)
    assert_sound()


@pytest.mark.parametrize(
    "change",
    [
        {"source_id": "destination_id"},
        {"token_count": "0", "reserved_count": "0"},
        {"token_count": "-1", "reserved_count": "-1", "parameters": """'{"tokens": []}'"""},
        {"state": "'lost'"},
        {"closed_at": "now()"},
        {"reserved_count": "0"},
        {"moved_count": "1"},
    ],
    ids=str,
)
def test_the_database_refuses_a_transfer_that_cannot_be(books: Any, change: Any) -> None:
    columns = [field.column for field in Transfer._meta.fields]
    values = {column: column for column in columns} | {"id": "gen_random_uuid()", "number": "-1"}

    with pytest.raises(IntegrityError, match=LIES), transaction.atomic():
        execute(
            f"INSERT INTO transfers_transfer ({', '.join(columns)})"
            f" SELECT {', '.join((values | change)[column] for column in columns)}"
            " FROM transfers_transfer WHERE id = %(pending)s",
            **books,
        )


def test_control_the_same_transfer_without_the_change_is_stored(books: Any) -> None:
    columns = [field.column for field in Transfer._meta.fields]
    values = {column: column for column in columns} | {"id": "gen_random_uuid()"}
    values["number"] = "nextval('wallets_event_number')"

    execute(
        f"INSERT INTO transfers_transfer ({', '.join(columns)})"
        f" SELECT {', '.join(values[column] for column in columns)} FROM transfers_transfer WHERE id = %(pending)s",
        **books,
    )

    assert [finding.check for finding in audit.audit_findings()] == [
        "a pending transfer of listed tokens reserves these",
        "a pending transfer reserves what was asked, any other nothing",
        "the tallies agree with the tokens of each wallet",
    ]


ASKED = {"approval_of": "'send'", "approval_asked_by_id": "source_id", "approval_asked_with": "%(strange)s::uuid"}
APPROVED = {"approved_at": "now()", "approved_by_id": "source_id", "approved_with": "gen_random_uuid()"}
DONE = {"state": "'completed'", "reserved_count": "0", "moved_count": "token_count", "closed_at": "now()"}


@pytest.mark.parametrize(
    ("change", "is_stored"),
    [
        (ASKED, True),
        (ASKED | {"approval_asked_by_id": "NULL"}, False),
        (ASKED | APPROVED, True),
        (ASKED | APPROVED | {"approval_asked_by_id": "NULL"}, False),
        (ASKED | APPROVED | {"approved_at": "NULL"}, False),
        (ASKED | APPROVED | {"approved_by_id": "NULL"}, False),
        (ASKED | APPROVED | {"approved_with": "%(strange)s::uuid"}, False),
        (ASKED | DONE, False),
        (ASKED | APPROVED | DONE, True),
    ],
    ids=str,
)
def test_the_database_stores_what_needs_an_approval_as_it_was_asked_for_and_given(
    books: Any, change: Any, is_stored: bool
) -> None:
    """Also of a new row, for which no trigger compares it with an old one."""
    columns = [field.column for field in Transfer._meta.fields]
    values = {column: column for column in columns} | {"id": "gen_random_uuid()"}
    values |= {"number": "nextval('wallets_event_number')"} | change
    copy = (
        f"INSERT INTO transfers_transfer ({', '.join(columns)})"
        f" SELECT {', '.join(values[column] for column in columns)} FROM transfers_transfer WHERE id = %(pending)s"
    )

    with ExitStack() as stack:
        if not is_stored:
            stack.enter_context(pytest.raises(IntegrityError, match="completes after another credential gave it"))
        stack.enter_context(transaction.atomic())
        execute(copy, **books)


@pytest.mark.parametrize(
    "change", [{"number": "-1"}, {"transfer_number": "NULL"}, {"source_id": "NULL"}, {"number": "0"}], ids=str
)
def test_the_database_refuses_a_movement_that_cannot_be(books: Any, change: Any) -> None:
    columns = [field.column for field in Movement._meta.fields]
    values = {column: column for column in columns} | {"id": "-1", "number": "number + 9"}
    copy = (
        f"INSERT INTO transfers_movement ({', '.join(columns)}) SELECT {{}}"
        " FROM transfers_movement WHERE token_id = %(moved)s AND number = 1"
    )

    with pytest.raises(IntegrityError, match="an issue, or belongs"), transaction.atomic():
        execute(copy.format(", ".join((values | change)[column] for column in columns)), **books)
    # The same without the change is stored.
    execute(copy.format(", ".join(values[column] for column in columns)), **books)


def test_a_number_in_a_history_is_taken_once(books: Any) -> None:
    with pytest.raises(IntegrityError, match="movement_once_per_number"), transaction.atomic():
        execute(
            "INSERT INTO transfers_movement (id, token_id, number, destination_id, processed_at)"
            " VALUES (-1, %(moved)s, 0, %(bob)s, now())",
            **books,
        )


# The check that finds it, and how it is planted, behind triggers and constraints: one for each way to break the rule.
# The number of the last movement of a token is its `moves`.
PLANTED = [
    (
        "every token is in a wallet that exists",
        "UPDATE wallets_token SET wallet_id = %(strange)s WHERE id = %(moved)s",
    ),
    (
        "a token is where its last movement put it",
        "UPDATE wallets_token SET wallet_id = %(bob)s WHERE id = %(moved)s",
        "UPDATE wallets_token SET arrival = arrival + 1000 WHERE id = %(moved)s",
        "UPDATE wallets_token SET moves = moves + 5 WHERE id = %(moved)s",
    ),
    (
        "the history of a token has no gap",
        "DELETE FROM transfers_movement WHERE token_id = %(moved)s AND number = 0",
        "UPDATE transfers_movement SET number = -1 WHERE token_id = %(moved)s AND number = 0",
        "UPDATE transfers_movement SET number = 99 WHERE token_id = %(moved)s AND number = 1",
    ),
    (
        "each movement starts where and after the one before ended",
        "UPDATE transfers_movement SET source_id = %(bob)s WHERE token_id = %(moved)s AND number = 1",
        "UPDATE transfers_movement SET id = -1 WHERE token_id = %(moved)s AND number = 1",
    ),
    (
        "each movement belongs to a token and to a completed transfer between the same wallets",
        "UPDATE transfers_movement SET transfer_number = -5 WHERE token_id = %(moved)s AND number = 1",
        "UPDATE transfers_movement SET transfer_number = (SELECT max(number) FROM transfers_transfer)"
        " WHERE token_id = %(moved)s AND number = 0",
        "DELETE FROM wallets_token WHERE id = %(moved)s",
        "UPDATE transfers_transfer SET state = 'failed' WHERE id = %(completed)s",
        "UPDATE transfers_transfer SET source_id = %(bob)s WHERE id = %(completed)s",
        "UPDATE transfers_transfer SET destination_id = %(bob)s WHERE id = %(completed)s",
    ),
    (
        "a completed transfer moved what was asked, any other nothing",
        "UPDATE transfers_transfer SET token_count = 2 WHERE id = %(completed)s",
        "UPDATE transfers_transfer SET moved_count = 2 WHERE id = %(completed)s",
        "UPDATE transfers_transfer SET state = 'cancelled', moved_count = 0 WHERE id = %(completed)s",
        "UPDATE transfers_transfer SET moved_count = 1 WHERE id = %(cancelled)s",
    ),
    (
        "a completed transfer of listed tokens moved these",
        """UPDATE transfers_transfer SET parameters = format('{"tokens": ["%%s"]}', %(strange)s::uuid)::jsonb
            WHERE id = %(completed)s""",
    ),
    (
        "a pending transfer of listed tokens reserves these",
        """UPDATE transfers_transfer SET parameters = format('{"tokens": ["%%s"]}', %(strange)s::uuid)::jsonb
            WHERE id = %(pending)s""",
    ),
    (
        "a pending transfer reserves what was asked, any other nothing",
        "UPDATE wallets_token SET transfer_pending_id = NULL WHERE transfer_pending_id = %(pending)s",
        "UPDATE transfers_transfer SET token_count = 2 WHERE id = %(pending)s",
        "UPDATE transfers_transfer SET reserved_count = 2 WHERE id = %(pending)s",
        "UPDATE transfers_transfer SET reserved_count = 1 WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET state = 'requested', reserved_count = 0 WHERE id = %(pending)s",
    ),
    (
        "a reserved token is in the source of the transfer or claim link that reserves it",
        "UPDATE wallets_token SET transfer_pending_id = %(pending)s WHERE wallet_id <> %(alice)s",
        "UPDATE wallets_token SET transfer_pending_id = %(strange)s WHERE id = %(moved)s",
        "UPDATE transfers_actiontoken SET sender_id = %(bob)s WHERE state = 'active'",
        "DELETE FROM transfers_actiontoken WHERE state = 'active'",
    ),
    (
        "an active claim link reserves its tokens, any other nothing",
        "UPDATE transfers_actiontoken SET token_count = 2 WHERE state = 'active'",
        "UPDATE transfers_actiontoken SET state = 'cancelled', closed_at = now() WHERE state = 'active'",
        "UPDATE transfers_actiontoken SET state = 'active', closed_at = NULL WHERE id = %(link)s",
        "UPDATE wallets_token SET transfer_pending_id = %(link)s WHERE id = %(moved)s",
    ),
    (
        "a claim link that was redeemed has its transfer, and no other",
        "UPDATE transfers_actiontoken SET state = 'redeemed', closed_at = now() WHERE state = 'active'",
        "UPDATE transfers_actiontoken SET state = 'cancelled' WHERE id = %(link)s",
        "UPDATE transfers_actiontoken SET token_count = 2 WHERE id = %(link)s",
        "UPDATE transfers_actiontoken SET sender_id = %(bob)s WHERE id = %(link)s",
        "UPDATE transfers_actiontoken SET closed_by_id = NULL WHERE id = %(link)s",
        "UPDATE transfers_actiontoken SET closed_at = closed_at + interval '1 second' WHERE id = %(link)s",
    ),
    (
        "a claim link is closed soon after it expired",
        "UPDATE transfers_actiontoken SET expires_at = now() - interval '16 minutes' WHERE state = 'active'",
    ),
    (
        "a transfer is between two wallets that exist, and is closed when it was decided",
        "UPDATE transfers_transfer SET originator_id = %(strange)s WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET source_id = %(strange)s WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET destination_id = %(strange)s WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET destination_id = source_id WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET token_count = 0 WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET token_count = -1 WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET closed_at = NULL WHERE id = %(cancelled)s",
        "UPDATE transfers_transfer SET closed_at = now() WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET state = 'lost' WHERE id = %(cancelled)s",
        "UPDATE transfers_transfer SET closed_at = created_at - interval '1 second' WHERE id = %(cancelled)s",
    ),
    (
        "a transfer that says so has terms, between its wallets, and no other",
        "DELETE FROM transfers_transferterms",
        "UPDATE transfers_transferterms SET transfer_number = -1",
        "UPDATE transfers_transferterms SET source_id = %(bob)s",
        "UPDATE transfers_transfer SET has_terms = NULL WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET has_terms = true WHERE id = %(completed)s",
    ),
    (
        "an open transfer is closed soon after it expired",
        "UPDATE transfers_transfer SET expires_at = now() - interval '16 minutes' WHERE id = %(requested)s",
        "UPDATE transfers_transfer SET expires_at = now() - interval '16 minutes' WHERE id = %(pending)s",
    ),
    (
        "as many tokens were issued as there are",
        "DELETE FROM transfers_issue",
        "UPDATE transfers_issue SET tokens = tokens + 1",
    ),
    (
        "detached movements are sealed, and older than all others",
        "INSERT INTO transfers_detachedpartition (below, name, movements, checksum) VALUES (1000000, 'away', 0, 0)",
    ),
    (
        "the days of wallets agree with the transfers and issues",
        "UPDATE transfers_tallydelta SET at = at - interval '1 day'",
        "UPDATE transfers_tallydelta SET is_issue = false",
        "UPDATE transfers_issue SET issued_at = issued_at - interval '1 day'",
    ),
    (
        "the tallies agree with the tokens of each wallet",
        "UPDATE transfers_tallydelta SET tokens = tokens + 1",
        "UPDATE transfers_transfer SET reserved_count = 2 WHERE id = %(pending)s",
        """UPDATE wallets_token SET transfer_pending_id = %(pending)s
            WHERE id = (SELECT id FROM wallets_token WHERE wallet_id = %(alice)s AND transfer_pending_id IS NULL LIMIT 1
                       )""",
        "UPDATE transfers_actiontoken SET token_count = 2 WHERE state = 'active'",
    ),
    (
        "a transfer that needs an approval moves nothing before another credential gave it",
        "UPDATE transfers_transfer SET approval_of = 'send', approval_asked_by_id = %(alice)s WHERE number ="
        " (SELECT max(number) FROM transfers_transfer WHERE state = 'completed')",
        "UPDATE transfers_transfer SET approval_of = 'send' WHERE id = %(pending)s",
        "UPDATE transfers_transfer SET approved_by_id = %(alice)s WHERE id = %(pending)s",
    ),
    (
        "the counts of lists agree with the transfers and trusts",
        "UPDATE transfers_listtally SET own = own + 1 WHERE wallet_id = %(bob)s",
        "UPDATE transfers_listtally SET visible = visible - 1 WHERE wallet_id = %(alice)s",
        "UPDATE transfers_listtally SET managed = managed - 1 WHERE wallet_id = %(alice)s",
        "DELETE FROM transfers_listtally WHERE wallet_id = %(alice)s",
        "UPDATE transfers_listmark SET number = 0",
        "DELETE FROM trusts_trust",
        "UPDATE transfers_transfer SET created_at = created_at - interval '1 hour' WHERE id = %(cancelled)s",
    ),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted[0])
def test_the_audit_finds_what_was_planted(books: Any, planted: Any) -> None:
    check, *statements = planted
    # Triggers sleep in this transaction, as they would for a careless superuser.
    execute("SET LOCAL session_replication_role = replica")
    unseen = []
    for statement in statements:
        point = connection.savepoint()
        execute(statement, **books)
        if check not in {finding.check for finding in audit.audit_findings()}:
            unseen.append(statement)
        connection.savepoint_rollback(point)

    assert unseen == []
    assert_sound()


def test_a_transfer_does_not_take_from_another_wallet_what_it_reserved(
    books: Any, bob: Caller, sapling: Wallet
) -> None:
    """Whatever put the token there: it is not the token of who sent it."""
    execute("SET LOCAL session_replication_role = replica")
    execute(
        "UPDATE wallets_token SET wallet_id = %(sapling)s WHERE transfer_pending_id = %(pending)s",
        **books, sapling=sapling.pk,
    )  # fmt: skip
    execute("SET LOCAL session_replication_role = origin")
    before = held_by(bob.wallet), held_by(sapling)

    with pytest.raises(AssertionError, match="does not hold what it reserved"):
        operations.accept(actor=bob.wallet, transfer_id=books["pending"])

    assert (held_by(bob.wallet), held_by(sapling)) == before
    assert Transfer.objects.get(pk=books["pending"]).state == "pending"


def test_the_audit_gives_the_sweep_a_quarter_of_an_hour(books: Any) -> None:
    execute("SET LOCAL session_replication_role = replica")
    execute(
        "UPDATE transfers_transfer SET expires_at = now() - interval '14 minutes' WHERE id = %(pending)s"
        " OR id = %(completed)s",
        **books,
    )
    execute("UPDATE transfers_transfer SET expires_at = now() - interval '1 day' WHERE id = %(completed)s", **books)
    assert_sound()


def test_every_check_of_the_audit_is_planted() -> None:
    assert {check for check, *_ in PLANTED} == set(audit.CHECKS)


@pytest.mark.django_db(transaction=True)
def test_the_audit_command_says_that_all_is_well_and_fails_when_it_is_not(
    alice: Caller, sapling: Wallet, capsys: pytest.CaptureFixture[str]
) -> None:
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=2)

    call_command("audit")
    assert capsys.readouterr().out == "Nothing was lost or doubled.\n"

    moved = Movement.objects.filter(number=1).first()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE wallets_token SET wallet_id = %s WHERE id = %s", [alice.wallet.pk, moved.token_id])
        cursor.execute("SET session_replication_role = origin")
    with pytest.raises(CommandError, match="3 findings"):
        call_command("audit")
    assert "a token is where its last movement put it" in capsys.readouterr().err
