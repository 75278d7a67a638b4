"""Imports: the file in chunks, how far it was read, and the rows that were refused.

What the rows become is in `models.queries.imported`.
"""

from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.imports import ImportFormat, ImportKind, ImportState, Refusal
from models.imports import Import, ImportChunk, ImportKey, RejectedRow

CHUNK = 1024 * 1024  # Bytes.


class Stored(NamedTuple):
    """What became of rows that could be read."""

    imported: int  # Rows that changed something.
    unchanged: int
    rejected: int
    order_ids: Sequence[UUID] = ()  # Of the new orders, for those who asked.


@dataclass(frozen=True)
class Wishes:
    """How a file is to be read, and what for."""

    format: ImportFormat = ImportFormat.CSV
    mapping: dict[str, str | None] | None = None  # domain.imports.Meaning
    dry_run: bool = False  # Only the report.
    list_id: UUID | None = None  # The list that its people are put on.


async def upload(
    db: AsyncSession,
    workspace_id: UUID,
    kind: ImportKind,
    file_name: str,
    chunks: AsyncIterable[bytes],
    *,
    live: bool,
    wishes: Wishes | None = None,
) -> Import:
    """Keep a file for its import. Nobody sees it before the transaction commits: it is never half a file."""
    values = {"workspace_id": workspace_id, "kind": kind, "file_name": file_name, "live": live}
    values |= asdict(wishes or Wishes())
    row = (await db.scalars(insert(Import).values(**values).returning(Import))).one()
    size = number = 0
    async for data in chunks:
        await db.execute(
            insert(ImportChunk).values(workspace_id=workspace_id, import_id=row.id, number=number, data=data)
        )
        number, size = number + 1, size + len(data)
    await db.execute(update(Import).where(Import.id == row.id).values(size=size))
    await db.refresh(row)
    return row


async def get(db: AsyncSession, import_id: UUID) -> Import:
    """Raises `NotFound`."""
    row = await db.scalar(select(Import).where(Import.id == import_id))
    if row is None:
        raise NotFound(f"There is no import {import_id}.")
    return row


async def page(db: AsyncSession, after: UUID | None, limit: int) -> list[Import]:
    """Up to `limit` imports, the newest first, beyond the one with the id `after`."""
    asked = select(Import).order_by(Import.id.desc()).limit(limit)
    return list(await db.scalars(asked if after is None else asked.where(Import.id < after)))


async def refusals(db: AsyncSession, import_id: UUID, after: int, limit: int) -> list[RejectedRow]:
    """Up to `limit` refused rows in the file's order, beyond line `after`. A line has one reason."""
    asked = (
        select(RejectedRow)
        .where(RejectedRow.import_id == import_id, RejectedRow.line > after)
        .order_by(RejectedRow.line)
        .limit(limit)
    )
    return list(await db.scalars(asked))


async def forgotten(db: AsyncSession, before: datetime) -> list[Import]:
    """Imports of any workspace whose file is here and that stand still since `before`; as the engine.

    The API starts the workflow right after it has committed the file; these are the ones whose API died
    in between, or found no Temporal, and those whose workflow somebody ended by hand. Starting one that is
    under way does nothing.
    """
    open_ = (ImportState.UPLOADED, ImportState.RUNNING)
    asked = select(Import).where(Import.state.in_(open_), Import.updated_at < before)
    return list(await db.scalars(asked.order_by(Import.updated_at).limit(100)))


async def refused_between(db: AsyncSession, import_id: UUID, first: int, last: int) -> list[Refusal]:
    """The refused rows of these lines, the last included."""
    asked = select(RejectedRow).where(
        RejectedRow.import_id == import_id, RejectedRow.line >= first, RejectedRow.line <= last
    )
    return [Refusal(row.line, row.column, row.reason) for row in await db.scalars(asked)]


async def locked(db: AsyncSession, import_id: UUID) -> Import:
    """The import, and no other transaction's turn until this one ends. Raises `NotFound`."""
    asked = select(Import).where(Import.id == import_id).with_for_update()
    row = await db.scalar(asked.execution_options(populate_existing=True))
    if row is None:
        raise NotFound(f"There is no import {import_id}.")
    return row


async def move(db: AsyncSession, import_: Import, **values: Any) -> None:
    """Write how far the import is; in the same transaction as the rows that took it there."""
    await db.execute(
        update(Import)
        .where(Import.id == import_.id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


async def forget_file(db: AsyncSession, import_id: UUID) -> None:
    """Remove what only an import under way needs."""
    await db.execute(delete(ImportChunk).where(ImportChunk.import_id == import_id))
    await db.execute(delete(ImportKey).where(ImportKey.import_id == import_id))


async def refuse(db: AsyncSession, import_: Import, rows: Iterable[Refusal]) -> None:
    """Note refused rows, for the report."""
    listed = [{"line": row.line, "column": row.column, "reason": row.reason} for row in rows]
    if listed:
        values = {
            "workspace": import_.workspace_id,
            "import": import_.id,
            "rows": orjson.dumps(listed).decode(),
        }
        await db.execute(_REFUSE, values)


_REFUSE = text(
    """
    insert into rejected_rows (workspace_id, import_id, line, "column", reason)
    select :workspace, :import, line, "column", reason
    from jsonb_to_recordset(cast(:rows as jsonb)) as given(line int, "column" text, reason text)
    """
)


class File:
    """The bytes of an upload, read from wherever they are wanted. Holds two chunks at most."""

    def __init__(self, import_id: UUID, starts: Sequence[int], size: int) -> None:
        self._import_id, self._starts, self.size = import_id, starts, size
        self._held: dict[int, bytes] = {}

    @classmethod
    async def of(cls, db: AsyncSession, import_id: UUID) -> "File":
        lengths = await db.execute(
            select(func.octet_length(ImportChunk.data))
            .where(ImportChunk.import_id == import_id)
            .order_by(ImportChunk.number)
        )
        starts, size = [], 0
        for (length,) in lengths:
            starts.append(size)
            size += length
        return cls(import_id, starts, size)

    async def read(self, db: AsyncSession, position: int, most: int) -> bytes:
        """The next `most` bytes, or all that is left."""
        end = min(position + most, self.size)
        numbers = [
            number
            for number, start in enumerate(self._starts)
            if start < end
            and position < (self._starts[number + 1] if number + 1 < len(self._starts) else self.size)
        ]
        self._held = {number: data for number, data in self._held.items() if number in numbers}
        parts = []
        for number in numbers:
            if number not in self._held:
                self._held[number] = await self._fetch(db, number)
            start = self._starts[number]
            parts.append(self._held[number][max(position - start, 0) : end - start])
        return b"".join(parts)

    async def _fetch(self, db: AsyncSession, number: int) -> bytes:
        asked = select(ImportChunk.data).where(
            ImportChunk.import_id == self._import_id, ImportChunk.number == number
        )
        return (await db.scalars(asked)).one()
