"""What became of what a webhook was told: each delivery with its tries, a test, and replays."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, status
from pydantic import Field

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages, cursor_of, read_cursor
from api.manners import Feature
from api.moments import aware
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened
from domain.announcements import Announcement, AnnouncementType
from domain.catalogue import CATALOGUE
from domain.errors import Invalid
from domain.flow_calls import without_token
from domain.roles import Permission
from models.queries import webhook_log, webhooks
from models.queries.webhook_log import AT_ONCE, Asked, Which, Within
from models.webhooks import DeliveryState

router = Feature(prefix="/webhooks/{webhook_id}", tags=["webhooks"])

State = Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")]
Type = Annotated[
    AnnouncementType | None,
    Query(description="Only of this type. Of a rare one, name a time as well: all are read."),
]
Since = Annotated[datetime | None, Query(description="Announced then or later.")]
Until = Annotated[datetime | None, Query(description="Announced before.")]

_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"
_EXAMPLE: dict[str, Any] = {
    "id": "0199f1c2-a4b9-7d10-9a2b-5c6d7e8f9a0b",
    "webhook_id": _ID,
    "event_type": "message.failed",
    "state": "pending",
    "status": 503,
    "reason": "The receiver answered 503",
    "attempts": 2,
    "created_at": "2026-11-21T09:00:00Z",
    "replayed_at": None,
    "due_at": "2026-11-21T09:00:35Z",
    "closed_at": None,
}


class DeliveryOut(Out):
    id: UUID = Field(description="The receiver's `webhook-id`: the same at each try and replay.")
    webhook_id: UUID
    event_type: str
    state: DeliveryState
    status: int | None = Field(description="Of the last answer; null when there was none.")
    reason: str | None = Field(description="Why the last try failed, in words.")
    attempts: int = Field(description="Since it was announced, or replayed.")
    created_at: datetime
    replayed_at: datetime | None = Field(description="When somebody asked for it again.")
    due_at: datetime = Field(description="When it is tried next, or was tried last.")
    closed_at: datetime | None = Field(description="When it was delivered or given up.")

    model_config = example(_EXAMPLE)


class TryOut(Out):
    at: datetime
    seconds: float | None = Field(description="How long it took.")
    status: int | None
    reason: str | None
    answer: str | None = Field(description="How the answer begins, without what looks like a secret.")


class DeliveryDetails(DeliveryOut):
    body: str = Field(
        description="What is posted and signed. The token by which a flow's call is answered is struck out."
    )
    tries: list[TryOut] = Field(description="The last of them, the oldest first.")

    model_config = example(
        _EXAMPLE
        | {
            "body": '{"type":"message.failed","timestamp":"2026-11-21T09:00:00.000000Z","data":{}}',
            "tries": [
                {
                    "at": "2026-11-21T09:00:05Z",
                    "seconds": 0.21,
                    "status": 503,
                    "reason": "The receiver answered 503",
                    "answer": "upstream connect error",
                }
            ],
        }
    )


class ReplayRangeIn(In):
    since: datetime = Field(description="Announced then or later.")
    until: datetime | None = Field(None, description="Announced before; now when it is left out.")
    state: Which = Field(Which.FAILED, description="Only those; what is on its way is never replayed.")
    cursor: str | None = Field(None, max_length=100, description="The `next_cursor` of the call before.")

    model_config = example(
        {"since": "2026-11-20T00:00:00Z", "until": "2026-11-21T09:00:00Z", "state": "failed"}
    )


class Replaying(Out):
    replayed: int
    next_cursor: str | None = Field(
        description=f"Call again with it for what follows: one call replays {AT_ONCE:,}. Null at the end."
    )

    model_config = example({"replayed": 412, "next_cursor": None})


@router.get("/deliveries", dependencies=[needs(Permission.WEBHOOKS_READ)])
async def list_deliveries(
    *,
    webhook_id: UUID,
    db: Db,
    workspace_id: WorkspaceId,
    pages: Pages,
    state: State = None,
    event_type: Type = None,
    since: Since = None,
    until: Until = None,
) -> Page[DeliveryOut]:
    """What it was told and what became of it, the newest first. What is closed is kept for 30 days."""
    await webhooks.get(db, webhook_id)
    asked = Asked(
        state, event_type, await aware(db, workspace_id, since), await aware(db, workspace_id, until)
    )
    found = await webhook_log.page(db, webhook_id, asked, pages.after, pages.limit)
    items = [DeliveryOut.model_validate(row) for row in found]
    return page_of(items, [item.id for item in items], pages.limit)


@router.get(
    "/deliveries/{delivery_id}",
    dependencies=[needs(Permission.WEBHOOKS_READ), needs(Permission.PROFILES_READ)],
)
async def read_delivery(webhook_id: UUID, delivery_id: UUID, db: Db) -> DeliveryDetails:
    """One delivery with its body and its tries. What it says of people is for those who may read profiles."""
    row = await webhook_log.get(db, webhook_id, delivery_id)
    said = without_token(row.body) if row.event_type == AnnouncementType.FLOW_CALL else row.body
    return DeliveryDetails.model_validate({**vars(row), "body": said})


@router.post(
    "/deliveries/{delivery_id}/replay",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.WEBHOOKS_WRITE)],
)
async def replay_delivery(webhook_id: UUID, delivery_id: UUID, opened: Opened, db: Db) -> DeliveryOut:
    """Send one again, with the id and the body that it had. 409 while it is on its way by itself."""
    row = await webhooks.get(db, webhook_id, lock=True)
    again = await webhook_log.replay_one(db, row, delivery_id, opened.clock.now())
    return DeliveryOut.model_validate(again)


@router.post("/replay", status_code=status.HTTP_202_ACCEPTED, dependencies=[needs(Permission.WEBHOOKS_WRITE)])
async def replay_deliveries(
    webhook_id: UUID, body: ReplayRangeIn, opened: Opened, db: Db, workspace_id: WorkspaceId
) -> Replaying:
    """Send again what was announced within a time, the oldest first, with the ids and bodies they had."""
    now = opened.clock.now()
    row = await webhooks.get(db, webhook_id, lock=True)
    since = await aware(db, workspace_id, body.since)
    until = await aware(db, workspace_id, body.until)
    assert since
    if since >= (until or now):
        raise Invalid("Nothing lies between `since` and `until`: `since` is the earlier one.", "/since")
    after = None if body.cursor is None else read_cursor(body.cursor, "/cursor")
    done = await webhook_log.replay(db, row, Within(since, until or now, body.state), now, after)
    return Replaying(replayed=done.n, next_cursor=done.last and cursor_of(done.last))


@router.post("/test", status_code=status.HTTP_202_ACCEPTED, dependencies=[needs(Permission.WEBHOOKS_WRITE)])
async def test_webhook(webhook_id: UUID, opened: Opened, db: Db) -> DeliveryOut:
    """Send a `webhook.test` to this webhook, whatever it asks for, also while it rests.

    A disabled one gets nothing, not even this: 409. What came of it, the delivery shows whose id is answered.
    """
    row = await webhooks.get(db, webhook_id, lock=True)
    said = CATALOGUE[AnnouncementType.WEBHOOK_TEST].model_validate(
        {"webhook_id": webhook_id, "message": "This is a test from Campanile."}
    )
    announced = Announcement(AnnouncementType.WEBHOOK_TEST, said.model_dump(mode="json"))
    return DeliveryOut.model_validate(await webhook_log.tell(db, row, announced, opened.clock.now()))
