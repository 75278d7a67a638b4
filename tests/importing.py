"""What tests of imports begin with: a file, the activity that reads it, and what is there afterwards."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities.imports import ImportActivities, ImportRun, ImportSlice
from domain.imports import ImportKind
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import imports
from tests.support import GivenClock

Refused = list[tuple[int, str, str]]


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def uploaded(
    sessions: Sessions,
    kind: str,
    data: bytes | str,
    *,
    live: bool = False,
    chunk: int = 1000,
    wishes: imports.Wishes | None = None,
) -> ImportRun:
    """A file in chunks of so many bytes, waiting to be imported."""
    data = data.encode() if isinstance(data, str) else data
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = await imports.upload(
            db,
            DEFAULT_WORKSPACE,
            ImportKind(kind),
            f"{kind}.csv",
            pieces(data, chunk),
            live=live,
            wishes=wishes,
        )
    return ImportRun(DEFAULT_WORKSPACE, row.id)


async def loaded(
    sessions: Sessions, run: ImportRun, clock: GivenClock | None = None, batch: int = 10_000
) -> ImportSlice:
    """Run the activity once, which for a small file is the whole import."""
    load = ImportActivities(sessions, clock or GivenClock(), batch=batch).load
    done = await ActivityEnvironment().run(load, run)
    assert isinstance(done, ImportSlice)
    return done


async def imported(
    sessions: Sessions, kind: str, data: bytes | str, *, live: bool = False, batch: int = 10_000
) -> ImportSlice:
    """Upload and import a file."""
    return await loaded(sessions, await uploaded(sessions, kind, data, live=live), batch=batch)


def counts(done: ImportSlice) -> tuple[int, int, int]:
    """Imported, unchanged, rejected; they add up."""
    assert done.rows == done.imported + done.unchanged + done.rejected
    return done.imported, done.unchanged, done.rejected


async def refused(sessions: Sessions, import_id: UUID) -> Refused:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [(row.line, row.column, row.reason) for row in await imports.refusals(db, import_id, 0, 1000)]


async def asked(sessions: Sessions, statement: str) -> list[tuple[Any, ...]]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [tuple(row) for row in await db.execute(text(statement))]


PEOPLE = """
    select coalesce(u.value, '-'), e.value, p.time_zone, p.attributes, p.updated_at,
        (select array_agg(array[purpose, state, source] order by purpose, at, state) from consents c
            where c.profile_id = p.id and c.ended_at is null),
        (select count(*) from consents c where c.profile_id = p.id and c.ended_at is not null),
        (select array_agg(n.value order by n.value) from identities n
            where n.profile_id = p.id and not n.is_primary)
    from profiles p
    left join identities u on u.profile_id = p.id and u.kind = 'user_id'
    left join identities e on e.profile_id = p.id and e.kind = 'email' and e.is_primary
    order by 1, 2
"""
ORDERS = """
    select o.key, u.value, o.ordered_at, o.quantity, o.total, o.currency
    from orders o join identities u on u.profile_id = o.profile_id and u.kind = 'user_id' order by o.key
"""
ROLLUPS = """
    select u.value, r.currency, r.total, r.count, r.first_at, r.last_at
    from order_rollups r join identities u on u.profile_id = r.profile_id and u.kind = 'user_id' order by 1, 2
"""
LEFT_OVERS = "select (select count(*) from import_chunks), (select count(*) from import_keys)"


async def everything(sessions: Sessions) -> list[list[tuple[Any, ...]]]:
    """All that imports brought, without the ids."""
    reports = 'select line, "column", reason from rejected_rows order by 1, 2, 3'
    totals = (
        "select state, rows, imported, unchanged, rejected, position, line, size from imports order by id"
    )
    return [await asked(sessions, what) for what in (PEOPLE, ORDERS, ROLLUPS, reports, totals, LEFT_OVERS)]
