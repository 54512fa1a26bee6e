"""The Link header of a list."""

import re

LINK = re.compile(r'<http://testserver(?P<path>[^>]+)>; rel="next"')


def next_path(response):
    match = LINK.fullmatch(response.get("Link", ""))
    return match["path"] if match else None
