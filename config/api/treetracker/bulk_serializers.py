"""Request and response bodies of batches: the fields and the CSV file of a multipart form."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict

from config.api.error_schemas import ROW_PROBLEM
from config.api.errors import Invalid
from config.api.json_schemas import Named, Sometimes
from config.api.openapi import Form
from config.api.validation import Field, Flag, Number, Shape, Text, shortened
from transfers import bulk, errors, tables
from transfers.models import LONGEST_REFERENCE

MAXIMUM_ROWS: Final = 10_000
_URL: Final = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)

# 0 is none, also where the default is not.
_AMOUNT: Final = Number(minimum=0, from_text=True, required=False)
FORM: Final = Shape({"sender_wallet": Text(), "token_transfer_amount_default": _AMOUNT})
CREATION_FORM: Final = Shape({"sender_wallet": Text(required=False), "token_transfer_amount_default": _AMOUNT})

_CREATED_AND_SENT: Final[Mapping[str, Field]] = {"wallet_name": Text(), "token_transfer_amount_overwrite": _AMOUNT}
_COLUMNS: Final[Mapping[str, Field]] = {
    **_CREATED_AND_SENT,
    "reference": Text(maximum=LONGEST_REFERENCE, required=False),
}
_CREATION_COLUMNS: Final[Mapping[str, Field]] = {
    **_CREATED_AND_SENT,
    "extra_wallet_data_about": Text(required=False),
    "extra_wallet_data_logo_url": Text(maximum=2048, required=False),
    "extra_wallet_data_cover_url": Text(maximum=2048, required=False),
}

CREATION_QUERY: Final = {"dry_run": Flag(from_text=True, required=False)}

CREATED: Final = Named(
    "BatchCreated",
    "What became of the rows of a file of wallets.",
    {
        "wallets_created": 2,
        "wallets_already_exists": ["The wallet 'sapling' already exists"],
        "wallet_other_failure_count": 1,
        "extra_wallet_information_saved": 0,
        "extraWalletInformationNotSaved": Sometimes([]),
        "extra_wallet_information_not_saved": Sometimes([]),
        "rows": Sometimes([ROW_PROBLEM]),
        "dry_run": Sometimes(True),
    },
    words={
        "wallets_created": "The number of wallets that were created.",
        "wallets_already_exists": "A sentence for each row whose wallet exists. The row was skipped.",
        "wallet_other_failure_count": "The number of other rows that were skipped.",
        "extra_wallet_information_saved": "The number of new wallets with an image.",
        "extraWalletInformationNotSaved": "Always empty. Absent below `/wallet/v2`.",
        "extra_wallet_information_not_saved": "Always empty. Below `/wallet/v2` alone.",
        "rows": "The rows of `wallet_other_failure_count`; absent if there are none.",
        "dry_run": "True if nothing was done; otherwise absent.",
    },
)
TRANSFERRED: Final = {"message": "batch transfer successfull"}
BATCH_TRANSFERRED: Final = Named(
    "BatchTransferred",
    "All rows of a file of transfers had their effect.",
    TRANSFERRED,
    words={"message": "A sentence that says so."},
)
_SENDER: Final = "The name or the id of the wallet whose tokens are sent"
_DEFAULT: Final = "The number of tokens for rows without `token_transfer_amount_overwrite`. 0, and none sent, is none."
_CSV: Final = (
    f"A CSV file with up to {MAXIMUM_ROWS:,} rows, in UTF-8 or UTF-16, separated by commas, semicolons or tabs."
    " Its header names the columns: "
)
CREATION_BODY: Final = Form(
    fields=Named(
        "BatchCreation",
        "A file of wallets to be created.",
        CREATION_FORM,
        words={
            "sender_wallet": f"{_SENDER}; required if any are.",
            "token_transfer_amount_default": _DEFAULT,
        },
    ),
    file="csv",
    file_words=_CSV + ", ".join(f"`{name}`" for name in _CREATION_COLUMNS) + ". All but the first may be absent.",
)
TRANSFER_BODY: Final = Form(
    fields=Named(
        "BatchTransfer",
        "A file of transfers.",
        FORM,
        words={"sender_wallet": f"{_SENDER}.", "token_transfer_amount_default": _DEFAULT},
    ),
    file="csv",
    file_words=_CSV + ", ".join(f"`{name}`" for name in _COLUMNS) + ". All but the first may be absent.",
)


class Batch(NamedTuple):
    """The parsed form of a batch; names are as the client sent them."""

    sender: str | None
    default_amount: int | None
    rows: list[bulk.Row]


def read_transfers(form: QueryDict) -> Batch:
    """Read the form of `POST /wallets/batch-transfer`."""
    return _read(form, FORM, _COLUMNS)


def read_creation(form: QueryDict) -> Batch:
    """Read the form of `POST /wallets/batch-create-wallet`."""
    batch = _read(form, CREATION_FORM, _CREATION_COLUMNS)
    if batch.default_amount is not None and batch.sender is None:
        raise Invalid('"token_transfer_amount_default" missing required peer "sender_wallet"')
    return batch


def read_creation_query(query: QueryDict) -> bool:
    """Return whether the request asks for a dry run."""
    return bool(Shape(CREATION_QUERY).read_query(query).get("dry_run", False))


def created(result: bulk.Created, *, is_dry_run: bool) -> dict[str, Any]:
    """
    Write the answer of `POST /wallets/batch-create-wallet`. It has `rows` if rows failed, and `dry_run` if it is one.
    """
    answer: dict[str, Any] = {
        "wallets_created": result.wallets,
        "wallets_already_exists": [str(error) for error in result.existing],
        "wallet_other_failure_count": len(result.failures),
        "extra_wallet_information_saved": result.pictured,
        "extraWalletInformationNotSaved": [],
    }
    if result.failures:
        answer["rows"] = errors.rows(result.failures)
    if is_dry_run:
        answer["dry_run"] = True
    return answer


def _read(form: QueryDict, shape: Shape, columns: Mapping[str, Field]) -> Batch:
    fields: dict[str, Any] = {name: values[0] if len(values) == 1 else values for name, values in form.lists()}
    file = fields.pop("csv", None)
    values = shape.read_body(fields)
    if not isinstance(file, UploadedFile):
        raise Invalid('"csv" is required' if file is None else '"csv" must be one file')
    return Batch(values.get("sender_wallet"), values.get("token_transfer_amount_default"), _rows(file, columns))


def _records(file: "UploadedFile[bytes]") -> Iterator[tables.Record]:
    try:
        yield from tables.records(file.read())
    except tables.NotATable:
        raise Invalid("Only csv files are supported") from None
    except tables.Unreadable as error:
        raise Invalid(f'"csv" {error}') from None


def _rows(file: "UploadedFile[bytes]", columns: Mapping[str, Field]) -> list[bulk.Row]:
    records = _records(file)
    header_line, header = next(records, (1, []))
    for number, name in enumerate(header, start=1):
        # Spreadsheets also write unnamed, empty columns; a value in one is refused in `_row`.
        if name and name not in columns:
            raise Invalid(f'"[0].{shortened(name)}" is not allowed: line {header_line}, column {number}')
        if name and header.index(name) < number - 1:
            raise Invalid(f'"csv" has the column {name} twice: line {header_line}, column {number}')
    if "wallet_name" not in header:
        raise Invalid(f'"[0].wallet_name" is required: line {header_line}')
    rows = []
    for index, (line, cells) in enumerate(records):
        if index == MAXIMUM_ROWS:
            raise Invalid(f'"value" must contain less than or equal to {MAXIMUM_ROWS} items')
        rows.append(_row(index, line, header, cells, columns))
    if not rows:
        raise Invalid('"value" must contain at least 1 items')
    return rows


def _row(index: int, line: int, header: Sequence[str], cells: Sequence[str], columns: Mapping[str, Field]) -> bulk.Row:
    """Read one row. Its problem is stored in it, so that one refusal can list all invalid rows."""
    given = {name: cell for name, cell in zip(header, cells, strict=False) if name}
    values: dict[str, Any] = {}
    problem, column = None, ""
    try:
        for number, cell in enumerate(cells, start=1):
            if cell and (number > len(header) or not header[number - 1]):
                column = f"column {number}"
                raise Invalid(f'"[{index}]" has a cell in column {number}, which has no name in the header')
        for name, field in columns.items():
            column = name
            path = f"[{index}].{name}"
            if given.get(name) or field.required:
                values[name] = field.read(path, given.get(name, ""))
                if name.endswith("_url") and not _URL.fullmatch(values[name]):
                    raise Invalid(f'"{path}" must be a valid uri')
    except Invalid as error:
        problem = errors.RowInvalid(error.message, column=column)
    return bulk.Row(
        line=line,
        wallet_name=given.get("wallet_name", ""),
        amount=values.get("token_transfer_amount_overwrite"),
        about=values.get("extra_wallet_data_about", ""),
        logo_url=values.get("extra_wallet_data_logo_url", ""),
        cover_url=values.get("extra_wallet_data_cover_url", ""),
        reference=values.get("reference", ""),
        problem=problem,
    )
