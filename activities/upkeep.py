"""Upkeep: what nobody waits for, but somebody must do. It spans workspaces, as the engine's role."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.slices import heartbeating
from domain.clock import Clock
from domain.reports import KNOWN_FOR
from domain.schedules import FORGOTTEN
from models.base import Sessions
from models.queries import (
    accounts,
    alerts,
    attachments,
    calls,
    idempotency,
    kept_events,
    ledger,
    pokes,
    rate_limits,
    reconcile,
    reports,
    schedules,
    webhook_deliveries,
)

LATE = timedelta(seconds=30)  # So long overdue means that its poke was lost.
REPLAYED_FOR = timedelta(days=1)  # So long is an Idempotency-Key known.
SEEN_FOR = timedelta(days=14)  # So long is a message id known, and what is sent again counted once.
REFUSALS_FOR = timedelta(days=7)
FAILURES_FOR = timedelta(days=90)
BOUNCES_FOR = timedelta(days=90)  # As long as a workspace may count soft bounces together.
CALLS_FOR = timedelta(days=30)  # So long is a call known after its deadline, and a late answer called so.
DESCRIBED_FOR = timedelta(days=1)  # So old may be what the planner knows of the events.


@dataclass
class Upkeep:
    poked: int = 0  # Flows, outboxes and announcements that were overdue, and campaigns under way.
    resent: int = 0  # Unknown messages sent again, as their workspace chose.
    left: int = 0  # Unknown messages left as they are, as their workspace chose.


class UpkeepActivities:
    def __init__(
        self, sessions: Sessions, clock: Clock, events_kept_days: int = 400, content_kept_days: int = 30
    ) -> None:
        self.sessions = sessions
        self.clock = clock
        self.events_for = timedelta(days=events_kept_days)
        self.content_for = timedelta(days=content_kept_days)

    @activity.defn(name="upkeep")
    async def upkeep(self) -> Upkeep:
        """Once a minute: find what is overdue, and decide about messages that are unknown for too long."""
        done, now = Upkeep(), self.clock.now()
        async with heartbeating():
            async with self.sessions.engine() as db:
                done.poked = await pokes.sweep(db, now - LATE)
                await ledger.drop_forgotten_leases(db)
                await idempotency.drop_old(db, now - REPLAYED_FOR)
                await rate_limits.drop_ended(db, now)
                await accounts.drop_old(db, now)
                await reports.forget(db, reported=now - KNOWN_FOR, bounced=now - BOUNCES_FOR)
                await attachments.drop_old(db, now - self.content_for)
            async with self.sessions.engine() as db:
                await kept_events.look_ahead(db, now)
                await kept_events.describe(db, now - DESCRIBED_FOR)
                await kept_events.forget(
                    db, now, events=now - self.events_for, seen=now - SEEN_FOR, refusals=now - REFUSALS_FOR
                )
            await self._drop(lambda db: alerts.drop_old(db, now - FAILURES_FOR))
            # What was posted is found by its call when somebody is erased.
            await self._drop(lambda db: calls.drop_old(db, now - max(CALLS_FOR, self.content_for)))
            await self._drop(lambda db: webhook_deliveries.drop_old(db, now - self.content_for, now))
            async with self.sessions.engine() as db:
                unstarted = await schedules.unstarted(db, now - FORGOTTEN)
            for workspace_id, campaign_id in unstarted:
                async with self.sessions(workspace_id) as db:
                    await schedules.leave(db, campaign_id, now)
            more = True
            while more:
                async with self.sessions.engine() as db:
                    resent, left = await reconcile.decide(db, now)
                done.resent += resent
                done.left += left
                more = bool(resent or left)
        return done

    async def _drop(self, some: Callable[[AsyncSession], Awaitable[int]]) -> None:
        """Some at a time until there are none: more may be added in a minute than are removed at once."""
        dropped = 1
        while dropped:
            async with self.sessions.engine() as db:
                dropped = await some(db)
