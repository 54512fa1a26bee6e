"""Exports of coins to files."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request

from config.api import pagination
from config.api.authentication import caller
from config.api.cloudcoin import examples, task_examples, task_serializers
from config.api.cloudcoin.base import (
    COIN_ERRORS,
    DEFAULT_LIMIT,
    PAGE,
    TOO_MANY_TASKS,
    WALLET_ERRORS,
    LockersViewSet,
    describe,
)
from config.api.cloudcoin.fields import AMOUNT_WORDS, NAME, NAME_WORDS, TAG, TAG_WORDS, Amount, seconds
from config.api.errors import Invalid
from config.api.json_schemas import Named
from config.api.openapi import Files, Takes
from config.api.renderers import Response
from config.api.validation import Flag, Guid, Shape, Text
from lockers import errors, export_queries
from lockers.export_queries import ExportView
from lockers.operations import export
from lockers.raida.coins import json_amount as coins
from lockers.states import FileType
from wallets import names

EXPORT: Final = Shape(
    {
        "name": NAME,
        "amount": Amount(required=False),
        "all": Flag(required=False),
        "tag": TAG,
        "type": Text(choices=tuple(FileType)),
    }
)
_EXPORT_BODY: Final = Named(
    "NewExport",
    "Coins to be exported: either an `amount`, or all.",
    EXPORT,
    words={
        "name": NAME_WORDS,
        "amount": AMOUNT_WORDS,
        "all": "True for all coins that can be spent.",
        "tag": TAG_WORDS,
        "type": "The type of the file.",
    },
)


def amount_or_all(values: Mapping[str, Any]) -> int | None:
    """
    Return the units to export, or None for all.

    :raises Invalid: neither or both are asked for
    """
    if ("amount" in values) == values.get("all", False):
        raise Invalid('Either "amount" is required, or "all" must be true')
    return values.get("amount")


def export_body(each: ExportView) -> dict[str, Any]:
    row = each.export
    return {
        "id": str(row.pk),
        "wallet": row.wallet.name,
        "type": row.type,
        "file": row.file_name,
        "tag": row.task.tag,
        "amount": coins(row.task.amount or 0),
        "coins": row.coin_count,
        "remaining": coins(each.units),
        "fetched": row.fetched,
        "confirmed": seconds(row.confirmed_at),
        "created": seconds(row.created_at),
        "receipt_id": row.task.receipt_id,
    }


_EXPORT_PATH: Final = {"export_id": Guid()}
# A .stack is JSON, but no client should parse it as a response body.
_MEDIA_TYPES: Final = {
    FileType.BIN: "application/octet-stream",
    FileType.STACK: "application/octet-stream",
    FileType.PNG: "image/png",
    FileType.ZIP: "application/zip",
}


class ExportViewSet(LockersViewSet):
    """Exports of coins to files. The file is a separate GET, because the response to the POST may be lost."""

    begins_tasks = frozenset({"create", "file", "recall"})

    @describe(
        "exports.create",
        "Export coins to a file",
        answers=task_examples.EXPORTED,
        takes=Takes(
            body=_EXPORT_BODY,
            examples={
                "Amount": {"name": "alice", "amount": 20, "type": "bin", "tag": "backup"},
                "Everything": {"name": "alice", "all": True, "type": "stack"},
            },
        ),
        refusals=[*WALLET_ERRORS, *COIN_ERRORS, Invalid('Either "amount" is required, or "all" must be true')],
        tag="exports",
    )
    def create(self, request: Request) -> Response:
        """
        Exports coins of a wallet that the caller controls to a file. They leave its balance at once; the file is
        fetched with `GET /api/v1/exports/{export_id}/file`, where the export has the id of the task. If a larger coin
        must be broken first, the answer is `running`, and the task completes later.
        """
        values = EXPORT.read_body(request.data)
        begun = export.start(
            actor=caller(request),
            name=values["name"],
            units=amount_or_all(values),
            file_type=FileType(values["type"]),
            tag=values.get("tag", ""),
        )
        return Response(task_serializers.done(begun))

    @describe(
        "exports.list",
        "List exports",
        answers=examples.EXPORT_PAGE,
        takes=Takes(query=PAGE),
        tag="exports",
    )
    def list(self, request: Request) -> Response:
        """Lists the exports of the caller's wallet and of those that it manages, the newest first."""
        page = pagination.read(request, scope="exports", default_limit=DEFAULT_LIMIT)
        rows = export_queries.exports_page(
            actor=caller(request), limit=page.fetch, offset=page.offset, after=pagination.by_creation(page.position)
        )
        return page.response(
            "exports",
            rows,
            write=export_body,
            position=lambda row: [row.export.created_at, row.export.pk],
        )

    @describe(
        "exports.get",
        "Show an export",
        answers=examples.EXPORT,
        takes=Takes(path=_EXPORT_PATH),
        refusals=[errors.ExportNotFound()],
        tag="exports",
    )
    def retrieve(self, request: Request, export_id: str) -> Response:
        """Returns an export of a wallet that the caller controls."""
        return Response(
            export_body(export_queries.export_visible_to(actor=caller(request), export_id=_export_id(export_id)))
        )

    @describe(
        "exports.file",
        "Fetch the file of an export",
        answers=Files(sorted(set(_MEDIA_TYPES.values()))),
        takes=Takes(path=_EXPORT_PATH),
        refusals=[errors.ExportNotFound(), errors.ExportConfirmed(), errors.ExportReturned()],
        tag="exports",
    )
    def file(self, request: Request, export_id: str) -> HttpResponse:
        """
        Returns the file of an export of a wallet that the caller controls. Everyone who has it can import the coins. It
        can be fetched again until its arrival is confirmed (410), or some of its coins were recalled or imported here
        (409).
        """
        made = export.fetch(actor=caller(request), export_id=_export_id(export_id))
        return HttpResponse(
            made.content,
            content_type=_MEDIA_TYPES[made.type],
            headers={"Content-Disposition": content_disposition_header(True, made.name) or "attachment"},
        )

    @describe(
        "exports.confirm",
        "Confirm that the file of an export arrived",
        answers=examples.EXPORT,
        takes=Takes(path=_EXPORT_PATH, is_idempotent=True),
        refusals=[errors.ExportNotFound()],
        tag="exports",
    )
    def confirm(self, request: Request, export_id: str) -> Response:
        """
        Ends the fetching of the file of an export of a wallet that the caller controls. Confirmed again, nothing
        changes.
        """
        return Response(export_body(export.confirm(actor=caller(request), export_id=_export_id(export_id))))

    @describe(
        "exports.recall",
        "Take the coins of an export back",
        answers=task_examples.STARTED,
        takes=Takes(path=_EXPORT_PATH, is_idempotent=True),
        refusals=[errors.ExportNotFound(), errors.ExportReturned(), TOO_MANY_TASKS],
        tag="exports",
    )
    def recall(self, request: Request, export_id: str) -> Response:
        """
        Begins a task that imports the coins of an export of a wallet that the caller controls again, from the secrets
        that were kept; the file becomes worthless. Coins that another owner has imported stay theirs.
        """
        begun = export.recall(actor=caller(request), export_id=_export_id(export_id))
        return Response(task_serializers.started(begun))


def _export_id(text: str) -> UUID:
    parsed: UUID | None = names.parse_uuid(text)
    if parsed is None:
        raise errors.ExportNotFound
    return parsed
