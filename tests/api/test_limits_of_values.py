"""Where a value becomes too large, too long or too much: the last that is accepted, and the first that is not."""

from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest

from config.api import parsers
from config.api.errors import Invalid, RequestRefused
from config.api.validation import Flag, Guid, ListOf, Number, Shape, Text


def read(field: Any, value: Any) -> str:
    """Return "" if the field accepts the value, else why not."""
    try:
        field.read("x", value)
    except Invalid as error:
        return error.message
    return ""


SAFE = 2**53 - 1
VALUES = [
    (Number(), SAFE, ""),
    (Number(), SAFE + 1, '"x" must be a safe number'),
    (Number(), -SAFE, ""),
    (Number(), -SAFE - 1, '"x" must be a safe number'),
    (Number(2, 5), 1, '"x" must be greater than or equal to 2'),
    (Number(2, 5), 2, ""),
    (Number(2, 5), 5, ""),
    (Number(2, 5), 6, '"x" must be less than or equal to 5'),
    (Number(2, 5), 2.5, '"x" must be an integer'),
    (Number(2, 5), True, '"x" must be a number'),
    (Number(2, 5), "3", '"x" must be a number'),
    (Number(2, 5, from_text=True), "3", ""),
    (Number(2, 5, from_text=True), "3.0", ""),
    (Number(2, 5, from_text=True), "3.5", '"x" must be an integer'),
    (Number(2, 5, from_text=True), "0" * 39 + "3", ""),
    (Number(2, 5, from_text=True), "0" * 40 + "3", '"x" must be a number'),
    (Text(minimum=2, maximum=4), "a", '"x" length must be at least 2 characters long'),
    (Text(minimum=2, maximum=4), "ab", ""),
    (Text(minimum=2, maximum=4), "abcd", ""),
    (Text(minimum=2, maximum=4), "abcde", '"x" length must be less than or equal to 4 characters long'),
    (Text(), "", '"x" is not allowed to be empty'),
    (Text(may_be_empty=True), "", ""),
    (Text(choices=("a", "b")), "c", '"x" must be one of [a, b]'),
    (Flag(), "true", '"x" must be a boolean'),
    (Flag(from_text=True), "TRUE", ""),
    (ListOf(Number(), 1, 2), [], '"x" must contain at least 1 items'),
    (ListOf(Number(), 1, 2), [1, 1], ""),
    (ListOf(Number(), 1, 2), [1, 2, 3], '"x" must contain less than or equal to 2 items'),
    (ListOf(Number(), unique=True), [1, 2, 1], '"x[2]" contains a duplicate value'),
    (
        ListOf(Guid(), unique=True),
        ["0" * 32, "00000000-0000-0000-0000-000000000000"],
        '"x[1]" contains a duplicate value',
    ),
    (Shape({"a": Number(required=False)}), {}, ""),
    (Shape({"a": Number()}), {}, '"x.a" is required'),
    (Shape({"a": Number()}), {"a": 1, "b": 2}, '"x.b" is not allowed'),
]


@pytest.mark.parametrize(("field", "value", "why"), VALUES)
def test_a_value_is_accepted_up_to_its_bounds(field: Any, value: Any, why: str) -> None:
    assert read(field, value) == why


def decoded(body: str) -> str:
    try:
        parsers.decode(body.encode())
    except RequestRefused as error:
        return f"{error.status_code} {error.message}".removeprefix("400 ")
    return ""


LONG, DEEP = "Malformed JSON: a number is too long", "Malformed JSON: more than 64 levels"
NUL, LONE = "Malformed JSON: a NUL character", "Malformed JSON: a lone surrogate"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("1" * 308, ""),
        ("1" * 309, LONG),
        ("-" + "1" * 307, ""),
        ("-" + "1" * 308, LONG),
        ("0." + "1" * 306, ""),
        ("0." + "1" * 307, LONG),
        ("1e308", ""),
        ("1e309", LONG),
        ("-1e309", LONG),
        ("[" * 64 + "]" * 64, ""),
        ("[" * 65 + "]" * 65, DEEP),
        (r'"\u0000"', NUL),
        (r'{"\u0000": 1}', NUL),
        (r'{"a": {"b\u0000": 1}}', NUL),
        (r'[["a", "\u0000"]]', NUL),
        (r'{"a": ["\u0000"]}', NUL),
        (r'"\ud800"', LONE),
        (r'{"\udfff": 1}', LONE),
        (r'"\ud83c\udf33"', ""),
        (r'{"a": 1, "a": 1}', 'Malformed JSON: duplicate key "a"'),
        (r'{"a": 1, "\u0061": 1}', 'Malformed JSON: duplicate key "a"'),
        ("NaN", "Malformed JSON: NaN is not a number"),
    ],
)
def test_a_body_is_read_up_to_its_bounds(body: str, why: str) -> None:
    assert decoded(body) == why


@pytest.mark.parametrize(("told", "sent", "is_read"), [(20, 20, True), (21, 20, False), (0, 20, True), (0, 21, False)])
def test_a_json_body_is_read_up_to_its_size_told_or_not(told: int, sent: int, is_read: bool) -> None:
    context = {
        "view": SimpleNamespace(maximum_bytes=20),
        "request": SimpleNamespace(META={"CONTENT_LENGTH": str(told or "")}),
    }
    stream = BytesIO(b"1" + b" " * (sent - 1))

    if is_read:
        assert parsers.StrictJSONParser().parse(stream, None, context) == 1
    else:
        with pytest.raises(RequestRefused) as caught:
            parsers.StrictJSONParser().parse(stream, None, context)
        assert (caught.value.status_code, caught.value.message) == (413, "Request entity too large")


@pytest.mark.parametrize(
    ("length", "status"), [(parsers.MAXIMUM_FORM_BYTES, 200), (parsers.MAXIMUM_FORM_BYTES + 1, 413)]
)
def test_a_form_is_read_up_to_its_size(length: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers.MultiPartParser, "parse", lambda *_: pytest.fail("it is not too large"))
    context = {"request": SimpleNamespace(META={"CONTENT_LENGTH": str(length)})}

    if status == 200:
        with pytest.raises(pytest.fail.Exception, match="it is not too large"):
            parsers.FormParser().parse(BytesIO(), None, context)
    else:
        with pytest.raises(RequestRefused) as caught:
            parsers.FormParser().parse(BytesIO(), None, context)
        assert caught.value.status_code == status
