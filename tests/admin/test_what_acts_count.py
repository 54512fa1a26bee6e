"""
The numbers on which an operator decides: each counts what belongs to its row, and not what stands beside it.

The world has two of everything, of two wallets: see `tests.transfers.frames`.
"""

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from config.admin.actions import lockers as locker_actions
from config.admin.actions import people as people_actions
from config.admin.actions import transfers as transfer_actions
from config.admin.actions import trusts as trust_actions
from config.admin.actions import wallets as wallet_actions
from config.admin.actions.base import AdminAction
from config.admin.models import Session
from lockers.models import Coin
from lockers.states import CoinState
from tests.admin.running import run
from tests.lockers.stock import stock
from tests.transfers import frames
from tests.transfers.frames import World
from transfers import operations as transfer_operations
from transfers.models import ActionToken, Transfer
from trusts import restricted_keys as making
from trusts.models import Trust
from wallets import operations as wallets
from wallets import restricted_keys
from wallets.errors import NotPossible
from wallets.models import ApiKey, AuditRun, BearerToken, OperatorAction, Token
from wallets.operator_log import Operator

pytestmark = pytest.mark.django_db


@pytest.fixture
def olga() -> User:
    return User.objects.create_superuser("olga")


@pytest.fixture
def world(olga: User) -> World:
    return frames.build()


def shown(action: type[AdminAction], row: Any, **values: Any) -> Any:
    return action().snapshot(row, values)


def test_bearer_tokens_are_counted_that_are_valid_and_of_the_wallet(world: World, olga: User) -> None:
    counts = {"alice": 2, "bobby": 1, "carol": 0}
    restricted_keys.end(key_id=making.create(actor=world.wallet("bobby"), name="ended", scopes=["tokens:read"]).row.pk)
    # Those of the world.
    stay = dict(counts)
    for name in ("alice", "bobby", "bobby"):
        making.create(actor=world.wallet(name), name="shop", scopes=["tokens:read"])
        stay[name] += 1

    for name, count in counts.items():
        wallet = world.wallet(name)
        valid = {"valid_bearer_tokens": count, "valid_restricted_keys": stay[name]}
        assert shown(wallet_actions.RevokeBearerTokens, wallet) == valid
        assert shown(wallet_actions.SetPassword, wallet) == valid | {"passwords_set_by_operators": 0}
        said = " ".join(
            wallet_actions.SetPassword().preview(wallet, {"end_keys": False}, shown(wallet_actions.SetPassword, wallet))
        )
        assert ("will stay valid" in said) is bool(stay[name])
        why = wallet_actions.RevokeBearerTokens().why_not(olga, wallet)
        assert why == ("" if count else "it has no valid bearer token")
    for token in BearerToken.objects.all():
        is_valid = world.names[str(token.pk)] in {"token 1 of alice", "token 2 of alice", "token of bobby"}
        assert shown(wallet_actions.RevokeBearerToken, token) == {"valid": is_valid}
        assert wallet_actions.RevokeBearerToken().why_not(olga, token) == ("" if is_valid else "it is no longer valid")


def test_what_operators_did_before_is_counted_by_verb_and_row(world: World) -> None:
    alice, bob = world.wallet("alice"), world.wallet("bobby")
    run(wallet_actions.SetPassword, alice, end_keys=False)
    run(transfer_actions.IssueTokens, bob, count=1)
    run(transfer_actions.IssueTokens, bob, count=1)

    passwords = [shown(wallet_actions.SetPassword, each)["passwords_set_by_operators"] for each in (alice, bob)]
    issues = [shown(transfer_actions.IssueTokens, each)["issues_by_operators"] for each in (alice, bob)]

    assert (passwords, issues) == ([1, 0], [0, 2])


def test_keys_of_the_name_are_counted_that_are_valid(world: World, olga: User) -> None:
    assert shown(wallet_actions.CreateApiKey, None, name="partner") == {"valid_keys_of_this_name": 3}
    assert shown(wallet_actions.CreateApiKey, None, name="another") == {"valid_keys_of_this_name": 0}
    for action in (wallet_actions.RotateApiKey, wallet_actions.RevokeApiKey):
        for key in ApiKey.objects.all():
            is_valid = world.names[str(key.pk)] != "revoked key"
            assert shown(action, key)["valid"] is is_valid
            assert action().why_not(olga, key) == ("" if is_valid else "it is no longer valid")


def test_what_is_cancelled_or_ended_is_shown_as_it_is(world: World) -> None:
    offered = Transfer.objects.get(pk=world.id_of("alice offers rita"))
    asked = Transfer.objects.get(pk=world.id_of("rita asks alice"))
    assert shown(transfer_actions.CancelTransfer, offered) == {
        "state": "pending", "tokens_asked": 1, "tokens_reserved": 1,
    }  # fmt: skip
    assert shown(transfer_actions.CancelTransfer, asked) == {
        "state": "requested", "tokens_asked": 1, "tokens_reserved": 0,
    }  # fmt: skip
    link = ActionToken.objects.get(pk=world.id_of("link of alice"))
    assert shown(transfer_actions.CancelActionToken, link) == {"state": "active", "tokens_reserved": 2}
    for name, state in (("alice may send to bobby", "trusted"), ("rita may send to alice", "requested")):
        assert shown(trust_actions.EndTrust, Trust.objects.get(pk=world.id_of(name))) == {"state": state}


def test_a_session_that_ended_meanwhile_is_not_ended_again(olga: User) -> None:
    now = timezone.now()
    session = Session.objects.create(
        digest=b"d" * 32, user=olga, created_at=now, last_used_at=now, expires_at=now + timedelta(days=1)
    )
    operator = Operator(olga, confirmation=uuid4().hex, reason="as asked")
    snapshot = people_actions.EndSession().snapshot(session, {})
    Session.objects.update(user=None)

    with pytest.raises(NotPossible, match=r"This session has ended already\."):
        people_actions.EndSession().run(operator, session, {}, snapshot)

    assert Session.objects.count() == 1
    assert not OperatorAction.objects.exists()


def test_captures_are_counted_that_have_a_token_already(world: World) -> None:
    issued = [str(capture) for capture in Token.objects.values_list("capture_id", flat=True)[:2]]
    captures = " ".join([*issued, str(uuid4())])

    assert shown(transfer_actions.IssueTokens, world.wallet("rita"), captures=captures) == {
        "issues_by_operators": 0, "captures_issued_already": 2,
    }  # fmt: skip


MOST: Final = transfer_actions.MAXIMUM_ISSUE


@pytest.mark.parametrize(("count", "is_valid"), [(0, False), (1, True), (MOST, True), (MOST + 1, False), (-1, False)])
def test_so_many_tokens_are_issued_at_once_by_number(count: int, is_valid: bool) -> None:
    assert transfer_actions.IssueForm({"count": str(count)}).is_valid() is is_valid
    assert MOST == 100_000


@pytest.mark.parametrize(("lines", "message"), [(3, ""), (4, "At most 3 tokens at once; the file has 4 capture ids.")])
def test_so_many_tokens_are_issued_at_once_by_file(lines: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_actions, "MAXIMUM_ISSUE", 3)
    text = "\n".join(str(uuid4()) for _ in range(lines))

    form = transfer_actions.IssueForm({}, {"file": SimpleUploadedFile("captures.csv", text.encode())})

    assert form.is_valid() is (not message)
    assert form.non_field_errors() == ([message] if message else [])


def test_the_duration_that_is_shown_of_an_audit_is_that_of_the_last_one_that_ended(olga: User) -> None:
    audit = wallet_actions.RunAudit()

    def said() -> list[str]:
        return [each for each in audit.preview(None, {}, {}) if "took" in each]

    assert (audit.snapshot(None, {}), said()) == ({"last_audit": None}, [])
    now = timezone.now()
    for seconds, result in ((75, "sound"), (42, "sound"), (None, "running")):
        finished = None if seconds is None else now + timedelta(seconds=seconds)
        run = AuditRun.objects.create(staff=olga, result=result, started_at=now, finished_at=finished)
        assert audit.snapshot(None, {}) == {"last_audit": run.pk}
        assert audit.why_not(olga, None) == ("an audit is running" if finished is None else "")
        assert said() == [f"The last audit took {seconds or 42} s."]


@pytest.mark.parametrize(("to_fix", "unchecked"), [(1, 0), (0, 1), (2, 3), (0, 0)])
def test_coins_to_fix_and_coins_to_check_are_each_a_reason(to_fix: int, unchecked: int, olga: User) -> None:
    alice = wallets.create_wallet(name="alice")
    stock(alice, *[0] * to_fix, state=CoinState.FRACKED)
    Coin.objects.update(checked_at=timezone.now())
    stock(alice, *[0] * unchecked)
    stock(wallets.create_wallet(name="bobby"), 0, 0, state=CoinState.FRACKED)

    assert shown(locker_actions.StartFix, alice) == {"coins_to_fix": to_fix, "coins_to_check": unchecked}
    why = locker_actions.StartFix().why_not(olga, alice)
    assert why == ("" if to_fix or unchecked else "all servers accept all of its free coins")
    assert shown(locker_actions.CheckCoins, alice) == {"coins_to_check": to_fix + unchecked}


def test_an_issue_of_many_tokens_names_each_of_its_statements(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_operations, "ISSUED_AT_ONCE", 2)
    rita = world.wallet("rita")
    before = set(Token.objects.values_list("pk", flat=True))

    run(transfer_actions.IssueTokens, rita, count=5)

    times = sorted({token.created_at for token in Token.objects.exclude(pk__in=before)})
    assert len(times) == 3
    things = OperatorAction.objects.latest("pk").things
    assert things[0] == f"wallet:{rita.pk}"
    assert sorted(things[1:]) == sorted(f"issue:{rita.pk} {each.isoformat()}" for each in times)
