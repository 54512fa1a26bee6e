"""The inconsistencies that the database of a wallet service may hold, with the lines that the report has for them."""

from typing import Any

from django.db import connection

from tests.moving.service import Service, an_id, step_id
from transfers.models import Issue, Movement, Transfer
from trusts.models import Trust, TrustChange
from wallets.models import ApiKey, Event, Token, Wallet

GONE = an_id("a wallet that was deleted")
LIKE_ID = "3f2b8a1e-5c4d-4e6f-8a9b-0c1d2e3f4a5b"


def plant_wallets(peer: Service) -> dict[str, list[str]]:
    bobby, upper = peer.wallet("bobby", at="2023-01-02"), peer.wallet("BOBBY", at="2023-01-01")
    wide = peer.wallet("ｂobby", at="2023-01-03")
    peer.token("of bobby", bobby)
    odd = [peer.wallet(name) for name in (LIKE_ID, "", "x" * 300, "ab", "two words")]
    hand = peer.wallet("by hand", id="00000000-0000-0000-8000-000000000001")
    long = peer.wallet("long", about="a" * 10_001, display_name="d" * 31, logo_url="https://logo/" + "l" * 2048)
    unusable = [
        peer.wallet("no-salt"),
        peer.wallet("no-hash"),
    ]
    peer.change("wallet", unusable[0], password="0" * 128)
    peer.change("wallet", unusable[1], password="plain text", salt="salt")
    account = an_id("account")
    first = peer.wallet("account-a", at="2023-01-01", password="one", keycloak_account_id=account)
    second = peer.wallet("account-b", at="2023-01-02", password="two", keycloak_account_id=account)
    unattended = [bobby, upper, wide, *odd, hand, long, *unusable]
    peer.token("in nowhere", GONE)
    return {
        "unknown_wallet": [f"wallet {GONE}: named by tokens, transfers or history -> placeholder"],
        # The oldest that has tokens keeps the name.
        "name_alike": [
            f'wallet {id_}: "{name}" is the same name as "bobby" of {bobby}: "{new}" -> rename'
            for id_, name, new in ((upper, "BOBBY", "BOBBY-2"), (wide, "ｂobby", "ｂobby-3"))
        ],
        "name_like_id": [f'wallet {odd[0]}: "{LIKE_ID}": "wallet-{LIKE_ID}" -> rename'],
        "name_unusable": [
            line
            for _, line in sorted(
                [
                    (odd[1], f'wallet {odd[1]}: an empty name: "wallet-{odd[1]}" -> rename'),
                    (odd[2], f'wallet {odd[2]}: a name of 300 characters: "{"x" * 246}" -> rename'),
                ]
            )
        ],
        "name_unusual": [
            line
            for _, line in sorted(
                [
                    (odd[3], f'wallet {odd[3]}: "ab": "wallet" length must be at least 3 characters long -> keep'),
                    (odd[4], f'wallet {odd[4]}: "two\\u{{0020}}words": invalid wallet name -> keep'),
                    (hand, f'wallet {hand}: "by\\u{{0020}}hand": invalid wallet name -> keep'),
                ]
            )
        ],
        "id_unusual": [f"wallet {hand}: version 0 -> keep"],
        "text_too_long": [
            f"wallet {long}: about has 10001 characters of 10000 -> cut",
            f"wallet {long}: display_name has 31 characters of 30 -> cut",
            f"wallet {long}: logo_url has 2061 characters of 2048 -> cut",
        ],
        "password_unusable": [
            line
            for _, line in sorted(
                [
                    (unusable[0], f"wallet {unusable[0]}: a hash without its salt -> no_password"),
                    (
                        unusable[1],
                        f"wallet {unusable[1]}: not the 128 hexadecimal digits of HMAC-SHA512 -> no_password",
                    ),
                ]
            )
        ],
        "account_shared": [f"wallet {second}: account {account}, of {first} first -> keep"],
        "wallet_unattended": [f"wallet {id_}: {1 if id_ == bobby else 0} tokens -> keep" for id_ in sorted(unattended)],
    }


def plant_keys(peer: Service) -> dict[str, list[str]]:
    good, again = peer.add("api_key", key="a" * 32, name="good"), peer.add("api_key", key="a" * 32, name="again")
    refused = peer.add("api_key", key="b" * 32, name="refused", tree_token_api_access=False)
    keys = (None, "", "with a blank", "not\tprintable", "schlüssel", "x" * 257)
    unusable = [peer.add("api_key", name="nothing", **({} if key is None else {"key": key})) for key in keys]
    assert peer.add("api_key", key="x" * 256, name="the longest")
    short = peer.add("api_key", key="short", batch_create_access=True, tree_token_api_access=True)
    assert short
    return {
        "key_unusable": [
            f"key {each}: empty, too long, or not of visible ASCII characters -> leave_out" for each in unusable
        ],
        "key_repeated": [f"key {again}: key of {good} -> leave_out"],
        "key_refused": [f"key {refused}: tree_token_api_access is false -> revoke"],
    }


def plant_trusts(peer: Service) -> dict[str, list[str]]:
    one, two, three = (peer.wallet(name, password="p") for name in ("t-one", "t-two", "t-three"))
    peer.trust("kept", one, two, "send", "trusted", created_at="2023-01-09")
    asked = peer.trust("asked earlier", one, two, "send", "requested", created_at="2023-01-01")
    younger = peer.trust("younger", one, two, "send", "trusted", created_at="2023-01-10")
    peer.trust("declined", one, two, "send", "cancelled_by_target")
    peer.trust("by actor", two, one, "receive", "cancelled_by_actor")
    bare = peer.trust("no actor", None, three, "send", originator_wallet_id=one)
    stateless = peer.trust("no state", one, three, "receive", None)
    nobody = peer.trust("nobody", None, three, "send")
    oneself = peer.trust("oneself", one, one, "manage")
    old = [peer.trust(kind, one, three, kind) for kind in ("deduct", "release")]
    lost = peer.trust("lost", one, GONE, "manage")
    peer.trust("one over two", one, two, "manage", created_at="2023-01-05")
    mutual = peer.trust("two over one", one, two, "yield", created_at="2023-01-06")
    # A longer circle is harmless.
    peer.trust("two over three", two, three, "manage")
    peer.trust("three over one", three, one, "manage")
    return {
        "trust_incomplete": [f"trust {bare}: actor missing, originator {one} -> complete"],
        "trust_meaningless": [
            line
            for _, line in sorted(
                [
                    (stateless, f"trust {stateless}: without a state -> leave_out"),
                    (nobody, f"trust {nobody}: without wallets -> leave_out"),
                ]
            )
        ],
        "trust_obsolete": [
            f"trust {id_}: trusted {kind} -> leave_out"
            for id_, kind in sorted(zip(old, ("deduct", "release"), strict=True))
        ],
        "trust_with_oneself": [f"trust {oneself}: trusted manage of {one} -> leave_out"],
        "trust_of_unknown": [f"trust {lost}: trusted manage from {one} to {GONE} -> leave_out"],
        "trust_repeated": [
            f"trust {id_}: {state} send from {one} to {two}, as {an_id('kept')} -> leave_out"
            for id_, state in ((younger, "trusted"), (asked, "requested"))
        ],
        "trust_mutual": [f"trust {mutual}: over {one}, whose trust {an_id('one over two')} is older -> leave_out"],
    }


def plant_history(peer: Service) -> dict[str, list[str]]:
    one, two, three = (peer.wallet(name, password="p") for name in ("h-one", "h-two", "h-three"))
    names = ("whole", "broken", "elsewhere", "double", "partless", "never", "short-a", "short-b")
    tokens = {name: peer.token(name, one) for name in names}
    peer.moved("there", one, two, [tokens["whole"]], at="2023-03-01")
    peer.moved("back", two, one, [tokens["whole"]], at="2023-03-02")
    # Two transfers that both took the token from the first wallet.
    peer.moved("b1", one, two, [tokens["broken"]], at="2023-03-01")
    peer.moved("b2", one, three, [tokens["broken"]], at="2023-03-02")
    peer.moved("e1", one, two, [tokens["elsewhere"]])
    peer.change("token", tokens["elsewhere"], wallet_id=three)
    double = peer.moved("d1", one, two, [tokens["double"]])
    again = peer.step(tokens["double"], double, one, two, at="2023-02-02", id=an_id("again"))
    # Twice, and still only a transaction with oneself.
    loops = [peer.step(tokens["double"], double, two, two, at="2023-02-03", id=an_id(f"loop {n}")) for n in range(2)]
    lost = peer.step(an_id("no token"), double, one, two, id=an_id("lost"))
    # A transaction of a transfer that was deleted, and one of a transfer that was cancelled.
    deleted = an_id("deleted transfer")
    peer.step(tokens["partless"], deleted, one, two, at="2023-03-01")
    cancelled = peer.transfer("undone", two, three, state="cancelled", parameters={"bundle": {"bundleSize": 1}})
    peer.step(tokens["partless"], cancelled, two, three, at="2023-03-02")
    peer.change("token", tokens["partless"], wallet_id=three)
    # Completed, and moved less than asked: listed tokens, a bundle whose size is text, and nothing at all.
    listed = [str(tokens["short-a"]), str(tokens["short-b"]), "no uuid"]
    short = peer.transfer("short", one, two, parameters={"tokens": listed})
    peer.step(tokens["short-a"], short, one, two)
    peer.change("token", tokens["short-a"], wallet_id=two)
    text = peer.transfer("text", one, two, parameters={"bundle": {"bundleSize": "3"}}, at="2023-02-02")
    peer.step(tokens["short-b"], text, one, two, at="2023-02-05")
    peer.change("token", tokens["short-b"], wallet_id=two)
    nothing = peer.transfer("nothing", one, two, parameters={"bundle": {"bundleSize": 2}})
    everything = peer.transfer("everything", one, two, parameters={"bundle": {}})
    made = [
        (group(deleted, one, two), f"transfer {deleted}, from {one} to {two}", deleted),
        (group(cancelled, two, three), f"transfer {cancelled}, from {two} to {three}", cancelled),
    ]
    return {
        "history_of_unknown": [f"transaction {lost}: token {an_id('no token')}, transfer {double} -> leave_out"],
        "history_with_oneself": [
            f"transaction {loop}: token {tokens['double']} in {two} -> leave_out" for loop in sorted(loops)
        ],
        "history_repeated": [
            f"transaction {again}: token {tokens['double']}, transfer {double}, as "
            f"{step_id(tokens['double'], double)} -> leave_out"
        ],
        "history_broken": [
            f"token {tokens['broken']}: transaction {step_id(tokens['broken'], an_id('b2'))} takes it from {one}, "
            f"but it was in {two} -> correct"
        ],
        "token_elsewhere": [f"token {tokens['elsewhere']}: is in {three}, but its history ends in {two} -> correct"],
        "history_without_transfer": [
            f"transfer {id_}: {detail}: 1 transactions -> make" for id_, detail, _ in sorted(made)
        ],
        "transfer_short": [
            line
            for _, line in sorted(
                [
                    (short, f"transfer {short}: asked for 3, moved 1 -> count"),
                    (text, f"transfer {text}: asked for 3, moved 1 -> count"),
                    (nothing, f"transfer {nothing}: asked for 2, moved 0 -> count"),
                    (everything, f"transfer {everything}: asked for all, moved 0 -> count"),
                ]
            )
        ],
    }


def group(*ids: Any) -> Any:
    """The id of the transfer that is made for transactions without one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT md5(%s)::uuid", [" ".join(map(str, ids))])
        return cursor.fetchone()[0]


def plant_open_transfers(peer: Service) -> dict[str, list[str]]:
    one, two = peer.wallet("o-one", password="p"), peer.wallet("o-two", password="p")
    tokens = [peer.token(f"o-{n}", one, at=f"2023-01-{n + 10}") for n in range(8)]
    away = peer.token("o-away", two)

    def pending(name: str, at: str, **parameters: Any) -> Any:
        return peer.transfer(name, one, two, state="pending", at=at, parameters=parameters)

    promised = pending("promised", "2023-04-01", bundle={"bundleSize": 3})
    beyond = pending("beyond", "2023-04-02", bundle={"bundleSize": 100})
    sizeless = pending("sizeless", "2023-04-03", bundle={})
    none = peer.transfer(
        "none", one, two, state="requested", originator_wallet_id=two, parameters={"bundle": {"bundleSize": 0}}
    )
    listed = pending("listed", "2023-04-04", tokens=[str(tokens[6])])
    peer.change("token", tokens[6], transfer_pending=True, transfer_pending_id=listed)
    rival = pending("rival", "2023-04-01", tokens=[str(tokens[6])])
    elsewhere = pending("elsewhere", "2023-04-05", tokens=[str(tokens[0]), str(away)])
    asked = peer.transfer(
        "asked",
        one,
        two,
        state="requested",
        at="2023-04-06",
        originator_wallet_id=two,
        parameters={"tokens": [str(tokens[7])]},
    )
    peer.change("token", tokens[7], transfer_pending=True, transfer_pending_id=asked)
    loop = peer.transfer("to oneself", one, one, state="pending", parameters={"tokens": [str(tokens[0])]})
    closed = peer.transfer(
        "deduct", one, two, state="cancelled", type="deduct", parameters={"bundle": {"bundleSize": 1}}
    )
    managed = peer.transfer(
        "managed", one, two, state="pending", type="managed", parameters={"bundle": {"bundleSize": 1}}
    )
    link = peer.add("action_token", sender_wallet_id=one, token_count=1)
    peer.change("token", tokens[3], transfer_pending=True, action_token_id=link)
    peer.change("token", tokens[4], transfer_pending=True)
    peer.change("token", tokens[5], transfer_pending=True, transfer_pending_id=closed, claim=True)
    return {
        "transfer_with_oneself": [f"transfer {loop}: pending, of {one} -> leave_out"],
        "transfer_obsolete": [f"transfer {closed}: cancelled deduct -> keep"],
        "transfer_obsolete_open": [f"transfer {managed}: pending managed -> fail"],
        "transfer_without_size": [
            line
            for _, line in sorted(
                [
                    (sizeless, f'transfer {sizeless}: pending, {{"bundle": {{}}}} -> fail'),
                    (none, f'transfer {none}: requested, {{"bundle": {{"bundleSize": 0}}}} -> fail'),
                ]
            )
        ],
        "bundle_unreserved": [f"transfer {promised}: promises 3 tokens of {one}, and reserves 0 -> reserve"],
        "bundle_beyond": [f"transfer {beyond}: promises 100 tokens of {one}, which has 4 free -> fail"],
        "listed_elsewhere": [f"transfer {elsewhere}: pending: 1 of 2 tokens are not in {one}, such as {away} -> fail"],
        "listed_reserved": [f"transfer {rival}: token {tokens[6]} is reserved for transfer {listed} -> fail"],
        "reservation_linked": [f"token {tokens[3]}: share link {link} -> free"],
        "reservation_requested": [f"token {tokens[7]}: transfer {asked} -> free"],
        "reservation_lost": [
            line
            for _, line in sorted(
                [
                    (tokens[4], f"token {tokens[4]}: without a transfer -> free"),
                    (tokens[5], f"token {tokens[5]}: transfer {closed}, cancelled -> free"),
                ]
            )
        ],
        "link_left": [f"link {link}: of {one}: 1 tokens -> leave_out"],
    }


def plant_events(peer: Service) -> dict[str, list[str]]:
    one = peer.wallet("e-one", password="p")
    peer.add("wallet_event", id=an_id("login"), wallet_id=one, type="login", payload={}, created_at="2023-05-01")
    lost = peer.add("wallet_event", id=an_id("lost event"), wallet_id=an_id("nobody at all"), type="login")
    # Read from the transfer.
    peer.add("wallet_event", wallet_id=one, type="transfer_requested", payload={"bundle": 1})
    return {"event_unusable": [f"event {lost}: login of {an_id('nobody at all')} -> leave_out"]}


PLANTS = (plant_wallets, plant_keys, plant_trusts, plant_history, plant_open_transfers, plant_events)


def everything() -> Any:
    """The number of rows of each table of the ledger."""
    models = (Wallet, ApiKey, Trust, TrustChange, Token, Transfer, Movement, Issue, Event)
    return {model.__name__: model._base_manager.count() for model in models}
