"""Tables as programs write them: each encoding, separator and line end, at each door."""

import itertools
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command

from config.admin.actions.transfers import IssueForm
from tests.api.caller import logged_in
from tests.support.multipart import CREATE, TRANSFER, upload
from transfers import operations as transfers
from transfers import tables
from wallets import operations
from wallets.models import Token, Wallet

ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-le with a mark": lambda text: ("\ufeff" + text).encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "utf-16-be with a mark": lambda text: ("\ufeff" + text).encode("utf-16-be"),
}
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
LINE_ENDS = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}
SHAPES = {
    "plain": lambda lines, separator: lines,
    "sep": lambda lines, separator: [f"sep={separator}", *lines],
    "quoted sep": lambda lines, separator: [f'"sep={separator}"', *lines],
    "empty columns and lines": lambda lines, separator: [
        *(line + separator * 3 for line in lines), separator * 4, "", "",
    ],
    "quoted": lambda lines, separator: [
        separator.join(f'"{cell}"' for cell in line.split(separator)) for line in lines
    ],
}  # fmt: skip
KINDS = list(itertools.product(ENCODINGS, SEPARATORS, LINE_ENDS, SHAPES))
MEDIA_TYPES = ["text/csv", None, "application/octet-stream", "text/plain", "application/vnd.ms-excel"]


def table(rows: Any, encoding: Any, separator: Any, line_end: Any, shape: Any) -> Any:
    lines = SHAPES[shape]([SEPARATORS[separator].join(cells) for cells in rows], SEPARATORS[separator])
    return ENCODINGS[encoding](LINE_ENDS[line_end].join(lines) + LINE_ENDS[line_end])


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_row_32_every_kind_of_table_has_the_same_records(kind: Any) -> None:
    rows = [["wallet_name", "amount"], ["müller", "1"], ["木の財布", "2"]]

    read = list(tables.records(table(rows, *kind)))

    assert [[cell for cell in record.cells if cell] for record in read] == rows
    first = 2 if "sep" in kind[3] else 1
    assert [record.line for record in read] == [first, first + 1, first + 2]


@pytest.fixture
def alice(db: None) -> Any:
    caller = logged_in("alice", operations.create_api_key(name="partner")[1])
    transfers.issue_tokens(wallet=caller.wallet, count=len(MEDIA_TYPES))
    return caller


def test_row_32_both_batches_take_every_kind_of_every_media_type(alice: Any) -> None:
    names = []
    # Every seventh reaches each encoding, separator, line end and shape; the types go round.
    for number, (kind, media_type) in enumerate(zip(KINDS[::7], itertools.cycle(MEDIA_TYPES), strict=False)):
        name = f"müller{number}"
        names.append(name)
        rows = [["wallet_name", "extra_wallet_data_about"], [name, "grün"]]
        assert upload(alice, CREATE, table(rows, *kind), kind=media_type).status_code == 200, (kind, media_type)
    assert set(Wallet.objects.exclude(name="alice").values_list("name", "about")) == {(name, "grün") for name in names}

    for number, media_type in enumerate(MEDIA_TYPES):
        kind = KINDS[number * 53]
        rows = [["wallet_name", "token_transfer_amount_overwrite"], [names[number], "1"]]
        assert upload(alice, TRANSFER, table(rows, *kind), kind=media_type, sender_wallet="alice").status_code == 200
    assert not alice.wallet.tokens.exists()


@pytest.mark.parametrize("kind", KINDS[::7], ids=" ".join)
def test_captures_come_in_every_kind_by_command_and_at_the_desk(db: None, tmp_path: Path, kind: Any) -> None:
    captures = [str(uuid4()), str(uuid4())]
    content = table([["name", "capture_id"], *(["müller", capture] for capture in captures)], *kind)
    operations.create_wallet(name="alice")
    path = tmp_path / "captures"
    path.write_bytes(content)

    form = IssueForm({"reason": "a test"}, {"file": SimpleUploadedFile("x", content, content_type="image/png")})
    call_command("issue_tokens", wallet="alice", csv=path)

    assert form.is_valid(), form.errors
    assert form.cleaned_data["captures"].split() == captures
    assert [str(token.capture_id) for token in Token.objects.order_by("arrival")] == captures


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\xff\xfe", b",,\n", b" \t \r\n", b"sep=;"])
def test_an_empty_table_has_no_records(content: bytes) -> None:
    assert list(tables.records(content)) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\0", b"\0\0", b"\xff", b"\xff\xfea", b"\xfe\xff\xd8", b"a\0\0", b'"' * 9, b'"a\n', b'"a"b', b"\x1f\x8b",
        b"a\n" + b"x" * 200_000, b'a\n"' + b"x" * 200_000, b"sep=\n", b"\xff" + b"," * 200_000, b"\0a\0",
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(content: Any) -> None:
    with pytest.raises(tables.Unreadable):
        list(tables.records(content))


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('"name"x,amount\n', 1, 1),
        ('name,"amount"x\n', 1, 2),
        ('"na\nme",amount\nbobby,"1"2\n', 3, 2),
        ('\n"name"x\n', 2, 1),
        ('sep=;\n"name"x;amount\n', 2, 1),
        ('name,amount\n"bob""by",1\nanna,"2', 3, 2),
        ('name,amount\nbobby,1\n"an\nna"x,2\n', 4, 1),
    ],
)
def test_the_cell_that_makes_a_table_malformed_is_named(text: str, line: int, column: int) -> None:
    with pytest.raises(tables.Unreadable, match=f"is malformed at line {line}, column {column}: "):
        list(tables.records(text.encode()))
