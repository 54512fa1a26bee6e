"""
A second database of a wallet service. For each condition of the import's statements it has a row that just meets the
condition and one that just does not. Rows of equal keys are added in the opposite order of their ids.
"""

from typing import Any, Final
from uuid import UUID

from tests.moving.service import NAMES, Service, an_id, hashed
from transfers import action_tokens
from transfers import operations as transfers
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import ApiKey, Wallet

DECISIONS: Final[list[dict[str, Any]]] = [
    {"kind": "wallet_exists", "action": "here"},
    {"kind": "token_exists", "action": "here"},
    {"kind": "capture_exists", "action": "leave_out"},
    # On a wallet with other findings; with a name, and without.
    {"kind": "name_alike", "id": str(an_id("alike 1")), "action": "rename", "name": "chosen"},
    {"kind": "wallet_unattended", "id": str(an_id("ALIKE")), "action": "keep"},
    {"kind": "wallet_unattended", "id": str(an_id("i-holder")), "action": "keep"},
]


def falling(*names: str) -> list[UUID]:
    """Ids of these names, the greatest first."""
    return sorted((an_id(name) for name in names), reverse=True)


def named(id_: str, name: str) -> UUID:
    NAMES[id_] = name
    return UUID(id_)


def plant_in_coppice() -> None:
    """What Coppice has before the first import, and no import brought."""
    holder, other, third = (
        Wallet.objects.create(id=an_id(name), name=name, name_key=name) for name in ("i-holder", "i-other", "i-third")
    )
    for name in ("i-taken", "i-taken-2"):
        Wallet.objects.create(id=an_id(f"{name} of Coppice"), name=name, name_key=name)
    tokens = ("i-token", "i-linked", "i-free")
    transfers.issue_tokens(
        wallet=holder, capture_ids=[an_id(f"capture {name}") for name in tokens], token_ids=[an_id(n) for n in tokens]
    )
    transfers.issue_tokens(wallet=other, capture_ids=[an_id("capture i-captured")], token_ids=[an_id("i-other token")])
    action_tokens.offer_tokens(actor=holder, sender=None, token_ids=[an_id("i-linked")])
    asked = trusts.request_trust(actor=holder, request_type=TrustRequestType.SEND, requestee="i-other")
    held = trusts.request_trust(actor=holder, request_type=TrustRequestType.MANAGE, requestee="i-third")
    trusts.accept_trust(actor=third, trust_id=held.id)
    ended = trusts.request_trust(actor=other, request_type=TrustRequestType.RECEIVE, requestee="i-third")
    trusts.decline_trust(actor=third, trust_id=ended.id)
    NAMES.update({str(asked.id): "asked here", str(held.id): "held here", str(ended.id): "ended here"})
    wallets.create_api_key(name="of Coppice", key="n" * 32)


def plant_wallets(peer: Service) -> None:
    for length in (100, 101):
        salt, name = "s" * length, f"salt of {length}"
        peer.wallet(name, password=None)
        peer.change("wallet", an_id(name), password=hashed("p", salt), salt=salt)
    peer.wallet("version 7", id=named("00000000-0000-7123-8000-000000000001", "version 7"), password="p")
    peer.token("unknown version", named("00000000-0000-0000-8000-0000000000aa", "unknown version"))
    for id_ in falling("tied-1", "tied-2"):
        peer.wallet(NAMES[str(id_)], keycloak_account_id=an_id("tied account"))
    # Names that are the same: of wallets of Coppice; with a tie of times.
    peer.wallet("I-Taken", at="2001-01-01", password="p")
    for id_, name in zip(falling("alike 1", "alike 2"), ("Alike", "alike"), strict=True):
        peer.wallet(name, id=id_)
    peer.wallet("ALIKE", at="2022-12-31")
    for id_, name in zip(reversed(falling("twin 1", "twin 2")), ("Twin", "twin"), strict=True):
        peer.wallet(name, id=id_)
        peer.token(f"of {NAMES[str(id_)]}", id_)
    peer.token("of I-Taken", an_id("I-Taken"))
    peer.token("of alike", an_id("alike 1"))
    peer.token("of the other alike", an_id("alike 2"))
    peer.wallet("i-holder", password="p", about="not taken over")
    peer.wallet("i-other", password="p")
    peer.wallet("i-third", password="p")
    # Each placeholder is named by one column.
    one, two = (peer.wallet(name, password="p") for name in ("u-one", "u-two"))
    peer.token("u-late", an_id("u-token"), at="2023-01-09")
    peer.token("u-early", an_id("u-token"), at="2023-01-08")
    one_token = {"bundle": {"bundleSize": 1}}
    more: dict[str, Any] = {"state": "cancelled", "closed_at": "2023-03-01", "parameters": one_token}
    peer.transfer("u-1", one, two, **more, originator_wallet_id=an_id("u-originator"))
    peer.transfer("u-2", an_id("u-source"), two, **more, originator_wallet_id=one)
    peer.transfer("u-3", one, an_id("u-destination"), **more)
    peer.transfer("u-loop", an_id("u-looped"), an_id("u-looped"), **more, originator_wallet_id=an_id("u-looper"))
    token = peer.token("u-moved", two)
    peer.step(token, an_id("u-no transfer"), an_id("u-from"), two, at="2023-01-11")
    token = peer.token("u-left", two)
    peer.step(token, an_id("u-no transfer either"), two, an_id("u-to"), at="2023-01-12")


def plant_keys_and_trusts(peer: Service) -> None:
    peer.add("api_key", key="n" * 32, name="known to Coppice")
    for name in ("first of two", "second of two"):
        peer.add("api_key", key="d" * 32, name=name)
    peer.add("api_key", key="r" * 32, name="refused later")
    peer.add("api_key", key="q" * 32, name="refused first", tree_token_api_access=False)
    one, two, three, four = (peer.wallet(f"t-{n}", password="p") for n in range(4))
    holder, other, third = an_id("i-holder"), an_id("i-other"), an_id("i-third")
    for kind, actor, target in (("send", holder, other), ("manage", holder, third), ("receive", other, third)):
        peer.trust(f"{kind} as in Coppice", actor, target, kind, created_at="2001-01-01")
    peer.trust("send of the other", other, holder, "send", created_at="2001-01-01")
    peer.trust("without originator", one, three, "receive", originator_wallet_id=None)
    peer.trust("of unknown", an_id("u-token"), one, "send", originator_wallet_id=one)
    peer.trust("by unknown", one, two, "send", originator_wallet_id=an_id("u-token"))
    peer.trust("after one by unknown", one, two, "send", created_at="2023-01-04")
    peer.trust("by a third", one, three, "send", originator_wallet_id=four)
    peer.trust("third over two", three, two, "manage", created_at="2023-01-01")
    for id_ in falling("same 1", "same 2", "same 3"):
        peer.trust(NAMES[str(id_)], two, four, "send")
    # Two ways over the same wallet, and two wallets that manage each other since the same moment.
    peer.trust("over four", one, four, "manage", created_at="2023-01-01")
    peer.trust("over two", one, two, "manage", created_at="2023-01-02")
    peer.trust("yielded to one", two, one, "yield", created_at="2023-01-02")
    peer.trust("over one", two, one, "manage", created_at="2023-01-04")
    for id_, ends in zip(falling("tied over 1", "tied over 2"), ((three, four), (four, three)), strict=True):
        peer.trust(NAMES[str(id_)], *ends, "manage")


def plant_histories(peer: Service) -> None:
    one, two, three = (peer.wallet(f"h-{n}", password="p") for n in range(3))

    def token(name: str, *, at: str = "2023-01-02", end: UUID = three) -> UUID:
        made = peer.token(name, one, at=at)
        peer.change("token", made, wallet_id=end)
        return made

    def transfer(name: str, source: UUID, end: UUID, size: int = 1, at: str = "2023-02-01", **more: Any) -> UUID:
        return peer.transfer(name, source, end, at=at, **({"parameters": {"bundle": {"bundleSize": size}}} | more))

    # Two steps at the same moment of transfers of the same moment: the id decides.
    ends = (transfer("tied from", one, two, 4), transfer("tied on", two, three, 4))
    for n in range(4):
        tied = token(f"tied steps {n}")
        steps = list(zip(reversed(falling(f"tied step {n}.1", f"tied step {n}.2")), ends, strict=True))
        for id_, of in steps if n % 2 else reversed(steps):
            peer.step(tied, of, *((one, two) if of == ends[0] else (two, three)), id=id_)
    # One breaks off, in the order of time; its transfers are in another order. A step that ends where the token is.
    broken = token("broken off", at="2023-01-20")
    last = transfer("begun before", two, three, at="2023-01-31")
    peer.step(broken, last, two, three, at="2023-02-03")
    peer.step(broken, transfer("begun after", one, two, at="2023-02-01"), one, two, at="2023-01-10")
    peer.step(broken, transfer("to where it is", one, three), one, three, at="2023-02-04")
    # The service's clock was ahead.
    ahead = token("ahead", end=one)
    peer.step(ahead, transfer("first of ahead", one, two, at="2023-03-01"), one, two, at="2023-03-01")
    peer.step(ahead, transfer("of tomorrow", two, three, at="2990-01-01"), two, three, at="2990-01-02")
    # Twice the same: the first in time, and the first id; of two sources at once.
    repeated = token("repeated", end=two)
    whole = transfer("repeated", one, two)
    late, early = falling("repeated 1", "repeated 2")
    peer.step(repeated, whole, one, two, at="2023-02-03", id=early)
    peer.step(repeated, whole, one, two, at="2023-02-02", id=late)
    tie = token("repeated at once", end=two)
    for source in (one, three):
        for id_ in falling(f"at once 1 of {NAMES[str(source)]}", f"at once 2 of {NAMES[str(source)]}"):
            peer.step(tie, whole, source, two, at="2023-02-05", id=id_)
    # Steps of a completed transfer that are not between its wallets.
    mixed = transfer("mixed", one, two, 3)
    for name, source, destination in (("right", one, two), ("other source", three, two), ("other end", one, three)):
        peer.step(token(name, end=destination), mixed, source, destination, at="2023-02-06")
    # Completed lists: nothing moved; another one besides the listed.
    tokens = [token(f"of lists {n}", end=two if n else one) for n in range(3)]
    transfer("moved nothing", one, two, parameters={"tokens": [str(tokens[0])]})
    moved = transfer("moved one more", one, two, parameters={"tokens": [str(tokens[1])]})
    for each in tokens[1:]:
        peer.step(each, moved, one, two, at="2023-02-07")
    # Its own time of closing does not count.
    peer.step(
        token("late", end=two), transfer("closed late", one, two, closed_at="2023-02-20"), one, two, at="2023-02-05"
    )
    # Closed before they were created, and after.
    transfer("cancelled before", one, two, state="cancelled", at="2023-02-10", closed_at="2023-02-01")
    transfer("cancelled after", one, two, state="cancelled", at="2023-02-10", closed_at="2023-02-11")
    transfer("failed before", one, two, state="failed", at="2023-02-10", closed_at="2023-02-01")
    # Who began: a manager of the destination that is the source; a manager of the source.
    peer.trust("one over two", one, two, "manage")
    transfer("by its own manager", one, two, state="cancelled")
    transfer("by the manager of the source", two, three, state="cancelled", originator_wallet_id=one)
    transfer("by the manager of the destination", three, two, state="cancelled", originator_wallet_id=one)
    twice = transfer("twice cancelled", one, two, state="cancelled")
    for day, kind in ((3, "request_cancelled_by_source"), (2, "pending_cancelled_by_source")):
        event(peer, f"twice on {day}", f"transfer_{kind}", one, f"2023-03-0{day}", transferId=str(twice))
    event(peer, "of a placeholder", "login", an_id("u-token"))
    event(peer, "of h-0", "login", one)
    for name, asked in (("asked nothing", None), ("asked for zero", {"bundle": {"bundleSize": 0}})):
        transfer(name, one, two, state="cancelled", parameters=asked)


def event(peer: Service, name: str, kind: str, wallet: UUID, at: str = "2023-03-01", **payload: Any) -> None:
    peer.add("wallet_event", id=an_id(name), wallet_id=wallet, type=kind, payload=payload, created_at=at)


def plant_open_transfers(peer: Service) -> None:
    one, two, three = (peer.wallet(f"o-{n}", password="p") for n in range(3))
    tokens = [peer.token(f"o-t{n}", one, at=f"2023-01-{n + 10}") for n in range(9)]

    def pending(name: str, source: UUID, day: int, destination: UUID = three, **parameters: Any) -> UUID:
        return peer.transfer(
            name, source, destination, state="pending", at=f"2023-04-{day:02}", parameters=parameters or None
        )

    def requested(name: str, *listed: str) -> UUID:
        return peer.transfer(
            name, one, two, state="requested", at="2023-04-01", originator_wallet_id=two,
            parameters={"tokens": list(listed)},
        )  # fmt: skip

    pending("without parameters", one, 1)
    pending("an empty list", one, 1, tokens=[])
    # Texts that are ids, and that are none.
    digits = tokens[0].hex
    requested("digits", digits)
    requested("capitals", str(tokens[0]).upper())
    requested("other dashes", f"{digits[:4]}-{digits[4:8]}-{digits[8:]}")
    requested("too short", digits[:31])
    requested("no digits", "z" * 32)
    peer.transfer(
        "listed twice", one, two, state="cancelled", parameters={"tokens": [str(tokens[1]), str(tokens[1]), "none"]}
    )
    # Tokens that others get: of transfers of the same moment the least id, and not one that fails.
    pending("fails first", one, 1, tokens=[str(tokens[2]), str(an_id("no token")), "no id"])
    pending("gets it then", one, 2, tokens=[str(tokens[2])])
    for id_ in falling("rivals 1", "rivals 2"):
        pending(NAMES[str(id_)], one, 3, tokens=[str(each) for each in sorted(tokens[3:5], reverse=True)])
    # One token in two forms.
    pending("listed in two forms", one, 9, tokens=[str(tokens[8]), str(tokens[8]).upper()])
    pair = falling("older rival", "younger rival")
    for day, id_ in enumerate(pair, start=11):
        pending(NAMES[str(id_)], one, day, tokens=[str(tokens[5])])
    peer.transfer("fails tomorrow", one, two, state="pending", at="2990-01-01", parameters={"bundle": {}})
    peer.transfer(
        "obsolete", one, two, state="pending", type="managed", parameters={"tokens": [str(an_id("no token"))]}
    )
    # In the order of time, which is not that of the ids.
    for day, id_ in enumerate(falling("nowhere 1", "nowhere 2"), start=5):
        pending(NAMES[str(id_)], one, day, tokens=[str(an_id("u-late")), str(an_id("u-early"))])
    for id_ in falling("nowhere 3", "nowhere 4"):
        pending(NAMES[str(id_)], one, 7, tokens=[str(an_id("u-late"))])
    pending("listed in Coppice", an_id("i-holder"), 8, tokens=[str(an_id("i-token"))])
    # Reservations without an open transfer.
    peer.change("token", tokens[5], transfer_pending_id=an_id("listed twice"))
    link = peer.add("action_token", sender_wallet_id=one, token_count=1)
    peer.change("token", tokens[6], transfer_pending=True, transfer_pending_id=an_id("digits"), action_token_id=link)
    peer.change("token", tokens[7], transfer_pending=True, transfer_pending_id=an_id("deleted"))
    peer.add("action_token", sender_wallet_id=one, token_count=1, state="claimed")
    plant_bundles(peer)


def plant_bundles(peer: Service) -> None:
    """Which tokens a bundle gets: not claimed, the oldest, the least id; not those of another transfer."""
    one, two, three, four = (peer.wallet(f"b-{n}", password="p") for n in range(4))

    def pending(name: str, source: UUID, destination: UUID, at: str, **parameters: Any) -> None:
        peer.transfer(name, source, destination, state="pending", at=at, parameters=parameters)

    peer.token("b-claimed", one, at="2022-01-01", claim=True)
    for id_ in falling("b-1", "b-2", "b-3"):
        peer.token(NAMES[str(id_)], one, at="2022-01-02")
    for n in range(3):
        peer.token(f"b-of two {n}", two, at=f"2022-01-0{n + 3}")
    pending("a listed one", two, four, "2023-05-09", tokens=[str(an_id("b-of two 0"))])
    # In turns of two wallets, by the ids of the destinations too.
    ends = sorted((three, four, an_id("i-other")))
    pending("one of one", one, ends[0], "2023-05-01", bundle={"bundleSize": 1})
    pending("one of two", two, ends[1], "2023-05-02", bundle={"bundleSize": 1})
    pending("second of one", one, ends[2], "2023-05-03", bundle={"bundleSize": 2})
    for id_ in falling("same moment 1", "same moment 2"):
        pending(NAMES[str(id_)], two, ends[2], "2023-05-04", bundle={"bundleSize": 1})
    # Only one of three is not in Coppice.
    peer.token("i-token", an_id("i-holder"), at="2001-01-01")
    peer.token("i-captured", an_id("i-holder"), at="2001-01-01")
    peer.token("i-new", an_id("i-holder"), at="2023-01-01")
    pending("of Coppice's", an_id("i-holder"), four, "2023-05-05", bundle={"bundleSize": 1})
    pending("too many", an_id("i-holder"), four, "2023-05-06", bundle={"bundleSize": 1})


def plant_what_changes(peer: Service) -> None:
    """What `change` changes, on one side or on both."""
    one, two, three = (peer.wallet(f"s-{n}", password="p") for n in range(3))
    for n in range(16):
        peer.token(f"s-t{n}", one, at=f"2023-01-{n + 2:02}")

    def open_(name: str, by: UUID, *tokens: int, at: str = "2023-02-01", size: int = 0) -> None:
        listed = {"tokens": [str(an_id(f"s-t{n}")) for n in tokens]}
        peer.transfer(
            name, one, two, state="pending" if by == one else "requested", at=at, originator_wallet_id=by,
            parameters={"bundle": {"bundleSize": size}} if size else listed,
        )  # fmt: skip

    open_("asked early", two, size=1)
    open_("asked by a third", three, size=1)
    open_("to be completed", one, 0)
    open_("to be cancelled tomorrow", one, 1, at="2990-02-01")
    open_("to lose its token", one, 2)
    open_("to lose one of two", one, size=2)
    peer.change("token", an_id("s-t3"), transfer_pending=True, transfer_pending_id=an_id("to lose one of two"))
    open_("accepted on both sides", one, 5)
    for n in range(4):
        peer.trust(f"s-trust {n}", (one, two)[n % 2], three, ("send", "receive")[n // 2], "requested")
    peer.trust("s-trust known", two, one, "receive", "requested")
    peer.trust("s-trust withdrawn", one, two, "receive", "cancelled_by_originator")
    peer.wallet("s-deleted", password="p")
    peer.token("s-left behind", an_id("s-deleted"))
    peer.trust("s-deleted send", one, three, "manage", "requested")
    peer.trust("s-deleted ended", three, two, "manage", "cancelled_by_target")
    peer.trust("s-deleted in force", one, two, "manage")


def send(token: str, source: str, destination: str) -> None:
    """Move a token in Coppice, and accept it."""
    sender, receiver = (Wallet.objects.get(pk=an_id(name)) for name in (source, destination))
    sent = transfers.send_tokens(actor=sender, sender=source, receiver=destination, token_ids=[an_id(token)])
    if sent.state == "pending":
        transfers.accept(actor=receiver, transfer_id=sent.id)


def change(peer: Service) -> None:
    """What happened since on both sides."""
    one, two, three = (an_id(f"s-{n}") for n in range(3))

    def completed(name: str, token: str, at: str = "2023-06-01") -> None:
        peer.change("transfer", an_id(name), state="completed")
        peer.step(an_id(token), an_id(name), one, two, at=at)
        peer.change("token", an_id(token), wallet_id=two)

    completed("asked early", "s-t6", at="2023-01-15")
    completed("asked by a third", "s-t7")
    completed("to be completed", "s-t0")
    completed("accepted on both sides", "s-t5")
    transfers.accept(actor=Wallet.objects.get(pk=two), transfer_id=an_id("accepted on both sides"))
    peer.change("transfer", an_id("to be cancelled tomorrow"), state="cancelled")
    peer.moved("taken from a list", one, three, [an_id("s-t2")], at="2023-06-02")
    peer.moved("taken from a bundle", one, three, [an_id("s-t3")], at="2023-06-03")
    # Moved there: by hand, and there and back; here: moved, moved and back, reserved.
    for token, way in (("s-t8", "by hand"), ("s-t9", "and back"), ("s-t10", "once"), ("s-t11", "once")):
        if way == "by hand":
            peer.change("token", an_id(token), wallet_id=three)
        else:
            peer.moved(f"{token} there", one, three, [an_id(token)], at="2023-06-04")
        if way == "and back":
            peer.moved(f"{token} back", three, one, [an_id(token)], at="2023-06-05")
    for token in ("s-t8", "s-t9"):
        send(token, "s-0", "s-1")
    for token in ("s-t10", "s-t12"):
        send(token, "s-0", "s-2")
        send(token, "s-2", "s-0")
    transfers.send_tokens(
        actor=Wallet.objects.get(pk=one), sender="s-0", receiver="i-other", token_ids=[an_id("s-t13")]
    )
    peer.change("token", an_id("s-t12"), claim=True)
    peer.change("token", an_id("s-t14"), claim=True)
    peer.moved("one of Coppice", an_id("i-holder"), three, [an_id("i-token")], at="2023-06-06")
    # An open transfer of what is known, and of what is new.
    peer.token("s-new", one, at="2023-06-07")
    listed = [str(an_id("s-t15")), str(an_id("s-new"))]
    peer.transfer("listed anew", one, two, state="pending", at="2023-06-08", parameters={"tokens": listed})
    # Reserved by a transfer that came with the first import.
    peer.transfer(
        "listed though reserved", an_id("b-1"), two, state="pending", at="2023-06-08",
        parameters={"tokens": [str(an_id("b-of two 0"))]},
    )  # fmt: skip
    # Trusts: the same on both sides, different, on one side.
    for n, state in enumerate(("trusted", "cancelled_by_target", "trusted", "requested")):
        peer.change("wallet_trust", an_id(f"s-trust {n}"), state=state, updated_at="2023-06-09")
    for n in (0, 1, 3):
        trusts.accept_trust(actor=Wallet.objects.get(pk=three), trust_id=an_id(f"s-trust {n}"))
    peer.trust("s-trust known again", two, one, "receive", created_at="2001-01-01")
    peer.change("wallet_trust", an_id("s-trust withdrawn"), state="trusted", updated_at="2023-06-09")
    for row in ("s-deleted send", "s-deleted ended", "s-deleted in force"):
        peer.run("DELETE FROM wallet.wallet_trust WHERE id = %s", [an_id(row)])
    for row in ("s-deleted", "tied-1"):
        peer.run("DELETE FROM wallet.wallet WHERE id = %s", [an_id(row)])
    peer.run("DELETE FROM wallet.token WHERE id = %s", [an_id("b-claimed")])
    peer.wallet("unattended like others")
    Wallet.objects.create(id=an_id("j-late"), name="j-late", name_key="j-late")
    peer.wallet("j-late", password="p")
    peer.change("wallet", one, logo_url="https://logo", password=None, salt=None)
    peer.change("wallet", two, about="there", display_name="there")
    for id_ in (two, an_id("h-2")):
        wallets.change_wallet(wallet_id=id_, about="here")
    peer.change("wallet", an_id("h-2"), about="there")
    # The same name to Coppice.
    peer.change("wallet", an_id("o-1"), name="O-1")
    peer.change("wallet", three, cover_url="https://left")
    # Keys: another text, refused now, accepted again.
    peer.run("UPDATE wallet.api_key SET key = %s WHERE name = 'first of two'", ["e" * 32])
    peer.run("UPDATE wallet.api_key SET tree_token_api_access = false WHERE name = 'refused later'")
    peer.run("UPDATE wallet.api_key SET tree_token_api_access = true WHERE name = 'refused first'")
    ApiKey.objects.filter(name="refused first").update(revoked_at=None)
    peer.add("api_key", key="z" * 32, name="new")
    event(peer, "event of tomorrow", "login", one, "2990-06-01")
    event(peer, "new event", "login", two, "2023-06-10")


def change_again(peer: Service) -> None:
    """A token that a decision left to Coppice moves again, and another one of these does not."""
    peer.moved("moved again", an_id("s-2"), an_id("s-0"), [an_id("s-t8")], at="2990-07-01")


CHANGES: Final[list[dict[str, Any]]] = [
    {"kind": "token_conflict", "action": "here"},
    {"kind": "trust_conflict", "action": "here"},
    {"kind": "wallet_conflict", "action": "there"},
    {"kind": "wallet_conflict", "id": str(an_id("h-2")), "action": "here"},
    {"kind": "wallet_changed", "id": str(an_id("s-2")), "action": "here"},
]
PLANTS: Final = (plant_wallets, plant_keys_and_trusts, plant_histories, plant_open_transfers, plant_what_changes)
