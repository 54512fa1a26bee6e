"""Celery's settings, with the reason for each."""

from celery.schedules import crontab
from django.conf import settings
from kombu import Queue

from config.ops import rabbitmq
from config.ops.redis_status import QUEUE_KEY, TASKS_QUEUE_KEY, broker_from_url, transport_options
from wallets import redis_servers

broker_url = settings.BROKER_URL or broker_from_url(settings.REDIS_URL)
# A worker waits without limit for a broker that does not answer, and for one that refuses writes because its memory or
# disk is full, which Celery reports as a channel error.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_channel_error_retry = True

# Results are stored in PostgreSQL.
task_ignore_result = True

# A message is acknowledged when a child takes it, and no more are fetched than there are idle children. If the broker
# goes away, kombu 5.7 tries to return unacknowledged messages over the closed connection, which ends the worker. Late
# acknowledgement would gain nothing: if a child is killed, the lease of its task has to expire first, and then the
# sweep publishes a new message.
task_acks_late = False
worker_prefetch_multiplier = 1
worker_disable_prefetch = True

# kombu consumes the two queues in turn: the sweep waits for one locker task, not for all of them.
task_default_queue = QUEUE_KEY
task_queues = [Queue(QUEUE_KEY), Queue(TASKS_QUEUE_KEY)]
task_routes = {"lockers.run": {"queue": TASKS_QUEUE_KEY}}

# Leases rely on the time limit; the soft limit leaves time to store the results so far.
task_soft_time_limit = 90
task_time_limit = 120

# When a message of a killed worker is delivered again. The sweep does not wait for it.
visibility_timeout = 600
redis_transport_options = {
    "visibility_timeout": visibility_timeout,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 1,
    # Without it, publishing waits for ever for a broker that hangs or was cut off without closing its connections.
    "socket_timeout": redis_servers.ANSWER_SECONDS,
    **transport_options(settings.REDIS_URL),
}
broker_transport_options = {
    # A request that publishes a message does not wait for a broker that is down: the sweep publishes another.
    "max_retries": 0,
    "interval_start": 0,
    **(rabbitmq.TRANSPORT_OPTIONS if settings.BROKER_URL else redis_transport_options),
}
# Of workers alone, and with RabbitMQ alone.
broker_heartbeat = rabbitmq.HEARTBEAT_SECONDS
broker_connection_timeout = redis_servers.ANSWER_SECONDS
result_backend_transport_options = {"visibility_timeout": visibility_timeout}

# On SIGTERM a running task has 10 s to finish. Otherwise the sweep publishes it again when its lease has expired.
worker_soft_shutdown_timeout = 10
# Applies to unacknowledged tasks; a running task needs no broker and continues.
worker_cancel_long_running_tasks_on_connection_loss = True
# Replace a child after 1,000 tasks or 300 MB, in case of memory leaks.
worker_max_tasks_per_child = 1000
worker_max_memory_per_child = 300_000
# Logging is configured by config/settings/base.py.
worker_hijack_root_logger = False
worker_redirect_stdouts = False

# The schedule is static, so beat keeps no file. Of several beats one publishes, see `config.beat`. A message expires
# when the next one is published.
beat_scheduler = "config.beat:Scheduler"
beat_max_loop_interval = 1
_POSITION_SECONDS = 1.0 if "replica" in settings.DATABASES else 5.0
beat_schedule = {
    "sweep": {"task": "lockers.sweep", "schedule": 2.0, "options": {"expires": 2.0, "ignore_result": True}},
    # Collects the responses that a put or a take did not wait for, within seconds.
    "follow up": {"task": "lockers.follow_up", "schedule": 1.0, "options": {"expires": 1.0, "ignore_result": True}},
    # Lockers that have expired, by an index that has only lockers which still hold coins.
    "take backs": {"task": "lockers.take_back", "schedule": 5.0, "options": {"expires": 5.0, "ignore_result": True}},
    "heartbeat": {"task": "config.heartbeat", "schedule": 2.0, "options": {"expires": 2.0, "ignore_result": True}},
    "readings": {"task": "lockers.read_servers", "schedule": 15.0, "options": {"expires": 15.0, "ignore_result": True}},
    # A server may lose acknowledged data in a crash: a few idle coins are checked each minute.
    "checks": {"task": "lockers.check_coins", "schedule": 60.0, "options": {"expires": 60.0, "ignore_result": True}},
    # Counts are correct without it, but slower the longer it has not run.
    "fold": {"task": "transfers.fold", "schedule": 5.0, "options": {"expires": 5.0, "ignore_result": True}},
    "outcomes": {
        "task": "transfers.fold_outcomes",
        "schedule": 15.0,
        "options": {"expires": 15.0, "ignore_result": True},
    },
    # Until it runs, expired transfers can only fail, but keep their tokens reserved.
    "expiries": {"task": "transfers.expire", "schedule": 5.0, "options": {"expires": 5.0, "ignore_result": True}},
    "payment requests": {
        "task": "lockers.expire_payment_requests",
        "schedule": 5.0,
        "options": {"expires": 5.0, "ignore_result": True},
    },
    # Sends what is due, unless a worker is sending already. A missed one only delays webhooks.
    "webhooks": {"task": "webhooks.send", "schedule": 1.0, "options": {"expires": 1.0, "ignore_result": True}},
    # Creates the partitions of the next days, and drops the oldest. Without it rows go to default partitions.
    "partitions": {
        "task": "config.tidy_partitions",
        "schedule": 60.0,
        "options": {"expires": 60.0, "ignore_result": True},
    },
    # Erases what requests in flight wrote while a wallet was pseudonymised.
    "pseudonyms": {
        "task": "config.finish_pseudonyms",
        "schedule": 60.0,
        "options": {"expires": 60.0, "ignore_result": True},
    },
    # Long before ids reach the last partition of movements. It has no end, so a missed run makes it larger, no more.
    "movement partitions": {
        "task": "transfers.extend_partitions",
        "schedule": crontab(minute="23"),
        "options": {"expires": 3600.0, "ignore_result": True},
    },
    # Checks whether an audit is due, so that a restart of beat does not shift the schedule.
    "audit": {"task": "config.audit", "schedule": 20.0, "options": {"expires": 20.0, "ignore_result": True}},
    "daily audit": {
        "task": "config.audit_all",
        "schedule": 60.0,
        "options": {"expires": 60.0, "ignore_result": True},
    },
    "seals": {"task": "config.seal", "schedule": 60.0, "options": {"expires": 60.0, "ignore_result": True}},
    "alerts": {"task": "config.check_alerts", "schedule": 60.0, "options": {"expires": 60.0, "ignore_result": True}},
    "notices": {"task": "config.send_notices", "schedule": 10.0, "options": {"expires": 10.0, "ignore_result": True}},
    # Up to which event a standby server knows the order. The lag of a replica is computed from it too.
    "position": {
        "task": "config.publish_position",
        "schedule": _POSITION_SECONDS,
        "options": {"expires": _POSITION_SECONDS, "ignore_result": True},
    },
    # Hourly, because these are the most rows.
    "looks": {
        "task": "lockers.purge",
        "schedule": crontab(minute="41"),
        "options": {"expires": 3600.0, "ignore_result": True},
    },
    # At a time of day: an interval would start again with each restart of beat.
    "purge": {
        "task": "config.purge_expired",
        "schedule": crontab(hour="3", minute="17"),
        "options": {"expires": 3600.0, "ignore_result": True},
    },
}
