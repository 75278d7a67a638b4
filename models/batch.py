"""Transactions by the bare driver, for statements that are executed again and again.

SQLAlchemy writes the statements, once. To execute one through it costs three times what the driver costs
(0.5 ms against 0.2 ms of a slow core), and a small batch is a dozen of them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy import Select, TextClause, TextualSelect, UpdateBase
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

WAIT = 300.0  # Seconds for a connection to become free, or the server to be back.
RETRY = 1.0  # Seconds between two tries to connect.
LIFETIME = 1800.0  # Seconds after which a connection is made anew.
IDLE = 15.0  # Seconds after which, of the connections that nobody needed meanwhile, one is closed.

Statement = TextClause | UpdateBase | Select[Any]

_Connection = psycopg.AsyncConnection[Any]
_Cursor = psycopg.AsyncCursor[Any]


class Prepared(NamedTuple):
    """A statement as PostgreSQL takes it."""

    sql: bytes
    names: tuple[str, ...]  # What $1, $2 and so on stand for.
    constants: Mapping[str, Any]  # The values that the statement brings.


def prepare(statement: Statement | TextualSelect) -> Prepared:
    """Its parameters go to the driver as they are: it takes no typed JSON, and no `in_`."""
    compiled = statement.compile(dialect=_DIALECT)
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    return Prepared(str(compiled).encode(), tuple(compiled.positiontup or ()), constants)


class Asked(NamedTuple):
    """A statement with its values, for which a transaction is opened."""

    statement: Statement
    values: Mapping[str, Any]


# Kept for ever, so a statement must be a module's own, and not one that is built for each call.
prepared = cache(prepare)

_DIALECT = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call] # It has no types.


class Answer:
    """What a statement answered, read as SQLAlchemy's results are, except that rows are tuples without names.

    A named one costs as much as all else about a row.
    """

    def __init__(self, rows: list[tuple[Any, ...]], names: tuple[str, ...], rowcount: int) -> None:
        self._rows = rows
        self._names = names
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def all(self) -> list[tuple[Any, ...]]:
        return self._rows

    def one(self) -> Any:
        """The only row, with names."""
        [row] = self._rows
        return SimpleNamespace(**dict(zip(self._names, row, strict=True)))

    def scalars(self) -> Iterator[Any]:
        return (row[0] for row in self._rows)


class Batch:
    """One transaction. `info` is for whoever opened it, and `answers` are to what it was opened with."""

    def __init__(self, connection: _Connection, answers: Sequence[Answer] = ()) -> None:
        self._connection = connection
        self.answers = answers
        self.info: dict[str, Any] = {}

    def in_transaction(self) -> bool:
        return self._connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS

    async def execute(
        self, statement: Statement | Prepared, values: Mapping[str, Any] | None = None
    ) -> Answer:
        """Raises psycopg.Error."""
        try:
            return await _answer(await _execute(self._connection, statement, values or {}))
        except psycopg.Error as error:
            leave_out_the_row(error)
            raise

    async def copy(self, statement: str, data: bytes) -> None:
        """Send what a COPY … FROM STDIN reads. Raises psycopg.Error."""
        try:
            async with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copying:
                await copying.write(data)
        except psycopg.Error as error:
            leave_out_the_row(error)
            raise


async def _execute(
    connection: _Connection, statement: Statement | Prepared, values: Mapping[str, Any]
) -> _Cursor:
    ready = statement if isinstance(statement, Prepared) else prepared(statement)
    sql, names, constants = ready
    given = {**constants, **values}
    return await connection.execute(sql, [given[name] for name in names] or None)


async def _answer(cursor: _Cursor) -> Answer:
    if not cursor.description:
        return Answer([], (), cursor.rowcount)
    names = tuple(column.name for column in cursor.description)
    return Answer(await cursor.fetchall(), names, cursor.rowcount)


def leave_out_the_row(error: psycopg.Error) -> None:
    """Errors are logged, and kept in Temporal's history, and PostgreSQL's DETAIL quotes the row at fault."""
    if error.diag.message_detail:
        error.args = (error.diag.message_primary,)


class Batches:
    """Opens them, on a pool of their own."""

    def __init__(self, url: str, size: int, options: str, patience: float = WAIT) -> None:
        self._size, self._patience = size, patience
        self._pool = AsyncConnectionPool(
            url.replace("postgresql+psycopg://", "postgresql://"),
            connection_class=_Connection,
            min_size=0,
            max_size=size,
            max_lifetime=LIFETIME,
            max_idle=IDLE,
            reconnect_timeout=RETRY,  # Its own tries are further apart the longer the server is away.
            open=False,
            configure=_configure,
            kwargs={"autocommit": True, "prepare_threshold": 1, "options": options},
        )

    @asynccontextmanager
    async def open(self, workspace_id: UUID | None, asked: Sequence[Asked] = ()) -> AsyncIterator[Batch]:
        """A transaction in which only this workspace's rows exist; None is for the engine, which sees all.

        It commits at the end. What is `asked` is executed first, all in the round trip that begins it: none
        of it can use what another answers.
        """
        connection, answers = await self._begin(workspace_id, asked)
        try:
            async with connection:  # It goes back to the pool: this only commits, or rolls back.
                batch = Batch(connection, answers)
                yield batch
                if not batch.in_transaction():  # Or a lost connection would pass for a commit.
                    raise psycopg.OperationalError("the transaction was lost before its commit")
        finally:
            await self._pool.putconn(connection)

    async def at_once(self, workspace_id: UUID, asked: Sequence[Asked]) -> list[Answer]:
        """A transaction of nothing but this, committed when it answers: all of it takes one round trip.

        When it raises, nobody knows whether it was committed, unless the server said no.
        """
        await self._open()
        connection = await self._connection()
        try:
            return await _all_of(connection, [_entering(workspace_id)], asked)
        finally:
            if connection.pgconn.pipeline_status:
                await connection.close()
            await self._pool.putconn(connection)

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[Batch]:
        """Statements that each are a transaction of their own: to read one thing takes one round trip."""
        await self._open()
        connection = await self._connection()
        try:
            yield Batch(connection)
        finally:
            await self._pool.putconn(connection)

    async def close(self) -> None:
        await self._pool.close()

    async def _begin(
        self, workspace_id: UUID | None, asked: Sequence[Asked]
    ) -> tuple[_Connection, list[Answer]]:
        """Begin, enter the workspace and ask in one round trip."""
        await self._open()
        dead = 0
        while True:
            connection = await self._connection()
            try:
                return connection, await _begun(connection, workspace_id, asked)
            except BaseException as error:
                if (
                    connection.pgconn.pipeline_status
                ):  # Cancelled: its answers would be taken for the next one's.
                    await connection.close()
                await self._pool.putconn(connection)
                # The server was away, and this one had not noticed; the others may not have, either.
                dead += 1
                if not _is_gone(error) or dead > self._size:
                    raise

    async def _open(self) -> None:
        if self._pool.closed:
            await self._pool.open()

    async def _connection(self) -> _Connection:
        """One that is free, or a new one as soon as the server answers. Raises PoolTimeout."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._patience
        while True:
            try:
                return await self._pool.getconn(RETRY)  # Asking makes the pool try again.
            except PoolTimeout:
                if loop.time() > latest:
                    raise


async def _begun(connection: _Connection, workspace_id: UUID | None, asked: Sequence[Asked]) -> list[Answer]:
    first = [b"begin", *([_entering(workspace_id)] if workspace_id else [])]
    if asked:
        return await _all_of(connection, first, asked)
    await connection.execute(b"; ".join(first))
    return []


def _entering(workspace_id: UUID) -> bytes:
    return f"select set_config('app.workspace', '{workspace_id}', true)".encode()


async def _all_of(connection: _Connection, first: Sequence[bytes], asked: Sequence[Asked]) -> list[Answer]:
    """In one round trip, which without a `begin` is one transaction and commits at its end."""
    try:
        async with connection.pipeline():
            for statement in first:
                await connection.execute(statement)
            cursors = [await _execute(connection, *each) for each in asked]
        return [await _answer(cursor) for cursor in cursors]
    except psycopg.Error as error:
        leave_out_the_row(error)
        raise


def _is_gone(error: BaseException) -> bool:
    """Whether the server went away, and not said no: then nothing of the transaction happened."""
    said = error.sqlstate or "" if isinstance(error, psycopg.OperationalError) else None
    return said is not None and (not said or said.startswith(("08", "57P")))


async def _configure(connection: _Connection) -> None:
    connection.cursor_factory = psycopg.AsyncRawCursor
    set_json_loads(orjson.loads, connection)
