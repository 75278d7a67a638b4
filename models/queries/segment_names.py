"""What rules name by an id: whether it is there, and what it is called."""

from collections.abc import Iterable, Mapping
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Conflict, Invalid
from domain.references import references
from domain.segments import Rule
from domain.sentences import spoken_of
from models.queries.profiles import HERE

_TABLES = {
    "list": "lists",
    "segment": "segments",
    "topic": "topics",
    "flow": "flows",
    "campaign": "campaigns",
}
_NAMES = text(
    " union all ".join(
        f"select '{kind}' as kind, x.id, x.name from {table} x "
        f"where x.workspace_id = {HERE} and x.id = any(cast(:{table} as uuid[]))"
        for kind, table in _TABLES.items()
    )
)


async def called(db: AsyncSession, rules: Iterable[Rule]) -> Mapping[UUID, str]:
    """The names of whatever these rules name by an id, as far as it is there."""
    found = await _found(db, {each for rule in rules for each in spoken_of(rule)})
    return {its_id: name for (_, its_id), name in found.items()}


async def check(db: AsyncSession, rule: Rule, field: str = "/rule") -> None:
    """Raises `Invalid`, with the pointer to each, where the rule names something that is not there."""
    named = [*references(rule, field)]
    found = await _found(db, {(each.kind, each.its_id) for each in named})
    missing = [each for each in named if (each.kind, each.its_id) not in found]
    if not missing:
        return
    refused, *others = (
        Invalid(f"There is no {kind} {its_id}.", pointer) for kind, its_id, pointer in missing
    )
    refused.also += others
    raise refused


async def _found(db: AsyncSession, named: Iterable[tuple[str, UUID]]) -> Mapping[tuple[str, UUID], str]:
    asked: dict[str, list[UUID]] = {table: [] for table in _TABLES.values()}
    for kind, its_id in named:
        asked[_TABLES[kind]].append(its_id)
    if not any(asked.values()):
        return {}
    return {(kind, its_id): name for kind, its_id, name in await db.execute(_NAMES, asked)}


MOST_NAMED = 10
_ASKING = {
    kind: text(
        f"""
        select s.name, count(*) over () from segments s
        where s.workspace_id = {HERE} and jsonb_path_exists(
            s.rule, '$.**.{kind}_id ? (@ == $id)', jsonb_build_object('id', cast(:its_id as text)))
        order by s.name, s.id limit {MOST_NAMED}
        """
    )
    for kind in ("list", "topic")
}


async def check_unused(db: AsyncSession, kind: Literal["list", "topic"], its_id: UUID) -> None:
    """Raises `Conflict`, naming the segments whose rules ask about it: they would lose or gain everybody.

    Whoever holds the lock of the people keeps others from writing such a rule meanwhile.
    """
    found = (await db.execute(_ASKING[kind], {"its_id": str(its_id)})).all()
    if not found:
        return
    _, total = found[0]
    names = [f'the segment "{name}"' for name, _ in found]
    if total == 1:
        raise Conflict(f"T{names[0][1:]} asks about this {kind}; change or delete the segment first.")
    names += [f"{total - len(found):,} more"] if total > len(found) else []
    said = f"{', '.join(names[:-1])} and {names[-1]}"
    raise Conflict(f"T{said[1:]} ask about this {kind}; change or delete them first.")
