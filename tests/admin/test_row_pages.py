"""What the pages of wallets, tokens and tasks say of a row."""

import itertools
import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config.admin import charts
from config.admin.wallets import MANAGED_SHOWN
from lockers.models import Coin, LockerTask, ReceiptLine
from tests.admin.conftest import furnish
from tests.support.desk_pages import confirm, text_of, url
from trusts import operations as trusts
from wallets.models import Token, Wallet


def facts(page: Any) -> dict[str, str]:
    return {fact.label: f"{fact.value} {fact.note}".strip() for fact in page.context["facts"]}


def page_of(desk: Client, row: Any) -> Any:
    name = f"{row._meta.app_label}_{row._meta.model_name}"
    response = desk.get(reverse(f"admin:{name}_change", args=[row.pk]))
    assert response.status_code == 200
    return response


def test_a_wallet_names_its_managers_and_the_wallets_that_it_manages(desk: Client, ledger: SimpleNamespace) -> None:
    Wallet.objects.filter(pk=ledger.alice.pk).update(display_name="Alice & Co", about="plants <trees>")

    hers, its = page_of(desk, ledger.alice), page_of(desk, ledger.sapling)

    assert [(wallet.name, tokens) for wallet, tokens in hers.context["managed"]] == [("sapling", 3)]
    assert (facts(hers)["display name"], facts(hers)["about"]) == ("Alice & Co", "plants <trees>")
    assert b"plants &lt;trees&gt;" in hers.content
    assert facts(hers)["managed by"] == "no wallet"
    assert facts(its)["managed by"] == f'<a href="{url("wallets_wallet_change", ledger.alice)}">alice</a>'
    assert (facts(its)["display name"], facts(its)["about"], its.context["managed"]) == ("–", "–", [])


def test_a_wallet_with_many_managed_wallets_shows_the_first(desk: Client, staff: User, db: None) -> None:
    ledger = furnish(staff)
    few = page_of(desk, ledger.alice)
    for number in range(MANAGED_SHOWN):
        trusts.open_managed_wallet(actor=ledger.alice, name=f"grove-{number:02}")

    many = page_of(desk, ledger.alice)

    assert few.context["managed_are_more"] is False
    assert [wallet.name for wallet, _ in many.context["managed"]] == [f"grove-{n:02}" for n in range(MANAGED_SHOWN)]
    assert f"The first {MANAGED_SHOWN}, by name." in text_of(many)


def test_a_wallet_shows_who_asked_for_each_trust_and_transfer(desk: Client, ledger: SimpleNamespace) -> None:
    shown = page_of(desk, ledger.alice)

    assert "bobby may send to alice without asking asked by bobby" in text_of(shown)
    askers = re.findall(r'data-label="asked by">(\w+)<', shown.content.decode())
    assert sorted(askers) == ["alice"] * 4 + ["bobby"]


def test_a_token_names_who_issued_it(desk: Client, ledger: SimpleNamespace) -> None:
    confirm(desk, url("issue-tokens", ledger.bob), count="2", reason="order 7")
    issued = Token.objects.filter(wallet=ledger.bob).latest("created_at")
    other = Token.objects.filter(wallet=ledger.alice).earliest("created_at")

    by_operator, by_command = facts(page_of(desk, issued)), facts(page_of(desk, other))

    assert re.fullmatch(
        r'<a href="/admin/wallets/operatoraction/\d+/change/">olivia</a> order 7', by_operator["issued by"]
    )
    assert by_command["issued by"] == "not recorded by a command on the server, or an import"


def test_a_task_is_titled_by_amount_and_tag(desk: Client, ledger: SimpleNamespace) -> None:
    running, failed = page_of(desk, ledger.running), page_of(desk, ledger.failed)

    assert running.context["title"] == "Put of alice: 25 coins, “spring”"
    assert failed.context["title"] == "Take of alice"


def test_a_task_that_ended_shows_no_progress(desk: Client, ledger: SimpleNamespace) -> None:
    LockerTask.objects.filter(pk=ledger.failed.pk).update(progress=92)

    page, listed = page_of(desk, ledger.failed), desk.get(reverse("admin:lockers_lockertask_changelist"))

    for shown in (page, listed):
        assert "92 %" not in text_of(shown)
    assert b"<progress" not in page.content
    assert b'<progress max="100" value="40"' in listed.content


def counts(found: Any) -> list[tuple[str, int]]:
    return [(each.state, each.coins) for each in found]


def test_coins_as_the_task_ended_and_as_they_are_now_are_apart(desk: Client, ledger: SimpleNamespace) -> None:
    before = page_of(desk, ledger.failed).context
    later = LockerTask.objects.get(pk=ledger.running.pk)
    ReceiptLine.objects.filter(task=ledger.failed).update(became="bank", settled_by=later)

    after = page_of(desk, ledger.failed)

    assert (before["coins_heading"], counts(before["coins"]), "now_heading" in before) == (
        "Coins as it ended", [("limbo", 1)], False
    )  # fmt: skip
    assert (counts(after.context["coins"]), counts(after.context["coins_now"])) == ([("limbo", 1)], [("bank", 1)])
    assert b"The same coins as later tasks settled them" in after.content


def test_a_put_shows_the_coins_of_its_locker_as_they_are_now(desk: Client, ledger: SimpleNamespace) -> None:
    task, coin = ledger.running, ledger.coins[0]
    # Stored by the task, and taken out by the holder of the code since.
    ReceiptLine.objects.create(task=task, denomination=0, serial_number=1, pown="p" * 25, state="locked")
    Coin.objects.filter(pk=coin.pk).update(state="sent", locker=ledger.locker)
    running = page_of(desk, task).context
    LockerTask.objects.filter(pk=task.pk).update(state="completed", progress=100, finished_at=timezone.now())

    ended = page_of(desk, task).context

    assert (running["coins_heading"], "now_heading" in running) == ("Coins that it holds", False)
    assert (counts(ended["coins"]), counts(ended["coins_now"])) == ([("locked", 1)], [("sent", 1)])


@pytest.mark.parametrize("many", [1, 2, 24, 30])
def test_names_around_a_wallet_do_not_meet(many: int) -> None:
    names = [f"a-village-with-a-long-name-in-the-northern-hills-{number:02}" for number in range(many)]
    drawn = charts.around(
        "the-wallet-in-the-middle", [charts.Spoke(name, "t-trusted", name, True) for name in names], label=""
    )

    found = re.findall(r'<text x="(\d+)" y="([\d.]+)" text-anchor="(\w+)">([^<]+)</text>', drawn)

    assert len(found) == many
    # Cut in the middle, they are still told apart.
    assert len({text for *_, text in found}) == many
    # A character is at most 8 units wide and a line 16 high.
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())  # type: ignore[union-attr]
    middle = re.search(r'class="middle" x="360" y="[\d.]+" text-anchor="middle">([^<]+)<', drawn).group(1)  # type: ignore[union-attr]
    for x, y, anchor, text in found:
        assert (int(x) - 7.3 * len(text) >= 0) if anchor == "end" else (int(x) + 7.3 * len(text) <= width)
        assert 16 <= float(y) <= height
        assert abs(int(x) - 360) > 4.5 * len(middle)
    for side in ("end", "start"):
        lines = sorted(float(y) for _, y, anchor, _ in found if anchor == side)
        assert all(below - above >= 16 for above, below in itertools.pairwise(lines))
