"""Pages of the desk, their forms and confirmations."""

import re
from typing import Any

from django.urls import reverse


def url(name: Any, row: Any = None) -> Any:
    return reverse(f"admin:{name}", args=[] if row is None else [row.pk])


def confirmation(client: Any, address: Any, **answers: Any) -> Any:
    """Go up to the page with the consequences, and return what its button would send, and the sentences."""
    page = client.post(address, {"step": "review", **answers}) if answers else client.get(address)
    assert page.status_code == 200, page.content.decode()
    assert page.context.get("ticket"), (page.context.get("refusal"), page.context.get("form"))
    sent = {"step": "confirm", "ticket": page.context["ticket"], **dict(page.context["hidden"])}
    return sent, list(page.context["consequences"])


def confirm(client: Any, address: Any, reason: str = "because", **answers: Any) -> Any:
    sent, _ = confirmation(client, address, **answers)
    return client.post(address, {**sent, "reason": reason})


def text_of(response: Any) -> Any:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))
