"""The primary dies under load: what was acknowledged is on the standby, and a repetition has one effect."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import pooler
from tests.chaos import failover
from tests.support.local_network import LocalNetwork


@pytest.mark.parametrize("is_pooled", [pytest.param(True, marks=pooler.needs_pgbouncer), False])
@pytest.mark.django_db(transaction=True)
def test_nothing_acknowledged_is_lost_when_the_primary_is_killed_under_load(
    network: LocalNetwork, tmp_path: Path, is_pooled: bool, record_property: Callable[[str, object], None]
) -> None:
    figures, wrong = failover.strike(network, tmp_path, is_pooled=is_pooled)

    record_property("failover", figures)
    assert wrong == [], (figures, (tmp_path / "web.log").read_text()[-3000:])
