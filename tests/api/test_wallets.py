"""`/wallets` and `/tokens`: who sees and changes what."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from config.api import cached_credentials
from tests.api.caller import Caller, answer, refusal
from transfers import operations as transfers
from trusts import queries as trusts
from wallets import queries
from wallets.models import ApiKey, BearerToken, Wallet

FIELDS = ["id", "name", "about", "logo_url", "created_at", "tokens_in_wallet", "tokens_available", "tokens_pending"]
NO_NAME = "11111111-1111-4111-8111-111111111111"
NO_ACCESS = refusal(403, "Have no permission to access this wallet")
NO_UPDATE = refusal(403, "You do not have permission to update this wallet")


@pytest.fixture
def sapling(alice: Caller) -> Any:
    """A wallet that alice manages, with three tokens."""
    alice.post("/wallets", {"wallet": "sapling"})
    wallet = queries.wallet_by_name("sapling")
    transfers.issue_tokens(wallet=wallet, count=3)
    return wallet


def test_row_11_a_wallet_shows_its_counts_and_no_secret(alice: Caller, sapling: Any) -> None:
    alice.post("/transfers", {"sender_wallet": "sapling", "receiver_wallet": "alice", "bundle": {"bundle_size": 1}})

    status, body = answer(alice.get("/wallets?limit=10"))

    assert status == 200
    assert [list(wallet) for wallet in body["wallets"]] == [FIELDS, FIELDS]
    assert [wallet["name"] for wallet in body["wallets"]] == ["sapling", "alice"]
    assert [wallet["tokens_in_wallet"] for wallet in body["wallets"]] == [2, 1]


def test_reserved_tokens_are_pending_and_not_available(alice: Caller, bob: Caller, sapling: Any) -> None:
    body = {"sender_wallet": "sapling", "receiver_wallet": "bobby", "bundle": {"bundle_size": 2}}
    assert alice.post("/transfers", body).status_code == 202

    _, wallet = answer(alice.get(f"/wallets/{sapling.pk}"))

    assert {name: wallet[name] for name in FIELDS[5:]} == {
        "tokens_in_wallet": 3,
        "tokens_available": 1,
        "tokens_pending": 2,
    }


def test_a_new_wallet_is_managed_by_its_creator_and_nobody_else(alice: Caller, bob: Caller) -> None:
    response = alice.post("/wallets", {"wallet": "sapling"})

    wallet = queries.wallet_by_name("sapling")
    assert answer(response) == (200, {"id": str(wallet.pk), "wallet": "sapling", "about": None})
    assert trusts.controls(actor_id=alice.wallet.pk, wallet_id=wallet.pk)
    assert not trusts.controls(actor_id=bob.wallet.pk, wallet_id=wallet.pk)
    assert not trusts.controls(actor_id=wallet.pk, wallet_id=alice.wallet.pk)


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("ab", 422, '"wallet" length must be at least 3 characters long'),
        ("x" * 255, 422, '"wallet" length must be less than or equal to 254 characters long'),
        ("\ufdfa" * 100, 422, '"wallet" length must be less than or equal to 254 characters long'),
        ("", 422, '"wallet" is not allowed to be empty'),
        (5, 422, '"wallet" must be a string'),
        (None, 422, '"wallet" must be a string'),
        ("bad name", 400, "invalid wallet name:bad name"),
        ("tab\tname", 400, "invalid wallet name:tab\tname"),
        ("no\u00a0break", 400, "invalid wallet name:no\u00a0break"),
        ("zero\u200bwidth", 422, "invalid wallet name:zero\u200bwidth holds the invisible U+200B"),
        ("right\u202eleft", 422, "invalid wallet name:right\u202eleft holds the invisible U+202E"),
        ("hangul\u3164filler", 422, "invalid wallet name:hangul\u3164filler holds the invisible U+3164"),
        (NO_NAME, 422, f"invalid wallet name:{NO_NAME} has the form of an id"),
        ("bell\u0007", 400, "invalid wallet name:bell\u0007"),
        ("alice", 403, "The wallet 'alice' has been existed"),
        ("ALICE", 403, "The wallet 'ALICE' has been existed"),
        ("\uff41lice", 403, "The wallet '\uff41lice' has been existed"),
        ("ſtraße", 403, "The wallet 'ſtraße' has been existed"),
    ],
)
def test_row_27_a_name_that_cannot_be_is_refused_and_creates_nothing(
    alice: Caller, name: Any, status: int, message: str
) -> None:
    alice.post("/wallets", {"wallet": "STRASSE"})

    assert answer(alice.post("/wallets", {"wallet": name})) == refusal(status, message)
    assert set(Wallet.objects.values_list("name", flat=True)) == {"alice", "STRASSE"}


@pytest.mark.parametrize(
    "name",
    ["abc", "x" * 254, "some.one@example.com", "under_score", "木の財布", "+254712345678"],
)
def test_row_27_a_name_is_kept_as_it_is_given(alice: Caller, name: Any) -> None:
    status, body = answer(alice.post("/wallets", {"wallet": name}))
    wallet = Wallet.objects.get(name=name)
    assert (status, body) == (200, {"id": str(wallet.pk), "wallet": name, "about": None})


@pytest.mark.parametrize(("prefix", "status"), [("", 200), ("/wallet", 200), ("/wallet/v2", 201)])
def test_a_new_wallet_has_the_description_that_was_sent(alice: Caller, prefix: str, status: int) -> None:
    longest = "<p>ä</p>" * 1_250
    response = alice.post(f"{prefix}/wallets", {"wallet": "sapling", "about": longest})

    wallet = queries.wallet_by_name("sapling")
    assert answer(response) == (status, {"id": str(wallet.pk), "wallet": "sapling", "about": longest})
    assert wallet.about == longest
    listed = alice.get(f"{prefix}/wallets?limit=2").json()["wallets"]
    assert [row["about"] for row in listed if row["name"] == "sapling"] == [longest]


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (None, '"about" must be a string'),
        (5, '"about" must be a string'),
        ("", '"about" is not allowed to be empty'),
        ("x" * 10_001, '"about" length must be less than or equal to 10000 characters long'),
    ],
)
def test_a_description_that_cannot_be_is_refused_and_creates_nothing(alice: Caller, about: Any, message: str) -> None:
    assert answer(alice.post("/wallets", {"wallet": "sapling", "about": about})) == refusal(422, message)
    assert Wallet.objects.count() == 1


@pytest.mark.parametrize("body", [{"wallet": "sapling", "id": "x"}])
def test_an_unknown_field_is_refused_and_creates_nothing(alice: Caller, body: Any) -> None:
    field = next(name for name in body if name != "wallet")

    assert answer(alice.post("/wallets", body)) == refusal(422, f'"{field}" is not allowed')
    assert Wallet.objects.count() == 1


def test_a_wallet_is_shown_to_itself_and_to_its_manager_only(alice: Caller, bob: Caller, sapling: Any) -> None:
    own = alice.get(f"/wallets/{alice.wallet.pk}")
    managed = alice.get(f"/wallets/{sapling.pk}")

    assert answer(own)[1]["wallet"] == "alice"
    assert list(answer(managed)[1]) == [*FIELDS, "cover_url", "display_name", "wallet"]
    assert answer(bob.get(f"/wallets/{sapling.pk}")) == NO_ACCESS
    assert answer(bob.get(f"/wallets/{alice.wallet.pk}")) == NO_ACCESS


def test_a_single_wallet_shows_its_logo_and_its_cover(alice: Caller) -> None:
    without = answer(alice.get(f"/wallets/{alice.wallet.pk}"))[1]
    urls = {"logo_url": 'https://example.org/"a".png', "cover_url": "https://example.org/b.png?c=d"}
    Wallet.objects.filter(pk=alice.wallet.pk).update(**urls)

    assert [without[name] for name in urls] == [None, None]
    assert answer(alice.get(f"/wallets/{alice.wallet.pk}"))[1] == {**without, **urls}
    # The list of the public service has no cover.
    assert list(answer(alice.get("/wallets?limit=1"))[1]["wallets"][0]) == FIELDS


def test_a_wallet_is_changed_by_itself_and_by_its_manager_only(alice: Caller, bob: Caller, sapling: Any) -> None:
    changes = {"about": "planted in spring", "display_name": "Sapling"}

    changed = alice.patch(f"/wallets/{sapling.pk}", changes)
    refused = bob.patch(f"/wallets/{sapling.pk}", {"about": "felled in autumn"})

    assert changed.status_code == 200
    assert {name: answer(changed)[1][name] for name in changes} == changes
    assert answer(refused) == NO_UPDATE
    sapling.refresh_from_db()
    assert (sapling.about, sapling.display_name, sapling.name) == ("planted in spring", "Sapling", "sapling")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"about": "four"}, '"about" length must be at least 5 characters long'),
        ({"about": "x" * 251}, '"about" length must be less than or equal to 250 characters long'),
        ({"display_name": "x"}, '"display_name" length must be at least 2 characters long'),
        ({"display_name": "x" * 31}, '"display_name" length must be less than or equal to 30 characters long'),
        ({"display_name": 7}, '"display_name" must be a string'),
        ({"about": [""]}, '"about" must be a string'),
        ({"about": " "}, '"about" length must be at least 5 characters long'),
        ({"name": "mine"}, '"name" is not allowed'),
        ({"password": "mine"}, '"password" is not allowed'),
        ({"id": "mine"}, '"id" is not allowed'),
    ],
)
def test_nothing_but_about_and_display_name_can_be_changed(alice: Caller, body: Any, message: str) -> None:
    before = Wallet.objects.values().get()

    assert answer(alice.patch(f"/wallets/{alice.wallet.pk}", body)) == refusal(422, message)
    assert Wallet.objects.values().get() == before


@pytest.mark.parametrize("empty", ["", None])
@pytest.mark.parametrize("field", ["about", "display_name"])
def test_a_description_can_be_deleted(alice: Caller, sapling: Any, field: str, empty: str | None) -> None:
    path = f"/wallets/{sapling.pk}"
    alice.patch(path, {"about": "planted in spring", "display_name": "Sapling"})

    deleted = alice.patch(path, {field: empty})

    assert deleted.status_code == 200
    assert answer(deleted)[1][field] is None
    assert answer(alice.get(path)) == answer(deleted)
    sapling.refresh_from_db()
    left = {"about": "planted in spring", "display_name": "Sapling"} | {field: ""}
    assert {name: getattr(sapling, name) for name in left} == left


@pytest.mark.parametrize("text", ["abc", "5", "%7B11111111-1111-4111-8111-111111111111%7D", "1111-" * 8, "１" * 32])
def test_row_4_an_id_that_is_no_uuid_is_422(alice: Caller, text: Any) -> None:
    assert answer(alice.get(f"/tokens/{text}")) == refusal(422, '"token_id" must be a valid GUID')
    assert answer(alice.get(f"/wallets/{text}")) == refusal(422, '"wallet_id" must be a valid GUID')
    assert answer(alice.patch(f"/wallets/{text}", {})) == refusal(422, '"wallet_id" must be a valid GUID')


def test_a_token_is_shown_to_whoever_controls_its_wallet(alice: Caller, bob: Caller, sapling: Any) -> None:
    token = sapling.tokens.first()
    expected = {
        "id": str(token.pk),
        "capture_id": str(token.capture_id),
        "wallet_id": str(sapling.pk),
        "transfer_pending": False,
        "transfer_pending_id": None,
        "created_at": token.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "updated_at": token.updated_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "claim": False,
        "links": {"capture": f"/webmap/tree?uuid={token.capture_id}"},
    }

    for written in (str(token.pk), token.pk.hex, str(token.pk).upper()):
        status, body = answer(alice.get(f"/tokens/{written}"))
        assert (status, list(body.items())) == (200, list(expected.items()))
    assert answer(bob.get(f"/tokens/{token.pk}")) == refusal(401, "Have no permission to visit this token")
    unknown = "11111111-1111-4111-8111-111111111111"
    assert answer(alice.get(f"/tokens/{unknown}")) == refusal(404, f"can not found token by id:{unknown}")


def test_row_12_the_tokens_of_a_wallet_are_listed_by_its_name_or_id(alice: Caller, bob: Caller, sapling: Any) -> None:
    by_name = answer(alice.get("/tokens?limit=10&wallet=sapling"))
    by_id = answer(alice.get(f"/tokens?limit=10&wallet={sapling.pk}"))
    own = answer(alice.get("/tokens?limit=10"))

    assert by_name == by_id
    assert len(by_name[1]["tokens"]) == 3
    assert own == (200, {"tokens": []})
    assert answer(bob.get("/tokens?limit=10&wallet=sapling")) == refusal(
        403, "Wallet do not belongs to wallet logged in"
    )


@pytest.mark.parametrize(
    ("wallet", "status", "message"),
    [
        ("", 422, '"wallet" is not allowed to be empty'),
        ("nobody", 404, "Could not find entity by wallet name: nobody"),
        ("no%20body", 400, "invalid wallet name:no body"),
        ("%00", 422, '"wallet" must not hold a NUL character'),
        (
            "11111111-1111-4111-8111-111111111111",
            404,
            "Could not find wallet by id: 11111111-1111-4111-8111-111111111111",
        ),
    ],
)
def test_the_tokens_of_a_wallet_that_is_none_are_refused(alice: Caller, wallet: str, status: int, message: str) -> None:
    assert answer(alice.get(f"/tokens?limit=1&wallet={wallet}")) == refusal(status, message)


@pytest.mark.parametrize("stale", ["key", "token", "both", "neither"])
@pytest.mark.parametrize(
    ("path", "is_answered"), [("/wallets?limit=1", True), ("/wallets", False), ("/nowhere", False)]
)
def test_which_use_of_which_credentials_is_written_down(
    alice: Caller, bob: Caller, stale: str, path: str, is_answered: bool
) -> None:
    """Of the two that were sent, if one was not used for an hour, and if the request was not refused."""
    old, recent = timezone.now() - timedelta(minutes=61), timezone.now() - timedelta(minutes=59)
    ApiKey.objects.update(last_used_at=old if stale in {"key", "both"} else recent)
    BearerToken.objects.update(last_used_at=old if stale in {"token", "both"} else recent)
    cached_credentials.clear()

    assert (alice.get(path).status_code == 200) is is_answered

    now = timezone.now() - timedelta(minutes=1)
    key = ApiKey.objects.get().last_used_at
    mine, other = (BearerToken.objects.get(wallet=each.wallet).last_used_at for each in (alice, bob))
    is_noted = is_answered and stale != "neither"
    assert [used > now for used in (key, mine, other)] == [is_noted, is_noted, False]


def test_the_use_of_credentials_is_written_down_once_an_hour(alice: Caller) -> None:
    alice.get("/wallets?limit=1")
    first = BearerToken.objects.get().last_used_at, ApiKey.objects.get().last_used_at
    alice.get("/wallets?limit=1")
    second = BearerToken.objects.get().last_used_at, ApiKey.objects.get().last_used_at
    BearerToken.objects.update(last_used_at="2020-01-01T00:00:00Z")
    # The next look-up of the credentials notices it, which is once a minute.
    cached_credentials.clear()
    alice.get("/wallets?limit=1")

    assert None not in first
    assert first == second
    assert BearerToken.objects.get().last_used_at.year > 2020
