"""Celery's settings, each with the fault that it answers."""

from django.conf import settings

broker_url = settings.REDIS_URL
task_ignore_result = True
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
task_time_limit = 300
task_soft_time_limit = 270
visibility_timeout = 600
broker_transport_options = {
    "visibility_timeout": visibility_timeout,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
}
broker_connection_retry_on_startup = True
worker_hijack_root_logger = False
