"""Each term of the two systems is explained where it stands: a `?` beside it opens the glossary at that term."""

import re
from html import unescape
from types import SimpleNamespace

from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.admin import glossary, reports
from config.admin.base import LedgerPage
from config.admin.models import Proposal
from lockers.states import CoinState, TaskKind
from tests.admin.conftest import a_link_of
from transfers import counters
from transfers.states import TransferEvent
from wallets.models import Wallet

# Labels that everyone understands without knowing either system.
PLAIN = {
    "about", "action", "active", "address", "after", "age", "amount", "answer", "as a table", "asked", "attempts",
    "balance", "batches", "before", "before and after", "began", "begins with", "begun", "browser", "by", "came",
    "cause", "changed", "check", "claim link", "client", "client address", "closed", "closed by", "closing balance",
    "coins as it ended", "coins that it holds", "coins, current state", "concerns", "cover", "created", "cure", "day",
    "decided", "decided by", "did", "disabled", "disabled by", "display name", "e-mail", "end it", "ended", "error",
    "event", "expires", "fails since", "for", "from", "from issue to holder", "grade", "held at the end", "held by",
    "held now", "how it ended", "id", "imported", "issued", "issued by", "kind", "last attempt", "last checked",
    "last login", "last sent", "last used", "last value", "logo", "made", "mail", "message", "month", "most tokens",
    "moved", "moves", "name", "networks", "next attempt", "note", "notifications", "now", "object", "of",
    "opening balance", "paid", "password", "person", "possible actions", "progress", "proposed by", "put into lockers",
    "reaches", "reason", "received", "refused", "request", "request id", "request type", "result", "revoked", "role",
    "says", "second factor", "seen", "sender", "sent", "servers are asked next", "session", "sessions", "settled by",
    "setup", "signed in", "signs in with", "start of the body", "state", "status", "taken", "task",
    "the coins of its locker as they are now", "the same coins as later tasks settled them", "time", "time (utc)",
    "to", "tokens at the end", "tokens moved by month", "tokens that are reserved", "tokens that moved", "took",
    "completed transfers by month", "type", "types", "until", "url", "url set by", "waiting", "waiting for an answer",
    "what", "what became of it", "what happened", "what was proposed", "when", "who", "why", "with",
}  # fmt: skip


def labels_of(page: str) -> list[tuple[str, str]]:
    """Return the headings, the heads of lists and the labels of facts: each as text, and the address of its `?`."""
    cells = re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.DOTALL)
    for table in re.findall(r'<table class="rows".*?</thead>', page, re.DOTALL):
        cells += re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table, re.DOTALL)
    # The first: others hold data.
    for table in re.findall(r'<table class="facts">.*?</table>', page, re.DOTALL)[:1]:
        cells += re.findall(r'<th scope="row"[^>]*>(.*?)</th>', table, re.DOTALL)
    found = []
    for cell in cells:
        link = re.search(r'<a class="what-is" href="([^"]+)"', cell)
        text = re.sub(r"<a class=.what-is.*?</a>|<span aria-hidden.*?</span>|<[^>]+>", "", cell)
        found.append((" ".join(unescape(text).split()).lower(), link.group(1) if link else ""))
    return found


def pages_without_a_model(wallet: Wallet) -> list[str]:
    """The reports, the statement, the proposals, and one of them."""
    proposal = Proposal.objects.create(
        proposer=User.objects.create_user("petra"), action="issue-tokens", object_id=str(wallet.pk), title="Issue",
        reason="asked", state="void", created_at=timezone.now(), expires_at=timezone.now(), decided_at=timezone.now(),
    )  # fmt: skip
    return [
        *(reverse(f"admin:report_{kind}") for kind in reports.KINDS),
        reverse("admin:report_wallet", args=[wallet.pk]),
        reverse("admin:proposals"),
        reverse("admin:proposal", args=[proposal.pk]),
    ]


def test_every_label_is_a_term_with_its_link_or_a_plain_word(desk: Client, ledger: SimpleNamespace) -> None:
    a_link_of(ledger.alice)
    counters.roll_up()
    addresses = [reverse("admin:index"), reverse("admin:sessions"), *pages_without_a_model(ledger.alice)]
    for model, page in admin.site._registry.items():
        if isinstance(page, LedgerPage):
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
            addresses.append(reverse(f"{name}_changelist"))
            addresses += [reverse(f"{name}_change", args=[row.pk]) for row in model._default_manager.all()[:2]]

    found = {label for address in addresses for label in labels_of(desk.get(address).content.decode())}

    unexplained = {label for label, url in found if not url}
    assert len(found) > 100
    assert not (wrong := sorted(unexplained - PLAIN)), " | ".join(wrong)
    anchors = set(re.findall(r'<tr id="([^"]+)"', Client().get("/docs/glossary/").content.decode()))
    assert {url.partition("#")[2] for _, url in found if url} <= anchors
    assert {url.partition("#")[0] for _, url in found if url} == {"/docs/glossary/"}


def test_every_page_has_its_term_beside_its_title(desk: Client, ledger: SimpleNamespace) -> None:
    a_link_of(ledger.alice)
    without = []
    for model, page in admin.site._registry.items():
        if isinstance(page, LedgerPage):
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
            shown = (
                desk.get(reverse(f"{name}_changelist")),
                desk.get(reverse(f"{name}_change", args=[model._default_manager.first().pk])),
            )
            without += [page.singular for each in shown if not re.search(rb'<h1>[^\n]*class="what-is"', each.content)]

    assert without == ["person", "person"]
    for address in pages_without_a_model(ledger.alice):
        assert re.search(rb'<h1>[^\n]*class="what-is"', desk.get(address).content), address


def test_states_kinds_and_events_are_terms() -> None:
    words = [word.value for words in (CoinState, TaskKind, TransferEvent) for word in words]

    assert [word for word in words if not (glossary.terms().get(word) or glossary.explained(word))] == []
