"""Imports at work: read a piece of the file, store its rows, and write down how far that went, at once.

While PostgreSQL stores one batch, the next is read, checked (in a thread) and copied to a table of its own,
where it waits for its turn. Where to go on is in the import's row: a worker that finds it moved by somebody
else leaves it to them.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypedDict, cast
from uuid import UUID

from temporalio import activity

from activities.slices import Hourglass, heartbeating
from domain.clock import Clock
from domain.csv_rows import BLOCK, Piece, read_header, read_piece
from domain.errors import Invalid
from domain.import_rows import CustomerReader, OrderReader, reader
from domain.imports import ImportFormat, ImportKind, ImportState, Layout, Meaning, Refusal
from domain.json_rows import Objects, begin
from domain.remedies import of_import
from models.base import Sessions
from models.imports import Import
from models.queries import (
    announced_states,
    failures,
    happenings,
    imported,
    imported_customers,
    imports,
    workspaces,
)
from models.workspaces import Workspace

END_OF_LINE = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)
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


class Where(TypedDict):
    """Which rows of a piece are read."""

    line: int
    last: bool
    most: int


class Source:
    """An import's file, batch after batch from a place on."""

    def __init__(
        self,
        sessions: Sessions,
        workspace_id: UUID,
        file: imports.File,
        layout: Layout,
        reader: CustomerReader | OrderReader,
        place: Place,
        most: int,
        objects: Objects | None = None,
    ) -> None:
        """`objects` reads JSON Lines; without it the file is CSV."""
        self.sessions, self.workspace_id, self.file = sessions, workspace_id, file
        self.layout, self.reader, self.place, self.most = layout, reader, place, most
        self.objects = objects

    async def next(self) -> Batch:
        """The next rows of the file, checked. At its end there are none."""
        begin, data = self.place, await self._bytes(self.place.position)
        last = begin.position + len(data) >= self.file.size
        piece, batch = await asyncio.to_thread(self._check, data, begin, last)
        self.place = batch.end
        if piece.skip_line:
            self.place = Place(await self._end_of_line(batch.end.position), batch.end.line)
        return batch._replace(end=self.place)

    def _check(self, data: bytes, begin: Place, last: bool) -> tuple[Piece, Batch]:
        where: Where = {"line": begin.line, "last": last, "most": self.most}
        if self.objects:
            piece = self.objects.read_piece(data, **where)
        else:
            piece = read_piece(data, delimiter=self.layout.delimiter, **where)
        lines, refusals = self.reader.read(piece.rows, piece.clean)
        refusals += [
            Refusal(line, self.layout.name(cell), f"{reason}.") for line, cell, reason in piece.unreadable
        ]
        end = Place(begin.position + piece.size, begin.line + piece.lines)
        return piece, Batch(begin, end, imported.ready(self.layout.kind, lines), refusals)

    async def _end_of_line(self, position: int) -> int:
        """Where the line after the one at `position` begins."""
        position -= 1  # A CR there may be half of a CRLF.
        while position < self.file.size:
            data = await self._bytes(position)
            if found := END_OF_LINE.search(data):
                return position + found.end()
            # As above: the last byte is looked at again, unless it is the file's.
            position += len(data) - 1 if position + len(data) < self.file.size else len(data)
        return position

    async def _bytes(self, position: int) -> bytes:
        async with self.sessions(self.workspace_id) as db:
            return await self.file.read(db, position, BLOCK)


def _begun(row: Import, data: bytes) -> tuple[Layout, dict[str, Any], Place]:
    """What the file's columns say, what is kept of them, and where its rows begin.

    `data` is the beginning of the file, which is not needed once the import has `columns`. Raises `Invalid`,
    and `ValueError` with a sentence.
    """
    kind, meaning = ImportKind(row.kind), cast("Meaning | None", row.mapping)
    if row.format == ImportFormat.JSONL:
        position = 0 if row.columns else begin(data)
        layout = Layout.of_objects(kind, meaning)
        return layout, {"names": list(layout.names)}, Place(position, 1)
    if row.columns:
        names, delimiter, size, lines = row.columns["names"], row.columns["delimiter"], 0, 0
    else:
        names, delimiter, size, lines = read_header(data)
    layout = Layout.of(kind, names, delimiter, meaning)
    return layout, {"names": list(layout.names), "delimiter": delimiter}, Place(size, lines + 1)


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
            of_rows = reader(layout, workspace.time_zone, workspace.currency, self.clock.now())
            objects = Objects(layout, row.mapping) if row.format == ImportFormat.JSONL else None
            source = Source(
                self.sessions, run.workspace_id, file, layout, of_rows, place, self.batch, objects
            )
            steps: list[asyncio.Task[ImportSlice]] = []

            def go_on() -> None:
                if not glass.over:
                    steps.append(asyncio.create_task(self._step(run, source, go_on)))

            steps.append(asyncio.create_task(self._step(run, source, go_on)))
            try:
                while steps:
                    done = await steps.pop(0)
            finally:
                for step in steps:
                    step.cancel()
                await asyncio.gather(*steps, return_exceptions=True)
            return done

    async def _begin(self, run: ImportRun) -> tuple[Import, imports.File, Workspace]:
        async with self.sessions(run.workspace_id) as db:
            row = await imports.get(db, run.import_id)
            file = await imports.File.of(db, run.import_id)
            return row, file, await workspaces.get(db, run.workspace_id)

    async def _header(self, run: ImportRun, row: Import, file: imports.File) -> tuple[Layout, Place]:
        """What the file's columns say, and where to go on. Raises `Invalid`."""
        known = row.columns and Place(row.position, row.line + 1)
        async with self.sessions(run.workspace_id) as db:
            data = await file.read(db, 0, BLOCK) if not known else b""
        try:
            layout, columns, place = _begun(row, data)
        except ValueError as error:
            raise Invalid(str(error)) from error
        if known:
            return layout, known
        async with self.sessions(run.workspace_id) as db:
            now = await imports.locked(db, run.import_id)
            if now.state == ImportState.UPLOADED:
                await imports.move(
                    db,
                    now,
                    state=ImportState.RUNNING,
                    columns=columns,
                    position=place.position,
                    line=place.line - 1,
                    updated_at=self.clock.now(),
                )
        return layout, place

    async def _fail(self, run: ImportRun, reason: str) -> ImportSlice:
        async with self.sessions(run.workspace_id) as db:
            row = await imports.locked(db, run.import_id)
            values = {"state": ImportState.FAILED, "reason": reason, "updated_at": self.clock.now()}
            await imports.move(db, row, **values)
            if row.state != ImportState.FAILED:
                await announced_states.import_finished(db, row, self.clock.now())
            await imports.forget_file(db, run.import_id)
            if not row.dry_run:  # Of a trial, whoever asked for it is told.
                await failures.note(
                    db, run.workspace_id, [of_import(run.import_id, reason)], self.clock.now()
                )
        return replace(ImportSlice.of(row), state=ImportState.FAILED, reason=reason)

    async def _step(self, run: ImportRun, source: Source, go_on: Callable[[], None]) -> ImportSlice:
        """Store the next batch and where it ends, in one transaction.

        Once the import is its own it lets the next step `go_on`, which waits for it with its rows in hand.
        When somebody else has stored them, nothing is done, and the answer says where they are.
        """
        batch = await source.next()
        async with self.sessions(run.workspace_id) as db:
            now = self.clock.now()
            await imported.fill(db, source.layout.kind, batch.ready)
            await imported.lock(db, run.workspace_id)
            row = await imports.locked(db, run.import_id)
            if row.state != ImportState.RUNNING or row.position != batch.begin.position:
                return ImportSlice.of(row)
            done = batch.end.position >= source.file.size
            if not done:
                go_on()
            if row.dry_run:
                lines = batch.begin.line, batch.end.line - 1
                stored, also = await imported.try_out(db, row, batch.ready, now, lines)
                await imports.refuse(db, row, [*batch.refusals, *also])
            else:
                stored = await imported.store(db, row, batch.ready, now)
                await imports.refuse(db, row, batch.refusals)
                denials = [refusal.denial for refusal in batch.refusals if refusal.denial]
                await imported_customers.deny(db, row, denials, now)
            if stored.order_ids:
                await happenings.of_orders(db, run.workspace_id, stored.order_ids, now)
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
                await announced_states.import_finished(db, row, now)
                await imports.forget_file(db, run.import_id)
        return after
