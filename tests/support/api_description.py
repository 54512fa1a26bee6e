"""docs/openapi.json, with each reference replaced by what it refers to."""

import json
from functools import cache
from typing import Any

import jsonschema

from config.dev.embedded import ROOT


@cache
def api_description() -> dict[str, Any]:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    return {**document, "paths": inlined(document["paths"], document)}


def misfits(name: str, value: Any) -> list[str]:
    """Return how a value differs from a component."""
    components = api_description()["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    return [each.message for each in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def inlined(part: Any, document: dict[str, Any]) -> Any:
    """Return a part of the document without references. Beside a reference stands at most another description."""
    if isinstance(part, list):
        return [inlined(each, document) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = {**found, **{name: each for name, each in part.items() if name != "$ref"}}
    return {name: inlined(each, document) for name, each in part.items()}
