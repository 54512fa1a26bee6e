"""Refusals of the wallets app, and the base class of every refusal in Coppice."""


class DomainError(Exception):
    """
    A rule of the domain refused a call; nothing was changed.

    Each subclass stands in the `errors.py` of the app whose rule it is, and carries
    a sentence that may be shown to the caller. `config/api/errors.py` holds the one
    table from class to HTTP status; a test walks all subclasses and fails on one
    that the table does not name.
    """
