"""What Celery runs for the transfers app."""

from celery import shared_task

from transfers import action_tokens, counters, list_counts, operations, outcome_counts, partitions


@shared_task(name="transfers.fold")
def roll_up() -> None:
    """Add new transfers to the tallies of tokens and of lists. A missed run only makes reads slower."""
    counters.roll_up()
    list_counts.roll_up()


@shared_task(name="transfers.fold_outcomes")
def roll_up_outcomes() -> None:
    """Add new outcomes to the outcome tallies. A missed run only makes reads slower."""
    outcome_counts.roll_up()


@shared_task(name="transfers.expire")
def expire() -> None:
    """Expire open transfers and claim links whose time has passed. A missed run keeps their tokens reserved longer."""
    operations.expire_due()
    action_tokens.expire_due()


@shared_task(name="transfers.extend_partitions")
def extend_partitions() -> None:
    """Add a partition of movements if the last one will soon be written to. A missed run makes the last one larger."""
    partitions.extend()
