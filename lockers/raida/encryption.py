"""
AES-128-CTR of bodies, and the challenge inside them (the RAIDA protocol, sections 1.2 and 4).

A request and its answer are encrypted with the same key, the same nonce and a counter that starts at 0 both times:
an observer who knows one plaintext can decrypt that part of the other.
"""

import zlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lockers.raida import errors
from lockers.raida.coins import Coin

KEY_SIZE: Final = 16
REFERENCE_SIZE: Final = 5
NONCE_SIZE: Final = 8
CHALLENGE_SIZE: Final = 16
CHALLENGE_RANDOM_SIZE: Final = 12

KIND_PLAIN: Final = 0
KIND_COIN: Final = 1
KIND_LOCKER: Final = 2


@dataclass(frozen=True, slots=True)
class Encryption:
    """
    How a body is encrypted: kind 0 not at all, 1 with a coin's AN, 2 with a locker key.

    `reference` (5 bytes) goes into the header and names the key. For kind 2 it is the beginning of the key, so it is
    hidden like `key` (16 bytes, empty for kind 0).

    :raises Unencodable: a field has the wrong size, or the kind is not 0, 1 or 2
    """

    kind: int
    reference: bytes = field(default=bytes(REFERENCE_SIZE), repr=False)
    key: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if self.kind not in (KIND_PLAIN, KIND_COIN, KIND_LOCKER):
            raise errors.Unencodable("encryption is of kind 0, 1 or 2")
        if len(self.reference) != REFERENCE_SIZE:
            raise errors.Unencodable("a key reference is 5 bytes")
        if len(self.key) != (0 if self.kind == KIND_PLAIN else KEY_SIZE):
            raise errors.Unencodable("a key is 16 bytes, and none for kind 0")

    def apply(self, text: bytes, *, nonce: bytes) -> bytes:
        """Encrypt or decrypt `text`, which is the same operation; for kind 0 it is unchanged."""
        if self.kind == KIND_PLAIN:
            return text
        return crypt(text, key=self.key, nonce=nonce)

    def sign(self, challenge: bytes) -> bytes:
        """The signature of an answer to `challenge`: the challenge, XORed with the key if there is one."""
        if self.kind == KIND_PLAIN:
            return challenge
        return bytes(left ^ right for left, right in zip(challenge, self.key, strict=True))


PLAIN: Final = Encryption(KIND_PLAIN)


def with_coin(coin: Coin, an: bytes) -> Encryption:
    """Encryption with the AN (16 bytes) that the addressed server holds for a coin of the client."""
    return Encryption(KIND_COIN, coin.to_bytes(), an)


def with_locker_key(key: bytes) -> Encryption:
    """Encryption with the addressed server's key (16 bytes) of an existing locker."""
    return Encryption(KIND_LOCKER, key[:REFERENCE_SIZE], key)


def crypt(text: bytes, *, key: bytes, nonce: bytes) -> bytes:
    """
    AES-128-CTR with the first counter block `nonce || 00*8`; its own inverse.

    :raises Unencodable: the key is not 16 or the nonce not 8 bytes
    """
    if len(key) != KEY_SIZE or len(nonce) != NONCE_SIZE:
        raise errors.Unencodable("a key is 16 bytes and a nonce 8")
    cipher = Cipher(algorithms.AES(key), modes.CTR(nonce + bytes(8))).encryptor()
    return cipher.update(text) + cipher.finalize()


def challenge(random12: bytes) -> bytes:
    """
    The 16 bytes that begin every body: 12 random ones and their CRC32, big-endian.

    :raises Unencodable: there are not exactly 12
    """
    if len(random12) != CHALLENGE_RANDOM_SIZE:
        raise errors.Unencodable("a challenge is made of 12 bytes")
    return random12 + zlib.crc32(random12).to_bytes(4, "big")


def is_challenge(data: bytes) -> bool:
    """Whether these are 16 bytes with a right CRC32."""
    return len(data) == CHALLENGE_SIZE and challenge(data[:CHALLENGE_RANDOM_SIZE]) == data
