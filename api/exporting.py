"""Rows as a file that is written while they are read: CSV, or Parquet in groups of rows."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from typing import Any
from uuid import UUID

import orjson

from api.routes.messages import guarded, line

GROUP = 20_000  # Rows of a Parquet file's group, which are in memory at once.


class FileFormat(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        return "text/csv; charset=utf-8" if self is FileFormat.CSV else "application/vnd.apache.parquet"


Rows = AsyncIterator[Sequence[Sequence[Any]]]
Columns = Mapping[str, type]  # datetime, bool, or str, as which everything else is written: JSON for objects.


def written(as_: FileFormat, columns: Columns, rows: Rows) -> AsyncIterator[bytes]:
    """The file in pieces."""
    return _csv(columns, rows) if as_ is FileFormat.CSV else _parquet(columns, rows)


async def _csv(columns: Columns, rows: Rows) -> AsyncIterator[bytes]:
    """RFC 4180, with what a spreadsheet would take for a formula made harmless."""
    yield line(columns).encode()
    async for part in rows:
        yield await asyncio.to_thread(_lines, part)


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([guarded(_cell(value)) for value in row] for row in rows)
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return _text(value)


def _text(value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case UUID():
            return str(value)
    return orjson.dumps(value).decode()


class _Sink(io.RawIOBase):
    """What was written and not taken yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._size

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def _parquet(columns: Columns, rows: Rows) -> AsyncIterator[bytes]:
    # Here, since it takes as much memory as all the rest, and most processes never write one.
    pyarrow = await asyncio.to_thread(import_module, "pyarrow")
    parquet = await asyncio.to_thread(import_module, "pyarrow.parquet")
    types = {datetime: pyarrow.timestamp("us", tz="UTC"), bool: pyarrow.bool_(), str: pyarrow.string()}
    schema = pyarrow.schema([(name, types[type_]) for name, type_ in columns.items()])
    read: list[Callable[[Any], Any]] = [_text if type_ is str else _itself for type_ in columns.values()]
    sink = _Sink()
    writer = await asyncio.to_thread(parquet.ParquetWriter, sink, schema, compression="zstd")
    waiting: list[Sequence[Any]] = []

    def group() -> bytes:
        cells = [[as_(row[place]) for row in waiting] for place, as_ in enumerate(read)]
        arrays = [pyarrow.array(each, field.type) for each, field in zip(cells, schema, strict=True)]
        writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
        return sink.take()

    async for part in rows:
        waiting += part
        if len(waiting) >= GROUP:
            yield await asyncio.to_thread(group)
            waiting.clear()
    if waiting:
        yield await asyncio.to_thread(group)
    await asyncio.to_thread(writer.close)
    yield sink.take()


def _itself(value: Any) -> Any:
    return value
