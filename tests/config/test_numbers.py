"""No limit, time, size or default changes unnoticed: each is in a list, beside the tests of what it is for."""

import re

from config.environment import ROOT
from tests.config import numbers


def test_numbers_are_those_of_the_list() -> None:
    listed = numbers.LIST.read_text(encoding="utf-8").splitlines()
    found = numbers.numbers()

    assert len(found) > 300
    assert sorted(set(found) ^ set(listed)) == [], "Meant so? Then: python -m tests.config.numbers"


def test_each_advisory_lock_has_a_key_of_its_own() -> None:
    """Two tasks with one key would keep each other out."""
    keys: dict[int, str] = {}
    for app in ("config", "wallets", "trusts", "transfers", "lockers", "webhooks"):
        for path in sorted((ROOT / app).rglob("*.py")):
            if "advisory" not in (text := path.read_text()):
                continue
            for name, key in re.findall(r"^(\w+): Final = (2026\d{4}|0x[0-9A-F]{4}_[0-9A-F]{4})$", text, re.MULTILINE):
                assert keys.setdefault(int(key, 0), f"{path} {name}") == f"{path} {name}"
    assert len(keys) >= 12
