"""Profiles as the API writes them: many at once, each found by its names, made if nobody has them.

What is there is read and locked once for all, the decisions are made in memory, one after the other as they
came, and what has changed is written by a statement a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain import changes
from domain.announcements import AnnouncementType
from domain.errors import CampanileError, Conflict, Invalid, NotFound
from domain.profiles import OWN_WORD, ConsentState, IdentityKind, Purpose, is_news
from models.queries import announced, announced_people, attributes, follow_ups, people_lock, profiles

Name = tuple[str, str]  # Kind and value.
# Columns that are set by name.
KNOWN = ("time_zone", "locale", "country", "owner_id")


@dataclass(frozen=True)
class Item:
    """What is said of one person. Whom it is about is said by `profile_id`, else by the names."""

    names: Mapping[IdentityKind, str | None] = field(default_factory=dict)  # Normal; None takes them away.
    attributes: Mapping[str, Any] = field(default_factory=dict)  # As `domain.changes` reads them.
    known: Mapping[str, Any] = field(default_factory=dict)  # Of `KNOWN`.
    consents: Mapping[Purpose, ConsentState] = field(default_factory=dict)
    source: str = "api"  # Of the consents.
    profile_id: UUID | None = None  # Of a profile that is not merged.


@dataclass(frozen=True)
class Written:
    """What became of an item. What was refused has changed nothing."""

    outcome: Literal["created", "updated", "unchanged", "refused"]
    profile_id: UUID | None
    error: CampanileError | None = None


@dataclass
class _Person:
    """A profile as it will be."""

    id: UUID
    attributes: dict[str, Any]
    known: dict[str, Any]
    names: dict[Name, bool]  # Whether it is the primary one of its kind.
    consents: dict[str, tuple[str, str]]  # By purpose: state and source.
    is_new: bool = False
    erased: bool = False
    touched: bool = False  # Anything at all was changed.
    rewritten: bool = False  # The row itself.
    was: dict[Name, bool] = field(default_factory=dict)
    had: dict[str, Any] = field(default_factory=dict)  # Attributes, before.


async def write(db: AsyncSession, workspace_id: UUID, items: Sequence[Item], now: datetime) -> list[Written]:
    """Create or change the people of these items, in their order; an answer for each.

    Refused is an item whose names belong to two people, or to another than the one it is about, or whose
    attributes break a rule. A name that is given becomes the primary one of its kind; others stay as names.
    """
    await people_lock.take(db, workspace_id)
    batch = _Batch(await _holders(db, workspace_id, items))
    asked = {*batch.holders.values(), *(each.profile_id for each in items if each.profile_id)}
    batch.people = await _people(db, workspace_id, sorted(asked))
    answers = [batch.take(item) for item in items]
    await _store(db, workspace_id, batch, now)
    await _tell(db, batch, now)
    if batch.given:
        names, values = zip(*batch.given, strict=True)
        await attributes.note(
            db, workspace_id, attributes.GIVEN, now, {"names": [*names], "values": [*values]}
        )
    people = batch.people.values()
    rewritten = [each.id for each in people if each.rewritten]
    if rewritten:
        await attributes.keep_values(db, workspace_id, rewritten)
        await follow_ups.note(db, rewritten, now)
    others = [each.id for each in people if each.touched and not each.rewritten]
    await follow_ups.note(db, others, now, reads=["identities", "consents", "suppressions"])
    return answers


class _Batch:
    """Decides, item by item, in memory."""

    def __init__(self, holders: dict[Name, UUID]) -> None:
        self.holders = holders
        self.people: dict[UUID, _Person] = {}
        self.spoken: list[tuple[UUID, Purpose, ConsentState, str]] = []  # Consents that are news.
        self.own: list[tuple[UUID, Purpose]] = []  # Who said yes themselves.
        self.given: list[tuple[str, str]] = []  # Attributes and their values as JSON, for the catalogue.

    def take(self, item: Item) -> Written:
        try:
            person = self._whom(item)
            _check_named(person, item)
            after = changes.changed(person.attributes, item.attributes)
        except CampanileError as error:
            return Written("refused", None, error)
        if person.is_new and person.id not in self.people:
            self.people[person.id] = person
            created = True
        else:
            created = False
        changed = self._attributes(person, after) | self._names(person, item) | self._consents(person, item)
        person.touched |= changed
        self.given += [
            (name, orjson.dumps(after[name]).decode())
            for name, change in item.attributes.items()
            if change is not None
        ]
        return Written("created" if created else "updated" if changed else "unchanged", person.id)

    def _whom(self, item: Item) -> _Person:
        """Raises `Conflict`, `NotFound`."""
        held = {kind: self.holders.get((kind, value)) for kind, value in item.names.items() if value}
        found = {kind: holder for kind, holder in held.items() if holder is not None}
        about = item.profile_id or next(iter(found.values()), None)
        for kind, holder in found.items():
            if holder != about:
                raise Conflict(
                    f"This {kind} belongs to the profile {holder}, and not to {about}: leave it out, or "
                    "merge the two by POST /api/v1/profiles/{id}/merge.",
                    f"/{kind}",
                )
        if about is None:
            return _Person(uuid7(), {}, dict.fromkeys(KNOWN), {}, {}, is_new=True, rewritten=True)
        person = self.people.get(about)
        if person is None:
            raise NotFound(f"There is no profile {about}.")
        if person.erased:
            raise Conflict("This person was erased: nothing is written to what is left.")
        return person

    def _attributes(self, person: _Person, after: dict[str, Any]) -> bool:
        if after == person.attributes and str(after) == str(person.attributes):  # 1 is not true.
            return False
        person.attributes = after
        person.rewritten = True
        return True

    def _names(self, person: _Person, item: Item) -> bool:
        before, known = dict(person.names), dict(person.known)
        for kind, value in item.names.items():
            if value is None:
                for name in [each for each in person.names if each[0] == kind]:
                    del person.names[name]
                    self.holders.pop(name, None)
                continue
            for name in person.names:
                if name[0] == kind:
                    person.names[name] = False
            person.names[kind.value, value] = True
            self.holders[kind.value, value] = person.id
        person.known |= item.known
        if person.known != known:
            person.rewritten = True
        return person.names != before or person.known != known

    def _consents(self, person: _Person, item: Item) -> bool:
        news = False
        for purpose, state in item.consents.items():
            if state is ConsentState.GRANTED and item.source in OWN_WORD:
                self.own.append((person.id, purpose))
            if is_news(state, item.source, person.consents.get(purpose)):
                person.consents[purpose] = (state, item.source)
                self.spoken.append((person.id, purpose, state, item.source))
                news = True
        return news


def _check_named(person: _Person, item: Item) -> None:
    """Raises `Invalid` where the item would take the last name: whoever has none is found by nobody."""
    taken = [kind for kind, value in item.names.items() if value is None]
    if any(item.names.values()) or not person.names or not all(kind in taken for kind, _ in person.names):
        return
    held = next(kind for kind in taken if any(kind == each for each, _ in person.names))
    raise Invalid(
        "This is the last name by which the person is known: give another with it, or erase them by "
        "DELETE /api/v1/profiles/{id}.",
        f"/{held}",
    )


_HOLDERS = text(
    """
    select i.kind, i.value, i.profile_id
    from unnest(cast(:kinds as text[]), cast(:values as text[])) given (kind, value)
    join identities i on i.workspace_id = :workspace and i.kind = given.kind and i.value = given.value
    """
)


async def _holders(db: AsyncSession, workspace_id: UUID, items: Sequence[Item]) -> dict[Name, UUID]:
    names = {(kind.value, value) for item in items for kind, value in item.names.items() if value}
    values = {
        "workspace": workspace_id,
        "kinds": [kind for kind, _ in names],
        "values": [value for _, value in names],
    }
    return {(row.kind, row.value): row.profile_id for row in await db.execute(_HOLDERS, values)}


_LOCKED = text(
    """
    select p.id, p.attributes, p.time_zone, p.locale, p.country, p.owner_id, p.erased_at
    from profiles p where p.workspace_id = :workspace and p.id = any(cast(:profiles as uuid[]))
    order by p.id for no key update
    """
)
_NAMES = text(
    """
    select profile_id, kind, value, is_primary from identities
    where workspace_id = :workspace and profile_id = any(cast(:profiles as uuid[]))
    """
)
_CONSENTS = text(
    """
    select profile_id, purpose, state, source from consents
    where workspace_id = :workspace and profile_id = any(cast(:profiles as uuid[])) and ended_at is null
    """
)


async def _people(db: AsyncSession, workspace_id: UUID, ids: Sequence[UUID]) -> dict[UUID, _Person]:
    if not ids:
        return {}
    values = {"workspace": workspace_id, "profiles": list(ids)}
    found = {
        row.id: _Person(
            row.id,
            row.attributes,
            {column: getattr(row, column) for column in KNOWN},
            {},
            {},
            erased=row.erased_at is not None,
        )
        for row in await db.execute(_LOCKED, values)
    }
    for row in await db.execute(_NAMES, values):
        found[row.profile_id].names[row.kind, row.value] = row.is_primary
    for row in await db.execute(_CONSENTS, values):
        found[row.profile_id].consents[row.purpose] = (row.state, row.source)
    for person in found.values():
        person.was, person.had = dict(person.names), dict(person.attributes)
    return found


_COLUMNS = """
    unnest(cast(:ids as uuid[]), cast(:attributes as text[]), cast(:time_zone as text[]),
        cast(:locale as text[]), cast(:country as text[]), cast(:owner_id as uuid[]))
        given (id, attributes, time_zone, locale, country, owner_id)
"""
_ADD = text(
    f"""
    insert into profiles (workspace_id, id, attributes, attributes_at, time_zone, locale, country, owner_id,
        created_at, updated_at)
    select :workspace, id, cast(attributes as jsonb), cast(:now as timestamptz), time_zone, locale, country,
        owner_id, cast(:now as timestamptz), cast(:now as timestamptz)
    from {_COLUMNS}
    """
)
_CHANGE = text(
    f"""
    update profiles p set attributes = cast(given.attributes as jsonb), time_zone = given.time_zone,
        locale = given.locale, country = given.country, owner_id = given.owner_id,
        attributes_at = greatest(p.attributes_at, cast(:now as timestamptz)), updated_at = :now
    from {_COLUMNS}
    where p.workspace_id = :workspace and p.id = given.id
    """
)
_TOUCH = text(
    """
    update profiles set updated_at = :now
    where workspace_id = :workspace and id = any(cast(:ids as uuid[]))
    """
)
_GIVEN_NAMES = """
    unnest(cast(:kinds as text[]), cast(:values as text[]), cast(:profiles as uuid[]))
        given (kind, value, profile_id)
"""
_NAMED = f"""
    from {_GIVEN_NAMES}
    where n.workspace_id = :workspace and n.kind = given.kind and n.value = given.value
"""
_TAKE_NAMES = text(
    f"""
    delete from identities n using {_GIVEN_NAMES}
    where n.workspace_id = :workspace and n.kind = given.kind and n.value = given.value
    """
)
_SECOND = text(f"update identities n set is_primary = false {_NAMED}")
_PRIMARY = text(f"update identities n set is_primary = true {_NAMED}")
_ADD_NAMES = text(
    f"""
    insert into identities (workspace_id, kind, value, profile_id, is_primary, created_at)
    select :workspace, kind, value, profile_id, :primary, cast(:now as timestamptz) from {_GIVEN_NAMES}
    """
)
_SPOKEN = """
    unnest(cast(:profiles as uuid[]), cast(:purposes as text[]), cast(:states as text[]),
        cast(:sources as text[])) with ordinality given (profile_id, purpose, state, source, nth)
"""
_END_CONSENTS = text(
    f"""
    update consents c set ended_at = :now from {_SPOKEN}
    where c.workspace_id = :workspace and c.profile_id = given.profile_id and c.purpose = given.purpose
        and c.ended_at is null
    """
)
# Who was spoken of twice in one batch is kept as it was said last.
_ADD_CONSENTS = text(
    f"""
    insert into consents (workspace_id, profile_id, purpose, state, source, at)
    select distinct on (profile_id, purpose) :workspace, profile_id, purpose, state, source,
        cast(:now as timestamptz)
    from {_SPOKEN} order by profile_id, purpose, nth desc
    """
)


async def _store(db: AsyncSession, workspace_id: UUID, batch: _Batch, now: datetime) -> None:
    here = {"workspace": workspace_id, "now": now}
    people = list(batch.people.values())
    changed = [each for each in people if each.touched and not each.is_new]
    for statement, those in (
        (_ADD, [each for each in people if each.is_new]),
        (_CHANGE, [each for each in changed if each.rewritten]),
    ):
        if those:
            await db.execute(statement, here | _columns(those))
    if only_named := [each.id for each in changed if not each.rewritten]:
        await db.execute(_TOUCH, here | {"ids": only_named})
    await _store_names(db, here, people)
    if batch.own:
        await profiles.lift(db, batch.own, now)
    if batch.spoken:
        whose, purposes, states, sources = zip(*batch.spoken, strict=True)
        spoken = {"profiles": [*whose], "purposes": [*purposes], "states": [*states], "sources": [*sources]}
        await db.execute(_END_CONSENTS, here | spoken)
        await db.execute(_ADD_CONSENTS, here | spoken)


async def _tell(db: AsyncSession, batch: _Batch, now: datetime) -> None:
    """Announce who is new, who has changed and what is allowed now, where somebody asks."""
    touched = [each for each in batch.people.values() if each.is_new or each.touched]
    wanted = await announced.asked(db, *announced_people.WRITTEN) if touched else ()
    if AnnouncementType.PROFILE_CREATED in wanted:
        await announced_people.created(db, [each.id for each in touched if each.is_new], now)
    if AnnouncementType.PROFILE_UPDATED in wanted:
        spoken = {each.id for each in touched if each.rewritten or each.names != each.was}
        changed = {each.id: _changed(each) for each in touched if not each.is_new and each.id in spoken}
        await announced_people.updated(db, changed, now)
    if AnnouncementType.PROFILE_CONSENT_CHANGED in wanted:
        said = {(who, purpose): (who, purpose, state, source) for who, purpose, state, source in batch.spoken}
        await announced_people.consented(db, [announced_people.Said(*each) for each in said.values()], now)


def _changed(person: _Person) -> dict[str, Any]:
    """The attributes that are other than they were; None for those that were taken away."""
    nothing = object()
    return {
        name: person.attributes.get(name)
        for name in {**person.had, **person.attributes}
        if repr(person.had.get(name, nothing)) != repr(person.attributes.get(name, nothing))  # 1 is not true.
    }


async def _store_names(db: AsyncSession, here: Mapping[str, Any], people: Sequence[_Person]) -> None:
    """In this order no moment has two holders of one name, or two primary ones of a kind."""
    before = {(name, each.id): primary for each in people for name, primary in each.was.items()}
    after = {(name, each.id): primary for each in people for name, primary in each.names.items()}
    kept = before.keys() & after.keys()
    for statement, names in (
        (_TAKE_NAMES, before.keys() - after.keys()),
        (_SECOND, {each for each in kept if before[each] and not after[each]}),
        (_PRIMARY, {each for each in kept if after[each] and not before[each]}),
        (_ADD_NAMES, {each for each in after.keys() - before.keys() if not after[each]}),
        (_ADD_NAMES, {each for each in after.keys() - before.keys() if after[each]}),
    ):
        if names:
            ordered = sorted(names)
            values = {
                "kinds": [str(kind) for (kind, _), _ in ordered],
                "values": [value for (_, value), _ in ordered],
                "profiles": [id_ for _, id_ in ordered],
            }
            more = {"primary": after[ordered[0]]} if statement is _ADD_NAMES else {}
            await db.execute(statement, {**here, **values, **more})


def _columns(people: Sequence[_Person]) -> dict[str, Any]:
    return {
        "ids": [each.id for each in people],
        "attributes": [orjson.dumps(each.attributes).decode() for each in people],
        **{column: [each.known[column] for each in people] for column in KNOWN},
    }
