"""Wallets, tokens, transfers and trusts of every kind."""

from typing import Any

from tests.api.caller import Caller
from transfers import operations as transfers
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets.models import Token


def world(alice: Caller, bob: Caller) -> dict[str, list[Any]]:
    """Wallets, tokens, transfers and trusts of every kind; the words by which requests may name them."""
    assert alice.wallet is not None
    assert bob.wallet is not None
    sapling = trusts.open_managed_wallet(actor=alice.wallet, name="sapling")
    transfers.issue_tokens(wallet=alice.wallet, count=50)
    transfers.issue_tokens(wallet=bob.wallet, count=50)
    done = transfers.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=3)
    pending = [
        transfers.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=2),
        transfers.send_bundle(actor=bob.wallet, sender="bobby", receiver="alice", size=2),
        transfers.send_bundle(actor=alice.wallet, sender="bobby", receiver="alice", size=2),
        transfers.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=2),
    ]
    asked = [
        trusts.request_trust(actor=alice.wallet, request_type=TrustRequestType.SEND, requestee="bobby"),
        trusts.request_trust(actor=bob.wallet, request_type=TrustRequestType.SEND, requestee="alice"),
    ]
    return {
        "names": ["alice", "sapling", "bobby", "nobody"],
        "wallets": [str(each.pk) for each in (alice.wallet, sapling, bob.wallet)],
        "tokens": [str(pk) for pk in Token.objects.order_by("lot").values_list("pk", flat=True)[:20]],
        "transfers": [str(each.id) for each in (done, *pending)],
        "trusts": [str(each.id) for each in asked],
    }
