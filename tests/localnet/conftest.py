from collections.abc import Iterator

import pytest

from tests.support.local_network import LocalNetwork


@pytest.fixture(scope="module")
def running_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    with LocalNetwork(tmp_path_factory.mktemp("raida"), base_port=0) as network:
        yield network


@pytest.fixture
def network(running_network: LocalNetwork) -> LocalNetwork:
    """A network without faults; coins and lockers of earlier tests remain."""
    running_network.clear()
    running_network.forget_seen()
    return running_network
