"""What became of a webhook's deliveries: the log, tests, and replays."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Row, bindparam, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announcements import Announcement
from domain.errors import Conflict, NotFound
from models.queries import announcing
from models.webhooks import DeliveryState, Webhook, WebhookDelivery, WebhookState

AT_ONCE = 50_000  # Deliveries that one call replays.

_LISTED = (
    WebhookDelivery.id,
    WebhookDelivery.webhook_id,
    WebhookDelivery.event_type,
    WebhookDelivery.state,
    WebhookDelivery.status,
    WebhookDelivery.reason,
    WebhookDelivery.attempts,
    WebhookDelivery.created_at,
    WebhookDelivery.replayed_at,
    WebhookDelivery.due_at,
    WebhookDelivery.closed_at,
)


class Asked(NamedTuple):
    """Which deliveries are asked for: `since` is within, `until` is not."""

    state: DeliveryState | None = None
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        of = WebhookDelivery
        asked: list[ColumnElement[bool]] = []
        if self.state is not None:  # Written out, so that the index of these alone can serve.
            asked.append(of.state == bindparam(None, self.state.value, literal_execute=True))
        if self.event_type is not None:
            asked.append(of.event_type == self.event_type)
        if self.since is not None:
            asked.append(of.created_at >= self.since)
        if self.until is not None:
            asked.append(of.created_at < self.until)
        return asked


async def page(
    db: AsyncSession, webhook_id: UUID, asked: Asked, after: UUID | None, limit: int
) -> Sequence[Row[Any]]:
    """The newest first, without their bodies. What is beyond one that was removed since was removed, too."""
    of = WebhookDelivery
    place = tuple_(of.created_at, of.id)
    found = select(*_LISTED).where(of.webhook_id == webhook_id, *asked.conditions())
    if after is not None:
        at = await db.scalar(select(of.created_at).where(of.id == after, of.webhook_id == webhook_id))
        if at is None:
            return []
        found = found.where(place < tuple_(at, after))
    return [*await db.execute(found.order_by(of.created_at.desc(), of.id.desc()).limit(limit))]


async def get(db: AsyncSession, webhook_id: UUID, delivery_id: UUID) -> WebhookDelivery:
    """Raises `NotFound`."""
    asked = select(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id
    )
    found = await db.scalar(asked.execution_options(populate_existing=True))
    if found is None:
        raise NotFound(f"There is no delivery {delivery_id} of this webhook, or it is too old to be kept.")
    return found


async def tell(db: AsyncSession, webhook: Webhook, said: Announcement, now: datetime) -> WebhookDelivery:
    """Have this told to this webhook alone. It is locked, and may rest no longer.

    Raises `Conflict` where it is disabled.
    """
    _wake(webhook, now)
    made = WebhookDelivery(
        workspace_id=webhook.workspace_id,
        webhook_id=webhook.id,
        event_type=said.type.value,
        body=said.body(now),
        created_at=now,
        due_at=now,
    )
    db.add(made)
    await db.flush()
    await db.refresh(made)
    announcing.deliver(db, webhook.workspace_id)
    return made


class Which(StrEnum):
    """What is replayed, by its state. What is on its way already never is."""

    FAILED = "failed"
    DELIVERED = "delivered"
    ALL = "all"


_STATE = {
    Which.FAILED: "d.state = 'failed'",
    Which.DELIVERED: "d.state = 'delivered'",
    Which.ALL: "d.state <> 'pending'",
}


def _replaying(which: str, limit: str = "") -> Any:
    """The same id and the same body go out again, as if they were new."""
    return text(
        f"""
        with chosen as (
            select d.id from webhook_deliveries d
            where d.workspace_id = :workspace and d.webhook_id = :webhook and {which}
            {limit}
            for update of d
        ), replayed as (
            update webhook_deliveries d set state = 'pending', replayed_at = :now, due_at = :now,
                attempts = 0, closed_at = null, attempt = null, leased_until = null
            from chosen c
            where d.workspace_id = :workspace and d.id = c.id and d.state <> 'pending'
            returning d.created_at, d.id
        )
        select id, count(*) over () as n from replayed order by created_at desc, id desc limit 1
        """
    )


_WITHIN = "(d.created_at, d.id) > (:since, :after) and d.created_at < :until"
_IN_ORDER = "order by d.created_at, d.id limit :limit"
_REPLAY = {each: _replaying(f"{_STATE[each]} and {_WITHIN}", _IN_ORDER) for each in Which}
_REPLAY_ONE = _replaying("d.id = :delivery and d.state <> 'pending'")
_BEFORE_ALL = UUID(int=0)


class Within(NamedTuple):
    """What is replayed of a time: `since` is within, `until` is not."""

    since: datetime
    until: datetime
    which: Which = Which.FAILED


class Replayed(NamedTuple):
    n: int
    last: UUID | None  # There may be more beyond this one.


async def replay(
    db: AsyncSession,
    webhook: Webhook,
    within: Within,
    now: datetime,
    after: UUID | None = None,
    limit: int = AT_ONCE,
) -> Replayed:
    """Send again what was announced within a time, the oldest first: up to `limit` of them, beyond
    the delivery `after`. The webhook is locked, and may rest no longer.

    Raises `Conflict` where it is disabled, `NotFound` where `after` is not there any more.
    """
    _wake(webhook, now)
    since = within.since
    if after is not None:
        since = max(since, (await get(db, webhook.id, after)).created_at)
    values = {
        "workspace": webhook.workspace_id,
        "webhook": webhook.id,
        "since": since,
        "after": after or _BEFORE_ALL,
        "until": within.until,
        "now": now,
        "limit": limit,
    }
    found = (await db.execute(_REPLAY[within.which], values)).first()
    if found is None:
        return Replayed(0, None)
    announcing.deliver(db, webhook.workspace_id)
    return Replayed(found.n, found.id if found.n == limit else None)


async def replay_one(db: AsyncSession, webhook: Webhook, delivery_id: UUID, now: datetime) -> WebhookDelivery:
    """Send one again. The webhook is locked, and may rest no longer.

    Raises `NotFound`, and `Conflict` where the webhook is disabled or the delivery is on its way already.
    """
    await get(db, webhook.id, delivery_id)
    _wake(webhook, now)
    values = {
        "workspace": webhook.workspace_id,
        "webhook": webhook.id,
        "delivery": delivery_id,
        "now": now,
    }
    if (await db.execute(_REPLAY_ONE, values)).first() is None:
        raise Conflict("This delivery is on its way already: it is tried again by itself.")
    announcing.deliver(db, webhook.workspace_id)
    return await get(db, webhook.id, delivery_id)


def _wake(webhook: Webhook, now: datetime) -> None:
    """Somebody wants to know now whether it works: its rest ends, and a single try shows it.

    Raises `Conflict` where it is disabled.
    """
    if webhook.state != WebhookState.ENABLED:
        raise Conflict("This webhook is disabled, so nothing is sent to it: enable it first, by PATCH.")
    if webhook.rests_until is not None:
        webhook.rests_until = min(webhook.rests_until, now)
