"""The URLs of lists and of rows in the admin, and links to them."""

from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString


def list_url(model: type[Model]) -> str:
    """Return the URL of the list of a model."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_url(model: type[Model], row_id: object) -> str:
    """Return the URL of a row's page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row_id])


def link(row: Model, text: object = "") -> SafeString:
    """Return a link to a row's page. It needs no column but the id, if there is a text."""
    return format_html('<a href="{}">{}</a>', page_url(type(row), row.pk), text or row)
