"""Failures as they are read: one, a page, counts; and seen to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.failures import Category, Subject
from models.base import changed
from models.failures import FailureLog


@dataclass(frozen=True)
class Which:
    """Which failures; None asks for all."""

    category: Category | None = None
    subject: Subject | None = None
    source_id: UUID | None = None
    provider_id: UUID | None = None
    alert_id: UUID | None = None
    since: datetime | None = None  # Noted then or later.
    until: datetime | None = None  # Noted before then.
    acknowledged: bool | None = None
    retryable: bool | None = None

    def conditions(self, workspace_id: UUID) -> list[ColumnElement[bool]]:
        of = FailureLog
        asked: list[ColumnElement[bool]] = [of.workspace_id == workspace_id]
        for column, value in (
            (of.category, self.category),
            (of.subject, self.subject),
            (of.source_id, self.source_id),
            (of.provider_id, self.provider_id),
            (of.alert_id, self.alert_id),
        ):
            if value is not None:
                asked.append(column == value)
        if self.since is not None:
            asked.append(of.at >= self.since)
        if self.until is not None:
            asked.append(of.at < self.until)
        if self.acknowledged is not None:
            seen = of.acknowledged_at.is_not(None)
            asked.append(seen if self.acknowledged else of.acknowledged_at.is_(None))
        if self.retryable is not None:
            asked.append(of.retryable.is_(self.retryable))
            if self.retryable:
                asked.append(of.retried_at.is_(None))
        return asked


async def get(db: AsyncSession, workspace_id: UUID, failure_id: UUID) -> FailureLog:
    """Raises `NotFound`."""
    of = FailureLog
    found = await db.scalar(select(of).where(of.workspace_id == workspace_id, of.id == failure_id))
    if found is None:
        raise NotFound(f"There is no failure {failure_id}; they are kept for 90 days.")
    return found


async def noted(db: AsyncSession, workspace_id: UUID, subject: Subject, subject_id: str) -> FailureLog:
    """The newest about one thing. Raises `NotFound`."""
    of = FailureLog
    asked = select(of).where(
        of.workspace_id == workspace_id, of.subject == subject, of.subject_id == subject_id
    )
    found = await db.scalar(asked.order_by(of.id.desc()).limit(1))
    if found is None:
        raise NotFound("No failure of this was noted.")
    return found


async def page(
    db: AsyncSession, workspace_id: UUID, which: Which, after: UUID | None, limit: int
) -> Sequence[FailureLog]:
    """Up to `limit` of them, the newest first, beyond the one with the id `after`."""
    asked = select(FailureLog).where(*which.conditions(workspace_id)).order_by(FailureLog.id.desc())
    if after is not None:
        asked = asked.where(FailureLog.id < after)
    return list(await db.scalars(asked.limit(limit)))


class Sum(NamedTuple):
    """How many failures there are of a category."""

    category: str
    failures: int
    open: int  # Nobody has seen to them.
    retryable: int  # Of those that are open.
    last_at: datetime


async def summary(db: AsyncSession, workspace_id: UUID, which: Which) -> list[Sum]:
    """By category, the one with the most first."""
    of = FailureLog
    is_open = of.acknowledged_at.is_(None)
    asked = (
        select(
            of.category,
            func.count(),
            func.count().filter(is_open),
            func.count().filter(is_open, of.retryable, of.retried_at.is_(None)),
            func.max(of.at),
        )
        .where(*which.conditions(workspace_id))
        .group_by(of.category)
        .order_by(func.count().desc(), of.category)
    )
    return [Sum(*row) for row in await db.execute(asked)]


MOST = 10_000  # That are tried again by one request.


async def to_retry(
    db: AsyncSession, workspace_id: UUID, which: Which, most: int = MOST, *, unknown: bool = False
) -> list[UUID]:
    """Those that may be tried again, the oldest first; `unknown` ones as well, if somebody wants them."""
    of = FailureLog
    may: ColumnElement[bool] = of.retryable.is_(True)
    if unknown:
        may = may | ((of.subject == Subject.MESSAGE) & (of.occasion == "unknown"))
    asked = select(of.id).where(*which.conditions(workspace_id), of.retried_at.is_(None), may)
    return list(await db.scalars(asked.order_by(of.id).limit(most)))


async def acknowledge(db: AsyncSession, workspace_id: UUID, which: Which, by: str, now: datetime) -> int:
    """Somebody sees to these. Returns how many nobody had seen to before."""
    return await _acknowledge(db, which.conditions(workspace_id), by, now)


async def acknowledge_one(db: AsyncSession, workspace_id: UUID, id_: UUID, by: str, now: datetime) -> None:
    """Somebody sees to this one; whoever did so first stays."""
    of = FailureLog
    await _acknowledge(db, [of.workspace_id == workspace_id, of.id == id_], by, now)


async def _acknowledge(db: AsyncSession, which: Sequence[ColumnElement[bool]], by: str, now: datetime) -> int:
    values: dict[str, Any] = {"acknowledged_at": now, "acknowledged_by": by}
    asked = update(FailureLog).where(*which, FailureLog.acknowledged_at.is_(None)).values(**values)
    return await changed(db, asked.execution_options(synchronize_session=False))
