"""What Schemathesis loads (`SCHEMATHESIS_HOOKS`)."""

from typing import Any

import schemathesis


@schemathesis.hook
def map_headers(context: Any, headers: dict[str, Any] | None) -> dict[str, Any] | None:
    """
    Leave most idempotency keys out.

    The same few come again and again, and what carries a key that was used is refused before anything else is tried.
    """
    if headers and len(str(headers.get("Idempotency-Key", ""))) % 4:
        return {name: value for name, value in headers.items() if name != "Idempotency-Key"}
    return headers
