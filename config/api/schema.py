"""How drf-spectacular reads our views. Apart from `openapi`, since REST framework itself imports it."""

from typing import Any

from drf_spectacular.openapi import AutoSchema


class Schema(AutoSchema):
    """Says what is described and guesses no more: an action called `list` answers with an object, not with an array."""

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False
