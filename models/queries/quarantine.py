"""What the pump put aside: to read, and to be tried again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from models.events import Quarantined

MOST = 10_000  # Of one replay.


@dataclass(frozen=True)
class Asked:
    """Which of them; None asks for all."""

    kind: str | None = None
    name: str | None = None
    since: datetime | None = None  # Put aside then or later.
    replayed: bool = False


async def page(db: AsyncSession, asked: Asked, after: UUID | None, limit: int) -> Sequence[Quarantined]:
    """Up to `limit` of them, the last to arrive first, beyond the one with the id `after`."""
    which = [
        Quarantined.arrival["kind"].astext == asked.kind if asked.kind is not None else None,
        Quarantined.arrival["name"].astext == asked.name if asked.name is not None else None,
        Quarantined.at >= asked.since if asked.since is not None else None,
        Quarantined.replayed_at.is_not(None) if asked.replayed else Quarantined.replayed_at.is_(None),
        Quarantined.id < after if after is not None else None,
    ]
    found = select(Quarantined).where(*(each for each in which if each is not None))
    return list(await db.scalars(found.order_by(Quarantined.id.desc()).limit(limit)))


async def waiting(db: AsyncSession, id_: UUID) -> Quarantined:
    """One that was not replayed yet. Raises `NotFound`, and `Conflict` for one that was."""
    row = await db.scalar(select(Quarantined).where(Quarantined.id == id_))
    if row is None:
        raise NotFound(f"Nothing in quarantine has the id {id_}.")
    if row.replayed_at is not None:
        raise Conflict("It was replayed already. If it failed again, it is here under another id.")
    return row


async def which(db: AsyncSession, asked: Asked) -> list[UUID]:
    """The ids of those that were not replayed yet, the oldest first, `MOST` at most."""
    values = {"kind": asked.kind, "name": asked.name, "since": asked.since, "most": MOST}
    return list((await db.execute(_WHICH, values)).scalars())


async def replay(db: AsyncSession, workspace_id: UUID, ids: Sequence[UUID], now: datetime) -> list[UUID]:
    """Write them into the inbox anew, in their order, each once; as the engine, which alone may write there.

    Returns the ids that they have there: their old ones lie before what came in since, and the pump goes on
    from where it is. A message id that only they had used is free again, or they would pass for repeated.
    """
    values = {"workspace": workspace_id, "ids": [*ids], "now": now}
    return list((await db.execute(_REPLAY, values)).scalars())


_WHICH = text(
    """
    select id from quarantine
    where replayed_at is null
        and (cast(:kind as text) is null or arrival ->> 'kind' = :kind)
        and (cast(:name as text) is null or arrival ->> 'name' = :name)
        and (cast(:since as timestamptz) is null or at >= :since)
    order by id limit :most
    """
)
_REPLAY = text(
    """
    with free as (
        update quarantine set replayed_at = :now
        where workspace_id = :workspace and id = any(:ids) and replayed_at is null
        returning id, arrival
    ), forgotten as (
        delete from seen s using free f
        where s.workspace_id = :workspace and s.message_id = concat(
                case when f.arrival ->> 'trusted' = 'true' then 's ' else 'p ' end,
                f.arrival ->> 'message_id')
            and s.at = (f.arrival ->> 'received_at')::timestamptz
    ), anew as (
        select jsonb_populate_record(null::inbox, f.arrival || jsonb_build_object(
            'id', uuidv7(), 'received_at', cast(:now as timestamptz), 'workspace_id', cast(:workspace as uuid)
        )) as row
        from (select * from free order by id) f
    )
    insert into inbox select (row).* from anew
    returning id
    """
)
