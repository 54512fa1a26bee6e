"""
`GET /public/checkpoints`: the chain of seals as JSON, without credentials.

The primary answers, never a replica: that may have a seal which the standby lacks that is promoted after a failure,
and a checkpoint that was stored then would be in no history.

It contains hashes, counts and times of blocks, and nothing of their rows. With a stored copy anyone can detect later
whether history was rewritten, and check a proof.
"""

from base64 import b64encode
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, JsonResponse

from config.api import error_codes as codes
from config.api.errors import headers_of
from config.seals import chain
from config.seals.proofs import checkpoint
from config.web.addresses import client_address, network_of
from transfers.seal_models import Seal
from wallets.redis_servers import SharedCounts

PAGE: Final = 1000
PER_ADDRESS: Final = 120
WINDOW_SECONDS: Final = 60
# A page that is full never changes.
_FULL_SECONDS: Final = 86_400
_NEWEST_SECONDS: Final = 30
_LONGEST_HEIGHT: Final = 18

_counts: Final = SharedCounts(WINDOW_SECONDS)


def checkpoints(request: HttpRequest) -> JsonResponse:
    """
    Return the seals above the height `after` (0 by default), the oldest first, at most `PAGE`, and the public keys.

    `next_after` is the `after` of the next page, null if this is the last.
    """
    if request.method not in {"GET", "HEAD"}:
        refused = _refusal(request, codes.METHOD_NOT_ALLOWED, "Method not allowed")
        refused.headers["Allow"] = "GET, HEAD"
        return refused
    key = f"coppice:checkpoints:address:{network_of(client_address(request))}"
    [(number, seconds)] = _counts.add(settings.REDIS_URL, [key])
    if number > PER_ADDRESS:
        refused = _refusal(request, codes.TOO_MANY_REQUESTS, "Too many requests, try again later")
        refused.headers["Retry-After"] = str(max(1, seconds))
        return refused
    text = request.GET.get("after", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_HEIGHT):
        return _refusal(request, codes.INVALID_VALUE, '"after" must be the height of a checkpoint')
    found = list(Seal.objects.filter(height__gt=int(text)).order_by("height")[: PAGE + 1])
    page = found[:PAGE]
    response = JsonResponse(
        {
            "format": chain.FORMAT,
            "checkpoints": [checkpoint(seal) for seal in page],
            "next_after": page[-1].height if len(found) > PAGE else None,
            "is_signed": bool(page and page[-1].key_id),
            "keys": [
                {"id": id_, "public_key": b64encode(public.public_bytes_raw()).decode()}
                for id_, public in chain.keys().public.items()
            ],
        }
    )
    seconds = _FULL_SECONDS if len(found) > PAGE else _NEWEST_SECONDS
    response.headers["Cache-Control"] = f"public, max-age={seconds}"
    return response


def _refusal(request: HttpRequest, code: Any, message: str) -> JsonResponse:
    request.error_code = code.name  # type: ignore[attr-defined]
    body = {"code": code.status, "message": message}
    return JsonResponse(body, status=code.status, headers=headers_of(code))
