"""The WSGI handler resolves a path without an id once, and calls no receiver without effect."""

from uuid import uuid4

import pytest
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.dispatch import Signal
from django.http import Http404
from django.test import RequestFactory
from django.urls import resolve

from config.web.handler import Handler, drop_needless_receivers


def test_a_path_is_resolved_as_django_does_and_one_without_an_id_once() -> None:
    handler, transfer_id = Handler(), uuid4()
    paths = ["/transfers", "/transfers/", "/wallet/TRANSFERS", f"/transfers/{transfer_id}", "/admin/lockers/", "/livez"]
    for path in [*paths, *paths]:
        request = RequestFactory().get(path)
        match, expected = handler.resolve_request(request), resolve(path)

        assert (match.func, match.args, match.kwargs, match.route, match.url_name, match.namespaces) == (
            expected.func, expected.args, expected.kwargs, expected.route, expected.url_name, expected.namespaces,
        ), path  # fmt: skip
        assert request.resolver_match is match
    first, again = (handler.resolve_request(RequestFactory().get("/transfers")) for _ in range(2))
    one, other = (handler.resolve_request(RequestFactory().get(f"/transfers/{uuid4()}")) for _ in range(2))
    assert first is again
    assert one.kwargs != other.kwargs


def test_an_unknown_path_is_not_found_each_time() -> None:
    handler = Handler()
    for _ in range(2):
        with pytest.raises(Http404):
            handler.resolve_request(RequestFactory().get("/nowhere/at/all"))


def test_a_connection_is_still_checked_at_the_beginning_of_a_request() -> None:
    drop_needless_receivers()

    def is_connected(signal: Signal, receiver: object) -> bool:
        return id(receiver) in {key[0] if isinstance(key, tuple) else key for key, *_ in signal.receivers}

    assert is_connected(request_started, close_old_connections)
    for receiver in (close_caches, reset_urlconf, close_old_connections):
        assert not is_connected(request_finished, receiver)


def test_spellings_of_a_path_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.web.handler._PATHS_AT_MOST", 2)
    handler = Handler()
    kept, also_kept, not_kept = "/transfers", "/TRANSFERS", "/Transfers"
    matches = [
        [handler.resolve_request(RequestFactory().get(path)) for _ in range(2)] for path in (kept, also_kept, not_kept)
    ]

    assert [first is again for first, again in matches] == [True, True, False]
