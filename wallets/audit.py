"""What an audit of any app reports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise: the name of the check, and what was found, without any secret."""

    check: str
    detail: str
