"""The Link header of a list."""

import re
from typing import Any

LINK = re.compile(r'<http://testserver(?P<path>[^>]+)>; rel="next"')


def next_path(response: Any) -> Any:
    match = LINK.fullmatch(response.get("Link", ""))
    return match["path"] if match else None
