"""Django as a WSGI application, which `config.web.rsgi` serves."""

# First: it makes loading the others faster.
from config import loading  # noqa: F401

# isort: split
import gc
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
# The views are loaded below.
gc.disable()
drop_needless_receivers()
application = Handler()
# Loads all views now: otherwise the first request of each process would take a second longer.
resolve("/livez")
gc.freeze()
gc.enable()
request_metrics.flush_regularly()
