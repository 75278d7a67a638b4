"""Where people choose what they hear of: whose page it is, what there is to choose, what they chose."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.profiles import ADDRESS_KIND, ConsentSource, ConsentState, Purpose
from models.lists import Topic
from models.queries import consents, profiles, topics
from models.queries.profiles import HERE

_OF_MESSAGE = text(
    f"select profile_id, channel, address from messages where workspace_id = {HERE} and id = :message"
)
_CONSENTS = text(
    f"""
    select purpose, state from consents
    where workspace_id = {HERE} and profile_id = :profile and ended_at is null
    """
)
_SENDER = text(
    f"""
    select coalesce(w.sender_name, w.name)
    from workspaces w join profiles p on p.workspace_id = w.id and p.id = :profile and p.erased_at is null
    where w.id = {HERE} and w.deleted_at is null
    """
)


@dataclass(frozen=True)
class Choices:
    """What somebody can choose, and what holds now."""

    sender: str
    profile_id: UUID
    topics: Sequence[Topic]
    chosen: Collection[UUID]
    denied: bool  # Marketing by email as a whole.


async def whose(db: AsyncSession, message_id: UUID) -> UUID:
    """The profile that got this message. Raises `NotFound`, also where nobody we know did."""
    message = (await db.execute(_OF_MESSAGE, {"message": message_id})).one_or_none()
    who: UUID | None = message.profile_id if message is not None else None
    if message is not None and who is None and message.address and message.channel in ADDRESS_KIND:
        who = await profiles.find(db, ADDRESS_KIND[message.channel], message.address)
    if who is None:
        raise NotFound(f"There is nobody whom we know behind the message {message_id}.")
    return who


async def choices(db: AsyncSession, profile_id: UUID) -> Choices:
    """A topic of which nothing was said follows its channel. Raises `NotFound`, also for who was erased."""
    who = await profiles.survivor(db, profile_id)
    sender: str | None = await db.scalar(_SENDER, {"profile": who})
    if sender is None:
        raise NotFound("This workspace was closed, or the person was erased.")
    channels = {row.purpose: row.state for row in await db.execute(_CONSENTS, {"profile": who})}
    said = await consents.topics_of(db, who)
    offered = await topics.all_of_them(db)
    on = {
        topic.id
        for topic in offered
        if channels.get(topic.purpose) == ConsentState.GRANTED
        and said.get(topic.id, (ConsentState.GRANTED, ""))[0] == ConsentState.GRANTED
    }
    return Choices(sender, who, offered, on, channels.get(Purpose.EMAIL) == ConsentState.DENIED)


async def choose(
    db: AsyncSession, profile_id: UUID, shown: Collection[UUID], wanted: Collection[UUID], now: datetime
) -> None:
    """The person's own word on the topics that they were shown. Who wants one allows its channel again.

    Raises `NotFound`, and `Conflict` for who was erased.
    """
    who = await profiles.alive(db, profile_id)
    own = ConsentSource.PERSON
    offered = [each for each in await topics.all_of_them(db) if each.id in shown]
    for topic in offered:
        state = ConsentState.GRANTED if topic.id in wanted else ConsentState.DENIED
        await consents.choose(db, who, topic.id, state, own, now)
    for purpose in dict.fromkeys(each.purpose for each in offered if each.id in wanted):
        await profiles.consent(db, who, Purpose(purpose), ConsentState.GRANTED, own, now)


async def want_nothing(db: AsyncSession, profile_id: UUID, now: datetime) -> None:
    """No more marketing at all, on any channel that has a topic, and by email. Raises as `choose` does."""
    who = await profiles.alive(db, profile_id)
    purposes = {Purpose.EMAIL.value, *(each.purpose for each in await topics.all_of_them(db))}
    for purpose in sorted(purposes - {Purpose.TRACKING.value}):
        await profiles.unsubscribe_profile(db, who, now, ConsentSource.PERSON, purpose)
    if Purpose.TRACKING in purposes:
        await profiles.consent(db, who, Purpose.TRACKING, ConsentState.DENIED, ConsentSource.PERSON, now)
