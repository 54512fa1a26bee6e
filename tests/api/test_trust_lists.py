"""The two lists of trusts with the parameters of the service's later version, against a model in Python."""

import random
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

import pytest
from django.db.models import Func, Value

from tests.api.caller import Caller, answer, refusal
from tests.support.pagination import next_path
from trusts import operations
from trusts.models import Trust
from trusts.states import TrustRequestType, TrustState
from wallets import names
from wallets.models import Wallet

STATES: Final = ["requested", "cancelled_by_originator", "cancelled_by_target", "trusted"]
NAMES: Final = ["Dave", "b_b", "b%b", "erin", "zoo1", "zoo2"]


@pytest.fixture
def wallets(alice: Caller, bob: Caller) -> dict[str, Wallet]:
    """
    alice manages bobby and erin. The wallets have trusts with one another; many were created at the same moments.
    """
    found = {"alice": alice.wallet, "bobby": bob.wallet}
    for name in NAMES:
        found[name] = Wallet.objects.create(name=name, name_key=names.name_key(name), password="")
    chosen = random.Random(2)
    moments = [datetime(2024, 3, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(3)]
    managed = [("alice", "bobby", "manage"), ("erin", "alice", "yield")]
    others = [
        (actor, target, kind) for actor in found for target in found for kind in TrustRequestType.values
        if actor != target and kind != "manage" and (actor, target, kind) not in managed
    ]  # fmt: skip
    for actor, target, kind in [*managed, *chosen.sample(others, 45)]:
        is_managed = (actor, target, kind) in managed
        # No further control, so that it is plain who controls what.
        states = [state for state in STATES if kind != "yield" or state != "trusted"]
        state = "trusted" if is_managed else chosen.choice(states)
        Trust.objects.create(
            number=Func(Value("trusts_trust_number"), function="nextval"),
            actor=found[actor], target=found[target], originator=found[chosen.choice([actor, actor, "Dave", "bobby"])],
            request_type=kind, state=state, withdrawn=state == "cancelled_by_originator",
            created_at=chosen.choice(moments), updated_at=chosen.choice(moments),
        )  # fmt: skip
    # Each is asked for something.
    for wallet in found.values():
        trust = Trust.objects.filter(target=wallet, request_type__in=["send", "receive"]).earliest("number")
        Trust.objects.filter(pk=trust.pk).update(state="requested", withdrawn=False)
    return found


CONTROLLED: Final = {"alice": {"alice", "bobby", "erin"}, "bobby": {"bobby"}}


def model(who: str, wallet: str | None, wanted: dict[str, str], *, is_v2: bool) -> list[str]:
    """Return the ids of the trusts that the list must have, in its order. `wallet` is the one in the path."""
    mine = CONTROLLED[who]
    parties = {wallet} if wallet is not None and not is_v2 else mine

    def fits(trust: Trust) -> bool:
        three = {trust.actor.name, trust.target.name, trust.originator.name}
        if not three & parties or any(wanted.get(each, value) != value for each, value in (
            ("state", trust.state), ("type", trust.type), ("request_type", trust.request_type)
        )):  # fmt: skip
            return False
        if wanted.get("exclude_managed") == "true" and {trust.actor.name, trust.target.name} <= mine:
            return False
        return any(wanted.get("search", "").lower() in each.lower() for each in three)

    found = [
        trust
        for trust in Trust.objects.select_related("actor", "target", "originator").order_by("number")
        if fits(trust)
    ]
    if is_v2 or {"sort_by", "order"} & wanted.keys():
        keys = {
            "created_at": lambda trust: (trust.created_at, trust.pk),
            "updated_at": lambda trust: (trust.updated_at, trust.pk),
            "state": lambda trust: (STATES.index(trust.state), trust.pk),
        }
        is_descending = wanted.get("order", "desc") == "desc"
        found.sort(key=keys[wanted.get("sort_by", "created_at")], reverse=is_descending)
    if is_v2 and wallet is not None:
        asked = {wallet} | (mine - {who})
        found.sort(key=lambda trust: not (trust.state == "requested" and trust.target.name in asked))
    return [str(trust.pk) for trust in found]


def walk(caller: Caller, path: str) -> tuple[list[str], set[int | None]]:
    """Follow the cursors; return the ids, and every `total`."""
    ids: list[str] = []
    totals = set()
    while path:
        response = caller.get(path)
        status, body = answer(response)
        assert status == 200, (path, body)
        ids += [row["id"] for row in body["trust_relationships"]]
        totals.add(body.get("total"))
        path = next_path(response)
        assert len(ids) < 200
    return ids, totals


FILTERS: Final[list[dict[str, str]]] = [
    {}, {"state": "requested"}, {"type": "send"}, {"request_type": "yield"}, {"search": "DAV"}, {"search": "_"},
    {"search": "%"}, {"search": "o"}, {"search": "nobody"}, {"state": "trusted", "search": "b"},
]  # fmt: skip
SORTS: Final[list[dict[str, str]]] = [
    {}, {"order": "asc"}, {"sort_by": "state"}, {"sort_by": "state", "order": "asc"}, {"sort_by": "updated_at"},
    {"sort_by": "created_at", "order": "asc"},
]  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "/wallet/v2"])
@pytest.mark.parametrize(
    ("who", "wallet"), [("alice", None), ("alice", "alice"), ("alice", "bobby"), ("bobby", "bobby")]
)
def test_each_filter_and_order_gives_the_rows_of_the_model_by_cursor_and_by_offset(
    alice: Caller, bob: Caller, wallets: dict[str, Wallet], prefix: str, who: str, wallet: str | None
) -> None:
    caller = {"alice": alice, "bobby": bob}[who]
    path = "/trust_relationships" if wallet is None else f"/wallets/{wallets[wallet].pk}/trust_relationships"
    exclusions: list[dict[str, str]] = [{}] if wallet is None else [{}, {"exclude_managed": "true"}]
    chosen = random.Random(f"{prefix}{who}{wallet}")
    wanted = chosen.sample([each | exclusion for each in FILTERS for exclusion in exclusions], 7)
    for query in [each | sort for each, sort in zip(wanted, [{}, *chosen.sample(SORTS, 6)], strict=True)]:
        expected = model(who, wallet, query, is_v2=bool(prefix))
        is_later = bool(prefix) or not query.keys() <= {"state", "type", "request_type"}
        page = f"{prefix}{path}?{urlencode({'limit': 12, **query})}"
        has_total = wallet is not None

        assert walk(caller, page) == (expected, {len(expected) if has_total and is_later else None}), page
        for offset in [chosen.randrange(len(expected) + 1)]:
            response = caller.get(f"{page}&offset={offset}")
            status, body = answer(response)
            ids = [row["id"] for row in body["trust_relationships"]]
            assert (status, ids, body.get("total")) == (
                200, expected[offset:][:12], len(expected) if has_total else None
            ), page  # fmt: skip
            if "Link" in response.headers:
                status, body = answer(caller.get(next_path(response)))
                assert (status, [row["id"] for row in body["trust_relationships"]]) == (
                    200,
                    expected[offset + 12 :][:12],
                )


def test_a_trust_of_the_later_version_has_ids_and_is_active(alice: Caller, bob: Caller) -> None:
    body = {"trust_request_type": "receive", "requestee_wallet": "bobby"}
    status, created = answer(alice.post("/wallet/v2/trust_relationships", body))
    trust = Trust.objects.get()
    at = trust.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    common = {
        "id": str(trust.pk), "type": "send", "request_type": "receive", "state": "requested", "created_at": at,
        "updated_at": at, "actor_wallet": "alice", "target_wallet": "bobby",
    }  # fmt: skip
    ids = {
        "actor_wallet_id": str(alice.wallet.pk),
        "target_wallet_id": str(bob.wallet.pk),
        "originator_wallet_id": str(alice.wallet.pk),
        "active": True,
    }
    v1 = {**common, "originating_wallet": "alice"}
    query = {"limit": 500, "offset": 0, "sort_by": "created_at", "order": "desc"}

    assert (status, created) == (201, {**common, "originator_wallet": "alice", **ids})
    assert answer(alice.get(f"/trust_relationships/{trust.pk}")) == (200, v1)
    assert answer(alice.get(f"/wallet/v2/trust_relationships/{trust.pk}")) == (200, {**v1, **ids})
    assert answer(alice.get("/trust_relationships")) == (200, {"trust_relationships": [v1]})
    assert answer(alice.get("/wallet/v2/trust_relationships")) == (
        200,
        {"trust_relationships": [{**v1, **ids}], "query": query},
    )
    assert answer(bob.get(f"/wallet/v2/wallets/{bob.wallet.pk}/trust_relationships")) == (
        200,
        {"trust_relationships": [{**v1, **ids}], "query": {**query, "exclude_managed": False}, "total": 1},
    )
    assert answer(alice.get("/trust_relationships?search=BOB&order=asc")) == (
        200,
        {"trust_relationships": [v1], "query": {**query, "limit": 1000, "order": "asc", "search": "BOB"}},
    )
    for action in ("accept", "decline"):
        status, answered = answer(bob.post(f"/wallet/v2/trust_relationships/{trust.pk}/{action}", {}))
        assert (status, answered.keys()) == (200, {**v1, **ids}.keys())
    status, ended = answer(alice.delete(f"/wallet/v2/trust_relationships/{trust.pk}"))
    assert (status, ended.keys()) == (200, {**v1, **ids}.keys())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sort_by=name", '"sort_by" must be one of [state, created_at, updated_at]'),
        ("order=DESC", '"order" must be one of [asc, desc]'),
        ("search=", '"search" is not allowed to be empty'),
        ("search=%00", '"search" must not hold a NUL character'),
        ("offset=-1", '"offset" must be greater than or equal to 0'),
        ("limit=2001", '"limit" must be less than or equal to 2000'),
        ("name=a", '"name" is not allowed'),
        ("scope=all", '"scope" is not allowed'),
        ("before=2024-01-01", '"before" is not allowed'),
    ],
)
def test_a_parameter_that_cannot_be_is_422(alice: Caller, query: str, message: str) -> None:
    for prefix in ("", "/wallet/v2"):
        for path in ("/trust_relationships", f"/wallets/{alice.wallet.pk}/trust_relationships"):
            assert answer(alice.get(f"{prefix}{path}?{query}")) == refusal(422, message), path


def test_managed_wallets_are_excluded_from_the_list_of_a_wallet_alone(alice: Caller) -> None:
    path = f"/wallets/{alice.wallet.pk}/trust_relationships"

    assert answer(alice.get("/trust_relationships?exclude_managed=true")) == refusal(
        422, '"exclude_managed" is not allowed'
    )
    assert answer(alice.get(f"{path}?exclude_managed=1")) == refusal(422, '"exclude_managed" must be a boolean')
    assert answer(alice.get(f"{path}?exclude_managed=false"))[1]["query"]["exclude_managed"] is False


def test_values_that_no_trust_has_give_an_empty_list_at_the_later_version_alone(alice: Caller, bob: Caller) -> None:
    operations.request_trust(actor=alice.wallet, request_type=TrustRequestType.SEND, requestee="bobby")

    for query in ("state=cancelled_by_actor", "type=deduct", "request_type=release", "request_type=deduct"):
        assert answer(alice.get(f"/wallet/v2/trust_relationships?{query}"))[1]["trust_relationships"] == []
        assert answer(alice.get(f"/trust_relationships?{query}"))[0] == 422
    assert answer(alice.get("/wallet/v2/trust_relationships?state=foo&type=bar&request_type=baz")) == refusal(
        422,
        '"state" must be one of [requested, cancelled_by_originator, cancelled_by_actor, cancelled_by_target, trusted];'
        '"type" must be one of [send, manage, deduct];'
        '"request_type" must be one of [send, receive, manage, yield, deduct, release]',
    )


@pytest.mark.parametrize(("prefix", "status"), [("", 403), ("/wallet/v2", 422)])
def test_row_29_the_trusts_of_a_strangers_wallet_are_refused(
    alice: Caller, bob: Caller, prefix: str, status: int
) -> None:
    path = f"{prefix}/wallets/{bob.wallet.pk}/trust_relationships"

    for query in ("", "?sort_by=state&search=a"):
        assert answer(alice.get(path + query))[0] == status
    # Bob's own, and those of a wallet that alice manages.
    assert answer(bob.get(path))[0] == 200
    sapling = operations.open_managed_wallet(actor=alice.wallet, name="sapling")
    assert answer(alice.get(f"{prefix}/wallets/{sapling.pk}/trust_relationships"))[0] == 200


def test_a_cursor_belongs_to_its_order_its_filter_and_its_wallet(
    alice: Caller, bob: Caller, wallets: dict[str, Wallet]
) -> None:
    page = f"/wallets/{alice.wallet.pk}/trust_relationships?limit=2&sort_by=state"
    path = next_path(alice.get(page))
    invalid = refusal(422, '"cursor" is not valid')

    assert alice.get(path).status_code == 200
    for other in (
        f"{path}&order=asc",
        f"{path}&search=a",
        f"{path}&exclude_managed=true",
        path.replace("sort_by=state", "sort_by=created_at"),
        path.replace(str(alice.wallet.pk), str(bob.wallet.pk)),
        f"/wallet/v2{path}",
    ):
        assert answer(alice.get(other)) == invalid, other


def test_a_state_that_a_trust_may_have_has_a_place_in_the_order() -> None:
    assert set(STATES) == set(TrustState.values)
