"""One person as `domain.segments.holds` looks at them, read from the rows that a rule asks about.

Events, messages and enrollments stay with the profile that they were about when two become one, so those of
the profiles that were merged into the person are theirs.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.facts import Did, Journey, Person, Purchase, Sent
from domain.lists import MemberState
from domain.messages import Fate, MessageState
from domain.orders import OrderStatus
from domain.profiles import ADDRESS_KIND
from models.queries.profiles import HERE

MOST = 10_000  # Events, orders and messages, of each the newest.
_EVENT, _LIST, _FLOW = "event:", "list:", "flow:"


@dataclass(frozen=True)
class Loaded:
    """The person, and whether there was more of them than is looked at here."""

    person: Person
    cut: bool


_PROFILE = text(
    f"""
    select p.attributes, p.time_zone, p.created_at,
        array(select a.id from profiles a where a.workspace_id = {HERE} and a.merged_into = p.id) as aliases
    from profiles p
    where p.workspace_id = {HERE} and p.id = :profile and p.merged_into is null and p.erased_at is null
    """
)


async def load(db: AsyncSession, profile_id: UUID, reads: Collection[str]) -> Loaded:
    """The person with this profile, as far as rules that read this (`domain.segments.reads`) ask about them.

    Raises `NotFound`, also for who was merged into somebody, or erased.
    """
    row = (await db.execute(_PROFILE, {"profile": profile_id})).one_or_none()
    if row is None:
        raise NotFound(f"There is no profile {profile_id}.")
    asked = _Asked(db, profile_id, [profile_id, *row.aliases])
    about: dict[str, Any] = {}
    if "identities" in reads:
        about["names"] = await asked.names()
    if "orders" in reads:
        about["purchases"] = await asked.purchases()
    if names := sorted(each.removeprefix(_EVENT) for each in reads if each.startswith(_EVENT)):
        about["events"] = await asked.events(names)
    if "messages" in reads:
        about["messages"] = await asked.messages()
    if "consents" in reads:
        about["consents"] = await asked.pairs(_CONSENTS)
    if "topics" in reads:
        about["topics"] = await asked.pairs(_TOPICS)
    if "suppressions" in reads:
        about["suppressed"] = await asked.pairs(_SUPPRESSED)
    if any(each.startswith(_LIST) for each in reads):
        about["lists"] = frozenset(await asked.pairs(_LISTS))
    if "tags" in reads:
        about["tags"] = frozenset(await asked.pairs(_TAGS))
    if any(each.startswith(_FLOW) for each in reads):
        about["journeys"] = await asked.journeys()
    person = Person(
        id=profile_id,
        known_since=row.created_at,
        time_zone=row.time_zone,
        attributes=row.attributes,
        **about,
    )
    return Loaded(person, asked.cut)


_NAMES = text(f"select kind, value from identities where workspace_id = {HERE} and profile_id = :person")
_ORDERS = text(
    f"""
    select ordered_at, total - refunded, currency, array(
        select line ->> 'sku' from jsonb_array_elements(
            case when jsonb_typeof(lines) = 'array' then lines else '[]' end) line
        where jsonb_typeof(line -> 'sku') = 'string'
    )
    from orders
    where workspace_id = {HERE} and profile_id = :person and status <> '{OrderStatus.CANCELLED}'
    order by ordered_at desc limit {MOST + 1}
    """
)
_EVENTS = text(
    f"""
    select name, occurred_at, properties from events
    where workspace_id = {HERE} and profile_id = any(cast(:everything as uuid[]))
        and name = any(cast(:names as text[]))
    order by occurred_at desc limit {MOST + 1}
    """
)
_MESSAGES = text(
    f"""
    select source_id, channel, coalesce(closed_at, created_at) as at, state = '{MessageState.ACCEPTED}',
        closed_at is not null and coalesce(fate in ('{Fate.SOFT_BOUNCE}', '{Fate.HARD_BOUNCE}'), false),
        opened_at, clicked_at
    from messages
    where workspace_id = {HERE} and profile_id = any(cast(:everything as uuid[]))
        and (closed_at is not null or opened_at is not null or clicked_at is not null)
    order by at desc limit {MOST + 1}
    """
)
_CONSENTS = text(
    f"""
    select purpose, state from consents
    where workspace_id = {HERE} and profile_id = :person and ended_at is null
    """
)
_TOPICS = text(
    f"""
    select topic_id, state from topic_consents
    where workspace_id = {HERE} and profile_id = :person and ended_at is null
    """
)
_CHANNELS = ", ".join(f"('{channel}', '{kind}')" for channel, kind in ADDRESS_KIND.items())
_SUPPRESSED = text(
    f"""
    select c.channel, s.reason
    from (values {_CHANNELS}) c (channel, kind)
    join identities i on i.workspace_id = {HERE} and i.profile_id = :person and i.kind = c.kind
        and i.is_primary
    join suppressions s on s.workspace_id = {HERE} and s.channel = c.channel and s.ended_at is null
        and s.address_hash = sha256(convert_to(i.value, 'UTF8'))
    """
)
_LISTS = text(
    f"""
    select list_id, state from list_members
    where workspace_id = {HERE} and profile_id = :person and state = '{MemberState.MEMBER}'
    """
)
_TAGS = text(f"select tag, at from profile_tags where workspace_id = {HERE} and profile_id = :person")
_JOURNEYS = text(
    f"""
    select e.flow_id, e.step, e.ended_at is not null
    from flows f join enrollments e on e.workspace_id = f.workspace_id and e.flow_id = f.id
        and e.profile_id = any(cast(:everything as uuid[]))
    where f.workspace_id = {HERE}
    """
)


class _Asked:
    """Everything that is asked about one person."""

    def __init__(self, db: AsyncSession, person: UUID, everything: list[UUID]) -> None:
        """`everything`: the profile, and those that were merged into it."""
        self.db = db
        self.person = person
        self.everything = everything
        self.cut = False

    async def rows(self, asked: Any, **values: Any) -> list[Any]:
        found = list(await self.db.execute(asked, values))
        self.cut = self.cut or len(found) > MOST
        return found[:MOST]

    async def pairs(self, asked: Any) -> dict[Any, Any]:
        return {row[0]: row[1] for row in await self.rows(asked, person=self.person)}

    async def names(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for kind, value in await self.rows(_NAMES, person=self.person):
            found[kind].add(value)
        return {kind: frozenset(values) for kind, values in found.items()}

    async def purchases(self) -> tuple[Purchase, ...]:
        found = await self.rows(_ORDERS, person=self.person)
        return tuple(Purchase(at, total, currency, frozenset(skus)) for at, total, currency, skus in found)

    async def events(self, names: list[str]) -> tuple[Did, ...]:
        return tuple(Did(*row) for row in await self.rows(_EVENTS, everything=self.everything, names=names))

    async def messages(self) -> tuple[Sent, ...]:
        return tuple(Sent(*row) for row in await self.rows(_MESSAGES, everything=self.everything))

    async def journeys(self) -> tuple[Journey, ...]:
        return tuple(Journey(*row) for row in await self.rows(_JOURNEYS, everything=self.everything))
