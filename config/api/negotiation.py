"""Content negotiation: the parser of a content type, and the one representation of responses."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

# As in REST framework.
_LONGEST: Final = 256
# Parsing the two media types takes longer than reading a small body.
_matches: Final = lru_cache(maxsize=256)(media_type_matches)


class Negotiation(BaseContentNegotiation):
    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """Return the first parser of the content type, or None."""
        sent = request.content_type
        if len(sent) > _LONGEST:
            return None
        return next((each for each in parsers if _matches(each.media_type, sent)), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[Any, Any]:
        # The public service ignores `Accept` too.
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


NEGOTIATION: Final = Negotiation()
