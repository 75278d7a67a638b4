"""Segments as rows: made, edited, looked up for what their rules mean, and removed when nothing needs them.

Whoever writes a segment waits first for those who decide who is who (`people_lock`). So edits come one after
the other, two that name each other can't pass each other by, and none waits for a batch that waits for it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy import func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, NotFound
from domain.events import SEGMENT_ENTERED, SEGMENT_LEFT
from domain.segments import Rule, expand, parse, reads
from domain.segments import segments as named
from models.base import Json, changed
from models.queries import people_lock, rows
from models.queries.profiles import HERE
from models.segments import Segment, SegmentMember, SegmentVersion

MOST_NAMED = 10  # Of those who use a segment, in the refusal to delete it.

_HERE = literal_column(HERE, PgUUID(as_uuid=True))


class Meaning(NamedTuple):
    """What a rule means now."""

    rule: Rule  # Without conditions on other segments: their rules are written in.
    others: Mapping[UUID, Rule]  # Those rules, as they are written, by the segments' ids.
    of: Mapping[UUID, int]  # Which version of each that is.


async def meaning(db: AsyncSession, rule: Rule, field: str = "/rule") -> Meaning:
    """Raises `Invalid` for a segment that is not there, or when segments name one another in a circle.

    `field` is the JSON pointer to the rule in what was sent.
    """
    versions: dict[UUID, int] = {}
    known: dict[UUID, Rule] = {}
    asked = {*named(rule)}
    while asked:
        which = Segment.workspace_id == _HERE, Segment.id.in_(asked)
        there = select(Segment.id, Segment.version, Segment.rule).where(*which)
        new = {id_: (version, parse(their)) for id_, version, their in await db.execute(there)}
        versions |= {id_: version for id_, (version, _) in new.items()}
        known |= {id_: their for id_, (_, their) in new.items()}
        asked = {name for id_ in new for name in named(known[id_])} - known.keys()
    return Meaning(expand(rule, known, field), known, versions)


async def resolved(db: AsyncSession, rule: Rule, field: str = "/rule") -> Rule:
    """The rule with those of the segments that it names written in. Raises as `meaning` does.

    Whoever compiles a rule that is kept somewhere asks for this first.
    """
    return (await meaning(db, rule, field)).rule


async def create(
    db: AsyncSession, workspace_id: UUID, name: str, rule: Json, *, announce: bool = False
) -> Segment:
    """Its members are found by the next look at everybody; `announce`: as if they came in just then.

    Raises `Invalid` for a rule that names segments which are not there.
    """
    await people_lock.take(db, workspace_id)
    words = await _words(db, rule)
    segment = Segment(workspace_id=workspace_id, name=name, rule=rule, reads=words, announce=announce)
    db.add(segment)
    await db.flush()
    await db.refresh(segment)
    await _keep_version(db, segment)
    return segment


async def _words(db: AsyncSession, rule: Json) -> list[str]:
    return sorted(reads(await resolved(db, parse(rule))))


async def _keep_version(db: AsyncSession, segment: Segment) -> None:
    values = {"workspace_id": segment.workspace_id, "segment_id": segment.id}
    db.add(SegmentVersion(**values, number=segment.version, rule=segment.rule))
    await db.flush()


async def hold(db: AsyncSession, segment_id: UUID) -> Segment:
    """The segment, for a change: nobody else changes one of the workspace's meanwhile. Raises `NotFound`."""
    await people_lock.take_here(db)
    return await rows.get(db, Segment, segment_id, lock=True)


async def change(
    db: AsyncSession, segment_id: UUID, values: Mapping[str, Any], *, announce: bool = False
) -> Segment:
    """Write these columns. A new rule makes a version, whose members the next look at everybody finds.

    So are those of the segments that name this one found anew. Who comes and goes by the edit does so
    silently, unless `announce`. Raises `NotFound`, and `Invalid` where segments would name one another in a
    circle.
    """
    segment = await hold(db, segment_id)
    edited = values.get("rule", segment.rule) != segment.rule
    for column, value in {**values, "updated_at": func.now()}.items():
        setattr(segment, column, value)
    if edited:
        segment.version += 1
        segment.reads = await _words(db, segment.rule)
        _find_anew(segment, announce)
        await db.flush()
        for other in await _naming(db, segment_id):
            other.reads = await _words(db, other.rule)
            _find_anew(other, announce)
    await db.flush()
    await db.refresh(segment)
    if edited:
        await _keep_version(db, segment)
    return segment


def _find_anew(segment: Segment, announce: bool) -> None:
    segment.materialized_at = segment.due_at = segment.problem = None
    segment.announce = announce


async def _naming(db: AsyncSession, segment_id: UUID) -> Sequence[Segment]:
    """The segments whose rule names this one, or one that does."""
    found: dict[UUID, Segment] = {}
    asked = {segment_id}
    others = (await db.scalars(select(Segment).where(Segment.id != segment_id).order_by(Segment.id))).all()
    while asked:
        new = {each.id: each for each in others if each.id not in found and _names(each.rule, asked)}
        found |= new
        asked = {*new}
    return [*found.values()]


def _names(part: object, asked: Collection[UUID]) -> bool:
    """Whether a rule as it is written names one of these, without the cost of reading it."""
    match part:
        case {"kind": "segment", "segment_id": id_}:
            return str(id_) in {str(each) for each in asked}
        case dict():
            return any(_names(each, asked) for each in part.values())
        case list():
            return any(_names(each, asked) for each in part)
    return False


async def ask_again(db: AsyncSession, segment_id: UUID, now: datetime, announce: bool) -> None:
    """Have everybody looked at again, and soon; who came or went unnoticed does so silently or by events.

    Raises `NotFound`.
    """
    asked = update(Segment).where(Segment.id == segment_id).values(due_at=now, announce=announce)
    if not await changed(db, asked):
        raise NotFound(f"There is no segment {segment_id}.")


async def ask_all_again(db: AsyncSession, now: datetime) -> None:
    """Have everybody looked at again for each segment: what its rule means has changed with the workspace.

    Silently. Those that nobody looked at yet are looked at in any case.
    """
    await people_lock.take_here(db)
    known = Segment.workspace_id == _HERE, Segment.materialized_at.is_not(None)
    await db.execute(update(Segment).where(*known).values(due_at=now, announce=False))


async def ask_readers_again(db: AsyncSession, word: str, now: datetime) -> None:
    """The same for the segments that read this word: it changed for more people than are to be named."""
    mine = Segment.workspace_id == _HERE, Segment.reads.contains([word]), Segment.materialized_at.is_not(None)
    await db.execute(update(Segment).where(*mine).values(due_at=now))


# What a trigger, a wait or a condition on `segment entered` or `segment left` asks by its `where`.
_CROSSINGS = " || ".join(
    f'@.{field} == "{name}"' for field in ("event", "name") for name in (SEGMENT_ENTERED, SEGMENT_LEFT)
)
HEARD_OF = (
    f"strict $.** ? (({_CROSSINGS}) && exists(@.where)).where[*] "
    '? ((@.op == "is" || @.op == "in") && exists(@.value))'
)


def _naming_it(written: str) -> str:
    """Whether this names the segment of `it`: outright, or by the events of who enters or leaves it."""
    return f"""(
            jsonb_path_exists({written}, '$.**.segment_id ? (@ == $id)', (select it.called from it))
            or jsonb_path_exists({written}, '{HEARD_OF} ? (
                @.name == "segment_id" && (@.value == $id || @.value[*] == $id)
                || @.name == "segment" && (@.value == $name || @.value[*] == $name)
            )', (select it.called from it))
        )"""


_ENDED = ("completed", "cancelled", "failed", "archived")
# Who can't let go of it any more is named first.
_USERS = text(
    f"""
    with it as materialized (
        select jsonb_build_object('id', cast(:segment as text), 'name', s.name) as called from segments s
        where s.workspace_id = {HERE} and s.id = cast(:segment as uuid)
    ), users as (
        select 1 as nth, 'campaign' as kind, c.name, c.state from campaigns c
        where c.workspace_id = {HERE} and c.segment_id = cast(:segment as uuid)
        union all
        select 2, 'flow', f.name, f.state from flows f
        where f.workspace_id = {HERE} and {_naming_it("f.definition")}
        union all
        select 3, 'segment', s.name, '' from segments s
        where s.workspace_id = {HERE} and s.id <> cast(:segment as uuid) and {_naming_it("s.rule")}
    )
    select kind, name, state, count(*) over () from users
    order by state = any(cast(:ended as text[])) desc, nth, name limit {MOST_NAMED}
    """
)


class _User(NamedTuple):
    kind: str
    name: str
    state: str
    of: int  # So many are there.

    def __str__(self) -> str:
        return f'the {self.kind} "{self.name}"'


_LOOK = text("select pg_try_advisory_xact_lock(hashtextextended('look at ' || cast(:segment as text), 0))")


async def begin_look(db: AsyncSession, segment_id: UUID) -> bool:
    """Keep others from looking at everybody for a segment until we commit. False: somebody is at it."""
    return bool(await db.scalar(_LOOK, {"segment": str(segment_id)}))


async def delete(db: AsyncSession, segment_id: UUID) -> None:
    """Remove a segment that nothing needs.

    Raises `NotFound`, and `Conflict` naming what needs it, or while somebody looks at everybody for it: a
    look holds the members before the segment, and we the other way round.
    """
    if not await begin_look(db, segment_id):
        raise Conflict("Its members are being found just now: try again in a moment.")
    segment = await hold(db, segment_id)
    found = await db.execute(_USERS, {"segment": str(segment_id), "ended": [*_ENDED]})
    if users := [_User(*row) for row in found]:
        raise Conflict(_in_use(users))
    await db.execute(delete_from(SegmentMember).where(SegmentMember.segment_id == segment_id))
    await db.delete(segment)
    await db.flush()


def _in_use(users: Sequence[_User]) -> str:
    """Who uses it, and what can be done about that."""
    first, *others = users
    kept = "it keeps what it was made of, so the segment can't be deleted."
    if not others:
        whose = f"T{str(first)[1:]}"
        if first.state in _ENDED:
            return f"{whose} uses this segment and is {first.state}: {kept}"
        way_out = "change" if first.state in ("live", "paused") else "change or delete"
        return f"{whose} uses this segment; {way_out} the {first.kind} first."
    named = [f"{each} ({each.state})" if each.state in _ENDED else str(each) for each in users]
    named += [f"{first.of - len(users):,} more"] if first.of > len(users) else []
    said = f"{', '.join(named[:-1])} and {named[-1]} use this segment"
    if first.state in _ENDED:
        return f"T{said[1:]}. What has ended keeps what it was made of, so the segment can't be deleted."
    return f"T{said[1:]}; change or delete them first."
