"""Refusals of the trusts app. The texts are part of the interface: clients compare them."""

from uuid import UUID

from wallets.errors import DomainError


class TrustAlreadyExists(DomainError):
    """An open trust of the same meaning stands between the two wallets already."""

    def __init__(self) -> None:
        super().__init__("The trust relationship has been requested or trusted")


class TrustWithOneself(DomainError):
    """Requester and requestee are the same wallet."""

    def __init__(self) -> None:
        super().__init__("Requester and requestee cannot be same.")


class RequesterNotControlled(DomainError):
    """The caller asks in the name of a wallet that it does not control."""

    def __init__(self) -> None:
        super().__init__("Have no permission to deal with this actor")


class TrustNotAnswerable(DomainError):
    """The caller does not control the requestee, or there is no such trust: the same words for both."""

    def __init__(self, event: str) -> None:
        super().__init__(f"Have no permission to {event} this relationship")


class TrustNotCancellable(DomainError):
    """Somebody else than the originator tries to delete a trust."""

    def __init__(self) -> None:
        super().__init__("Have no permission to cancel this relationship")


class TrustNotReadable(DomainError):
    """The caller controls no party of the trust."""

    def __init__(self) -> None:
        super().__init__("Have no permission to get this relationship")


class TrustNotFound(DomainError):
    """There is no trust with this id."""

    def __init__(self, trust_id: UUID) -> None:
        super().__init__(f"Can not found wallet_trust by id:{trust_id}")


class ManagementCircle(DomainError):
    """Two wallets may not manage each other."""

    def __init__(self) -> None:
        super().__init__("Operation forbidden, because this would lead to a management circle")


class YieldWithdrawn(DomainError):
    """
    The originator of a `yield` deleted it: only a new request can give the power again.

    The Treetracker contract, row 25: without this rule the requestee could regain power
    over the originator's tokens by itself.
    """

    def __init__(self) -> None:
        super().__init__("The originator has withdrawn this yield relationship, a new request is needed")
