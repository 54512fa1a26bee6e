import gc

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        # Every process that runs Django may enqueue Celery messages, and must know this Celery application.
        from config import celery  # noqa: F401, PLC0415

        # Loaded modules live as long as the process, so collections skip them, also the last one when the process
        # ends, which takes a third of the time of a short command. An entry point may have disabled collections
        # while it loaded (`config.loading`).
        gc.freeze()
        gc.enable()
