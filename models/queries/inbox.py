"""The way into the inbox: rows in PostgreSQL's binary format, written by COPY, many in one commit.

https://www.postgresql.org/docs/18/sql-copy.html ("Binary Format"). Ids are made here, so that a group whose
commit was not answered can be repeated: the primary key tells what is there already. As the engine's role.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from uuid import UUID

from sqlalchemy import text
from uuid_utils import uuid7

from domain.arrivals import Arrived
from domain.events import EventKind
from models.batch import Batch

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's: its times are microseconds since then.
_COPY = """
copy inbox (workspace_id, id, received_at, occurred_at, trusted, historical,
    kind, name, message_id, email, phone, user_id, anonymous_id, properties, context, consents)
from stdin (format binary)
"""
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_FIXED = Struct("!h i16s i16s iq iq i? i?").pack  # How many columns, and those of a fixed length.
_LENGTH = Struct("!i").pack
_JSON = Struct("!iB").pack  # With the version of jsonb's binary form, which is text after it.
_NULL = _LENGTH(-1)
_KINDS = {kind: _LENGTH(len(kind)) + kind.encode() for kind in EventKind}


def row(workspace: bytes, received_at: datetime, received: int, trusted: bool, arrived: Arrived) -> bytes:
    """A row for `write`, with a new id: they rise, so that what comes later stays later.

    `workspace` is the id's 16 bytes, and `received` is of `microseconds`: both are the same for many rows.
    """
    message_id, context, consents = arrived.message_id, arrived.context, arrived.consents
    email, phone, user_id = arrived.email, arrived.phone, arrived.user_id
    anonymous_id, properties, occurred_at = arrived.anonymous_id, arrived.properties, arrived.occurred_at
    occurred = received if occurred_at is received_at else microseconds(occurred_at)
    historical = arrived.historical
    return b"".join(
        (
            _FIXED(16, 16, workspace, 16, uuid7().bytes, 8, received, 8, occurred, 1, trusted, 1, historical),
            _KINDS[arrived.kind],
            _name(arrived.name),
            _NULL if message_id is None else _text(message_id),
            _NULL if email is None else _text(email),
            _NULL if phone is None else _text(phone),
            _NULL if user_id is None else _text(user_id),
            _NULL if anonymous_id is None else _text(anonymous_id),
            _JSON(len(properties) + 1, 1),
            properties,
            _NULL if context is None else _json(context),
            _NULL if consents is None else _json(consents),
        )
    )


def microseconds(moment: datetime) -> int:
    """The time as PostgreSQL counts it."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _LENGTH(len(encoded)) + encoded


@lru_cache(maxsize=5_000)
def _name(value: str | None) -> bytes:
    """Of an event: there are few."""
    return _NULL if value is None else _text(value)


def _json(value: bytes) -> bytes:
    return _JSON(len(value) + 1, 1) + value


async def write(db: Batch, rows: Sequence[bytes]) -> None:
    """Add all of these rows, or none. Raises what PostgreSQL says of one that it does not take."""
    await db.copy(_COPY, b"".join((_HEADER, *rows, _END)))


_THERE = text(
    """
    select i.workspace_id, i.id
    from unnest(cast(:workspaces as uuid[]), cast(:ids as uuid[])) as asked(workspace_id, id)
    join inbox i on i.workspace_id = asked.workspace_id and i.id = asked.id
    """
)


async def there(db: Batch, rows: Sequence[bytes]) -> set[bytes]:
    """Those of the rows that are in the inbox already."""
    named = {_key(each): each for each in rows}
    values = {"workspaces": [key[0] for key in named], "ids": [key[1] for key in named]}
    return {named[key[0], key[1]] for key in await db.execute(_THERE, values)}


def _key(row: bytes) -> tuple[UUID, UUID]:
    """Workspace and id of a row, as `_FIXED` lays them out."""
    return UUID(bytes=row[6:22]), UUID(bytes=row[26:42])
