"""What rules name by an id: whether it is there, and what it is called."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Invalid
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
