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

from config.api import error_codes as codes
from config.api.authentication import caller
from config.api.cloudcoin import examples, task_examples, task_serializers
from config.api.cloudcoin.base import TOO_MANY_TASKS, WALLET_ERRORS, LockersViewSet, describe
from config.api.cloudcoin.fields import NAME, NAME_WORDS, TAG, TAG_WORDS
from config.api.errors import Invalid, RequestRefused
from config.api.json_schemas import Named
from config.api.openapi import Form, Takes
from config.api.parsers import MAXIMUM_LIST_BYTES, StrictJSONParser
from config.api.renderers import Response
from config.api.validation import ListOf, Shape, Text
from lockers import errors
from lockers.operations import import_files

# Mail and the `base64` command break lines after 64 or 76 characters.
_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]+")
# The output of `FileReader.readAsDataURL` in a browser.
_DATA_URI: Final = re.compile(r"\Adata:[^,]{0,200};base64,", re.IGNORECASE)
_ITEM: Final = Shape(
    {
        "type": Text(choices=("inline",), required=False),
        "name": Text(maximum=255, required=False),
        "data": Text(),
    }
)
IMPORT: Final = Shape(
    {
        "name": NAME,
        "items": ListOf(
            _ITEM,
            minimum=1,
            maximum=1000,
        ),
        "tag": TAG,
    }
)
IMPORT_FORM: Final = Shape({"name": NAME, "tag": TAG})
_IMPORT_BODY: Final = Named(
    "NewImport",
    "Files of coins, in base64.",
    IMPORT,
    words={
        "name": NAME_WORDS,
        "items": Named(
            "ImportItem",
            "A file of coins.",
            _ITEM,
            words={
                "type": "`inline`, if it is sent.",
                "name": "The name of the file.",
                "data": "Its content in base64, with or without line breaks, or as a `data:` URI.",
            },
        ),
        "tag": TAG_WORDS,
    },
)
_IMPORT_FORM_BODY: Final = Form(
    fields=Named("ImportForm", "Files of coins.", IMPORT_FORM, words={"name": NAME_WORDS, "tag": TAG_WORDS}),
    file="file",
    file_words="A file of coins. Further files may have any field names.",
)


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
        "coins.import",
        "Import coin files",
        answers=task_examples.STARTED,
        takes=Takes(
            body=_IMPORT_BODY,
            examples={"Request": {"name": "alice", "items": [{"type": "inline", "name": "coins.bin", "data": "CQE…"}]}},
            form=_IMPORT_FORM_BODY,
        ),
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
        """
        Begins a task that takes coins out of files into a wallet that the caller controls. The servers give the coins
        new secrets, so that the files become worthless. Files are sent in JSON (base64) or as a multipart form, up to
        20 MiB. If no file has a coin that can be imported, the call is refused with 422, and `files` says why.
        """
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
