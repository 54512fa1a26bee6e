"""Tables of capture ids: a column `capture_id`, or ids alone, one a line."""

from uuid import UUID

from transfers import tables
from wallets import names
from wallets.errors import DomainError


class CapturesUnreadable(DomainError):
    """The table has no capture ids, or cannot be read. The message is a sentence about "The file"."""


def read(content: bytes) -> list[UUID]:
    """
    Return the capture ids of a table, in its order.

    :raises CapturesUnreadable: it is not a table, or a line has no capture id
    """
    found: list[UUID] = []
    column = None
    try:
        for line, cells in tables.records(content):
            if column is None:
                column = cells.index("capture_id") if "capture_id" in cells else 0
                if "capture_id" in cells:
                    continue
            capture_id = names.parse_uuid(cells[column]) if len(cells) > column else None
            if capture_id is None:
                raise CapturesUnreadable(f"Line {line}, column {column + 1} has no capture id (a UUID).")
            found.append(capture_id)
    except tables.NotATable:
        raise CapturesUnreadable("The file is no table: save it as CSV.") from None
    except tables.Unreadable as error:
        raise CapturesUnreadable(f"The file {error}.") from None
    if not found:
        raise CapturesUnreadable("The file holds no capture id.")
    return found
