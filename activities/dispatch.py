"""What is claimed goes over the wire: batch by batch, by whichever way is open, and every answer is kept.

A batch is settled by the transaction that marks the next, so that a batch costs one commit. No
transaction is open across a call to a provider. A crash between the provider's yes and our note of it
leaves rows in `sending`: whoever finds their lease ended writes `unknown`, and never guesses.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from temporalio import activity

from activities import receipts
from activities.books import LONGEST_SEND, Attempt, Books, Hand
from activities.gates import Way
from activities.letters import Letters, NoWriter, Writer
from activities.routing import Closed, Router
from activities.slices import Hourglass, Slice, Timing, to_the_end
from channels.contract import Attachment, Blame, Envelope, Outcome, OutcomeKind
from domain.channels import OTHERS_SERVERS, Channel
from domain.clock import Clock
from domain.messages import MessageClass, MessageState, Skip, SourceKind
from domain.redacting import without_addresses, without_named_credentials
from domain.routing import BUILT_IN
from domain.staging import Staging
from domain.stories import refused
from domain.templates import TemplateError
from models.base import Sessions
from models.queries import attachments
from models.queries.claims import Claimed
from models.queries.ledger import Kind, Settled, Unsendable
from models.queries.notes import Note

SHORTEST_WAIT = 0.05  # Seconds.
LONGEST_TURN = 0.02  # Seconds of writing at one go, and the message in hand: a template may be slow.

_STATES = {
    OutcomeKind.ACCEPTED: MessageState.ACCEPTED,
    OutcomeKind.REJECTED: MessageState.FAILED,
    OutcomeKind.RETRY: MessageState.QUEUED,
    OutcomeKind.UNKNOWN: MessageState.UNKNOWN,
}


class _Alike(NamedTuple):
    """What messages share that go over the wire together, besides their attempt."""

    version_id: UUID
    channel: Channel
    message_class: MessageClass
    only: UUID | None
    alone: UUID | None  # The message, where files go with it.

    @property
    def asked_for(self) -> bool:
        """Whether it is nothing that one unsubscribes from."""
        return self.message_class == MessageClass.TRANSACTIONAL


@dataclass
class Group:
    """Messages of a claim that are written and sent alike."""

    writer: Writer | NoWriter
    kind: Kind
    only: UUID | None
    files: bool  # Whether any go with it: then it is one message.
    left: deque[Claimed]

    def first(self, n: int) -> list[Claimed]:
        return [*islice(self.left, n)]

    def take(self, n: int) -> list[Claimed]:
        return [self.left.popleft() for _ in range(min(n, len(self.left)))]


class _Refused(NamedTuple):
    """Those whom some providers have certainly not taken."""

    envelopes: list[Envelope]
    by: tuple[UUID, ...]


class Dispatch:
    """Sends what was claimed. One for all slices of a process."""

    def __init__(
        self,
        sessions: Sessions,
        router: Router,
        letters: Letters,
        clock: Clock,
        timing: Timing,
        staging: Staging | None = None,
    ) -> None:
        """`staging` says whom alone this installation writes to; everybody, without it."""
        self.sessions = sessions
        self.books = Books(sessions, clock, timing)
        self.router = router
        self.letters = letters
        self.staging = staging or Staging()
        self.clock = clock
        self.timing = timing

    async def deliver(
        self,
        attempt: Attempt,
        claimed: Sequence[Claimed],
        done: Slice,
        glass: Hourglass,
        closed: dict[Kind, Closed],
        hand: Hand | None = None,
    ) -> None:
        """Wire batch by wire batch, one at least. What is marked is seen through to its end, whoever wants us
        to leave; what is not when the slice is over goes back, so that a slow provider holds up no others.

        Kinds of messages that no provider takes now are noted in `closed`. Whoever gives the `hand` sees how
        far this has come.
        """
        groups, aside = deque[Group](), [*claimed]
        hand = hand or Hand()
        waits: list[float] = []  # Of the groups of which nothing could go in this round.

        def unsent() -> list[UUID]:
            return [message.id for message in (*aside, *(m for group in groups for m in group.left))]

        try:
            groups, aside = await self._groups(attempt, claimed), []
            while True:
                wait = await self._next(attempt, groups, aside, hand, done, closed)
                waits = [*waits, wait] if wait else []
                if not groups or glass.over or hand.refused:  # What is left need not wait for its tokens.
                    break
                if len(waits) >= len(groups):
                    await to_the_end(self.books.write_down(attempt, hand, done))
                    await asyncio.sleep(min(*waits, max(glass.left, 0)))
                    waits = []
        except asyncio.CancelledError:
            await to_the_end(self.books.let_go(attempt, hand, unsent(), done))
            raise
        except BaseException:
            # The lease stays: what became of the batch in hand is for whoever finds it ended to say.
            await to_the_end(self.books.write_down(attempt, hand, done))
            raise
        await to_the_end(self.books.let_go(attempt, hand, unsent(), done))

    async def _groups(self, attempt: Attempt, claimed: Sequence[Claimed]) -> deque[Group]:
        alike = defaultdict[_Alike, deque[Claimed]](deque)
        carrying = await self._carrying(attempt, claimed)
        for message in claimed:
            key = _Alike(
                message.template_version_id,
                message.channel,
                message.message_class,
                message.only,
                message.id if message.id in carrying else None,
            )
            alike[key].append(message)
        writers = {}
        for asked_for in {key.asked_for for key in alike}:
            versions = {key.version_id for key in alike if key.asked_for is asked_for}
            writers[asked_for] = await self.letters.of(
                attempt.source.workspace, versions, attempt.queue, way_out=not asked_for
            )
        return deque(
            Group(
                writers[key.asked_for][key.version_id],
                (Channel(key.channel), MessageClass(key.message_class)),
                key.only,
                key.alone is not None,
                messages,
            )
            for key, messages in alike.items()
        )

    async def _carrying(self, attempt: Attempt, claimed: Sequence[Claimed]) -> set[UUID]:
        """Those with files: single messages alone have any."""
        if attempt.queue.kind is not SourceKind.OUTBOX:
            return set()
        async with self.sessions.batch(attempt.queue.workspace_id) as db:
            return await attachments.carrying(db, attempt.queue.workspace_id, [each.id for each in claimed])

    async def _with_files(self, attempt: Attempt, envelope: Envelope) -> Envelope:
        async with self.sessions.batch(attempt.queue.workspace_id) as db:
            files = await attachments.of(db, attempt.queue.workspace_id, envelope.id)
        return envelope._replace(attachments=tuple(Attachment(*file) for file in files))

    async def _next(
        self,
        attempt: Attempt,
        groups: deque[Group],
        aside: list[Claimed],
        hand: Hand,
        done: Slice,
        closed: dict[Kind, Closed],
    ) -> float:
        """The next batch of the first group, as far as its way is open and limits let it go.

        Returns for how many seconds none of it may go; then it is the next group's turn.
        """
        group, workspace = groups[0], attempt.source.workspace
        way = await self.router.way(workspace, *group.kind, only=group.only, files=group.files)
        if isinstance(way, Closed) and way.gone:
            given_up = [Unsendable(each.id, Skip.CANCELLED, way.reason) for each in groups.popleft().left]
            await to_the_end(self.books.mark(attempt, BUILT_IN, [], given_up, hand, done, onward=False))
            return 0
        if isinstance(way, Closed):
            later = groups.popleft().left
            if group.only or group.files:  # Others of this kind may go.
                ids = [each.id for each in later]
                await to_the_end(self.books.put_off(attempt, ids, way.until, done))
            else:
                closed[group.kind] = way
                aside += later
            return 0
        first = group.first(way.most)
        granted = await self.router.grant(
            workspace, way, [message.address for message in first], group.kind[1]
        )
        batch = group.take(len(first))  # Not before: whoever cancels us puts back what is left.
        may = set(granted.go)
        group.left.extend(message for place, message in enumerate(batch) if place not in may)
        if not group.left:
            groups.popleft()
        if not may:
            groups.rotate(-1)
            return max(granted.wait, SHORTEST_WAIT)
        going = [message for place, message in enumerate(batch) if place in may]
        await to_the_end(self._dispatch(attempt, group, going, way, hand, done))
        return 0

    def _held_back(self, messages: Sequence[Claimed]) -> tuple[Sequence[Claimed], list[Unsendable]]:
        """Those who may be written to, and those who may not while this is a staging system."""
        if not self.staging.on:
            return messages, []
        may = [each for each in messages if self.staging.may(each.channel, each.address)]
        kept = {each.id for each in may}
        why = "CAMPANILE_DELIVER_ONLY_TO does not name the address"
        others = [each.id for each in messages if each.id not in kept]
        return may, [Unsendable(id_, Skip.HELD_BACK, why) for id_ in others]

    async def _dispatch(
        self,
        attempt: Attempt,
        group: Group,
        messages: Sequence[Claimed],
        way: Way,
        hand: Hand,
        done: Slice,
    ) -> None:
        """One batch over the wire: fill the holes, mark, send. Its answers stay in the hand, to be written
        down by the transaction that marks the next batch: one commit a batch, and never two on the wire.

        What a provider has certainly not taken, by its own fault, goes on to the next that is open, as soon
        as that is marked, too."""
        messages, held_back = self._held_back(messages)
        envelopes, unsendable = await _written(group.writer, messages)
        unsendable += held_back
        if group.files:
            envelopes = [await self._with_files(attempt, envelope) for envelope in envelopes]
        noes: dict[UUID, Settled] = {}  # Of those who may still go by another provider.
        waiting: deque[_Refused] = deque()
        tried: tuple[UUID, ...] = ()
        try:
            while True:
                for envelope in envelopes if noes else ():
                    noes.pop(envelope.id, None)
                refused = await self._offer(attempt, group, envelopes, unsendable, way, hand, done, tried)
                unsendable = []
                if refused:
                    ids = {envelope.id for envelope in refused}
                    noes |= {answer.id: answer for answer in hand.answers if answer.id in ids}
                    hand.answers = [answer for answer in hand.answers if answer.id not in ids]
                    waiting.append(_Refused(refused, (*tried, way.provider_id)))
                onward = await self._onward(attempt, group, waiting, noes)
                if onward is None:
                    return
                way, envelopes, tried = onward
        finally:
            hand.answers += noes.values()

    async def _offer(
        self,
        attempt: Attempt,
        group: Group,
        envelopes: Sequence[Envelope],
        unsendable: Sequence[Unsendable],
        way: Way,
        hand: Hand,
        done: Slice,
        tried: Sequence[UUID],
    ) -> list[Envelope]:
        """Mark these for a provider and send them. Returns those that it has certainly not taken, by its own
        fault."""
        before = self.clock.now()
        marked = await self.books.mark(
            attempt, way.provider_id, envelopes, unsendable, hand, done, bool(tried)
        )
        all_of_them = len(marked) == len(envelopes)
        batch = envelopes if all_of_them else [each for each in envelopes if each.id in marked]
        if not batch or not isinstance(group.writer, Writer):
            return []
        began = asyncio.get_running_loop().time()
        with way.gate.calling():
            outcomes = await _sent(way, group.writer, batch)
        hand.moved_at = asyncio.get_running_loop().time()
        seconds = hand.moved_at - began
        hand.answered_at = self.clock.now()
        hand.reported = way.provider.capabilities.webhooks
        if group.only and group.kind[1] is MessageClass.TEST:
            outcomes = [_once(outcome) for outcome in outcomes]
        hand.answers = [*_settled(batch, outcomes)]
        if attempt.queue.kind is SourceKind.OUTBOX:
            hand.notes += (Note(e.id, before, words) for words in way.passed_over for e in batch)
            hand.notes += _noted(batch, outcomes, way.title, hand.answered_at)
        ours = group.kind[0] not in OTHERS_SERVERS
        await self.router.note(attempt.source.workspace, way, outcomes, seconds if ours else 0)
        await receipts.keep(self.sessions, attempt.queue.workspace_id, way, batch, outcomes, self.clock)
        return [e for e, o in zip(batch, outcomes, strict=True) if _may_move(o) and not group.only]

    async def _onward(
        self, attempt: Attempt, group: Group, waiting: deque[_Refused], noes: dict[UUID, Settled]
    ) -> tuple[Way, list[Envelope], tuple[UUID, ...]] | None:
        """Who of those that were refused goes by which provider next, as far as its limits let them; None
        when nobody can. Where another opens by itself, their `noes` have them wait no longer than that."""
        while waiting:
            refused = waiting.popleft()
            way = await self.router.way(
                attempt.source.workspace, *group.kind, but=refused.by, files=group.files
            )
            if isinstance(way, Closed):
                if way.opens_at:
                    seconds = (way.opens_at - self.clock.now()).total_seconds()
                    noes |= {e.id: _sooner(noes[e.id], seconds) for e in refused.envelopes}
                continue
            first = refused.envelopes[: way.most]
            granted = await self.router.grant(
                attempt.source.workspace, way, [e.address for e in first], group.kind[1]
            )
            going = [first[place] for place in granted.go]
            if not going:
                continue
            ids = {envelope.id for envelope in going}
            if left := [e for e in refused.envelopes if e.id not in ids]:
                waiting.appendleft(_Refused(left, refused.by))
            return way, going, refused.by
        return None


async def _written(
    writer: Writer | NoWriter, messages: Sequence[Claimed]
) -> tuple[list[Envelope], list[Unsendable]]:
    """What goes out, and what can't be written for its person. Others have their turn in between."""
    envelopes, unsendable = [], []
    loop = asyncio.get_running_loop()
    until = loop.time() + LONGEST_TURN
    for message in messages:
        if loop.time() > until:
            await asyncio.sleep(0)
            until = loop.time() + LONGEST_TURN
        try:
            holes = writer.holes(message)
        except TemplateError as error:
            unsendable.append(Unsendable(message.id, Skip.TEMPLATE_ERROR, str(error)))
        else:
            envelopes.append(Envelope(message.id, message.address, holes, message.tracked))
    return envelopes, unsendable


async def _sent(way: Way, writer: Writer, batch: Sequence[Envelope]) -> list[Outcome]:
    """The outcomes, whatever the provider's module does: of what it can't tell, nobody knows.

    Why, they say without anybody's address and without credentials: their words are kept longer than people
    are.
    """
    try:
        async with asyncio.timeout(LONGEST_SEND):
            outcomes = await way.provider.send(writer.letter, batch)
        if len(outcomes) == len(batch):
            return [_discreet(outcome) for outcome in outcomes]
        activity.logger.error("A provider answered for other messages than it was given")
    except Exception:  # noqa: BLE001 - the batch is marked: what became of it must not be guessed
        activity.logger.exception("A provider's module failed", extra={"provider": way.provider.name})
    return [Outcome(OutcomeKind.UNKNOWN, reason="the provider's module failed")] * len(batch)


def _discreet(outcome: Outcome) -> Outcome:
    if not outcome.reason:
        return outcome
    return replace(outcome, reason=without_addresses(without_named_credentials(outcome.reason)))


def _settled(batch: Sequence[Envelope], outcomes: Sequence[Outcome]) -> Iterator[Settled]:
    for envelope, outcome in zip(batch, outcomes, strict=True):
        yield Settled(
            envelope.id,
            _STATES[outcome.kind],
            outcome.provider_id,
            outcome.reason,
            outcome.retry_after,
            outcome.blame.value,
        )


def _sooner(no: Settled, seconds: float) -> Settled:
    return no if no.retry_after is None else no._replace(retry_after=min(no.retry_after, max(seconds, 0)))


def _noted(
    batch: Sequence[Envelope], outcomes: Sequence[Outcome], title: str, at: datetime
) -> Iterator[Note]:
    """Each no before acceptance, for its message's story: the line keeps the last answer only."""
    for envelope, outcome in zip(batch, outcomes, strict=True):
        if outcome.kind is OutcomeKind.RETRY:
            yield Note(envelope.id, at, refused(title, outcome.reason))


def _once(outcome: Outcome) -> Outcome:
    """Of a trial: its no is what somebody wants to hear now, not what is tried for a day."""
    if outcome.kind is not OutcomeKind.RETRY:
        return outcome
    return replace(outcome, kind=OutcomeKind.REJECTED, retry_after=None)


def _may_move(outcome: Outcome) -> bool:
    """Whether another provider may take it: it is certainly not accepted, and not for its own sake."""
    return outcome.kind is OutcomeKind.RETRY and outcome.blame is Blame.PROVIDER
