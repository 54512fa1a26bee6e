"""Proofs of history, and the checkpoints that they are compared with. `coppice_client.proofs` verifies them."""

from coppice_client.calls.describing import get, path_of
from coppice_client.exchange import Call, Exchange
from coppice_client.types import CheckpointPage, TokenProofs, TransferProofs


def token_proof(token_id: str, *, after_number: int | None = None) -> Call[TokenProofs]:
    """
    A page of proofs of the sealed movements of a token, the oldest first.

    `next_after_number` of the answer is the `after_number` of the next page, None after the last.
    """
    query = {} if after_number is None else {"after_number": str(after_number)}
    return Call(Exchange("GET", path_of("/tokens", token_id, "/proof"), query=query))


def transfer_proof(transfer_id: str) -> Call[TransferProofs]:
    """Proofs of what is sealed of a transfer; none if nothing of it is sealed yet."""
    return get("/transfers", transfer_id, "/proof")


def checkpoints(*, after: int = 0) -> Call[CheckpointPage]:
    """
    A page of the public chain of seals above a height, the oldest first.

    `next_after` of the answer is the `after` of the next page, None after the last.
    """
    return Call(Exchange("GET", "/public/checkpoints", query={"after": str(after)}))
