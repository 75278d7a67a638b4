"""What reports say about people: addresses that nothing must go to any more, and people's own word.

Within one workspace that the transaction has entered, by the engine or behind the wall.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.messages import Interaction
from domain.profiles import (
    ADDRESS_KIND,
    OWN_WORD,
    ConsentSource,
    ConsentState,
    Purpose,
    SuppressionReason,
    address_hash,
)
from models.base import changed
from models.queries import announced_messages, consents, follow_ups, profiles
from models.queries.profiles import HERE
from models.queries.reports import At

_PURPOSES = frozenset(each.value for each in Purpose)

# As `profiles.suppress` has it, for many at once; the locks are taken in one order.
_ASKED = """
    jsonb_to_recordset(cast(:rows as jsonb))
        as a(channel text, hash text, address text, reason text, source text)
"""
_LOCK = text(
    f"""
    select pg_advisory_xact_lock(hashtextextended(hash, 0))
    from (select distinct a.hash from {_ASKED} order by a.hash) ordered
    """
)
_GIVE_WAY = text(
    f"""
    update suppressions s set ended_at = :now
    from {_ASKED}
    where s.workspace_id = {HERE} and s.channel = a.channel and s.address_hash = decode(a.hash, 'hex')
        and s.ended_at is null and s.reason = '{SuppressionReason.UNSUBSCRIBED}'
    """
)
_ADD = text(
    f"""
    insert into suppressions (workspace_id, channel, address_hash, address, reason, source, at)
    select {HERE}, a.channel, decode(a.hash, 'hex'), a.address, a.reason, a.source, :now
    from {_ASKED}
    on conflict (workspace_id, channel, address_hash) where ended_at is null do nothing
    returning channel, address
    """
)
_WHOSE = text(
    f"""
    select distinct i.profile_id
    from unnest(cast(:kinds as text[]), cast(:addresses as text[])) asked(kind, address)
    join identities i on i.workspace_id = {HERE} and i.kind = asked.kind and i.value = asked.address
    """
)


async def suppress(
    db: AsyncSession, addresses: Mapping[At, tuple[SuppressionReason, str]], now: datetime
) -> set[At]:
    """Never write to these again, for a reason other than `unsubscribed`, each with who says so.

    Those for which one of these reasons holds already stay as they are. Returns the others.
    """
    if not addresses:
        return set()
    rows = [
        {"channel": at[0], "hash": address_hash(at[1]).hex(), "address": at[1], "reason": why, "source": who}
        for at, (why, who) in addresses.items()
    ]
    values = {"rows": orjson.dumps(rows).decode(), "now": now}
    await db.execute(_LOCK, {"rows": values["rows"]})
    await db.execute(_GIVE_WAY, values)
    news = {(channel, address) for channel, address in await db.execute(_ADD, values)}
    reached = [(ADDRESS_KIND[channel].value, address) for channel, address in news if channel in ADDRESS_KIND]
    if reached:
        kinds, values_ = zip(*reached, strict=True)
        people = await db.scalars(_WHOSE, {"kinds": [*kinds], "addresses": [*values_]})
        await follow_ups.note(db, people, now, reads=["suppressions"])
    return news


class Word(NamedTuple):
    """What somebody said themselves, about marketing on a channel or about a topic of it."""

    channel: str
    address: str | None
    profile_id: UUID | None
    message_id: UUID | None  # To which they answered.
    topic_id: UUID | None
    wanted: bool
    at: datetime


_HOLDS = text(
    f"""
    select state, source, at from consents
    where workspace_id = {HERE} and profile_id = :profile and purpose = :purpose and ended_at is null
    """
)
_BEFORE = text(
    f"""
    select state, source from consents
    where workspace_id = {HERE} and profile_id = :profile and purpose = :purpose and ended_at is not null
    order by ended_at desc, id desc limit 1
    """
)
_END = text(
    f"""
    update consents set ended_at = :now
    where workspace_id = {HERE} and profile_id = :profile and purpose = :purpose and ended_at is null
    """
)
_TOPIC_HOLDS = text(
    f"""
    select state, source, at from topic_consents
    where workspace_id = {HERE} and profile_id = :profile and topic_id = :topic and ended_at is null
    """
)
_TOPIC = text(f"select exists (select from topics where workspace_id = {HERE} and id = :topic)")
_ALIVE = text(f"select erased_at is null from profiles where workspace_id = {HERE} and id = :profile")
_END_UNSUBSCRIBED = text(
    f"""
    update suppressions set ended_at = :now
    where workspace_id = {HERE} and channel = :channel and address_hash = :hash and ended_at is null
        and reason = '{SuppressionReason.UNSUBSCRIBED}' and at <= :said
    """
)
_LAST = text(
    f"""
    insert into last_words as l (workspace_id, about, address_hash, at) values ({HERE}, :about, :hash, :at)
    on conflict (workspace_id, about, address_hash) do update set at = excluded.at where l.at <= excluded.at
    returning true
    """
)
_NOTE = text(
    f"""
    insert into message_events (workspace_id, message_id, kind, at)
    select {HERE}, :message, '{Interaction.UNSUBSCRIBED}', :at
    where exists (select from messages where workspace_id = {HERE} and id = :message) and not exists (
        select from message_events
        where workspace_id = {HERE} and message_id = :message and kind = '{Interaction.UNSUBSCRIBED}'
    )
    """
)


async def take_at_their_word(db: AsyncSession, word: Word, now: datetime) -> None:
    """Write down what somebody said, unless they said otherwise later.

    A no is taken from anybody. A yes takes back their own no, and nothing else: what was so before it is so
    again, and who never agreed to marketing has not done so by START. Both are about the topic alone where
    they name one.
    """
    about = str(word.topic_id or word.channel)
    if word.address is not None:
        last = {"about": about, "hash": address_hash(word.address), "at": word.at}
        if not await db.scalar(_LAST, last):
            return
    who = await _who(db, word)
    if word.topic_id is not None and who and await db.scalar(_TOPIC, {"topic": word.topic_id}):
        await _choose(db, who, word.topic_id, word)
        return
    if word.topic_id is not None and word.wanted:
        return  # A topic that we don't know says nothing about the whole channel, unless it is a no.
    if word.wanted:
        await _wants_it_again(db, who, word, now)
    else:
        await _wants_no_more(db, who, word, now)


_FIRST = text(
    f"""
    insert into last_words as l (workspace_id, about, address_hash, at) values ({HERE}, :about, :hash, :now)
    on conflict (workspace_id, about, address_hash) do update set at = excluded.at
        where l.at <= cast(:before as timestamptz)
    returning true
    """
)


async def is_first(db: AsyncSession, about: str, address: str, now: datetime, within: timedelta) -> bool:
    """Whether this was not asked about the address `within` the last while. From now on it was."""
    values = {"about": about, "hash": address_hash(address), "now": now, "before": now - within}
    return bool(await db.scalar(_FIRST, values))


async def _who(db: AsyncSession, word: Word) -> UUID | None:
    who = word.profile_id
    if who is None and word.address is not None and word.channel in ADDRESS_KIND:
        who = await profiles.find(db, ADDRESS_KIND[word.channel], word.address)
    if who is None:
        return None
    who = await profiles.person(db, who)
    return who if await db.scalar(_ALIVE, {"profile": who}) else None


async def _choose(db: AsyncSession, who: UUID, topic_id: UUID, word: Word) -> None:
    held = (await db.execute(_TOPIC_HOLDS, {"profile": who, "topic": topic_id})).one_or_none()
    if held is not None and held.at > word.at and held.source in OWN_WORD:
        return
    state = ConsentState.GRANTED if word.wanted else ConsentState.DENIED
    await consents.choose(db, who, topic_id, state, ConsentSource.PERSON, word.at)


async def _wants_no_more(db: AsyncSession, who: UUID | None, word: Word, now: datetime) -> None:
    if who is not None and word.channel in _PURPOSES:
        held = (await db.execute(_HOLDS, {"profile": who, "purpose": word.channel})).one_or_none()
        if held is not None and held.at > word.at and held.source in OWN_WORD:
            return
        purpose, denied = Purpose(word.channel), ConsentState.DENIED
        when = max(word.at, held.at) if held is not None else word.at
        await profiles.consent(db, who, purpose, denied, ConsentSource.PERSON, when)
    if word.address is not None:
        unsubscribed = SuppressionReason.UNSUBSCRIBED
        await profiles.suppress(db, word.channel, word.address, unsubscribed, ConsentSource.PERSON, word.at)
    if word.message_id is not None and await changed(db, _NOTE, {"message": word.message_id, "at": word.at}):
        told = announced_messages.of_reading(word.message_id, Interaction.UNSUBSCRIBED, word.at)
        await announced_messages.tell_of(db, [told], now)


async def _wants_it_again(db: AsyncSession, who: UUID | None, word: Word, now: datetime) -> None:
    if who is not None and word.channel in _PURPOSES:
        held = (await db.execute(_HOLDS, {"profile": who, "purpose": word.channel})).one_or_none()
        if held is not None and held.at > word.at:
            return
        if held is not None and held.state == ConsentState.DENIED and held.source in OWN_WORD:
            await _take_back(db, who, Purpose(word.channel), word.at, now)
    if word.address is not None:
        values = {"channel": word.channel, "hash": address_hash(word.address), "now": word.at}
        if await changed(db, _END_UNSUBSCRIBED, {**values, "said": word.at}):
            await profiles.suppression_changed(db, word.channel, word.address, now)


async def _take_back(db: AsyncSession, who: UUID, purpose: Purpose, at: datetime, now: datetime) -> None:
    """End somebody's own no. It becomes a yes where there was one before it."""
    before = (await db.execute(_BEFORE, {"profile": who, "purpose": purpose.value})).one_or_none()
    if before is not None and before.state == ConsentState.GRANTED:
        await profiles.consent(db, who, purpose, ConsentState.GRANTED, ConsentSource.PERSON, at)
        return
    await db.execute(_END, {"profile": who, "purpose": purpose.value, "now": at})
    if before is not None and before.source not in OWN_WORD:  # Others' no is not theirs to take back.
        await profiles.consent(db, who, purpose, ConsentState.DENIED, before.source, at)
    await follow_ups.note(db, [who], now, reads=["consents"])
