"""
Each operation changes what it says and nothing beside it: rows and columns, compared with the whole ledger.

An operation without a row fails the last test.
"""

import importlib
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from config.admin.actions import registry
from config.admin.actions import transfers as transfer_actions
from config.admin.actions import trusts as trust_actions
from config.admin.actions import wallets as wallet_actions
from tests.admin.running import run
from tests.support import row_locks
from tests.transfers import frames
from tests.transfers.books import let_expire, let_link_expire
from tests.transfers.frames import PASSWORD, World
from tests.trusts.powers import undone
from transfers import action_tokens, approvals, bulk, counters, list_counts, outcome_counts
from transfers import operations as transfers
from transfers.ledger import Terms
from transfers.models import ActionToken, Transfer
from transfers.queries import Demand
from trusts import operations as trusts
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import api_key_rotation, origins, wallet_batches
from wallets import operations as wallets
from wallets.models import ApiKey, BearerToken, Wallet
from wallets.states import EventType, OriginMeans

HOUR: Final = timedelta(hours=1)


def key_of(world: World, name: str) -> ApiKey:
    return ApiKey.objects.get(pk=world.id_of(name))


def audited(world: World) -> None:
    run_id = run(wallet_actions.RunAudit).subject.pk
    # By the kind of row that tells it: a number alone may be that of something else.
    world.names[f"operatoraction {run_id}"] = "the run"


Act = Callable[[World], Any]
CLOSED: Final = "closed_at, closed_by_id, closed_event, closed_from"
# operation, variant -> what is done.
W, TR, TF = "wallets.operations.", "trusts.operations.", "transfers.operations."
AT: Final = "transfers.action_tokens."
AP: Final = "transfers.approvals."
# Ids of credentials.
FIRST, SECOND = uuid4(), uuid4()


def demands(world: World, *, above: int) -> None:
    Wallet.objects.filter(name="alice").update(approval_above=above)


def held(world: World, receiver: str) -> UUID:
    demands(world, above=0)
    return transfers.send_bundle(
        actor=world.wallet("alice"), sender="alice", receiver=receiver, size=1, credential_id=FIRST
    ).id


def approved(world: World, receiver: str) -> None:
    transfer_id = held(world, receiver)
    approvals.approve(actor=world.wallet("carol"), credential_id=SECOND, transfer_id=transfer_id)


AW: Final = "config.admin.actions.wallets."
ACTS: Final[dict[tuple[str, str], Act]] = {
    (W + "create_wallet", ""): lambda w: wallets.create_wallet(name="sapling", creator=w.wallet("alice")),
    ("wallets.wallet_batches.create_wallets", ""): lambda w: wallet_batches.create_wallets(
        wallets=[wallet_batches.NewWallet(uuid4(), name, name, "", None, None) for name in ("sapling", "alice")],
        creator=w.wallet("bobby"),
    ),
    (W + "record_events", ""): lambda w: wallets.record_events([(w.id_of("alice"), EventType.LOGIN, {})]),
    (W + "change_wallet", ""): lambda w: wallets.change_wallet(wallet_id=w.id_of("alice"), about="new"),
    (W + "change_wallet", "both"): lambda w: wallets.change_wallet(
        wallet_id=w.id_of("alice"), about="new", display_name="Alice"
    ),
    (W + "change_wallet", "image"): lambda w: wallets.change_wallet(wallet_id=w.id_of("alice"), logo_url=""),
    (W + "set_password", ""): lambda w: wallets.set_password(wallet=w.wallet("alice"), password="another"),
    (W + "set_password", "with the keys"): lambda w: wallets.set_password(
        wallet=w.wallet("alice"), password="another", ends_keys=True
    ),
    (W + "change_password", ""): lambda w: wallets.change_password(
        wallet=w.wallet("alice"), old=PASSWORD, new="another one", kept_token_id=w.id_of("token 1 of alice")
    ),
    (W + "end_session", ""): lambda w: wallets.end_session(
        wallet=w.wallet("alice"), bearer_token_id=w.id_of("token 1 of alice")
    ),
    (W + "authenticate", ""): lambda w: wallets.authenticate(name_or_id="alice", password=PASSWORD),
    (W + "authenticate", "of an old hash"): lambda w: wallets.authenticate(name_or_id="bobby", password=PASSWORD),
    (W + "verify_password", ""): lambda w: wallets.verify_password(name_or_id="alice", password=PASSWORD),
    (W + "verify_password", "of an old hash"): lambda w: wallets.verify_password(name_or_id="bobby", password=PASSWORD),
    (W + "hold_password", ""): lambda w: wallets.hold_password(w.wallet("alice")),
    (W + "revoke_bearer_tokens", ""): lambda w: wallets.revoke_bearer_tokens(wallet=w.wallet("alice")),
    (W + "revoke_bearer_token", ""): lambda w: wallets.revoke_bearer_token(bearer_token_id=w.id_of("token 1 of alice")),
    (W + "revoke_bearer_token", "revoked before"): lambda w: wallets.revoke_bearer_token(
        bearer_token_id=w.id_of("token of alice, just revoked")
    ),
    (W + "create_api_key", ""): lambda w: wallets.create_api_key(name="partner"),
    (W + "revoke_api_key", ""): lambda w: wallets.revoke_api_key(api_key_id=w.id_of("key")),
    (W + "revoke_api_key", "revoked before"): lambda w: wallets.revoke_api_key(api_key_id=w.id_of("revoked key")),
    (W + "end_api_key", ""): lambda w: wallets.end_api_key(api_key_id=w.id_of("key"), after=24 * HOUR),
    (W + "end_api_key", "without an end"): lambda w: wallets.end_api_key(
        api_key_id=w.id_of("key without batches"), after=24 * HOUR
    ),
    (W + "end_api_key", "ends earlier"): lambda w: wallets.end_api_key(
        api_key_id=w.id_of("key that ends soon"), after=24 * HOUR
    ),
    (W + "end_api_key", "revoked before"): lambda w: wallets.end_api_key(
        api_key_id=w.id_of("revoked key"), after=24 * HOUR
    ),
    ("wallets.api_key_rotation.rotate", ""): lambda w: api_key_rotation.rotate(
        api_key_id=w.id_of("key without batches"), overlap=24 * HOUR
    ),
    (W + "end_restricted_keys", ""): lambda w: wallets.end_restricted_keys(wallet=w.wallet("alice")),
    (W + "touch_last_used", ""): lambda w: wallets.touch_last_used(
        api_key_id=w.id_of("key"), bearer_token_id=w.id_of("token 1 of alice")
    ),
    (W + "touch_last_used", "of a key alone"): lambda w: wallets.touch_last_used(
        api_key_id=w.id_of("key"), bearer_token_id=None
    ),
    (W + "touch_last_used", "of a restricted key"): lambda w: wallets.touch_last_used(
        api_key_id=None, restricted_key_id=w.id_of("program 1 of alice")
    ),
    (W + "store_response", ""): lambda w: wallets.store_response(
        wallet_id=w.id_of("bobby"), key="old", fingerprint=b"", status=200, body=b"x"
    ),
    (W + "store_response", "kept before"): lambda w: wallets.store_response(
        wallet_id=w.id_of("bobby"), key="fresh", fingerprint=b"", status=200, body=b"x"
    ),
    (W + "purge_expired", ""): lambda w: wallets.purge_expired(),
    ("wallets.origins.remember", ""): lambda w: origins.remember(
        kind="wallet", account=str(w.id_of("bobby")), origins={OriginMeans.ADDRESS: "127.0.0.1"}
    ),
    (TR + "open_managed_wallet", ""): lambda w: trusts.open_managed_wallet(actor=w.wallet("alice"), name="sapling"),
    (TR + "grant_management", ""): lambda w: trusts.grant_management(
        actor=w.wallet("rita"), wallet_ids=[w.id_of("zora")]
    ),
    (TR + "describe_wallet", ""): lambda w: trusts.describe_wallet(
        actor=w.wallet("carol"), wallet_id=w.id_of("alice"), display_name="Alice"
    ),
    (TR + "illustrate_wallet", ""): lambda w: trusts.illustrate_wallet(
        actor=w.wallet("carol"), wallet_id=w.id_of("alice"), uploads={}, address="", display_name="Alice"
    ),
    (TR + "request_trust", ""): lambda w: trusts.request_trust(
        actor=w.wallet("bobby"), request_type=TrustRequestType.MANAGE, requestee="carol"
    ),
    (TR + "accept_trust", ""): lambda w: trusts.accept_trust(
        actor=w.wallet("alice"), trust_id=w.id_of("rita may send to alice")
    ),
    (TR + "accept_trust", "in force"): lambda w: trusts.accept_trust(
        actor=w.wallet("bobby"), trust_id=w.id_of("alice may send to bobby")
    ),
    (TR + "decline_trust", ""): lambda w: trusts.decline_trust(
        actor=w.wallet("bobby"), trust_id=w.id_of("alice may send to bobby")
    ),
    (TR + "decline_trust", "of a manager"): lambda w: trusts.decline_trust(
        actor=w.wallet("alice"), trust_id=w.id_of("carol manages alice")
    ),
    (TR + "delete_trust", ""): lambda w: trusts.delete_trust(
        actor=w.wallet("alice"), trust_id=w.id_of("alice may send to bobby")
    ),
    (TR + "dismiss_manager", ""): lambda w: trusts.dismiss_manager(
        actor=w.wallet("alice"), wallet_id=w.id_of("alice"), manager="carol"
    ),
    (TR + "end_trust", ""): lambda w: trusts.end_trust(trust_id=w.id_of("alice may send to bobby")),
    (TR + "lock", ""): lambda w: trusts.lock(trust_id=w.id_of("alice may send to bobby")),
    (TF + "send_bundle", "completed"): lambda w: transfers.send_bundle(
        actor=w.wallet("alice"), sender="alice", receiver="bobby", size=2
    ),
    (TF + "send_bundle", "pending"): lambda w: transfers.send_bundle(
        actor=w.wallet("alice"), sender="alice", receiver="rita", size=2
    ),
    (TF + "send_bundle", "requested"): lambda w: transfers.send_bundle(
        actor=w.wallet("alice"), sender="rita", receiver="alice", size=2
    ),
    (TF + "send_tokens", ""): lambda w: transfers.send_tokens(
        actor=w.wallet("alice"), sender="alice", receiver="bobby", token_ids=[w.id_of("a free token of alice")]
    ),
    (TF + "accept", ""): lambda w: transfers.accept(actor=w.wallet("rita"), transfer_id=w.id_of("alice offers rita")),
    (TF + "decline", ""): lambda w: transfers.decline(actor=w.wallet("rita"), transfer_id=w.id_of("alice offers rita")),
    (TF + "decline", "of a request"): lambda w: transfers.decline(
        actor=w.wallet("alice"), transfer_id=w.id_of("rita asks alice")
    ),
    (TF + "delete", ""): lambda w: transfers.delete(actor=w.wallet("alice"), transfer_id=w.id_of("alice offers rita")),
    (TF + "send_bundle", "with terms"): lambda w: transfers.send_bundle(
        actor=w.wallet("alice"),
        sender="alice",
        receiver="rita",
        size=1,
        terms=Terms("order 7", metadata={"a": "b"}, expires_at=timezone.now() + timedelta(days=1)),
    ),
    (TF + "expire_due", ""): lambda w: (let_expire(w.id_of("alice offers rita")), transfers.expire_due()),
    (TF + "expire", ""): lambda w: transfers.expire(transfer_ids=[w.id_of("alice offers rita")]),
    (TF + "fulfill", ""): lambda w: transfers.fulfill(actor=w.wallet("alice"), transfer_id=w.id_of("rita asks alice")),
    (TF + "fulfill", "with chosen tokens"): lambda w: transfers.fulfill(
        actor=w.wallet("alice"),
        transfer_id=w.id_of("rita asks alice"),
        token_ids=[w.id_of("a free token of alice")],
    ),
    (TF + "issue_tokens", ""): lambda w: transfers.issue_tokens(wallet=w.wallet("alice"), count=2),
    ("transfers.bulk.transfer_batch", ""): lambda w: bulk.transfer_batch(
        actor=w.wallet("alice"), sender="alice", rows=[bulk.Row(2, "bobby", 1), bulk.Row(3, "rita", 2)]
    ),
    ("transfers.bulk.create_batch", ""): lambda w: bulk.create_batch(
        actor=w.wallet("alice"), sender="alice", rows=[bulk.Row(2, "sapling", 1), bulk.Row(3, "sapling2", None)]
    ),
    (TF + "fulfill", "awaits an approval"): lambda w: (
        demands(w, above=0),
        transfers.fulfill(actor=w.wallet("alice"), transfer_id=w.id_of("rita asks alice"), credential_id=FIRST),
    ),
    (AP + "approve", ""): lambda w: approved(w, "bobby"),
    (AP + "approve", "and waits for the receiver"): lambda w: approved(w, "rita"),
    (AP + "refuse", ""): lambda w: approvals.refuse(actor=w.wallet("carol"), transfer_id=held(w, "bobby")),
    (AP + "demand", ""): lambda w: approvals.demand(
        actor=w.wallet("alice"), credential_id=FIRST, wallet_id=w.id_of("alice"), wanted=Demand(5, True)
    ),
    (AP + "demand", "asked for"): lambda w: (
        demands(w, above=0),
        approvals.demand(actor=w.wallet("alice"), credential_id=FIRST, wallet_id=w.id_of("alice"), wanted=Demand()),
    ),
    (AT + "offer_bundles", ""): lambda w: action_tokens.offer_bundles(
        actor=w.wallet("alice"), sender=None, size=1, count=2
    ),
    (AT + "offer_tokens", ""): lambda w: action_tokens.offer_tokens(
        actor=w.wallet("carol"), sender="alice", token_ids=[w.id_of("a free token of alice")]
    ),
    (AT + "redeem", ""): lambda w: action_tokens.redeem(actor=w.wallet("rita"), code=w.codes["link of alice"]),
    (AT + "cancel", ""): lambda w: action_tokens.cancel(
        actor=w.wallet("carol"), action_token_id=w.id_of("link of alice")
    ),
    (AT + "expire", ""): lambda w: action_tokens.expire(action_token_ids=[w.id_of("link of alice")]),
    (AT + "expire_due", ""): lambda w: (let_link_expire(w.id_of("link of alice")), action_tokens.expire_due()),
    ("transfers.counters.roll_up", ""): lambda w: counters.roll_up(),
    ("transfers.counters.recount", ""): lambda w: counters.recount(),
    ("transfers.outcome_counts.roll_up", ""): lambda w: outcome_counts.roll_up(),
    ("transfers.list_counts.roll_up", ""): lambda w: list_counts.roll_up(),
    (AW + "CreateWallet", ""): lambda w: run(
        wallet_actions.CreateWallet, name="sapling", about="", with_password=False
    ),
    (AW + "SetPassword", ""): lambda w: run(wallet_actions.SetPassword, w.wallet("alice"), end_keys=False),
    (AW + "PseudonymiseWallet", ""): lambda w: run(wallet_actions.PseudonymiseWallet, w.wallet("nina")),
    (AW + "RevokeBearerTokens", ""): lambda w: run(wallet_actions.RevokeBearerTokens, w.wallet("alice")),
    (AW + "EndRestrictedKeys", ""): lambda w: run(wallet_actions.EndRestrictedKeys, w.wallet("alice")),
    (AW + "RevokeBearerToken", ""): lambda w: run(
        wallet_actions.RevokeBearerToken, BearerToken.objects.get(pk=w.id_of("token 1 of alice"))
    ),
    (AW + "CreateApiKey", ""): lambda w: run(wallet_actions.CreateApiKey, name="partner"),
    (AW + "RotateApiKey", ""): lambda w: run(wallet_actions.RotateApiKey, key_of(w, "key"), old_stays_valid="24"),
    (AW + "RotateApiKey", "at once"): lambda w: run(wallet_actions.RotateApiKey, key_of(w, "key"), old_stays_valid="0"),
    (AW + "RotateApiKey", "without batches"): lambda w: run(
        wallet_actions.RotateApiKey, key_of(w, "key without batches"), old_stays_valid="24"
    ),
    (AW + "RotateApiKey", "ends earlier"): lambda w: run(
        wallet_actions.RotateApiKey, key_of(w, "key that ends soon"), old_stays_valid="24"
    ),
    (AW + "RevokeApiKey", ""): lambda w: run(wallet_actions.RevokeApiKey, key_of(w, "key")),
    (AW + "RunAudit", ""): audited,
    ("config.admin.actions.trusts.EndTrust", ""): lambda w: run(
        trust_actions.EndTrust, Trust.objects.get(pk=w.id_of("alice may send to bobby"))
    ),
    ("config.admin.actions.transfers.IssueTokens", ""): lambda w: run(
        transfer_actions.IssueTokens, w.wallet("alice"), count=2
    ),
    ("config.admin.actions.transfers.CancelTransfer", ""): lambda w: run(
        transfer_actions.CancelTransfer, Transfer.objects.get(pk=w.id_of("alice offers rita")), event="delete"
    ),
    ("config.admin.actions.transfers.CancelActionToken", ""): lambda w: run(
        transfer_actions.CancelActionToken, ActionToken.objects.get(pk=w.id_of("link of alice"))
    ),
}
# What each of them changes: the number of rows, and the columns.
EXPECTED: Final[dict[tuple[str, str], dict[str, int]]] = {
    (W + "create_wallet", ""): {
        "event new alice wallet_created": 1,
        "event new another wallet_created": 1,
        "wallet new sapling": 1,
    },
    ("wallets.wallet_batches.create_wallets", ""): {
        "event new another wallet_created": 1,
        "event new bobby wallet_created": 1,
        "wallet new sapling": 1,
    },
    (W + "record_events", ""): {
        "event new alice login": 1,
    },
    (W + "change_wallet", ""): {
        "wallet alice: about, written": 1,
    },
    (W + "change_wallet", "image"): {"wallet alice: logo_url, written": 1},
    (W + "change_wallet", "both"): {
        "wallet alice: about, display_name, written": 1,
    },
    (W + "set_password", ""): {
        "event new alice password.changed": 1,
        "bearertoken token 1 of alice: revoked_at": 1,
        "bearertoken token 2 of alice: revoked_at": 1,
        "wallet alice: password": 1,
    },
    (W + "set_password", "with the keys"): {
        "event new alice key.ended": 2,
        "event new alice password.changed": 1,
        "bearertoken token 1 of alice: revoked_at": 1,
        "bearertoken token 2 of alice: revoked_at": 1,
        "restrictedkey program 1 of alice: ended_at": 1,
        "restrictedkey program 2 of alice: ended_at": 1,
        "wallet alice: password": 1,
    },
    (W + "authenticate", ""): {
        "bearertoken new alice": 1,
        "event new alice login": 1,
    },
    (W + "authenticate", "of an old hash"): {
        "bearertoken new bobby": 1,
        "event new bobby login": 1,
        "wallet bobby: password": 1,
    },
    (W + "verify_password", ""): {},
    (W + "verify_password", "of an old hash"): {},
    (W + "hold_password", ""): {},
    (W + "revoke_bearer_tokens", ""): {
        "event new alice sessions.ended": 1,
        "bearertoken token 1 of alice: revoked_at": 1,
        "bearertoken token 2 of alice: revoked_at": 1,
    },
    (W + "end_session", ""): {
        "event new alice sessions.ended": 1,
        "bearertoken token 1 of alice: revoked_at": 1,
    },
    (W + "change_password", ""): {
        "event new alice password.changed": 1,
        "wallet alice: password": 1,
        "bearertoken token 2 of alice: revoked_at": 1,
    },
    (W + "revoke_bearer_token", ""): {
        "event new alice sessions.ended": 1,
        "bearertoken token 1 of alice: revoked_at": 1,
    },
    (W + "revoke_bearer_token", "revoked before"): {},
    (W + "create_api_key", ""): {
        "apikey new partner True": 1,
    },
    (W + "revoke_api_key", ""): {
        "apikey key: revoked_at": 1,
    },
    (W + "revoke_api_key", "revoked before"): {},
    (W + "end_api_key", ""): {
        "apikey key: expires_at": 1,
    },
    (W + "end_api_key", "without an end"): {
        "apikey key without batches: expires_at": 1,
    },
    (W + "end_api_key", "ends earlier"): {},
    (W + "end_api_key", "revoked before"): {},
    ("wallets.api_key_rotation.rotate", ""): {
        "apikey key without batches: expires_at": 1,
        "apikey new partner False": 1,
    },
    (W + "end_restricted_keys", ""): {
        "event new alice key.ended": 2,
        "restrictedkey program 1 of alice: ended_at": 1,
        "restrictedkey program 2 of alice: ended_at": 1,
    },
    (W + "touch_last_used", ""): {
        "apikey key: last_used_at": 1,
        "bearertoken token 1 of alice: last_used_at": 1,
    },
    (W + "touch_last_used", "of a key alone"): {
        "apikey key: last_used_at": 1,
    },
    (W + "touch_last_used", "of a restricted key"): {
        "restrictedkey program 1 of alice: last_used_at": 1,
    },
    (W + "store_response", ""): {
        "idempotentanswer new bobby old": 1,
    },
    (W + "store_response", "kept before"): {},
    (W + "purge_expired", ""): {
        "bearertoken token of alice, expired long ago: gone": 1,
        "bearertoken token of alice, revoked long ago: gone": 1,
        "knownorigin origin of alice: gone": 1,
    },
    ("wallets.origins.remember", ""): {
        "knownorigin new": 1,
    },
    (TR + "open_managed_wallet", ""): {
        "controlchange new alice another": 1,
        "trust new alice another manage trusted": 1,
        "trustchange new another  trusted": 1,
        "event new alice wallet_created": 1,
        "event new another wallet_created": 1,
        "wallet new sapling": 1,
    },
    (TR + "grant_management", ""): {
        "controlchange new rita zora": 1,
        "trust new rita zora manage trusted": 1,
        "trustchange new another  trusted": 1,
    },
    (TR + "describe_wallet", ""): {
        "wallet alice: display_name": 1,
    },
    (TR + "illustrate_wallet", ""): {
        "wallet alice: display_name": 1,
    },
    (TR + "request_trust", ""): {
        "trust new bobby carol manage requested": 1,
        "trustchange new another  requested": 1,
        "event new bobby trust_request": 1,
        "event new carol trust_request": 1,
    },
    (TR + "accept_trust", ""): {
        "trust rita may send to alice: state, updated_at": 1,
        "trustchange new rita may send to alice accept trusted": 1,
        "event new alice trust_request_granted": 1,
        "event new rita trust_request_granted": 1,
    },
    (TR + "accept_trust", "in force"): {},
    (TR + "decline_trust", ""): {
        "trust alice may send to bobby: state, updated_at": 1,
        "trustchange new alice may send to bobby decline cancelled_by_target": 1,
        "event new alice trust_request_cancelled_by_target": 1,
        "event new bobby trust_request_cancelled_by_target": 1,
    },
    (TR + "decline_trust", "of a manager"): {
        "controlchange new carol alice": 1,
        "trust carol manages alice: state, updated_at": 1,
        "trustchange new carol manages alice decline cancelled_by_target": 1,
        "event new alice management_ended": 1,
        "event new alice trust_request_cancelled_by_target": 1,
        "event new carol trust_request_cancelled_by_target": 1,
    },
    (TR + "delete_trust", ""): {
        "trust alice may send to bobby: state, updated_at, withdrawn": 1,
        "trustchange new alice may send to bobby delete cancelled_by_originator": 1,
        "event new alice trust_request_cancelled_by_originator": 1,
        "event new bobby trust_request_cancelled_by_originator": 1,
    },
    (TR + "dismiss_manager", ""): {
        "controlchange new carol alice": 1,
        "trust alice may send to zora, of carol: state, updated_at, withdrawn": 1,
        "trust carol manages alice: state, updated_at": 1,
        "trustchange new alice may send to zora, of carol delete cancelled_by_originator": 1,
        "trustchange new carol manages alice decline cancelled_by_target": 1,
        "event new alice management_ended": 1,
        "event new alice trust_request_cancelled_by_originator": 1,
        "event new alice trust_request_cancelled_by_target": 1,
        "event new carol trust_request_cancelled_by_target": 1,
        "event new zora trust_request_cancelled_by_originator": 1,
    },
    (TR + "end_trust", ""): {
        "trust alice may send to bobby: state, updated_at, withdrawn": 1,
        "trustchange new alice may send to bobby end cancelled_by_target": 1,
        "event new alice trust_request_cancelled_by_target": 1,
        "event new bobby trust_request_cancelled_by_target": 1,
    },
    (TR + "lock", ""): {},
    (TF + "send_bundle", "completed"): {
        "movement new alice bobby": 2,
        "transfer new alice bobby completed": 1,
        "token of alice: arrival, moves, updated_at, wallet_id": 2,
    },
    (TF + "send_bundle", "pending"): {
        "transfer new alice rita pending": 1,
        "token of alice: transfer_pending_id, updated_at": 2,
    },
    (TF + "send_bundle", "requested"): {
        "transfer new rita alice requested": 1,
    },
    (TF + "send_tokens", ""): {
        "movement new alice bobby": 1,
        "transfer new alice bobby completed": 1,
        "token of alice: arrival, moves, updated_at, wallet_id": 1,
    },
    (TF + "accept", ""): {
        "movement new alice rita": 1,
        "tallydelta new alice -1": 1,
        "tallydelta new rita 1": 1,
        f"transfer alice offers rita: {CLOSED}, moved_count, reserved_count, state": 1,
        "event new alice transfer_completed": 1,
        "event new rita transfer_completed": 1,
        "token of alice: arrival, moves, transfer_pending_id, updated_at, wallet_id": 1,
    },
    (TF + "decline", ""): {
        f"transfer alice offers rita: {CLOSED}, reserved_count, state": 1,
        "event new alice transfer_request_cancelled_by_destination": 1,
        "event new rita transfer_request_cancelled_by_destination": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
    (TF + "decline", "of a request"): {
        f"transfer rita asks alice: {CLOSED}, state": 1,
        "event new alice transfer_request_cancelled_by_destination": 1,
        "event new rita transfer_request_cancelled_by_destination": 1,
    },
    (TF + "delete", ""): {
        f"transfer alice offers rita: {CLOSED}, reserved_count, state": 1,
        "event new alice transfer_pending_cancelled_by_requestor": 1,
        "event new rita transfer_pending_cancelled_by_requestor": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
    (TF + "send_bundle", "with terms"): {
        "transfer new alice rita pending": 1,
        "transferterms new alice rita order 7": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
    (TF + "expire_due", ""): {
        # The time of expiry is changed by the test.
        "transfer alice offers rita: closed_at, closed_event, closed_from, expires_at, reserved_count, state": 1,
        "event new alice transfer_failed": 1,
        "event new rita transfer_failed": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
    (TF + "expire", ""): {
        "transfer alice offers rita: closed_at, closed_event, closed_from, reserved_count, state": 1,
        "event new alice transfer_failed": 1,
        "event new rita transfer_failed": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
    (TF + "fulfill", "awaits an approval"): {
        "wallet alice: approval_above": 1,
        "transfer rita asks alice: approval_asked_by_id, approval_asked_with, approval_of, reserved_count, state": 1,
        "event new alice transfer_approval_requested": 1,
        "event new rita transfer_approval_requested": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
    (AP + "approve", ""): {
        "wallet alice: approval_above": 1,
        "movement new alice bobby": 1,
        "tallydelta new alice -1": 1,
        "tallydelta new bobby 1": 1,
        "transfer new alice bobby completed": 1,
        "event new alice transfer_completed": 1,
        "event new bobby transfer_completed": 1,
        "token of alice: arrival, moves, updated_at, wallet_id": 1,
    },
    (AP + "approve", "and waits for the receiver"): {
        "wallet alice: approval_above": 1,
        "transfer new alice rita pending": 1,
        "event new alice transfer_requested": 1,
        "event new rita transfer_requested": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
    (AP + "refuse", ""): {
        "wallet alice: approval_above": 1,
        "transfer new alice bobby cancelled": 1,
        "event new alice transfer_pending_cancelled_by_requestor": 1,
        "event new bobby transfer_pending_cancelled_by_requestor": 1,
        "token of alice: updated_at": 1,
    },
    (AP + "demand", ""): {
        "wallet alice: approval_above, approval_of_new_receivers": 1,
        "event new alice approval_changed": 1,
    },
    (AP + "demand", "asked for"): {
        "approvalchange new": 1,
        "wallet alice: approval_above": 1,
        "event new alice approval_change_requested": 1,
    },
    (AT + "offer_bundles", ""): {
        "actiontoken new alice alice 1 active": 2,
        "token of alice: transfer_pending_id, updated_at": 2,
    },
    (AT + "offer_tokens", ""): {
        "actiontoken new carol alice 1 active": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
    (AT + "redeem", ""): {
        "actiontoken link of alice: closed_at, closed_by_id, state": 1,
        "movement new alice rita": 2,
        "transfer new alice rita completed": 1,
        "token of alice: arrival, moves, transfer_pending_id, updated_at, wallet_id": 2,
    },
    (AT + "cancel", ""): {
        "actiontoken link of alice: closed_at, closed_by_id, state": 1,
        "token of alice: transfer_pending_id, updated_at": 2,
    },
    (AT + "expire", ""): {
        "actiontoken link of alice: closed_at, state": 1,
        "token of alice: transfer_pending_id, updated_at": 2,
    },
    (AT + "expire_due", ""): {
        # The time of expiry is changed by the test.
        "actiontoken link of alice: closed_at, expires_at, state": 1,
        "token of alice: transfer_pending_id, updated_at": 2,
    },
    (TF + "fulfill", ""): {
        "movement new alice rita": 1,
        "tallydelta new alice -1": 1,
        "tallydelta new rita 1": 1,
        f"transfer rita asks alice: {CLOSED}, moved_count, state": 1,
        "event new alice transfer_completed": 1,
        "event new rita transfer_completed": 1,
        "token of alice: arrival, moves, updated_at, wallet_id": 1,
    },
    (TF + "fulfill", "with chosen tokens"): {
        "movement new alice rita": 1,
        "tallydelta new alice -1": 1,
        "tallydelta new rita 1": 1,
        f"transfer rita asks alice: {CLOSED}, moved_count, state": 1,
        "event new alice transfer_completed": 1,
        "event new rita transfer_completed": 1,
        "token of alice: arrival, moves, updated_at, wallet_id": 1,
    },
    (TF + "issue_tokens", ""): {
        "issue new alice 2": 1,
        "movement new None alice": 2,
        "tallydelta new alice 2": 1,
        "token new alice": 2,
    },
    ("transfers.bulk.transfer_batch", ""): {
        "movement new alice bobby": 1,
        "transfer new alice bobby completed": 1,
        "transfer new alice rita pending": 1,
        "token of alice: arrival, moves, updated_at, wallet_id": 1,
        "token of alice: transfer_pending_id, updated_at": 2,
    },
    ("transfers.bulk.create_batch", ""): {
        "controlchange new alice another": 2,
        "movement new alice another": 1,
        "transfer new alice another completed": 1,
        "trust new alice another manage trusted": 2,
        "trustchange new another  trusted": 2,
        "event new alice wallet_created": 2,
        "event new another wallet_created": 2,
        "token of alice: arrival, moves, updated_at, wallet_id": 1,
        "wallet new sapling": 1,
        "wallet new sapling2": 1,
    },
    ("transfers.counters.roll_up", ""): {
        "tallydelta another: gone": 3,
        "tallymark new": 1,
        "tokentally new": 3,
        "walletday new": 3,
    },
    ("transfers.counters.recount", ""): {
        "tallydelta another: at": 3,
        "tokentally new": 6,
        "walletday new": 3,
    },
    ("transfers.list_counts.roll_up", ""): {
        "controlchange another: gone": 2,
        "listmark new": 1,
        "listspan new": 1,
        "listtally new": 4,
    },
    ("transfers.outcome_counts.roll_up", ""): {
        "outcometally new": 3,
    },
    (AW + "CreateWallet", ""): {
        "event new another wallet_created": 1,
        "operatoraction new created_wallet another": 1,
        "wallet new sapling": 1,
    },
    (AW + "SetPassword", ""): {
        "event new alice password.changed": 1,
        "bearertoken token 1 of alice: revoked_at": 1,
        "bearertoken token 2 of alice: revoked_at": 1,
        "operatoraction new set_password alice": 1,
        "wallet alice: password": 1,
    },
    (AW + "PseudonymiseWallet", ""): {
        "event another: payload": 1,
        "operatoraction new pseudonymised_wallet nina": 1,
        "wallet nina: name, name_key, written": 1,
    },
    (AW + "RevokeBearerTokens", ""): {
        "event new alice sessions.ended": 1,
        "bearertoken token 1 of alice: revoked_at": 1,
        "bearertoken token 2 of alice: revoked_at": 1,
        "operatoraction new revoked_bearer_tokens alice": 1,
    },
    (AW + "EndRestrictedKeys", ""): {
        "event new alice key.ended": 2,
        "operatoraction new ended_restricted_keys alice": 1,
        "restrictedkey program 1 of alice: ended_at": 1,
        "restrictedkey program 2 of alice: ended_at": 1,
    },
    (AW + "RevokeBearerToken", ""): {
        "event new alice sessions.ended": 1,
        "bearertoken token 1 of alice: revoked_at": 1,
        "operatoraction new revoked_bearer_tokens token 1 of alice": 1,
    },
    (AW + "CreateApiKey", ""): {
        "apikey new partner True": 1,
        "operatoraction new created_api_key another": 1,
    },
    (AW + "RotateApiKey", ""): {
        "apikey key: expires_at": 1,
        "apikey new partner True": 1,
        "operatoraction new rotated_api_key key": 1,
    },
    (AW + "RotateApiKey", "at once"): {
        "apikey key: revoked_at": 1,
        "apikey new partner True": 1,
        "operatoraction new rotated_api_key key": 1,
    },
    (AW + "RotateApiKey", "without batches"): {
        "apikey key without batches: expires_at": 1,
        "apikey new partner False": 1,
        "operatoraction new rotated_api_key key without batches": 1,
    },
    (AW + "RotateApiKey", "ends earlier"): {
        "apikey new partner True": 1,
        "operatoraction new rotated_api_key key that ends soon": 1,
    },
    (AW + "RevokeApiKey", ""): {
        "apikey key: revoked_at": 1,
        "operatoraction new revoked_api_key key": 1,
    },
    (AW + "RunAudit", ""): {
        "auditrun new": 1,
        "operatoraction new ran_audit the run": 1,
    },
    ("config.admin.actions.trusts.EndTrust", ""): {
        "trust alice may send to bobby: state, updated_at, withdrawn": 1,
        "trustchange new alice may send to bobby end cancelled_by_target": 1,
        "event new alice trust_request_cancelled_by_target": 1,
        "event new bobby trust_request_cancelled_by_target": 1,
        "operatoraction new ended_trust alice may send to bobby": 1,
    },
    ("config.admin.actions.transfers.IssueTokens", ""): {
        "issue new alice 2": 1,
        "movement new None alice": 2,
        "tallydelta new alice 2": 1,
        "operatoraction new issued_tokens alice": 1,
        "token new alice": 2,
    },
    ("config.admin.actions.transfers.CancelActionToken", ""): {
        "actiontoken link of alice: closed_at, state": 1,
        "operatoraction new cancelled_action_token link of alice": 1,
        "token of alice: transfer_pending_id, updated_at": 2,
    },
    ("config.admin.actions.transfers.CancelTransfer", ""): {
        f"transfer alice offers rita: {CLOSED}, reserved_count, state": 1,
        "event new alice transfer_pending_cancelled_by_requestor": 1,
        "event new rita transfer_pending_cancelled_by_requestor": 1,
        "operatoraction new cancelled_transfer alice offers rita": 1,
        "token of alice: transfer_pending_id, updated_at": 1,
    },
}


# The locks that an operation takes, over all its variants; those that are not named take none.
LOCKS: Final[dict[str, set[str]]] = {
    W + "hold_password": {"wallets_wallet: SHARE"},
    # What makes the transfer that is approved or refused locks tokens too.
    AP + "approve": {
        "advisory_shared, if free",
        "transfers_transfer by id ASC: NO KEY UPDATE",
        "trusts_power: SHARE",
        "wallets_token by lot: NO KEY UPDATE SKIP LOCKED",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    AP + "refuse": {
        "advisory_shared, if free",
        "transfers_transfer by id ASC: NO KEY UPDATE",
        "trusts_power: SHARE",
        "wallets_token by lot: NO KEY UPDATE SKIP LOCKED",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    AP + "demand": {
        "advisory_shared, if free",
        "transfers_approvalchange: UPDATE",
        "wallets_wallet: NO KEY UPDATE",
    },
    AT + "offer_bundles": {"wallets_token by lot: NO KEY UPDATE SKIP LOCKED"},
    AT + "offer_tokens": {"trusts_power: SHARE", "wallets_token by lot, id: NO KEY UPDATE"},
    AT + "redeem": {
        "advisory_shared, if free",
        "transfers_actiontoken by id ASC: NO KEY UPDATE",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    AT + "cancel": {
        "transfers_actiontoken by id ASC: NO KEY UPDATE",
        "transfers_actiontoken by id: NO KEY UPDATE SKIP LOCKED",
        "trusts_power: SHARE",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    AT + "expire": {
        "transfers_actiontoken by id: NO KEY UPDATE SKIP LOCKED",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    AT + "expire_due": {
        "transfers_actiontoken by id: NO KEY UPDATE SKIP LOCKED",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    "config.admin.actions.transfers.CancelActionToken": {
        "advisory",
        "transfers_actiontoken by id ASC: NO KEY UPDATE",
        "transfers_actiontoken by id: NO KEY UPDATE SKIP LOCKED",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    W + "change_password": {"advisory_shared, if free", "wallets_bearertoken by id ASC: NO KEY UPDATE"},
    W + "set_password": {
        "advisory_shared, if free",
        "wallets_restrictedkey by id ASC: NO KEY UPDATE",
        "wallets_wallet: NO KEY UPDATE",
    },
    W + "end_session": {"advisory_shared, if free"},
    W + "revoke_bearer_tokens": {"advisory_shared, if free"},
    W + "revoke_bearer_token": {"advisory_shared, if free"},
    W + "end_restricted_keys": {
        "advisory_shared, if free",
        "wallets_restrictedkey by id ASC: NO KEY UPDATE",
        "wallets_wallet: NO KEY UPDATE",
    },
    "wallets.api_key_rotation.rotate": {"wallets_apikey: NO KEY UPDATE"},
    W + "create_wallet": {"advisory_shared, if free"},
    "wallets.wallet_batches.create_wallets": {"advisory_shared, if free"},
    W + "record_events": {"advisory_shared, if free"},
    W + "change_wallet": {"wallets_wallet: NO KEY UPDATE"},
    W + "authenticate": {"advisory_shared, if free", "wallets_wallet: NO KEY UPDATE", "wallets_wallet: SHARE"},
    W + "touch_last_used": {
        "wallets_apikey: NO KEY UPDATE SKIP LOCKED",
        "wallets_bearertoken: NO KEY UPDATE SKIP LOCKED",
        "wallets_restrictedkey: NO KEY UPDATE SKIP LOCKED",
    },
    "wallets.origins.remember": {"wallets_knownorigin by last_login_at DESC, id DESC: UPDATE SKIP LOCKED"},
    TR + "open_managed_wallet": {"advisory_shared, if free"},
    TR + "describe_wallet": {"trusts_power: SHARE", "wallets_wallet by id: NO KEY UPDATE"},
    TR + "illustrate_wallet": {"trusts_power: SHARE", "wallets_wallet by id: NO KEY UPDATE"},
    TR + "request_trust": {"advisory_shared, if free", "wallets_wallet by id: NO KEY UPDATE"},
    TR + "accept_trust": {
        "advisory_shared, if free",
        "trusts_trust: NO KEY UPDATE",
        "wallets_wallet by id: NO KEY UPDATE",
    },
    TR + "decline_trust": {
        "advisory_shared, if free",
        "trusts_trust: NO KEY UPDATE",
        "wallets_wallet by id: NO KEY UPDATE",
    },
    TR + "delete_trust": {
        "advisory_shared, if free",
        "trusts_trust: NO KEY UPDATE",
        "wallets_wallet by id: NO KEY UPDATE",
    },
    TR + "dismiss_manager": {
        "advisory_shared, if free",
        "trusts_trust by number ASC: NO KEY UPDATE",
        "wallets_wallet by id: NO KEY UPDATE",
    },
    TR + "end_trust": {
        "advisory_shared, if free",
        "trusts_trust: NO KEY UPDATE",
        "wallets_wallet by id: NO KEY UPDATE",
    },
    TR + "lock": {"trusts_trust: NO KEY UPDATE", "wallets_wallet by id: NO KEY UPDATE"},
    TF + "send_bundle": {
        "wallets_token by lot: NO KEY UPDATE SKIP LOCKED",
        "advisory_shared, if free",
        "trusts_power: SHARE",
    },
    TF + "send_tokens": {"advisory_shared, if free", "trusts_power: SHARE", "wallets_token by lot, id: NO KEY UPDATE"},
    TF + "accept": {
        "advisory_shared, if free",
        "transfers_transfer by id ASC: NO KEY UPDATE",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    TF + "decline": {
        "advisory_shared, if free",
        "transfers_transfer by id ASC: NO KEY UPDATE",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    TF + "delete": {
        "advisory_shared, if free",
        "transfers_transfer by id ASC: NO KEY UPDATE",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    TF + "expire_due": {
        "advisory_shared, if free",
        "transfers_transfer by number: NO KEY UPDATE SKIP LOCKED",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    TF + "expire": {
        "advisory_shared, if free",
        "transfers_transfer by number: NO KEY UPDATE SKIP LOCKED",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    TF + "fulfill": {
        "wallets_token by lot: NO KEY UPDATE SKIP LOCKED",
        "advisory_shared, if free",
        "transfers_transfer by id ASC: NO KEY UPDATE",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
    "transfers.bulk.transfer_batch": {
        "wallets_token by lot: NO KEY UPDATE SKIP LOCKED",
        "advisory_shared, if free",
        "trusts_power: SHARE",
    },
    "transfers.bulk.create_batch": {
        "wallets_token by lot: NO KEY UPDATE SKIP LOCKED",
        "advisory_shared, if free",
        "trusts_power: SHARE",
    },
    "transfers.counters.roll_up": {"advisory, if free"},
    "transfers.counters.recount": {"advisory"},
    "transfers.outcome_counts.roll_up": {"advisory, if free"},
    "transfers.list_counts.roll_up": {"advisory, if free"},
    AW + "CreateWallet": {"advisory", "advisory_shared, if free"},
    AW + "PseudonymiseWallet": {"advisory", "wallets_wallet: NO KEY UPDATE"},
    AW + "SetPassword": {"advisory", "advisory_shared, if free"},
    AW + "RevokeBearerTokens": {"advisory", "advisory_shared, if free"},
    AW + "EndRestrictedKeys": {
        "advisory",
        "advisory_shared, if free",
        "wallets_restrictedkey by id ASC: NO KEY UPDATE",
        "wallets_wallet: NO KEY UPDATE",
    },
    AW + "RevokeBearerToken": {"advisory", "advisory_shared, if free", "wallets_bearertoken by id ASC: NO KEY UPDATE"},
    AW + "CreateApiKey": {"advisory"},
    AW + "RotateApiKey": {
        "advisory",
        "wallets_apikey by id ASC: NO KEY UPDATE",
        "wallets_apikey: NO KEY UPDATE",
    },
    AW + "RevokeApiKey": {"advisory", "wallets_apikey by id ASC: NO KEY UPDATE"},
    AW + "RunAudit": {"advisory", "advisory, if free"},
    "config.admin.actions.trusts.EndTrust": {
        "advisory",
        "advisory_shared, if free",
        "trusts_trust: NO KEY UPDATE",
        "wallets_wallet by id: NO KEY UPDATE",
    },
    "config.admin.actions.transfers.IssueTokens": {"advisory"},
    "config.admin.actions.transfers.CancelTransfer": {
        "advisory",
        "advisory_shared, if free",
        "transfers_transfer by id ASC: NO KEY UPDATE",
        "wallets_token by lot, id: NO KEY UPDATE",
    },
}


@pytest.mark.django_db
def test_an_operation_changes_what_it_says_and_nothing_beside_it() -> None:
    User.objects.create_superuser("olga")
    world = frames.build()
    found: dict[tuple[str, str], dict[str, int]] = {}
    locked: dict[str, set[str]] = {}

    for key, act in ACTS.items():
        with undone(), row_locks.recorded() as taken:
            found[key] = dict(world.changes(lambda act=act: act(world)))
        locked.setdefault(key[0], set()).update(taken)

    assert {key: each for key, each in found.items() if each != EXPECTED.get(key)} == {}
    assert {key: each for key, each in locked.items() if each != LOCKS.get(key, set())} == {}


MODULES: Final = (
    "wallets.operations", "wallets.wallet_batches", "wallets.api_key_rotation", "trusts.operations",
    "transfers.operations", "transfers.bulk", "transfers.action_tokens", "transfers.approvals",
)  # fmt: skip
# The actions on the ledger. The others have frames of their own.
MODULES_OF_ACTS: Final = (
    "config.admin.actions.wallets",
    "config.admin.actions.trusts",
    "config.admin.actions.transfers",
)
ELSEWHERE: Final = {
    "config.admin.actions.alerts": "tests/admin/test_alerts.py",
    "config.admin.actions.lockers": "tests/lockers/test_action_frames.py",
    "config.admin.actions.keys": "tests/admin/test_restricted_keys.py",
    "config.admin.actions.people": "tests/admin/test_people_frames.py",
    "config.admin.actions.payments": "tests/admin/test_payment_requests.py",
    "config.admin.actions.webhooks": "tests/admin/test_webhook_pages.py",
}
# What changes nothing by itself.
PURE: Final = {
    "wallets.operations.validate_new_name": "computes a key",
    "wallets.operations.keep_session": "locks a bearer token for its caller",
    "wallets.operations.is_valid_until_commit": "locks an API key for its caller",
    "wallets.api_key_rotation.valid_keys": "reads",
    "transfers.operations.attempt": "rolls back",
    "transfers.action_tokens.is_same_address": "compares two texts",
    "transfers.action_tokens.has_form_of_code": "reads a text",
    "transfers.action_tokens.cancel_locked": "is a part of `cancel`, and of the action of an operator",
    "transfers.operations.lifetime": "reads a setting",
    **{
        f"transfers.operations.{name}": "is a part of other operations"
        for name in ("lock", "state_after", "authorise", "cancel", "complete_reserved", "closed", "recorded")
    },
    "transfers.approvals.standing": "reads",
    "trusts.operations.store_images": "stores files",
}


def test_every_operation_is_tried() -> None:
    public = {
        f"{module}.{name}"
        for module in MODULES
        for name, each in inspect.getmembers(importlib.import_module(module), inspect.isfunction)
        if each.__module__ == module and not name.startswith("_")
    }
    actions = {f"{type(each).__module__}.{type(each).__name__}" for each in registry.ALL}
    assert {type(each).__module__ for each in registry.ALL} == {*MODULES_OF_ACTS, *ELSEWHERE}
    public |= {action for action in actions if action.startswith(MODULES_OF_ACTS)}

    tried = {operation for operation, _ in ACTS}
    assert public - set(PURE) == {
        operation for operation in tried if operation.startswith((*MODULES, *MODULES_OF_ACTS))
    }
    assert ACTS.keys() == EXPECTED.keys()
