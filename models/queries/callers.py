"""Who asks: the look-ups behind every request, across workspaces, as the engine by the bare driver."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text

from models.base import Db, changed


class KeyFound(NamedTuple):
    """A key that is not revoked, of a workspace that is not deleted."""

    workspace_id: UUID
    id: UUID
    kind: str
    name: str
    permissions: list[str]
    expires_at: datetime | None
    used_at: datetime | None
    origins: list[str]  # The workspace's.


class Place(NamedTuple):
    """A workspace of somebody's, and what they are there."""

    workspace_id: UUID
    role: str


class Visitor(NamedTuple):
    """A person whose session is good."""

    user_id: UUID
    email: str
    name: str
    places: list[Place]  # The one that was asked for; two at most when none was.
    limited_to: UUID | None  # The workspace whose issuer vouched for them, the only one that they can enter.


_KEY = text(
    """
    select k.workspace_id, k.id, k.kind, k.name, k.permissions, k.expires_at, k.used_at,
        w.origins
    from keys k join workspaces w on w.id = k.workspace_id and w.deleted_at is null
    where k.hash = :hash and k.revoked_at is null
    """
)


async def key(db: Db, hash_: bytes) -> KeyFound | None:
    rows = [*await db.execute(_KEY, {"hash": hash_})]
    return KeyFound(*rows[0]) if rows else None


_USED = text("update keys set used_at = :now where workspace_id = :workspace and id = :key")


async def key_was_used(db: Db, found: KeyFound, now: datetime) -> None:
    await changed(db, _USED, {"workspace": found.workspace_id, "key": found.id, "now": now})


_SESSION = text(
    """
    select s.user_id, u.email, u.name, p.workspace_id, p.role, s.workspace_id as limited_to
    from sessions s join users u on u.id = s.user_id
    left join lateral (
        select m.workspace_id, m.role
        from memberships m join workspaces w on w.id = m.workspace_id and w.deleted_at is null
        where m.user_id = s.user_id
            and (cast(:workspace as uuid) is null or m.workspace_id = cast(:workspace as uuid))
            and (s.workspace_id is null or m.workspace_id = s.workspace_id)
        limit 2
    ) p on true
    where s.id = :session and s.ended_at is null and s.expires_at > :now
    """
)


async def session(db: Db, session_id: UUID, workspace_id: UUID | None, now: datetime) -> Visitor | None:
    values = {"session": session_id, "workspace": workspace_id, "now": now}
    rows: list[Any] = [*await db.execute(_SESSION, values)]
    if not rows:
        return None
    places = [Place(row[3], row[4]) for row in rows if row[3] is not None]
    user_id, email, name, *_, limited_to = rows[0]
    return Visitor(user_id, email, name, places, limited_to)
