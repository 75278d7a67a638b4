"""The node CampanileTrigger: whom it believes, and how it subscribes."""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks.webhooks import Webhook

from tests.n8n.standin import N8n

SECRET = "whsec_" + base64.b64encode(b"campanile" * 3).decode()
MEMORY = {"webhookId": "ours", "secret": SECRET}
OTHER = "whsec_" + base64.b64encode(b"elinapmac" * 3).decode()
BODY = json.dumps(
    {"type": "profile.created", "timestamp": "2026-11-21T08:00:00Z", "data": {"name": "Zoë"}}
).encode()


def test_a_signed_announcement_starts_the_workflow_once(described: N8n) -> None:
    headers = _signed(BODY, id_="msg_1")
    first = described.told(BODY, headers, MEMORY)
    again = described.told(BODY, _signed(BODY, at=time.time() - 60, id_="msg_1"), MEMORY)
    elsewhere = described.told(BODY, headers, {"webhookId": "another", "secret": SECRET})

    [[item]] = first["answer"]["workflowData"]
    assert item["json"] == {"id": "msg_1", **json.loads(BODY)}
    assert again["answer"] == {"noWebhookResponse": True}
    assert again["sent"]["status"] == 200
    assert "workflowData" in elsewhere["answer"]


def test_what_n8n_could_not_take_is_taken_when_it_comes_again(described: N8n) -> None:
    headers = _signed(BODY)

    described.told(BODY, headers, MEMORY, failing=True)

    assert "workflowData" in described.told(BODY, headers, MEMORY)["answer"]


def test_while_the_secret_changes_either_signature_will_do(described: N8n) -> None:
    headers = _signed(BODY)
    headers["webhook-signature"] = (
        f"{_signed(BODY, OTHER)['webhook-signature']} {headers['webhook-signature']}"
    )

    assert "workflowData" in described.told(BODY, headers, MEMORY)["answer"]


@pytest.mark.parametrize(
    "forge",
    [
        lambda headers: headers | _signed(BODY, OTHER),
        lambda headers: headers | {"webhook-signature": headers["webhook-signature"][:-8] + "AAAAAAA="},
        lambda headers: headers | {"webhook-id": "another"},
        lambda headers: headers | {"webhook-timestamp": str(int(time.time()) - 1)},
        lambda headers: headers | {"webhook-timestamp": "soon"},
        lambda headers: headers | {"webhook-signature": "v1,"},
        lambda headers: _signed(BODY, at=time.time() - 301),
        lambda headers: _signed(BODY, at=time.time() + 302),
        lambda headers: {},
    ],
    ids=["secret", "signature", "id", "time", "no time", "empty", "old", "early", "nothing"],
)
def test_what_is_forged_or_old_starts_nothing(described: N8n, forge: Any) -> None:
    told = described.told(BODY, forge(_signed(BODY)), MEMORY)

    assert told["sent"]["status"] == 401
    assert told["answer"] == {"noWebhookResponse": True}
    assert told["memory"] == MEMORY


@pytest.mark.parametrize("secret", ["", "whsec_", None])
def test_without_a_secret_nobody_is_believed(described: N8n, secret: str | None) -> None:
    assert described.told(BODY, _signed(BODY), {"secret": secret})["sent"]["status"] == 401


def test_a_changed_body_starts_nothing(described: N8n) -> None:
    assert described.told(BODY + b" ", _signed(BODY), MEMORY)["sent"]["status"] == 401


def test_a_test_event_starts_the_workflow_only_where_it_is_wanted(described: N8n) -> None:
    body = b'{"type":"webhook.test","timestamp":"2026-11-21T08:00:00Z","data":{}}'

    quiet = described.told(body, _signed(body), MEMORY)
    wanted = described.told(body, _signed(body), MEMORY, parameters={"testEvents": True})

    assert quiet["sent"]["status"] == 200
    assert "workflowData" not in quiet["answer"]
    assert "workflowData" in wanted["answer"]


def test_it_subscribes_mends_and_unsubscribes(n8n: N8n) -> None:
    url = f"http://127.0.0.1:5678/webhook/{uuid4()}/webhook"
    some = {"listenTo": "some", "eventTypes": ["profile.created", "job.failed"]}

    def hook(method: str, memory: dict[str, Any], parameters: dict[str, Any] = some) -> dict[str, Any]:
        return n8n.does("hook", method=method, memory=memory, parameters=parameters, url=url)

    options = n8n.does("options", method="getEventTypes")["options"]
    assert {"profile.*", "profile.created", "job.failed"} <= {each["value"] for each in options}
    assert "flow.call" not in {each["value"] for each in options}

    assert hook("checkExists", {})["answer"] is False
    memory = hook("create", {})["memory"]
    assert memory["secret"].startswith("whsec_")
    assert hook("checkExists", memory)["answer"] is True
    assert len(n8n.asked) == 1
    assert hook("checkExists", memory, {"listenTo": "everything"})["answer"] is True
    assert n8n.asked[1]["body"] == {"event_types": ["*"]}
    assert hook("delete", memory)["memory"] == {}
    assert hook("checkExists", memory) == {"answer": False, "memory": {}}
    assert hook("delete", memory)["answer"] is True


def _signed(
    body: bytes, secret: str = SECRET, *, at: float | None = None, id_: str | None = None
) -> dict[str, str]:
    """By the official library."""
    id_ = id_ or str(uuid4())
    moment = datetime.fromtimestamp(at or time.time(), UTC)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(id_, moment, body.decode()),
    }
