"""What the pages of a token and of a transfer say while movements are detached."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from config.seals import sealing
from tests.support.desk_pages import text_of, url
from transfers import operations, partitions
from transfers.models import Transfer
from wallets import operations as wallets
from wallets.models import Token

TOLD = "that is detached: see manage.py movement_partitions"


@pytest.mark.django_db
def test_pages_of_a_token_and_a_transfer_say_what_is_detached(desk: Client) -> None:
    alice, bob = (wallets.create_wallet(name=name) for name in ("alice", "bobby"))
    operations.issue_tokens(wallet=alice, count=1)
    (token,) = Token.objects.all()
    sent = operations.send_tokens(actor=alice, sender="alice", receiver="bobby", token_ids=[token.pk])
    operations.accept(actor=bob, transfer_id=sent.id)
    transfer = Transfer.objects.get(pk=sent.id)
    newest = partitions.newest_id()

    def pages() -> list[Any]:
        return [
            text_of(desk.get(url(name, row)))
            for name, row in (("wallets_token_change", token), ("transfers_transfer_change", transfer))
        ]

    assert [TOLD in page for page in pages()] == [False, False]
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('transfers_arrival', %s)", [partitions.SIZE])
    try:
        sealing.seal(is_due=True)
        partitions.detach("transfers_movement_from_0", distance=0)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT setval('transfers_arrival', %s)", [newest])

    of_token, of_transfer = pages()

    assert f"What is before is in a partition of movements {TOLD} ." in of_token
    assert f"Movements of this transfer are in a partition {TOLD} ." in of_transfer
