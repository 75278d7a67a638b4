"""Reading the ledger: what became of the messages of a campaign, a flow, or a person."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, CompoundSelect, Select, any_, case, func, insert, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from domain.channels import Channel
from domain.messages import OPEN, Fate, Interaction, MessageClass, MessageState, Skip, SourceKind, Work
from domain.outboxes import outbox
from domain.profiles import IdentityKind
from models.messages import Message, MessageEvent, Queued
from models.profiles import Identity, Profile
from models.queries import pokes

LOOKED = 20_000  # Lines that one page of single messages looks at.
NOT_A_TEST = Message.message_class != MessageClass.TEST


@dataclass(frozen=True)
class Counts:
    """Messages by what became of them. Readers are counted once a message."""

    states: dict[MessageState, int]
    skipped: dict[str, int]  # By reason, in the order of `Skip`.
    opened: int
    clicked: int

    @property
    def all(self) -> int:
        return sum(self.states.values())

    @property
    def open(self) -> int:
        return sum(self.states[state] for state in OPEN)


async def counts(db: AsyncSession, source_id: UUID) -> Counts:
    """A campaign's or flow's messages, those of class test left out."""
    found = Counts(dict.fromkeys(MessageState, 0), {}, 0, 0)
    skip = case((Message.state == MessageState.SKIPPED, Message.reason), else_="").label("skip")
    rows = await db.execute(
        select(
            Message.state,
            skip,
            func.count().label("n"),
            func.count(Message.opened_at).label("opened"),
            func.count(Message.clicked_at).label("clicked"),
        )
        .where(Message.source_id == source_id, NOT_A_TEST)
        .group_by(Message.state, skip)
    )
    for row in rows:
        found.states[MessageState(row.state)] += row.n
        if row.skip:
            found.skipped[row.skip] = row.n
        found = replace(found, opened=found.opened + row.opened, clicked=found.clicked + row.clicked)
    return replace(found, skipped={skip.value: found.skipped[skip] for skip in Skip if skip in found.skipped})


async def unsubscribed(db: AsyncSession, source_id: UUID) -> int:
    """How many of its messages were answered by an unsubscribe."""
    events = (
        select(func.count(MessageEvent.message_id.distinct()))
        .join(Message, Message.id == MessageEvent.message_id)
        .where(Message.source_id == source_id, NOT_A_TEST, MessageEvent.kind == Interaction.UNSUBSCRIBED)
    )
    return await db.scalar(events) or 0


async def tally(db: AsyncSession, source_id: UUID) -> dict[str, Any]:
    """The same in short, for a workflow: queued (all that were written), open, and what was closed how."""
    found = await counts(db, source_id)
    return {
        "queued": found.all,
        "accepted": found.states[MessageState.ACCEPTED],
        "failed": found.states[MessageState.FAILED],
        "skipped": found.states[MessageState.SKIPPED],
        "unknown": found.states[MessageState.UNKNOWN],
        "open": found.open,
        "reasons": found.skipped,
    }


async def by_step(db: AsyncSession, source_id: UUID) -> dict[str, dict[MessageState, int]]:
    """A flow's messages by step and state, those of class test left out."""
    found: dict[str, dict[MessageState, int]] = {}
    rows = await db.execute(
        select(Message.step, Message.state, func.count())
        .where(Message.source_id == source_id, NOT_A_TEST)
        .group_by(Message.step, Message.state)
    )
    for step, state, n in rows:
        found.setdefault(step, dict.fromkeys(MessageState, 0))[MessageState(state)] = n
    return found


def of_source(
    source_id: UUID, state: MessageState | None, message_class: MessageClass | None
) -> list[ColumnElement[bool]]:
    """A campaign's or flow's messages in this state; of this class, or of all but test."""
    which = [Message.source_id == source_id]
    which.append(NOT_A_TEST if message_class is None else Message.message_class == message_class)
    if state is not None:
        which.append(Message.state == state)
    return which


def of_profile(profile_id: UUID) -> list[ColumnElement[bool]]:
    """What was decided to be sent to this person, also under profiles that were merged into this one."""
    aliases = select(Profile.id).where(or_(Profile.id == profile_id, Profile.merged_into == profile_id))
    return [Message.profile_id.in_(aliases)]


async def page(
    db: AsyncSession, which: Collection[ColumnElement[bool]], after: UUID | None, limit: int
) -> Sequence[Message]:
    """Up to `limit` of these messages, the newest first, beyond the one with the id `after`."""
    asked = select(Message).where(*which).order_by(Message.id.desc()).limit(limit)
    if after is not None:
        asked = asked.where(Message.id < after)
    return list(await db.scalars(asked))


@dataclass(frozen=True)
class Singles:
    """Which of the messages that belong to no campaign or flow; None where it does not matter."""

    address: str | None = None  # That was asked for, or of whoever has it now.
    state: MessageState | None = None
    channel: Channel | None = None
    message_class: MessageClass | None = None  # All but test.
    since: datetime | None = None  # Asked for then or later,
    until: datetime | None = None  # or before then.
    fate: Fate | None = None


async def singles_page(
    db: AsyncSession, workspace_id: UUID, which: Singles, after: UUID | None, limit: int
) -> tuple[Sequence[Message], UUID | None]:
    """Up to `limit` of these, the newest first, beyond `after`; and after which id to go on, None at the end.

    No more than `LOOKED` lines are looked at: however seldom what is asked for is, an answer comes soon.
    """
    newest = select(Message).where(Message.source_id == workspace_id)
    if which.address is not None:
        newest = newest.where(Message.id == _any(_to(which.address)))
    if after is not None:
        newest = newest.where(Message.id < after)
    else:  # Both statements look at the same, whoever comes meanwhile.
        newest = newest.where(Message.id <= await _newest(db, workspace_id))
    looked_at = newest.order_by(Message.id.desc()).limit(LOOKED).subquery()
    line = aliased(Message, looked_at)
    asked = select(line)
    if which.message_class is None:
        asked = asked.where(line.message_class != MessageClass.TEST)
    for column, value in (
        (line.message_class, which.message_class),
        (line.state, which.state),
        (line.channel, which.channel),
        (line.fate, which.fate),
    ):
        if value is not None:
            asked = asked.where(column == value)
    if which.since is not None:
        asked = asked.where(line.created_at >= which.since)
    if which.until is not None:
        asked = asked.where(line.created_at < which.until)
    found = list(await db.scalars(asked.order_by(line.id.desc()).limit(limit)))
    if len(found) == limit:
        return found, found[-1].id
    first = select(looked_at.c.id).order_by(looked_at.c.id.desc()).offset(LOOKED - 1)
    return found, await db.scalar(first)


async def _newest(db: AsyncSession, workspace_id: UUID) -> UUID:
    asked = select(Message.id).where(Message.source_id == workspace_id).order_by(Message.id.desc()).limit(1)
    return await db.scalar(asked) or UUID(int=0)


def _to(address: str) -> CompoundSelect[tuple[UUID]]:
    """The messages to whoever has this address, and to the address itself; by an index each."""
    kinds = [IdentityKind.EMAIL, IdentityKind.PHONE]
    named = select(Identity.profile_id).where(Identity.kind.in_(kinds), Identity.value == address)
    merged = select(Profile.id).where(Profile.merged_into == _any(named))
    by_profile = select(Message.id).where(Message.profile_id == _any(union_all(named, merged)))
    bare = select(Message.id).where(Message.profile_id.is_(None), Message.bare == address)
    return union_all(by_profile, bare)


def _any(ids: Select[Any] | CompoundSelect[Any]) -> ColumnElement[Any]:
    """Any of these, which are found first: what asks for them looks each up."""
    return any_(func.array(ids.scalar_subquery()))


async def queue_letters(
    db: AsyncSession,
    workspace_id: UUID,
    letters: Sequence[tuple[str, Sequence[str]]],
    *,
    step: str,
    message_class: MessageClass,
    template_version_id: UUID,
    request_id: UUID,
    now: datetime,
    campaign_id: UUID | None = None,
    channel: Channel = Channel.EMAIL,
) -> list[UUID]:
    """Queue messages to bare addresses, each with the values of its holes, and wake the workspace's outbox.

    `step` says what it is, such as "test" for a campaign's. `request_id` is the occasion: one request sends
    to an address once. Returns the messages' ids in order.
    """
    asked_for = message_class is MessageClass.TRANSACTIONAL
    queue_id = outbox(workspace_id, transactional=asked_for, channel=channel)
    rows = [
        {
            "workspace_id": workspace_id,
            "queue_id": queue_id,
            "source_id": campaign_id or workspace_id,
            "source_kind": SourceKind.CAMPAIGN if campaign_id else SourceKind.OUTBOX,
            "step": step,
            "occasion": request_id,
            "channel": channel,
            "message_class": message_class,
            "template_version_id": template_version_id,
            "bare": address,
            "holes": list(holes),
            "due_at": now,
        }
        for address, holes in letters
    ]
    written = insert(Message).returning(Message.id, sort_by_parameter_order=True)
    ids = list(await db.scalars(written, rows))
    here = {"workspace_id": workspace_id, "queue_id": queue_id, "due_at": now}
    await db.execute(insert(Queued), [{**here, "message_id": id_} for id_ in ids])
    pokes.poke(db, queue_id, Work.SEND)
    return ids
