"""Celery's settings, each with the fault that it answers."""

from celery.schedules import crontab
from django.conf import settings
from kombu import Queue

from config.ops.redis_status import QUEUE_KEY, TASKS_QUEUE_KEY, broker_from_url, transport_options

broker_url = broker_from_url(settings.REDIS_URL)
# A worker waits for a broker that is away, at its start and later, for as long as it takes; and for one that refuses
# writes because its memory or its disk is full, which Celery calls an error of the channel.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_channel_error_retry = True

# What a task did is in PostgreSQL; a second store of results would be a second truth.
task_ignore_result = True

# A message is acknowledged when a child takes it, and only as many are taken as there are children at rest. What was
# not acknowledged when the broker goes away would have to be given back over a connection that is gone, and ends the
# whole worker (kombu 5.7). Nothing is lost with a message whose child is killed: its task's lease keeps others out for
# as long as the sweep needs to ring again, so that having the message delivered again at once would gain nothing.
task_acks_late = False
worker_prefetch_multiplier = 1
worker_disable_prefetch = True

# Two queues, from which kombu takes in turn: the sweep waits for one task of a wallet, and not for all of them.
task_default_queue = QUEUE_KEY
task_queues = [Queue(QUEUE_KEY), Queue(TASKS_QUEUE_KEY)]
task_routes = {"lockers.run": {"queue": TASKS_QUEUE_KEY}}

# A bounded run time is what every lease relies on; the soft limit leaves time to write down what is known.
task_soft_time_limit = 90
task_time_limit = 120

# Of a message that no child had taken when its worker was killed. The sweep does not wait for it.
visibility_timeout = 600
broker_transport_options = {
    "visibility_timeout": visibility_timeout,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    # A request that rings the doorbell of a broker that is down must not wait for it: the sweep rings again.
    "max_retries": 0,
    "interval_start": 0,
    "socket_connect_timeout": 1,
    **transport_options(settings.REDIS_URL),
}
result_backend_transport_options = {"visibility_timeout": visibility_timeout}

# On SIGTERM a running task may finish; for what does not the sweep rings when its lease has run out.
worker_soft_shutdown_timeout = 10
# Which is said of tasks that are not acknowledged yet; one that is at work needs no broker, and goes on.
worker_cancel_long_running_tasks_on_connection_loss = True
# Against leaks: a child is replaced after so many tasks or kilobytes.
worker_max_tasks_per_child = 1000
worker_max_memory_per_child = 300_000
# Logging is Django's (config/settings/base.py), with its redaction.
worker_hijack_root_logger = False
worker_redirect_stdouts = False

# Static, so beat keeps no file. A ring that is older than the next one is not worth answering.
beat_scheduler = "celery.beat:Scheduler"
beat_max_loop_interval = 1
beat_schedule = {
    "sweep": {"task": "lockers.sweep", "schedule": 2.0, "options": {"expires": 2.0, "ignore_result": True}},
    # What a put or a take did not wait for: it is there within some seconds.
    "follow up": {"task": "lockers.follow_up", "schedule": 1.0, "options": {"expires": 1.0, "ignore_result": True}},
    "heartbeat": {"task": "config.heartbeat", "schedule": 2.0, "options": {"expires": 2.0, "ignore_result": True}},
    "readings": {"task": "lockers.read_servers", "schedule": 15.0, "options": {"expires": 15.0, "ignore_result": True}},
    # A server that crashed may have lost what it acknowledged: coins at rest are asked about, a few in each minute.
    "checks": {"task": "lockers.check_coins", "schedule": 60.0, "options": {"expires": 60.0, "ignore_result": True}},
    # Counts are right without it, and slower the longer it did not run.
    "fold": {"task": "transfers.fold", "schedule": 5.0, "options": {"expires": 5.0, "ignore_result": True}},
    "outcomes": {
        "task": "transfers.fold_outcomes",
        "schedule": 15.0,
        "options": {"expires": 15.0, "ignore_result": True},
    },
    # Only asks whether one is due, so that a start of beat neither brings one forward nor puts it off.
    "audit": {"task": "config.audit", "schedule": 20.0, "options": {"expires": 20.0, "ignore_result": True}},
    # Old rows, and more of them than of anything else: hourly, so that each time there are few.
    "looks": {
        "task": "lockers.purge",
        "schedule": crontab(minute="41"),
        "options": {"expires": 3600.0, "ignore_result": True},
    },
    # At a time of day: beat remembers nothing, and an interval of a day would begin anew with each start.
    "purge": {
        "task": "config.purge_expired",
        "schedule": crontab(hour="3", minute="17"),
        "options": {"expires": 3600.0, "ignore_result": True},
    },
}
