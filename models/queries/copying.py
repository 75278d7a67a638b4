"""Rows for COPY, in PostgreSQL's text format."""

from typing import cast

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession

NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def cell(value: str | None) -> str:
    """Text as COPY wants it. What holds no backslash, tab or end of line need not come through here."""
    if value is None:
        return NULL
    return value if value.isalnum() else value.translate(_ESCAPES)


async def copy(db: AsyncSession, table: str, rows: bytes) -> None:
    """Add rows, cells apart by tabs, each with its end of line, to a table that has no policy."""
    connection = await (await db.connection()).get_raw_connection()
    driver = cast("psycopg.AsyncConnection[tuple[object, ...]]", connection.driver_connection)
    async with driver.cursor() as cursor, cursor.copy(f"copy {table} from stdin") as copying:
        await copying.write(rows)
