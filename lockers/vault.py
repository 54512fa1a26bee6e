"""
Encryption of secrets at rest: authenticity numbers, transmit codes, uploads, keys.

A sealed value is `key id (1) | nonce (12) | AES-256-GCM ciphertext and tag`. Its *context* (row and column) is
authenticated data, so a value copied into another row cannot be opened there. The key id identifies the key: new
values are sealed with `VAULT_KEY`, and `VAULT_OLD_KEYS` still open earlier ones.

Both columns of a coin share one context, so that an UPDATE can replace the held numbers by the proposed ones without
opening them.
"""

import base64
import hashlib
import secrets
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from lockers.models import Locker, LockerTask
from lockers.raida import codes
from lockers.raida.authenticity import AN_SIZE, LOCKER_KEY_TAIL, is_safe_pan
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import TaskKind

_NONCE_BYTES: Final = 12
# One unpack of 25 numbers is ten times as fast as 25 slices.
_NUMBERS: Final = struct.Struct(f"{AN_SIZE}s" * RAIDA_COUNT)

_LENGTH: Final = struct.Struct(">I")


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


def context_of_coin(coin_id: UUID) -> str:
    return f"coin/{coin_id}"


def context_of_locker(locker_id: UUID) -> str:
    return f"locker/{locker_id}"


def context_of_task(task_id: UUID, kind: str) -> str:
    """Return the context of a task's code; of a fix, whose column holds generators instead, that of these."""
    return f"{'generators' if kind == TaskKind.FIX else 'task'}/{task_id}"


def seal_numbers(numbers: Sequence[bytes], *, coin_id: UUID) -> bytes:
    """Seal 25 numbers of 16 bytes for the row of one coin."""
    joined = b"".join(numbers)
    if len(joined) != RAIDA_COUNT * AN_SIZE:
        raise ValueError("a coin has 25 numbers of 16 bytes")
    return seal(joined, context=context_of_coin(coin_id))


def open_numbers(sealed: bytes | memoryview, *, coin_id: UUID) -> tuple[bytes, ...]:
    """
    Open what `seal_numbers` sealed for the same coin.

    :raises SealBroken: it was not
    """
    return _NUMBERS.unpack(open_sealed(sealed, context=context_of_coin(coin_id)))


def fresh_numbers() -> tuple[bytes, ...]:
    """Return 25 random numbers to propose, none of which is a locker key (the RAIDA protocol, section 3)."""
    joined = secrets.token_bytes(RAIDA_COUNT * AN_SIZE)
    numbers = _NUMBERS.unpack(joined)
    # The tail of such a key almost never occurs: one search over all numbers is fastest.
    if LOCKER_KEY_TAIL in joined and not all(map(is_safe_pan, numbers)):
        return fresh_numbers()
    return numbers


def seal_locker_code(code: str, *, locker_id: UUID) -> bytes:
    return seal(code.encode(), context=context_of_locker(locker_id))


def locker_code(locker: Locker) -> str:
    """:raises SealBroken: the row's code was not sealed for it"""
    return open_sealed(locker.code, context=context_of_locker(locker.pk)).decode()


def locker_keys(locker: Locker) -> tuple[bytes, ...]:
    """
    Return the keys that the 25 servers derive from a locker's code.

    :raises SealBroken: the row's code was not sealed for it
    """
    return codes.locker_keys(locker_code(locker))


def seal_task_code(code: str, *, task_id: UUID) -> bytes:
    return seal(code.encode(), context=context_of_task(task_id, ""))


def task_code(task: LockerTask) -> str:
    """:raises SealBroken: the row's code was not sealed for it"""
    if task.code is None:
        raise ValueError("this task has no code")
    return open_sealed(task.code, context=context_of_task(task.pk, "")).decode()


def context_of_upload(task_id: UUID) -> str:
    return f"upload/{task_id}"


def seal_upload(uploads: Sequence[tuple[str, bytes]], *, task_id: UUID) -> bytes:
    """Seal the names and contents of files for a worker to read."""
    parts = [part for name, content in uploads for part in (name.encode("utf-8", "replace"), content)]
    joined = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    return seal(joined, context=context_of_upload(task_id))


def open_upload(sealed: bytes | memoryview, *, task_id: UUID) -> list[tuple[str, bytes]]:
    """:raises SealBroken: the files were not sealed for this task"""
    joined = open_sealed(sealed, context=context_of_upload(task_id))
    parts, position = [], 0
    while position < len(joined):
        (length,) = _LENGTH.unpack_from(joined, position)
        position += _LENGTH.size
        parts.append(joined[position : position + length])
        position += length
    return [(name.decode(), content) for name, content in zip(parts[::2], parts[1::2], strict=True)]


def fresh_generators(*, task_id: UUID) -> bytes:
    """Return 25 random numbers of 16 bytes, sealed, from which servers derive the numbers of coins that they fix."""
    return seal(secrets.token_bytes(RAIDA_COUNT * AN_SIZE), context=context_of_task(task_id, TaskKind.FIX))


def generators(task: LockerTask) -> tuple[bytes, ...]:
    """:raises SealBroken: the row's generators were not sealed for it"""
    if task.code is None:
        raise ValueError("this task has no generators")
    return _NUMBERS.unpack(open_sealed(task.code, context=context_of_task(task.pk, TaskKind.FIX)))
