"""Labels of states within sentences: Django's own, which begin with a capital, are not among them."""

import re
from pathlib import Path
from typing import Final

from django.apps import apps

_ROOT: Final = Path(__file__).parents[2]
_SHOWN: Final = re.compile(r"\bget_(\w+)_display(?!\(\)\.lower\(\))")


def test_a_label_that_is_shown_as_it_is_begins_without_a_capital() -> None:
    capital = {
        field.name
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if any(str(label)[:1].isupper() for _, label in field.flatchoices)
    }
    sources = [
        path
        for top in ("config", "lockers", "transfers", "trusts", "wallets", "webhooks")
        for ending in ("*.py", "*.html")
        for path in (_ROOT / top).rglob(ending)
    ]

    shown = {(path.name, name) for path in sources for name in _SHOWN.findall(path.read_text(encoding="utf-8"))}

    assert {"state", "result"} <= capital
    assert "verb" in {name for _, name in shown}
    assert [(path, name) for path, name in sorted(shown) if name in capital] == []
