"""The operators' desk: Django's admin with a site, templates and static files of our own."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class OperatorsAdminConfig(AppConfig):
    """Stands before Django's admin, so that its templates win."""

    name = "config.admin"
    label = "desk"


class AdminSiteConfig(AdminConfig):
    """Django's admin; its site is the desk, and every app's `admin.py` registers there."""

    default_site = "config.admin.site.OperatorsAdminSite"
