"""What becomes of messages is announced: how sending ended, what providers report, what readers do."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from domain.announcements import AnnouncementType, written
from domain.messages import Fate, Interaction, MessageState
from models.base import HERE, Db
from models.queries.announced import asked, tell, telling, who

_T = AnnouncementType

ENDS = {
    MessageState.ACCEPTED: _T.MESSAGE_ACCEPTED,
    MessageState.FAILED: _T.MESSAGE_FAILED,
    MessageState.SKIPPED: _T.MESSAGE_SKIPPED,
    MessageState.UNKNOWN: _T.MESSAGE_UNKNOWN,
}
_FATES = {
    Fate.DEFERRED: _T.MESSAGE_DEFERRED,
    Fate.SOFT_BOUNCE: _T.MESSAGE_BOUNCED,
    Fate.DELIVERED: _T.MESSAGE_DELIVERED,
    Fate.READ: _T.MESSAGE_READ,
    Fate.FAILED: _T.MESSAGE_FAILED,
    Fate.HARD_BOUNCE: _T.MESSAGE_BOUNCED,
    Fate.COMPLAINED: _T.MESSAGE_COMPLAINED,
}
_BOUNCES = {Fate.SOFT_BOUNCE: "soft", Fate.HARD_BOUNCE: "hard"}
READS = {
    Interaction.OPENED: _T.MESSAGE_OPENED,
    Interaction.CLICKED: _T.MESSAGE_CLICKED,
    Interaction.UNSUBSCRIBED: _T.MESSAGE_UNSUBSCRIBED,
}


class Said(NamedTuple):
    """That something became of a message. `more` is what its data has beside the usual."""

    id: UUID
    type: AnnouncementType
    more: Mapping[str, Any] = {}


# A browser's subscription holds the keys that write to it; only its host is told.
_ADDRESS = """
    case m.channel when 'push' then substring(m.address from '"endpoint" *: *"https?://([^/:"?]+)')
        else left(m.address, 4000) end
"""
DATA = f"""
    jsonb_build_object(
        'message_id', m.id, 'channel', m.channel, 'message_class', m.class,
        'source', jsonb_build_object('kind', m.source_kind, 'id', m.source_id,
            'name', left(case m.source_kind when 'campaign' then c.name when 'flow' then f.name end, 1000)),
        'step', left(m.step, 200), 'profile_id', who.id, 'user_id', yours.value, 'address', {_ADDRESS},
        'provider_id', m.provider, 'provider_message_id', left(m.provider_id, 1000),
        'state', m.state, 'fate', m.fate, 'reason', left(m.reason, 4000),
        'attempts', m.attempts, 'resend', m.resend, 'corrected', false, 'at', cast(:at as text)
    )
"""
JOINED = f"""
    left join campaigns c
        on m.source_kind = 'campaign' and c.workspace_id = m.workspace_id and c.id = m.source_id
    left join flows f on m.source_kind = 'flow' and f.workspace_id = m.workspace_id and f.id = m.source_id
    {who("m.profile_id")}
"""
# What was closed before was unknown until now.
_TELL = telling(
    f"""
    select s.nth, s.type, {DATA} || s.more || case when s.late and m.closed_at <> cast(:now as timestamptz)
        then jsonb_build_object('corrected', true) else '{{}}' end as data
    from jsonb_to_recordset(cast(:said as jsonb)) as s(nth int, id uuid, type text, more jsonb, late boolean)
    join messages m on m.workspace_id = {HERE} and m.id = s.id
    {JOINED}
    """
)


async def tell_of(db: Db, said: Iterable[Said], now: datetime, *, late: bool = False) -> int:
    """Announce what became of messages. `late`: those that were closed at another moment were unknown."""
    every = [*said]
    if not every:
        return 0
    wanted = await asked(db, *{each.type for each in every})
    rows = [
        {"nth": nth, "id": each.id, "type": each.type, "more": each.more, "late": late}
        for nth, each in enumerate(every)
        if each.type in wanted
    ]
    return await tell(db, _TELL, now, {"said": orjson.dumps(rows).decode()}) if rows else 0


async def ended(db: Db, states: Mapping[UUID, MessageState], now: datetime, *, late: bool = False) -> int:
    """Announce how sending ended for these; who is queued again is not told of.

    `late`: those whose end was known at another moment were unknown until now.
    """
    # Of a thousand who are told of nowhere, nothing is made but this set.
    ends = {*states.values()} & ENDS.keys()
    wanted = await asked(db, *map(ENDS.__getitem__, ends)) if ends else ()
    told = (Said(id_, ENDS[state]) for id_, state in states.items() if ENDS.get(state) in wanted)
    return await tell_of(db, told, now, late=late)


async def skipped(db: Db, ids: Sequence[UUID], now: datetime) -> int:
    return await ended(db, dict.fromkeys(ids, MessageState.SKIPPED), now)


def of_fate(id_: UUID, fate: Fate) -> Said:
    """That a provider reported this."""
    return Said(id_, _FATES[fate], {"bounce": _BOUNCES[fate]} if fate in _BOUNCES else {})


def of_reading(
    id_: UUID, kind: Interaction, at: datetime, link: str | None = None, *, machine: bool = False
) -> Said:
    """That a reader, or a program, did this."""
    return Said(id_, READS[kind], {"link": link and link[:4000], "machine": machine, "at": written(at)})
