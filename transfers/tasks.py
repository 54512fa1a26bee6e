"""What Celery runs for the transfers app."""

from celery import shared_task

from transfers import counters, outcome_counts


@shared_task(name="transfers.fold")
def fold() -> None:
    """Take into the tallies what was transferred since the last time. Missing a turn costs readers time, no more."""
    counters.fold()


@shared_task(name="transfers.fold_outcomes")
def fold_outcomes() -> None:
    """Count how transfers ended since the last time. Missing a turn costs the next reader time, no more."""
    outcome_counts.fold()
