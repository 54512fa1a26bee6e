"""Guesses at passwords: how many there are, in whatever spelling, and that they do not keep the owner out."""

import itertools
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from config.api import throttles
from config.api.errors import RequestRefused
from config.web.addresses import network_of
from tests.api.caller import PASSWORD, Caller, answer, refusal
from tests.support.counts import forget_failures
from wallets import operations, origins
from wallets.models import BearerToken, KnownOrigin
from wallets.redis_servers import client as client_of
from wallets.states import OriginMeans

TOO_MANY = refusal(429, "Too many login attempts, try again later")
HOME, OFFICE, ELSEWHERE = "192.0.2.1", "198.51.100.7", "203.0.113.9"


def log_in(address: str, api_key: str, wallet: str = "alice", password: str = PASSWORD) -> int:
    caller = Caller(api_key)
    caller.client.defaults["REMOTE_ADDR"] = address
    response = caller.post("/auth", {"wallet": wallet, "password": password})
    if response.status_code == 429:
        assert answer(response) == TOO_MANY
        assert 0 < int(response["Retry-After"]) <= throttles.WINDOW_SECONDS
    return response.status_code


def guess(number: int, address: str, api_key: str, wallet: str = "alice") -> list[int]:
    return [log_in(address, api_key, wallet, "wrong") for _ in range(number)]


@pytest.fixture
def other_key(db: None) -> str:
    return operations.create_api_key(name="another partner")[1]


def spellings(wallet_id: str) -> list[str]:
    """A wallet's id with every choice of its four hyphens: 16 texts."""
    parts = wallet_id.split("-")
    return [
        "".join(part + hyphen for part, hyphen in zip(parts, (*hyphens, ""), strict=True))
        for hyphens in itertools.product(("-", ""), repeat=4)
    ]


def test_a_name_and_16_spellings_of_an_id_are_one_wallet_with_10_guesses(
    alice: Caller, api_key: str, other_key: str
) -> None:
    assert log_in(HOME, api_key) == 200
    texts = ["alice", "\uff41LICE", str(alice.wallet.pk).upper(), *spellings(str(alice.wallet.pk))]
    tokens = BearerToken.objects.count()

    statuses = [log_in(f"203.0.113.{number}", other_key, text, "wrong") for number, text in enumerate(texts)]

    assert len(set(texts)) == 19
    assert statuses == [401] * 10 + [429] * 9
    # Not even the right password, from a new address ...
    assert {log_in(ELSEWHERE, other_key, text) for text in texts} == {429}
    assert BearerToken.objects.count() == tokens
    # ... but from where the owner has logged in before, in any spelling.
    assert {log_in(HOME, other_key, text) for text in texts} == {200}


@pytest.mark.parametrize("text", ["nobody", "3f2b8a1e-5c4d-4e6f-8a9b-0c1d2e3f4a5b"])
def test_what_names_no_wallet_is_counted_in_every_spelling_too(api_key: str, text: str) -> None:
    texts = spellings(text) if "-" in text else ["nobody", "NOBODY", "Nobody", "\uff4eobody"]

    statuses = [log_in(f"203.0.113.{number}", api_key, each) for number, each in enumerate((texts * 4)[:16])]

    assert statuses == [404] * 10 + [429] * 6


def test_a_key_with_which_the_owner_has_logged_in_lets_in_from_a_new_address(
    alice: Caller, api_key: str, other_key: str
) -> None:
    assert log_in(HOME, api_key) == 200

    assert guess(11, ELSEWHERE, other_key) == [401] * 10 + [429]

    assert log_in(OFFICE, other_key) == 429
    assert log_in(OFFICE, api_key) == 200


def test_who_shares_the_owners_address_does_not_keep_out_the_owners_key(
    alice: Caller, api_key: str, other_key: str
) -> None:
    assert log_in(HOME, api_key) == 200

    assert guess(11, HOME, other_key) == [401] * 10 + [429]

    assert log_in(HOME, other_key) == 429
    assert log_in(HOME, api_key) == 200


def test_who_shares_the_owners_key_does_not_keep_out_the_owners_address(alice: Caller, api_key: str) -> None:
    assert log_in(HOME, api_key) == 200

    assert guess(11, ELSEWHERE, api_key) == [401] * 10 + [429]

    assert log_in(OFFICE, api_key) == 429
    assert log_in(HOME, api_key) == 200


def test_an_origin_takes_10_guesses_and_is_closed_then_as_any_other(alice: Caller, api_key: str) -> None:
    assert log_in(HOME, api_key) == 200

    assert guess(11, HOME, api_key) == [401] * 10 + [429]
    assert log_in(HOME, api_key) == 429


def test_guesses_from_known_origins_count_for_strangers_too(alice: Caller, api_key: str, other_key: str) -> None:
    assert log_in(HOME, api_key) == 200
    guess(10, HOME, api_key)

    assert log_in(ELSEWHERE, other_key) == 429


def test_all_guesses_together_have_a_bound(alice: Caller, api_key: str, other_key: str) -> None:
    """Of strangers, from each known address and with each known key; an attacker has all of them here."""
    for address in (HOME, OFFICE):
        assert log_in(address, api_key) == 200

    statuses = [
        *guess(30, ELSEWHERE, other_key),
        *guess(30, HOME, other_key),
        *guess(30, ELSEWHERE, api_key),
        *guess(30, OFFICE, other_key),
        *guess(30, OFFICE, api_key),
    ]

    assert statuses.count(401) == 10 * (1 + 2 + 1)


def test_a_neighbour_in_the_same_64_is_known_and_one_beside_it_is_not(
    alice: Caller, api_key: str, other_key: str
) -> None:
    assert log_in("2001:db8:1:2::1", api_key) == 200
    guess(10, ELSEWHERE, other_key)

    assert log_in("2001:db8:1:3::1", other_key) == 429
    assert log_in("2001:db8:1:2:ffff::9", other_key) == 200


def test_strangers_at_an_address_do_not_close_it_to_those_who_have_logged_in_from_it(
    alice: Caller, api_key: str, other_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttles, "FAILURES_PER_ADDRESS", 5)
    assert log_in(HOME, api_key) == 200

    statuses = [log_in(HOME, other_key, f"nobody{number}") for number in range(6)]

    assert statuses == [404] * 5 + [429]
    assert log_in(HOME, other_key) == 200
    # And who guesses at wallets that are known there is closed out in turn.
    assert guess(6, HOME, other_key) == [401] * 5 + [429]


def test_a_wrong_password_makes_nobody_known(alice: Caller, api_key: str) -> None:
    guess(3, HOME, api_key)

    assert not KnownOrigin.objects.exists()


def test_origins_outlive_the_broker_and_are_forgotten_after_90_days(
    alice: Caller, api_key: str, other_key: str
) -> None:
    assert log_in(HOME, api_key) == 200
    forget_failures()
    guess(10, ELSEWHERE, other_key)
    assert log_in(HOME, other_key) == 200

    KnownOrigin.objects.update(last_login_at=timezone.now() - origins.KEPT - timedelta(seconds=1))

    assert log_in(HOME, other_key) == 429
    operations.purge_expired()
    assert not KnownOrigin.objects.exists()


@pytest.mark.parametrize(("hours", "is_renewed"), [(23, False), (25, True), (89 * 24, True)])
def test_an_origin_that_is_used_is_kept_from_then_on(
    alice: Caller, bob: Caller, api_key: str, hours: int, is_renewed: bool
) -> None:
    """A login is noted once a day; the origins of others stay as old as they are."""
    assert [log_in(HOME, api_key), log_in(OFFICE, api_key), log_in(HOME, api_key, "bobby")] == [200] * 3
    then = timezone.now() - timedelta(hours=hours)
    KnownOrigin.objects.update(last_login_at=then)

    assert log_in(HOME, api_key) == 200

    renewed = KnownOrigin.objects.exclude(last_login_at=then)
    assert renewed.count() == (2 if is_renewed else 0)
    assert {each.account for each in renewed} <= {str(alice.wallet.pk)}
    assert KnownOrigin.objects.count() == 5


def test_a_new_password_leaves_the_origins_as_they_are(alice: Caller, api_key: str, other_key: str) -> None:
    assert log_in(HOME, api_key) == 200
    operations.set_password(wallet=alice.wallet, password="another")
    guess(10, ELSEWHERE, other_key)

    assert log_in(HOME, other_key, password="another") == 200


def test_of_each_wallet_the_newest_16_addresses_and_4_keys_are_kept(alice: Caller, bob: Caller, api_key: str) -> None:
    assert log_in(HOME, api_key, "bobby") == 200
    keys = [operations.create_api_key(name="partner")[1] for _ in range(5)]
    for number in range(18):
        assert log_in(f"198.51.100.{number}", keys[min(number, 4)]) == 200
        # Each a minute before the next.
        KnownOrigin.objects.update(last_login_at=timezone.now() - timedelta(minutes=18 - number))

    counts = [
        KnownOrigin.objects.filter(account=str(wallet.pk), means=means).count()
        for wallet in (alice.wallet, bob.wallet)
        for means in (OriginMeans.ADDRESS, OriginMeans.API_KEY)
    ]

    assert counts == [16, 4, 1, 1]
    guess(10, ELSEWHERE, api_key)
    assert [log_in(f"198.51.100.{number}", api_key) for number in (0, 1, 17)] == [429, 429, 200]


def test_an_origin_is_stored_as_a_keyed_digest(alice: Caller, api_key: str, settings: Any) -> None:
    assert log_in(HOME, api_key) == 200
    before = {bytes(each.digest) for each in KnownOrigin.objects.all()}
    KnownOrigin.objects.all().delete()

    settings.SECRET_KEY = "x" * 50
    assert log_in(HOME, api_key) == 200

    assert len(before) == 2
    assert {len(each) for each in before} == {32}
    assert not before & {bytes(each.digest) for each in KnownOrigin.objects.all()}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_what_one_subscriber_has(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize("seconds", [(20, 50), (50, 20)])
def test_of_two_full_origins_the_first_with_room_again_says_how_long_to_wait(
    seconds: tuple[int, int], settings: Any
) -> None:
    known = {OriginMeans.ADDRESS: HOME, OriginMeans.API_KEY: "1"}
    keys = throttles._keys("wallet", "alice", HOME, known)
    for key, left in zip(keys[3:], seconds, strict=True):
        client_of(settings.REDIS_URL).set(key, throttles.FAILURES_PER_ACCOUNT, ex=left)

    with pytest.raises(RequestRefused, match="Too many") as refused:
        throttles._admit(keys, "slot")

    assert int(refused.value.headers["Retry-After"]) <= 20


@pytest.mark.parametrize("seconds", [(20, 50), (50, 20)])
def test_a_process_that_counts_alone_says_the_same_of_two_full_origins(seconds: tuple[int, int]) -> None:
    known = {OriginMeans.ADDRESS: HOME, OriginMeans.API_KEY: "1"}
    keys = throttles._keys("wallet", "alice", HOME, known)
    for key, left in zip(keys[3:], seconds, strict=True):
        for _ in range(throttles.FAILURES_PER_ACCOUNT):
            throttles._here.add(key, left)

    with pytest.raises(RequestRefused, match="Too many") as refused:
        throttles._admit_here(keys)

    assert int(refused.value.headers["Retry-After"]) <= 20
    # One with room admits, and then all are counted.
    throttles._here.take_back(keys[4])
    throttles._admit_here(keys)
    assert [throttles._here.count(key) for key in keys[1:]] == [1, 1, 11, 10]
