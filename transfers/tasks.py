"""What Celery runs for the transfers app."""

from celery import shared_task

from transfers import outcomes, tallies


@shared_task(name="transfers.fold")
def fold() -> None:
    """Take into the tallies what was transferred since the last time. Missing a turn costs readers time, no more."""
    tallies.fold()


@shared_task(name="transfers.fold_outcomes")
def fold_outcomes() -> None:
    """Count how transfers ended since the last time. Missing a turn costs the next reader time, no more."""
    outcomes.fold()
