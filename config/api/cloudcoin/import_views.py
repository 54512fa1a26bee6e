"""Imports of coins from files."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest, QueryDict
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import error_codes as codes
from config.api.authentication import caller
from config.api.cloudcoin import examples, task_serializers
from config.api.cloudcoin.base import TOO_MANY_TASKS, WALLET_ERRORS, LockersViewSet, describe
from config.api.cloudcoin.fields import NAME, TAG
from config.api.errors import Invalid, RequestRefused
from config.api.parsers import MAXIMUM_LIST_BYTES, StrictJSONParser
from config.api.validation import ListOf, Shape, Text
from lockers import errors
from lockers.operations import import_files

# Mail and the `base64` command break lines after 64 or 76 characters.
_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]+")
# The output of `FileReader.readAsDataURL` in a browser.
_DATA_URI: Final = re.compile(r"\Adata:[^,]{0,200};base64,", re.IGNORECASE)
IMPORT: Final = Shape(
    {
        "name": NAME,
        "items": ListOf(
            Shape(
                {
                    "type": Text(choices=("inline",), required=False),
                    "name": Text(maximum=255, required=False),
                    "data": Text(),
                }
            ),
            minimum=1,
            maximum=1000,
        ),
        "tag": TAG,
    }
)
IMPORT_FORM: Final = Shape({"name": NAME, "tag": TAG})


def inline_files(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, bytes]]:
    """
    Decode the items of an import: base64, with or without line breaks, or `data:` URIs (RFC 2397).

    :raises Invalid: an item is not base64
    """
    uploads = []
    for index, item in enumerate(items):
        text = _WHITE_SPACE.sub("", item["data"])
        try:
            content = base64.b64decode(_DATA_URI.sub("", text, count=1), validate=True)
        except (binascii.Error, ValueError):
            raise Invalid(f'"items[{index}].data" must be base64') from None
        uploads.append((item.get("name", f"items[{index}]"), content))
    return uploads


# A .bin with 20,000 coins and their proposed secrets has 16 MB.
_LARGEST_IMPORT: Final = 20 * 1024 * 1024


class _InMemory(MemoryFileUploadHandler):
    """Keeps uploads of any size in memory: coin files are secrets and must not be written to /tmp."""

    def handle_raw_input(self, *arguments: Any, **keywords: Any) -> None:
        self.activated = True


class ImportViewSet(LockersViewSet):
    """Imports of coin files, as a multipart form or as base64 in JSON."""

    begins_tasks = frozenset({"create"})
    parser_classes = [StrictJSONParser, MultiPartParser]
    maximum_bytes = MAXIMUM_LIST_BYTES

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        if int(request.META.get("CONTENT_LENGTH") or 0) <= _LARGEST_IMPORT:
            request.upload_handlers = [_InMemory(request)]
        return super().initialize_request(request, *args, **kwargs)

    @describe(
        "Import coin files",
        body=IMPORT,
        body_examples={
            "Request": {"name": "alice", "items": [{"type": "inline", "name": "coins.bin", "data": "CQE…"}]}
        },
        form=IMPORT_FORM,
        answer=examples.IMPORT_STARTED,
        refusals=[
            *WALLET_ERRORS,
            errors.NothingToImport("No coin was imported. The file is encrypted.", **examples.NOT_IMPORTED),
            errors.ImportUnderWay("No coin was imported. Another task of this wallet is importing this coin."),
            TOO_MANY_TASKS,
            Invalid('"items" is required, or files in a multipart form'),
        ],
        tag="coins",
    )
    def create(self, request: Request) -> Response:
        if int(request.META.get("CONTENT_LENGTH") or 0) > _LARGEST_IMPORT:
            raise RequestRefused(codes.BODY_TOO_LARGE, "Request entity too large")
        if request.FILES or not isinstance(request.data, dict) or "items" not in request.data:
            values = IMPORT_FORM.read_body(_fields(request))
            uploads = [(file.name or field, file.read()) for field, files in request.FILES.lists() for file in files]
            if not uploads:
                raise Invalid('"items" is required, or files in a multipart form')
        else:
            values = IMPORT.read_body(request.data)
            uploads = inline_files(values["items"])
        begun = import_files.start(
            actor=caller(request), name=values["name"], uploads=uploads, tag=values.get("tag", "")
        )
        return Response(task_serializers.started(begun))


def _fields(request: Request) -> dict[str, Any]:
    """Return the other fields of the form. A repeated field has a list as its value, which no shape accepts."""
    body = request.data
    if not isinstance(body, QueryDict):
        return body if isinstance(body, dict) else {}
    return {name: each[0] if len(each) == 1 else each for name, each in body.lists() if name not in request.FILES}
