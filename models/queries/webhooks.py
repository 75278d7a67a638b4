"""A workspace's webhooks, for those who set them up. `webhook_log.py` has what became of their deliveries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.errors import LockNotAvailable
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.deliveries import WAS_DISABLED
from domain.errors import Conflict, NotFound
from domain.webhooks import MOST
from models.queries import announcing, calls, workspaces
from models.webhooks import Webhook, WebhookState

COUNTED = 10_000  # More than these are not counted one by one.
BY_HAND = "It was disabled by hand."
_A_NEW_START: dict[str, Any] = {"failures": 0, "failing_since": None, "rests_until": None, "rests": 0}


async def create(db: AsyncSession, workspace_id: UUID, webhook_id: UUID, values: dict[str, Any]) -> Webhook:
    """`values` are columns of `models.webhooks.Webhook`, the secret sealed. Raises `Conflict` at too many."""
    await workspaces.get(db, workspace_id, lock=True)  # Two at once would both count the same.
    if (await db.scalar(select(func.count()).select_from(Webhook)) or 0) >= MOST:
        raise Conflict(f"A workspace has at most {MOST} webhooks: delete one that nobody needs.")
    made = Webhook(workspace_id=workspace_id, id=webhook_id, **values)
    db.add(made)
    await db.flush()
    await db.refresh(made)
    return made


async def page(db: AsyncSession, after: UUID | None, limit: int) -> Sequence[Webhook]:
    """The newest first."""
    asked = select(Webhook).order_by(Webhook.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(Webhook.id < after)
    return list(await db.scalars(asked))


async def get(db: AsyncSession, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """Locked when it is about to change. Raises `NotFound`."""
    asked = select(Webhook).where(Webhook.id == webhook_id)
    # Whoever writes a delivery for it goes on meanwhile.
    found = await db.scalar(asked.with_for_update(key_share=True) if lock else asked)
    if found is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return found


_PENDING = text(
    f"""
    select a.id, p.n from unnest(cast(:webhooks as uuid[])) a(id), lateral (
        select count(*) as n from (
            select from webhook_deliveries d
            where d.workspace_id = :workspace and d.webhook_id = a.id and d.state = 'pending'
            limit {COUNTED}
        ) few
    ) p
    """
)


async def pending(db: AsyncSession, workspace_id: UUID, webhook_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many deliveries of each are on their way; `COUNTED` stands for that many and more."""
    counted = await db.execute(_PENDING, {"workspace": workspace_id, "webhooks": [*webhook_ids]})
    return {row.id: row.n for row in counted}


async def change(db: AsyncSession, webhook: Webhook, values: dict[str, Any], now: datetime) -> None:
    """Write these columns of a webhook that is locked.

    Enabled again, or led to another address, it starts anew. Disabled, it gets nothing more: what was on its
    way failed, and can be replayed.
    """
    state, url = values.get("state", webhook.state), values.get("url", webhook.url)
    enabled, disabled = (
        state != webhook.state and state == wanted for wanted in (WebhookState.ENABLED, WebhookState.DISABLED)
    )
    if enabled or url != webhook.url:
        values = {**values, **_A_NEW_START}
        announcing.deliver(db, webhook.workspace_id)
    if enabled:
        values |= {"disabled_reason": None, "disabled_at": None, "alerted_at": None}
    if disabled:
        values = {**values, "disabled_reason": BY_HAND, "disabled_at": now}
        await _give_up(db, webhook, now)
    await _write(db, webhook, values)


_GIVE_UP = text(
    """
    with done as (
        select d.id from webhook_deliveries d
        where d.workspace_id = :workspace and d.webhook_id = :webhook and d.state = 'pending'
        for update skip locked
    )
    update webhook_deliveries d set state = 'failed', closed_at = :now, reason = :reason, attempt = null,
        leased_until = null
    from done where d.workspace_id = :workspace and d.id = done.id
    """
)


async def _give_up(db: AsyncSession, webhook: Webhook, now: datetime) -> None:
    """Those of which somebody writes down at this moment what came of them are closed by the deliverer."""
    values = {"workspace": webhook.workspace_id, "webhook": webhook.id, "now": now, "reason": WAS_DISABLED}
    await db.execute(_GIVE_UP, values)
    announcing.deliver(db, webhook.workspace_id)


async def rotate(db: AsyncSession, webhook: Webhook, secret: str, until: datetime | None) -> None:
    """Sign by this secret, which is sealed, and until then by the one before, too. The webhook is locked."""
    old = webhook.secret if until is not None else None
    await _write(db, webhook, {"secret": secret, "old_secret": old, "old_secret_until": until})


async def _write(db: AsyncSession, webhook: Webhook, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(webhook, name, value)
    webhook.updated_at = func.clock_timestamp()
    await db.flush()
    await db.refresh(webhook)


# Below the time after which PostgreSQL looks for a deadlock: the deliverer, who locks deliveries before their
# webhook, is not the one to fail.
_PATIENCE = text("set local lock_timeout = '800ms'")


async def delete(db: AsyncSession, webhook: Webhook) -> None:
    """And its log with it. The webhook is locked.

    Raises `Conflict` while others are busy with it, or a flow may still call it.
    """
    await db.execute(_PATIENCE)
    try:
        # A flow that is being published holds it, and is seen after that.
        await db.execute(select(Webhook.id).where(Webhook.id == webhook.id).with_for_update())
        for _, name in await calls.flows_calling(db, webhook.id):
            raise Conflict(
                f'The flow "{name}" calls this webhook: archive it, or publish it without the call and wait '
                "until nobody is under way in the version before."
            )
        await db.delete(webhook)
        await db.flush()
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise Conflict("It is being told something at this very moment: try again in a second.") from None
        raise
