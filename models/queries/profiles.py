"""People as the law and they themselves see them: found, asked, refused, and never written to again.

Everything here works behind one workspace's wall. Whoever changes what is known of a person locks the
profile's row first (`_person`), so that two changes at once come one after the other; then an address.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announcements import AnnouncementType
from domain.errors import Conflict, NotFound
from domain.messages import Interaction
from domain.profiles import (
    ADDRESS_KIND,
    OWN_WORD,
    ConsentSource,
    ConsentState,
    IdentityKind,
    Purpose,
    SuppressionReason,
    address_hash,
    is_news,
    normal,
)
from models import base
from models.base import changed
from models.queries import announced, announced_messages, announced_people, follow_ups

HERE = base.HERE

EMAIL = "email"  # The one channel that we send on so far.

_FIND = text(
    f"select profile_id from identities where workspace_id = {HERE} and kind = :kind and value = :value"
)


async def find(db: AsyncSession, kind: IdentityKind, value: str) -> UUID | None:
    """The profile that goes by this name, in whatever way it is written. Never one that was merged."""
    found: UUID | None = await db.scalar(_FIND, {"kind": kind.value, "value": normal(kind, value)})
    return found


_VARIABLES = text(
    f"""
    select p.attributes, i.value as email
    from profiles asked
    -- Not coalesce(), which is not leakproof: behind the wall it would walk through every profile.
    join profiles p on p.workspace_id = {HERE}
        and p.id = case when asked.merged_into is null then asked.id else asked.merged_into end
    left join identities i on i.workspace_id = {HERE} and i.profile_id = p.id
        and i.kind = '{IdentityKind.EMAIL}' and i.is_primary
    where asked.workspace_id = {HERE} and asked.id = :profile and p.erased_at is null
    """
)


async def variables(db: AsyncSession, profile_id: UUID) -> dict[str, Any]:
    """What a template may print about this person: the attributes, and `email` where there is one.

    Raises NotFound, also for who was erased.
    """
    row = (await db.execute(_VARIABLES, {"profile": profile_id})).one_or_none()
    if row is None:
        raise NotFound(f"There is no profile {profile_id}.")
    return {**row.attributes, **({"email": row.email} if row.email else {})}


_RESOLVE = text(
    f"select coalesce(merged_into, id) from profiles where workspace_id = {HERE} and id = :profile"
)
_LOCK = text(
    f"select merged_into from profiles where workspace_id = {HERE} and id = :profile for no key update"
)


async def person(db: AsyncSession, profile_id: UUID) -> UUID:
    """Who this profile is by now, locked against other changes to the same person. Raises NotFound."""
    while True:
        found: UUID | None = await db.scalar(_RESOLVE, {"profile": profile_id})
        if found is None:
            raise NotFound(f"There is no profile {profile_id}.")
        # While we waited for the lock, it may have been merged: then there is another to lock.
        if await db.scalar(_LOCK, {"profile": found}) is None:
            return found


async def survivor(db: AsyncSession, profile_id: UUID) -> UUID:
    """Who this profile is by now, to read about. Raises NotFound."""
    found: UUID | None = await db.scalar(_RESOLVE, {"profile": profile_id})
    if found is None:
        raise NotFound(f"There is no profile {profile_id}.")
    return found


_ERASED = text(f"select erased_at is not null from profiles where workspace_id = {HERE} and id = :profile")


async def alive(db: AsyncSession, profile_id: UUID) -> UUID:
    """As `person`, to write about. Raises NotFound, and Conflict for who was erased."""
    who = await person(db, profile_id)
    if await db.scalar(_ERASED, {"profile": who}):
        raise Conflict("This person was erased: nothing is written to what is left.")
    return who


_CONSENT = text(
    f"""
    select state, source from consents
    where workspace_id = {HERE} and profile_id = :profile and purpose = :purpose and ended_at is null
    """
)
_END_CONSENT = text(
    f"""
    update consents set ended_at = :now
    where workspace_id = {HERE} and profile_id = :profile and purpose = :purpose and ended_at is null
    """
)
_ADD_CONSENT = text(
    f"""
    insert into consents (workspace_id, profile_id, purpose, state, source, at)
    values ({HERE}, :profile, :purpose, :state, :source, :now)
    """
)
_LIFT = text(
    f"""
    update suppressions s set ended_at = :now
    from unnest(cast(:profiles as uuid[]), cast(:channels as text[]), cast(:kinds as text[]))
        given (profile_id, channel, kind)
    join identities i on i.workspace_id = {HERE} and i.profile_id = given.profile_id and i.kind = given.kind
    where s.workspace_id = {HERE} and s.channel = given.channel and s.ended_at is null
        and s.reason = '{SuppressionReason.UNSUBSCRIBED}'
        and s.address_hash = sha256(convert_to(i.value, 'UTF8'))
    """
)


async def lift(db: AsyncSession, whose: Sequence[tuple[UUID, Purpose]], now: datetime) -> None:
    """These people said themselves that they want marketing again: `unsubscribed` ends for their addresses.

    Their rows are locked, and their consents are written by who calls.
    """
    reached = [(who, each.value, ADDRESS_KIND[each]) for who, each in whose if each in ADDRESS_KIND]
    if reached:
        profiles, channels, kinds = zip(*reached, strict=True)
        values = {"profiles": [*profiles], "channels": [*channels], "kinds": [*kinds], "now": now}
        if await changed(db, _LIFT, values):
            await follow_ups.note(db, set(profiles), now, reads=["suppressions"])


async def consent(
    db: AsyncSession, profile_id: UUID, purpose: Purpose, state: ConsentState, source: str, now: datetime
) -> bool:
    """Write down what a person allows from now on. Returns whether that changed anything.

    `domain.profiles.is_news` says when it does. Their own yes to marketing also ends the `unsubscribed`
    suppression of their addresses; all others stay, whatever anyone allows.
    """
    who = await person(db, profile_id)
    values = {"profile": who, "purpose": purpose.value, "source": source, "now": now}
    current = (await db.execute(_CONSENT, values)).one_or_none()
    if state is ConsentState.GRANTED and source in OWN_WORD:
        await lift(db, [(who, purpose)], now)
    if not is_news(state, source, (current.state, current.source) if current is not None else None):
        return False
    await db.execute(_END_CONSENT, values)
    await db.execute(_ADD_CONSENT, {**values, "state": state.value})
    if await announced.asked(db, AnnouncementType.PROFILE_CONSENT_CHANGED):
        told = announced_people.Said(who, purpose.value, state.value, source)
        await announced_people.consented(db, [told], now)
    await follow_ups.note(db, [who], now, reads=["consents"])
    return True


_LOCK_ADDRESS = text("select pg_advisory_xact_lock(hashtextextended(encode(:hash, 'hex'), 0))")
_SUPPRESSED = text(
    f"""
    select reason from suppressions
    where workspace_id = {HERE} and channel = :channel and address_hash = :hash and ended_at is null
    """
)
_END_SUPPRESSION = text(
    f"""
    update suppressions set ended_at = :now
    where workspace_id = {HERE} and channel = :channel and address_hash = :hash and ended_at is null
    """
)
_SUPPRESS = text(
    f"""
    insert into suppressions (workspace_id, channel, address_hash, address, reason, source, at)
    values ({HERE}, :channel, :hash, :address, :reason, :source, :now)
    """
)


async def suppress(
    db: AsyncSession, channel: str, address: str, reason: SuppressionReason, source: str, now: datetime
) -> bool:
    """Never write to this address again. Returns whether that is news.

    `unsubscribed` gives way to any other reason, and none gives way to it; the first of the others stays.
    What gave way is kept with its end. An erased person's address is kept as its hash alone.
    """
    if channel in ADDRESS_KIND:
        address = normal(ADDRESS_KIND[channel], address)
    values = {"channel": channel, "hash": address_hash(address), "now": now}
    await db.execute(_LOCK_ADDRESS, {"hash": values["hash"]})
    current = await db.scalar(_SUPPRESSED, values)
    if current is not None:
        if current != SuppressionReason.UNSUBSCRIBED or reason is SuppressionReason.UNSUBSCRIBED:
            return False
        await db.execute(_END_SUPPRESSION, values)
    kept = None if reason is SuppressionReason.ERASED else address
    await db.execute(_SUPPRESS, {**values, "address": kept, "reason": reason.value, "source": source})
    await suppression_changed(db, channel, address, now)
    return True


async def suppression_changed(db: AsyncSession, channel: str, address: str, now: datetime) -> None:
    """Segments may ask whether the address of whoever goes by it may be written to."""
    if channel in ADDRESS_KIND and (who := await find(db, ADDRESS_KIND[channel], address)):
        await follow_ups.note(db, [who], now, reads=["suppressions"])


_OF_MESSAGE = text(
    f"select profile_id, channel, address from messages where workspace_id = {HERE} and id = :message"
)
_NOTE_UNSUBSCRIBE = text(
    f"""
    insert into message_events (workspace_id, message_id, kind, at)
    select {HERE}, :message, '{Interaction.UNSUBSCRIBED}', :now
    where not exists (
        select from message_events
        where workspace_id = {HERE} and message_id = :message and kind = '{Interaction.UNSUBSCRIBED}'
    )
    """
)


async def unsubscribe(
    db: AsyncSession, message_id: UUID, now: datetime, source: str = ConsentSource.ONE_CLICK
) -> bool:
    """Who got this message wants no more marketing on its channel. Returns whether that is news.

    The address that got it is suppressed, and the person behind it, if we know one, has denied: other
    addresses of theirs stay silent too. Raises NotFound when the message is gone.
    """
    message = (await db.execute(_OF_MESSAGE, {"message": message_id})).one_or_none()
    if message is None:
        raise NotFound(f"There is no message {message_id}.")
    who = message.profile_id
    kind = ADDRESS_KIND.get(message.channel)
    if who is None and message.address is not None and kind:  # To a bare address, which may be somebody's.
        who = await find(db, kind, message.address)
    news = False
    if who is not None:
        news = await consent(db, who, Purpose(message.channel), ConsentState.DENIED, source, now)
    if message.address is not None:
        unsubscribed = SuppressionReason.UNSUBSCRIBED
        news = await suppress(db, message.channel, message.address, unsubscribed, source, now) or news
    # Two at once have come one after the other by now, behind the person's lock or the address's.
    if await changed(db, _NOTE_UNSUBSCRIBE, {"message": message_id, "now": now}):
        told = announced_messages.of_reading(message_id, Interaction.UNSUBSCRIBED, now)
        await announced_messages.tell_of(db, [told], now)
    return news


_PRIMARY = text(
    f"""
    select value from identities
    where workspace_id = {HERE} and profile_id = :profile and kind = :kind and is_primary
    """
)


async def unsubscribe_profile(
    db: AsyncSession, profile_id: UUID, now: datetime, source: str, channel: str = EMAIL
) -> bool:
    """A person wants no more marketing on a channel, whatever made them say so. Returns whether that is news.

    Raises NotFound.
    """
    who = await person(db, profile_id)
    news = await consent(db, who, Purpose(channel), ConsentState.DENIED, source, now)
    address = await db.scalar(_PRIMARY, {"profile": who, "kind": ADDRESS_KIND.get(channel, channel)})
    if address is not None:
        news = await suppress(db, channel, address, SuppressionReason.UNSUBSCRIBED, source, now) or news
    return news
