"""`manage.py issue_tokens`."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from tests.transfers.books import assert_sound
from transfers import ledger
from transfers import operations as transfers
from transfers.errors import CaptureAlreadyIssued
from transfers.models import Issue
from wallets import operations
from wallets.models import Token

pytestmark = pytest.mark.django_db


@pytest.fixture
def wallet() -> Any:
    return operations.create_wallet(name="alice")


def test_a_number_of_tokens_is_issued(wallet: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("issue_tokens", wallet="alice", count=3)

    assert capsys.readouterr().out == "3 tokens issued to alice.\n"
    assert Token.objects.filter(wallet=wallet, moves=0).count() == 3
    assert_sound()


@pytest.mark.parametrize(
    "text",
    [
        "capture_id\n{}\n{}\n",
        "{}\n\n{}",
        "name,capture_id\na,{}\nb,{}\n",
        "\ufeffcapture_id\r\n{}\r\n{}",
        "{},a\n{},b\n",
    ],
)
def test_a_token_is_issued_for_each_capture_of_a_file_in_its_order(wallet: Any, tmp_path: Path, text: str) -> None:
    captures = [uuid4(), uuid4()]
    path = tmp_path / "captures.csv"
    path.write_text(text.format(*captures), encoding="utf-8", newline="")

    call_command("issue_tokens", wallet=str(wallet.pk), csv=path)

    assert list(Token.objects.order_by("arrival").values_list("capture_id", flat=True)) == captures
    assert_sound()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("has_ids", [True, False])
def test_an_issue_of_several_statements_is_one(
    wallet: Any, count: int, has_ids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "ISSUED_AT_ONCE", 2)
    captures, ids = [uuid4() for _ in range(count)], [uuid4() for _ in range(count)]

    issued = transfers.issue_tokens(wallet=wallet, capture_ids=captures, token_ids=ids if has_ids else None)

    found = list(Token.objects.order_by("arrival").values_list("capture_id", "id"))
    assert issued == count
    assert [capture for capture, _ in found] == captures
    assert not has_ids or [token for _, token in found] == ids
    # All or none, whichever statement finds a capture that has a token.
    others = [*(uuid4() for _ in range(count)), captures[0]]
    with pytest.raises(CaptureAlreadyIssued):
        transfers.issue_tokens(wallet=wallet, capture_ids=others)
    assert Token.objects.count() == count
    assert_sound()


def test_nothing_is_noted_of_an_issue_without_tokens(wallet: Any) -> None:
    captures = [uuid4(), uuid4()]
    assert [ledger.issue(wallet_id=wallet.pk, capture_ids=captures, token_ids=None) for _ in range(2)] == [2, 0]

    assert list(Issue.objects.values_list("wallet_id", "tokens")) == [(wallet.pk, 2)]


@pytest.mark.parametrize("second", ["the same", "issued before"])
def test_a_capture_is_issued_once_and_a_refused_file_issues_nothing(wallet: Any, tmp_path: Path, second: str) -> None:
    first = uuid4()
    path = tmp_path / "captures.csv"
    if second == "issued before":
        path.write_text(str(first))
        call_command("issue_tokens", wallet="alice", csv=path)
    before = Token.objects.count()
    path.write_text("\n".join(map(str, [uuid4(), first, first][: 2 if before else 3])))

    with pytest.raises(CommandError, match="1 of the captures have a token already or are listed twice"):
        call_command("issue_tokens", wallet="alice", csv=path)
    assert Token.objects.count() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("capture_id\nabc\n", "Line 2, column 1 has no capture id"),
        ("{}\n5\n", "Line 2, column 1 has no capture id"),
        ("name,capture_id\nonly\n", "Line 2, column 2 has no capture id"),
        ("", "holds no capture id"),
        ("capture_id\n", "holds no capture id"),
    ],
)
def test_a_file_that_is_no_list_of_captures_is_refused_with_its_line(
    wallet: Any, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "captures.csv"
    path.write_text(text.format(UUID(int=1)))

    with pytest.raises(CommandError, match=message):
        call_command("issue_tokens", wallet="alice", csv=path)
    assert not Token.objects.exists()


def test_a_missing_file_an_unknown_wallet_and_no_number_are_refused(wallet: Any, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("issue_tokens", wallet="alice", csv=tmp_path / "nothing.csv")
    with pytest.raises(CommandError, match="Could not find entity by wallet name: nobody"):
        call_command("issue_tokens", wallet="nobody", count=1)
    with pytest.raises(CommandError, match="at least 1"):
        call_command("issue_tokens", wallet="alice", count=0)
    assert not Token.objects.exists()
