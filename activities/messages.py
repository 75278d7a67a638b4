"""Send what is due: claim, mark, send, settle, for one queue at a time.

No transaction is open across a call to a provider. A crash between the provider's yes and our note of
it leaves rows in `sending`: whoever finds their lease ended writes `unknown`, and never guesses.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from temporalio import activity
from uuid_utils.compat import uuid7

from activities.letters import Letters, NoWriter, Writer
from activities.slices import (
    DATABASE_ERRORS,
    Bell,
    Hourglass,
    Slice,
    Timing,
    heartbeating,
    is_away,
    rest,
    to_the_end,
)
from channels.contract import Channel, Envelope, Outcome, OutcomeKind
from domain.clock import Clock
from domain.messages import MessageState, SourceKind, Work
from domain.templates import TemplateError
from domain.workspaces import Cap, period_start
from models.base import Db, Sessions
from models.queries import enrollments, ledger, pokes, workspaces
from models.queries.ledger import Claimed, Queue, Settled
from models.workspaces import Workspace

CLAIM = 1000  # Rows a claim.
AGAIN_AFTER = 0.5  # Seconds between two tries of what must not be given up.

_STATES = {
    OutcomeKind.ACCEPTED: MessageState.ACCEPTED,
    OutcomeKind.REJECTED: MessageState.FAILED,
    OutcomeKind.RETRY: MessageState.QUEUED,
    OutcomeKind.UNKNOWN: MessageState.UNKNOWN,
}


@dataclass(frozen=True)
class Attempt:
    """One claimed batch: its queue, its id, and the cap that its members were counted under."""

    queue: Queue
    id: UUID
    cap: ledger.Cap | None


class MessageActivities:
    def __init__(
        self, sessions: Sessions, channel: Channel, letters: Letters, bell: Bell, clock: Clock, timing: Timing
    ) -> None:
        self.sessions = sessions
        self.channel = channel
        self.letters = letters
        self.bell = bell
        self.clock = clock
        self.timing = timing

    @activity.defn(name="send")
    async def send(self, queue: Queue) -> Slice:
        """Send what is due for one queue until the slice is over or nothing is due.

        A flow's or an outbox's slice lingers for more; a campaign's is over when its queue is.
        """
        done, cursor = Slice(), ledger.BEGINNING
        async with heartbeating(), self.bell.listen(queue.id, Work.SEND) as rung:
            workspace = await self._begin(queue, done)
            glass = Hourglass(self.timing.slice)
            while not glass.over:
                attempt, claim = await self._claim(queue, workspace, done, cursor, rung)
                if claim.claimed:
                    await self._deliver(attempt, workspace, claim.claimed, done, glass)
                if claim.found:
                    cursor = claim.cursor
                elif cursor != ledger.BEGINNING:
                    cursor = ledger.BEGINNING
                elif not await self._linger(queue, rung, glass):
                    break
            await self._look_ahead(queue, done)
        return done

    async def _begin(self, queue: Queue, done: Slice) -> Workspace:
        """Take over from workers that died, and read how this workspace writes to people."""
        now = self.clock.now()
        async with self.sessions(queue.workspace_id) as db:
            workspace = await workspaces.get(db, queue.workspace_id)
        async with self.sessions.batch(queue.workspace_id) as db:
            await pokes.take(db, queue.id, Work.SEND)
            states = await ledger.recover(db, queue, now, self._reconcile_at(now))
            unknown = [id_ for id_, state in states.items() if state is MessageState.UNKNOWN]
            await self._closed(db, queue, unknown)
        done.unknown += len(unknown)
        return workspace

    async def _claim(
        self,
        queue: Queue,
        workspace: Workspace,
        done: Slice,
        after: ledger.Cursor,
        rung: asyncio.Event,
    ) -> tuple[Attempt, ledger.Claim]:
        now = self.clock.now()
        attempt = Attempt(queue, uuid7(), _cap(workspace, now))
        async with self.sessions.batch(queue.workspace_id) as db:
            if rung.is_set():
                rung.clear()
                await pokes.take(db, queue.id, Work.SEND)
            claim = await ledger.claim(
                db, queue, attempt.id, now, self.timing.lease, CLAIM, attempt.cap, after
            )
            await self._closed(db, queue, claim.skipped)
        done.skipped += len(claim.skipped)
        return attempt, claim

    async def _deliver(
        self,
        attempt: Attempt,
        workspace: Workspace,
        claimed: Sequence[Claimed],
        done: Slice,
        glass: Hourglass,
    ) -> None:
        """Wire batch by wire batch, one at least. What is marked is seen through to its end, whoever wants us
        to leave; what is not when the slice is over goes back, so that a slow provider holds up no others."""
        by_template: dict[UUID, list[Claimed]] = {}
        for message in claimed:
            by_template.setdefault(message.template_version_id, []).append(message)
        writers = await self.letters.of(workspace, by_template)
        size = self.channel.capabilities.wire_batch
        left = deque(
            (writers[version], messages[start : start + size])
            for version, messages in by_template.items()
            for start in range(0, len(messages), size)
        )
        try:
            await to_the_end(self._dispatch(attempt, *left.popleft(), done))
            while left and not glass.over:
                await to_the_end(self._dispatch(attempt, *left.popleft(), done))
        except asyncio.CancelledError:
            await self._let_go(attempt, [message.id for _, batch in left for message in batch], done)
            raise
        await self._let_go(attempt, [message.id for _, batch in left for message in batch], done)

    async def _let_go(self, attempt: Attempt, unsent: Sequence[UUID], done: Slice) -> None:
        """Give up the lease; what is still claimed under it goes back to the queue."""
        async with self.sessions.batch(attempt.queue.workspace_id) as db:
            counts = await self._put_back(db, attempt, unsent)
            await ledger.drop_lease(db, attempt.queue, attempt.id)
        self._count_unsent(counts, done)

    async def _dispatch(
        self, attempt: Attempt, writer: Writer | NoWriter, messages: Sequence[Claimed], done: Slice
    ) -> None:
        """One batch over the wire: fill the holes, mark, send, settle."""
        envelopes, errors = [], []
        for message in messages:
            try:
                holes = writer.holes(message)
            except TemplateError as error:
                errors.append((message.id, str(error)))
            else:
                envelopes.append(Envelope(message.id, message.address, holes, message.tracked))
        marked = await self._mark(attempt, envelopes, errors, done)
        batch = [envelope for envelope in envelopes if envelope.id in marked]
        if batch and isinstance(writer, Writer):
            outcomes = await self.channel.send(writer.letter, batch)
            await self._settle(attempt, batch, outcomes, done)

    async def _mark(
        self,
        attempt: Attempt,
        envelopes: Sequence[Envelope],
        errors: Sequence[tuple[UUID, str]],
        done: Slice,
    ) -> set[UUID]:
        """Commit the mark; if the commit's own answer is lost, ask again under the same attempt.

        Nothing of this batch has been sent when it raises; `unknown` it becomes only where the commit did
        reach the database and its lease ended before we could ask.
        """
        again = False
        while True:
            try:
                return await self._try_to_mark(attempt, envelopes, errors, done, again)
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
                activity.logger.warning("The mark is repeated", extra={"attempt": str(attempt.id)})
                again = True
                await asyncio.sleep(AGAIN_AFTER)

    async def _try_to_mark(
        self,
        attempt: Attempt,
        envelopes: Sequence[Envelope],
        errors: Sequence[tuple[UUID, str]],
        done: Slice,
        again: bool,
    ) -> set[UUID]:
        queue, now = attempt.queue, self.clock.now()
        async with self.sessions.batch(queue.workspace_id) as db:
            letters = [(envelope.id, envelope.holes) for envelope in envelopes]
            marked = await ledger.mark(db, queue, attempt.id, letters, now, again) if letters else set()
            unwritable = await ledger.skip_unwritable(db, queue, attempt.id, errors, now) if errors else []
            refused = [envelope.id for envelope in envelopes if envelope.id not in marked]
            counts = await self._put_back(db, attempt, refused, unwritable, again)
        self._count_unsent(counts, done)
        return marked

    async def _put_back(
        self,
        db: Db,
        attempt: Attempt,
        claimed: Sequence[UUID],
        skipped: Sequence[UUID] = (),
        again: bool = False,
    ) -> Counter[MessageState]:
        """Let go of what is still `claimed`, and uncount it with what was `skipped` for its template's sake.

        What somebody else recovered meanwhile was uncounted by them. `again`: a mark that was never answered
        may have reached the database, and nothing of it was sent. Returns how many are in which state.
        """
        states = dict.fromkeys(skipped, MessageState.SKIPPED)
        if claimed:
            now = self.clock.now()
            states |= await ledger.put_back(db, attempt.queue, attempt.id, claimed, now, again)
        if states:
            await self._uncount(db, attempt, states)
            closed = [id_ for id_, state in states.items() if state is MessageState.SKIPPED]
            await self._closed(db, attempt.queue, closed)
        return Counter(states.values())

    def _count_unsent(self, counts: Counter[MessageState], done: Slice) -> None:
        done.skipped += counts[MessageState.SKIPPED]
        done.again += counts[MessageState.QUEUED]

    async def _settle(
        self, attempt: Attempt, batch: Sequence[Envelope], outcomes: Sequence[Outcome], done: Slice
    ) -> None:
        """Write the answers down, however long the database is away: the known must not become unknown."""
        now = self.clock.now()
        settled = [
            Settled(envelope.id, _STATES[o.kind], o.provider_id, o.reason, o.retry_after)
            for envelope, o in zip(batch, outcomes, strict=True)
        ]
        states = await to_the_end(self._write_down(attempt, settled, now))
        counts = Counter(states.values())
        done.accepted += counts[MessageState.ACCEPTED]
        done.failed += counts[MessageState.FAILED]
        done.unknown += counts[MessageState.UNKNOWN]
        done.again += counts[MessageState.QUEUED]

    async def _write_down(
        self, attempt: Attempt, settled: Sequence[Settled], now: datetime
    ) -> dict[UUID, MessageState]:
        queue = attempt.queue
        while True:
            try:
                async with self.sessions.batch(queue.workspace_id) as db:
                    states = await ledger.settle(db, queue, attempt.id, settled, now, self._reconcile_at(now))
                    unsent = (MessageState.QUEUED, MessageState.FAILED)
                    await self._uncount(db, attempt, [i for i, state in states.items() if state in unsent])
                    closed = [i for i, state in states.items() if state is not MessageState.QUEUED]
                    await self._closed(db, queue, closed)
                return states
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
                activity.logger.warning(
                    "The database is away; what was sent is settled when it is back",
                    extra={"attempt": str(attempt.id), "messages": len(settled)},
                )
                await asyncio.sleep(AGAIN_AFTER)

    async def _uncount(self, db: Db, attempt: Attempt, unsent: Collection[UUID]) -> None:
        if attempt.cap:
            await ledger.give_back(db, attempt.queue.workspace_id, [*unsent])

    async def _closed(self, db: Db, queue: Queue, closed: Sequence[UUID]) -> None:
        """Messages were closed in this transaction: those who waited for them are due."""
        if not closed or queue.kind is not SourceKind.FLOW:
            return
        if await enrollments.free(db, queue.workspace_id, closed, self.clock.now()):
            await pokes.poke(db, queue.id, Work.ADVANCE)

    async def _linger(self, queue: Queue, rung: asyncio.Event, glass: Hourglass) -> bool:
        """Wait a little for more. Whether there may be some."""
        if queue.kind is SourceKind.CAMPAIGN:
            return False
        return await rest(rung, min(self.timing.linger, glass.left))

    async def _look_ahead(self, queue: Queue, done: Slice) -> None:
        async with self.sessions.batch(queue.workspace_id) as db:
            ahead = await ledger.ahead(db, queue)
        done.open, done.next_due_at, done.lease_left = ahead

    def _reconcile_at(self, now: datetime) -> datetime:
        """When to decide about what is unknown: at once where no webhook will ever tell."""
        reported = self.channel.capabilities.webhooks
        return now + timedelta(seconds=self.timing.reconcile_after if reported else 0)


def _cap(workspace: Workspace, now: datetime) -> ledger.Cap | None:
    """The cap on email that is in force now."""
    for cap in map(Cap.model_validate, workspace.caps):
        if cap.channel == "email":
            return ledger.Cap(cap.limit, cap.period, period_start(cap.period, now, workspace.time_zone))
    return None
