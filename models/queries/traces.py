"""What tables that are about something else hold of somebody's names: they are erased with the person.

These tables are no index's, and are kept for days: they are read from end to end.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.profiles import IdentityKind
from models.queries.profiles import HERE

_NAMED = "unnest(cast(:kinds as text[]), cast(:values as text[])) named (kind, value)"


def _quotes(column: str) -> str:
    """Whether a text holds an address in whatever case, or an id of theirs as a JSON string by itself."""
    return f"""
        exists (select from {_NAMED} where case
            when named.kind in ('{IdentityKind.EMAIL}', '{IdentityKind.PHONE}')
                then position(lower(named.value) in lower({column})) > 0
            else position('"' || named.value || '"' in {column}) > 0 end)
    """


def _names(row: str) -> str:
    """Whether something that came in is about them, as its JSON says."""
    return f"""
        exists (select from {_NAMED} where {row} ->> named.kind = named.value
            or {row} #>> '{{properties,previous_id}}' = named.value)
    """


_FORGET = [
    text(statement)
    for statement in (
        f"delete from quarantine q where q.workspace_id = {HERE} and {_names('q.arrival')}",
        f"""
        delete from refusals r
        where r.workspace_id = {HERE} and ({_quotes("r.body")} or {_quotes("r.reason")})
        """,
        f"""
        update rejected_rows r set reason = 'What it said was erased.'
        where r.workspace_id = {HERE} and {_quotes("r.reason")}
        """,
        # Whoever asks again is told that it was done, and not what was answered.
        f"""
        update idempotency_keys k set body = null, headers = '[]'
        where k.workspace_id = {HERE} and {_quotes("convert_from(k.body, 'UTF8')")}
        """,
    )
]
_MAY_READ_THE_INBOX = text("select has_table_privilege('inbox', 'delete')")
_FORGET_ARRIVALS = text(
    f"""
    delete from inbox i
    where i.workspace_id = {HERE} and {_names("to_jsonb(i)")}
    """
)


async def forget(db: AsyncSession, names: Sequence[tuple[IdentityKind, str]]) -> None:
    """Forget who goes by these names, wherever they are quoted; as the engine, in the inbox as well."""
    if not names:
        return
    values = {"kinds": [kind.value for kind, _ in names], "values": [value for _, value in names]}
    for statement in _FORGET:
        await db.execute(statement, values)
    if await db.scalar(_MAY_READ_THE_INBOX):
        await db.execute(_FORGET_ARRIVALS, values)
