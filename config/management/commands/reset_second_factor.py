"""`manage.py reset_second_factor NAME`: for a user who lost the phone, also a superuser, which the admin cannot do."""

import logging
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from config.admin import people, second_factor

log = logging.getLogger("coppice.admin")


class Command(BaseCommand):
    help = (
        "Remove a person's second factor and recovery codes, and end the person's sessions. The admin does the same,"
        " except for superusers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the name with which the person signs in")

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            person = User.objects.select_for_update().filter(username=options["name"]).first()
            if person is None:
                raise CommandError("No person has this name.")
            if second_factor.of_user(person) is None:
                raise CommandError(f"{person.username} has no second factor.")
            ended = people.remove_second_factor(person)
        log.warning(
            "The second factor of user %d was removed on the command line; sessions ended: %d", person.pk, ended
        )
        self.stdout.write(f"The second factor of {person.username} is removed; sessions ended: {ended}.")
