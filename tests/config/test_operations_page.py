"""What the page for operators names is there, and what is there is named."""

import re

from config.admin import roles
from config.dev.embedded import ROOT
from tests.support.environment_variables import variables_of_the_model

PAGE = (ROOT / "docs/operations.md").read_text()


def test_every_variable_is_explained_and_no_other() -> None:
    assert set(re.findall(r"^\| `([A-Z0-9_]+)` \|", PAGE, re.MULTILINE)) == variables_of_the_model()


def test_every_figure_that_is_named_is_told() -> None:
    source = (ROOT / "config/ops/metrics.py").read_text()
    told = set(re.findall(r'"(coppice_\w+)"', source))

    named = {name.removesuffix("_total") for name in re.findall(r"`(coppice_\w+)", PAGE)}

    assert len(named) > 10
    assert named <= told


def test_every_group_is_explained() -> None:
    assert {f"| {role} |" in PAGE for role in roles.ROLES} == {True}


def test_every_field_of_a_requests_line_is_explained() -> None:
    source = (ROOT / "config/ops/access_log.py").read_text()
    fields = set(re.findall(r'^\s+"(\w+)": ', source, re.MULTILINE)) | set(re.findall(r'more\["(\w+)"\]', source))

    assert {"route", "wallet", "refused"} <= fields
    assert {name for name in fields if f"`{name}`" not in PAGE and f'"{name}":' not in PAGE} == set()
