"""What Celery runs for the transfers app."""

from celery import shared_task

from transfers import tallies


@shared_task(name="transfers.fold")
def fold() -> None:
    """Take into the tallies what was transferred since the last time. Missing a turn costs readers time, no more."""
    tallies.fold()
