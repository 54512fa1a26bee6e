"""By what a repeated request is known: each part of it counts, and nothing else does."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory
from rest_framework.request import Request

from config.api import idempotency
from config.api.parsers import FormParser, StrictJSONParser


class _View:
    maximum_bytes = 10_000


def fingerprint(method: str, path: str, **sent: Any) -> bytes:
    make: Callable[..., Any] = getattr(RequestFactory(), method.lower())
    request = make(path, **sent)
    parsed = Request(request, parsers=[StrictJSONParser(), FormParser()], parser_context={"view": _View()})
    digest = idempotency.fingerprint(parsed)
    # The view reads the body afterwards.
    for value in parsed.data.values() if isinstance(parsed.data, Mapping) else ():
        assert not hasattr(value, "read") or value.read() != b"", "a file is read from its beginning"
    return digest


def of_json(body: str, path: str = "/a", method: str = "POST") -> bytes:
    return fingerprint(method, path, data=body, content_type="application/json")


def of_form(path: str = "/a", **fields: Any) -> bytes:
    return fingerprint("POST", path, data=fields)


def csv(content: bytes, name: str = "a.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


# No two of these are one request.
DIFFERENT: Final[Mapping[str, Callable[[], bytes]]] = {
    "json": lambda: of_json('{"a": 1, "b": 2}'),
    "another value": lambda: of_json('{"a": 1, "b": 3}'),
    "values of each other's fields": lambda: of_json('{"a": 2, "b": 1}'),
    "a field less": lambda: of_json('{"a": 1}'),
    "a field more": lambda: of_json('{"a": 1, "b": 2, "c": null}'),
    "text and no number": lambda: of_json('{"a": "1", "b": 2}'),
    "a number beyond 64 bits": lambda: of_json('{"a": 1, "b": 36893488147419103232}'),
    "another beyond 64 bits": lambda: of_json('{"a": 1, "b": 36893488147419103233}'),
    "a list": lambda: of_json("[1, 2]"),
    "the list in another order": lambda: of_json("[2, 1]"),
    "another path": lambda: of_json('{"a": 1, "b": 2}', path="/b"),
    "a query": lambda: of_json('{"a": 1, "b": 2}', path="/a?x=1"),
    "another query": lambda: of_json('{"a": 1, "b": 2}', path="/a?x=2"),
    "another method": lambda: of_json('{"a": 1, "b": 2}', method="PATCH"),
    "a form": lambda: of_form(sender="alice", receiver="bobby", csv=csv(b"x,y")),
    "the values of a form the other way round": lambda: of_form(sender="bobby", receiver="alice", csv=csv(b"x,y")),
    "another field of a form": lambda: of_form(sender="alice", receiver_wallet="bobby", csv=csv(b"x,y")),
    "a field of a form less": lambda: of_form(sender="alice", csv=csv(b"x,y")),
    "another file of the same size": lambda: of_form(sender="alice", receiver="bobby", csv=csv(b"x,z")),
    "the file in another field": lambda: of_form(sender="alice", receiver="bobby", file=csv(b"x,y")),
    "a text in the place of the file": lambda: of_form(sender="alice", receiver="bobby", csv="x;y"),
    "a form to another path": lambda: of_form("/b", sender="alice", receiver="bobby", csv=csv(b"x,y")),
    "a field twice": lambda: of_form(sender=["alice", "carol"], receiver="bobby", csv=csv(b"x,y")),
    "a field twice, in another order": lambda: of_form(sender=["carol", "alice"], receiver="bobby", csv=csv(b"x,y")),
}


def test_no_part_of_a_request_is_left_out() -> None:
    digests = {name: make() for name, make in DIFFERENT.items()}

    alike = [(one, other) for one, other in itertools.combinations(digests, 2) if digests[one] == digests[other]]
    assert alike == []


def test_the_same_request_in_another_form_is_the_same() -> None:
    assert all(make() == make() for make in DIFFERENT.values())
    assert of_json('{"b":2,\n "a":1}') == DIFFERENT["json"]()
    assert of_json('{"b": 36893488147419103232, "a": 1}') == DIFFERENT["a number beyond 64 bits"]()
    # Another boundary, another order of the fields, and another name of the file.
    assert of_form(csv=csv(b"x,y", "b.txt"), receiver="bobby", sender="alice") == DIFFERENT["a form"]()
