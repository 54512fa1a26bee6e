from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        # Every process that runs Django may enqueue Celery messages, and must know this Celery application.
        from config import celery  # noqa: F401, PLC0415
