"""Statements of requests with a restricted key: those of an unknown form are refused, not executed as they are."""

import re
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from config.environment import ROOT
from transfers import counters, list_pages
from trusts import restricted_sql
from trusts.controlled_wallets import WalletSelection
from trusts.queries import CONTROLLED, CONTROLLED_BY_ACTOR, IS_VISIBLE, controls_one_of
from trusts.restricted_sql import NotNarrowed
from wallets import restrictions
from wallets.queries import ME
from wallets.restrictions import Restriction
from wallets.sql_files import load

MAKER, REACHED = UUID(int=1), UUID(int=2)
# One statement of each form in which the actor counts as controlled.
OWN = {
    "one of": f"SELECT FROM wallets_token AS token WHERE {controls_one_of('token.wallet_id')}",
    "visible trust": f"SELECT FROM trusts_trust AS trust WHERE {IS_VISIBLE}",
    "controlled": CONTROLLED_BY_ACTOR,
    "in order": load(
        "trusts", "parts/controlled_in_order", key="name", managed="", own="true", direction="", order="id"
    ),
    "count": load("trusts", "parts/controlled_count", managed="", own="true"),
    "decision": load(
        "transfers",
        "decide_batch",
        decisions=load("transfers", "parts/decision", columns="line, destination_id", completed="completed"),
    ),
}


def sent(sql: str, *, restricted: bool = True) -> list[str]:
    """The texts that reach the database."""
    found: list[str] = []

    def execute(text: str, *_: Any) -> None:
        found.append(text)

    with restrictions.may_be_imposed():
        if restricted:
            restrictions.impose(Restriction(UUID(int=9), MAKER, frozenset(), frozenset({REACHED}), (), None, None))
        restricted_sql.narrowed(execute, sql, {"actor": MAKER}, False, {})
    return found


def test_a_key_limits_what_its_owner_controls_and_no_other_wallet() -> None:
    def reached(actor: UUID) -> list[bool]:
        return [restrictions.reaches(actor_id=actor, wallet_id=wallet) for wallet in (MAKER, REACHED, UUID(int=3))]

    assert reached(MAKER) == [True, True, True]
    with restrictions.may_be_imposed():
        restrictions.impose(Restriction(UUID(int=9), MAKER, frozenset(), frozenset({REACHED}), (), None, None))
        assert reached(MAKER) == [False, True, False]
        # Whether the wallet that asked for something controls it still, for example.
        assert reached(REACHED) == reached(UUID(int=3)) == [True, True, True]
    assert reached(MAKER) == [True, True, True]


@pytest.mark.parametrize("name", OWN)
def test_where_the_actor_counts_as_controlled_the_key_must_reach_it(name: str) -> None:
    [text] = sent(OWN[name])

    assert "%(restricted_own)s" in text
    assert text.count("(SELECT * FROM trusts_power AS reached") == len(re.findall(r"\btrusts_power\b", OWN[name]))


def variants(sql: str) -> list[str]:
    """The statement as someone may write it anew with the same meaning, so that its text is another."""
    return [
        each
        for each in (
            sql.replace("FROM me", "FROM  me"),
            sql.replace("FROM me", "FROM me AS mine"),
            sql.replace("JOIN me", "JOIN\n me"),
            sql.replace("id IS NOT NULL", "NOT id IS NULL"),
            sql.replace("(%(actor)s::uuid = ANY (", "(%(actor)s::uuid = ANY("),
            sql.replace("(%(actor)s::uuid = ANY (", "( %(actor)s::uuid = ANY ("),
            sql.replace("(%(actor)s::uuid = ANY (", "(%(actor)s = ANY ("),
            sql.replace("source_id = actor_id", "source_id=actor_id"),
            sql.replace("source_id = actor_id", "actor_id = source_id"),
            sql.replace("destination_id = actor_id", "parties.actor_id = destination_id"),
            sql.replace("destination_id = actor_id OR", "destination_id IN (actor_id)  OR"),
        )
        if each != sql
    ]


@pytest.mark.parametrize("name", OWN)
def test_the_same_statement_in_another_form_is_refused(name: str) -> None:
    refused = 0
    for other in variants(OWN[name]):
        try:
            [text] = sent(other)
        except NotNarrowed:
            refused += 1
        else:
            # Only white space elsewhere.
            assert text.split() == sent(OWN[name])[0].split()
        # Requests without a key are not concerned.
        assert sent(other, restricted=False) == [other]
    assert refused


@pytest.mark.parametrize(
    "sql",
    [
        f"WITH {ME} SELECT FROM wallets_token WHERE wallet_id IN (SELECT id FROM me)",
        f"WITH {ME}, mine AS ({CONTROLLED}) SELECT FROM wallets_token, me WHERE wallet_id = me.id",
        "SELECT FROM wallets_event WHERE wallet_id = %(actor)s",
        "SELECT FROM wallets_event WHERE wallet_id = ANY (ARRAY[%(actor)s::uuid])",
        f"SELECT FROM trusts_trust AS trust WHERE {IS_VISIBLE} OR trust.target_id = %(actor)s::uuid",
        # What is kept counts all that the actor manages.
        load("transfers", "parts/kept_controlled", counted="0"),
    ],
)
def test_a_new_statement_that_gives_the_actor_its_own_is_refused(sql: str) -> None:
    with pytest.raises(NotNarrowed):
        sent(sql)


def test_lists_with_kept_numbers_are_refused() -> None:
    listed = list_pages.List(list_pages.Order(), state="", is_of_actor=True, counts=True)
    with pytest.raises(NotNarrowed):
        sent(list_pages._page(listed, is_first=True, rows="SELECT FROM placed"))
    arguments = {"at_once": True, "is_first": True, "selection": WalletSelection(), "has_total": True}
    with pytest.raises(NotNarrowed):
        sent(counters._page(**arguments, has_more_fields=False, is_restricted=False))
    assert sent(counters._page(**arguments, has_more_fields=False, is_restricted=True))


@pytest.mark.parametrize("spelling", ["trusts_power", "TRUSTS_POWER", "public.trusts_power"])
def test_the_powers_are_narrowed_in_each_spelling(spelling: str) -> None:
    [text] = sent(f"SELECT FROM {spelling} WHERE holder_id = %(holder)s")

    # With the schema before it, it is no SQL.
    assert "(SELECT * FROM trusts_power AS reached" in text


@pytest.mark.django_db
def test_no_function_or_view_of_the_database_reads_powers_out_of_sight() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE prosrc ILIKE '%trusts_power%'"
            " UNION ALL SELECT viewname FROM pg_views WHERE definition ILIKE '%trusts_power%'"
        )
        assert cursor.fetchall() == []


def test_each_known_form_is_in_the_product() -> None:
    files = [
        path
        for app in ("wallets", "trusts", "transfers")
        for pattern in ("*.py", "sql/*.sql", "sql/parts/*.sql")
        for path in (ROOT / app).glob(pattern)
        if path.name != "restricted_sql.py"
    ]
    # An alias of the view is added to its text.
    product = " ".join(" ".join(path.read_text().split()) for path in files)
    for form in [*restricted_sql._OWN, *restricted_sql._KNOWN]:
        if "restricted_own" in form:
            continue
        as_written = form.replace("AS trusts_power WHERE", "trusts_power WHERE")
        assert as_written in product or as_written.replace("me.id", "{wallet}") in product, form
