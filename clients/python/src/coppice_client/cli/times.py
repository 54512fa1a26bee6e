"""Times on the command line."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

_UNITS: Final[Mapping[str, timedelta]] = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


class Time(click.ParamType[datetime]):
    """A time in ISO 8601 (UTC unless it says otherwise), or a period until or from now: 30m, 24h, 7d."""

    name = "time"

    def __init__(self, *, is_ahead: bool = False) -> None:
        self.is_ahead = is_ahead

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        period = re.fullmatch(r"([0-9]{1,6})([smhd])", value)
        try:
            if period is not None:
                length = int(period[1]) * _UNITS[period[2]]
                return datetime.now(UTC) + (length if self.is_ahead else -length)
            at = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time such as 2026-11-30T08:00 nor a period such as 24h", param, ctx)
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
