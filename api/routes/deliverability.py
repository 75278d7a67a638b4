"""How sending goes: what was delivered, bounced and complained about, and marketing that is held for it."""

from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import Field

from api.callers import Asker, WorkspaceId, needs
from api.deps import Db
from api.manners import Feature
from api.shapes import Out, example
from api.stack import Opened
from channels import registry
from domain.channels import Channel
from domain.roles import Permission
from domain.workspaces import Period, period_start
from models.queries import holds, workspaces

router = Feature(prefix="/deliverability", tags=["deliverability"])

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"
_SHOWN = 50  # Holds.


class DayOut(Out):
    day: date = Field(description="Of the workspace's calendar, on which we heard of it.")
    channel: Channel
    delivered: int
    hard: int = Field(description="Hard bounces: there is no such address.")
    soft: int = Field(description="Soft bounces: not now.")
    complained: int
    failed: int = Field(description="Not delivered, and the address is not at fault: policy, or content.")

    model_config = example(
        {
            "day": "2026-11-21",
            "channel": "email",
            "delivered": 48210,
            "hard": 312,
            "soft": 97,
            "complained": 21,
            "failed": 4,
        }
    )


class HoldOut(Out):
    id: UUID
    channel: Channel
    at: datetime
    reason: str
    released_at: datetime | None = Field(description="Null: marketing on this channel is held.")
    released_by: str | None

    model_config = example(
        {
            "id": _ID,
            "channel": "email",
            "at": "2026-11-21T09:00:00Z",
            "reason": "There were 212 complaints about 48,210 messages in 7 days: 0.44 %, and the limit is "
            "0.3 %.",
            "released_at": None,
            "released_by": None,
        }
    )


class WebhookDayOut(Out):
    day: date
    provider_id: UUID = Field(description="All zeros: the mailbox to which mail servers return notices.")
    reports: int
    repeated: int = Field(description="They had come in before, and counted once.")
    stray: int = Field(description="About messages that are not there.")
    unread: int = Field(description="Webhooks that could not be read.")
    refused: int = Field(description="Webhooks that were not genuine.")

    model_config = example(
        {
            "day": "2026-11-21",
            "provider_id": _ID,
            "reports": 48644,
            "repeated": 12,
            "stray": 0,
            "unread": 0,
            "refused": 3,
        }
    )


class DeliverabilityOut(Out):
    days: list[DayOut]
    holds: list[HoldOut] = Field(description="The newest first, also those that were released.")
    webhooks: list[WebhookDayOut]

    model_config = example(
        {
            "days": [
                {
                    "day": "2026-11-21",
                    "channel": "email",
                    "delivered": 48210,
                    "hard": 312,
                    "soft": 97,
                    "complained": 21,
                    "failed": 4,
                }
            ],
            "holds": [],
            "webhooks": [],
        }
    )


@router.get("", dependencies=[needs(Permission.WORKSPACE_READ)])
async def read_deliverability(
    opened: Opened,
    workspace_id: WorkspaceId,
    db: Db,
    days: Annotated[int, Query(ge=1, le=90, description="How many days back.")] = 30,
) -> DeliverabilityOut:
    """How messages fared by channel and day, what came in from providers, and which marketing is held.

    Marketing on a channel is held by itself when, over seven days, more than 0.3 % of what was delivered is
    complained about (and at least 5 times), or more than 5 % bounce hard (at least 50 of 1,000).
    """
    workspace = await workspaces.get(db, workspace_id)
    since = period_start(Period.DAY, opened.clock.now(), workspace.time_zone) - timedelta(days=days - 1)
    return DeliverabilityOut(
        days=[DayOut.model_validate(each) for each in await holds.days(db, workspace_id, since)],
        holds=[HoldOut.model_validate(each) for each in await holds.page(db, workspace_id, _SHOWN)],
        webhooks=[
            WebhookDayOut.model_validate(each) for each in await holds.hook_days(db, workspace_id, since)
        ],
    )


@router.post("/{held_channel}/release", dependencies=[needs(Permission.WORKSPACE_WRITE)])
async def release_hold(
    held_channel: Channel, asker: Asker, opened: Opened, workspace_id: WorkspaceId, db: Db
) -> HoldOut:
    """Let marketing on a channel go on. What was counted so far is not held against it again."""
    workspace, now = await workspaces.get(db, workspace_id), opened.clock.now()
    today = period_start(Period.DAY, now, workspace.time_zone)
    return HoldOut.model_validate(
        await holds.release(
            db, workspace_id, held_channel.value, asker.name, now, today, registry.reporting()
        )
    )
