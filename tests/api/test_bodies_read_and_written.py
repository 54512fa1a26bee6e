"""The bodies of requests as serializers read them, and of answers as they write them, called directly."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import QueryDict

from config.api import error_page
from config.api.error_codes import CODES
from config.api.errors import Invalid
from config.api.keys import serializers as key_serializers
from config.api.treetracker import (
    action_token_serializers,
    bulk_serializers,
    transfer_serializers,
    transfer_views,
    trust_serializers,
    wallet_serializers,
)
from config.api.webhooks import serializers as webhook_serializers
from transfers import bulk
from transfers.action_token_lists import ActionTokenRow
from transfers.bulk import Row

MOMENT, LATER = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
ONE, OTHER = UUID(int=1), UUID(int=2)


def refused(read: Callable[[], Any]) -> str:
    """Return why what is called refuses a value, or "" if it reads it."""
    with pytest.raises(Invalid) as refusal:
        read()
    return refusal.value.message


SHORT = '"x" length must be at least'
LONG = '"x" length must be less than or equal to'
DESCRIPTION = wallet_serializers.Description(minimum=2, maximum=4)
TRIMMED = wallet_serializers.TrimmedText(minimum=2, maximum=4)
NAME = wallet_serializers.NameOfV2()


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        (wallet_serializers.Password(), "p" * 32, "p" * 32),
        # What is read is what was sent, of which the composed form has the length.
        (wallet_serializers.Password(), "e\u0301" * 32, "e\u0301" * 32),
        (DESCRIPTION, None, ""), (DESCRIPTION, "", ""), (DESCRIPTION, "ab", "ab"),
        (TRIMMED, "  ab ", "ab"), (TRIMMED, " abcd ", "abcd"),
        (NAME, "abc", "abc"), (NAME, "A-Z.a@9", "A-Z.a@9"),
        (wallet_serializers.OldestOrNewest(), "created_at", "created_at"),
        (action_token_serializers.Email(), "ann@example.org", "ann@example.org"),
    ],
)  # fmt: skip
def test_what_a_field_reads(field: Any, value: Any, read: Any) -> None:
    assert field.read("x", value) == read


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (wallet_serializers.Password(), "p" * 33, f"{LONG} 32 characters long"),
        (wallet_serializers.Password(), "e\u0301" * 33, f"{LONG} 32 characters long"),
        (wallet_serializers.Password(), "", '"x" is not allowed to be empty'),
        (wallet_serializers.Password(), 1, '"x" must be a string'),
        (DESCRIPTION, "a", f"{SHORT} 2 characters long"), (DESCRIPTION, 1, '"x" must be a string'),
        (TRIMMED, " a ", f"{SHORT} 2 characters long"), (TRIMMED, "  ", '"x" is not allowed to be empty'),
        (TRIMMED, 1, '"x" must be a string'),
        (NAME, "ab", f"{SHORT} 3 characters long"),
        (NAME, "a_b", "x can only contain numbers, letters and the - . @ symbols"),
        (wallet_serializers.OldestOrNewest(), "name", '"x" must be [created_at]'),
        (action_token_serializers.Email(), "ann", '"x" must be a valid email'),
    ],
)  # fmt: skip
def test_what_a_field_refuses(field: Any, value: Any, message: str) -> None:
    assert refused(lambda: field.read("x", value)) == message


def test_a_wallet_form_has_texts_and_images_of_one_file_each() -> None:
    form = QueryDict(mutable=True)
    form.update({"display_name": " Ann ", "about": "the trees", "add_to_web_map": "true"})
    form["logo_image"] = cast("Any", SimpleUploadedFile("a.png", b"logo"))
    form["cover_image"] = cast("Any", SimpleUploadedFile("b.png", b"cover"))

    texts, images = wallet_serializers.read_wallet_form(form)

    assert texts == {"display_name": "Ann", "about": "the trees"}
    assert images == {"logo_url": b"logo", "cover_url": b"cover"}
    for name in ("logo_image", "cover_image"):
        assert refused(lambda name=name: wallet_serializers.read_wallet_form(QueryDict(f"{name}=text"))) == (
            f'"{name}" must be one file'
        )
    assert refused(lambda: wallet_serializers.read_wallet_form(QueryDict("about=trees&about=trees"))) == (
        '"about" must be a string'
    )
    assert wallet_serializers.read_wallet_form(QueryDict()) == ({}, {})


def test_a_link_that_must_match_an_address_has_one() -> None:
    for read in (
        lambda body: action_token_serializers.read_new({"bundle": {"bundle_size": 1}, **body}),
        lambda body: action_token_serializers.read_new({"tokens": [str(ONE)], **body}),
        lambda body: action_token_serializers.read_batch({"count": 1, "bundle": {"bundle_size": 1}, **body}),
    ):
        assert refused(lambda read=read: read({"email_must_match": True})) == '"recipient_email" is required'
        for body in ({}, {"email_must_match": False}, {"email_must_match": True, "recipient_email": "a@b.org"}):
            assert read(body).items() >= body.items()
    for value in ([], "text", None, 1):
        refused(lambda value=value: action_token_serializers.read_new(value))
        refused(lambda value=value: action_token_serializers.read_batch(value))
    batch: Any = {"count": 1, "bundle": {"bundle_size": 1}}
    assert action_token_serializers.read_batch(batch)["format"] == "csv"
    assert action_token_serializers.read_batch({**batch, "format": "pdf"})["format"] == "pdf"
    assert action_token_serializers.read_list(QueryDict()) == {"limit": 1000, "offset": 0}
    assert action_token_serializers.read_list(QueryDict("limit=2&offset=3&state=active")) == {
        "limit": 2, "offset": 3, "state": "active",
    }  # fmt: skip


def test_what_is_absent_of_a_link_is_null() -> None:
    row = ActionTokenRow(ONE, OTHER, "alice", "", False, "", 3, "active", MOMENT, MOMENT, None)
    full = row._replace(recipient_email="a@b.org", message="Hi", state="redeemed", closed_at=LATER)

    empty, whole, ended = (
        action_token_serializers.action_token(each) for each in (row, full, full._replace(state="expired"))
    )

    names = ("recipient_email", "message", "redeemed_at")
    assert [empty[name] for name in names] == [None, None, None]
    assert [whole[name] for name in names] == ["a@b.org", "Hi", "2031-01-01T00:00:00.000Z"]
    assert ended["redeemed_at"] is None
    assert (whole["id"], whole["sender_wallet_id"]) == (str(ONE), str(OTHER))


def test_what_is_absent_of_a_webhook_a_delivery_and_a_key_is_null() -> None:
    hook = cast(
        "Any",
        SimpleNamespace(
            pk=ONE, wallet_id=OTHER, wallet=SimpleNamespace(name="alice"), owner=SimpleNamespace(name="bob"), url="u",
            event_types=[], state="enabled", disabled_by="", disabled_at=None, failing_since=None, previous_until=None,
            created_at=MOMENT, changed_at=LATER,
        ),
    )  # fmt: skip
    written = webhook_serializers.webhook(hook)
    assert (written["wallet"], written["owner"], written["disabled_by"]) == ("alice", "bob", None)
    assert "secret" not in written
    hook.disabled_by = "gone"
    assert webhook_serializers.webhook(hook, secret="s") == written | {"disabled_by": "gone", "secret": "s"}

    for state, error, due, shown in [
        ("pending", "", LATER, (None, LATER)),
        ("failed", "timeout", LATER, ("timeout", None)),
        ("delivered", "", LATER, (None, None)),
    ]:
        row = cast(
            "Any",
            SimpleNamespace(
                pk=ONE, message_id=OTHER, message=SimpleNamespace(type="t"), state=state, attempt=2, status=500,
                error=error, response="r", milliseconds=7, sent_at=MOMENT, due_at=due, created_at=MOMENT,
            ),
        )  # fmt: skip
        body = webhook_serializers.delivery(row)
        assert (body["error"], body["next_attempt_at"]) == shown
        assert (body["last_attempt_at"], body["attempts"], body["status"]) == (MOMENT, 2, 500)

    key = cast("Any", SimpleNamespace(pk=ONE, wallet_ids=[OTHER], **dict.fromkeys(
        ("name", "prefix", "scopes", "networks", "tokens_per_transfer", "tokens_per_day", "created_at",
         "last_used_at", "expires_at", "ended_at"),
    )))  # fmt: skip
    assert "key" not in key_serializers.key(key)
    assert key_serializers.key(key, secret="s")["key"] == "s"
    assert key_serializers.key(key)["wallets"] == [OTHER]


def test_a_batch_is_a_dry_run_only_if_it_says_so() -> None:
    for query, is_dry_run in (("", False), ("dry_run=false", False), ("dry_run=TRUE", True)):
        assert bulk_serializers.read_creation_query(QueryDict(query)) is is_dry_run
    done = bulk.Created(2, 1, [], {})
    assert "dry_run" not in bulk_serializers.created(done, is_dry_run=False)
    assert "rows" not in bulk_serializers.created(done, is_dry_run=False)
    assert bulk_serializers.created(done, is_dry_run=True)["dry_run"] is True


TEN = "wallet_name,token_transfer_amount_overwrite\nann,10\n"


def batch(file: str | bytes | None, *, creates: bool = False, **fields: str) -> bulk_serializers.Batch:
    form = QueryDict(mutable=True)
    form.update(fields)
    if file is not None:
        content = file if isinstance(file, bytes) else file.encode()
        form["csv"] = cast("Any", SimpleUploadedFile("a.csv", content))
    return bulk_serializers.read_creation(form) if creates else bulk_serializers.read_transfers(form)


def test_what_a_batch_is_read_as() -> None:
    row = Row(line=2, wallet_name="ann", amount=10)
    assert batch(TEN, sender_wallet="alice") == ("alice", None, [row])
    assert batch(TEN, sender_wallet="alice", token_transfer_amount_default="3").default_amount == 3
    assert batch(TEN, creates=True) == (None, None, [row])
    both = batch(TEN, creates=True, sender_wallet="alice", token_transfer_amount_default="3")
    assert both == ("alice", 3, [row])
    # An empty cell and one without a column are absent; unnamed columns may be empty.
    [plain, named] = batch("wallet_name,,reference\nann,,\nbob,,r 1\n", sender_wallet="alice").rows
    assert (plain.amount, plain.reference, plain.problem) == (None, "", None)
    assert (named.wallet_name, named.reference, named.line) == ("bob", "r 1", 3)
    header = "wallet_name,extra_wallet_data_about,extra_wallet_data_logo_url,extra_wallet_data_cover_url\n"
    [made] = batch(header + "ann,trees,https://a.org/l,http://a.org/c\n", creates=True).rows
    assert (made.about, made.logo_url, made.cover_url) == ("trees", "https://a.org/l", "http://a.org/c")


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("ann,1,r,", None), ("ann,,,", None), (",1,r,", "wallet_name"), ("ann,x,r,", "token_transfer_amount_overwrite"),
        ("ann,-1,r,", "token_transfer_amount_overwrite"), ("ann,1," + "r" * 256 + ",", "reference"),
        ("ann,1,r,x", "column 4"), ("ann,1,r,,x", "column 5"),
    ],
)  # fmt: skip
def test_a_row_that_is_invalid_has_its_problem_and_others_do_not(line: str, column: str | None) -> None:
    header = "wallet_name,token_transfer_amount_overwrite,reference,\n"
    first, row, last = batch(f"{header}a,1,,\n{line}\nb,2,,\n", sender_wallet="alice").rows

    assert (first.problem, last.problem) == (None, None)
    assert row.line == 3
    assert (None if row.problem is None else cast("Any", row.problem).column) == column


@pytest.mark.parametrize(("url", "is_read"), [("https://a.org", True), ("ftp://a.org", False), ("https://", False)])
def test_a_url_of_a_row_is_one(url: str, is_read: bool) -> None:
    [row] = batch(f"wallet_name,extra_wallet_data_logo_url\nann,{url}\n", creates=True).rows

    assert (row.problem is None) is is_read
    assert row.logo_url == url


@pytest.mark.parametrize(
    ("file", "creates", "fields", "message"),
    [
        (None, False, {"sender_wallet": "alice"}, '"csv" is required'),
        (None, False, {"sender_wallet": "alice", "csv": "text"}, '"csv" must be one file'),
        (TEN, False, {}, '"sender_wallet" is required'),
        (TEN, True, {"token_transfer_amount_default": "0"},
         '"token_transfer_amount_default" missing required peer "sender_wallet"'),
        (b"\x00\x01\x02", False, {"sender_wallet": "alice"}, None),
        ("wallet_name\n", False, {"sender_wallet": "alice"}, '"value" must contain at least 1 items'),
        ("reference\nr\n", False, {"sender_wallet": "alice"}, '"[0].wallet_name" is required: line 1'),
        ("wallet_name,x\nann,1\n", False, {"sender_wallet": "alice"}, '"[0].x" is not allowed: line 1, column 2'),
        ("wallet_name,wallet_name\na,b\n", False, {"sender_wallet": "alice"},
         '"csv" has the column wallet_name twice: line 1, column 2'),
        # Each kind of batch has columns that the other has not.
        ("wallet_name,extra_wallet_data_about\nann,x\n", False, {"sender_wallet": "alice"},
         '"[0].extra_wallet_data_about" is not allowed: line 1, column 2'),
        ("wallet_name,reference\nann,x\n", True, {}, '"[0].reference" is not allowed: line 1, column 2'),
    ],
)  # fmt: skip
def test_a_batch_that_is_refused(file: Any, creates: bool, fields: dict[str, str], message: str | None) -> None:
    why = refused(lambda: batch(file, creates=creates, **fields))
    assert message is None or why == message


def test_a_batch_has_as_many_rows_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_serializers, "MAXIMUM_ROWS", 2)
    assert len(batch("wallet_name\na\nb\n", sender_wallet="alice").rows) == 2
    assert refused(lambda: batch("wallet_name\na\nb\nc\n", sender_wallet="alice")) == (
        '"value" must contain less than or equal to 2 items'
    )


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        (None, None),
        (datetime(2030, 2, 28, 13, 5, tzinfo=UTC), datetime(2030, 3, 1, tzinfo=UTC)),
        (datetime(2030, 12, 31, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)),
        (datetime(9999, 12, 30, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)),
        (datetime(9999, 11, 30, tzinfo=UTC), datetime(9999, 12, 1, tzinfo=UTC)),
        # The day after has no name.
        (datetime(9999, 12, 31, 23, tzinfo=UTC), None),
    ],
)
def test_a_list_before_a_day_ends_with_it(moment: datetime | None, end: datetime | None) -> None:
    assert transfer_views._end_of_day(moment) == end


def test_terms_are_read_if_there_are_any() -> None:
    assert transfer_serializers.terms({"sender_wallet": "alice"}) is None
    assert transfer_serializers.terms({"reference": "r"}) == ("r", False, None, None)
    assert transfer_serializers.terms({"reference": "r", "unique_reference": True}) == ("r", True, None, None)
    assert transfer_serializers.terms({"metadata": {}, "unique_reference": False}) == ("", False, {}, None)
    assert transfer_serializers.terms({"expires_at": MOMENT}) == ("", False, None, MOMENT)
    assert refused(lambda: transfer_serializers.terms({"unique_reference": True})) == (
        '"unique_reference" missing required peer "reference"'
    )


def test_the_filters_by_metadata_are_repeated_as_one_object() -> None:
    assert transfer_serializers.repeated({"limit": 1}) == {"limit": 1}
    assert transfer_serializers.repeated({"limit": 1, "metadata[a]": "b", "metadata[c]": ""}) == {
        "limit": 1, "metadata": {"a": "b", "c": ""},
    }  # fmt: skip
    many = {f"metadata[{number}]": "" for number in range(20)}
    assert len(transfer_serializers.metadata_in(many)) == 20
    assert refused(lambda: transfer_serializers.metadata_in(many | {"metadata[x]": ""})) == (
        '"metadata" must have less than or equal to 20 keys'
    )


def test_a_fulfilment_names_its_tokens_or_leaves_them_to_the_ledger() -> None:
    assert transfer_serializers.read_fulfillment({"implicit": True}) == {"implicit": True}
    assert transfer_serializers.read_fulfillment({"tokens": [str(ONE)]}) == {"tokens": [ONE]}
    assert refused(lambda: transfer_serializers.read_fulfillment({"implicit": False})) == '"implicit" must be [true]'
    for body in ({"implicit": True, "tokens": [str(ONE)]}, {}, [], None, "tokens", ["tokens"], 1):
        refused(lambda body=body: transfer_serializers.read_fulfillment(body))


def test_a_trust_that_was_never_built_cannot_be_asked_for() -> None:
    for asked in ("send", "receive", "manage", "yield", "deduct", "release"):
        body = {"trust_request_type": asked, "requestee_wallet": "bob"}
        if asked in {"deduct", "release"}:
            assert refused(lambda body=body: trust_serializers.read_new_trust(body)) == (
                f'"trust_request_type" {asked} is not supported, use manage or yield'
            )
        else:
            assert trust_serializers.read_new_trust(body)["trust_request_type"] == asked


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wallet_not_found", "404"),
        ("csrf_failed", ""),
        ("bearer_token_missing", "403; below /wallet/v2/ and /api/ 401"),
        ("batch_access_denied", "403; below /wallet/v2/ 401"),
        ("not_enough_tokens", "403; below /wallet/v2/ 409"),
        ("wallet_not_controlled", "403; below /wallet/v2/ 403 or 422"),
        ("batch_rows_refused", "422, 400, 403 or 404"),
        ("locker_not_filled", "409"),
    ],
)
def test_the_statuses_of_a_code_in_words(name: str, words: str) -> None:
    assert error_page._statuses(CODES[name]) == words
