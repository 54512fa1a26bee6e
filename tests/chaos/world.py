"""What is cut off: a task of each kind with coins and wallets of its own, and what must be true of it in the end."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from django.db.models.functions import Now

from lockers import locker_expiry
from lockers.models import Coin, Locker, LockerTask, Payment, PaymentRequest
from lockers.operations import break_coin, export, import_files, payment_requests, transfer
from lockers.operations import find as find_coins
from lockers.operations import fix as fix_coins
from lockers.operations import put as put_coins
from lockers.operations import take as take_coins
from lockers.operations.new_task import Started
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.files import write_bin
from lockers.states import SPENDABLE, CoinState, FileType, TaskKind, TaskState
from tests.lockers.books import assert_servers_hold, finish
from tests.lockers.conftest import mint_on
from tests.support.coin_commands import after_the_intent, find, give
from tests.support.expiring_lockers import begin, fill, steal_from, taken_back
from tests.support.local_network import LocalNetwork
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Event, Wallet

# A find that leaves coins in limbo is followed by another, as the sweep would.
FINDS = 4
# So is a task that left coins in an expired locker.
TAKE_BACKS = 4
_numbers = count(1)


@dataclass(slots=True)
class Scene:
    """A task that was begun and not worked on, the wallets that have a part in it, and what all coins are worth."""

    task: Started
    wallets: list[Wallet]
    units: int
    # How many of the first servers refuse a command, as long as the task is in the hands of a child.
    refuse: Mapping[str, int] = field(default_factory=dict)
    # Begins a task that wants the same coins; None if no wallet does.
    rival: Callable[[], Started] | None = None
    # The locker whose coins the task takes back.
    locker: Locker | None = None

    def state(self) -> str:
        return LockerTask.objects.get(pk=self.task.task.pk).state

    def coins(self) -> list[Coin]:
        return list(Coin.objects.filter(wallet__in=self.wallets))

    def expire_lease(self) -> None:
        """As if the worker had been silent for long enough."""
        LockerTask.objects.filter(pk=self.task.task.pk, state=TaskState.RUNNING).update(lease_until=Now())

    def find_what_is_in_limbo(self) -> None:
        for wallet in self.wallets:
            for _ in range(FINDS):
                if Coin.objects.filter(wallet=wallet, state__in=[CoinState.LIMBO, CoinState.ERRORED]).exists():
                    find(wallet)

    def take_back_the_rest(self) -> None:
        """Take back what the task left in an expired locker, as beat would."""
        if self.locker is None:
            return
        for _ in range(TAKE_BACKS):
            if not Locker.objects.filter(pk=self.locker.pk, take_back_at__isnull=False).exists():
                break
            taken_back(self.locker)
            self.find_what_is_in_limbo()
        found = locker_expiry.of_locker(Locker.objects.get(pk=self.locker.pk))
        assert found is not None
        assert (found.unknown, found.returned + found.taken) == (0, 21 * UNITS_PER_COIN), found

    def assert_nothing_is_lost(self) -> None:
        """The task is final, each coin is somewhere, and the servers hold what the books say. The caller audits."""
        assert self.state() != TaskState.RUNNING, "the task is not final"
        self.find_what_is_in_limbo()
        self.take_back_the_rest()
        rows = self.coins()
        states = Counter((row.denomination, row.state, row.pown) for row in rows)
        allowed = {"bank", "fracked", "locked", "exported", "sent", "broken", "void"}
        assert {row.state for row in rows} <= allowed, f"coins are left in doubt: {states}"
        there = [row for row in rows if row.state in (*SPENDABLE, CoinState.LOCKED, CoinState.EXPORTED)]
        worth = sum(WireCoin(row.denomination, 0).value for row in there)
        assert worth == self.units, f"{worth} instead of {self.units}: {states}"
        self._assert_paid_once()
        assert_servers_hold(there)

    def _assert_paid_once(self) -> None:
        """A payment says what has arrived; the caller audits that the coins are worth that."""
        payment = Payment.objects.select_related("request").filter(task_id=self.task.task.pk).first()
        if payment is None:
            return
        told = Event.objects.filter(wallet=payment.request.wallet, type="payment_request.paid").count()
        paid = payment.units == payment.request.amount
        assert (payment.state, payment.request.state, payment.request.paid) in (
            ("credited", "paid", payment.request.amount),
            ("failed", "open", 0),
        ), (payment.state, payment.units, payment.request.state)
        assert told == paid


class World:
    """Makes scenes on a network whose servers behave."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network

    def wallet(self, *denominations: int) -> Wallet:
        wallet = wallets.create_wallet(name=f"wallet-{next(_numbers)}")
        if denominations:
            give(wallet, mint_on(self.network, *denominations))
        return wallet

    def import_(self) -> Scene:
        wallet = self.wallet()
        upload = ("coins.bin", write_bin(mint_on(self.network, 1, 0, 0, 0)))
        return _scene(import_files.start(actor=wallet, name=wallet.name, uploads=[upload]), 13, wallet)

    def put(self, code: str | None = None) -> Scene:
        wallet = self.wallet(1, 1, 0, 0)
        started = put_coins.start(actor=wallet, name=wallet.name, units=21 * UNITS_PER_COIN, tag="", transmit_code=code)
        return _scene(started, 22, wallet)

    def put_that_is_rolled_back(self) -> Scene:
        scene = self.put()
        scene.refuse = {"PUT": 13}
        return scene

    def put_of_coins_little_known(self) -> Scene:
        """Only the first 13 servers are known to accept them, and some of these refuse."""
        wallet = self.wallet()
        records = mint_on(self.network, 1, 1, 0, 0)
        self.network.fault(range(13, 25), "drop-reply")
        give(wallet, records)
        self.network.clear()
        scene = _scene(put_coins.start(actor=wallet, name=wallet.name, units=21 * UNITS_PER_COIN), 22, wallet)
        scene.refuse = {"PUT": 5}
        return scene

    def put_that_breaks(self) -> Scene:
        wallet = self.wallet(1, 0, 0, 0)
        return _scene(put_coins.start(actor=wallet, name=wallet.name, units=5 * UNITS_PER_COIN), 13, wallet)

    def transfer_that_breaks(self) -> Scene:
        giver, receiver = self.wallet(1, 0, 0, 0), self.wallet()
        trust = trusts.request_trust(actor=giver, requestee=receiver.name, request_type=TrustRequestType.SEND)
        trusts.accept_trust(actor=receiver, trust_id=trust.id)
        started = transfer.start(actor=giver, source=giver.name, destination=receiver.name, units=5 * UNITS_PER_COIN)
        return _scene(started, 13, giver, receiver)

    def export_that_breaks(self) -> Scene:
        wallet = self.wallet(1, 0, 0, 0)
        started = export.start(actor=wallet, name=wallet.name, units=5 * UNITS_PER_COIN, file_type=FileType.BIN)
        return _scene(started, 13, wallet)

    def break_that_is_joined_again(self) -> Scene:
        wallet = self.wallet(1, 0, 0, 0)
        scene = _scene(break_coin.start(actor=wallet, name=wallet.name, denomination=1), 13, wallet)
        scene.refuse = {"BREAK": 13}
        return scene

    def fix(self) -> Scene:
        wallet = self.wallet()
        records = mint_on(self.network, 1, 0, 0, 0)
        self.network.fault(range(3), "wrong-secret")
        give(wallet, records)
        self.network.clear()
        return _scene(fix_coins.start(actor=wallet, name=wallet.name), 13, wallet)

    def take(self) -> Scene:
        code = f"CUT-OFF-IN-THE-MIDDLE-{next(_numbers)}"
        filled = self.put(code)
        assert finish(filled.task).state == TaskState.COMPLETED
        taker = self.wallet()
        started = take_coins.start(actor=taker, name=taker.name, code=code)
        return _scene(started, 22, taker, *filled.wallets)

    def take_back(self) -> Scene:
        """A locker has expired, and another wallet has its code."""
        code = f"TAKEN-BACK-IN-THE-END-{next(_numbers)}"
        wallet, taker = self.wallet(1, 1, 0, 0), self.wallet()
        locker = fill(wallet, 21, code)
        scene = _scene(Started(begin(locker)), 22, wallet, taker)
        scene.locker = locker
        scene.rival = lambda: take_coins.start(actor=taker, name=taker.name, code=code)
        return scene

    def take_back_of_a_split_locker(self) -> Scene:
        """Another program has taken the coins on twelve servers, and the other thirteen decide."""
        wallet = self.wallet(1, 1, 0, 0)
        locker = fill(wallet, 21)
        steal_from(self.network, locker, range(12))
        scene = _scene(Started(begin(locker)), 22, wallet)
        scene.locker = locker
        return scene

    def payment_by_code(self) -> Scene:
        code = f"PAID-IN-THE-MIDDLE-{next(_numbers)}"
        filled = self.put(code)
        assert finish(filled.task).state == TaskState.COMPLETED
        payee = self.wallet()
        asked = self._ask(payee, 21)
        paid = payment_requests.pay_with_code(actor=None, request_id=asked.pk, code=code, address="")
        return _scene(Started(paid.task), 22, payee, *filled.wallets)

    def payment_that_breaks(self) -> Scene:
        payer, payee = self.wallet(1, 0, 0, 0), self.wallet()
        paid = payment_requests.pay(actor=payer, request_id=self._ask(payee, 5).pk)
        return _scene(Started(paid.task), 13, payer, payee)

    def _ask(self, payee: Wallet, coins: int) -> PaymentRequest:
        return payment_requests.create(actor=payee, name=None, units=coins * UNITS_PER_COIN, description="trees")

    def release_of_a_put(self) -> Scene:
        return self._find_after_silence(self.put())

    def release_of_a_break(self) -> Scene:
        wallet = self.wallet(1, 0, 0, 0)
        scene = _scene(break_coin.start(actor=wallet, name=wallet.name, denomination=1), 13, wallet)
        return self._find_after_silence(scene)

    def _find_after_silence(self, scene: Scene) -> Scene:
        if scene.task.task.kind == TaskKind.BREAK:
            # Before the ten are committed nothing is at stake.
            with after_the_intent(lambda: self.network.fault(range(25), "silent")):
                finish(scene.task)
        else:
            self.network.fault(range(25), "silent")
            finish(scene.task)
        self.network.clear()
        (wallet,) = scene.wallets
        assert Coin.objects.filter(wallet=wallet, state=CoinState.LIMBO).exists()
        Coin.objects.filter(wallet=wallet).update(changed_at="2026-01-01T00:00Z")
        scene.task = find_coins.start(actor=wallet, name=wallet.name)
        return scene


def _scene(started: Started, whole_coins: int, *owners: Wallet) -> Scene:
    return Scene(started, list(owners), whole_coins * UNITS_PER_COIN)


SCENES: dict[str, Callable[[World], Scene]] = {
    "import": World.import_,
    "put": World.put,
    "put, rolled back": World.put_that_is_rolled_back,
    "put of coins little known": World.put_of_coins_little_known,
    "put that breaks": World.put_that_breaks,
    "transfer that breaks": World.transfer_that_breaks,
    "export that breaks": World.export_that_breaks,
    "break, joined again": World.break_that_is_joined_again,
    "take": World.take,
    "take back": World.take_back,
    "take back, split": World.take_back_of_a_split_locker,
    "payment by code": World.payment_by_code,
    "payment that breaks": World.payment_that_breaks,
    "fix": World.fix,
    "find that releases a put": World.release_of_a_put,
    "find that releases a break": World.release_of_a_break,
}
