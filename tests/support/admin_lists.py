"""Lists of the desk: all that are registered."""

from typing import Final

from django.contrib.admin import site
from django.db.models import Model

from config.admin.base import LedgerPage

MODELS: Final[list[type[Model]]] = sorted(
    (model for model, page in site._registry.items() if isinstance(page, LedgerPage)),
    key=lambda model: model._meta.label_lower,
)
# As the names of their URLs begin.
LISTS: Final = [model._meta.label_lower.replace(".", "_") for model in MODELS]
