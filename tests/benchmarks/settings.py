"""The settings of production and, beside its endpoints, one that does nothing."""

from config.settings.base import *  # noqa: F403

ROOT_URLCONF = "tests.benchmarks.urls"
