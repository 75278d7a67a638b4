"""The workflows for n8n, as files: they can be imported anywhere, hold no secrets, and look as drawn."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from dev import n8n_files
from dev.n8n_account import HOOKS, Account
from dev.n8n_picture import WORDS, drawn
from domain.integrations import PREFIX, WORKFLOWS, title

NAMES = n8n_files.names()
# The newest version of each kind of node that n8n 2.30.8 has and our workflows were tried with.
KNOWN = {
    "n8n-nodes-base.webhook": 2.1,
    "n8n-nodes-base.scheduleTrigger": 1.2,
    "n8n-nodes-base.manualTrigger": 1,
    "n8n-nodes-base.set": 3.4,
    "n8n-nodes-base.extractFromFile": 1,
    "n8n-nodes-base.crypto": 2,
    "n8n-nodes-base.code": 2,
    "n8n-nodes-base.if": 2.2,
    "n8n-nodes-base.respondToWebhook": 1.4,
    "n8n-nodes-base.httpRequest": 4.2,
    "n8n-nodes-base.emailSend": 2.1,
    "n8n-nodes-base.splitOut": 1,
}
TRIGGERS = {"webhook", "scheduleTrigger", "manualTrigger"}
CREDENTIALS = {each["id"]: each for each in Account().credentials("http://127.0.0.1", "127.0.0.1", 25)}


@pytest.fixture(params=NAMES)
def workflow(request: pytest.FixtureRequest) -> n8n_files.Workflow:
    return n8n_files.read(request.param)


def kind(node: dict[str, Any]) -> str:
    return str(node["type"]).rpartition(".")[2]


def targets(workflow: n8n_files.Workflow) -> Iterator[tuple[str, str]]:
    for origin, by_kind in workflow["connections"].items():
        assert set(by_kind) == {"main"}
        for way in by_kind["main"]:
            for each in way:
                assert (each["type"], each["index"]) == ("main", 0)
                yield origin, each["node"]


def test_they_are_those_that_the_workspace_looks_after() -> None:
    assert tuple(NAMES) == WORKFLOWS
    assert [(PREFIX + name, title(name)) for name in NAMES] == [
        (read["id"], read["name"]) for read in map(n8n_files.read, NAMES)
    ]


def test_each_is_an_export_without_what_belongs_to_one_installation(workflow: n8n_files.Workflow) -> None:
    assert set(workflow) == {*n8n_files.KEPT, "active", "pinData"}
    assert (workflow["active"], workflow["pinData"]) == (False, {})
    assert workflow["settings"] == {"executionOrder": "v1"}
    assert n8n_files.cleaned(workflow) == workflow


def test_their_nodes_are_of_known_kinds_and_versions(workflow: n8n_files.Workflow) -> None:
    assert {node["type"]: node["typeVersion"] for node in workflow["nodes"]}.items() <= KNOWN.items()
    assert set(WORDS) == set(KNOWN)


def test_connections_lead_to_nodes_and_every_node_is_come_to(workflow: n8n_files.Workflow) -> None:
    names = [node["name"] for node in workflow["nodes"]]
    begins = {node["name"] for node in workflow["nodes"] if kind(node) in TRIGGERS}
    led = [*targets(workflow)]

    assert len(set(names)) == len(names)
    assert {origin for origin, _ in led} <= set(names)
    assert {to for _, to in led} | begins == set(names)
    named = set(re.findall(r"\$\('([^']+)'\)", orjson.dumps(workflow).decode()))
    assert named <= set(names)


def test_secrets_are_named_as_credentials_and_stand_nowhere(workflow: n8n_files.Workflow) -> None:
    for node in workflow["nodes"]:
        for wanted, credential in node.get("credentials", {}).items():
            known = CREDENTIALS[credential["id"]]
            assert (known["type"], known["name"]) == (wanted, credential["name"])
    written = orjson.dumps(workflow).decode()
    for secret in (r"whsec_", r"\bsk_", r"Bearer ", r"eyJ", r"[0-9a-f]{32}", r"password"):
        assert not re.search(secret, written), secret
    for own in (r"/root", r"/home", r"/tmp", r"instanceId", r"10\.\d+\.\d+"):
        assert not re.search(own, written), own


def test_addresses_are_written_in_the_settings_alone(workflow: n8n_files.Workflow) -> None:
    [settings] = [node for node in workflow["nodes"] if node["name"] == n8n_files.SETTINGS] or [{}]
    others = [node for node in workflow["nodes"] if node["name"] != n8n_files.SETTINGS]

    assert "http://" not in orjson.dumps(others).decode()
    assert "@" not in orjson.dumps([each["parameters"] for each in others if kind(each) != "code"]).decode()
    if settings:
        moved = n8n_files.settled(workflow, {"campanile_url": "https://campanile.example"})
        assert "https://campanile.example" in orjson.dumps(moved).decode()
        assert "127.0.0.1" not in orjson.dumps(moved).decode()


def test_where_the_api_is_stands_before_paths_alone(workflow: n8n_files.Workflow) -> None:
    """What an announcement calls a `url` is a whole one."""
    after = orjson.dumps(workflow).decode().split("json.campanile_url }}")[1:]

    assert [each[:40] for each in after if not each.startswith("/api/v1/")] == []


def test_what_starts_or_notes_something_does_so_once_however_often_it_is_sent(
    workflow: n8n_files.Workflow,
) -> None:
    for node in workflow["nodes"]:
        url = str(node["parameters"].get("url", ""))
        if kind(node) == "httpRequest" and url.endswith(("/start", "/enroll", "/failure-logs")):
            [header] = node["parameters"]["headerParameters"]["parameters"]
            assert header["name"] == "Idempotency-Key"


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.workflow)
def test_what_a_webhook_of_ours_calls_is_checked_first(hook: Any) -> None:
    workflow = n8n_files.read(hook.workflow)
    nodes = {node["name"]: node for node in workflow["nodes"]}
    [begin] = [node for node in nodes.values() if kind(node) == "webhook"]
    following = dict(targets(workflow))

    assert begin["parameters"]["path"] == hook.path
    assert begin["parameters"]["options"] == {"rawBody": True}
    walked = [begin["name"]]
    while kind(nodes[walked[-1]]) != "if":
        walked.append(following[walked[-1]])
    assert [kind(nodes[name]) for name in walked] == ["webhook", "extractFromFile", "crypto", "code", "if"]
    assert nodes[walked[2]]["credentials"]["crypto"]["id"] == hook.credential
    [_, [refused]] = workflow["connections"][walked[-1]]["main"]
    assert nodes[refused["node"]]["parameters"]["options"]["responseCode"] == 401


def test_each_picture_shows_the_workflow_as_it_is(workflow: n8n_files.Workflow) -> None:
    name = workflow["id"].removeprefix(PREFIX)

    assert (n8n_files.FOLDER / f"{name}.svg").read_text() == drawn(workflow)


def test_the_readme_has_a_section_with_the_picture_of_each() -> None:
    readme = (n8n_files.FOLDER / "README.md").read_text()

    assert [f"## {name}" for name in NAMES if f"\n## {name}\n" not in readme] == []
    assert [name for name in NAMES if f"]({name}.svg)" not in readme] == []
