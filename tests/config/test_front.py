"""The page at `/`, and the sockets that are opened for the web server."""

import resource
import signal
import socket

import pytest

from tests.api.caller import Caller, answer, refusal


@pytest.mark.parametrize("accept", ["*/*", "text/html,application/xhtml+xml,application/json;q=0.9", "text/plain"])
def test_a_client_that_takes_html_gets_the_page(db: None, accept: str) -> None:
    response = Caller().get("/", accept=accept)

    assert (response.status_code, response["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert response["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Accept" in response["Vary"]
    for path in ("/docs/", "/openapi.json", "/admin/", "/livez", "/readyz"):
        assert f'href="{path}"' in response.content.decode()


@pytest.mark.parametrize("accept", [None, "", "application/json", "application/json, text/plain, */*"])
def test_a_client_that_asks_for_json_or_names_nothing_gets_what_any_unknown_path_gives(
    db: None, accept: str | None
) -> None:
    assert answer(Caller().get("/", accept=accept)) == refusal(404, "Cannot GET /")


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_another_method_gets_that_too(db: None, method: str) -> None:
    assert answer(Caller().send(method, "/", {})) == refusal(404, f"Cannot {method} /")


def test_without_ipv6_all_of_ipv4_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    from config.web import processes  # noqa: PLC0415

    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(97, "Address family not supported by protocol")

    bound = []
    monkeypatch.setattr(processes.socket, "socket", Refusing)
    monkeypatch.setattr(processes.WebServer, "__init__", lambda self, *_, **given: bound.append(given["address"]))
    monkeypatch.setattr(processes.WebServer, "serve", lambda self: None)
    for host in ("::", "::1", "127.0.0.1"):
        processes.serve(host=host, port=1, is_reserved=True, processes=1, stop_seconds=1, request_seconds=1)

    assert bound == ["0.0.0.0", "::1", "127.0.0.1"]


def test_a_process_was_killed_if_a_signal_ended_it() -> None:
    from config.web import processes  # noqa: PLC0415

    assert [processes._was_killed(code) for code in (None, 0, 1, -signal.SIGTERM, -signal.SIGKILL)] == [
        False, False, False, True, True,
    ]  # fmt: skip


def test_the_limit_of_open_files_is_raised_and_never_lowered() -> None:
    from config.web import processes  # noqa: PLC0415

    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 1000
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 200, hard))
        for wanted in (soft - 100, soft - 200):
            processes._allow(wanted)
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft - 100, hard)
        if hard != resource.RLIM_INFINITY:
            processes._allow(hard + 1)
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
