"""
The version of the public service as which a path answers.

`/wallet/v2/…` answers as its later version (v2), every other path of the Treetracker API as v1.
"""

from typing import Any, Final

V2_PREFIX: Final = "/wallet/v2/"


def is_v2(request: Any) -> bool:
    """Return whether a request (Django's or REST framework's) is to a path below `/wallet/v2/`, in any case."""
    # Paths are compared without regard to case, as in `config.urls`.
    return bool(request.path_info[: len(V2_PREFIX)].lower() == V2_PREFIX)
