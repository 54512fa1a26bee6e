"""The endpoints `/action-tokens`: bodies, texts of the errors, stored answers, files, and the limit of wrong codes."""

import base64
import csv
import io
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from reportlab.lib.pagesizes import A4

from config.api import claim_limits, idempotency
from config.web import claim_links
from tests.api.caller import Caller, answer, refusal
from tests.transfers.books import assert_sound, books, held_by, let_link_expire
from transfers import operations
from transfers.action_tokens import NewLink
from transfers.models import ActionToken, Transfer
from wallets.models import IdempotentAnswer

CODE = re.compile(r"[A-Za-z0-9_-]{24}")


@pytest.fixture(autouse=True)
def stocked(alice: Caller) -> None:
    operations.issue_tokens(wallet=alice.wallet, count=5)


def created(caller: Caller, **body: Any) -> dict[str, Any]:
    status, link = answer(caller.post("/action-tokens", {"bundle": {"bundle_size": 2}, **body}))
    assert status == 201
    return dict(link)


def test_a_link_is_created_as_the_contract_says(alice: Caller) -> None:
    link = created(alice, recipient_email="link-recipient@greenstand.org", sender_wallet="alice")

    assert set(link) == {"id", "action_token", "expires_at", "token_count", "url"}
    assert UUID(link["id"]) == ActionToken.objects.get().pk
    assert CODE.fullmatch(link["action_token"])
    assert link["token_count"] == 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", link["expires_at"])
    assert link["url"] == f"http://testserver/claim#{link['action_token']}"


def test_the_address_of_a_link_is_that_of_the_installation(alice: Caller, settings: Any) -> None:
    settings.PUBLIC_ORIGIN = "https://trees.example.org"

    assert created(alice)["url"].startswith("https://trees.example.org/claim#")


def test_the_list_shows_neither_codes_nor_tokens(alice: Caller, bob: Caller) -> None:
    first, second = created(alice), created(alice, recipient_email="ann@example.org", message="for you")
    bob.post("/action-tokens/redeem", {"action_token": first["action_token"]})
    status, page = answer(alice.get("/action-tokens"))

    assert (status, page["query"], page["total"]) == (200, {"limit": 1000, "offset": 0}, 2)
    assert [row["id"] for row in page["action_tokens"]] == [second["id"], first["id"]]
    row = page["action_tokens"][0]
    assert row == {
        "id": second["id"], "sender_wallet_id": str(alice.wallet.pk), "recipient_email": "ann@example.org",
        "token_count": 2, "state": "active", "expires_at": second["expires_at"], "created_at": row["created_at"],
        "redeemed_at": None, "message": "for you", "email_must_match": False,
    }  # fmt: skip
    assert page["action_tokens"][1]["redeemed_at"] is not None
    assert first["action_token"] not in str(page)
    assert answer(alice.get(f"/action-tokens/{second['id']}")) == (200, row)
    status, page = answer(alice.get("/action-tokens?state=redeemed&limit=5&offset=0"))
    assert (page["query"], page["total"]) == ({"limit": 5, "offset": 0, "state": "redeemed"}, 1)
    assert answer(alice.get("/action-tokens?state=expired")) == refusal(
        422, '"state" must be one of [active, redeemed, cancelled]'
    )
    assert answer(alice.get("/action-tokens?limit=2001"))[0] == 422


def test_a_claim_answers_with_the_completed_transfer(alice: Caller, bob: Caller) -> None:
    link = created(alice)
    status, body = answer(bob.post("/action-tokens/redeem", {"action_token": link["action_token"]}))

    assert (status, body["state"], body["id"], body["claim"]) == (200, "completed", link["id"], False)
    assert sorted(body["parameters"]["tokens"]) == [str(each) for each in held_by(bob.wallet)]
    assert "token_count" not in body
    assert (body["source_wallet"], body["destination_wallet"], body["originating_wallet"]) == (
        "alice", "bobby", "bobby",
    )  # fmt: skip
    assert answer(bob.get(f"/transfers/{link['id']}")) == (200, body)
    assert_sound()


def test_the_texts_of_refusals_are_the_contracts(alice: Caller, bob: Caller) -> None:
    mine = [str(each) for each in held_by(alice.wallet)]
    used, cancelled, expired, open_one = (created(alice, bundle={"bundle_size": 1}) for _ in range(4))
    answer(bob.post("/action-tokens/redeem", {"action_token": used["action_token"]}))
    assert answer(alice.delete(f"/action-tokens/{cancelled['id']}"))[1]["state"] == "cancelled"
    let_link_expire(expired["id"])
    [taken] = Transfer.objects.values_list("parameters", flat=True)
    [foreign] = taken["tokens"]
    [reserved] = [each for each in mine if str(open_one["id"]) in str(alice.get(f"/tokens/{each}").content)]
    pending = alice.post(
        "/transfers", {"sender_wallet": "alice", "receiver_wallet": "bobby", "bundle": {"bundle_size": 1}}
    )
    [waiting] = [
        each for each in mine if each != foreign and pending.json()["id"] in str(alice.get(f"/tokens/{each}").content)
    ]
    before = books(), list(ActionToken.objects.order_by("id").values())

    def redeem(link: dict[str, Any]) -> Any:
        return answer(bob.post("/action-tokens/redeem", {"action_token": link["action_token"]}))

    assert redeem(used) == refusal(409, "ERROR: ActionToken has already been redeemed")
    assert redeem(cancelled) == refusal(409, "ERROR: ActionToken has been cancelled")
    assert redeem(expired) == refusal(410, "ERROR: ActionToken expired")
    assert redeem({"action_token": "x" * 24}) == refusal(422, "ERROR: ActionToken not verified")
    assert redeem({"action_token": ""}) == refusal(422, '"action_token" is not allowed to be empty')
    assert answer(bob.post("/action-tokens/redeem", {})) == refusal(422, '"action_token" is required')
    assert answer(
        bob.post("/action-tokens/redeem", {"action_token": open_one["action_token"], "wallet": "alice"})
    ) == refusal(403, "Wallet does not belong to the logged in wallet")
    for state, link in (("redeemed", used), ("cancelled", cancelled), ("expired", expired)):
        assert answer(alice.delete(f"/action-tokens/{link['id']}")) == refusal(
            409, f"Cannot cancel an action token in state '{state}'"
        )
    assert answer(bob.delete(f"/action-tokens/{open_one['id']}")) == refusal(404, "Action token not found")
    assert answer(alice.delete("/action-tokens/abc"))[0] == 422
    create = alice.post
    assert answer(create("/action-tokens", {"bundle": {"bundle_size": 99}})) == refusal(
        409, "Wallet does not have 99 tokens available"
    )
    assert answer(create("/action-tokens", {"tokens": [waiting]})) == refusal(
        409, f"Token(s) cannot be transferred: {waiting}"
    )
    assert answer(create("/action-tokens", {"tokens": [reserved]})) == refusal(
        409, f"Token(s) already committed to an outstanding share link: {reserved}"
    )
    assert answer(create("/action-tokens", {"tokens": [foreign]})) == refusal(
        403, "Have no permission to visit this token"
    )
    assert answer(create("/action-tokens", {"sender_wallet": "bobby", "bundle": {"bundle_size": 1}})) == refusal(
        403, "Wallet does not belong to the logged in wallet"
    )
    assert (books(), list(ActionToken.objects.order_by("id").values())) == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, '"bundle" is required'),
        ({"tokens": []}, '"tokens" must contain at least 1 items'),
        ({"bundle": {"bundle_size": 0}}, '"bundle.bundle_size" must be greater than or equal to 1'),
        ({"bundle": {"bundle_size": 10_001}}, '"bundle.bundle_size" must be less than or equal to 10000'),
        ({"bundle": {"bundle_size": 1}, "recipient_email": "ann"}, '"recipient_email" must be a valid email'),
        ({"bundle": {"bundle_size": 1}, "email_must_match": True}, '"recipient_email" is required'),
        ({"bundle": {"bundle_size": 1}, "message": "x" * 501},
         '"message" length must be less than or equal to 500 characters long'),
        ({"bundle": {"bundle_size": 1}, "expires_at": "2020-01-01"}, '"expires_at" must be in the future'),
        ({"tokens": ["0acf8c3d-3008-4b55-877b-241d984721d2"], "bundle": {"bundle_size": 1}},
         '"bundle" is not allowed'),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong_is_422(alice: Caller, body: Any, message: str) -> None:
    assert answer(alice.post("/action-tokens", body)) == refusal(422, message)
    assert not ActionToken.objects.exists()


def test_anybody_with_the_code_may_ask_what_it_is(alice: Caller) -> None:
    link = created(alice, message="for you", recipient_email="ann@example.org", email_must_match=True)
    body = {"action_token": link["action_token"]}
    response = Client().post("/action-tokens/describe", body, content_type="application/json")

    # The address of the receiver is not shown.
    assert answer(response) == (
        200,
        {
            "sender_wallet": "alice", "message": "for you", "token_count": 2, "state": "active",
            "expires_at": link["expires_at"], "email_must_match": True,
        },
    )  # fmt: skip
    response = Client().post("/action-tokens/describe", {"action_token": "x"}, content_type="application/json")
    assert answer(response) == refusal(422, "ERROR: ActionToken not verified")
    assert response["Error-Code"] == "action_token_not_verified"


def test_the_expiry_is_that_of_the_request_or_of_the_setting(alice: Caller, settings: Any) -> None:
    wanted = (datetime.now(UTC) + timedelta(hours=5)).replace(microsecond=0)
    assert created(alice, expires_at=wanted.isoformat())["expires_at"] == f"{wanted:%Y-%m-%dT%H:%M:%S}.000Z"
    settings.CLAIM_LINK_HOURS = 2
    row = ActionToken.objects.get(pk=created(alice)["id"])
    assert row.expires_at - row.created_at == timedelta(hours=2)


def test_a_request_that_is_repeated_with_its_key_gets_the_same_code_which_is_stored_sealed(alice: Caller) -> None:
    body = {"bundle": {"bundle_size": 1}}
    first = alice.post("/action-tokens", body, idempotency_key="one")
    again = alice.post("/action-tokens", body, idempotency_key="one")

    assert (again.status_code, again.content, again["Idempotency-Replayed"]) == (201, first.content, "true")
    assert ActionToken.objects.count() == 1
    assert first.json()["action_token"].encode() not in bytes(IdempotentAnswer.objects.get().body)


def test_a_claim_that_is_repeated_with_its_key_gets_the_same_answer(alice: Caller, bob: Caller) -> None:
    body = {"action_token": created(alice)["action_token"]}
    first = bob.post("/action-tokens/redeem", body, idempotency_key="one")
    again = bob.post("/action-tokens/redeem", body, idempotency_key="one")

    assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
    assert Transfer.objects.count() == 1


def batch(caller: Caller, kind: str, count: int = 3, **headers: str) -> Any:
    body = {"bundle": {"bundle_size": 1}, "count": count, "format": kind, "message": "für dich"}
    return caller.post("/action-tokens/batch", body, **headers)


def test_a_batch_is_a_table_of_links_that_can_be_claimed(alice: Caller, bob: Caller) -> None:
    response = batch(alice, "csv")
    rows = list(csv.DictReader(io.StringIO(response.content.decode())))

    assert (response.status_code, response["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert response["Content-Disposition"] == 'attachment; filename="claim-links.csv"'
    assert [row["url"] for row in rows] == [f"http://testserver/claim#{row['action_token']}" for row in rows]
    assert {row["id"] for row in rows} == {str(each) for each in ActionToken.objects.values_list("pk", flat=True)}
    for row in rows:
        assert answer(bob.post("/action-tokens/redeem", {"action_token": row["action_token"]}))[0] == 200
    assert_sound()


def test_a_batch_is_a_sheet_to_print(alice: Caller) -> None:
    response = batch(alice, "pdf")

    assert (response.status_code, response["Content-Type"]) == (200, "application/pdf")
    assert response.content.startswith(b"%PDF-")
    assert response.content.count(b"/Type /Page\n") == 1


def _drawn(pdf: bytes) -> Iterator[tuple[int, tuple[float, ...], str]]:
    """Yield the page, the frame (left, bottom, right, top) and the drawing, up to the next frame, of each link."""
    for page, stream in enumerate(re.findall(rb"stream\r?\n(.*?)~>endstream", pdf, re.DOTALL)):
        _, *drawings = zlib.decompress(base64.a85decode(stream)).decode("latin-1").split("[1 2] 0 d\n")
        for drawing in drawings:
            left, bottom, width, height = map(float, drawing.split()[1:5])
            yield page, (left, bottom, left + width, bottom + height), drawing


def test_each_link_of_a_sheet_has_a_place_of_its_own() -> None:
    links = [NewLink(UUID(int=number), f"{number:024}", datetime(2040, 1, 1, tzinfo=UTC), 2) for number in range(14)]
    drawn = list(_drawn(claim_links.sheet(links, page="https://trees.example.org/claim", sender="anna", message="hi")))

    assert [page for page, _, _ in drawn] == [0] * 12 + [1] * 2
    for link, (page, (left, bottom, right, top), drawing) in zip(links, drawn, strict=True):
        assert 0 < left < right < A4[0]
        assert 0 < bottom < top < A4[1]
        # The square of the code, and its letters.
        modules = [tuple(map(float, each)) for each in re.findall(r"([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) re", drawing)]
        assert len(modules) > 100
        assert all(left <= x and x + w <= right and bottom <= y and y + h <= top for x, y, w, h in modules)
        (at,) = re.findall(rf"1 0 0 1 ([\d.]+) ([\d.]+) Tm \({link.code}\)", drawing)
        assert left < float(at[0]) < right
        assert bottom < float(at[1]) < min(y for _, y, _, _ in modules[1:])
        for other_page, (west, south, east, north), _ in drawn:
            is_same = (west, south) == (left, bottom)
            is_apart = east <= left + 0.1 or right <= west + 0.1 or north <= bottom + 0.1 or top <= south + 0.1
            assert other_page != page or is_same or is_apart
    assert len({(page, frame) for page, frame, _ in drawn}) == 14


def test_what_all_links_of_a_sheet_say_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    width_of = claim_links.stringWidth

    def measure(text: str, *of: Any) -> float:
        measured.append(text)
        return float(width_of(text, *of))

    monkeypatch.setattr(claim_links, "stringWidth", measure)
    links = [NewLink(UUID(int=number), f"{number:024}", datetime(2040, 1, 1, tzinfo=UTC), 2) for number in range(14)]
    texts = {"page": "https://trees.example.org/claim", "sender": "W" * 254, "message": "W" * 500}

    assert claim_links.sheet(links, **texts).startswith(b"%PDF-")

    assert len(measured) == len(set(measured))
    assert [text for text in measured if text.startswith("0")] == [link.code for link in links]


@pytest.mark.parametrize("kind", ["csv", "pdf"])
def test_a_batch_that_is_repeated_with_its_key_gets_the_same_file(alice: Caller, kind: str) -> None:
    first, again = (batch(alice, kind, idempotency_key="one") for _ in range(2))

    assert again["Idempotency-Replayed"] == "true"
    assert (again.content, again["Content-Type"]) == (first.content, first["Content-Type"])
    assert ActionToken.objects.count() == 3


def test_a_batch_is_made_whole_or_not_at_all(alice: Caller) -> None:
    assert answer(batch(alice, "csv", count=11)) == refusal(409, "Wallet does not have 11 tokens available")
    assert answer(batch(alice, "csv", count=1001))[0] == 422
    for count, expected in (
        (11, refusal(422, "A batch must transfer less than or equal to 100000 tokens in all")),
        (10, refusal(409, "Wallet does not have 100000 tokens available")),
    ):
        body = {"bundle": {"bundle_size": 10_000}, "count": count}
        assert answer(alice.post("/action-tokens/batch", body)) == expected
    assert not ActionToken.objects.exists()


def guess(caller: Caller, **body: Any) -> int:
    return int(caller.post("/action-tokens/redeem", {"action_token": "x" * 24, **body}).status_code)


def test_wrong_codes_are_limited_per_address_and_right_ones_do_not_count(
    alice: Caller, bob: Caller, settings: Any
) -> None:
    settings.WRONG_CLAIM_CODES_PER_ADDRESS = 3
    link = created(alice)
    for _ in range(5):
        Client().post(
            "/action-tokens/describe", {"action_token": link["action_token"]}, content_type="application/json"
        )
    assert [guess(bob) for _ in range(4)] == [422, 422, 422, 429]
    response = bob.post("/action-tokens/redeem", {"action_token": link["action_token"]})
    assert answer(response) == refusal(429, claim_limits.TOO_MANY)
    assert 0 < int(response["Retry-After"]) <= claim_limits.WINDOW_SECONDS
    assert ActionToken.objects.get().state == "active"


def test_beyond_the_limit_of_all_an_address_may_err_once(alice: Caller, bob: Caller, settings: Any) -> None:
    settings.WRONG_CLAIM_CODES = 2
    link = created(alice)
    assert [guess(bob) for _ in range(3)] == [422, 422, 429]

    bob.client = Client(REMOTE_ADDR="198.51.100.7", raise_request_exception=False)
    assert [guess(bob), guess(bob)] == [422, 429]
    bob.client = Client(REMOTE_ADDR="198.51.100.8", raise_request_exception=False)
    assert answer(bob.post("/action-tokens/redeem", {"action_token": link["action_token"]}))[0] == 200


def test_wrong_addresses_of_one_link_are_limited(alice: Caller, bob: Caller) -> None:
    link = created(alice, recipient_email="ann@example.org", email_must_match=True)
    body = {"action_token": link["action_token"], "email": "bob@example.org"}
    statuses = [bob.post("/action-tokens/redeem", body).status_code for _ in range(claim_limits.ADDRESSES_PER_LINK + 1)]

    assert statuses == [403] * claim_limits.ADDRESSES_PER_LINK + [429]
    assert ActionToken.objects.get().state == "active"


@pytest.mark.parametrize("prefix", ["", "/wallet", "/wallet/v2"])
def test_the_paths_are_served_at_every_prefix(alice: Caller, bob: Caller, prefix: str) -> None:
    status, link = answer(alice.post(f"{prefix}/action-tokens", {"bundle": {"bundle_size": 1}}))
    assert status == 201
    assert answer(bob.post(f"{prefix}/action-tokens/redeem", {"action_token": link["action_token"]}))[0] == 200


def test_the_counts_of_a_wallet_have_what_links_reserve(alice: Caller) -> None:
    created(alice)

    shown = answer(alice.get(f"/wallets/{alice.wallet.pk}"))[1]
    listed = answer(alice.get("/wallets?limit=5"))[1]["wallets"][0]
    for body in (shown, listed):
        assert (body["tokens_in_wallet"], body["tokens_available"], body["tokens_pending"]) == (5, 3, 2)


def test_an_answer_is_sealed_with_the_vault_key() -> None:
    assert b"code" not in idempotency._seal(b'{"action_token": "code"}', "context")
