from tests.lockers.conftest import alice, bob, mint, network, running_network

__all__ = ["alice", "bob", "mint", "network", "running_network"]
