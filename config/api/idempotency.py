"""
Idempotency-Key: the same request sent twice has one effect and one answer.

Every `config.api.views.ApiViewSet` takes part. For a POST, PATCH or DELETE with the header, `dispatch` opens one
transaction around authentication, the operation and the storing of the answer. Operations called by views must
therefore open theirs with `transaction.atomic(savepoint=False)` (which costs no statement inside another
transaction) and never with `durable=True`. A view does no network I/O before the answer, except in
`transaction.on_commit`. Images are stored before the transaction (`ApiViewSet.prepared_by_forms`), and `request.undo`
is set to what deletes them after a rollback. A view whose effect must not be wrapped sets `idempotent = False`.

* Key: 1 to 255 visible ASCII characters, scoped to the caller's wallet, kept for 7 days. Those sent with a restricted
  key are apart: it gets no answer that another credential of the wallet got, and these none of its answers.
* The authenticating statement also looks up and claims the key, so a first request costs one more statement (storing
  the answer) and a request without the header none.
* An action in `stores_own_answer` passes a `claim` to its operation, which stores the key and the id of its result in
  the one statement of the effect; `ApiViewSet.rebuild_answer` rebuilds the same answer from that id. No transaction is
  opened around it: `POST /transfers` takes two round trips to the database instead of six.
* Only 2xx answers are stored. A refused call changed nothing, so the client may retry with the same key.
* A repeated request first waits until the synchronous standby, if there is one, has what it answers from: the commit of
  the first request may have been cut off in that wait.
* A repeated request gets the stored status and body, with `Idempotency-Replayed: true`. With another method, path,
  query or body: 422. While the first is in flight: 409 at once, since the claim does not wait for its advisory lock.
* Bodies are stored encrypted with a key derived from the vault key: an answer may hold a transmit code.
"""

import contextlib
import json
import re
import secrets
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Final
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, QueryDict
from rest_framework.request import Request

from config.api import error_codes as codes
from config.api import errors
from wallets import operations, queries
from wallets.errors import KeyInUse

METHODS: Final = frozenset({"POST", "PATCH", "DELETE"})
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def key_of(request: HttpRequest) -> str | None:
    """
    Return the request's idempotency key, or None if it has none or its view is not idempotent.

    `config.api.views` sets it.
    """
    return getattr(request, "idempotency_key", None)


def read_key(request: HttpRequest, *, restricted_key: str = "") -> str | None:
    """
    Read the header; None without it. The result is stored: that of a restricted key is apart from all others.

    :raises Invalid: the key is empty, longer than 255 characters, or not visible ASCII
    """
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None or request.method not in METHODS:
        return None
    if not _KEY.fullmatch(key):
        raise errors.Invalid(
            '"Idempotency-Key" must be 1 to 255 visible ASCII characters', code=codes.IDEMPOTENCY_KEY_INVALID
        )
    if restricted_key:
        return "restricted:" + sha256(f"{restricted_key}\n{key}".encode()).hexdigest()
    return str(key)


def fingerprint(request: Request) -> bytes:
    """Return the SHA-256 digest of method, path, query and parsed body: equal for a request and its repetition."""
    digest = sha256(f"{request.method} {request._request.get_full_path_info()}\n".encode())
    body = request.data
    if isinstance(body, QueryDict):
        for name, values in sorted(body.lists()):
            for value in values:
                digest.update(f"{name}\0".encode())
                if isinstance(value, UploadedFile):
                    for chunk in value.chunks():
                        digest.update(chunk)
                    value.seek(0)
                else:
                    digest.update(str(value).encode())
    elif isinstance(body, bytes):
        digest.update(body)
    else:
        digest.update(_canonical(body))
    return digest.digest()


def _canonical(body: object) -> bytes:
    """Encode plain values canonically: equal values give equal bytes."""
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # orjson cannot encode integers beyond 64 bits.
        return json.dumps(body, sort_keys=True).encode()


def answer_stored(
    request: Request,
    found: queries.Credentials,
    rebuild: Callable[[UUID], HttpResponse],
    content_type: Callable[[Request], str],
) -> HttpResponse | None:
    """
    Return the answer of an earlier request with the same key, or None if this is the first.

    `rebuild` makes the answer from the id of a result; `content_type` is that of a stored body.

    :raises Invalid: the key belongs to another request
    :raises KeyInUse: the first is in flight
    :raises RequestRefused: the answer was encrypted with a vault key that is no longer configured
    """
    key = key_of(request._request)
    if key is None or found.wallet is None:
        return None
    # Also for a first request: an unreadable body is refused here, not when the answer is stored.
    mine = fingerprint(request)
    request._request.fingerprint = mine  # type: ignore[attr-defined]
    if (stored := found.answer) is not None:
        if not secrets.compare_digest(stored.fingerprint, mine):
            raise errors.Invalid("This Idempotency-Key was used for another request", code=codes.IDEMPOTENCY_KEY_REUSED)
        # The first answer may be unknown to its client because its commit had not reached the standby.
        queries.wait_for_the_standby()
        if stored.result_id is not None:
            response = rebuild(stored.result_id)
        else:
            assert stored.body is not None
            body = _open(stored.body, f"{found.wallet.pk}\n{key}")
            response = HttpResponse(body, status=stored.status, content_type=content_type(request))
        response["Idempotency-Replayed"] = "true"
        return response
    if not found.holds_key:
        raise KeyInUse
    return None


def was_overtaken(request: HttpRequest, found: queries.Credentials | None) -> bool:
    """
    Tell whether a refused request repeats one whose answer was stored after its own credentials were looked up.

    The refusal may then follow from the effect of the first request: its coins, for example, are no longer free.
    """
    key = key_of(request)
    if key is None or found is None or found.wallet is None or found.answer is not None or not found.holds_key:
        return False
    return queries.has_answer(wallet_id=found.wallet.pk, key=key)


def claim(request: Request) -> queries.IdempotencyClaim | None:
    """Return the claim with which an operation stores the key with its effect, or None without a key."""
    key = key_of(request._request)
    return None if key is None else queries.IdempotencyClaim(key, request._request.fingerprint)  # type: ignore[attr-defined]


def keep(request: Request, found: queries.Credentials, response: HttpResponse) -> bool:
    """Store a 2xx answer in the current transaction. False: a duplicate request committed first; roll back."""
    key = key_of(request._request)
    if key is None or found.wallet is None:
        return True
    return operations.store_response(
        wallet_id=found.wallet.pk,
        key=key,
        fingerprint=request._request.fingerprint,  # type: ignore[attr-defined]
        status=response.status_code,
        body=_seal(response.content, f"{found.wallet.pk}\n{key}"),
    )


@cache
def _ciphers() -> tuple[AESGCM, ...]:
    """The cipher of the vault key, which encrypts answers, then those of earlier keys."""
    return tuple(
        AESGCM(HKDF(SHA256(), 32, salt=None, info=b"coppice idempotent answers").derive(key.encode()))
        for key in (settings.VAULT_KEY, *settings.VAULT_OLD_KEYS)
    )


def _seal(body: bytes, context: str) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + _ciphers()[0].encrypt(nonce, body, context.encode())


def _open(sealed: bytes, context: str) -> bytes:
    for cipher in _ciphers():
        with contextlib.suppress(InvalidTag):
            return cipher.decrypt(sealed[:12], sealed[12:], context.encode())
    # The vault key was changed, and the earlier one removed within the 7 days.
    raise errors.RequestRefused(
        codes.IDEMPOTENCY_ANSWER_UNREADABLE,
        "The answer kept for this Idempotency-Key can no longer be read; look up what became of the request",
    )
