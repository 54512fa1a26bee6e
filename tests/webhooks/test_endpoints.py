"""The endpoints below `/webhooks`: what they answer, what they refuse, and that a secret is shown once."""

import json
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.api.caller import Caller, logged_in
from tests.support.api_description import misfits
from tests.support.pagination import next_path
from tests.webhooks.receiver import answers, receiving
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Event, IdempotentAnswer
from webhooks.models import Webhook, WebhookDelivery
from webhooks.sender import session
from webhooks.states import DisabledBy

URL = "https://shop.example/hook"
STRANGE = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def api_key(transactional_db: None) -> str:
    return wallets.create_api_key(name="partner")[1]


@pytest.fixture
def anna(api_key: str) -> Caller:
    return logged_in("anna", api_key)


@pytest.fixture
def mona(api_key: str, anna: Caller) -> Caller:
    """A wallet that manages `sapling`."""
    caller = logged_in("mona", api_key)
    assert caller.wallet is not None
    trusts.open_managed_wallet(actor=caller.wallet, name="sapling")
    return caller


def body_of(response: Any, component: str) -> Any:
    body = json.loads(response.content)
    assert misfits(component, body) == []
    return body


def create(caller: Caller, **fields: Any) -> Any:
    response = caller.post("/webhooks", {"url": URL, **fields})
    assert response.status_code == 201, response.content
    return body_of(response, "WebhookWithSecret")


def problem(response: Any) -> tuple[int, str, str]:
    assert response["Content-Type"] == "application/problem+json"
    body = body_of(response, "Problem")
    assert (body["status"], body["code"]) == (response.status_code, response["Error-Code"])
    assert body["instance"] == response["X-Request-Id"]
    return body["status"], body["code"], body["detail"]


def rows() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Webhook, WebhookDelivery)]


def test_a_webhook_is_created_listed_read_changed_and_deleted(anna: Caller) -> None:
    created = create(anna, event_types=["transfer_completed", "coins.received"])
    path = f"/webhooks/{created['id']}"
    secret = created.pop("secret")
    assert secret.startswith("whsec_")
    assert (created["wallet"], created["owner"], created["state"]) == ("anna", "anna", "enabled")
    assert created["event_types"] == ["coins.received", "transfer_completed"]

    assert body_of(anna.get("/webhooks"), "WebhookPage") == {"webhooks": [created]}
    assert body_of(anna.get(path), "Webhook") == created
    changed = body_of(anna.patch(path, {"url": "https://shop.example/2", "event_types": []}), "Webhook")
    assert (changed["url"], changed["event_types"]) == ("https://shop.example/2", [])
    disabled = body_of(anna.patch(path, {"state": "disabled"}), "Webhook")
    assert (disabled["state"], disabled["disabled_by"]) == ("disabled", "request")
    enabled = body_of(anna.patch(path, {"state": "enabled"}), "Webhook")
    assert (enabled["state"], enabled["disabled_by"], enabled["disabled_at"]) == ("enabled", None, None)
    assert body_of(anna.delete(path), "DeletedWebhook") == {"id": created["id"], "deleted": True}
    assert problem(anna.get(path)) == (404, "webhook_not_found", "There is no webhook with that id")
    assert not Webhook.objects.exists()


def test_the_secret_is_in_one_answer_and_in_no_row_in_clear(anna: Caller) -> None:
    first = anna.post("/webhooks", {"url": URL}, idempotency_key="k")
    again = anna.post("/webhooks", {"url": URL}, idempotency_key="k")

    assert first.content == again.content
    assert again["Idempotency-Replayed"] == "true"
    created = json.loads(first.content)
    path = f"/webhooks/{created['id']}"
    rotated = body_of(anna.post(f"{path}/rotate-secret", {}, idempotency_key="l"), "WebhookWithSecret")
    secrets = [created["secret"], rotated["secret"]]
    assert secrets[0] != secrets[1]
    assert rotated["previous_secret_until"] is not None
    shown = anna.get(path).content + anna.get("/webhooks").content
    stored = b"".join(bytes(each.body or b"") for each in IdempotentAnswer.objects.all())
    row = Webhook.objects.get()
    stored += bytes(row.secret) + bytes(row.previous_secret or b"")
    for secret in secrets:
        assert secret.encode() not in shown + stored
        assert secret.removeprefix("whsec_").encode() not in shown + stored


def test_deliveries_are_listed_newest_first_and_sent_again(anna: Caller, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiving(answers(500, b"oops")) as receiver:
        path = f"/webhooks/{create(anna, url=receiver.url)['id']}"
        tested = anna.post(f"{path}/test", {})
        assert tested.status_code == 202
        first = body_of(tested, "WebhookDelivery")
        assert (first["type"], first["state"], first["attempts"]) == ("webhook.test", "pending", 0)
        anna.post(f"{path}/test")
        session.run()
        listed = anna.get(f"{path}/deliveries?limit=1")
        newer = body_of(listed, "WebhookDeliveryPage")["deliveries"]
        older = body_of(anna.get(next_path(listed)), "WebhookDeliveryPage")["deliveries"]
        assert [each["id"] for each in older] == [first["id"]]
        assert newer[0]["id"] != first["id"]
        assert (older[0]["status"], older[0]["response"], older[0]["error"]) == (500, "oops", None)
        assert older[0]["next_attempt_at"] > older[0]["last_attempt_at"]
        receiver.behaviour = answers(200)
        resent = anna.post(f"{path}/deliveries/{first['id']}/resend", {})
        assert resent.status_code == 202
        session.run()

    delivered = body_of(anna.get(f"{path}/deliveries?state=delivered"), "WebhookDeliveryPage")["deliveries"]
    assert [(each["id"], each["next_attempt_at"]) for each in delivered] == [(first["id"], None)]


def test_what_is_sent_has_the_form_that_the_description_says(anna: Caller, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiving() as receiver:
        create(anna, url=receiver.url)
        anna.post("/wallets", {"wallet": "seedling"})
        session.run()

    messages = [each.message for each in receiver.received]
    feed = json.loads(anna.get("/events?limit=100").content)["events"]
    assert [each["data"] for each in messages if each["type"] == "wallet_created"]
    assert all(each["data"] in feed for each in messages)
    assert [misfits("WebhookMessage", each) for each in messages] == [[]] * len(messages)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_value"),
        ({"url": "http://shop.example/"}, "webhook_url_invalid"),
        ({"url": "https://10.0.0.1/"}, "webhook_url_invalid"),
        ({"url": "https://shop.example/", "event_types": ["nothing"]}, "invalid_value"),
        ({"url": "https://shop.example/", "event_types": ["login", "login"]}, "invalid_value"),
        ({"url": "https://shop.example/", "wallet": "sapling"}, "wallet_not_controlled"),
        ({"url": "https://shop.example/", "wallet": "nobody"}, "wallet_not_found"),
        ({"url": "https://shop.example/", "secret": "mine"}, "invalid_value"),
        ({"url": 7}, "invalid_value"),
        (b"{", "malformed_json"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(anna: Caller, mona: Caller, body: Any, code: str, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    before = rows()

    assert problem(anna.post("/webhooks", body))[1] == code

    assert rows() == before


def test_ten_webhooks_are_the_most(anna: Caller) -> None:
    for _ in range(10):
        create(anna)

    refused = problem(anna.post("/webhooks", {"url": URL}))

    assert refused == (409, "too_many_webhooks", "A wallet has at most 10 webhooks")
    assert Webhook.objects.count() == 10
    pages, path = [], "/webhooks?limit=4"
    while path:
        response = anna.get(path)
        pages.append(len(body_of(response, "WebhookPage")["webhooks"]))
        path = next_path(response) if response.has_header("Link") else ""
    assert pages == [4, 4, 2]


def test_nothing_is_sent_to_a_disabled_webhook(anna: Caller) -> None:
    path = f"/webhooks/{create(anna)['id']}"
    delivery = json.loads(anna.post(f"{path}/test").content)["id"]
    anna.patch(path, {"state": "disabled"})
    before = rows()

    for asked in ("test", f"deliveries/{delivery}/resend"):
        assert problem(anna.post(f"{path}/{asked}"))[:2] == (409, "webhook_disabled")
    assert problem(anna.post(f"{path}/deliveries/{STRANGE}/resend"))[:2] == (404, "webhook_delivery_not_found")

    assert rows() == before


def test_a_manager_and_the_wallet_share_a_webhook_but_not_its_secret(mona: Caller, api_key: str) -> None:
    wallet = Webhook._meta.apps.get_model("wallets", "Wallet").objects.get(name="sapling")
    wallets.set_password(wallet=wallet, password="test1234")
    sapling = Caller(api_key, wallets.authenticate(name_or_id="sapling", password="test1234"), wallet)
    created = create(mona, wallet="sapling")
    path = f"/webhooks/{created['id']}"
    assert (created["wallet"], created["owner"]) == ("sapling", "mona")
    assert json.loads(sapling.get(path).content)["url"] == URL

    assert problem(sapling.post(f"{path}/rotate-secret"))[:2] == (403, "webhook_secret_of_another_wallet")
    mona.post(f"/wallets/{wallet.pk}/dismiss", {"manager_wallet": "mona"})
    Webhook.objects.update(state="disabled", disabled_by=DisabledBy.CONTROL_LOST, disabled_at=Now())
    assert problem(mona.get(path))[:2] == (404, "webhook_not_found")
    refused = problem(sapling.patch(path, {"state": "enabled"}))
    assert refused[:2] == (409, "webhook_control_lost")
    taken = body_of(sapling.patch(path, {"state": "enabled", "url": "https://sapling.example/"}), "Webhook")
    assert (taken["owner"], taken["state"]) == ("sapling", "enabled")
    assert sapling.post(f"{path}/rotate-secret").status_code == 200
    assert Event.objects.filter(type="webhook.disabled").count() == 0


def test_the_list_names_a_wallet(mona: Caller, anna: Caller) -> None:
    own, of_sapling = create(mona), create(mona, wallet="sapling")

    listed = [each["id"] for each in body_of(mona.get("/webhooks"), "WebhookPage")["webhooks"]]
    assert sorted(listed) == sorted([own["id"], of_sapling["id"]])
    [found] = body_of(mona.get("/webhooks?wallet=sapling"), "WebhookPage")["webhooks"]
    assert found["id"] == of_sapling["id"]
    assert problem(anna.get("/webhooks?wallet=sapling"))[:2] == (403, "wallet_not_controlled")
