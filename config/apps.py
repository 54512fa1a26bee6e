import gc

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        # Every process that runs Django may enqueue Celery messages, and must know this Celery application.
        from config import celery  # noqa: F401, PLC0415

        # What is loaded lives as long as the process. Collections skip it, also the last one when the process ends,
        # which takes a short command a third of its time. An entry point may have disabled them while it loaded.
        gc.freeze()
        gc.enable()
