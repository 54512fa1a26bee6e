"""A page that remembers what it complained of and what it asked for."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, Request


class Watched:
    """A page, with whatever its console complained of and whatever it asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        # On a busy machine a page may take longer than Playwright waits for it.
        page.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.answers: list[tuple[str, int]] = []
        self._listeners: dict[Any, Callable[[Any], None]] = {
            "console": lambda message: self.complaints.append(f"{message.type}: {message.text}"),
            "pageerror": lambda error: self.complaints.append(f"error: {error}"),
            "requestfailed": self._failed,
            "request": lambda request: self.asked.append(request.url),
            "response": lambda response: self.answers.append((response.url, response.status)),
        }
        for event, listener in self._listeners.items():
            page.on(event, listener)

    def look_away(self) -> None:
        """Remember nothing of what comes from now on."""
        for event, listener in self._listeners.items():
            self.page.remove_listener(event, listener)

    def _failed(self, request: Request) -> None:
        # A page that is left waits no longer for its icon, its scripts, or an answer: the browser itself ends these,
        # and calls nothing else so. What a server or a policy refuses has other names.
        if request.failure != "net::ERR_ABORTED" or request.is_navigation_request():
            self.complaints.append(f"failed: {request.url} {request.failure}")
