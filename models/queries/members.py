"""Members of a workspace and their roles; and, as the engine, whose workspaces somebody's are."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from domain.roles import Role
from models.accounts import User
from models.members import Membership
from models.workspaces import Workspace


class Member(NamedTuple):
    """A member as the list shows them."""

    user_id: UUID
    email: str
    name: str
    role: str
    second_factor: bool
    joined_at: datetime


_MEMBERS = text(
    """
    select m.user_id, u.email, u.name, m.role, u.totp_since is not null as second_factor,
        m.created_at as joined_at
    from memberships m join users u on u.id = m.user_id
    where m.workspace_id = :workspace and (cast(:after as uuid) is null or m.user_id < cast(:after as uuid))
    order by m.user_id desc limit :limit
    """
)


async def page(db: AsyncSession, workspace_id: UUID, after: UUID | None, limit: int) -> Sequence[Member]:
    """As the engine: names and addresses stand among the accounts."""
    values = {"workspace": workspace_id, "after": after, "limit": limit}
    return [Member(*row) for row in await db.execute(_MEMBERS, values)]


async def is_member(db: AsyncSession, workspace_id: UUID, email: str) -> bool:
    """As the engine."""
    asked = (
        select(User.id)
        .join(Membership, Membership.user_id == User.id)
        .where(User.email == email, Membership.workspace_id == workspace_id)
    )
    return await db.scalar(asked) is not None


async def among(db: AsyncSession, user_ids: Collection[UUID]) -> set[UUID]:
    """Which of these are members of the transaction's workspace."""
    return set(await db.scalars(select(Membership.user_id).where(Membership.user_id.in_(user_ids))))


async def workspaces_of(
    db: AsyncSession, user_id: UUID, limited_to: UUID | None = None
) -> Sequence[tuple[Workspace, Role]]:
    """As the engine: where somebody is a member, the oldest first; of those, `limited_to` alone if given."""
    asked = (
        select(Workspace, Membership.role)
        .join(Membership, Membership.workspace_id == Workspace.id)
        .where(Membership.user_id == user_id, Workspace.deleted_at.is_(None))
        .order_by(Membership.created_at, Workspace.id)
    )
    if limited_to is not None:
        asked = asked.where(Workspace.id == limited_to)
    return [(workspace, Role(role)) for workspace, role in await db.execute(asked)]


async def get(db: AsyncSession, user_id: UUID, *, lock: bool = False) -> Membership:
    """Raises `NotFound`."""
    asked = select(Membership).where(Membership.user_id == user_id)
    found = await db.scalar(asked.with_for_update() if lock else asked)
    if found is None:
        raise NotFound(f"There is no member {user_id}.")
    return found


async def find(db: AsyncSession, workspace_id: UUID, user_id: UUID) -> Membership | None:
    """As it is now, whatever this transaction read before."""
    mine = select(Membership).where(Membership.workspace_id == workspace_id, Membership.user_id == user_id)
    return await db.scalar(mine, execution_options={"populate_existing": True})


async def change_role(db: AsyncSession, user_id: UUID, role: Role) -> Membership:
    """Raises `NotFound`; `Conflict` when nobody would own the workspace."""
    await one_change_at_a_time(db)
    member = await get(db, user_id, lock=True)
    if member.role == Role.OWNER and role is not Role.OWNER:
        await _refuse_for_the_last_owner(db)
    member.role = role
    await db.flush()
    return member


async def remove(db: AsyncSession, user_id: UUID) -> None:
    """Raises `NotFound`; `Conflict` for the last owner."""
    await one_change_at_a_time(db)
    member = await get(db, user_id, lock=True)
    if member.role == Role.OWNER:
        await _refuse_for_the_last_owner(db)
    await db.execute(delete(Membership).where(Membership.user_id == user_id))


async def hand_over(db: AsyncSession, owner_id: UUID, to: UUID) -> None:
    """`to` owns the workspace, and `owner_id` is an admin. Raises `NotFound`."""
    await one_change_at_a_time(db)
    (await get(db, to, lock=True)).role = Role.OWNER
    if owner_id != to:
        (await get(db, owner_id, lock=True)).role = Role.ADMIN
    await db.flush()


async def one_change_at_a_time(db: AsyncSession) -> None:
    """Or two owners who leave at once would both see the other, and a lost role would count once more."""
    await db.execute(select(Workspace.id).with_for_update())


async def _refuse_for_the_last_owner(db: AsyncSession) -> None:
    owners = await db.scalar(
        select(func.count()).select_from(Membership).where(Membership.role == Role.OWNER)
    )
    if (owners or 0) < 2:
        raise Conflict("This is the last owner, and a workspace needs one: hand the ownership over first.")
