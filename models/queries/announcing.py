"""Announce: what happened is written for every webhook that asks for it, in its own transaction.

Where no webhook of the workspace asks for the type, that is one look at a few rows. What is said of people is
announced by `models.queries.announced` alone, which notes whom it is about.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import text

from domain.announcements import Announcement, names
from domain.messages import Work
from domain.outboxes import announcements
from models.base import Db, changed
from models.queries import pokes

_ANNOUNCE = text(
    """
    insert into webhook_deliveries (workspace_id, webhook_id, event_type, body, created_at, due_at)
    select w.workspace_id, w.id, a.type, a.body, :now, :now
    from jsonb_to_recordset(cast(:announced as jsonb)) as a(nth int, type text, names text[], body text)
    join webhooks w on w.workspace_id = :workspace and w.state = 'enabled' and w.event_types && a.names
        and w.id is distinct from cast(:but as uuid)
    order by a.nth
    """
)


async def announce(
    db: Db, workspace_id: UUID, announced: Sequence[Announcement], now: datetime, but: UUID | None = None
) -> None:
    """Have these told to every webhook that asks for them, in their order, `but` one."""
    if not announced:
        return
    told = [
        {"nth": nth, "type": each.type, "names": names(each.type), "body": each.body(now)}
        for nth, each in enumerate(announced)
    ]
    values = {
        "workspace": workspace_id,
        "announced": orjson.dumps(told).decode(),
        "now": now,
        "but": but,
    }
    if await changed(db, _ANNOUNCE, values):
        deliver(db, workspace_id)


def deliver(db: Db, workspace_id: UUID) -> None:
    """Tell whoever delivers, once this transaction has committed, that there is something due."""
    pokes.poke(db, announcements(workspace_id), Work.DELIVER)


_LISTENED = text(
    """
    select distinct unnest(w.event_types) from webhooks w
    where w.workspace_id = :workspace and w.state = 'enabled'
    """
)


async def listened(db: Db, workspace_id: UUID) -> frozenset[str]:
    """What some webhook of the workspace asks for: types, groups (`message.*`), or `*`."""
    return frozenset((await db.execute(_LISTENED, {"workspace": workspace_id})).scalars())
