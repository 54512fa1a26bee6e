#!/bin/sh
# What a container does: web, worker, beat, migrate, or any management command.
set -eu
role=${1:-web}
case $role in
web)
    # A process that dies is replaced.
    exec python -m config.web.server --host :: --port 8000 --processes "${COPPICE_WEB_PROCESSES:-2}" \
        --stop-seconds 20
    ;;
worker)
    # On SIGTERM a running task may finish, and what does not is given back to the broker.
    export REMAP_SIGTERM=SIGQUIT
    exec celery -A config.celery worker -c "${COPPICE_WORKER_PROCESSES:-3}" -l INFO --without-gossip --without-mingle
    ;;
beat)
    # Several may run: one of them publishes, see config/beat.py.
    exec celery -A config.celery beat -l INFO --pidfile=
    ;;
migrate)
    # Migrations, and the roles of operators.
    exec python manage.py prepare --patience 60
    ;;
*)
    exec python manage.py "$@"
    ;;
esac
