from tests.transfers.conftest import alice, api_key, bob, carol, sapling

__all__ = ["alice", "api_key", "bob", "carol", "sapling"]
