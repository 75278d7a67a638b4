"""The addresses that a workspace may send as, and the one that its mail comes from.

Whoever changes any of them locks the workspace's row first, so that two never wait for each other.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from domain.keys import hash_of
from models.base import changed
from models.domains import Domain, Sender
from models.queries import domains

MOST = 200  # Of one workspace.
LINK_LIFETIME = timedelta(days=7)


async def put(db: AsyncSession, workspace_id: UUID, email: str, now: datetime) -> tuple[Sender, bool]:
    """The sender with this address, made if there is none, and whether it was made.

    It is verified at once where its domain is. Raises `Conflict` where there are too many.
    """
    count = await db.scalar(select(func.count()).select_from(Sender)) or 0
    added = insert(Sender).values(workspace_id=workspace_id, email=email).on_conflict_do_nothing()
    made = await db.scalar(added.returning(Sender.id)) is not None
    if made and count >= MOST:
        raise Conflict(f"A workspace has at most {MOST} senders: delete one that you don't use.")
    sender = (await db.scalars(select(Sender).where(Sender.email == email).with_for_update())).one()
    if sender.verified_at is None and (domain := await domains.of_address(db, email)):
        sender.verified_at, sender.domain_id = now, domain.id
        await db.flush()
    return sender, made


async def page(db: AsyncSession, after: UUID | None, limit: int) -> Sequence[Sender]:
    """The newest first."""
    asked = select(Sender).order_by(Sender.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(Sender.id < after)
    return list(await db.scalars(asked))


async def get(db: AsyncSession, sender_id: UUID, *, lock: bool = False) -> Sender:
    """Raises `NotFound`."""
    asked = select(Sender).where(Sender.id == sender_id)
    sender = await db.scalar(asked.with_for_update() if lock else asked)
    if sender is None:
        raise NotFound(f"There is no sender {sender_id}.")
    return sender


async def of_email(db: AsyncSession, email: str) -> Sender | None:
    return await db.scalar(select(Sender).where(Sender.email == email))


async def expect(db: AsyncSession, sender: Sender, token: str, now: datetime) -> None:
    """The link with this token verifies the sender from now on, and those mailed before do no more."""
    sender.verify_token_hash, sender.verify_until = hash_of(token), now + LINK_LIFETIME
    await db.flush()


async def confirm(db: AsyncSession, sender_id: UUID, token: str, now: datetime) -> Sender | None:
    """The sender that this token verifies, as it is then; None where it is not good (any more).

    It needs no domain from then on.
    """
    confirmed = (
        update(Sender)
        .where(Sender.id == sender_id, Sender.verify_token_hash == hash_of(token), Sender.verify_until > now)
        .values(verified_at=now, domain_id=None, verify_token_hash=None, verify_until=None)
        .returning(Sender)
        .execution_options(populate_existing=True)
    )
    return (await db.scalars(confirmed)).one_or_none()


async def vouch(db: AsyncSession, domain: Domain, now: datetime) -> None:
    """The addresses of a domain that is verified are verified with it."""
    waiting = await db.scalars(select(Sender).where(Sender.verified_at.is_(None)).with_for_update())
    for sender in waiting:
        host = sender.email.rpartition("@")[2]
        if host == domain.name or host.endswith(f".{domain.name}"):
            sender.verified_at, sender.domain_id = now, domain.id
    await db.flush()


async def let_go(db: AsyncSession, domain_id: UUID) -> list[str]:
    """Whom this domain alone vouched for waits to be verified again: their addresses.

    Whom another verified domain of the workspace covers, that one vouches for from now on.
    """
    of_domain = select(Sender).where(Sender.domain_id == domain_id).order_by(Sender.id).with_for_update()
    alone = []
    for sender in list(await db.scalars(of_domain)):
        other = await domains.of_address(db, sender.email, but=domain_id)
        sender.domain_id = other.id if other else None
        if other is None:
            sender.verified_at = None
            alone.append(sender.email)
    await db.flush()
    return alone


async def delete(db: AsyncSession, sender_id: UUID, in_use: Sequence[str | None]) -> None:
    """Raises `NotFound`; `Conflict` for one of those that the workspace uses."""
    sender = await get(db, sender_id, lock=True)
    if sender.email in in_use:
        raise Conflict(
            f"{sender.email} is what your mail comes from: choose another sender by PATCH /api/v1/workspace "
            "first."
        )
    await db.delete(sender)
    await db.flush()


# What was sent from before stays until the new one is verified, as long as it is verified itself.
_SETTLE = text(
    """
    update workspaces w set sending_email = n.email, updated_at = clock_timestamp()
    from (
        select case when k.sender_email is not null then (
            select s.email from senders s
            where s.workspace_id = :workspace and s.email in (k.sender_email, k.sending_email)
                and s.verified_at is not null
            order by s.email = k.sender_email desc limit 1
        ) end as email
        from workspaces k where k.id = :workspace
    ) n
    where w.id = :workspace and w.sending_email is distinct from n.email
    """
)


async def settle(db: AsyncSession, workspace_id: UUID) -> bool:
    """Which address mail comes from, after a change of senders. Returns whether it is another one now."""
    return await changed(db, _SETTLE, {"workspace": workspace_id}) > 0


_TOUCH = text("update workspaces set updated_at = clock_timestamp() where id = :workspace")


async def touch(db: AsyncSession, workspace_id: UUID) -> None:
    """Have letters written anew: how the workspace sends has changed."""
    await changed(db, _TOUCH, {"workspace": workspace_id})
