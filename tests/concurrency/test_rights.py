"""
What rests on a right holds it until it is committed: the end of the right waits, and comes after.

Every path of `tests.trusts.powers` that changes something is begun and not committed, and another connection tries to
end the trust that gives the right. With the lock on the trust it cannot; the control takes that lock out of the
statements, and then the right ends under what rests on it.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection, connections, transaction
from psycopg.errors import LockNotAvailable

from tests.concurrency.races import PATIENCE_SECONDS
from tests.trusts import powers
from tests.trusts.powers import PATHS, Asked, Path, World, undone
from transfers import approvals
from transfers import operations as transfers
from transfers.queries import Demand
from trusts import operations
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Wallet
from webhooks import operations as webhooks
from webhooks.models import Webhook
from webhooks.states import DisabledBy, WebhookState

# Answered with POST so that no cache keeps it. It changes nothing, so it came before whatever ended meanwhile.
READS: Final = {"read_the_code_of_a_locker"}
# Refused to a manager: nothing rests on its right.
REFUSED: Final = {"name_a_token_of_the_wallet_in_a_link_of_ones_own"}


@pytest.fixture
def world(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    built, _ = powers.build(wallets.create_api_key(name="partner")[1])
    # The lock on both wallets is a second one, and its races are in `test_trusts`.
    monkeypatch.setattr(operations, "_lock_pair", lambda *_: None)
    return built


@contextmanager
def without_the_lock_on_trusts() -> Iterator[None]:
    def strip(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        return execute(sql.replace("FOR SHARE OF trust", "").replace("FOR SHARE", ""), *arguments)

    with connection.execute_wrapper(strip):
        yield


def can_end(actor: Wallet, trust_id: UUID) -> bool:
    """Tell whether another connection could end the trust now; it does not."""
    outcome: list[bool] = []

    def end() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '20ms'")
                operations.decline_trust(actor=actor, trust_id=trust_id)
                transaction.set_rollback(True)
            outcome.append(True)
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                outcome.append(False)
        finally:
            connections.close_all()

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    thread.join(timeout=PATIENCE_SECONDS)
    assert outcome, "the end of the trust hangs or fails"
    return outcome[0]


def ends_under(path: Path, asked: Asked, *, ender: str, trust_id: UUID) -> bool:
    with undone():
        assert path.ask(asked) not in {"refused", "pending"}, path.name
        return can_end(asked.world.wallet(ender), trust_id)


def by_a_manager(world: World, side: str) -> dict[str, bool]:
    """For each path, whether control of the side can end while the manager's act is not committed."""
    manager, ender = {"alice": ("mona", "alice"), "bobby": ("yves", "yves")}[side]
    # Where two wallets take part, coins go to whom they may go to.
    other = "bobby" if side == "alice" else "alice"
    return {
        path.name: ends_under(path, Asked(world, manager, side, other), ender=ender, trust_id=world.management[side])
        for path in PATHS
        # What only counts when it lists rests on no right.
        if path.writes
        and path.name not in REFUSED
        and not all(endpoint.startswith("GET ") for endpoint in path.endpoints)
    }


def by_a_trust_between(world: World, kind: str) -> dict[str, bool]:
    """The same of a trust that lets alice push to bobby, or control bobby, while she transfers to bobby."""
    asking, asked = ("alice", "bobby") if kind in {"send", "manage"} else ("bobby", "alice")
    trust_id = powers.agreed(world.wallet(asking), TrustRequestType(kind), world.wallet(asked))
    return {
        path.name: ends_under(path, Asked(world, "alice", "alice", "bobby"), ender=asked, trust_id=trust_id)
        for path in PATHS
        if path.is_between
    }


RIGHTS: Final = {
    "manage": functools.partial(by_a_manager, side="alice"),
    "yield": functools.partial(by_a_manager, side="bobby"),
    **{f"{kind} of the receiver": functools.partial(by_a_trust_between, kind=kind) for kind in TrustRequestType.values},
}


@pytest.mark.parametrize("has_lock", [True, False], ids=["", "control"])
@pytest.mark.parametrize("kind", RIGHTS)
def test_a_right_does_not_end_under_what_rests_on_it(world: World, kind: Any, has_lock: bool) -> None:
    if kind in {"manage", "yield"}:
        # So that a manager may push coins to the other side.
        giver, receiver = ("alice", "bobby") if kind == "manage" else ("bobby", "alice")
        powers.agreed(world.wallet(giver), "send", world.wallet(receiver))

    with ExitStack() as stack:
        if not has_lock:
            stack.enter_context(without_the_lock_on_trusts())
        ends = RIGHTS[kind](world)

    assert len(ends) >= (25 if kind in {"manage", "yield"} else 5)
    assert [name for name, can in ends.items() if can is has_lock] == []


def test_whatever_changes_something_is_raced() -> None:
    posts = {path.name for path in PATHS if any(not endpoint.startswith("GET ") for endpoint in path.endpoints)}

    assert posts - {path.name for path in PATHS if path.writes} == READS


def approve_what_a_manager_sent(alice: Wallet, manager: Wallet, bob: Wallet) -> Callable[[], Any]:
    Wallet.objects.filter(pk=alice.pk).update(approval_above=2)
    held = transfers.send_bundle(actor=manager, sender="alice", receiver="bobby", size=3, credential_id=uuid4())
    return lambda: approvals.approve(actor=alice, credential_id=uuid4(), transfer_id=held.id)


def confirm_what_a_manager_asked_for(alice: Wallet, manager: Wallet, bob: Wallet) -> Callable[[], Any]:
    Wallet.objects.filter(pk=alice.pk).update(approval_above=2)
    asked: Any = {"wallet_id": alice.pk, "wanted": Demand()}
    approvals.demand(actor=manager, credential_id=uuid4(), **asked)
    return lambda: approvals.demand(actor=alice, credential_id=uuid4(), **asked)


def accept_what_a_manager_requested(alice: Wallet, manager: Wallet, bob: Wallet) -> Callable[[], Any]:
    row = operations.request_trust(
        actor=manager, request_type=TrustRequestType.SEND, requestee="bobby", requester="alice"
    )
    return lambda: operations.accept_trust(actor=bob, trust_id=row.id)


def enable_what_a_manager_owns(alice: Wallet, manager: Wallet, bob: Wallet) -> Callable[[], Any]:
    hook = webhooks.create(actor=manager, wallet="alice", url=powers.HOOK).webhook
    webhooks.disable(Webhook.objects.get(), by=DisabledBy.OPERATOR)
    return lambda: webhooks.change(actor=alice, webhook_id=hook.pk, state=WebhookState.ENABLED)


@pytest.mark.parametrize("has_lock", [True, False], ids=["", "control"])
@pytest.mark.parametrize(
    "prepared",
    [
        approve_what_a_manager_sent,
        confirm_what_a_manager_asked_for,
        accept_what_a_manager_requested,
        enable_what_a_manager_owns,
    ],
)
def test_nor_does_the_right_of_another_wallet(
    stocked: Wallet, bob: Wallet, carol: Wallet, prepared: Any, has_lock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Carol began it as a manager of alice, and her control must last, although another wallet decides now."""
    management = powers.agreed(carol, TrustRequestType.MANAGE, stocked)
    act = prepared(stocked, carol, bob)
    # As in `world`.
    monkeypatch.setattr(operations, "_lock_pair", lambda *_: None)

    with ExitStack() as stack:
        if not has_lock:
            stack.enter_context(without_the_lock_on_trusts())
        with undone():
            act()
            can = can_end(stocked, management)

    assert can is not has_lock
