"""Hot attributes: whom a condition on one picks, by the index of its values."""

from typing import Any

from sqlalchemy import (
    Numeric,
    Text,
    and_,
    any_,
    case,
    cast,
    false,
    literal,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from domain.comparisons import DENIES
from domain.conditions import Attribute
from domain.values import COMPARE, NUMBER, as_number
from models.attributes import ProfileValue
from models.queries.attributes import LONGEST_TEXT
from models.queries.comparisons import is_plain
from models.queries.people_asked import Source, an_alias
from models.queries.profiles import HERE

_LIKE_A_NUMBER = literal_column(f"'{NUMBER}'", Text)
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
        which = kept.c.text == any_(literal(list(values), ARRAY(Text)))
        return Source(kept, kept.c.profile_id, [of_it, which])
    if op in ("is", ">", ">=", "<", "<=") and _is_a_number(condition.value):
        return _numbers(condition, ((op, condition.value),))
    if op == "between" and all(_is_a_number(value) for value in values):
        return _numbers(condition, ((">=", values[0]), ("<=", values[-1])))
    return None


def _is_a_word(value: Any) -> bool:
    return isinstance(value, str) and is_plain(value) and len(value) < LONGEST_TEXT


def _is_a_number(value: Any) -> bool:
    """Whether double precision says exactly this number, so that it tells others of that kind from it."""
    if isinstance(value, str | bool) or value is None:
        return False
    number = as_number(value)
    return number is not None and as_number(float(number)) == number


def _numbers(condition: Attribute, asked: tuple[tuple[str, Any], ...]) -> Source:
    """Numbers, and texts that are written like one, or numbers that double precision can't hold."""
    kept = an_alias(ProfileValue)
    as_numbers = select(kept.c.profile_id).where(
        kept.c.attribute == condition.name,
        *(COMPARE[op](kept.c.number, float(value)) for op, value in asked),
    )
    kept = an_alias(ProfileValue)
    written = cast(kept.c.text, Numeric)
    compared = [COMPARE[op](written, literal(as_number(value), Numeric)) for op, value in asked]
    as_texts = select(kept.c.profile_id).where(
        kept.c.attribute == condition.name,
        kept.c.text.is_not(None),
        case((kept.c.text.op("~")(_LIKE_A_NUMBER), and_(*compared)), else_=false()),
    )
    both = union_all(as_numbers, as_texts).subquery()
    return Source(both, both.c.profile_id, [])
