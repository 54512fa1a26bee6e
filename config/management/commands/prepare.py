"""
`manage.py prepare`: static files, migrations and roles, in one process because each start takes a second.

Behind a pooler it also stores session settings in the database: see `config.postgresql.sessions`.
"""

import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from config.admin import roles
from config.dev import demo_data
from config.ops import event_retention, partitions, request_log
from config.postgresql import sessions
from config.web import static_files
from transfers import partitions as movement_partitions

POLL_SECONDS = 0.05


class Command(BaseCommand):
    help = (
        "Collect static files, apply migrations, create partitions and the operators' roles, and behind a pooler store"
        " the settings of sessions in the database; with --demo also create the missing demo data."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--demo", action="store_true", help=f"create the demo data; logins are written to {demo_data.FILE}"
        )
        parser.add_argument(
            "--static-files-only", action="store_true", help="collect static files and end; needs no database"
        )
        parser.add_argument(
            "--patience", type=float, default=0, metavar="SECONDS", help="how long to wait for the database"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"static files: {_collect_static_files()}")
        if options["static_files_only"]:
            return
        _wait_for_the_database(options["patience"])
        executor = MigrationExecutor(connection)
        count = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
        self.stdout.write(f"migrations: {f'{count} applied' if count else 'nothing to apply'}")
        partitions.tidy()
        event_retention.tidy()
        request_log.tidy()
        if added := movement_partitions.extend():
            self.stdout.write(f"partitions of movements: {added} added")
        roles.ensure()
        if settings.DATABASE_POOLED is not sessions.Pooled.NO:
            self.stdout.write(f"settings of sessions: {_keep_settings()}")
        self.stdout.flush()
        if options["demo"]:
            demo_data.seed(state_dir=settings.STATE_DIR)
            self.stdout.write(f"demo data: {', '.join(demo_data.WALLETS)}, and an operator")


def _collect_static_files() -> str:
    try:
        return "collected" if static_files.collect() else "nothing to collect"
    except OSError as error:
        raise CommandError(
            f"Static files cannot be collected in {settings.STATIC_ROOT}: {error.strerror}. Run `manage.py prepare` as"
            " a user that may write there."
        ) from error


def _keep_settings() -> str:
    left = sessions.keep(connection, settings.DATABASE_SETTINGS)
    if left is None:
        return "already stored in the database"
    if left:
        return (
            f"stored in the database; {left} open sessions still lack them. Have the pooler reconnect (PgBouncer's"
            " console: RECONNECT), or restart it"
        )
    return "stored in the database"


def _wait_for_the_database(patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.ensure_connection()
        except OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return
