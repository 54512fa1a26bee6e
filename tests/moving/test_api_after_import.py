"""After an import the API says of each row of a service what the service said."""

from typing import Any

from rest_framework.test import APIClient

from tests.moving.conftest import imported
from tests.moving.service import Service, an_id

KEY = "partner-key-of-the-old-service"
PASSWORD = "acorns & oaks"


def build(peer: Service) -> dict[str, Any]:
    """Three wallets, of which anna manages bert; tokens, and transfers in each state. Returns the wallets by name."""
    made = {name: peer.wallet(name, password=PASSWORD, about=f"about {name}") for name in ("anna", "bert", "carl")}
    anna, bert, carl = made.values()
    peer.add("api_key", key=KEY, name="partner", tree_token_api_access=True)
    peer.trust("manages", anna, bert, "manage")
    peer.trust("may send", bert, carl, "send", "requested", created_at="2023-01-05", updated_at="2023-01-05")
    peer.trust("refused", carl, anna, "receive", "cancelled_by_target", created_at="2023-01-06")
    tokens = [peer.token(f"t{n}", anna, at=f"2023-01-{n + 1:02}") for n in range(12)]
    peer.moved("listed", anna, bert, tokens[:4], at="2023-02-01 10:11:12.345")
    peer.moved("on", bert, carl, tokens[1:3], at="2023-02-02")
    peer.moved("back", carl, anna, tokens[2:3], at="2023-02-03")
    bundle = peer.transfer(
        "bundle", anna, carl, at="2023-02-04", parameters={"bundle": {"bundleSize": 2}}, closed_at="2023-02-04"
    )
    for token in tokens[4:6]:
        peer.step(token, bundle, anna, carl, at="2023-02-05")
        peer.change("token", token, wallet_id=carl)
    peer.transfer("pending", anna, carl, state="pending", at="2023-02-06", parameters={"tokens": [str(tokens[6])]})
    peer.change("token", tokens[6], transfer_pending=True, transfer_pending_id=an_id("pending"))
    peer.transfer(
        "asked", anna, carl, state="requested", at="2023-02-07", originator_wallet_id=carl,
        parameters={"bundle": {"bundleSize": 3}},
    )  # fmt: skip
    peer.transfer("off", bert, carl, state="cancelled", at="2023-02-08", parameters={"bundle": {"bundleSize": 1}})
    return made


def client(name: str) -> APIClient:
    """A client that has logged in with the password of the service."""
    answer = APIClient().post(
        "/wallet/auth", {"wallet": name, "password": PASSWORD}, format="json", headers={"TREETRACKER-API-KEY": KEY}
    )
    assert answer.status_code == 200
    return APIClient(headers={"TREETRACKER-API-KEY": KEY, "Authorization": f"Bearer {answer.json()['token']}"})


def time_text(at: Any) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def test_the_api_says_of_every_row_what_the_service_said(peer: Service) -> None:
    made = build(peer)
    names = {id_: name for name, id_ in made.items()}
    imported(peer)
    seen: dict[str, set[Any]] = {"wallet": set(), "token": set(), "transfer": set(), "trust": set(), "step": set()}

    for name, wallet_id in made.items():
        logged_in = client(name)

        def rows(path: str, logged_in: APIClient = logged_in) -> Any:
            answer = logged_in.get(f"/wallet/{path}{'&' if '?' in path else '?'}limit=1000")
            assert answer.status_code == 200, answer.content
            body = answer.json()
            return next(iter(body.values())) if isinstance(body, dict) else body

        seen["wallet"] |= {(each["id"], each["name"], each["tokens_in_wallet"]) for each in rows("wallets")}
        for each in rows(f"tokens?wallet={name}"):
            seen["token"].add((each["id"], each["capture_id"], str(wallet_id), each["created_at"]))
            seen["step"] |= {
                (each["id"], step["sender_wallet"], step["receiver_wallet"], step["processed_at"])
                for step in rows(f"tokens/{each['id']}/transactions")
            }
        for each in rows("transfers"):
            listed = {token["id"] for token in rows(f"transfers/{each['id']}/tokens")}
            closed_at = each["closed_at"] if each["state"] == "completed" else ""
            seen["transfer"].add((
                each["id"], each["state"], each["originating_wallet"], each["source_wallet"],
                each["destination_wallet"], each["created_at"], closed_at, str(each["parameters"]), frozenset(listed),
            ))  # fmt: skip
        seen["trust"] |= {
            (each["id"], each["state"], each["request_type"], each["actor_wallet"], each["target_wallet"],
             each["originating_wallet"], each["created_at"])
            for each in rows("trust_relationships")
        }  # fmt: skip

    def source(statement: str) -> list[Any]:
        found: list[Any] = peer.run(statement).fetchall()
        return found

    assert seen["wallet"] == {
        (str(id_), name, tokens)
        for id_, name, tokens in source(
            "SELECT id, name, (SELECT count(*) FROM wallet.token WHERE wallet_id = wallet.id) FROM wallet.wallet"
        )
    }
    assert seen["token"] == {
        (str(id_), str(capture), str(wallet), time_text(at))
        for id_, capture, wallet, at in source("SELECT id, capture_id, wallet_id, created_at FROM wallet.token")
    }
    assert seen["step"] == {
        (str(token), names[sender], names[receiver], time_text(at))
        for token, sender, receiver, at in source(
            "SELECT token_id, source_wallet_id, destination_wallet_id, processed_at FROM wallet.transaction"
        )
    }
    assert seen["trust"] == {
        (str(id_), state, kind, names[actor], names[target], names[originator], time_text(at))
        for id_, state, kind, actor, target, originator, at in source(
            "SELECT id, state::text, request_type::text, actor_wallet_id, target_wallet_id, originator_wallet_id,"
            " created_at FROM wallet.wallet_trust"
        )
    }
    assert seen["transfer"] == {
        (
            str(id_), state, names[asker], names[sender], names[receiver], time_text(at),
            time_text(moved_at) if state == "completed" else "", str(parameters),
            frozenset(map(str, moved or parameters.get("tokens", []))),
        )
        for id_, state, asker, sender, receiver, at, parameters, moved_at, moved in source(
            "SELECT id, state::text, originator_wallet_id, source_wallet_id, destination_wallet_id, created_at,"
            " parameters, (SELECT max(processed_at) FROM wallet.transaction WHERE transfer_id = transfer.id),"
            " (SELECT array_agg(token_id) FROM wallet.transaction WHERE transfer_id = transfer.id)"
            " FROM wallet.transfer"
        )
    }  # fmt: skip
