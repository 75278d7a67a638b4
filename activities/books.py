"""The ledger's side of sending: marks before a batch goes on the wire, answers after it, and what goes back.

Each is one short transaction, and is repeated while the database is away: a known answer never becomes
unknown.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from temporalio import activity

from activities.slices import DATABASE_ERRORS, Slice, Timing, is_away
from channels.contract import Envelope
from domain.clock import Clock
from domain.messages import MessageState, SourceKind, Work
from models.base import Db, Sessions
from models.batch import Asked, Batch
from models.queries import (
    announced,
    announced_messages,
    claims,
    enrollments_moved,
    failures,
    ledger,
    notes,
    pokes,
)
from models.queries.enrollments_moved import GoneOn
from models.queries.ledger import Queue, Settled, Unsendable
from models.queries.notes import Note
from models.queries.ways import Move
from models.workspaces import Workspace

AGAIN_AFTER = 0.5  # Seconds between two tries of what must not be given up.
LONGEST_SEND = 50.0  # Seconds: a provider ends sooner by itself, and a lease lasts a minute.


@dataclass(frozen=True)
class Source:
    """What a slice knows of those whose messages it sends, read when it begins."""

    queue: Queue
    workspace: Workspace
    onward: Sequence[Move]  # Where a flow's members go when their message is closed.


@dataclass
class Attempt:
    """One claimed batch: whose it is, its id, and the caps that its members were counted under."""

    source: Source
    id: UUID
    caps: Sequence[claims.Cap]
    held_until: float  # On the loop's clock. The database, which counts from later, may end the lease later.
    unheard: bool = True  # Whether no webhook is known that may ask what becomes of these.
    deliveries: int = 1  # Side by side under one lease, which the last to end gives up.

    @property
    def queue(self) -> Queue:
        return self.source.queue


@dataclass
class Hand:
    """What came back from the wire and is not written down yet."""

    answers: list[Settled] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)  # For the stories of single messages.
    answered_at: datetime | None = None
    reported: bool = False  # Whether the provider will report what became of these.
    refused: bool = False  # Whether nobody of the last batch was marked: its source sends no more.
    moved_at: float = 0  # When it last had an answer, on the loop's clock.


class Books:
    """Writes into the ledger what becomes of claimed messages."""

    def __init__(self, sessions: Sessions, clock: Clock, timing: Timing) -> None:
        self.sessions = sessions
        self.clock = clock
        self.timing = timing

    async def mark(
        self,
        attempt: Attempt,
        provider: UUID,
        envelopes: Sequence[Envelope],
        unsendable: Sequence[Unsendable],
        hand: Hand,
        done: Slice,
        onward: bool,
    ) -> set[UUID]:
        """Commit the mark; if the commit's own answer is lost, ask again under the same attempt.

        Nothing of this batch has been sent when it raises; `unknown` it becomes only where the commit did
        reach the database and its lease ended before we could ask. `onward`: it was marked for another
        provider, which did not take it.
        """
        again = onward
        while True:
            try:
                return await self._try_to_mark(attempt, provider, envelopes, unsendable, hand, done, again)
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
        provider: UUID,
        envelopes: Sequence[Envelope],
        unsendable: Sequence[Unsendable],
        hand: Hand,
        done: Slice,
        again: bool,
    ) -> set[UUID]:
        held_until, renewing = self._renewing(attempt)
        if envelopes and not (again or unsendable or renewing) and _nothing_follows(attempt, hand):
            if await self._at_once(attempt, provider, envelopes, hand, done):
                return {envelope.id for envelope in envelopes}
            again = True  # Some are marked by now.
        queue, now = attempt.queue, self.clock.now()
        asked = [*self._settling(attempt, hand), *renewing]
        letters = [(envelope.id, envelope.holes) for envelope in envelopes]
        if letters:
            asked.append(ledger.marking(queue, attempt.id, letters, now, again, provider))
        async with self.sessions.batch(queue.workspace_id, asked) as db:
            marked = set[UUID](db.answers[-1].scalars()) if letters else set[UUID]()
            settled = await self._settled(db, attempt, hand)
            skipped = (
                await ledger.skip_unsendable(db, queue, attempt.id, unsendable, now) if unsendable else []
            )
            if skipped:
                await failures.note_messages(db, queue.workspace_id, skipped, now)
            all_of_them = len(marked) == len(envelopes)
            refused = [] if all_of_them else [each.id for each in envelopes if each.id not in marked]
            counts = await self._put_back(db, attempt, refused, skipped, again)
        attempt.held_until = held_until
        hand.answers, hand.notes = [], []
        hand.refused = bool(letters) and not marked
        self._count_settled(settled, done)
        self._count_unsent(counts, done)
        return marked

    def _renewing(self, attempt: Attempt) -> tuple[float, list[Asked]]:
        """Until when we hold the batch if this is done: longer, where the lease might else end before a
        provider that is asked now must have answered."""
        now = asyncio.get_running_loop().time()
        if attempt.held_until - now >= LONGEST_SEND:
            return attempt.held_until, []
        return now + self.timing.lease, [ledger.renewing(attempt.queue, attempt.id, self.timing.lease)]

    async def _at_once(
        self, attempt: Attempt, provider: UUID, envelopes: Sequence[Envelope], hand: Hand, done: Slice
    ) -> bool:
        """Settle and mark in one round trip, where nothing follows from it but what is counted. Whether that
        was all; what is left is for a transaction that sees to what follows, and marks once more: nothing may
        come between a mark and the wire, or the lease could end there."""
        letters = [(envelope.id, envelope.holes) for envelope in envelopes]
        queue, asked = attempt.queue, list[Asked]()
        if hand.answers and hand.answered_at:
            asked.append(ledger.accepting(queue, attempt.id, hand.answers, hand.answered_at))
        asked.append(ledger.marking(queue, attempt.id, letters, self.clock.now(), provider=provider))
        *settled, marked = await self.sessions.at_once(queue.workspace_id, asked)
        accepted = {id_ for answer in settled for id_ in answer.scalars()}
        hand.answers = [answer for answer in hand.answers if answer.id not in accepted]
        done.accepted += len(accepted)
        attempt.unheard = not hand.answers  # Or they have been recovered.
        return attempt.unheard and len(marked.all()) == len(envelopes)

    async def _put_back(
        self,
        db: Db,
        attempt: Attempt,
        claimed: Sequence[UUID],
        skipped: Sequence[UUID] = (),
        again: bool = False,
        until: datetime | None = None,
    ) -> Counter[MessageState]:
        """Let go of what is still `claimed`, and uncount it with what was `skipped` for its template's sake.

        What somebody else recovered meanwhile was uncounted by them. `again`: a mark that was never answered
        may have reached the database, and nothing of it was sent. Returns how many are in which state.
        """
        states, now = dict.fromkeys(skipped, MessageState.SKIPPED), self.clock.now()
        if claimed:
            states |= await ledger.put_back(db, attempt.queue, attempt.id, claimed, now, again, until)
        if states:
            unsent = (MessageState.QUEUED, MessageState.SKIPPED, MessageState.FAILED)
            await self._uncount(db, attempt, [i for i, state in states.items() if state in unsent])
            gone = [id_ for id_, state in states.items() if state is not MessageState.QUEUED]
            await self.freed(db, attempt.source, gone)
            await announced_messages.ended(db, states, now)
        return Counter(states.values())

    def _count_unsent(self, counts: Counter[MessageState], done: Slice) -> None:
        done.skipped += counts[MessageState.SKIPPED]
        done.again += counts[MessageState.QUEUED]
        done.accepted += counts[MessageState.ACCEPTED]  # By a report that came meanwhile.
        done.failed += counts[MessageState.FAILED]

    async def put_off(self, attempt: Attempt, ids: Sequence[UUID], until: datetime, done: Slice) -> None:
        """Put claimed messages back to be looked at again then."""
        async with self.sessions.batch(attempt.queue.workspace_id) as db:
            counts = await self._put_back(db, attempt, ids, until=until)
        self._count_unsent(counts, done)

    def _settling(self, attempt: Attempt, hand: Hand) -> list[Asked]:
        """How the answers in the hand are written down; `_settled` has what follows."""
        now = hand.answered_at
        if not now or not hand.answers:
            return []
        source, reconcile_at = attempt.source, self.reconcile_at(now, hand.reported)
        settling = ledger.settling(source.queue, attempt.id, hand.answers, now, reconcile_at)
        if source.queue.kind is SourceKind.FLOW:
            settling = enrollments_moved.settling(settling, source.queue.id, source.onward, self.clock.now())
        return [settling, announced.looking()]

    async def _settled(self, db: Batch, attempt: Attempt, hand: Hand) -> Counter[MessageState]:
        """What follows in a transaction opened with `_settling`. Returns how many messages are in which
        state now."""
        now = hand.answered_at
        await notes.add(db, attempt.queue.workspace_id, hand.notes)
        if not now or not hand.answers:
            return Counter()
        settled, looked, *_ = db.answers
        announced.looked(db, looked)
        rows = settled.all()
        if attempt.queue.kind is SourceKind.FLOW:
            *rows, gone = rows
            self._poke(db, attempt.queue, await enrollments_moved.went_on(db, gone, self.clock.now()))
        states = ledger.states(row[:2] for row in rows)
        unsent = (MessageState.QUEUED, MessageState.FAILED)
        await self._uncount(db, attempt, [i for i, state in states.items() if state in unsent])
        closed = [i for i, state in states.items() if state is not MessageState.QUEUED]
        failed = [i for i in closed if states[i] in (MessageState.FAILED, MessageState.UNKNOWN)]
        if failed:
            blames = {answer.id: answer.blame for answer in hand.answers if answer.blame}
            await failures.note_messages(db, attempt.queue.workspace_id, failed, now, blames)
        await announced_messages.ended(db, states, now, late=True)
        return Counter(states.values())

    def _count_settled(self, counts: Counter[MessageState], done: Slice) -> None:
        done.accepted += counts[MessageState.ACCEPTED]
        done.failed += counts[MessageState.FAILED]
        done.unknown += counts[MessageState.UNKNOWN]
        done.again += counts[MessageState.QUEUED]

    async def write_down(self, attempt: Attempt, hand: Hand, done: Slice, last: bool = False) -> None:
        """Settle what is in the hand, however long the database is away: known must not become unknown.

        With the `last` answers goes the lease.
        """
        while hand.answers:
            try:
                asked = self._settling(attempt, hand)
                if last:
                    asked.append(ledger.dropping_lease(attempt.queue, attempt.id))
                async with self.sessions.batch(attempt.queue.workspace_id, asked) as db:
                    settled = await self._settled(db, attempt, hand)
                hand.answers, hand.notes = [], []
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
        if attempt.caps:
            await ledger.give_back(db, attempt.queue.workspace_id, [*unsent])

    async def freed(self, db: Db, source: Source, closed: Sequence[UUID]) -> None:
        """Messages were closed in this transaction: those who waited for them go on, and if they will be due
        somewhere, it is told."""
        queue = source.queue
        if not closed or queue.kind is not SourceKind.FLOW:
            return
        gone = await enrollments_moved.go_on(
            db, queue.workspace_id, queue.id, closed, source.onward, self.clock.now()
        )
        self._poke(db, queue, gone)

    def _poke(self, db: Db, queue: Queue, gone: GoneOn) -> None:
        if gone.next_due_at:
            pokes.poke(db, queue.id, Work.ADVANCE)

    def reconcile_at(self, now: datetime, reported: bool) -> datetime:
        """When to decide about what is unknown: at once where no webhook will ever tell."""
        return now + timedelta(seconds=self.timing.reconcile_after if reported else 0)

    async def let_go(self, attempt: Attempt, hand: Hand, unsent: Collection[UUID], done: Slice) -> None:
        """Write the last answers down, and put back what is still claimed under the lease. Who is the last
        to do so gives it up."""
        last = attempt.deliveries == 1
        if hand.answers and not unsent:
            await self.write_down(attempt, hand, done, last)
        else:
            await self.write_down(attempt, hand, done)
            async with self.sessions.batch(attempt.queue.workspace_id) as db:
                counts = await self._put_back(db, attempt, [*unsent])
                if last:
                    await db.execute(*ledger.dropping_lease(attempt.queue, attempt.id))
            self._count_unsent(counts, done)
        attempt.deliveries -= 1
        if not attempt.deliveries and not last:  # Others were at it meanwhile.
            async with self.sessions.batch(attempt.queue.workspace_id) as db:
                await db.execute(*ledger.dropping_lease(attempt.queue, attempt.id))


def _nothing_follows(attempt: Attempt, hand: Hand) -> bool:
    """Whether the answers move nobody on, are told to nobody and give nothing back, as far as is known."""
    return (
        attempt.unheard
        and not hand.notes
        and attempt.queue.kind is not SourceKind.FLOW
        and all(answer.state is MessageState.ACCEPTED and not answer.reason for answer in hand.answers)
    )
