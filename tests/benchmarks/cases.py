"""What is asked of the server: each case is a script of requests that a client repeats."""

import json
from collections.abc import Callable, Iterator
from itertools import count
from random import Random

from tests.benchmarks.data import CLIENTS, PAIRS, Estate, plot
from tests.benchmarks.load import Script, Step, request

Body = dict[str, object]
Seed = tuple[Body, bool]


def _posting(estate: Estate, bodies: Callable[[int, str], Iterator[Seed]]) -> Script:
    """Send the bodies to `POST /transfers`, each with a key of its own."""

    def script(client: int, word: str) -> Iterator[Step]:
        for number, (body, at_rest) in enumerate(bodies(client, word)):
            headers = estate.headers | {"Idempotency-Key": f"{word}-{client}-{number}"}
            yield request("POST", "/transfers", headers, json.dumps(body).encode()), at_rest

    return script


def _bundle(sender: str, receiver: str, size: int) -> Body:
    return {"sender_wallet": sender, "receiver_wallet": receiver, "bundle": {"bundle_size": size}}


def _listed(sender: str, receiver: str, tokens: list[str]) -> Body:
    return {"sender_wallet": sender, "receiver_wallet": receiver, "tokens": tokens}


def cold(estate: Estate, *, keyed: bool = True) -> Script:
    """One token there and back between wallets that no other client uses."""

    def bodies(client: int, word: str) -> Iterator[Seed]:
        for number in count():
            here, there = (plot(client, number % PAIRS, side) for side in "ab")
            yield _bundle(here, there, 1), False
            yield _bundle(there, here, 1), True

    if keyed:
        return _posting(estate, bodies)

    def script(client: int, word: str) -> Iterator[Step]:
        for body, at_rest in bodies(client, word):
            yield request("POST", "/transfers", estate.headers, json.dumps(body).encode()), at_rest

    return script


def hot(estate: Estate) -> Script:
    """One token out of the one wallet from which all draw."""

    def bodies(client: int, word: str) -> Iterator[Seed]:
        random = Random(f"{word} {client}")
        while True:
            yield _bundle("hot", plot(random.randrange(CLIENTS), random.randrange(PAIRS), "a"), 1), True

    return _posting(estate, bodies)


def there_and_back(estate: Estate, here: str, there: str, size: int) -> Script:
    """A bundle there and back; `{}` in a name is the client's number."""

    def bodies(client: int, word: str) -> Iterator[Seed]:
        while True:
            yield _bundle(here.format(client), there.format(client), size), False
            yield _bundle(there.format(client), here.format(client), size), True

    return _posting(estate, bodies)


def listed(estate: Estate, size: int) -> Script:
    """Explicit tokens there and back."""

    def bodies(client: int, word: str) -> Iterator[Seed]:
        tokens = [str(token) for token in estate.listed[client]]
        here, there = f"grove-{client}-a", f"grove-{client}-b"
        for start in count(0, size):
            part = tokens[start % len(tokens) :][:size]
            yield _listed(here, there, part), False
            yield _listed(there, here, part), True

    return _posting(estate, bodies)


def reading(estate: Estate, path: str) -> Script:
    """The same GET again and again."""
    sent = request("GET", path, estate.reader_headers)

    def script(client: int, word: str) -> Iterator[Step]:
        while True:
            yield sent, True

    return script
