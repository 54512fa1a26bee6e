"""
Encryption of secrets at rest: authenticity numbers, transmit codes, keys.

A sealed value is `key id (1) | nonce (12) | AES-256-GCM ciphertext and tag`. Its *context* (row and column) is
authenticated data, so a value copied into another row cannot be opened there. The key id identifies the key: new
values are sealed with `VAULT_KEY`, and `VAULT_OLD_KEYS` still open earlier ones.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

_NONCE_BYTES = 12


class SealBroken(Exception):
    """The value was not sealed for this row with a configured key. The message reveals no more."""


@cache
def _keys() -> tuple[int, Mapping[int, AESGCM]]:
    keys = [settings.VAULT_KEY, *settings.VAULT_OLD_KEYS]
    ciphers: dict[int, AESGCM] = {}
    for text in keys:
        raw = _raw(text)
        identity = _identity(raw)
        if identity in ciphers:
            raise SealBroken("two vault keys share an id; make another new key")
        ciphers[identity] = AESGCM(raw)
    return _identity(_raw(keys[0])), ciphers


def _raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _identity(raw: bytes) -> int:
    return hashlib.sha256(b"coppice vault key id" + raw).digest()[0]


def known_keys() -> list[int]:
    """Return the ids of the configured keys, the sealing one first."""
    identity, ciphers = _keys()
    return [identity, *(each for each in ciphers if each != identity)]


def reseal(sealed: bytes | memoryview, *, context: str) -> bytes:
    """
    Return the same secret sealed with the current key.

    :raises SealBroken: another context, an unknown key, or a damaged value
    """
    sealed = bytes(sealed)
    return sealed if sealed[:1] == bytes([_keys()[0]]) else seal(open_sealed(sealed, context=context), context=context)


def seal(plaintext: bytes, *, context: str) -> bytes:
    """Encrypt with the current key and a random nonce, bound to `context`."""
    identity, ciphers = _keys()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return bytes([identity]) + nonce + ciphers[identity].encrypt(nonce, plaintext, context.encode())


def open_sealed(sealed: bytes | memoryview, *, context: str) -> bytes:
    """
    Return the plaintext of a value that was sealed for `context`.

    :raises SealBroken: another context, an unknown key, or a damaged value
    """
    sealed = bytes(sealed)
    _, ciphers = _keys()
    if len(sealed) <= _NONCE_BYTES + 1 or sealed[0] not in ciphers:
        raise SealBroken("sealed with a key that is not configured")
    try:
        return ciphers[sealed[0]].decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], context.encode())
    except InvalidTag:
        raise SealBroken("not sealed for this row") from None
