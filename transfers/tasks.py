"""What Celery runs for the transfers app."""

from celery import shared_task

from transfers import counters, outcome_counts


@shared_task(name="transfers.fold")
def roll_up() -> None:
    """Add new transfers to the token tallies. A missed run only makes reads slower."""
    counters.roll_up()


@shared_task(name="transfers.fold_outcomes")
def roll_up_outcomes() -> None:
    """Add new outcomes to the outcome tallies. A missed run only makes reads slower."""
    outcome_counts.roll_up()
