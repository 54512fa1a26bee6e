"""Proofs and checkpoints: who gets them, and what someone can check with them who has nothing else."""

import copy
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from coppice_client import proofs
from coppice_client.cli.app import coppice
from django.test import Client

from config import urls
from config.api import limits
from config.api.pools import Pool, pool_of
from config.seals import proofs as of_seals
from config.seals import sealing
from config.web.public_pages import checkpoints
from tests.api.caller import Caller, answer, logged_in, refusal
from transfers import operations
from transfers.ledger import Terms
from transfers.models import Movement, Transfer
from transfers.seal_models import Seal
from wallets import operations as wallets
from wallets.models import Token

pytestmark = pytest.mark.django_db

KEY = b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def _key(settings: Any) -> None:
    settings.SEAL_KEY, settings.SEAL_OLD_KEYS = KEY, []


@pytest.fixture
def alice() -> Caller:
    """Holds 5 tokens."""
    caller = logged_in("alice", wallets.create_api_key(name="partner")[1])
    operations.issue_tokens(wallet=caller.wallet, count=5)
    return caller


@pytest.fixture
def bob(alice: Caller) -> Caller:
    return logged_in("bobby", alice.api_key)


def sent(alice: Caller, bob: Caller) -> Transfer:
    asked = operations.send_bundle(
        actor=alice.wallet, sender="alice", receiver="bobby", size=1, terms=Terms("order 7", metadata={"größe": "1"})
    )
    sealing.seal(is_due=True)
    operations.accept(actor=bob.wallet, transfer_id=asked.id)
    sealing.seal(is_due=True)
    return Transfer.objects.get(pk=asked.id)


def public() -> Any:
    return Client().get("/public/checkpoints").json()


def test_a_proof_is_verified_by_someone_who_has_the_public_key_or_a_checkpoint(alice: Caller, bob: Caller) -> None:
    transfer = sent(alice, bob)
    token = Movement.objects.get(transfer_id=transfer.number).token_id

    of_token = bob.get(f"/tokens/{token}/proof").json()
    of_transfer = alice.get(f"/transfers/{transfer.pk}/proof").json()

    (key,) = public()["keys"]
    kept = proofs.kept_in(json.dumps(public()))
    assert set(kept) == {1, 2}
    for known in ({"public_keys": [key["public_key"]]}, {"kept": kept}):
        moved = proofs.verify(of_token, **known)
        assert [(each.table, each.row["number"], each.checkpoint["height"]) for each in moved] == [
            ("movement", 0, 1),
            ("movement", 1, 2),
        ]
        assert moved[0].row["capture_id"] == str(Token.objects.get(pk=token).capture_id)
        assert (moved[1].row["source_id"], moved[1].row["destination_id"]) == (
            str(alice.wallet.pk),
            str(bob.wallet.pk),
        )
        rows = {each.table: each.row for each in proofs.verify(of_transfer, **known)}
        assert set(rows) == {"request", "terms", "transfer"}
        assert (rows["transfer"]["state"], rows["terms"]["reference"]) == ("completed", "order 7")
        assert json.loads(rows["terms"]["metadata"]) == {"größe": "1"}
    assert of_token["next_after_number"] is None


def test_a_proof_with_one_bit_changed_is_refused(alice: Caller, bob: Caller) -> None:
    transfer = sent(alice, bob)
    document = alice.get(f"/transfers/{transfer.pk}/proof").json()
    (key,) = public()["keys"]
    keys = [key["public_key"]]
    kept = proofs.kept_in(json.dumps(public()))
    assert len(proofs.verify(document, public_keys=keys)) == 3
    tried = 0
    for place in places(document["proofs"]):
        forged = copy.deepcopy(document)
        *way, last = place
        holder = forged["proofs"]
        for step in way:
            holder = holder[step]
        holder[last] = changed(holder[last])
        tried += 1
        with pytest.raises(proofs.ProofRefused):
            proofs.verify(forged, public_keys=keys)
        if last not in {"signature", "key"}:
            with pytest.raises(proofs.ProofRefused):
                proofs.verify(forged, kept=kept)
    assert tried > 60
    # A path that is longer or shorter.
    for path in ([], [*document["proofs"][0]["path"], "00" * 32]):
        with pytest.raises(proofs.ProofRefused):
            proofs.verify({"format": 1, "proofs": [document["proofs"][0] | {"path": path}]}, public_keys=keys)
    for known in ({}, {"public_keys": [b64encode(b"x" * 32).decode()]}, {"kept": {1: "00" * 32, 2: "00" * 32}}):
        with pytest.raises(proofs.ProofRefused):
            proofs.verify(document, **known)


def places(value: Any, *way: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value in a document, but to the id of a key, which nothing rests on."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name != "key":
                yield from places(each, *way, name)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, *way, index)
    else:
        yield way


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1
    if value is None:
        return 1
    # The last character may be a Z.
    at = len(value) // 2
    return value[:at] + ("1" if value[at : at + 1] != "1" else "2") + value[at + 1 :]


def test_only_those_who_may_see_the_history_get_a_proof(alice: Caller, bob: Caller) -> None:
    transfer = sent(alice, bob)
    token = Movement.objects.get(transfer_id=transfer.number).token_id
    carol = logged_in("carol", alice.api_key)
    assert alice.get(f"/tokens/{token}/proof").status_code == 401
    assert alice.get(f"/wallet/v2/tokens/{token}/proof").status_code == 403
    assert carol.get(f"/transfers/{transfer.pk}/proof").status_code == 404
    assert carol.get("/transfers/11111111-1111-4111-8111-111111111111/proof").status_code == 404
    assert Client().get(f"/tokens/{token}/proof").status_code == 401
    assert Client().get(f"/public/tokens/{token}/proof").status_code == 404
    assert bob.get(f"/tokens/{token}/proof?after_number=x").status_code == 422
    # Ids of credentials are not the other side's.
    assert "approv" not in bob.get(f"/transfers/{transfer.pk}/proof").content.decode()


def test_pages_of_a_token_and_what_is_not_sealed_yet(alice: Caller, bob: Caller, monkeypatch: Any) -> None:
    monkeypatch.setattr(of_seals, "MOVEMENTS_AT_ONCE", 1)
    token = Movement.objects.first().token_id
    assert alice.get(f"/tokens/{token}/proof").json() == {"format": 1, "proofs": [], "next_after_number": None}
    operations.send_tokens(actor=alice.wallet, sender="alice", receiver="bobby", token_ids=[token])
    asked = Transfer.objects.get()
    assert alice.get(f"/transfers/{asked.pk}/proof").json() == {"format": 1, "proofs": []}
    operations.accept(actor=bob.wallet, transfer_id=asked.pk)
    # A reader that asked again after a row without a proof would never get that one.
    assert bob.get(f"/tokens/{token}/proof").json() == {"format": 1, "proofs": [], "next_after_number": None}
    sealing.seal(is_due=True)
    numbers, after = [], None
    while after is not None or not numbers:
        page = bob.get(f"/tokens/{token}/proof" + ("" if after is None else f"?after_number={after}")).json()
        numbers += [each["row"]["number"] for each in page["proofs"]]
        after = page["next_after_number"]
    assert numbers == [0, 1]


def test_checkpoints_are_public_and_say_nothing_of_rows(
    alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    transfer = sent(alice, bob)
    settings.SEAL_KEY, settings.SEAL_OLD_KEYS = "", [public()["keys"][0]["public_key"]]
    monkeypatch.setattr(checkpoints, "PAGE", 1)
    first = Client().get("/public/checkpoints")
    second = Client().get("/public/checkpoints?after=1")
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "public, max-age=86400")
    assert (second.status_code, second.headers["Cache-Control"]) == (200, "public, max-age=30")
    assert (first.json()["next_after"], second.json()["next_after"]) == (1, None)
    seal = Seal.objects.get(height=2)
    assert second.json() == {
        "format": 1,
        "checkpoints": [{
            "height": 2, "format": 1, "previous": bytes(Seal.objects.get(height=1).hash).hex(),
            "root": bytes(seal.root).hex(), "leaves": seal.leaves,
            "sealed_at": seal.sealed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "hash": bytes(seal.hash).hex(),
            "key": seal.key_id, "signature": bytes(seal.signature).hex(),
        }],
        "next_after": None,
        "is_signed": True,
        "keys": first.json()["keys"],
    }  # fmt: skip
    assert bytes(seal.secret).hex() not in second.content.decode()
    assert str(transfer.pk) not in first.content.decode() + second.content.decode()
    for wrong in ("x", "-1", "", "9" * 19, "1.0"):
        refused = Client().get("/public/checkpoints", {"after": wrong})
        assert (refused.status_code, refused.json()["message"]) == (422, '"after" must be the height of a checkpoint')
    assert Client().post("/public/checkpoints").status_code == 405


def test_an_address_may_ask_for_so_many_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PER_ADDRESS", 2)
    client = Client(REMOTE_ADDR="198.51.100.7")
    assert [client.get("/public/checkpoints").status_code for _ in range(3)] == [200, 200, 429]
    assert Client(REMOTE_ADDR="198.51.100.8").get("/public/checkpoints").status_code == 200


def test_the_command_verifies_a_file_without_a_login(alice: Caller, bob: Caller, tmp_path: Path) -> None:
    transfer = sent(alice, bob)
    proof, kept = tmp_path / "proof.json", tmp_path / "checkpoints.jsonl"
    proof.write_bytes(alice.get(f"/transfers/{transfer.pk}/proof").content)
    kept.write_bytes(Client().get("/public/checkpoints").content + b"\n")
    key = public()["keys"][0]["public_key"]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(coppice, ["verify-proof", *arguments])

    for known in (["--key", key], ["--checkpoints", str(kept)]):
        shown = run(str(proof), "--json", *known)
        assert shown.exit_code == 0, shown.output
        assert [each["table"] for each in json.loads(shown.stdout)] == ["request", "terms", "transfer"]
    assert run(str(proof)).exit_code == 2
    proof.write_text(proof.read_text().replace('"state":"completed"', '"state":"cancelled"'))
    refused = run(str(proof), "--key", key)
    assert refused.exit_code == 1
    assert "the path leads to another root" in refused.output
    kept.write_text("{}")
    assert run(str(proof), "--checkpoints", str(kept)).exit_code == 1


def test_one_proof_at_a_time_is_made_for_a_wallet(alice: Caller, bob: Caller) -> None:
    transfer = sent(alice, bob)
    assert alice.wallet is not None
    token = Token.objects.filter(wallet=alice.wallet).order_by("pk")[0].pk
    with limits.proof_for(alice.wallet.pk):
        for path in f"/transfers/{transfer.pk}/proof", f"/tokens/{token}/proof":
            refused = alice.get(path)
            assert answer(refused) == refusal(429, limits.PROOF_IN_HAND)
            assert refused["Retry-After"] == "1"
        assert bob.get(f"/transfers/{transfer.pk}/proof").status_code == 200
        # It is no other answer that shows that there is such a token.
        assert bob.get(f"/tokens/{token}/proof").status_code == 401
    assert alice.get(f"/transfers/{transfer.pk}/proof").status_code == 200
    assert pool_of(urls.urlpatterns)(f"/tokens/{token}/proof", "") is Pool.WAITING
