"""Single messages: written into the ledger as they are asked for, and read with their stories."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain.campaigns import CampaignState
from domain.channels import Channel, readable
from domain.errors import Conflict, NotFound
from domain.flows import FlowState
from domain.messages import Fate, Interaction, MessageClass, MessageState, SourceKind, Work
from domain.outboxes import outbox
from domain.routing import BUILT_IN
from domain.singles import STEP
from domain.stories import BUILT_IN_TITLE, Deed, Line, Told, story
from models.campaigns import Campaign
from models.flows import Flow
from models.messages import Message, MessageEvent, Queued
from models.providers import Provider
from models.queries import attachments, notes, pokes, roads
from models.queries.attachments import File


@dataclass(frozen=True)
class Single:
    """One message that was asked for, checked."""

    channel: Channel
    message_class: MessageClass
    template_version_id: UUID
    profile_id: UUID | None
    bare: str | None  # The address, where there is no profile.
    holes: Sequence[str] | None  # Filled already; at the claim where None.
    due_at: datetime
    expires_at: datetime | None
    note: str  # Who asked for it, for its story.
    files: Sequence[File] = ()


# Erasure changes this row before it looks for what is to be forgotten: either it waits for our lines, or we
# for it, and see.
_ERASED = text(
    """
    select bool_or(erased_at is not null) from (
        select erased_at from profiles
        where workspace_id = :workspace and id = any(cast(:profiles as uuid[]))
        order by id for share
    ) held
    """
)


async def write(db: AsyncSession, workspace_id: UUID, singles: Sequence[Single], now: datetime) -> list[UUID]:
    """Queue these messages and wake the outbox, each as a request of its own. Returns their ids in order.

    Raises Conflict where one of them is to somebody who was erased since it was checked: ask again then.
    """
    if not singles:
        return []
    queues = [
        outbox(
            workspace_id,
            transactional=each.message_class is MessageClass.TRANSACTIONAL,
            channel=each.channel,
        )
        for each in singles
    ]
    lines = [
        {
            "workspace_id": workspace_id,
            "queue_id": queue_id,
            "source_id": workspace_id,
            "source_kind": SourceKind.OUTBOX,
            "step": STEP,
            "occasion": uuid7(),
            "channel": each.channel,
            "message_class": each.message_class,
            "template_version_id": each.template_version_id,
            "profile_id": each.profile_id,
            "bare": each.bare,
            "holes": None if each.holes is None else list(each.holes),
            "created_at": now,
            "due_at": each.due_at,
            "expires_at": each.expires_at,
        }
        for queue_id, each in zip(queues, singles, strict=True)
    ]
    written = insert(Message).returning(Message.id, sort_by_parameter_order=True)
    ids = list(await db.scalars(written, lines))
    turns = [
        {"workspace_id": workspace_id, "queue_id": queue_id, "due_at": each.due_at, "message_id": id_}
        for id_, queue_id, each in zip(ids, queues, singles, strict=True)
    ]
    await db.execute(insert(Queued), turns)
    asked = [notes.Note(id_, now, each.note) for id_, each in zip(ids, singles, strict=True)]
    await notes.add(db, workspace_id, asked)
    files = [(id_, file) for id_, each in zip(ids, singles, strict=True) for file in each.files]
    await attachments.add(db, workspace_id, files)
    for queue_id in set(queues):
        pokes.poke(db, queue_id, Work.SEND)
    people = [each.profile_id for each in singles if each.profile_id]
    if people and await db.scalar(_ERASED, {"workspace": workspace_id, "profiles": people}):
        raise Conflict("Somebody whom this is to was erased at this moment: nothing was sent. Ask again.")
    return ids


async def get(db: AsyncSession, message_id: UUID) -> Message:
    """Any line of the ledger. Raises `NotFound`."""
    message = await db.scalar(select(Message).where(Message.id == message_id))
    if message is None:
        raise NotFound(f"There is no message {message_id}.")
    return message


async def told(db: AsyncSession, message: Message, now: datetime) -> list[Told]:
    """The story of a message, with what keeps it back now."""
    source, pausing = await _source(db, message)
    line = Line(
        state=MessageState(message.state),
        source_kind=SourceKind(message.source_kind),
        source=source,
        step=message.step,
        channel=message.channel,
        resend=message.resend,
        attempts=message.attempts,
        created_at=message.created_at,
        due_at=message.due_at,
        claimed_at=message.claimed_at,
        marked_at=message.marked_at,
        closed_at=message.closed_at,
        address=readable(Channel(message.channel), message.address),
        reason=message.reason,
        detail=message.detail,
        provider=await _provider(db, message.provider),
        provider_id=message.provider_id,
        fate=Fate(message.fate) if message.fate else None,
        reported_at=message.reported_at,
    )
    deeds = await db.execute(
        select(MessageEvent.kind, MessageEvent.at, MessageEvent.link)
        .where(MessageEvent.message_id == message.id)
        .order_by(MessageEvent.at)
        .limit(200)
    )
    noted = await notes.of(db, message.workspace_id, message.id)
    why = pausing
    if line.state is MessageState.QUEUED and line.due_at <= now and why is None:
        why = await roads.in_the_way(db, message, now)
    did = [Deed(Interaction(kind), at, link) for kind, at, link in deeds]
    return story(line, noted, did, now, why)


async def _source(db: AsyncSession, message: Message) -> tuple[str | None, str | None]:
    """The name of what decided it, and why that sends nothing now, if it does not."""
    found: Campaign | Flow | None
    match message.source_kind:
        case SourceKind.CAMPAIGN:
            kind, sends = "campaign", CampaignState.RUNNING.value
            found = await db.get(Campaign, (message.workspace_id, message.source_id))
        case SourceKind.FLOW:
            kind, sends = "flow", FlowState.LIVE.value
            found = await db.get(Flow, (message.workspace_id, message.source_id))
        case _:
            return None, None
    if found is None:
        return None, None
    # What is sent again goes by the outbox, whatever became of its source.
    if found.state == sends or message.queue_id != message.source_id:
        return found.name, None
    return found.name, f"Its {kind} is {found.state}."


async def _provider(db: AsyncSession, provider_id: UUID | None) -> str | None:
    if provider_id is None or provider_id == BUILT_IN:
        return BUILT_IN_TITLE if provider_id else None
    name = await db.scalar(select(Provider.name).where(Provider.id == provider_id))
    return f'"{name}"' if name else None
