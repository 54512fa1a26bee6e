"""Sessions, sign-in, messages and CSRF are for pages; requests of the API pass none of them."""

from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver

from config.web.pages import PREFIXES
from tests.api.endpoints import endpoints

OF_PAGES = ("session", "user", "_messages")


def paths_of_the_api() -> list[str]:
    found = {path for _, path, _ in endpoints(get_resolver())}
    return sorted(path.replace("{", "").replace("}", "") for path in found)


@pytest.mark.django_db
def test_no_request_of_the_api_has_a_session_or_messages() -> None:
    paths = paths_of_the_api()
    assert len(paths) > 40
    below = [path for path in paths if not path.startswith("/api/")]
    for path in [*paths, *(prefix + path for prefix in ("/wallet", "/wallet/v2") for path in below)]:
        request = Client().options(path).wsgi_request

        assert [name for name in OF_PAGES if hasattr(request, name)] == [], path


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/login/", "/docs/"])
def test_a_page_has_all_of_them(path: str) -> None:
    request = Client().get(path).wsgi_request

    assert [name for name in OF_PAGES if hasattr(request, name)] == list(OF_PAGES)


@pytest.mark.parametrize("path", ["/static/desk/desk.css", "/static/admin/css/base.css"])
def test_static_files_are_served(path: str) -> None:
    response = Client().get(path)
    content = b"".join(response)

    assert (response.status_code, response["Content-Type"]) == (200, 'text/css; charset="utf-8"')
    assert content


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/livez", *(f"{prefix}/login/" for prefix in PREFIXES[:1])])
def test_a_view_that_is_not_exempt_refuses_a_form_without_a_token(path: Any) -> None:
    response = Client(enforce_csrf_checks=True).post(path, {"a": "b"})

    assert response.status_code == 403


@pytest.mark.django_db
def test_every_answer_keeps_the_headers_that_concern_browsers() -> None:
    for path in ("/wallets", "/api/v1/lockers", "/admin/login/", "/livez"):
        headers = Client().get(path).headers

        assert headers["X-Frame-Options"] == "DENY", path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "same-origin", path
