"""
Headers, keys and signatures of seals.

The key is 32 random bytes in the environment (`COPPICE_SEAL_KEY`), an Ed25519 private key. `COPPICE_SEAL_OLD_KEYS` has
the public keys of earlier ones, so that what they signed stays verifiable. The public keys come from the environment
and not from the database: someone who can write there could add one.
"""

from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from types import MappingProxyType
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings

from config.seals.encoding import microseconds

FORMAT: Final = 1
FIRST_PREVIOUS: Final = bytes(32)
_MAGIC: Final = b"coppice seal"


class Header(NamedTuple):
    """What a seal signs."""

    format: int
    height: int
    previous: bytes
    root: bytes
    leaves: int
    sealed_at: datetime

    def encoded(self) -> bytes:
        """Return the bytes that are hashed and signed."""
        return b"".join(
            (
                _MAGIC,
                self.format.to_bytes(1),
                self.height.to_bytes(8),
                self.previous,
                self.root,
                self.leaves.to_bytes(4),
                microseconds(self.sealed_at).to_bytes(8),
            )
        )

    def hash(self) -> bytes:
        """Return the hash, which is the `previous` of the next seal."""
        return sha256(self.encoded()).digest()


class Keys(NamedTuple):
    """The keys of an installation: the one that signs, if there is one, and all public keys by id."""

    private: Ed25519PrivateKey | None
    public: Mapping[str, Ed25519PublicKey]
    current_id: str

    def sign(self, header: Header) -> tuple[str, bytes]:
        """Return the id of the key and the signature, both empty without a key."""
        return (self.current_id, self.private.sign(header.encoded())) if self.private else ("", b"")

    def is_signed(self, header: Header, key_id: str, signature: bytes) -> bool:
        """Return whether one of these keys signed the header."""
        key = self.public.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, header.encoded())
        except InvalidSignature:
            return False
        return True


def key_id(raw: bytes) -> str:
    """Return the id of a public key of 32 bytes: the first 8 bytes of its SHA-256 in hexadecimal digits."""
    return sha256(raw).hexdigest()[:16]


def keys() -> Keys:
    """Return the keys of the settings."""
    return _keys(settings.SEAL_KEY, tuple(settings.SEAL_OLD_KEYS))


@cache
def _keys(private_key: str, old_keys: tuple[str, ...]) -> Keys:
    private = Ed25519PrivateKey.from_private_bytes(b64decode(private_key)) if private_key else None
    current = private.public_key() if private else None
    known = [*([current] if current else []), *(Ed25519PublicKey.from_public_bytes(b64decode(key)) for key in old_keys)]
    by_id = {key_id(key.public_bytes_raw()): key for key in known}
    return Keys(private, MappingProxyType(by_id), key_id(current.public_bytes_raw()) if current else "")
