"""Trust relationships."""

from coppice_client.calls.describing import get, given, path_of, write
from coppice_client.exchange import Call, Listing
from coppice_client.types import Trust, TrustRequestType, TrustState


def trusts(
    *, state: TrustState | None = None, request_type: TrustRequestType | None = None, page_size: int = 100
) -> Listing[Trust]:
    """Trust relationships of the caller and of the wallets that it manages."""
    return Listing(
        "/trust_relationships", "trust_relationships", limit=page_size, state=state, request_type=request_type
    )


def trusts_of_wallet(
    wallet_id: str,
    *,
    state: TrustState | None = None,
    request_type: TrustRequestType | None = None,
    page_size: int = 100,
) -> Listing[Trust]:
    """Trust relationships in which a wallet is a party."""
    path = path_of("/wallets", wallet_id, "/trust_relationships")
    return Listing(path, "trust_relationships", limit=page_size, state=state, request_type=request_type)


def trust(trust_id: str) -> Call[Trust]:
    return get("/trust_relationships", trust_id)


def request_trust(
    request_type: TrustRequestType,
    wallet: str,
    *,
    requester: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Trust]:
    """Ask a wallet for a trust relationship, for the caller or for a wallet that it manages (`requester`)."""
    body = given(trust_request_type=request_type, requestee_wallet=wallet, requester_wallet=requester)
    return write("POST", "/trust_relationships", key=idempotency_key, body=body)


def accept_trust(trust_id: str, *, idempotency_key: str | None = None) -> Call[Trust]:
    return write("POST", "/trust_relationships", trust_id, "/accept", key=idempotency_key, body={})


def decline_trust(trust_id: str, *, idempotency_key: str | None = None) -> Call[Trust]:
    """Decline or end a trust relationship, as the wallet that was asked."""
    return write("POST", "/trust_relationships", trust_id, "/decline", key=idempotency_key, body={})


def end_trust(trust_id: str, *, idempotency_key: str | None = None) -> Call[Trust]:
    """End a trust relationship, as either side."""
    return write("DELETE", "/trust_relationships", trust_id, key=idempotency_key)
