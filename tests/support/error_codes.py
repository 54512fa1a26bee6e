"""The check of every error response of the API that a test receives."""

import http.client
import re
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from config.api import errors
from config.api.error_codes import CODES
from config.web.pages import is_page

# Probes and scrapers read the status alone; the page at the root refuses a form without a CSRF token.
_NO_API = re.compile(r"/(?:(?:livez|readyz|metrics)/?)?")

# Of the public URL in tests with a path in it.
_PREFIX = "/coppice"


def check(path: str, status: int, headers: Mapping[str, str]) -> None:
    """
    Fail if an error response of the API has no code of the table, or one that does not have this status.

    `headers` disregard case, or their names are in lower case.
    """
    # Only the product's own responses have an id: others are of proxies and stores.
    if status < 400 or "x-request-id" not in headers:
        return
    path = path.removeprefix(_PREFIX)
    if is_page(path) or _NO_API.fullmatch(path):
        return
    name = headers.get("error-code")
    assert name in CODES, f"{path} answers {status} with Error-Code {name}"
    code = CODES[name]
    assert status in errors.statuses(code), f"{path} answers {status} with {name}, which has {errors.statuses(code)}"
    link = headers.get("link", "")
    assert link.endswith(f'/docs/errors#{name}>; rel="help"'), f"{path} answers {name} with Link {link}"


def check_all(patch: pytest.MonkeyPatch) -> None:
    """Check the responses of Django's test client, `http.client`, what is built on it, and httpx."""
    request = Client.request
    putrequest, getresponse = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse

    def checked_request(client: Client, **environ: Any) -> Any:
        response = request(client, **environ)
        check(response.wsgi_request.path_info, response.status_code, response.headers)
        return response

    def noted_putrequest(connection: Any, method: str, url: str, *arguments: Any, **keywords: Any) -> None:
        connection.path_sent = urlsplit(url).path
        putrequest(connection, method, url, *arguments, **keywords)

    def checked_getresponse(connection: Any) -> http.client.HTTPResponse:
        response = getresponse(connection)
        check(connection.path_sent, response.status, response.headers)
        return response

    patch.setattr(Client, "request", checked_request)
    patch.setattr(http.client.HTTPConnection, "putrequest", noted_putrequest)
    patch.setattr(http.client.HTTPConnection, "getresponse", checked_getresponse)
    # Imported by a few test modules only, and all are imported before the first test.
    if (httpx := sys.modules.get("httpx")) is None:
        return
    send = httpx.Client.send

    def checked_send(client: Any, sent: Any, **keywords: Any) -> Any:
        response = send(client, sent, **keywords)
        check(sent.url.path, response.status_code, response.headers)
        return response

    patch.setattr(httpx.Client, "send", checked_send)
