"""Requests about trusts."""

from typing import Any

from tests.api.caller import answer
from trusts.models import Trust, TrustChange

TYPES = ["send", "receive", "manage", "yield"]


def ask(caller: Any, request_type: Any, requestee: Any, **more: Any) -> Any:
    body = {"trust_request_type": request_type, "requestee_wallet": requestee, **more}
    return answer(caller.post("/trust_relationships", body))


def say(caller: Any, event: Any, trust_id: Any) -> Any:
    if event == "delete":
        return answer(caller.delete(f"/trust_relationships/{trust_id}"))
    return answer(caller.post(f"/trust_relationships/{trust_id}/{event}"))


def rows() -> Any:
    return sorted(Trust.objects.values_list("id", "state", "withdrawn", "updated_at")), TrustChange.objects.count()
