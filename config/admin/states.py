"""The states of the admin's rows."""

from django.db import models


class ProposalState(models.TextChoices):
    """The state of a proposal. All but OPEN are final; an open one that is a day old has expired."""

    OPEN = "open"
    APPROVED = "approved"
    REFUSED = "refused"
    # The proposer lost the right to the action, or its object is gone.
    VOID = "void"
