"""Code blocks of docs/partners.md."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


PAGE = ROOT / "docs" / "partners.md"


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S))
