"""Two clicks, or two operators, at the same moment: one effect."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from config.admin.models import Proposal
from tests.concurrency.races import wait_until_waiting
from tests.concurrency.writers import uncommitted
from transfers import operations as transfers
from trusts import operations as trusts
from trusts.models import TrustChange
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import OperatorAction, Token

pytestmark = pytest.mark.django_db(transaction=True)


def signed_in(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.filter(username=name).first() or User.objects.create_superuser(name))
    return client


def ticket(client: Client, address: str, answers: dict[str, str]) -> dict[str, str]:
    page = client.post(address, {"step": "review", **answers})
    return {"step": "confirm", "ticket": page.context["ticket"], **dict(page.context["hidden"]), "reason": "as asked"}


def at_once(*calls: Callable[[], int]) -> list[int]:
    barrier = Barrier(len(calls))

    def run(call: Callable[[], int]) -> int:
        try:
            barrier.wait(timeout=60)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return sorted(each.result(timeout=60) for each in [pool.submit(run, call) for call in calls])


@pytest.mark.parametrize("people", [("olivia", "olivia"), ("olivia", "oscar")], ids=["two clicks", "two operators"])
@pytest.mark.parametrize("act", ["issue-tokens", "cancel-transfer", "end-trust"])
def test_one_effect(act: str, people: Any) -> None:
    alice, bob = wallets.create_wallet(name="alice"), wallets.create_wallet(name="bobby")
    transfers.issue_tokens(wallet=alice, count=5)
    pending = transfers.send_bundle(actor=alice, sender="alice", receiver="bobby", size=2)
    trust = trusts.request_trust(actor=alice, requestee="bobby", request_type=TrustRequestType.YIELD)
    address, answers = {
        "end-trust": (reverse("admin:end-trust", args=[trust.id]), {}),
        "issue-tokens": (reverse("admin:issue-tokens", args=[bob.pk]), {"count": "4"}),
        "cancel-transfer": (reverse("admin:cancel-transfer", args=[pending.id]), {"event": "delete"}),
    }[act]
    clients = [signed_in(name) for name in people]
    if people[0] == people[1]:
        tickets = [ticket(clients[0], address, answers)] * 2
    else:
        tickets = [ticket(client, address, answers) for client in clients]

    statuses = at_once(
        *(
            lambda client=client, sent=sent: client.post(address, sent).status_code
            for client, sent in zip(clients, tickets, strict=True)
        )
    )

    assert statuses == [302, 409]
    assert OperatorAction.objects.count() == 1
    assert Token.objects.filter(wallet=bob).count() == (4 if act == "issue-tokens" else 0)
    assert not Token.objects.exclude(transfer_pending_id=None).exists() or act != "cancel-transfer"
    assert TrustChange.objects.filter(event="end").count() == (act == "end-trust")


def test_two_approvals_of_one_proposal_have_one_effect(settings: Any) -> None:
    settings.FOUR_EYES_ISSUE_ABOVE = 0
    alice = wallets.create_wallet(name="alice")
    address = reverse("admin:issue-tokens", args=[alice.pk])
    proposer = signed_in("mia")
    proposal = proposer.post(address, ticket(proposer, address, {"count": "4"}))["Location"]
    clients = [signed_in("olivia"), signed_in("oscar")]
    sent = [
        {"step": "confirm", "ticket": client.get(proposal).context["ticket"], "reason": "as asked"}
        for client in clients
    ]

    statuses = at_once(
        *(
            lambda client=client, each=each: client.post(proposal, each).status_code
            for client, each in zip(clients, sent, strict=True)
        )
    )

    assert statuses == [302, 409]
    assert Token.objects.filter(wallet=alice).count() == 4
    assert OperatorAction.objects.filter(verb="issued_tokens").count() == 1


def test_a_proposal_is_approved_or_refused(settings: Any) -> None:
    settings.FOUR_EYES_ISSUE_ABOVE = 0
    alice = wallets.create_wallet(name="alice")
    address = reverse("admin:issue-tokens", args=[alice.pk])
    proposer = signed_in("mia")
    proposal = proposer.post(address, ticket(proposer, address, {"count": "4"}))["Location"]
    olivia, oscar = signed_in("olivia"), signed_in("oscar")
    approval = {"step": "confirm", "ticket": olivia.get(proposal).context["ticket"], "reason": "as asked"}

    statuses = at_once(
        lambda: olivia.post(proposal, approval).status_code,
        lambda: oscar.post(proposal, {"step": "refuse", "reason": "not today"}).status_code,
    )

    assert statuses == [302, 409]
    done = list(OperatorAction.objects.order_by("pk").values_list("verb", flat=True))
    assert done in (["proposed", "issued_tokens"], ["proposed", "refused_proposal"])
    approved = done[1] == "issued_tokens"
    assert Proposal.objects.get().state == ("approved" if approved else "refused")
    assert Token.objects.filter(wallet=alice).count() == (4 if approved else 0)


def test_a_proposer_who_is_being_deactivated_is_waited_for(settings: Any) -> None:
    settings.FOUR_EYES_ISSUE_ABOVE = 0
    alice = wallets.create_wallet(name="alice")
    address = reverse("admin:issue-tokens", args=[alice.pk])
    proposer, olivia = signed_in("mia"), signed_in("olivia")
    proposal = proposer.post(address, ticket(proposer, address, {"count": "4"}))["Location"]
    approval = {"step": "confirm", "ticket": olivia.get(proposal).context["ticket"], "reason": "as asked"}

    with ThreadPoolExecutor(1) as pool:
        with uncommitted(lambda: User.objects.filter(username="mia").update(is_active=False)):
            approving = pool.submit(at_once, lambda: olivia.post(proposal, approval).status_code)
            wait_until_waiting(1)
        assert approving.result(timeout=60) == [409]

    assert not Token.objects.exists()
    assert list(OperatorAction.objects.values_list("verb", flat=True)) == ["proposed"]
