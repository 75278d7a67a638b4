"""What the node says of itself is true of our API, and what n8n asks of a package is there."""

import json
import re
from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest

from api.app import build
from api.docs import described as document
from api.ingest.routes import ROUTES
from settings import Settings
from tests.n8n.standin import PACKAGE, N8n

# Answered by an app of its own, beside the one that the OpenAPI document describes: docs/tracking.md.
TRACKED = {
    "name",
    "email",
    "userId",
    "phone",
    "anonymousId",
    "properties",
    "timestamp",
    "messageId",
    "historical",
}


def test_every_path_and_field_that_an_operation_uses_is_in_our_api(described: N8n) -> None:
    wrong = [
        problem for operation in described.does("describe")["operations"] for problem in _problems(operation)
    ]

    assert wrong == []


def test_every_operation_of_ours_that_takes_an_idempotency_key_gets_one(described: N8n) -> None:
    for operation in described.does("describe")["operations"]:
        if operation["method"] != "POST" or operation["path"] == "/track":
            continue
        repeatable = operation["path"].startswith("/api/v1/callbacks/") or "estimate" in operation["path"]
        assert operation.get("once", False) is not repeatable, operation["value"]


def test_each_parameter_is_shown_for_its_operation_alone(described: N8n) -> None:
    properties = described.does("describe")["action"]["properties"]
    shown = [
        (each["name"], resource, operation)
        for each in properties
        if "operation" in (show := each.get("displayOptions", {}).get("show", {}))
        for resource in show["resource"]
        for operation in show["operation"]
    ]

    assert len(shown) == len(set(shown))
    assert {each["default"] for each in properties if each["name"] == "operation"} <= {
        option["value"] for each in properties if each["name"] == "operation" for option in each["options"]
    }


def test_the_trigger_and_the_credentials_ask_for_what_is_there(described: N8n) -> None:
    told = described.does("describe")
    schemas = _document()["components"]["schemas"]

    assert told["credential"]["test"]["request"]["url"] in _document()["paths"]
    assert {"/api/v1/webhooks", "/api/v1/webhooks/{webhook_id}", "/api/v1/webhooks/event-types"} <= set(
        _document()["paths"]
    )
    assert {"name", "url", "event_types"} <= set(schemas["WebhookIn"]["properties"])
    assert {"url", "event_types", "state"} <= set(schemas["WebhookChange"]["properties"])
    assert {"id", "secret"} <= set(schemas["WebhookMade"]["properties"])
    assert {"type", "title", "description", "can_be_asked_for"} <= set(schemas["EventType"]["properties"])


def test_the_package_is_what_n8n_loads(described: N8n) -> None:
    package = json.loads((PACKAGE / "package.json").read_text())
    told = described.does("describe")

    assert package["name"].startswith("n8n-nodes-")
    assert "n8n-community-node-package" in package["keywords"]
    assert "dependencies" not in package
    assert package["license"] == "MIT"
    assert (PACKAGE / "LICENSE").is_file()
    for path in package["n8n"]["nodes"] + package["n8n"]["credentials"]:
        source = re.sub(r"^dist/(.*)\.js$", r"\1.ts", path)
        assert (PACKAGE / source).is_file()
    for icon in told["action"]["icon"].values():
        ElementTree.parse(PACKAGE / "nodes" / "Campanile" / icon.removeprefix("file:"))
    assert told["action"]["usableAsTool"] is True


@pytest.mark.parametrize(
    "lock", [PACKAGE / "package-lock.json", PACKAGE.parents[1] / "tests/n8n/node/package-lock.json"]
)
def test_what_npm_installs_is_pinned_by_hashes_and_by_no_address(lock: Any) -> None:
    packages = json.loads(lock.read_text())["packages"]

    assert [name for name, each in packages.items() if name and "integrity" not in each] == []
    assert "resolved" not in lock.read_text()


@cache
def _document() -> dict[str, Any]:
    return document(build(Settings()))


def _problems(operation: dict[str, Any]) -> list[str]:
    fields = [*operation.get("fields", ()), *operation.get("more", ())]
    here = f"{operation['resource']}.{operation['value']}"
    if operation["path"] == "/track":
        assert "/track" in ROUTES
        named = {re.sub(r"_(\w)", lambda match: match[1].upper(), each["key"]) for each in fields}
        return [f"{here}: no {name}" for name in sorted(named - TRACKED)]
    asked = _document()["paths"].get(operation["path"], {}).get(operation["method"].lower())
    if asked is None:
        return [f"{here}: no {operation['method']} {operation['path']}"]
    parameters = {(each["in"], each["name"]): each["schema"] for each in asked.get("parameters", ())}
    body = _properties(
        asked.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    )
    if "itemOf" in operation:
        body = _properties(body[operation["itemOf"]])
    wrong = []
    for each in fields:
        schema = body.get(each["key"]) if each["to"] == "body" else parameters.get((each["to"], each["key"]))
        if schema is None:
            wrong.append(f"{here}: no {each['to']} {each['key']}")
        elif options := each["property"].get("options"):
            wrong += [f"{here}: {each['key']} is never {value}" for value in _never(options, schema)]
    taken = {each["key"] for each in fields if each["to"] == "path"}
    wrong += [
        f"{here}: {{{name}}} is left open"
        for name in re.findall(r"{(\w+)}", operation["path"])
        if name not in taken
    ]
    if operation.get("answers") == "pages" and ("query", "cursor") not in parameters:
        wrong.append(f"{here}: no pages")
    return wrong


def _never(options: list[dict[str, Any]], schema: dict[str, Any]) -> list[str]:
    known = _values(schema)
    return [each["value"] for each in options if known and each["value"] not in known]


def _values(schema: dict[str, Any]) -> set[Any]:
    found = set(schema.get("enum", ())) | ({schema["const"]} if "const" in schema else set())
    return found.union(*(_values(each) for each in _parts(schema)))


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = dict(schema.get("properties", {}))
    for each in [*_parts(schema), *([schema["items"]] if "items" in schema else [])]:
        found |= _properties(each)
    return found


def _parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    parts = [each for word in ("anyOf", "oneOf", "allOf") for each in schema.get(word, ())]
    if "$ref" in schema:
        parts.append(_document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return parts
