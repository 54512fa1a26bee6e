"""What Celery runs for the webhooks app."""

from celery import shared_task

from webhooks.sender import session


@shared_task(name="webhooks.send")
def send() -> None:
    """Send what is due, unless another worker is doing so. A missed run only delays deliveries."""
    session.run()
