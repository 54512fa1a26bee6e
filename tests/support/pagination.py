"""The Link header of a list."""

import re
from typing import Any

LINK = re.compile(r'<http://testserver(?P<path>[^>]+)>; rel="(?P<relation>[a-z]+)"')


def next_path(response: Any, relation: str = "next") -> Any:
    match = LINK.fullmatch(response.get("Link", ""))
    return match["path"] if match and match["relation"] == relation else None
