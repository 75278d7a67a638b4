"""Imports at work: read a piece of the file, store its rows, and write down how far that went, at once.

While PostgreSQL stores one batch, the next is read and checked, in a thread. Where to go on is in the
import's row: a worker that finds it moved by somebody else leaves it to them.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import NamedTuple
from uuid import UUID

from temporalio import activity

from activities.slices import Hourglass, heartbeating
from domain.clock import Clock
from domain.csv_rows import BLOCK, read_header, read_piece
from domain.errors import Invalid
from domain.imports import (
    CustomerReader,
    ImportKind,
    ImportState,
    Layout,
    OrderReader,
    Refusal,
)
from models.base import Sessions
from models.imports import Import
from models.queries import enrollments, imported, imports, workspaces
from models.workspaces import Workspace

BATCH = 10_000  # Rows at most; a piece of the file holds fewer when they are long.


@dataclass(frozen=True)
class ImportRun:
    """An import. The workspace comes first in every input: it opens the wall."""

    workspace_id: UUID
    import_id: UUID


@dataclass(frozen=True)
class ImportSlice:
    """How far an import is, its counts since the beginning."""

    state: ImportState
    kind: ImportKind
    file_name: str
    live: bool
    rows: int
    imported: int
    unchanged: int
    rejected: int
    bytes_done: int
    bytes_total: int
    reason: str | None

    @classmethod
    def of(cls, row: Import) -> "ImportSlice":
        return cls(
            ImportState(row.state),
            ImportKind(row.kind),
            row.file_name,
            row.live,
            row.rows,
            row.imported,
            row.unchanged,
            row.rejected,
            row.position,
            row.size,
            row.reason,
        )

    @property
    def over(self) -> bool:
        return self.state in (ImportState.COMPLETED, ImportState.FAILED)

    @property
    def percent(self) -> int:
        return 100 * self.bytes_done // self.bytes_total if self.bytes_total else 0


class Place(NamedTuple):
    """Where in the file the next row begins."""

    position: int  # Bytes.
    line: int  # The file's first is 1.


class Batch(NamedTuple):
    """Rows that were read together, and the places around them."""

    begin: Place
    end: Place
    ready: imported.Ready
    refusals: list[Refusal]

    @property
    def rows(self) -> int:
        return self.ready.rows + len(self.refusals)


class ImportActivities:
    def __init__(self, sessions: Sessions, clock: Clock, seconds: float = 15, batch: int = BATCH) -> None:
        """`seconds` is how long a slice works, apart from the batch in hand; `batch` its rows at most."""
        self.sessions = sessions
        self.clock = clock
        self.seconds = seconds
        self.batch = batch

    @activity.defn(name="load_import")
    async def load(self, run: ImportRun) -> ImportSlice:
        """Import rows until the slice or the file is over. A second run goes on where the first one was."""
        glass = Hourglass(self.seconds)
        async with heartbeating():
            row, file, workspace = await self._begin(run)
            if ImportSlice.of(row).over:
                return ImportSlice.of(row)
            try:
                layout, place = await self._header(run, row, file)
            except Invalid as refusal:
                return await self._fail(run, refusal.message)
            reader = layout.reader(workspace.time_zone, workspace.currency, self.clock.now())
            coming = asyncio.create_task(self._read(run, file, place, layout, reader))
            try:
                while True:
                    batch = await coming
                    if batch.end.position < file.size:
                        coming = asyncio.create_task(self._read(run, file, batch.end, layout, reader))
                    done = await self._store(run, batch, file.size)
                    if done is None or done.over or glass.over:
                        return done or await self._stand(run)
            finally:
                coming.cancel()
                await asyncio.wait([coming])

    async def _begin(self, run: ImportRun) -> tuple[Import, imports.File, Workspace]:
        async with self.sessions(run.workspace_id) as db:
            row = await imports.get(db, run.import_id)
            file = await imports.File.of(db, run.import_id)
            return row, file, await workspaces.get(db, run.workspace_id)

    async def _header(self, run: ImportRun, row: Import, file: imports.File) -> tuple[Layout, Place]:
        """What the file's columns say, and where to go on. Raises `Invalid`."""
        kind = ImportKind(row.kind)
        if row.columns:
            return Layout.of(kind, row.columns["names"], row.columns["delimiter"]), Place(
                row.position, row.line + 1
            )
        async with self.sessions(run.workspace_id) as db:
            data = await file.read(db, 0, BLOCK)
        try:
            names, delimiter, size, lines = read_header(data)
        except ValueError as error:
            raise Invalid(str(error)) from error
        layout = Layout.of(kind, names, delimiter)
        async with self.sessions(run.workspace_id) as db:
            now = await imports.locked(db, run.import_id)
            if now.state == ImportState.UPLOADED:
                await imports.move(
                    db,
                    now,
                    state=ImportState.RUNNING,
                    columns={"names": list(layout.names), "delimiter": delimiter},
                    position=size,
                    line=lines,
                    updated_at=self.clock.now(),
                )
        return layout, Place(size, lines + 1)

    async def _fail(self, run: ImportRun, reason: str) -> ImportSlice:
        async with self.sessions(run.workspace_id) as db:
            row = await imports.locked(db, run.import_id)
            values = {"state": ImportState.FAILED, "reason": reason, "updated_at": self.clock.now()}
            await imports.move(db, row, **values)
            await imports.forget_file(db, run.import_id)
        return replace(ImportSlice.of(row), state=ImportState.FAILED, reason=reason)

    async def _stand(self, run: ImportRun) -> ImportSlice:
        async with self.sessions(run.workspace_id) as db:
            return ImportSlice.of(await imports.get(db, run.import_id))

    async def _read(
        self,
        run: ImportRun,
        file: imports.File,
        at: Place,
        layout: Layout,
        reader: CustomerReader | OrderReader,
    ) -> Batch:
        async with self.sessions(run.workspace_id) as db:
            data = await file.read(db, at.position, BLOCK)
            last = at.position + len(data) >= file.size
            batch, skip_line = await asyncio.to_thread(check, data, at, layout, reader, last, self.batch)
            while skip_line:
                position = batch.end.position
                if position >= file.size:
                    break
                # One byte earlier: a CR at the end of what was read may be half of a CRLF.
                data = await file.read(db, position - 1, BLOCK)
                end = min(
                    (found for found in (data.find(b"\n"), data[:-1].find(b"\r")) if found >= 0), default=-1
                )
                if end >= 0:
                    end += 2 if data[end : end + 2] == b"\r\n" else 1
                    skip_line = False
                position = position - 1 + (end if end >= 0 else len(data))
                batch = batch._replace(end=Place(position, batch.end.line))
        return batch

    async def _store(self, run: ImportRun, batch: Batch, size: int) -> ImportSlice | None:
        """Store a batch and where it ends, in one transaction. None when somebody else has done so."""
        async with self.sessions(run.workspace_id) as db:
            now = self.clock.now()
            await imported.prepare(db, run.workspace_id)
            row = await imports.locked(db, run.import_id)
            if row.state != ImportState.RUNNING or row.position != batch.begin.position:
                return None
            stored = await imported.store(db, row, batch.ready, now)
            await imports.refuse(db, row, batch.refusals)
            if stored.order_ids:
                await enrollments.enter_by_orders(db, run.workspace_id, stored.order_ids, now)
            done = batch.end.position >= size
            after = replace(
                ImportSlice.of(row),
                state=ImportState.COMPLETED if done else ImportState.RUNNING,
                rows=row.rows + batch.rows,
                imported=row.imported + stored.imported,
                unchanged=row.unchanged + stored.unchanged,
                rejected=row.rejected + stored.rejected + len(batch.refusals),
                bytes_done=batch.end.position,
            )
            await imports.move(
                db,
                row,
                state=after.state,
                position=batch.end.position,
                line=batch.end.line - 1,
                rows=after.rows,
                imported=after.imported,
                unchanged=after.unchanged,
                rejected=after.rejected,
                updated_at=now,
            )
            if done:
                await imports.forget_file(db, run.import_id)
        return after


def check(
    data: bytes,
    at: Place,
    layout: Layout,
    reader: CustomerReader | OrderReader,
    last: bool,
    most: int = BATCH,
) -> tuple[Batch, bool]:
    """Read and check the rows at the beginning of `data`.

    Also says whether the rest of the line behind them is to be skipped.
    """
    piece = read_piece(data, line=at.line, delimiter=layout.delimiter, last=last, most=most)
    lines, refusals = reader.read(piece.rows, piece.clean)
    refusals += [Refusal(line, layout.name(cell), f"{reason}.") for line, cell, reason in piece.unreadable]
    end = Place(at.position + piece.size, at.line + piece.lines)
    return Batch(at, end, imported.ready(layout.kind, lines), refusals), piece.skip_line
