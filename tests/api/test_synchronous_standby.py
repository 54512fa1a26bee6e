"""A commit that does not reach the synchronous standby is not acknowledged, and neither is its repetition."""

import threading
from typing import Any

import pytest
from django.db import connections

from tests import pooler
from tests.api.caller import Caller
from tests.support.failover import Cluster, cluster
from tests.support.redis_processes import wait_until
from transfers import operations as transfers
from transfers.models import Transfer
from trusts import operations as trusts
from wallets.models import Wallet

_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'"
_BUSY = {"code": 503, "message": "Service busy, try again"}


class Asked:
    """A request in a thread of its own, on a connection of its own."""

    def __init__(self, caller: Caller, path: str, body: Any, key: str) -> None:
        self.response: Any = None

        def ask() -> None:
            try:
                self.response = caller.post(path, body, idempotency_key=key)
            finally:
                connections.close_all()

        self._thread = threading.Thread(target=ask)
        self._thread.start()

    def answer(self) -> Any:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.response


def waiting(servers: Cluster) -> int:
    """Wait until a commit waits for the standby, and return the process that serves it."""
    wait_until(lambda: servers.primary.execute(_WAITING) is not None)
    (pid,) = servers.primary.execute(_WAITING)
    return int(pid)


@pooler.needs_pgbouncer
@pytest.mark.django_db(transaction=True)
def test_a_commit_that_did_not_reach_the_standby_is_answered_503_and_its_repetition_waits(alice: Caller) -> None:
    assert alice.wallet is not None
    transfers.issue_tokens(wallet=alice.wallet, count=5)
    trusts.open_managed_wallet(actor=alice.wallet, name="grove")
    of_transfer = {"sender_wallet": "alice", "receiver_wallet": "grove", "bundle": {"bundle_size": 1}}
    requests: list[tuple[str, Any, str]] = [
        # In one statement, and in a transaction.
        ("/transfers", of_transfer, "SELECT pg_cancel_backend(%s)"),
        ("/wallets", {"wallet": "sapling"}, "SELECT pg_cancel_backend(%s)"),
        ("/transfers", of_transfer, "SELECT pg_terminate_backend(%s)"),
    ]
    with cluster(is_pooled=True) as servers:
        for number, (path, body, cut_off) in enumerate(requests):
            key = f"cut-off-{number}"
            transfers_before, wallets_before = Transfer.objects.count(), Wallet.objects.count()
            servers.standby.stop()
            first = Asked(alice, path, body, key)
            servers.primary.execute(cut_off, [waiting(servers)])
            response = first.answer()
            assert (response.status_code, response.json(), response["Retry-After"]) == (503, _BUSY, "1")
            # The change is there, and would not survive the primary.
            changed = Transfer.objects.count() - transfers_before + Wallet.objects.count() - wallets_before
            assert changed == 1

            repeated = Asked(alice, path, body, key)
            waiting(servers)
            assert repeated.response is None
            servers.standby.start()
            response = repeated.answer()
            assert response["Idempotency-Replayed"] == "true"
            assert response.status_code in (200, 201)
            changed = Transfer.objects.count() - transfers_before + Wallet.objects.count() - wallets_before
            assert changed == 1

        # The primary dies while a commit waits: the standby never heard of it, and the repetition is the first effect.
        before = Transfer.objects.count()
        servers.standby.stop()
        first = Asked(alice, "/transfers", of_transfer, "lost")
        waiting(servers)
        servers.kill_primary()
        response = first.answer()
        assert (response.status_code, response.json(), response["Retry-After"]) == (503, _BUSY, "1")
        servers.standby.start()
        servers.promote()

        def again() -> bool:
            nonlocal response
            response = alice.post("/transfers", of_transfer, idempotency_key="lost")
            return bool(response.status_code != 503)

        wait_until(again)
        assert response.status_code == 201
        assert "Idempotency-Replayed" not in response
        assert Transfer.objects.count() == before + 1
