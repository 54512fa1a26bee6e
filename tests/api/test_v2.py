"""`/wallet/v2`: the same endpoints as at the root, with the answers of the later version where the two differ."""

import itertools
from typing import Any

import pytest
from django.http import Http404
from django.test import RequestFactory
from django.urls import get_resolver, resolve

from config.api.openapi_document import document
from config.api.treetracker import v2
from config.ops.request_metrics import readable
from config.web.handler import Handler
from tests.api.caller import Caller, answer, logged_in, refusal
from tests.support.view_actions import actions
from transfers import operations as transfers
from trusts.models import Trust
from wallets.models import Wallet

UNKNOWN = "11111111-1111-4111-8111-111111111111"
ROOTS = ("", "/wallet", "/WALLET")
V2 = ("/wallet/v2", "/Wallet/V2")


@pytest.fixture
def tokens(alice: Caller) -> list[str]:
    assert alice.wallet is not None
    transfers.issue_tokens(wallet=alice.wallet, count=3)
    return [each["id"] for each in alice.get("/tokens?limit=3").json()["tokens"]]


def test_every_action_and_class_of_the_table_exists() -> None:
    named = {*v2.CREATES, *v2.RENAMED, *v2.REPLACED, *v2.INVALID, *v2.REFUSALS_OF, *v2.LISTED}

    assert named - set(actions()) == set()


def test_the_prefix_is_taken_in_any_case_and_no_other_path_is_one_of_v2() -> None:
    def is_v2(path: str) -> bool:
        request = RequestFactory().get(path)
        assert not v2.is_v2(request)
        Handler().resolve_request(request)
        return v2.is_v2(request)

    for path in ("/wallet/v2/wallets", "/Wallet/V2/wallets/", "/wallet/v2/tokens/x/transactions"):
        assert is_v2(path), path
    # The wallet "v2" is the last one.
    for path in ("/wallet/wallets", "/wallets", "/", "/api/v1/wallets", "/wallets/v2"):
        assert not is_v2(path), path
    for path in ("/wallet/v2", "/wallet/v2/", "/wallet/v2x/wallets", "/v2/wallets", "/x/wallet/v2/wallets"):
        with pytest.raises(Http404):
            is_v2(path)


def test_row_35_what_is_created_is_201_below_v2_and_200_at_the_root(alice: Caller, bob: Caller) -> None:
    for number, root in enumerate([*ROOTS, *V2]):
        status = 201 if root in V2 else 200
        created = alice.post(f"{root}/wallets", {"wallet": f"sapling{number}"})
        assert (created.status_code, created.json().get("wallet")) == (status, f"sapling{number}"), root
        requested = alice.post(
            f"{root}/trust_relationships", {"trust_request_type": "manage", "requestee_wallet": f"sapling{number}"}
        )
        assert requested.status_code == (409 if root in V2 else 403), requested.content
    sent = {"trust_request_type": "send", "requestee_wallet": "bobby"}
    status, body = answer(alice.post("/wallet/v2/trust_relationships", sent))
    assert (status, body["originator_wallet"], "originating_wallet" in body) == (201, "alice", False)
    status, body = answer(bob.post("/wallet/trust_relationships", {**sent, "requestee_wallet": "alice"}))
    assert (status, body["originating_wallet"], "originator_wallet" in body) == (200, "bobby", False)


def test_trusts_within_a_management_are_refused_below_v2_alone(alice: Caller, bob: Caller) -> None:
    for name in ("sapling", "seedling"):
        alice.post("/wallets", {"wallet": name})
    manages, managed, siblings = (
        "The requesting wallet already manages the target wallet",
        "The requesting wallet is managed by the target wallet",
        "Cannot send trust relationship request to a sub wallet with the same parent",
    )
    # At the root, `manage` from alice already prevents the second one.
    rows = [
        ("alice", "sapling", manages, 200), ("sapling", "alice", managed, 403), ("sapling", "seedling", siblings, 200),
    ]  # fmt: skip
    for root, (requester, requestee, message, status) in itertools.product((*V2, "/wallet"), rows):
        before = list(Trust.objects.order_by("pk").values())
        sent = {"trust_request_type": "send", "requester_wallet": requester, "requestee_wallet": requestee}
        answered = alice.post(f"{root}/trust_relationships", sent)
        if root in V2:
            assert answer(answered) == refusal(409, message), (root, requester)
            assert list(Trust.objects.order_by("pk").values()) == before
        else:
            assert answered.status_code == status, (requester, answered.content)
    # A wallet outside.
    sent = {"trust_request_type": "send", "requester_wallet": "sapling", "requestee_wallet": "bobby"}
    assert alice.post("/wallet/v2/trust_relationships", sent).status_code == 201


def test_row_35_errors_have_the_statuses_and_messages_of_their_version(
    alice: Caller, bob: Caller, api_key: str, tokens: list[str]
) -> None:
    carol = logged_in("carol", api_key)
    assert bob.wallet is not None
    pending = {"sender_wallet": "alice", "receiver_wallet": "bobby", "tokens": tokens[:1]}
    one = alice.post("/transfers", pending).json()["id"]
    asked = {"sender_wallet": "alice", "receiver_wallet": "bobby", "bundle": {"bundle_size": 2}}
    wanted = bob.post("/transfers", asked).json()["id"]
    trust = {"trust_request_type": "send", "requestee_wallet": "bobby"}
    asking = alice.post("/trust_relationships", trust).json()["id"]
    large = {**asked, "bundle": {"bundle_size": 10}}
    not_enough = "Do not have enough tokens to send"
    wrong_state = "Operation forbidden, the transfer state is wrong"
    exists = "The trust relationship has been requested or trusted"
    not_yours = "You do not have permission to update this wallet"
    rows: list[tuple[Any, str, str, Any, tuple[int, str], tuple[int, str]]] = [
        (alice, "POST", "/wallets", {"wallet": "bobby"},
         (403, "The wallet 'bobby' has been existed"), (409, 'The wallet "bobby" already exists')),
        (alice, "POST", "/wallets", {"wallet": "bob by"},
         (400, "invalid wallet name:bob by"), (422, "wallet can only contain numbers, letters and the - . @ symbols")),
        (alice, "POST", "/auth", {"wallet": "alice", "password": "wrong"},
         (401, "Invalid credentials"), (401, "Invalid Credentials")),
        (alice, "POST", "/trust_relationships", trust, (403, exists), (409, exists)),
        (alice, "POST", "/transfers", large, (403, not_enough), (409, not_enough)),
        (alice, "POST", "/transfers", {**asked, "bundle": {"bundle_size": 0}},
         (422, '"bundle.bundle_size" must be greater than or equal to 1'),
         (422, '"bundle.bundle_size" must be greater than or equal to 1')),
        (alice, "POST", "/transfers", pending,
         (403, f"The token {tokens[0]} can not be transfer for some reason, for example, it's been pending for"
               " another transfer"),
         (403, f"The token {tokens[0]} cannot be transferred for some reason--for example, it is part of another"
               " pending transfer")),
        (bob, "POST", "/transfers", {"sender_wallet": "bobby", "receiver_wallet": "carol", "tokens": tokens[1:2]},
         (403, f"The token {tokens[1]} do not belongs to sender wallet"),
         (403, f"The token {tokens[1]} does not belong to the sender wallet")),
        (alice, "POST", f"/transfers/{wanted}/accept", {},
         (403, "The transfer state is not pending"), (409, "The transfer state is not pending")),
        (alice, "POST", f"/transfers/{one}/fulfill", {"implicit": True}, (403, wrong_state), (409, wrong_state)),
        (alice, "POST", f"/transfers/{wanted}/fulfill", {"tokens": tokens[1:2]},
         (403, "Too few tokens to transfer, please provider 2 tokens for this transfer"),
         (409, "Too few tokens to transfer, please provider 2 tokens for this transfer")),
        (alice, "POST", f"/transfers/{UNKNOWN}/accept", {},
         (404, f"Can not found transfer by id:{UNKNOWN}"), (404, f"Can not find transfer by id: {UNKNOWN}")),
        (carol, "GET", f"/transfers/{one}", None,
         (404, "Can not find this transfer or it is related to this wallet"),
         (404, "Transfer does not exist or it is not related to this wallet")),
        (bob, "GET", f"/tokens/{tokens[0]}", None,
         (401, "Have no permission to visit this token"), (403, "Have no permission to visit this token")),
        (bob, "GET", f"/tokens/{UNKNOWN}", None,
         (404, f"can not found token by id:{UNKNOWN}"), (404, f"Can not find token by id: {UNKNOWN}")),
        (bob, "GET", "/tokens/abc", None,
         (422, '"token_id" must be a valid GUID'), (422, '"id" must be a valid GUID')),
        (alice, "GET", "/tokens?limit=1&wallet=bobby", None,
         (403, "Wallet do not belongs to wallet logged in"), (403, "Wallet does not belong to the logged in wallet")),
        (carol, "POST", f"/trust_relationships/{asking}/accept", {},
         (403, "Have no permission to accept this relationship"),
         (404, "No such trust relationship exists or it is not associated with the current wallet.")),
        (carol, "GET", f"/wallets/{bob.wallet.pk}", None,
         (403, "Have no permission to access this wallet"), (403, "Have no permission to access this wallet")),
        (carol, "PATCH", f"/wallets/{bob.wallet.pk}", {"about": "planted"}, (403, not_yours), (422, not_yours)),
        (carol, "PATCH", f"/wallets/{UNKNOWN}", {"about": "planted"},
         (404, f"Could not find wallet by id: {UNKNOWN}"), (422, not_yours)),
        (carol, "GET", f"/wallets/{bob.wallet.pk}/trust_relationships", None,
         (403, "Have no permission to access this wallet"), (422, not_yours)),
    ]  # fmt: skip
    for caller, method, path, body, first, later in rows:
        for root in (*ROOTS[:2], *V2):
            wanted_answer = refusal(*(later if root in V2 else first))
            assert answer(caller.send(method, root + path, body)) == wanted_answer, (root, method, path)


def test_a_missing_and_an_invalid_bearer_token_are_401_below_v2_and_403_at_the_root(alice: Caller) -> None:
    invalid = "ERROR: Authentication, token not verified"
    for root in (*ROOTS, *V2):
        for sent, message in (
            ("Bearer wrong", invalid),
            ("Basic eA==", invalid),
            (None, "ERROR: Authentication, no token supplied for protected path" if root in V2 else invalid),
        ):
            response = alice.get(f"{root}/wallets?limit=1", authorization=sent)
            assert answer(response) == refusal(401 if root in V2 else 403, message), (root, sent)
            assert response["WWW-Authenticate"] == 'Bearer realm="coppice"'
        no_key = alice.get(f"{root}/wallets?limit=1", treetracker_api_key=None)
        assert answer(no_key) == refusal(401, "Invalid access - no API key")


def test_a_repeated_request_gets_the_answer_of_its_version_and_a_key_belongs_to_one_path(alice: Caller) -> None:
    sent = {"wallet": "sapling"}
    first = alice.post("/wallet/v2/wallets", sent, idempotency_key="one")
    again = alice.post("/wallet/v2/wallets", sent, idempotency_key="one")
    elsewhere = alice.post("/wallets", sent, idempotency_key="one")

    assert first.status_code == again.status_code == 201
    assert (again.content, again["Idempotency-Replayed"]) == (first.content, "true")
    assert answer(elsewhere) == refusal(422, "This Idempotency-Key was used for another request")
    assert Wallet.objects.filter(name="sapling").count() == 1

    transfers.issue_tokens(wallet=Wallet.objects.get(name="alice"), count=2)
    wish = {"sender_wallet": "alice", "receiver_wallet": "sapling", "bundle": {"bundle_size": 1}}
    sent_once = alice.post("/wallet/v2/transfers", wish, idempotency_key="two")
    sent_again = alice.post("/wallet/v2/transfers", wish, idempotency_key="two")
    assert (sent_once.status_code, sent_again.status_code) == (201, 201)
    assert sent_again.content == sent_once.content
    assert Wallet.objects.get(name="sapling").tokens.count() == 1


def test_row_35_limit_is_optional_below_v2_with_and_without_a_slash(alice: Caller, tokens: list[str]) -> None:
    assert alice.wallet is not None
    for path in (
        "/wallets",
        "/tokens",
        f"/tokens/{tokens[0]}/transactions",
        "/transfers",
        "/trust_relationships",
        f"/wallets/{alice.wallet.pk}/trust_relationships",
    ):
        for slash in ("", "/"):
            assert alice.get(f"/wallet/v2{path}{slash}").status_code == 200, path
        if "trust" not in path:
            assert answer(alice.get(f"/wallet{path}")) == refusal(422, '"limit" is required')


def test_the_next_page_stands_below_the_same_prefix(alice: Caller, tokens: list[str], settings: Any) -> None:
    settings.PUBLIC_ORIGIN = "https://example.org"

    link = alice.get("/wallet/v2/tokens?limit=2")["Link"]

    assert link.startswith("<https://example.org/wallet/v2/tokens?limit=2&cursor=")
    path = link.removeprefix("<https://example.org").partition(">")[0]
    assert [each["id"] for each in alice.get(path).json()["tokens"]] == tokens[2:]
    # A cursor belongs to the version that gave it: their answers may be in different orders.
    assert answer(alice.get(path.replace("/wallet/v2", ""))) == refusal(422, '"cursor" is not valid')


def test_metrics_and_logs_tell_the_routes_of_v2_apart() -> None:
    assert readable(resolve("/wallet/v2/transfers").route) == "/wallet/v2/transfers"
    assert readable(resolve(f"/Wallet/V2/transfers/{UNKNOWN}/accept/").route) == (
        "/wallet/v2/transfers/{transfer_id}/accept"
    )
    assert readable(resolve("/wallet/transfers").route) == readable(resolve("/transfers").route) == "/transfers"


def test_the_description_names_the_prefix_and_has_each_path_once() -> None:
    described = document()

    assert "/wallet/v2" in described["info"]["description"]
    assert [path for path in described["paths"] if path.lower().startswith("/wallet/")] == []
    assert str(get_resolver().url_patterns).count("'wallet/v2/'") == 1
