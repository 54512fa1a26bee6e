"""Query parameters and response bodies of proofs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from config.api.json_schemas import Named, Nullable, Open
from config.api.validation import Field, Number
from config.seals import chain

AFTER: Final[Mapping[str, Field]] = {"after_number": Number(0, from_text=True, required=False)}

_HASH: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CHECKPOINT: Final = Named(
    "Checkpoint",
    "The public part of a seal: see docs/seals.md.",
    {
        "height": 7,
        "format": 1,
        "previous": _HASH,
        "root": _HASH,
        "leaves": 812,
        "sealed_at": "2024-02-01T00:00:00.000000Z",
        "hash": _HASH,
        "key": "56475aa75463474c",
        "signature": _HASH * 2,
    },
    words={
        "height": "The place of the seal in the chain, from 1.",
        "format": "The version of the format.",
        "previous": "The hash of the seal before, 64 zeros for the first.",
        "root": "The root of the Merkle tree of the block's rows.",
        "leaves": "How many leaves the tree has.",
        "sealed_at": "When the block was sealed, in UTC with microseconds.",
        "hash": "The hash of the seal.",
        "key": "The id of the key that signed it; empty if none did.",
        "signature": "The Ed25519 signature in hexadecimal digits; empty if no key signed it.",
    },
)
ROW: Final = Named(
    "SealedRow",
    "A sealed row with all fields that are hashed: docs/seals.md lists those of each table.",
    Open({}),
    words={},
)
PROOF: Final = Named(
    "SealProof",
    "A sealed row, and what proves that its block has it.",
    {
        "table": "movement",
        "version": 1,
        "row": ROW,
        "salt": "00112233445566778899aabbccddeeff",
        "index": 5,
        "path": [_HASH],
        "checkpoint": CHECKPOINT,
    },
    words={
        "table": "What the row is: movement, request, transfer or terms.",
        "version": "The version of the fields of the row.",
        "row": "The row.",
        "salt": "What is hashed before the row.",
        "index": "The place of the row in its block, from 0.",
        "path": "The hashes that lead from the row to the root.",
        "checkpoint": "The seal of the block.",
    },
)
PROOFS_OF_TRANSFER: Final = Named(
    "TransferProofs",
    "Proofs of what is sealed of a transfer.",
    {"format": 1, "proofs": [PROOF]},
    words={
        "format": "The version of the format.",
        "proofs": "Of the transfer as asked, its terms and its outcome; none if nothing of it is sealed yet.",
    },
)
PROOFS_OF_TOKEN: Final = Named(
    "TokenProofs",
    "Proofs of what is sealed of the movements of a token, the oldest first.",
    {"format": 1, "proofs": [PROOF], "next_after_number": Nullable(20)},
    words={
        "format": "The version of the format.",
        "proofs": "Of each movement, also of its issue, which has the number 0. What is not sealed yet is left out.",
        "next_after_number": "The `after_number` of the next page; null if there is none.",
    },
)


def of_transfer(proofs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"format": chain.FORMAT, "proofs": proofs}


def of_token(proofs: Sequence[Mapping[str, Any]], next_after: int | None) -> dict[str, Any]:
    return {"format": chain.FORMAT, "proofs": proofs, "next_after_number": next_after}
