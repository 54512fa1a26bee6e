"""Parsers of request bodies: strict JSON, which all parsers read alike, and forms."""

import codecs
import json
import re
from collections.abc import Mapping
from typing import IO, Any, Final, NoReturn

from django.http import QueryDict
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request

from config.api import error_codes as codes
from config.api.errors import RequestRefused

MAXIMUM_BYTES: Final = 100 * 1024  # the limit of the public service
MAXIMUM_LIST_BYTES: Final = 1024 * 1024  # 10,000 token ids are 390 kB
MAXIMUM_FORM_BYTES: Final = 4 * 1024 * 1024  # 10,000 rows with a name and a description of usual length are 2 MB
MAXIMUM_DEPTH: Final = 64
MAXIMUM_DIGITS: Final = 308

# The closing quote is optional, so that an unterminated string is scanned once.
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def malformed(why: str) -> RequestRefused:
    """Return the error for a body that is not JSON."""
    return RequestRefused(codes.MALFORMED_JSON, f"Malformed JSON: {why}")


class StrictJSONParser(BaseParser):
    """
    Accepts JSON (RFC 8259) in UTF-8, with or without a byte order mark, and refuses other bodies with 400.

    Also refused: duplicate keys, NUL characters and lone surrogates (PostgreSQL stores neither), NaN and
    Infinity, numbers of more than 308 digits, and more than 64 levels. A body above the view's `maximum_bytes` is 413.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        context = parser_context or {}
        maximum = context["view"].maximum_bytes
        if int(context["request"].META.get("CONTENT_LENGTH") or 0) > maximum:
            raise RequestRefused(codes.BODY_TOO_LARGE, "Request entity too large")
        body = stream.read(maximum + 1)
        if len(body) > maximum:
            raise RequestRefused(codes.BODY_TOO_LARGE, "Request entity too large")
        return decode(body)


class FormParser(MultiPartParser):
    """A form with small files. A body above 4 MiB is 413, without reading it."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        if int((parser_context or {})["request"].META.get("CONTENT_LENGTH") or 0) > MAXIMUM_FORM_BYTES:
            raise RequestRefused(codes.BODY_TOO_LARGE, "Request entity too large")
        parsed = super().parse(stream, media_type, parser_context)
        data = parsed.data.copy()
        data.update(parsed.files)
        return data


def form_of(request: Request) -> QueryDict:
    """Return the fields and files that `FormParser` read."""
    assert isinstance(request.data, QueryDict)
    return request.data


def decode(body: bytes) -> Any:
    """
    Parse strict JSON.

    :raises RequestRefused: 400, the bytes are not strict JSON
    """
    # RFC 8259, section 8.1, permits ignoring the mark, which .NET and PowerShell write.
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed(f"not UTF-8 at byte {error.start}") from None
    # Before the decoder, which recurses once per level.
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise malformed(f"{error.msg} at position {error.pos}") from None
    # NUL and surrogates can only come from an escape; most bodies have none.
    if "\\" in text or "\0" in text:
        _check_text(value)
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAXIMUM_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > MAXIMUM_DEPTH:
                raise malformed(f"more than {MAXIMUM_DEPTH} levels")
        elif match[0] in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                # The key may hold any text: escape and truncate it.
                raise malformed(f"duplicate key {json.dumps(key)[:100]}")
            seen.add(key)
    return value


def _constant(text: str) -> NoReturn:
    raise malformed(f"{text} is not a number")


def _integer(text: str) -> int:
    if len(text) > MAXIMUM_DIGITS:
        raise malformed("a number is too long")
    return int(text)


def _float(text: str) -> float:
    if len(text) > MAXIMUM_DIGITS or abs(value := float(text)) == float("inf"):
        raise malformed("a number is too long")
    return value


# `json.loads` with hooks would make a decoder for each body, which takes as long as reading a small one.
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
)


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise malformed("a NUL character")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise malformed("a lone surrogate")
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
