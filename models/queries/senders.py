"""Who sends events: keys, and what public ones may not say. As the engine, for many senders at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text

from models.base import Db, changed


class SenderFound(NamedTuple):
    """A key that is not revoked, of a workspace that is not deleted."""

    hash: bytes
    workspace_id: UUID
    id: UUID
    kind: str
    permissions: list[str]
    expires_at: datetime | None
    used_at: datetime | None
    origins: list[str]  # The workspace's.
    closed_events: list[str]  # Names that are marked as server-only.
    closed_attributes: list[str]


_FIND = text(
    """
    select k.hash, k.workspace_id, k.id, k.kind, k.permissions, k.expires_at, k.used_at, w.origins,
        array(select n.name from event_names n where n.workspace_id = k.workspace_id and n.server_only),
        array(select a.name from attributes a where a.workspace_id = k.workspace_id and a.server_only)
    from keys k join workspaces w on w.id = k.workspace_id and w.deleted_at is null
    where k.hash = any(cast(:hashes as bytea[])) and k.revoked_at is null
    """
)


async def find(db: Db, hashes: Sequence[bytes]) -> dict[bytes, SenderFound]:
    """Those of these keys that there are, by their hashes."""
    rows = await db.execute(_FIND, {"hashes": [*hashes]})
    return {row[0]: SenderFound(*row) for row in rows}


_USED = text(
    """
    update keys k set used_at = :now
    from unnest(cast(:workspaces as uuid[]), cast(:keys as uuid[])) as used(workspace_id, id)
    where k.workspace_id = used.workspace_id and k.id = used.id
    """
)


async def were_used(db: Db, found: Sequence[SenderFound], now: datetime) -> None:
    """Note that these keys were used."""
    values = {
        "now": now,
        "workspaces": [each.workspace_id for each in found],
        "keys": [each.id for each in found],
    }
    await changed(db, _USED, values)
