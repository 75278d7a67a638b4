"""What providers report afterwards is settled: from the webhooks that wait, to fates, suppressions and holds.

A batch is one transaction, of one workspace: webhooks that are taken out of their table are settled, or are
still there. Of a webhook that says more than fits into a batch, the rest waits with the early reports, and is
due at once. What nobody can read, or the database refuses, is found by taking one at a time, and counted.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import structlog
from psycopg import Error
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities import receipts
from activities.accounts import Accounts, CannotUse
from activities.bell import Bell
from activities.ingest import POISON
from activities.settling import Done, Origin, Settling
from activities.slices import Hourglass, Timing, heartbeating, rest
from channels.contract import Hook, Report, Reporting, ReportKind
from domain import notices
from domain.channels import Channel
from domain.clock import Clock
from domain.reports import ANSWER, KNOWN_FOR_GOOD, MAIL, MAILBOX, WORDS, Said, said
from domain.routing import BUILT_IN
from domain.tokens import Tokens
from models.base import Sessions
from models.queries import account_mails, holds, hooks, reports, workspaces
from models.queries.hooks import Coming

MOST = 200  # Webhooks of a transaction.
MOST_BYTES = 1_000_000  # Of their bodies together: one of the largest.
MOST_WORK = 2_000  # What a transaction settles: a report is one, people's own word is several statements.
WORK_OF_A_WORD = 10
MOST_EARLY = MOST_WORK
TURN = 5.0  # Seconds for one workspace before the next one has its turn.
LOOK_EVERY = 2.0  # Seconds, in case nobody rang, and for reports that wait for their message.
SLICES = 4  # So many slices' time at once: there is only one errand, and it never ends.

log = structlog.get_logger()


@dataclass
class Reported:
    """What was settled. Counts alone: history keeps everything we pass."""

    hooks: int = 0
    reports: int = 0
    repeated: int = 0  # Came in before, by their keys.
    raised: int = 0  # Fates.
    known: int = 0  # Messages that had been unknown.
    closed: int = 0  # Messages that waited to be sent once more, and are not.
    suppressed: int = 0
    early: int = 0  # Wait for their message.
    stray: int = 0  # There is no such message.
    unread: int = 0  # Webhooks that nobody understands.
    lag: float = 0  # Seconds that the first of the last batch had waited.
    more: bool = False  # Whether the last batch may have left something that is due.

    def add(self, other: "Reported") -> None:
        for name in ("hooks", "reports", "repeated", "raised", "known", "closed", "suppressed", "stray"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unread += other.unread
        self.early, self.lag, self.more = other.early, other.lag, other.more


@dataclass(frozen=True)
class Mails:
    """What the mails about holds are made with."""

    public_url: str
    sender: str


class ReportActivities:
    def __init__(
        self,
        sessions: Sessions,
        accounts: Accounts,
        tokens: Tokens,
        bell: Bell,
        clock: Clock,
        timing: Timing,
        mails: Mails,
        most: int = MOST,
        turn: float = TURN,
    ) -> None:
        self.sessions, self.accounts, self.tokens = sessions, accounts, tokens
        self.bell, self.clock, self.timing, self.mails = bell, clock, timing, mails
        self.most, self.turn = most, turn

    @activity.defn(name="settle_reports")
    async def settle(self) -> Reported:
        """Settle what comes until the slice is over. A second one takes other workspaces."""
        done, glass = Reported(), Hourglass(SLICES * self.timing.slice)
        async with heartbeating(), self.bell.hooks() as rung:
            while not glass.over:
                rung.clear()
                if not await self.round(done, glass):
                    await rest(rung, min(LOOK_EVERY, glass.left))
        return done

    async def round(self, done: Reported, glass: Hourglass | None = None) -> int:
        """One look at every workspace for which something waits, in any order: where time runs out before
        all had their turn, no one is always the last. Returns how many webhooks were taken; not 0 where
        more is due."""
        async with self.sessions.engine() as db:
            waiting = await hooks.waiting(db, self.clock.now())
        random.shuffle(waiting)
        found = 0
        failed: DBAPIError | None = None
        for workspace_id in waiting:
            if glass is not None and glass.over:
                break
            try:
                found += await self._work_for(workspace_id, done, glass)
            except DBAPIError as error:  # Others go on.
                failed = failed or error
        await self.alert()
        if failed is not None and not _was_held_up(failed):
            raise failed
        return found

    async def _work_for(self, workspace_id: UUID, done: Reported, glass: Hourglass | None) -> int:
        found, most = 0, self.most
        turn_ends = asyncio.get_running_loop().time() + self.turn
        while True:
            try:
                batch = await self.batch(workspace_id, most)
            except DBAPIError as error:
                if not _is_poison(error):
                    raise
                if most > 1:
                    most = 1
                    continue
                batch = await self._drop_first(workspace_id, error)
            done.add(batch)
            found += batch.hooks or batch.more
            turn_is_over = asyncio.get_running_loop().time() > turn_ends
            if not batch.more or turn_is_over or (glass is not None and glass.over):
                break
            most = min(self.most, most * 4)
        return found

    async def batch(self, workspace_id: UUID, most: int) -> Reported:
        """Take up to `most` webhooks of a workspace, and let them take effect, in one transaction.

        With them go the reports that wait and are due, as many as a batch has room for. While those fill it,
        no webhook is taken; and where one at a time is asked for, the webhooks come first.
        """
        done, now = Reported(), self.clock.now()
        async with self.sessions.pump(workspace_id) as db:
            if not await reports.lock(db, workspace_id):
                return done
            taken, early = await self._take(db, workspace_id, most, now)
            if not taken and not early:
                return done
            done.hooks = len(taken)
            if taken:
                done.lag = max(0.0, (now - taken[0].received_at).total_seconds())
            read = await self._read(db, workspace_id, taken, now, [each.account for each in early])
            fresh = await self._fresh(db, workspace_id, read.said, now)
            workspace = await workspaces.get(db, workspace_id)
            settling = Settling(db, workspace, read.origins, now)
            now_due, later = _portion([*early, *fresh])
            await reports.keep_early(db, workspace_id, [(each, now) for each in later], now)
            settled = await settling.run(now_due)
            done.more = bool(later) or len(taken) >= most or len(early) >= self._room(most)
            _add_up(done, settled, read, fresh)
            await self._count(db, workspace_id, read, fresh, settled, now)
        for channel in settled.held:
            log.warning("Marketing is held", workspace=str(workspace_id), channel=channel)
        return done

    def _room(self, most: int) -> int:
        """How many early reports go with `most` webhooks."""
        return MOST_EARLY if most >= self.most else most

    async def _take(
        self, db: AsyncSession, workspace_id: UUID, most: int, now: datetime
    ) -> tuple[list[Coming], list[Said]]:
        room = self._room(most)
        if most == 1:
            taken = await hooks.take(db, workspace_id, 1, MOST_BYTES)
            return taken, [] if taken else await reports.take_early(db, workspace_id, now, room)
        early = await reports.take_early(db, workspace_id, now, room)
        if len(early) >= room:
            return [], early
        return await hooks.take(db, workspace_id, most, MOST_BYTES), early

    async def _read(
        self,
        db: AsyncSession,
        workspace_id: UUID,
        taken: Sequence[Coming],
        now: datetime,
        others: Sequence[UUID],
    ) -> "_Read":
        """What these webhooks say, each read by its own account; `others` are accounts of earlier ones."""
        wanted = {each.provider_id for each in taken} | {*others}
        own = Origin("the mail server", Channel.EMAIL)
        read = _Read({MAILBOX: own, BUILT_IN: own}, [], Counter())
        parsers: dict[UUID, Reporting] = {}
        for row in await hooks.accounts(db, workspace_id, wanted - {MAILBOX, BUILT_IN}):
            read.origins[row.id] = Origin(row.name, Channel(row.channel))
            try:
                parsers[row.id] = cast(Reporting, self.accounts.of(workspace_id, row))
            except CannotUse as error:
                log.warning("An account's webhooks can't be read", provider=str(row.id), why=str(error))
        for each in taken:
            try:
                told = await asyncio.to_thread(self._parse, parsers, each)
                heard = [_said(each, one, now) for one in told]
            except _CAN_NOT_BE_READ as error:
                read.unread[each.provider_id] += 1
                log.warning(
                    "A webhook can't be read", provider=str(each.provider_id), error=type(error).__name__
                )
                continue
            read.said += heard
        return read

    def _parse(self, parsers: Mapping[UUID, Reporting], came: Coming) -> list[Report]:
        if came.method == MAIL:
            notice = notices.read(came.body, self.tokens)
            return [_of_mail(notice, came.received_at)] if notice else []
        if came.method == ANSWER:
            return receipts.answers(came.body, came.received_at)
        parser = parsers[came.provider_id]
        return parser.reports(Hook(came.method, came.url, came.headers, came.body))

    async def _fresh(
        self, db: AsyncSession, workspace_id: UUID, told: Sequence[Said], now: datetime
    ) -> list[Said]:
        """Those that never came before, each once."""
        first: dict[str, Said] = {}
        for each in told:
            first.setdefault(each.key, each)
        keys = {key: each.kind in KNOWN_FOR_GOOD for key, each in first.items()}
        new = await reports.new(db, workspace_id, keys, now) if keys else set()
        return [each for key, each in first.items() if key in new]

    async def _count(
        self,
        db: AsyncSession,
        workspace_id: UUID,
        read: "_Read",
        fresh: Sequence[Said],
        settled: Done,
        now: datetime,
    ) -> None:
        new, told = Counter(each.account for each in fresh), Counter(each.account for each in read.said)
        counted = [
            (
                workspace_id,
                account,
                {
                    "reports": new[account],
                    "repeated": told[account] - new[account],
                    "stray": settled.stray.get(account, 0),
                    "unread": read.unread[account],
                },
            )
            for account in {*told, *read.unread, *settled.stray}
        ]
        await hooks.count(db, counted, now.astimezone(UTC).date())

    async def _drop_first(self, workspace_id: UUID, error: DBAPIError) -> Reported:
        """The database refuses what the first one says: it is counted, and holds up nothing else."""
        async with self.sessions.pump(workspace_id) as db:
            if not await reports.lock(db, workspace_id):
                return Reported()
            now = self.clock.now()
            taken, early = await self._take(db, workspace_id, 1, now)
            of = [each.provider_id for each in taken] + [each.account for each in early]
            counted = [(workspace_id, account, {"unread": 1}) for account in of]
            await hooks.count(db, counted, now.astimezone(UTC).date())
        state = error.orig.sqlstate if isinstance(error.orig, Error) else None
        log.error("The database refuses a webhook", workspace=str(workspace_id), sqlstate=state)
        return Reported(hooks=len(taken), unread=len(of), more=True)

    async def alert(self) -> int:
        """Write to owners and admins about holds of which nobody was told. Returns about how many."""
        now = self.clock.now()
        async with self.sessions.glance() as look:
            if not await holds.silent(look):
                return 0
        async with self.sessions.accounts() as db:
            alarms = await holds.silent(db)
            for alarm in alarms:
                said_of_it = {
                    "workspace_name": alarm.workspace,
                    "channel": alarm.channel,
                    "why": alarm.reason,
                }
                for address in alarm.addresses:
                    await account_mails.queue(
                        db,
                        "marketing held",
                        address,
                        said_of_it,
                        public_url=self.mails.public_url,
                        sender=self.mails.sender,
                        now=now,
                    )
            await holds.told(db, alarms, now)
        return len(alarms)


@dataclass
class _Read:
    origins: dict[UUID, Origin]
    said: list[Said]
    unread: Counter[UUID]


def _portion(told: Sequence[Said]) -> tuple[Sequence[Said], Sequence[Said]]:
    """What one transaction settles of these, and the rest."""
    work = 0
    for n, each in enumerate(told):
        work += WORK_OF_A_WORD if each.kind in WORDS else 1
        if work > MOST_WORK:
            return told[:n], told[n:]
    return told, []


# A parser says ValueError; the others are what one that was not careful enough says of a strange body. And
# KeyError is what we meet where an account can't be opened.
_CAN_NOT_BE_READ = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def _said(came: Coming, report: Report, now: datetime) -> Said:
    return said(
        came.provider_id,
        now,
        key=report.key,
        kind=report.kind.value,
        at=report.at or came.received_at,
        message_id=report.message_id,
        theirs=report.provider_id,
        address=report.address,
        reason=report.reason,
        text=report.text,
        machine=report.machine,
        extra=dict(report.extra),
        answer=came.method == ANSWER,
    )


def _of_mail(notice: notices.Notice, at: datetime) -> Report:
    kind = ReportKind(notice.kind.value)
    return Report(kind, at, notice.key, notice.message_id, address=notice.address, reason=notice.reason)


def _add_up(done: Reported, settled: Done, read: _Read, fresh: Sequence[Said]) -> None:
    done.reports, done.repeated = len(fresh), len(read.said) - len(fresh)
    done.unread = read.unread.total()
    done.raised, done.known, done.closed = settled.raised, settled.known, settled.closed
    done.suppressed, done.early, done.stray = settled.suppressed, settled.early, sum(settled.stray.values())


def _is_poison(error: DBAPIError) -> bool:
    return _state(error).startswith(POISON)


# Somebody who was in our way, or in whose way we were: what we took is still there, and we come again.
_HELD_UP = ("40P01", "55P03")


def _was_held_up(error: DBAPIError) -> bool:
    return _state(error) in _HELD_UP


def _state(error: DBAPIError) -> str:
    found: Any = error.orig.sqlstate if isinstance(error.orig, Error) else None
    return str(found or "")
