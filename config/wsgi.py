"""Django as a WSGI application, which `config.web.rsgi` serves."""

import os

import django
from django.urls import resolve

from config.dev.embedded import fill_environment
from config.ops import logs, request_metrics
from config.web.handler import Handler, drop_needless_receivers

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.base")
fill_environment()

logs.log_uncaught_exceptions()
django.setup(set_prefix=False)
drop_needless_receivers()
application = Handler()
# Loads all views now: otherwise the first request of each process would take a second longer.
resolve("/livez")
request_metrics.flush_regularly()
