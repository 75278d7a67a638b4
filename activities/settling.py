"""One batch of reports of one workspace, settled in one transaction.

What a report says of a message becomes its fate, and its state where that was open or unknown. What it says
of a person becomes a suppression, a consent or an event. In whatever order reports come, the same is left.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from channels import registry
from domain import holds as limits
from domain.channels import Channel, address_kind
from domain.events import MESSAGE_REPLIED, EventKind
from domain.messages import Fate, Interaction, MessageClass, MessageState, SourceKind, Work
from domain.profiles import IdentityKind, SuppressionReason, normal
from domain.remedies import of_hold
from domain.reports import (
    ACCEPTED,
    BUSY_AGAIN,
    EARLY_AGAIN,
    EARLY_FOR,
    HELP,
    HELP_AGAIN,
    MAILBOX,
    REPLIED,
    RESUBSCRIBED,
    WORDS,
    Counts,
    Line,
    Said,
    Settled,
    passed,
    settle,
)
from domain.short_templates import ShortTemplate
from domain.stories import reported
from domain.workspaces import Period, period_start
from models.base import act_as
from models.queries import (
    announced_messages,
    arrivals,
    bodies,
    enrollments_moved,
    failures,
    follow_ups,
    holds,
    ledger,
    notes,
    people_reporting,
    pokes,
    reports,
    singles,
    tracking,
)
from models.queries.arrivals import Coming
from models.queries.people_reporting import Word
from models.queries.reports import At
from models.queries.singles import Single
from models.queries.tracking import Arrival
from models.queries.ways import after_messages, graphs
from models.workspaces import Workspace

_OURSELVES = (
    '{"kind": "system", "id": "00000000-0000-0000-0000-000000000000", "name": "Campanile", "via": null, '
    '"request_id": null}'
)
# The words are what fills its hole, so that nothing in them is taken for Liquid.
_HELP_TEXT = ShortTemplate(Channel.SMS, {"text": "{{ help }}"})
_ANSWER = "HELP is answered."
_CLOSED = (MessageState.QUEUED, MessageState.CLAIMED)
_WHY = {
    Fate.HARD_BOUNCE.value: SuppressionReason.HARD_BOUNCE,
    Fate.COMPLAINED.value: SuppressionReason.COMPLAINED,
}


@dataclass(frozen=True)
class Origin:
    """The account that reports came from."""

    name: str
    channel: Channel


@dataclass
class Done:
    """What a batch came to."""

    raised: int = 0  # Fates.
    closed: int = 0  # Messages that waited to be sent again, and are not.
    known: int = 0  # Messages that were unknown.
    suppressed: int = 0
    early: int = 0
    stray: dict[UUID, int] = field(default_factory=lambda: defaultdict(int))  # By account.
    held: list[str] = field(default_factory=list)  # Channels, from now on.


class Settling:
    """`origins` has the account of every report, by its id."""

    def __init__(
        self, db: AsyncSession, workspace: Workspace, origins: Mapping[UUID, Origin], now: datetime
    ) -> None:
        self.db, self.workspace, self.origins, self.now = db, workspace, origins, now
        self.here = workspace.id
        self.done = Done()
        self.early: list[tuple[Said, datetime]] = []
        self.counts: dict[str, Counts] = defaultdict(Counts)
        self.second_tries: dict[UUID, UUID] = {}  # By the unknown messages that they are to replace.

    async def run(self, said: Sequence[Said]) -> Done:
        """Settle all of these; none of them was settled before."""
        said = await self._with_messages(said)
        wanted = sorted({each.message_id for each in said if each.message_id is not None})
        lines, busy = await reports.hold(self.db, self.here, wanted) if wanted else ({}, set())
        await self._hold_second_tries(lines, busy)
        about: dict[UUID, list[Said]] = defaultdict(list)
        at_once: list[tuple[Said, Line | None]] = []
        for each in said:
            line = lines.get(each.message_id) if each.message_id is not None else None
            if each.message_id is not None and each.message_id in busy:
                self.early.append((each, self.now + BUSY_AGAIN))
            elif line is not None and line.tried:
                about[line.id].append(each)
                at_once.append((each, line))
            elif self._tells_of_a_person(each):
                at_once.append((each, None))
                if each.kind not in WORDS:
                    self._try_again(each)
            else:
                self._try_again(each)
        await self._settle_lines(lines, about)
        await self._suppress(at_once)
        await self._hear(at_once)
        await self._note_reading(at_once)
        await self._judge()
        await reports.keep_early(self.db, self.here, self.early, self.now)
        self.done.early = len(self.early)
        return self.done

    async def _hold_second_tries(self, lines: dict[UUID, Line], busy: set[UUID]) -> None:
        """Of unknown messages that were queued once more. Where a sender has the second in hand, the first
        is busy as well: so that the second is not sent when the first proves to be."""
        unknown = [id_ for id_, line in lines.items() if line.state == MessageState.UNKNOWN]
        if not unknown:
            return
        self.second_tries = await reports.second_tries(self.db, self.here, unknown)
        _, taken = await reports.hold(self.db, self.here, sorted(self.second_tries.values()))
        for first, second in self.second_tries.items():
            if second in taken:
                del lines[first]
                busy.add(first)

    async def _withdraw(self, proved: Iterable[UUID]) -> None:
        """These were unknown, and are known to be sent: what waits to be sent in their place is not."""
        ids = [self.second_tries[id_] for id_ in proved if id_ in self.second_tries]
        withdrawn = await reports.withdraw(self.db, self.here, ids, self.now)
        claimed = [id_ for id_, before in withdrawn.items() if before is MessageState.CLAIMED]
        await ledger.give_back(self.db, self.here, claimed)
        await announced_messages.skipped(self.db, [*withdrawn], self.now)
        self.done.closed += len(withdrawn)

    async def _with_messages(self, said: Sequence[Said]) -> list[Said]:
        """Where the provider says only what it calls a message itself, find ours."""
        lost = [
            (n, (self._channel(each, None), address, each.theirs))
            for n, each in enumerate(said)
            if each.message_id is None and each.theirs and each.kind not in WORDS
            if (address := self._address(each, None)) is not None
        ]
        found = await reports.by_their_name(self.db, self.here, [asked for _, asked in lost]) if lost else {}
        known = {n: found[place] for place, (n, _) in enumerate(lost) if place in found}
        return [replace(each, message_id=known[n]) if n in known else each for n, each in enumerate(said)]

    def _channel(self, said: Said, line: Line | None) -> str:
        return line.channel if line is not None else self.origins[said.account].channel.value

    def _address(self, said: Said, line: Line | None) -> str | None:
        """Where the message went, or where the report says that it went; in the form that is kept.

        Anybody who got a mail can write a notice about it, and name whom they like in there: of a notice only
        the message's address counts, of which erasure leaves none. What a provider says of somebody's own
        word is about who sent that.
        """
        address = line.address if line is not None else None
        if address is None and said.account != MAILBOX and (line is None or said.kind in WORDS):
            address = said.address
        kind = address_kind(Channel(self._channel(said, line)))
        return normal(kind, address) if address is not None and kind is not None else address

    def _tells_of_a_person(self, said: Said) -> bool:
        return self._address(said, None) is not None and (said.kind in WORDS or said.kind in _WHY)

    def _try_again(self, said: Said, soon: timedelta = EARLY_AGAIN) -> None:
        """After a pause that doubles, for an hour."""
        since = said.since or self.now
        age = self.now - since
        if age < EARLY_FOR:
            self.early.append((replace(said, since=since), self.now + max(soon, age)))
        else:
            self.done.stray[said.account] += 1

    async def _settle_lines(self, lines: Mapping[UUID, Line], about: Mapping[UUID, Sequence[Said]]) -> None:
        settled = [settle(lines[id_], told) for id_, told in about.items()]
        for each in settled:
            line = lines[each.id]
            self.done.raised += each.raised
            if line.message_class != MessageClass.TEST:
                self.counts[line.channel].count(line.fate, each.fate)
            if line.state == MessageState.SENDING and each.proved:
                # Whoever sends it right now may die of it: look once more, to know what it became.
                self._try_again(replace(about[each.id][0], kind=ACCEPTED, answer=False), BUSY_AGAIN)
        states = await reports.settle(self.db, self.here, settled, self.now)
        closed = [id_ for id_, (before, after) in states.items() if before in _CLOSED and after is not before]
        self.done.closed += len(closed)
        self.done.known += sum(
            before is MessageState.UNKNOWN and after is not before for before, after in states.values()
        )
        await announced_messages.tell_of(self.db, _told(settled, states), self.now)
        sent = [id_ for id_ in closed if states[id_] == (MessageState.QUEUED, MessageState.ACCEPTED)]
        await reports.count_again(self.db, self.here, sent)
        await self._note(settled, states)
        await notes.add(
            self.db,
            self.here,
            [note for each in settled for note in self._passed(lines[each.id], each, about)],
        )
        known = (MessageState.UNKNOWN, MessageState.ACCEPTED)
        await self._withdraw([id_ for id_, change in states.items() if change == known])
        await self._free([lines[id_] for id_ in closed])
        changed = [
            lines[each.id].profile_id
            for each in settled
            if each.closes or (each.raised and each.fate in (Fate.SOFT_BOUNCE, Fate.HARD_BOUNCE))
        ]
        people = {who for who in changed if who is not None}
        await follow_ups.note(self.db, sorted(people), self.now, reads=["messages"])

    async def _note(
        self, settled: Iterable[Settled], states: Mapping[UUID, tuple[MessageState, MessageState]]
    ) -> None:
        """What was sent and did not arrive is a failure; what was unknown and is not any more is none."""
        lost = [each.id for each in settled if each.raised and each.fate in (Fate.FAILED, Fate.HARD_BOUNCE)]
        await failures.note_messages(self.db, self.here, lost, self.now)
        unknown = MessageState.UNKNOWN
        known = [id_ for id_, (before, after) in states.items() if before is unknown and after is not unknown]
        await failures.known(self.db, self.here, known, self.now)

    def _passed(
        self, line: Line, settled: Settled, about: Mapping[UUID, Sequence[Said]]
    ) -> Iterator[notes.Note]:
        """What the story would lose: a fate that another takes the place of. Who read it had it."""
        for fate, reason in passed(line, about[line.id], settled.fate):
            if (fate, settled.fate) != (Fate.DELIVERED, Fate.READ):
                at = line.reported_at if fate == line.fate and line.reported_at else self.now
                yield notes.Note(line.id, at, reported(fate, reason))

    async def _free(self, closed: Iterable[Line]) -> None:
        """Members of flows who waited for these go on, as where a sender closes a message."""
        by_flow: dict[UUID, list[UUID]] = defaultdict(list)
        for line in closed:
            if line.source_kind == SourceKind.FLOW:
                by_flow[line.source_id].append(line.id)
        for flow_id, ids in by_flow.items():
            onward = after_messages(await graphs(self.db, flow_id))
            gone = await enrollments_moved.go_on(self.db, self.here, flow_id, ids, onward, self.now)
            if gone.next_due_at:
                pokes.poke(self.db, flow_id, Work.ADVANCE)

    async def _suppress(self, told: Iterable[tuple[Said, Line | None]]) -> None:
        """Hard bounces and complaints at once; soft bounces when there were too many and nothing between."""
        never: dict[At, tuple[SuppressionReason, str]] = {}
        softly: dict[tuple[At, UUID], datetime] = {}
        arrived: dict[At, datetime] = {}
        for each, line in sorted(told, key=lambda one: one[0].at):
            address = self._address(each, line)
            if address is None:
                continue
            at = self._channel(each, line), address
            if each.kind in _WHY:
                never.setdefault(at, (_WHY[each.kind], self._source(each)))
            elif each.kind == Fate.SOFT_BOUNCE and line is not None:
                softly.setdefault((at, line.id), each.at)
            elif each.kind in (Fate.DELIVERED, Fate.READ):
                arrived[at] = each.at
        await reports.recovered(self.db, self.here, arrived)
        softly = {key: at for key, at in softly.items() if key[0] not in arrived or at > arrived[key[0]]}
        limit, within = self.workspace.soft_bounce_limit, timedelta(days=self.workspace.soft_bounce_days)
        for at in await reports.bounced_softly(self.db, self.here, softly, limit, within, self.now):
            never.setdefault(at, (SuppressionReason.HARD_BOUNCE, f"{limit} soft bounces"))
        self.done.suppressed += len(await people_reporting.suppress(self.db, never, self.now))

    def _source(self, said: Said) -> str:
        """Who says so, as a suppression shows it."""
        return self.origins[said.account].name

    async def _hear(self, told: Iterable[tuple[Said, Line | None]]) -> None:
        """What people said themselves, the oldest first: so that the last word counts."""
        coming = []
        for each, line in sorted(told, key=lambda one: one[0].at):
            if each.kind in (Interaction.UNSUBSCRIBED, RESUBSCRIBED):
                word = Word(
                    self._channel(each, line),
                    self._address(each, line),
                    line.profile_id if line is not None else None,
                    line.id if line is not None and not each.answer else None,
                    _topic(each),
                    each.kind == RESUBSCRIBED,
                    each.at,
                )
                await people_reporting.take_at_their_word(self.db, word, self.now)
            elif each.kind in (REPLIED, HELP) and (reply := self._reply(each, line)):
                coming.append(reply)
            if each.kind == HELP and not each.extra.get("answered"):
                await self._help(each, line)
        await arrivals.put(self.db, coming)

    async def _help(self, said: Said, line: Line | None) -> None:
        """Answer HELP with the workspace's words, where the provider has not, once in a while for an address.

        Each answer costs, and the other side may be a machine that answers as well.
        """
        words, address = self.workspace.sms_help, self._address(said, line)
        if not words or address is None or self._channel(said, line) != Channel.SMS:
            return
        if not await people_reporting.is_first(self.db, HELP, address, self.now, HELP_AGAIN):
            return
        version = await bodies.version(self.db, self.here, _HELP_TEXT)
        single = Single(
            Channel.SMS, MessageClass.TRANSACTIONAL, version, None, address, [words], self.now, None, _ANSWER
        )
        await singles.write(self.db, self.here, [single], self.now)

    def _reply(self, said: Said, line: Line | None) -> Coming | None:
        """The event that an answer is, or None where nobody could be named."""
        channel = Channel(self._channel(said, line))
        kind, address = address_kind(channel), self._address(replace(said, since=None), line)
        if kind is None or address is None:
            return None
        properties: dict[str, Any] = {**said.extra, "channel": channel.value, "text": said.text or ""}
        if said.kind == HELP:
            properties["keyword"] = HELP
        if line is not None:
            properties["message_id"] = str(line.id)
        return Coming(
            self.here,
            self.now,
            EventKind.TRACK,
            said.at,
            properties,
            name=MESSAGE_REPLIED,
            message_id=said.key,
            email=address if kind is IdentityKind.EMAIL else None,
            phone=address if kind is IdentityKind.PHONE else None,
        )

    async def _note_reading(self, told: Iterable[tuple[Said, Line | None]]) -> None:
        """Opens and clicks, as if they had come to us; those of programs apart."""
        people: list[Arrival] = []
        machines: list[tuple[UUID, str, datetime]] = []
        for each, line in told:
            if line is None or each.kind not in (Interaction.OPENED, Interaction.CLICKED):
                continue
            if each.machine:
                machines.append((line.id, each.kind, each.at))
            else:
                kind = Interaction(each.kind)
                people.append(Arrival(self.here, line.id, kind, each.at, None, None, uuid7()))
        await reports.done_by_machines(self.db, self.here, machines, self.now)
        if people:
            read = await tracking.record(self.db, people)
            await announced_messages.tell_of(self.db, read.get(self.here, ()), self.now)

    async def _judge(self) -> None:
        """Count how the day goes, and hold a channel's marketing where it does harm."""
        counts = {channel: each for channel, each in self.counts.items() if each.any}
        if not counts:
            return
        today = period_start(Period.DAY, self.now, self.workspace.time_zone)
        judged = await holds.count(self.db, self.here, counts, today, registry.reporting())
        for channel, lately in judged.items():
            why = limits.too_much(lately)
            if why is None:
                continue
            await act_as(self.db, _OURSELVES)
            if await holds.hold(self.db, self.here, channel, why, self.now):
                self.done.held.append(channel)
                held = of_hold(channel, why, self.now.isoformat())
                await failures.note(self.db, self.here, [held], self.now)
            await act_as(self.db, "")


def _told(
    settled: Iterable[Settled], states: Mapping[UUID, tuple[MessageState, MessageState]]
) -> list[announced_messages.Said]:
    """What is announced of these: how sending ended, where that was not known, and what was reported."""
    told = []
    for each in settled:
        before, after = states.get(each.id, (None, None))
        if after is not None and after is not before and not (each.raised and each.fate == Fate.FAILED):
            more = {"corrected": True} if before is MessageState.UNKNOWN else {}
            told.append(announced_messages.Said(each.id, announced_messages.ENDS[after], more))
        if each.raised and each.fate is not None:
            told.append(announced_messages.of_fate(each.id, Fate(each.fate)))
    return told


def _topic(said: Said) -> UUID | None:
    """The topic that an account's unsubscribe group stands for, where its parser says so."""
    try:
        return UUID(str(said.extra["topic"])) if "topic" in said.extra else None
    except ValueError:
        return None
