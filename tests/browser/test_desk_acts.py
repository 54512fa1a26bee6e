"""Every act of an operator, by clicking from the page of a row to what came of it, under the desk's policy."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from playwright.sync_api import Browser, Page, expect

from lockers.localnet.control import Control, control_socket
from tests.admin.conftest import a_link_of, furnish
from tests.api.web_server import web_server
from tests.browser.clicks import follow, press
from tests.browser.pictures import picture
from tests.browser.watched import Watched
from tests.support import desk_walks
from tests.support.desk_in_chromium import PASSWORD, Desk, assert_clean, looked_at, signed_in, tab, watched
from tests.support.local_network import LocalNetwork
from wallets.models import ApiKey, BearerToken, OperatorAction, RestrictedKey
from wallets.states import OperatorVerb

__all__ = ["signed_in", "tab", "watched"]
# What the log holds after the walk.
WALKED = [
    "created_wallet", "pseudonymised_wallet", "issued_tokens", "issued_tokens", "revoked_bearer_tokens",
    "revoked_bearer_tokens", "set_password", "ended_restricted_key", "ended_restricted_keys", "created_api_key",
    "rotated_api_key", "revoked_api_key", "ended_trust", "cancelled_transfer", "ended_payment_request",
    "cancelled_action_token", "tested_webhook", "resent_delivery", "disabled_webhook", "enabled_webhook",
    "started_find", "started_fix", "checked_coins", "retried_task", "rolled_back_task", "saw_task", "ran_audit",
    "set_fault", "acknowledged_alert",
]  # fmt: skip
# What two operators add to it.
WALKED_BY_TWO = ["proposed", "proposed", "issued_tokens", "refused_proposal"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def desk(django_db_setup: None, django_db_blocker: Any, state: Path) -> Iterator[Desk]:
    """A running desk with a local network that takes orders."""
    with django_db_blocker.unblock(), LocalNetwork(state / "raida", base_port=0) as network:
        orders = control_socket(network.fleet)
        asyncio.run_coroutine_threadsafe(orders.__aenter__(), network._loop).result()
        staff = User.objects.create_superuser("olivia", password=PASSWORD)
        ledger = furnish(staff)

        try:
            ledger.token = BearerToken.objects.get()
            ledger.link = a_link_of(ledger.alice)
            with web_server({"COPPICE_STATE_DIR": str(state), "COPPICE_FOUR_EYES_ISSUE_ABOVE": "1000"}) as address:
                yield Desk(address, ledger)
        finally:
            asyncio.run_coroutine_threadsafe(orders.__aexit__(None, None, None), network._loop).result()
            call_command("flush", interactive=False, verbosity=0)


def go(page: Page, desk: Desk, path: str, button: str) -> None:
    page.goto(f"{desk.home}{path}")
    follow(page, button)


def review(page: Page) -> None:
    press(page, "Review what will happen", exact=False)
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()


def confirm(page: Page, button: str) -> None:
    page.get_by_label("Reason").fill("as asked")
    press(page, button)


def secret(page: Page, name: str) -> str:
    expect(page.get_by_role("heading", name="Shown only once")).to_be_visible()
    return page.locator("dl.once dt", has_text=name).locator("xpath=following-sibling::dd[1]").inner_text()


def log_of(desk: Desk) -> list[str]:
    """What the log of operators holds, but for what was there from the beginning."""
    found: list[str] = []
    desk.meanwhile(lambda: found.extend(OperatorAction.objects.order_by("id").values_list("verb", flat=True)[1:]))
    return found


# The mark has the database created, which the fixtures fill for the whole module.
@pytest.mark.django_db
def test_no_act_is_left_out() -> None:
    assert set(WALKED) | set(WALKED_BY_TWO) | set(desk_walks.WALKED) == set(OperatorVerb.values)


# One walk: the acts build on each other, as on an operator's day. Pages of rows are looked at in `test_desk`, and here
# only one that an act has changed: that of the trust.
def test_every_act_is_done_by_clicks_and_written_down(watched: Watched, desk: Desk, state: Path) -> None:
    page, ledger, wrong = watched.page, desk.ledger, []
    wallet, done = f"wallets/wallet/{ledger.bob.pk}/change/", page.locator("ul.messagelist")

    # A wallet, and its password, once.
    go(page, desk, "wallets/wallet/", "Create a wallet")
    page.get_by_label("Name").fill("birch")
    page.get_by_label("Give it a password").check()
    review(page)
    expect(page.locator(".consequences")).to_contain_text("1 new wallet, birch")
    confirm(page, "Create the wallet")
    assert len(secret(page, "Password")) == 20
    wrong += looked_at(page, "shown once")
    picture(page, "once")
    follow(page, "I have copied it", exact=False)
    expect(page.get_by_role("heading", name="Wallet birch")).to_be_visible()
    # It holds nothing, so it can be closed.
    follow(page, "Pseudonymise")
    picture(page, "pseudonymise")
    wrong += looked_at(page, "pseudonymise")
    confirm(page, "Pseudonymise the wallet")
    expect(done).to_contain_text("The wallet is now called closed-")
    expect(page.locator(".button.off", has_text="Pseudonymise")).to_be_visible()

    # Tokens: a mistake first, then by number, and for the captures of a file.
    go(page, desk, wallet, "Issue tokens")
    press(page, "Review what will happen", exact=False)
    expect(page.locator(".errorlist").first).to_contain_text("Enter a number or choose a file")
    picture(page, "questions")
    wrong += looked_at(page, "questions")
    page.get_by_label("How many").fill("5")
    review(page)
    expect(page.locator(".consequences")).to_contain_text("5 new tokens in bobby")
    picture(page, "confirmation")
    wrong += looked_at(page, "confirmation")
    confirm(page, "Issue the tokens")
    expect(done).to_contain_text("5 tokens issued to bobby.")
    go(page, desk, wallet, "Issue tokens")
    file = {"name": "c.csv", "mimeType": "text/csv", "buffer": b"7f3a5b5e-3c77-4dcd-9f14-0a4f9ee2f0aa\r\n"}
    page.get_by_label("CSV file").set_input_files([file])
    review(page)
    confirm(page, "Issue the tokens")
    expect(done).to_contain_text("1 token issued to bobby.")
    picture(page, "wallet-after")

    # A wallet's credentials.
    alice = f"wallets/wallet/{ledger.alice.pk}/change/"
    go(page, desk, f"wallets/bearertoken/{ledger.token.pk}/change/", "Revoke")
    confirm(page, "Revoke it")
    expect(done).to_contain_text("is revoked")
    page.goto(f"{desk.home}{alice}")
    expect(page.locator(".button.off", has_text="Revoke all bearer tokens")).to_be_visible()
    desk.meanwhile(lambda: BearerToken.objects.filter(pk=ledger.token.pk).update(revoked_at=None))
    go(page, desk, alice, "Revoke all bearer tokens")
    confirm(page, "Revoke them")
    expect(done).to_contain_text("1 bearer token of alice revoked.")
    go(page, desk, alice, "Set a new password")
    review(page)
    confirm(page, "Set a new password")
    assert secret(page, "Password")
    go(page, desk, f"wallets/restrictedkey/{ledger.restricted_key.pk}/change/", "End")
    confirm(page, "End the key")
    expect(done).to_contain_text("The key the shop of alice has ended.")
    desk.meanwhile(lambda: RestrictedKey.objects.filter(pk=ledger.restricted_key.pk).update(ended_at=None))
    go(page, desk, alice, "End all restricted keys")
    confirm(page, "End them")
    expect(done).to_contain_text("1 restricted key of alice ended.")

    # Keys.
    go(page, desk, "wallets/apikey/", "Create an API key")
    page.get_by_label("Name").fill("partner two")
    review(page)
    confirm(page, "Create the key")
    assert len(secret(page, "API key")) == 43
    follow(page, "I have copied it", exact=False)
    follow(page, "Rotate")
    page.get_by_label("The old key stays valid").select_option("24")
    review(page)
    confirm(page, "Rotate the key")
    assert len(secret(page, "API key")) == 43
    go(page, desk, f"wallets/apikey/{ledger.key.pk}/change/", "Revoke")
    confirm(page, "Revoke the key")
    expect(done).to_contain_text("is revoked")

    # A trust.
    go(page, desk, f"trusts/trust/{ledger.trust.id}/change/", "End")
    expect(page.locator(".consequences")).to_contain_text("a new request is needed")
    picture(page, "end-trust")
    wrong += looked_at(page, "end of a trust")
    confirm(page, "End this trust")
    expect(done).to_contain_text("The trust is ended.")
    expect(page.locator(".timeline")).to_contain_text("An operator")
    expect(page.locator(".button.off", has_text="End")).to_be_visible()
    picture(page, "trust-ended")
    wrong += looked_at(page, "trust that was ended")

    # A transfer, in the name of who asked.
    transfer = f"transfers/transfer/{ledger.transfers['pending'].id}/change/"
    go(page, desk, transfer, "Cancel")
    page.get_by_label("alice, which requested it: withdraw it").check()
    picture(page, "cancel")
    review(page)
    confirm(page, "Cancel the transfer")
    expect(done).to_contain_text("The transfer is cancelled.")
    expect(page.locator(".button.off", has_text="Cancel")).to_be_visible()
    page.goto(f"{desk.home}acts/cancel-transfer/{ledger.transfers['pending'].id}/")
    expect(page.get_by_role("alert")).to_contain_text("it is cancelled, and that is final")
    picture(page, "refused")
    wrong += looked_at(page, "refused")

    # A payment request.
    go(page, desk, f"lockers/paymentrequest/{ledger.payment_request.pk}/change/", "Cancel")
    picture(page, "cancel-payment-request")
    confirm(page, "Cancel the payment request")
    expect(done).to_contain_text("The payment request is cancelled.")
    expect(page.locator(".button.off", has_text="Cancel")).to_be_visible()
    picture(page, "payment-request")
    go(page, desk, f"transfers/actiontoken/{ledger.link.pk}/change/", "Cancel")
    confirm(page, "Cancel the claim link")
    expect(done).to_contain_text("The claim link is cancelled.")
    picture(page, "claim-link")

    # A webhook and its deliveries.
    webhook, delivery = (
        f"webhooks/{kind}/{row.pk}/change/"
        for kind, row in (("webhook", ledger.webhook), ("webhookdelivery", ledger.delivery))
    )
    for path, button, confirmation, words in (
        (webhook, "Send a test", "Send a test", "A test is on its way."),
        (delivery, "Send again", "Send it again", "The message is on its way again."),
        (webhook, "Disable", "Disable the webhook", "The webhook is disabled."),
        (webhook, "Enable", "Enable the webhook", "The webhook is enabled."),
    ):
        go(page, desk, path, button)
        confirm(page, confirmation)
        expect(done).to_contain_text(words)
    picture(page, "webhook")

    # Coins and tasks.
    go(page, desk, alice, "Find coins")
    confirm(page, "Ask the servers")
    expect(page.get_by_role("heading", name="Find of alice")).to_be_visible()
    go(page, desk, alice, "Fix coins")
    confirm(page, "Fix them")
    expect(page.get_by_role("heading", name="Fix of alice")).to_be_visible()
    picture(page, "task")
    go(page, desk, alice, "Check coins")
    picture(page, "check-coins")
    confirm(page, "Ask the servers")
    expect(page.get_by_role("heading", name="Health of alice")).to_be_visible()
    picture(page, "health")
    wrong += looked_at(page, "check of coins")
    task = f"lockers/lockertask/{ledger.running.pk}/change/"
    go(page, desk, task, "Retry")
    confirm(page, "Retry the task")
    expect(done).to_contain_text("The task was enqueued.")
    go(page, desk, task, "Roll back")
    confirm(page, "Roll it back")
    expect(done).to_contain_text("The task is ending.")
    go(page, desk, f"lockers/lockertask/{ledger.failed.pk}/change/", "Mark as seen")
    confirm(page, "Mark it as seen")
    expect(done).to_contain_text("The task is marked as seen.")

    # The books, and an outage.
    go(page, desk, "wallets/auditrun/", "Run the audit")
    confirm(page, "Run it now")
    expect(page.get_by_role("heading", name=re.compile("^Audit "))).to_be_visible()
    go(page, desk, "lockers/lockertask/", "Rehearse an outage")
    page.get_by_label("Servers").fill("0-12")
    review(page)
    expect(page.locator(".consequences")).to_contain_text("12 of 25 will work normally; the quorum is 13. Uploads wait")
    picture(page, "outage")
    confirm(page, "Set the fault")
    expect(done).to_contain_text("Servers 0-12: silent.")
    assert len(Control(state / "raida").state()["faults"]) == 13
    picture(page, "home")

    # An alert.
    page.goto(desk.home)
    with page.expect_navigation():
        page.locator(".alerts a", has_text="tasks that need action").click()
    follow(page, "Acknowledge")
    confirm(page, "Acknowledge the alert")
    expect(done).to_contain_text("The alert is acknowledged.")
    picture(page, "alert")
    wrong += looked_at(page, "alert")

    assert wrong == []
    assert log_of(desk) == WALKED
    # Answers of 409 are what is tested above; a browser complains about each.
    watched.complaints[:] = [each for each in watched.complaints if "409" not in each]
    assert_clean(watched, desk)


def test_two_fast_clicks_create_one_key_and_show_it(watched: Watched, desk: Desk) -> None:
    page = watched.page
    go(page, desk, "wallets/apikey/", "Create an API key")
    page.get_by_label("Name").fill("clicked twice")
    review(page)

    page.get_by_role("button", name="Create the key").click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    page.get_by_label("Reason").fill("as asked")
    page.get_by_role("button", name="Create the key").dblclick()

    assert len(secret(page, "API key")) == 43
    keys: list[int] = []
    desk.meanwhile(lambda: keys.append(ApiKey.objects.filter(name="clicked twice").count()))
    assert keys == [1]
    assert_clean(watched, desk)


def test_two_operators_issue_many_tokens_together(watched: Watched, desk: Desk, browser: Browser) -> None:
    desk.meanwhile(lambda: User.objects.create_superuser("oscar", password=PASSWORD))
    known: list[int] = []
    desk.meanwhile(lambda: known.append(len(log_of(desk))))
    page, alice = watched.page, desk.ledger.alice
    addresses, wrong = [], []
    for count in ("1001", "1002"):
        go(page, desk, f"wallets/wallet/{alice.pk}/change/", "Issue tokens")
        page.get_by_label("How many").fill(count)
        review(page)
        expect(page.get_by_text("This action needs a second operator.")).to_be_visible()
        confirm(page, "Propose")
        expect(page.get_by_text("you proposed it, so another person must approve it")).to_be_visible()
        addresses.append(page.url)
    wrong += looked_at(page, "a proposal of one's own")
    other = Watched(browser.new_context(viewport={"width": 1280, "height": 900}).new_page())
    second = other.page
    second.goto(desk.home)
    second.get_by_label("Username").fill("oscar")
    second.get_by_label("Password").fill(PASSWORD)
    press(second, "Log in", exact=False)
    follow(second, "proposals (2)")
    expect(second.locator(".rows tbody tr")).to_have_count(2)
    wrong += looked_at(second, "proposals")
    picture(second, "proposals")
    second.goto(addresses[0])
    expect(second.get_by_role("heading", name="What will happen now")).to_be_visible()
    expect(second.locator(".consequences").last).to_contain_text("1,001 new tokens in alice")
    wrong += looked_at(second, "a proposal")
    picture(second, "proposal")
    second.get_by_label("Reason", exact=True).fill("counted")
    press(second, "Approve: Issue the tokens")
    expect(second.locator(".messagelist")).to_contain_text("1,001 tokens issued to alice.")
    second.goto(addresses[1])
    second.get_by_label("Reason for refusing it").fill("twice")
    press(second, "Refuse it")
    expect(second.locator(".messagelist")).to_contain_text("The proposal was refused. Nothing was done.")

    assert wrong == []
    added: list[list[str]] = []
    desk.meanwhile(lambda: added.append(log_of(desk)[known[0] :]))
    assert added == [WALKED_BY_TWO]
    assert_clean(watched, desk)
    assert_clean(other, desk)
    second.context.close()
