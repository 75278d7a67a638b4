"""What the rows of a file become: a batch is copied to a table of its own, and then moves as a set."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, cast
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.imports import CustomerLine, ImportKind, OrderLine, Refusal
from models.imports import Import
from models.queries import imported_customers, imported_orders, imports
from models.queries.imports import Stored

# One import at a time writes a workspace's people. The plans are pinned to index look-ups: a batch is small
# beside its tables, and a plan that was made when they were empty would be kept while they grow.
_UNWANTED = ("hashjoin", "mergejoin", "seqscan", "bitmapscan", "material")
_LOCK = text(
    "select pg_advisory_xact_lock(hashtextextended('people of ' || cast(:workspace as text), 0)), "
    + ", ".join(f"set_config('enable_{way}', 'off', true)" for way in _UNWANTED)
)


class Ready(NamedTuple):
    """Checked rows as COPY reads them, in the file's order."""

    data: bytes
    rows: int
    own_ids: bool = False  # Some orders have ids of their own.


def ready(kind: ImportKind, lines: Sequence[CustomerLine] | Sequence[OrderLine]) -> Ready:
    """Make checked rows ready to be stored, which can be done while the database is busy with others."""
    if kind is ImportKind.CUSTOMERS:
        people = cast("Sequence[CustomerLine]", lines)
        return Ready("".join(map(imported_customers.row, people)).encode(), len(lines))
    orders = cast("Sequence[OrderLine]", lines)
    data = "".join(map(imported_orders.row, orders)).encode()
    return Ready(data, len(lines), any(order.nth == 0 for order in orders))


async def lock(db: AsyncSession, workspace_id: UUID) -> None:
    """Nobody else's import writes in this workspace until the transaction ends."""
    await db.execute(_LOCK, {"workspace": str(workspace_id)})


async def fill(db: AsyncSession, kind: ImportKind, rows: Ready) -> None:
    """Hand rows to the database. They take effect by `store`, in the same transaction, under the `lock`."""
    if kind is ImportKind.CUSTOMERS:
        await imported_customers.fill(db, rows.data)
    else:
        await imported_orders.fill(db, rows.data)


async def store(db: AsyncSession, import_: Import, rows: Ready, now: datetime) -> Stored:
    """Let the rows take effect. The answer's `order_ids` are the new orders of a live import."""
    if import_.kind == ImportKind.CUSTOMERS:
        return await imported_customers.store(db, import_, rows.rows, now)
    return await imported_orders.store(db, import_, rows.rows, now, own_ids=rows.own_ids)


async def try_out(
    db: AsyncSession, import_: Import, rows: Ready, now: datetime, lines: tuple[int, int]
) -> tuple[Stored, list[Refusal]]:
    """What would become of the rows, which are of these lines: the counts, and what would be refused.

    Nothing stays of it. So what a row would add is not there for a later one of another batch.
    """
    await db.execute(text("savepoint tried"))
    stored = await store(db, import_, rows, now)
    refused = await imports.refused_between(db, import_.id, *lines)
    await db.execute(text("rollback to savepoint tried"))
    return stored._replace(order_ids=()), refused
