"""
Checks proofs that rows of an installation's history are sealed, without asking the installation.

It follows the published format (`/docs/seals/` of an installation) and shares no code with the server. What a proof is
compared with must be known from elsewhere: a public key, or checkpoints that were stored earlier.
"""

import json
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

FORMAT: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ProofRefused(Exception):
    """The proof does not prove what it says; the message says why."""


@dataclass(frozen=True)
class Proved:
    """A row that is sealed: its table, its fields, and the checkpoint of its block."""

    table: str
    row: Mapping[str, Any]
    checkpoint: Mapping[str, Any]


def _integer(value: Any) -> bytes:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(value)
    return value.to_bytes(8, "big", signed=True)


def _boolean(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise TypeError(value)
    return b"\1" if value else b"\0"


def _text(value: Any) -> bytes:
    raw = str.encode(value)
    return len(raw).to_bytes(4, "big") + raw


def _time(value: Any) -> bytes:
    moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return _integer((moment - _EPOCH) // timedelta(microseconds=1))


_KINDS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "integer": _integer,
    "boolean": _boolean,
    "uuid": lambda value: UUID(value).bytes,
    "time": _time,
    "text": _text,
}
_ASKED: Final = (
    "id uuid, number integer, originator_id uuid, source_id uuid, destination_id uuid, parameters text,"
    " token_count integer, created_at time, expires_at time, has_terms boolean"
)
# The fields of each version of each table, in order.
_TABLES: Final = {
    ("request", 1): _ASKED,
    ("transfer", 1): _ASKED
    + ", state text, reserved_count integer, moved_count integer, closed_at time, closed_event text, closed_from text,"
    " closed_by_id uuid",
    ("terms", 1): "transfer_number integer, originator_id uuid, source_id uuid, destination_id uuid, reference text,"
    " unique_reference boolean, metadata text",
    ("movement", 1): "id integer, token_id uuid, number integer, transfer_number integer, source_id uuid,"
    " destination_id uuid, processed_at time, capture_id uuid",
}


def row_bytes(table: str, version: int, row: Mapping[str, Any]) -> bytes:
    """
    Return the bytes of a row that are hashed.

    :raises ProofRefused: the table, its version or its fields are not those of the format
    """
    fields = _TABLES.get((table, version))
    if fields is None:
        raise ProofRefused(f"This program does not know version {version} of the table {table!r}.")
    parts = [len(table).to_bytes(1, "big"), table.encode("ascii"), version.to_bytes(1, "big")]
    listed = [field.split(" ") for field in fields.split(", ")]
    if set(row) != {name for name, _ in listed}:
        raise ProofRefused(f"The row does not have the fields of the table {table!r}.")
    for name, kind in listed:
        try:
            parts.append(b"\0" if row[name] is None else b"\1" + _KINDS[kind](row[name]))
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ProofRefused(f"The field {name} is not of the type {kind}.") from error
    return b"".join(parts)


def header_bytes(checkpoint: Mapping[str, Any]) -> bytes:
    """Return the bytes of a checkpoint that are hashed and signed."""
    return b"".join(
        (
            b"coppice seal",
            checkpoint["format"].to_bytes(1, "big"),
            checkpoint["height"].to_bytes(8, "big"),
            _hash(checkpoint["previous"]),
            _hash(checkpoint["root"]),
            checkpoint["leaves"].to_bytes(4, "big"),
            _time(checkpoint["sealed_at"]),
        )
    )


def _hash(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != 32:
        raise ValueError(text)
    return raw


def root_of(leaf: bytes, index: int, leaves: int, path: Iterable[bytes]) -> bytes:
    """
    Return the root of a tree with `leaves` leaves, as it follows from the leaf at `index` (RFC 9162, 2.1.3.2).

    :raises ProofRefused: the path is too long or too short
    """
    if not 0 <= index < leaves:
        raise ProofRefused("The row is at no place of the block.")
    number, last, found = index, leaves - 1, sha256(b"\0" + leaf).digest()
    for node in path:
        if last == 0:
            raise ProofRefused("The path is too long.")
        if number % 2 or number == last:
            found = sha256(b"\1" + node + found).digest()
            while number % 2 == 0 and number:
                number, last = number // 2, last // 2
        else:
            found = sha256(b"\1" + found + node).digest()
        number, last = number // 2, last // 2
    if last:
        raise ProofRefused("The path is too short.")
    return found


def verify(document: Any, *, public_keys: Iterable[str] = (), kept: Mapping[int, str] | None = None) -> list[Proved]:
    """
    Return the rows that a document proves, an answer of `/tokens/{id}/proof` or `/transfers/{id}/proof`.

    Each checkpoint is compared with `kept`, hashes in hexadecimal digits by height, if the height is there; otherwise
    one of the `public_keys` (32 bytes in base64) must have signed it.

    :raises ProofRefused: something is not as it should be, or neither a key nor a kept checkpoint vouches for it
    """
    keys = [_key(text) for text in public_keys]
    try:
        if document["format"] != FORMAT:
            raise ProofRefused(f"The document has format {document['format']}; this program reads {FORMAT}.")
        return [_proved(proof, keys, kept or {}) for proof in document["proofs"]]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ProofRefused("The document is no proof: something is missing or of another type.") from error


def _proved(proof: Mapping[str, Any], keys: list[bytes], kept: Mapping[int, str]) -> Proved:
    checkpoint = proof["checkpoint"]
    if checkpoint["format"] != FORMAT:
        raise ProofRefused("The checkpoint has another format.")
    salt = bytes.fromhex(proof["salt"])
    if len(salt) != 16:
        raise ProofRefused("The salt has another length.")
    leaf = salt + row_bytes(proof["table"], proof["version"], proof["row"])
    path = [_hash(node) for node in proof["path"]]
    if root_of(leaf, proof["index"], checkpoint["leaves"], path) != _hash(checkpoint["root"]):
        raise ProofRefused("The row is not in the block: the path leads to another root.")
    header = header_bytes(checkpoint)
    found = sha256(header).hexdigest()
    if found != checkpoint["hash"]:
        raise ProofRefused("The hash of the checkpoint is not that of its content.")
    height = checkpoint["height"]
    if height in kept:
        if kept[height] != found:
            raise ProofRefused(f"Checkpoint {height} is another than the one that was kept: history was rewritten.")
    elif not any(_is_signed(header, bytes.fromhex(checkpoint["signature"]), key) for key in keys):
        raise ProofRefused(
            f"Checkpoint {height} is not among the checkpoints that were kept, and none of the public keys signed it."
        )
    return Proved(proof["table"], proof["row"], checkpoint)


def _key(text: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except (NotBase64, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ProofRefused("A public key is 32 bytes in base64.")
    return raw


def _is_signed(header: bytes, signature: bytes, key: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - of an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError as error:
        raise ProofRefused("To check signatures, install coppice-client[proofs].") from error
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, header)
    except InvalidSignature:
        return False
    return True


def kept_in(text: str) -> dict[int, str]:
    """
    Return the hashes by height of stored pages of `/public/checkpoints`: one JSON document, or one on each line.

    The pages must continue each other without a gap.

    :raises ProofRefused: the text is something else, or the checkpoints do not follow each other
    """
    try:
        try:
            pages = [json.loads(text)]
        except ValueError:
            pages = [json.loads(line) for line in text.splitlines() if line.strip()]
        checkpoints = [checkpoint for page in pages for checkpoint in page["checkpoints"]]
        before: Mapping[str, Any] | None = None
        for checkpoint in checkpoints:
            if sha256(header_bytes(checkpoint)).hexdigest() != checkpoint["hash"] or (
                before and (checkpoint["height"], checkpoint["previous"]) != (before["height"] + 1, before["hash"])
            ):
                raise ProofRefused(f"Checkpoint {checkpoint['height']} does not follow the one before.")
            before = checkpoint
        return {checkpoint["height"]: checkpoint["hash"] for checkpoint in checkpoints}
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ProofRefused("These are no checkpoints.") from error
