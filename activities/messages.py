"""Send what is due: claim, mark, send, settle, for one queue at a time.

A batch is settled by the transaction that marks the next, so that a batch costs one commit. No
transaction is open across a call to a provider. A crash between the provider's yes and our note of it
leaves rows in `sending`: whoever finds their lease ended writes `unknown`, and never guesses.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from temporalio import activity
from uuid_utils.compat import uuid7

from activities.bell import Bell
from activities.letters import Letters, NoWriter, Writer
from activities.slices import (
    DATABASE_ERRORS,
    Hourglass,
    Pace,
    Slice,
    Timing,
    heartbeating,
    is_away,
    rest,
    to_the_end,
)
from channels.contract import Envelope, OutcomeKind, Provider
from domain.clock import Clock
from domain.messages import MessageState, SourceKind, Work
from domain.templates import TemplateError
from domain.workspaces import Cap, period_start
from models.base import Db, Sessions
from models.queries import campaigns, claims, enrollments_moved, ledger, pokes, queued, workspaces
from models.queries.claims import Claimed
from models.queries.ledger import Queue, Settled
from models.queries.ways import Move, after_messages, graphs
from models.workspaces import Workspace

CLAIM = 1000  # Rows a claim.
PAGE_EVERY = 0.05  # Seconds between two looks for the next page of a freeze.
AGAIN_AFTER = 0.5  # Seconds between two tries of what must not be given up.

_STATES = {
    OutcomeKind.ACCEPTED: MessageState.ACCEPTED,
    OutcomeKind.REJECTED: MessageState.FAILED,
    OutcomeKind.RETRY: MessageState.QUEUED,
    OutcomeKind.UNKNOWN: MessageState.UNKNOWN,
}


@dataclass(frozen=True)
class Source:
    """What a slice knows of those whose messages it sends, read when it begins."""

    queue: Queue
    workspace: Workspace
    onward: Sequence[Move]  # Where a flow's members go when their message is closed.


@dataclass(frozen=True)
class Attempt:
    """One claimed batch: whose it is, its id, and the cap that its members were counted under."""

    source: Source
    id: UUID
    cap: claims.Cap | None

    @property
    def queue(self) -> Queue:
        return self.source.queue


Batch = tuple[Writer | NoWriter, Sequence[Claimed]]  # What goes over the wire together, and who writes it.


@dataclass
class Hand:
    """What came back from the wire and is not written down yet."""

    answers: list[Settled] = field(default_factory=list)
    answered_at: datetime | None = None


class MessageActivities:
    def __init__(
        self,
        sessions: Sessions,
        channel: Provider,
        letters: Letters,
        bell: Bell,
        clock: Clock,
        timing: Timing,
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

        A flow's or an outbox's slice lingers for more; a campaign's is over when its audience is.
        """
        done, cursor, pace = Slice(), claims.BEGINNING, Pace()
        async with heartbeating():
            async with self.bell.listen(queue.id, Work.SEND) as rung:
                source = await self._begin(queue, done)
                glass = Hourglass(self.timing.slice)
                while not glass.over:
                    pace.begin()
                    rung.clear()
                    attempt, claim = await self._claim(source, done, cursor)
                    if claim.claimed:
                        await self._deliver(attempt, claim.claimed, done, glass)
                    if claim.found == CLAIM and queue.alone:
                        break  # There is more than one slice should send: the workflow is told at once.
                    if claim.found == CLAIM:
                        cursor = claim.cursor
                    elif cursor != claims.BEGINNING or claim.undecided:
                        cursor = claims.BEGINNING
                    elif not await self._linger(queue, rung, glass, pace.breath(claim.found)):
                        break
            done.lively = glass.over
            await self._look_ahead(queue, done)
        return done

    async def _begin(self, queue: Queue, done: Slice) -> Source:
        """Take over from workers that died, and read how this workspace writes to people."""
        now = self.clock.now()
        async with self.sessions(queue.workspace_id) as db:
            workspace = await workspaces.get(db, queue.workspace_id)
            flow = await graphs(db, queue.id) if queue.kind is SourceKind.FLOW else {}
            # Here, where nobody is poked: two transactions that take one poke and write the other's could
            # wait for each other.
            await pokes.take(db, queue.id, Work.SEND)
        source = Source(queue, workspace, after_messages(flow))
        async with self.sessions.batch(queue.workspace_id) as db:
            states = await ledger.recover(db, queue, now, self._reconcile_at(now))
            unknown = [id_ for id_, state in states.items() if state is MessageState.UNKNOWN]
            await self._closed(db, source, unknown)
        done.unknown += len(unknown)
        return source

    async def _claim(self, source: Source, done: Slice, after: claims.Cursor) -> tuple[Attempt, claims.Claim]:
        queue, now = source.queue, self.clock.now()
        attempt = Attempt(source, uuid7(), _cap(source.workspace, now))
        async with self.sessions.batch(queue.workspace_id) as db:
            claim = await claims.claim(
                db, queue, attempt.id, now, self.timing.lease, CLAIM, attempt.cap, after
            )
            await self._closed(db, source, claim.skipped)
        done.skipped += len(claim.skipped)
        return attempt, claim

    async def _deliver(
        self,
        attempt: Attempt,
        claimed: Sequence[Claimed],
        done: Slice,
        glass: Hourglass,
    ) -> None:
        """Wire batch by wire batch, one at least. What is marked is seen through to its end, whoever wants us
        to leave; what is not when the slice is over goes back, so that a slow provider holds up no others."""
        by_template: dict[UUID, list[Claimed]] = {}
        for message in claimed:
            by_template.setdefault(message.template_version_id, []).append(message)
        writers = await self.letters.of(attempt.source.workspace, by_template)
        size = self.channel.capabilities.wire_batch
        left: deque[Batch] = deque(
            (writers[version], messages[start : start + size])
            for version, messages in by_template.items()
            for start in range(0, len(messages), size)
        )
        hand = Hand()
        try:
            await to_the_end(self._dispatch(attempt, *left.popleft(), hand, done))
            while left and not glass.over:
                await to_the_end(self._dispatch(attempt, *left.popleft(), hand, done))
        except asyncio.CancelledError:
            await to_the_end(self._let_go(attempt, hand, left, done))
            raise
        except BaseException:
            # The lease stays: what became of the batch in hand is for whoever finds it ended to say.
            await to_the_end(self._write_down(attempt, hand, done))
            raise
        await to_the_end(self._let_go(attempt, hand, left, done))

    async def _let_go(self, attempt: Attempt, hand: Hand, left: Collection[Batch], done: Slice) -> None:
        """Write the last answers down, put back what is still claimed under the lease, and give it up."""
        unsent = [message.id for _, messages in left for message in messages]
        if hand.answers and not unsent:
            await self._write_down(attempt, hand, done, last=True)
            return
        await self._write_down(attempt, hand, done)
        async with self.sessions.batch(attempt.queue.workspace_id) as db:
            counts = await self._put_back(db, attempt, unsent)
            await ledger.drop_lease(db, attempt.queue, attempt.id)
        self._count_unsent(counts, done)

    async def _dispatch(
        self,
        attempt: Attempt,
        writer: Writer | NoWriter,
        messages: Sequence[Claimed],
        hand: Hand,
        done: Slice,
    ) -> None:
        """One batch over the wire: fill the holes, mark, send. Its answers stay in the hand, to be written
        down by the transaction that marks the next batch: one commit a batch, and never two on the wire."""
        envelopes, errors = [], []
        for message in messages:
            try:
                holes = writer.holes(message)
            except TemplateError as error:
                errors.append((message.id, str(error)))
            else:
                envelopes.append(Envelope(message.id, message.address, holes, message.tracked))
        marked = await self._mark(attempt, envelopes, errors, hand, done)
        batch = [envelope for envelope in envelopes if envelope.id in marked]
        if batch and isinstance(writer, Writer):
            outcomes = await self.channel.send(writer.letter, batch)
            hand.answered_at = self.clock.now()
            hand.answers = [
                Settled(envelope.id, _STATES[o.kind], o.provider_id, o.reason, o.retry_after)
                for envelope, o in zip(batch, outcomes, strict=True)
            ]

    async def _mark(
        self,
        attempt: Attempt,
        envelopes: Sequence[Envelope],
        errors: Sequence[tuple[UUID, str]],
        hand: Hand,
        done: Slice,
    ) -> set[UUID]:
        """Commit the mark; if the commit's own answer is lost, ask again under the same attempt.

        Nothing of this batch has been sent when it raises; `unknown` it becomes only where the commit did
        reach the database and its lease ended before we could ask.
        """
        again = False
        while True:
            try:
                return await self._try_to_mark(attempt, envelopes, errors, hand, done, again)
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
                activity.logger.warning(
                    "The database is away; what was sent is settled, and the next marked, when it is back",
                    extra={"attempt": str(attempt.id), "messages": len(hand.answers)},
                )
                again = True
                await asyncio.sleep(AGAIN_AFTER)

    async def _try_to_mark(
        self,
        attempt: Attempt,
        envelopes: Sequence[Envelope],
        errors: Sequence[tuple[UUID, str]],
        hand: Hand,
        done: Slice,
        again: bool,
    ) -> set[UUID]:
        queue, now = attempt.queue, self.clock.now()
        async with self.sessions.batch(queue.workspace_id) as db:
            settled = await self._settle(db, attempt, hand)
            letters = [(envelope.id, envelope.holes) for envelope in envelopes]
            marked = await ledger.mark(db, queue, attempt.id, letters, now, again) if letters else set()
            unwritable = await ledger.skip_unwritable(db, queue, attempt.id, errors, now) if errors else []
            refused = [envelope.id for envelope in envelopes if envelope.id not in marked]
            counts = await self._put_back(db, attempt, refused, unwritable, again)
        hand.answers = []
        self._count_settled(settled, done)
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
            await self._closed(db, attempt.source, closed)
        return Counter(states.values())

    def _count_unsent(self, counts: Counter[MessageState], done: Slice) -> None:
        done.skipped += counts[MessageState.SKIPPED]
        done.again += counts[MessageState.QUEUED]

    async def _settle(self, db: Db, attempt: Attempt, hand: Hand) -> Counter[MessageState]:
        """Write the answers in the hand down. Returns how many messages are in which state now."""
        now = hand.answered_at
        if not now or not hand.answers:
            return Counter()
        states = await ledger.settle(
            db, attempt.queue, attempt.id, hand.answers, now, self._reconcile_at(now)
        )
        unsent = (MessageState.QUEUED, MessageState.FAILED)
        await self._uncount(db, attempt, [i for i, state in states.items() if state in unsent])
        closed = [i for i, state in states.items() if state is not MessageState.QUEUED]
        await self._closed(db, attempt.source, closed)
        return Counter(states.values())

    def _count_settled(self, counts: Counter[MessageState], done: Slice) -> None:
        done.accepted += counts[MessageState.ACCEPTED]
        done.failed += counts[MessageState.FAILED]
        done.unknown += counts[MessageState.UNKNOWN]
        done.again += counts[MessageState.QUEUED]

    async def _write_down(self, attempt: Attempt, hand: Hand, done: Slice, last: bool = False) -> None:
        """Settle what is in the hand, however long the database is away: known must not become unknown.

        With the `last` answers goes the lease.
        """
        while hand.answers:
            try:
                async with self.sessions.batch(attempt.queue.workspace_id) as db:
                    settled = await self._settle(db, attempt, hand)
                    if last:
                        await ledger.drop_lease(db, attempt.queue, attempt.id)
                hand.answers = []
                self._count_settled(settled, done)
            except DATABASE_ERRORS as error:
                if not is_away(error):
                    raise
                activity.logger.warning(
                    "The database is away; what was sent is settled when it is back",
                    extra={"attempt": str(attempt.id), "messages": len(hand.answers)},
                )
                await asyncio.sleep(AGAIN_AFTER)

    async def _uncount(self, db: Db, attempt: Attempt, unsent: Collection[UUID]) -> None:
        if attempt.cap:
            await ledger.give_back(db, attempt.queue.workspace_id, [*unsent])

    async def _closed(self, db: Db, source: Source, closed: Sequence[UUID]) -> None:
        """Messages were closed in this transaction: those who waited for them go on, and if they will be due
        somewhere, it is told."""
        queue = source.queue
        if not closed or queue.kind is not SourceKind.FLOW:
            return
        gone = await enrollments_moved.go_on(
            db, queue.workspace_id, queue.id, closed, source.onward, self.clock.now()
        )
        if gone.next_due_at:
            pokes.poke(db, queue.id, Work.ADVANCE)

    async def _linger(self, queue: Queue, rung: asyncio.Event, glass: Hourglass, breath: float) -> bool:
        """Wait a little for more. Whether there may be some."""
        if queue.kind is SourceKind.CAMPAIGN:
            return await self._freezing(queue)
        await asyncio.sleep(min(breath, glass.left))
        return await rest(rung, min(self.timing.linger, glass.left)) or glass.over

    async def _freezing(self, campaign: Queue) -> bool:
        """Whether some of the campaign's audience are still to be queued; if so, after a moment for them."""
        async with self.sessions.batch(campaign.workspace_id) as db:
            freezing = await campaigns.freezing(db, campaign.workspace_id, campaign.id)
        if freezing:
            await asyncio.sleep(PAGE_EVERY)
        return freezing

    async def _look_ahead(self, queue: Queue, done: Slice) -> None:
        async with self.sessions.batch(queue.workspace_id) as db:
            ahead = await queued.ahead(db, queue)
        done.open, done.next_due_at, done.lease_left = ahead

    def _reconcile_at(self, now: datetime) -> datetime:
        """When to decide about what is unknown: at once where no webhook will ever tell."""
        reported = self.channel.capabilities.webhooks
        return now + timedelta(seconds=self.timing.reconcile_after if reported else 0)


def _cap(workspace: Workspace, now: datetime) -> claims.Cap | None:
    """The cap on email that is in force now."""
    for cap in map(Cap.model_validate, workspace.caps):
        if cap.channel == "email":
            return claims.Cap(cap.limit, cap.period, period_start(cap.period, now, workspace.time_zone))
    return None
