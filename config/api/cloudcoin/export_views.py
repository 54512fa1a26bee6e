"""Exports of coins to files."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import pagination
from config.api.authentication import caller
from config.api.cloudcoin import examples, task_serializers
from config.api.cloudcoin.base import (
    COIN_ERRORS,
    DEFAULT_LIMIT,
    PAGE,
    TOO_MANY_TASKS,
    WALLET_ERRORS,
    LockersViewSet,
    describe,
    list_position,
)
from config.api.cloudcoin.fields import NAME, TAG, Amount, coins, seconds
from config.api.errors import Invalid
from config.api.validation import Flag, Guid, Shape, Text
from lockers import errors, queries
from lockers.operations import export
from lockers.queries import ExportView
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
        "Export coins to a file",
        body=EXPORT,
        body_examples={
            "Amount": {"name": "alice", "amount": 20, "type": "bin", "tag": "backup"},
            "Everything": {"name": "alice", "all": True, "type": "stack"},
        },
        answer=examples.EXPORTED,
        refusals=[*WALLET_ERRORS, *COIN_ERRORS, Invalid('Either "amount" is required, or "all" must be true')],
        tag="coins",
    )
    def create(self, request: Request) -> Response:
        values = EXPORT.read_body(request.data)
        begun = export.start(
            actor=caller(request),
            name=values["name"],
            units=amount_or_all(values),
            file_type=FileType(values["type"]),
            tag=values.get("tag", ""),
        )
        return Response(task_serializers.done(begun))

    @describe("List exports", answer={"exports": [examples.EXPORT]}, query=PAGE, tag="coins")
    def list(self, request: Request) -> Response:
        page = pagination.read(request, scope="exports", default_limit=DEFAULT_LIMIT)
        rows = queries.exports_page(
            actor=caller(request), limit=page.fetch, offset=page.offset, after=list_position(page.position)
        )
        return page.response(
            "exports",
            rows,
            write=export_body,
            position=lambda row: [row.export.created_at.isoformat(), str(row.export.pk)],
        )

    @describe(
        "Show an export", answer=examples.EXPORT, path=_EXPORT_PATH, refusals=[errors.ExportNotFound()], tag="coins"
    )
    def retrieve(self, request: Request, export_id: str) -> Response:
        return Response(export_body(queries.export_visible_to(actor=caller(request), export_id=_export_id(export_id))))

    @describe(
        "Fetch the file of an export",
        answer=None,
        answer_files=sorted(set(_MEDIA_TYPES.values())),
        path=_EXPORT_PATH,
        refusals=[errors.ExportNotFound(), errors.ExportConfirmed(), errors.ExportReturned()],
        tag="coins",
    )
    def file(self, request: Request, export_id: str) -> HttpResponse:
        made = export.fetch(actor=caller(request), export_id=_export_id(export_id))
        return HttpResponse(
            made.content,
            content_type=_MEDIA_TYPES[made.type],
            headers={"Content-Disposition": content_disposition_header(True, made.name) or "attachment"},
        )

    @describe(
        "Confirm that the file of an export arrived",
        answer=examples.EXPORT,
        path=_EXPORT_PATH,
        refusals=[errors.ExportNotFound()],
        is_idempotent=True,
        tag="coins",
    )
    def confirm(self, request: Request, export_id: str) -> Response:
        return Response(export_body(export.confirm(actor=caller(request), export_id=_export_id(export_id))))

    @describe(
        "Take the coins of an export back",
        answer=examples.IMPORT_STARTED,
        path=_EXPORT_PATH,
        refusals=[errors.ExportNotFound(), errors.ExportReturned(), TOO_MANY_TASKS],
        is_idempotent=True,
        tag="coins",
    )
    def recall(self, request: Request, export_id: str) -> Response:
        begun = export.recall(actor=caller(request), export_id=_export_id(export_id))
        return Response(task_serializers.started(begun))


def _export_id(text: str) -> UUID:
    parsed: UUID | None = names.parse_uuid(text)
    if parsed is None:
        raise errors.ExportNotFound
    return parsed
