"""The WSGI handler resolves a path without an id once, and calls no receiver without effect."""

from io import BytesIO
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


# No text, always an error, errors of another kind, no name at all (NUL), and unknown.
@pytest.mark.parametrize("charset", ["zlib", "rot13", "undefined", "idna", "punycode", "a\0b", "klingon"])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "text/x"])
def test_a_charset_that_cannot_be_decoded_is_ignored(charset: str, kind: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="link"\r\n\r\n\xc3\xa9\xff\r\n--b--\r\n'
    statuses = []
    for method in ("GET", "POST"):
        sent = RequestFactory().generic(method, "/pay?link=%C3%A9%FF", body)
        environ = sent.environ | {"CONTENT_TYPE": f"{kind}; charset={charset}", "wsgi.input": BytesIO(body)}
        request = Handler.request_class(environ)
        assert request.GET["link"] == "é\N{REPLACEMENT CHARACTER}"
        assert request.encoding is None
        statuses.append(Handler().get_response(request).status_code)

    # Without the token of the form.
    assert statuses == [200, 403]


def test_the_charset_of_a_form_is_kept_if_it_is_one_of_text() -> None:
    sent = RequestFactory().get("/pay?link=%E9")
    request = Handler.request_class(sent.environ | {"CONTENT_TYPE": "text/plain; charset=ISO-8859-1"})
    assert (request.GET["link"], request.encoding) == ("é", "ISO-8859-1")


@pytest.mark.parametrize("parameter", ["a*=klingon''%41", "a*=idna''%FF", "charset*=a\0b''%41"])
def test_parameters_of_a_content_type_that_cannot_be_decoded_are_ignored(parameter: str) -> None:
    sent = RequestFactory().post("/wallets?limit=1", b"{", content_type="application/json")
    environ = sent.environ | {"CONTENT_TYPE": f"application/json; {parameter}", "wsgi.input": BytesIO(b"{")}
    request = Handler.request_class(environ)
    assert (request.content_type, request.content_params) == ("application/json", {})

    # Its content is read as JSON.
    assert Handler().get_response(request).status_code == 400
