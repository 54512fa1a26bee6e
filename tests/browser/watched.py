"""A page that remembers what it complained of and what it asked for."""

from playwright.sync_api import Page


class Watched:
    """A page, with whatever its console complained of and whatever it asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.answers: list[tuple[str, int]] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url} {request.failure}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("response", lambda response: self.answers.append((response.url, response.status)))
