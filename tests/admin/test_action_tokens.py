"""The desk's pages of claim links: what they show, and what they never do."""

from types import SimpleNamespace

import pytest
from django.test import Client
from django.urls import reverse

from tests.admin.conftest import a_link_of
from transfers import action_tokens
from transfers.action_tokens import Wish
from transfers.models import ActionToken
from wallets.models import Token

pytestmark = pytest.mark.django_db


def text_of(desk: Client, name: str, *arguments: object) -> str:
    response = desk.get(reverse(f"admin:{name}", args=arguments))
    assert response.status_code == 200
    return response.content.decode()


def test_a_link_is_on_its_page_in_the_list_and_on_the_page_of_its_wallet_without_its_code(
    desk: Client, ledger: SimpleNamespace
) -> None:
    wish = Wish("ann@example.org", email_must_match=True, message="Thank you")
    [made] = action_tokens.offer_bundles(actor=ledger.alice, sender=None, size=2, wish=wish)
    row = ActionToken.objects.get(pk=made.id)

    page = text_of(desk, "transfers_actiontoken_change", row.pk)
    listed = text_of(desk, "transfers_actiontoken_changelist")
    wallet = text_of(desk, "wallets_wallet_change", ledger.alice.pk)
    csv = b"".join(desk.get(reverse("admin:transfers_actiontoken_csv"))).decode()

    for words in ("Thank you", "ann@example.org", "the claimant must give it", "active"):
        assert words in page
    for shown in (page, listed, wallet, csv):
        assert made.code not in shown
        assert bytes(row.digest).hex() not in shown
        assert str(row.pk) in shown


def test_a_reserved_token_leads_to_the_link_or_the_transfer_that_reserves_it(
    desk: Client, ledger: SimpleNamespace
) -> None:
    link, transfer = a_link_of(ledger.alice), ledger.transfers["pending"]
    for reserved_by, page in ((link.pk, "actiontoken"), (transfer.id, "transfer")):
        address = reverse(f"admin:transfers_{page}_change", args=[reserved_by])
        token = Token.objects.filter(transfer_pending_id=reserved_by).first()
        assert token is not None
        assert address in text_of(desk, "wallets_token_change", token.pk)
        assert address in desk.get(reverse("admin:wallets_token_changelist"), {"q": str(token.pk)}).content.decode()


def test_a_claimed_link_leads_to_its_transfer_and_cannot_be_cancelled(desk: Client, ledger: SimpleNamespace) -> None:
    [made] = action_tokens.offer_bundles(actor=ledger.alice, sender=None, size=1)
    action_tokens.redeem(actor=ledger.bob, code=made.code)

    page = text_of(desk, "transfers_actiontoken_change", made.id)
    assert reverse("admin:transfers_transfer_change", args=[made.id]) in page
    assert "it is redeemed, and that is final" in page
