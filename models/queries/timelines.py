"""What happened to a person, of every kind, in one list: what they did, bought, allowed, and were sent."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from models.queries import amounts


class Kind(StrEnum):
    EVENT = "event"
    MESSAGE = "message"
    ORDER = "order"
    ENROLLMENT = "enrollment"
    CONSENT = "consent"
    NOTE = "note"


class Moment(NamedTuple):
    """Something that happened. `details` are the kind's own."""

    kind: str
    id: UUID
    at: datetime
    details: dict[str, Any]


_SELECTS = {
    Kind.EVENT: (
        "events t",
        "t.occurred_at",
        """'name', t.name, 'kind', t.kind, 'properties', t.properties, 'historical', t.historical,
            'received_at', t.received_at""",
    ),
    Kind.MESSAGE: (
        "messages t",
        "t.created_at",
        """'channel', t.channel, 'class', t.class, 'source_kind', t.source_kind, 'source_id', t.source_id,
            'step', t.step, 'state', t.state, 'reason', t.reason, 'fate', t.fate, 'address', t.address,
            'opened_at', t.opened_at, 'clicked_at', t.clicked_at, 'closed_at', t.closed_at""",
    ),
    Kind.ORDER: (
        "orders t",
        "t.ordered_at",
        f"""'key', t.key, 'total', {amounts.shown("t.total")}, 'currency', t.currency, 'quantity', t.quantity,
            'status', t.status, 'refunded', {amounts.shown("t.refunded")}""",
    ),
    Kind.ENROLLMENT: (
        "flows f join enrollments t on t.workspace_id = f.workspace_id and t.flow_id = f.id",
        "t.entered_at",
        """'flow_id', t.flow_id, 'flow', f.name, 'step', t.step, 'entry', t.entry, 'due_at', t.due_at,
            'ended_at', t.ended_at, 'outcome', t.outcome""",
    ),
    Kind.NOTE: ("profile_notes t", "t.at", "'text', t.text, 'author', t.author"),
}
_SAID = "'state', t.state, 'source', t.source, 'ended_at', t.ended_at"
# What holds and what held each have an index of their own.
_CONSENTS = [
    (table, "t.at", f"{about}, {_SAID}", f"and t.ended_at is {ended}")
    for table, about in (
        ("consents t", "'purpose', t.purpose"),
        (
            "topics o join topic_consents t on t.workspace_id = o.workspace_id and t.topic_id = o.id",
            "'purpose', o.purpose, 'topic_id', o.id, 'topic', o.name",
        ),
    )
    for ended in ("null", "not null")
]


def _branches(kind: Kind) -> list[str]:
    found = _CONSENTS if kind is Kind.CONSENT else [(*_SELECTS[kind], "")]
    return [
        f"""
        (select '{kind}' as kind, t.id, {at} as at, jsonb_build_object({details}) as details
        from {table}
        where t.workspace_id = :workspace and t.profile_id = any(cast(:people as uuid[])) {more}
            and ({at}, t.id) < (cast(:at as timestamptz), cast(:id as uuid))
        order by {at} desc, t.id desc limit :limit)
        """
        for table, at, details, more in found
    ]


_STATEMENTS = {kind: _branches(kind) for kind in Kind}
_ALL_OF_THEM = text(
    """
    select id from profiles where workspace_id = :workspace and id = :profile
    union all
    select id from profiles where workspace_id = :workspace and merged_into = :profile
    """
)


async def page(
    db: AsyncSession,
    workspace_id: UUID,
    profile_id: UUID,
    kinds: Collection[Kind],
    before: tuple[datetime, UUID],
    limit: int,
) -> Sequence[Moment]:
    """Up to `limit` moments before this one, the newest first, of the person and who was merged into them."""
    here: dict[str, Any] = {"workspace": workspace_id, "profile": profile_id}
    people = list(await db.scalars(_ALL_OF_THEM, here))
    branches = [branch for kind in Kind if kind in kinds for branch in _STATEMENTS[kind]]
    asked = f"select * from ({' union all '.join(branches)}) moments order by at desc, id desc limit :limit"
    values = here | {"people": people, "at": before[0], "id": before[1], "limit": limit}
    return [Moment(*row) for row in await db.execute(text(asked), values)]
