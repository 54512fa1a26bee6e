"""Refusals of the trusts app. The texts are part of the interface: clients compare them."""

from uuid import UUID

from wallets.errors import DomainError


class TrustAlreadyExists(DomainError):
    """The same trust is open already, or one of another type in the opposite direction."""

    def __init__(self) -> None:
        super().__init__("The trust relationship has been requested or trusted")


class TrustWithOneself(DomainError):
    """Requester and requestee are the same wallet."""

    def __init__(self) -> None:
        super().__init__("Requester and requestee cannot be same.")


class TrustWithinManagement(DomainError):
    """One of two wallets manages the other, or a third one manages both: a trust between them adds nothing."""


class RequesterNotControlled(DomainError):
    """The caller names a requester that it does not control."""

    def __init__(self) -> None:
        super().__init__("Have no permission to deal with this actor")


class TrustNotAnswerable(DomainError):
    """The caller may not answer the trust, or there is no such trust; the message is the same for both."""

    def __init__(self, event: str) -> None:
        super().__init__(f"Have no permission to {event} this relationship")


class TrustNotCancellable(DomainError):
    """The caller controls neither side of the trust that it tries to delete."""

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


class ApprovalsDemanded(DomainError):
    """A wallet that demands approvals of transfers gets no new manager, whose login could give them."""

    def __init__(self) -> None:
        super().__init__("Operation forbidden, because the wallet demands approvals of transfers")


class ConsentWithdrawn(DomainError):
    """
    The actor's side deleted a `receive` or `yield`: only a new request can give the power again.

    The Treetracker contract, row 25: without this rule the requestee alone could regain power over the actor's
    tokens, or the right to send to it.
    """

    def __init__(self, request_type: str) -> None:
        super().__init__(f"The originator has withdrawn this {request_type} relationship, a new request is needed")


class OriginatorWithoutControl(DomainError):
    """The wallet that made the request no longer controls the actor of the trust."""

    def __init__(self) -> None:
        super().__init__("The originator no longer controls the requester, a new request is needed")


class EndedByOperator(DomainError):
    """An operator ended the trust: only a new request can give the same power again."""

    def __init__(self) -> None:
        super().__init__("An operator has ended this relationship, a new request is needed")


class TrustNotOpen(DomainError):
    """An operator ends a trust that is neither requested nor trusted."""

    def __init__(self) -> None:
        super().__init__("The trust relationship is neither requested nor trusted")


class DismissalOfOneself(DomainError):
    """The wallet itself is named as the manager that it dismisses."""

    def __init__(self) -> None:
        super().__init__('"manager_wallet" must be another wallet')
