"""All that we hold on one person, table by table, as JSON: what the law lets them ask for."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from models.queries import amounts
from models.queries.profiles import HERE

PAGE = 1000  # Rows of one table that are read at once.

_THEIRS = "t.profile_id = any(cast(:people as uuid[]))"


def _as_text(money: str) -> str:
    """The SQL that says these columns as `domain.money.shown` does."""
    said = ", ".join(f"'{column}', {amounts.shown(f't.{column}')}" for column in money.split())
    return f" || jsonb_build_object({said})" if said else ""


def _rows(table: str, which: str = _THEIRS, less: str = "", money: str = "") -> TextClause:
    """A page of the table's rows, by their ids, without the columns that say nothing of the person."""
    gone = ", ".join(f"'{column}'" for column in ("workspace_id", *less.split()))
    return text(
        f"""
        select t.id, (to_jsonb(t) - array[{gone}]{_as_text(money)})::text as json from {table} t
        where t.workspace_id = {HERE} and {which} and t.id > :after order by t.id limit :limit
        """
    )


def _all(table: str, order: str, money: str = "") -> TextClause:
    """All rows of a table that has no ids, and not many of one person: they come at once."""
    return text(
        f"""
        select null::uuid as id, (to_jsonb(t) - 'workspace_id'{_as_text(money)})::text as json from {table} t
        where t.workspace_id = {HERE} and {_THEIRS} order by {order}
        """
    )


_OF_THEIR_MESSAGES = """
    t.message_id in (select m.id from messages m
        where m.workspace_id = t.workspace_id and m.profile_id = any(cast(:people as uuid[])))
"""
_THEIR_ADDRESSES = """
    t.address_hash in (select sha256(convert_to(i.value, 'UTF8')) from identities i
        where i.workspace_id = t.workspace_id and i.profile_id = any(cast(:people as uuid[])))
"""
SECTIONS: Mapping[str, TextClause] = {
    "profiles": _rows("profiles", "t.id = any(cast(:people as uuid[]))"),
    "identities": _all("identities", "t.kind, t.value"),
    "consents": _rows("consents"),
    "topic_consents": _rows("topic_consents"),
    "suppressions": _rows("suppressions", _THEIR_ADDRESSES, "address_hash"),
    "tags": _all("profile_tags", "t.tag"),
    "notes": _rows("profile_notes"),
    "lists": _all("list_members", "t.list_id"),
    "segments": _all("segment_members", "t.segment_id"),
    "orders": _rows("orders", money="total refunded"),
    "order_totals": _all("order_rollups", "t.currency", "total"),
    "events": _rows("events"),
    "enrollments": _rows("enrollments"),
    "messages": _rows("messages", less="queue_id attempt reconcile_at"),
    "message_events": _rows("message_events", _OF_THEIR_MESSAGES),
}

_PEOPLE = text(
    f"""
    select id from profiles where workspace_id = {HERE} and id = :profile
    union all
    select id from profiles where workspace_id = {HERE} and merged_into = :profile
    """
)


async def people(db: AsyncSession, profile_id: UUID) -> Sequence[UUID]:
    """A profile that is not merged, and those that were merged into it."""
    return list(await db.scalars(_PEOPLE, {"profile": profile_id}))


async def rows(
    db: AsyncSession, section: str, people_: Sequence[UUID], after: UUID
) -> Sequence[tuple[UUID | None, str]]:
    """Up to `PAGE` rows of a section beyond `after`: the id of each, if it has one, and its JSON."""
    values = {"people": list(people_), "after": after, "limit": PAGE}
    return [(row.id, row.json) for row in await db.execute(SECTIONS[section], values)]
