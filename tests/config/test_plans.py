"""What statements read does not grow with the tables, whatever the statistics say."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import large_world
from tests.tables import empty_tables


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        try:
            large_world.write()
            yield
        finally:
            empty_tables()


@pytest.mark.django_db
def test_it(world: None) -> None:
    pass
