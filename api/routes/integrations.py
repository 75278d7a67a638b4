"""Integrations: n8n, where it is and how it is doing."""

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import status
from httpx2 import HTTPError
from pydantic import Field, SecretStr, StringConstraints
from uuid_utils.compat import uuid7

from api.callers import Asker, WorkspaceId, as_now, needs
from api.deps import Db
from api.manners import Feature
from api.shapes import In, Out, absent, example
from api.stack import Opened, Stack
from channels import n8n
from channels.egress import EgressRefused
from domain.errors import Invalid, NotFound
from domain.integrations import LONGEST_KEY, LONGEST_URL, WORKFLOWS, IntegrationKind
from domain.roles import Permission
from models.integrations import Integration
from models.queries import integrations, keys
from models.webhooks import DeliveryState, WebhookState

router = Feature(prefix="/integrations", tags=["integrations"])

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"
_AT = "2026-11-21T09:00:00Z"

Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_URL)]


class N8nIn(In):
    """Where n8n is. It takes the place of what was said before."""

    url: Url = Field(description="Its address, as a browser opens it, without a path of its own pages.")
    api_key: Annotated[SecretStr, Field(max_length=LONGEST_KEY)] | None = Field(
        default_factory=absent,
        description="A key of n8n's public API that may list workflows and executions. Kept sealed, never "
        "answered. Left out, the one that was given for the same address stays; null removes it.",
    )
    key_id: UUID | None = Field(
        None, description="The key of this workspace by which n8n calls us, so that its last calls are shown."
    )

    model_config = example({"url": "https://n8n.records.example"})


class OurWorkflowOut(Out):
    name: str
    state: str = Field(description="published, unpublished, or missing.")
    id: str | None = Field(description="Its id in n8n.")

    model_config = example(
        {"name": "job-failure-alert", "state": "published", "id": "campanile-job-failure-alert"}
    )


class FailedExecutionOut(Out):
    id: str
    workflow_id: str
    workflow: str | None = Field(description="Which of ours; null for another.")
    started_at: datetime | None
    stopped_at: datetime | None
    url: str = Field(description="Where a person looks at it.")

    model_config = example(
        {
            "id": "231",
            "workflow_id": "campanile-daily-campaigns",
            "workflow": "daily-campaigns",
            "started_at": _AT,
            "stopped_at": _AT,
            "url": "https://n8n.records.example/workflow/campanile-daily-campaigns/executions/231",
        }
    )


class CallOut(Out):
    at: datetime
    action: str
    object_kind: str
    object_id: UUID | None

    model_config = example({"at": _AT, "action": "start", "object_kind": "campaign", "object_id": _ID})


class CallsOut(Out):
    key_id: UUID
    key_name: str
    used_at: datetime | None = Field(description="When it was used last, to the minute.")
    changes: list[CallOut] = Field(description="The last that it changed, the newest first.")

    model_config = example(
        {
            "key_id": _ID,
            "key_name": "n8n",
            "used_at": _AT,
            "changes": [CallOut.model_config["json_schema_extra"]["example"]],  # type: ignore[index]
        }
    )


class ToldOut(Out):
    """A webhook that leads to n8n, and what it was told last."""

    webhook_id: UUID
    name: str
    state: WebhookState
    failing_since: datetime | None
    event_type: str | None
    delivery: DeliveryState | None
    at: datetime | None = Field(description="When that was taken or given up; null while it is on its way.")
    status: int | None = Field(description="Of n8n's answer.")
    reason: str | None

    model_config = example(
        {
            "webhook_id": _ID,
            "name": "n8n: job-failure-alert",
            "state": "enabled",
            "failing_since": None,
            "event_type": "job.failed",
            "delivery": "delivered",
            "at": _AT,
            "status": 200,
            "reason": None,
        }
    )


class N8nOut(Out):
    """n8n as it is at this moment."""

    url: str
    has_api_key: bool
    reachable: bool
    reason: str | None = Field(description="Why it is not.")
    version: str | None = Field(description="Null where n8n shows no metrics (`N8N_METRICS=true`).")
    api_reason: str | None = Field(description="Why its API told nothing of workflows and executions.")
    workflows: list[OurWorkflowOut] | None = Field(description="Ours; null where its API can't be asked.")
    failed_executions: list[FailedExecutionOut] | None = Field(
        description=f"The last {n8n.MOST}, the newest first."
    )
    calls: CallsOut | None = Field(description="What n8n did here; null where no `key_id` was named.")
    told: list[ToldOut] = Field(description="What we told it.")
    updated_at: datetime

    model_config = example(
        {
            "url": "https://n8n.records.example",
            "has_api_key": True,
            "reachable": True,
            "reason": None,
            "version": "2.30.8",
            "api_reason": None,
            "workflows": [OurWorkflowOut.model_config["json_schema_extra"]["example"]],  # type: ignore[index]
            "failed_executions": [],
            "calls": CallsOut.model_config["json_schema_extra"]["example"],  # type: ignore[index]
            "told": [ToldOut.model_config["json_schema_extra"]["example"]],  # type: ignore[index]
            "updated_at": _AT,
        }
    )


@router.get("/n8n", dependencies=[needs(Permission.INTEGRATIONS_READ)])
async def read_n8n(opened: Opened, workspace_id: WorkspaceId) -> N8nOut:
    """How n8n is doing. It is asked at once, for five seconds at most."""
    async with opened.sessions(workspace_id) as db:
        row = await integrations.get(db, workspace_id, IntegrationKind.N8N)
    return await _shown(opened, row)


@router.put("/n8n", dependencies=[needs(Permission.INTEGRATIONS_WRITE)])
async def put_n8n(body: N8nIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId) -> N8nOut:
    """Say where n8n is. Answers how it is doing; one that can't be reached now is kept all the same."""
    url = await _looked_at(opened, body.url)
    async with opened.sessions(workspace_id, asker.actor) as db:
        await as_now(db, asker, Permission.INTEGRATIONS_WRITE, opened.clock.now())
        if body.key_id is not None:
            try:
                await keys.get(db, body.key_id)
            except NotFound as none:
                raise Invalid(str(none), "/key_id") from None
        row = await integrations.find(db, workspace_id, IntegrationKind.N8N, lock=True)
        id_ = row.id if row else uuid7()
        values: dict[str, Any] = {"id": id_, "kind": IntegrationKind.N8N, "url": url, "key_id": body.key_id}
        if "api_key" in body.model_fields_set:
            given = body.api_key.get_secret_value().strip() if body.api_key else ""
            values["credentials"] = opened.sealer.seal(given, f"integration:{id_}") if given else None
        elif row is None or row.url != url:
            values["credentials"] = None  # What was meant for one address is told no other.
        row = await integrations.put(db, workspace_id, row, values)
    return await _shown(opened, row)


@router.delete(
    "/n8n",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[needs(Permission.INTEGRATIONS_WRITE)],
)
async def delete_n8n(db: Db, workspace_id: WorkspaceId) -> None:
    """Forget n8n and its API's key. Webhooks that lead there stay."""
    await integrations.delete(db, workspace_id, IntegrationKind.N8N)


async def _looked_at(opened: Stack, given: str) -> str:
    """The address as it is kept. Raises `Invalid` for one that is never called; one may be away for now."""
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = given.isascii() and given.isprintable() and not set(given) & {" ", "\\"}
    if not parts.hostname or not plain or not opened.egress.speaks(parts.scheme):
        raise Invalid("Write n8n's address, such as https://n8n.records.example.", "/url")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Invalid("Write n8n's address without a user, a query and a #.", "/url")
    try:
        await opened.egress.addresses(parts.hostname, port or (443 if parts.scheme == "https" else 80))
    except EgressRefused as refused:
        raise Invalid(refused.message, "/url") from None
    except HTTPError:
        pass  # It will say so where it is shown.
    return given.rstrip("/")


async def _shown(opened: Stack, row: Integration) -> N8nOut:
    """Asks n8n with no transaction open."""
    key = opened.sealer.open(row.credentials, f"integration:{row.id}") if row.credentials else None
    found = await n8n.look(opened.egress, row.url, key)
    async with opened.sessions(row.workspace_id) as db:
        told = await integrations.told(db, row.workspace_id, row.url)
        calls = None
        if row.key_id:
            ours = await keys.get(db, row.key_id)
            changes = await integrations.calls(db, row.workspace_id, ours.id)
            calls = CallsOut(
                key_id=ours.id,
                key_name=ours.name,
                used_at=ours.used_at,
                changes=[CallOut(**each._asdict()) for each in changes],
            )
    return N8nOut(
        url=row.url,
        has_api_key=row.credentials is not None,
        reachable=found.reachable,
        reason=found.reason,
        version=found.version,
        api_reason=found.api_reason,
        workflows=_workflows(found.workflows) if found.workflows is not None else None,
        failed_executions=_failed(row.url, found.failed) if found.failed is not None else None,
        calls=calls,
        told=[
            ToldOut(
                webhook_id=each.webhook_id,
                name=each.name,
                state=WebhookState(each.state),
                failing_since=each.failing_since,
                event_type=each.event_type,
                delivery=DeliveryState(each.delivery_state) if each.delivery_state else None,
                at=each.delivered_at,
                status=each.status,
                reason=each.reason,
            )
            for each in told
        ],
        updated_at=row.updated_at,
    )


def _workflows(found: list[n8n.Workflow]) -> list[OurWorkflowOut]:
    there = {each.name: each for each in found}
    return [
        OurWorkflowOut(
            name=name,
            id=there[name].id if name in there else None,
            state=("published" if there[name].active else "unpublished") if name in there else "missing",
        )
        for name in WORKFLOWS
    ]


def _failed(url: str, found: list[n8n.FailedExecution]) -> list[FailedExecutionOut]:
    return [
        FailedExecutionOut(
            id=each.id,
            workflow_id=each.workflow_id,
            workflow=each.workflow,
            started_at=each.started_at,
            stopped_at=each.stopped_at,
            url=f"{url}/workflow/{each.workflow_id}/executions/{each.id}",
        )
        for each in found
    ]
