"""Hot attributes: whom a condition on one picks, by the index of its values."""

from decimal import Decimal
from typing import Any

from sqlalchemy import Text, any_, literal, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from domain.comparisons import DENIES
from domain.conditions import Attribute
from domain.values import COMPARE, as_number
from models.attributes import ProfileValue
from models.queries.attributes import LONGEST_TEXT
from models.queries.comparisons import is_plain
from models.queries.people_asked import Source, an_alias
from models.queries.profiles import HERE

_READY = text(f"select name from attributes where workspace_id = {HERE} and hot and filled_to is null")


async def ready(db: AsyncSession) -> frozenset[str]:
    """The attributes all of whose values can be looked up."""
    return frozenset((await db.execute(_READY)).scalars())


def source(condition: Attribute) -> Source | None:
    """Where the index finds exactly those of whom the condition, a denial aside, holds; None elsewhere."""
    op = DENIES.get(condition.op, condition.op)
    values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    kept = an_alias(ProfileValue)
    of_it = kept.c.attribute == condition.name
    if op in ("is", "in") and all(_is_a_word(value) for value in values):
        of_these = kept.c.text == any_(literal(list(values), ARRAY(Text)))
        return Source(kept, kept.c.profile_id, [of_it, of_these], one_each=True)
    ops = {"between": (">=", "<=")}.get(op, (op,))
    if ops[0] in COMPARE and all(_is_a_number(value) for value in values):
        asked = zip(ops, map(as_number, values), strict=True)
        which = [COMPARE[each](kept.c.number, float(number)) for each, number in asked if number is not None]
        return Source(kept, kept.c.profile_id, [of_it, *which], one_each=True)
    return None


def _is_a_word(value: Any) -> bool:
    return isinstance(value, str) and is_plain(value) and len(value) < LONGEST_TEXT


def _is_a_number(value: Any) -> bool:
    """Whether the index compares rightly with it: it has up to 15 digits (`models.queries.attributes`)."""
    if isinstance(value, str | bool) or value is None:
        return False
    number = as_number(value)
    return number is not None and Decimal(f"{float(number):.15g}") == number
