"""Values of query parameters as the public service's later version reads them, and its messages."""

from datetime import UTC, datetime
from typing import Any

import pytest

from config.api.errors import Invalid
from config.api.validation import Moment, Number, Shape, Text

DAY = datetime(2024, 3, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-03", datetime(2024, 3, 1, tzinfo=UTC)),
        ("2024-03-10", DAY),
        ("2024-03-10T05:30", DAY.replace(hour=5, minute=30)),
        ("2024-03-10 05:30", DAY.replace(hour=5, minute=30)),
        ("2024-03-10 05:30:01", DAY.replace(hour=5, minute=30, second=1)),
        ("2024-03-10T05:30:01.5", DAY.replace(hour=5, minute=30, second=1, microsecond=500_000)),
        ("2024-03-10t05:30:01.123z", DAY.replace(hour=5, minute=30, second=1, microsecond=123_000)),
        ("2024-03-10T05:30+02:00", DAY.replace(hour=3, minute=30)),
        ("2024-03-10T05:30 02:00", DAY.replace(hour=3, minute=30)),
        ("2024-03-10 05:30 02:00", DAY.replace(hour=3, minute=30)),
        ("2024-03-10T05:30-02:00", DAY.replace(hour=7, minute=30)),
    ],
)
def test_dates_and_times_are_their_first_instant_in_utc(text: str, moment: datetime) -> None:
    assert Moment().read("before", text) == moment


@pytest.mark.parametrize(
    "text",
    ["", " ", "01/02/2024", "20240310", "2024-W10", "2024-W10-1", "2024-3-1", "1710028800000", "2024-02-30", "2024-13",
     "0000", "2024-", "2024-03-10T", "2024-03-10T05", "2024-03-10T25:00", "2024-03-10Z", "2024-03-10 02:00+",
     "2024-03-10T05:30 ", "２０２４", ["2024", "2025"], 2024, None],
)  # fmt: skip
def test_other_dates_are_refused(text: Any) -> None:
    with pytest.raises(Invalid) as refused:
        Moment().read("before", text)
    assert refused.value.problems == ('"before" must be in ISO 8601 date format',)


@pytest.mark.parametrize(
    ("text", "read"),
    [("5", 5), (" 5", 5), ("5 ", 5), ("1e1", 10), ("1E+1", 10), ("+7", 7), ("50e-1", 5), ("2.0", 2)],
)
def test_lenient_numbers(text: str, read: int) -> None:
    assert Number(0, 2000, from_text=True, is_lenient=True).read("limit", text) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '"limit" must be a number'),
        (" ", '"limit" must be a number'),
        ("five", '"limit" must be a number'),
        ("1 0", '"limit" must be a number'),
        ("0x10", '"limit" must be a number'),
        ("Infinity", '"limit" must be a number'),
        ("1e99", '"limit" must be a safe number'),
        (["1", "2"], '"limit" must be a number'),
        ("2001", '"limit" must be less than or equal to 2000'),
        ("0", "limit can only be non-negative integer"),
        ("-1", "limit can only be non-negative integer"),
        ("1.5", "limit can only be non-negative integer"),
    ],
)
def test_unfit_numbers(text: Any, message: str) -> None:
    unfit = "{} can only be non-negative integer"
    with pytest.raises(Invalid) as refused:
        Number(1, 2000, from_text=True, is_lenient=True, unfit=unfit).read("limit", text)
    assert refused.value.problems == (message,)


def test_all_problems_are_named_in_the_order_of_the_shape_with_unknown_fields_last() -> None:
    shape = Shape(
        {
            "limit": Number(1),
            "sort_by": Text(choices=["created_at", "name"], required=False),
            "order": Text(choices=["asc", "desc"], required=False),
            "name": Text(required=False),
        }
    )
    with pytest.raises(Invalid) as refused:
        shape.read_body({"foo": 1, "order": "ASC", "sort_by": "", "name": ""})
    assert refused.value.problems == (
        '"limit" is required',
        '"sort_by" must be one of [created_at, name]',
        '"sort_by" is not allowed to be empty',
        '"order" must be one of [asc, desc]',
        '"name" is not allowed to be empty',
        '"foo" is not allowed',
    )
    # v1 names the first.
    assert refused.value.message == '"limit" is required'

    with pytest.raises(Invalid) as many:
        shape.read_body({"limit": 1} | {f"x{number}": 1 for number in range(1000)})
    assert len(many.value.problems) == 20
