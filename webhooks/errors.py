"""Refusals of the webhooks app."""

from wallets.errors import DomainError


class WebhookNotFound(DomainError):
    """There is no such webhook, or it is of a wallet that the caller does not control."""

    def __init__(self) -> None:
        super().__init__("There is no webhook with that id")


class DeliveryNotFound(DomainError):
    """The webhook has no such delivery."""

    def __init__(self) -> None:
        super().__init__("There is no delivery with that id")


class InvalidWebhookUrl(DomainError):
    """The URL cannot be called: see the message."""


class TooManyWebhooks(DomainError):
    """The wallet has as many webhooks as it may have."""

    def __init__(self, maximum: int) -> None:
        super().__init__(f"A wallet has at most {maximum} webhooks")


class WebhookIsDisabled(DomainError):
    """Nothing is sent to a disabled webhook."""

    def __init__(self) -> None:
        super().__init__("The webhook is disabled: enable it first")


class SecretOfAnotherWallet(DomainError):
    """Only the wallet that set the URL of a webhook gets its secret."""

    def __init__(self) -> None:
        super().__init__("Only the wallet that set the URL may rotate the secret; set a URL first")


class UrlOfAnotherWallet(DomainError):
    """The wallet that set the URL no longer controls the wallet of the events."""

    def __init__(self) -> None:
        super().__init__("The wallet that set the URL no longer controls this wallet: set a URL to enable the webhook")
