"""What a comparison means for a whole column of values. `domain/comparisons.py` says it for one."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Numeric,
    Text,
    and_,
    any_,
    case,
    cast,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
)

from domain.comparisons import Comparison
from domain.values import COMPARE, NUMBER, Scalar, Value, as_number

# Ours, and not a marketer's: written out, since every parameter of a long statement costs a little each time.
_NULL, _STRING, _NUMBER, _BOOLEAN = (
    literal_column(f"'{kind}'", Text) for kind in ("null", "string", "number", "boolean")
)
_LIKE_A_NUMBER = literal_column(f"'{NUMBER}'", Text)


def holding(condition: Comparison, values: Any) -> ColumnElement[bool]:
    """The condition that is true where it holds of `values`, a column of JSON objects. It is never null."""
    found = _Found(values, condition.name)
    match condition.op, condition.value:
        case "exists", _:
            return _known(found.kind != _NULL)
        case "in", tuple(values):
            return or_(*_is_one_of(found, values))
        case "is not", value:
            return not_(_compares("is", found, value))
        case op, value:
            return _compares(op, found, value)


class _Found:
    """A value in its JSON object, and the readings of `domain.values`: null for what can't be read so."""

    def __init__(self, values: Any, name: str) -> None:
        self.kind = func.jsonb_typeof(values.op("->")(literal(name, Text)))
        self._written = values.op("->>")(literal(name, Text))

    @property
    def number(self) -> ColumnElement[Decimal]:
        like_one = and_(self.kind == _STRING, self._written.op("~")(_LIKE_A_NUMBER))
        return case((or_(self.kind == _NUMBER, like_one), cast(self._written, Numeric)))

    @property
    def boolean(self) -> ColumnElement[str]:
        """The word, in small letters. Any other text is there too, and is neither word."""
        return case((or_(self.kind == _BOOLEAN, self.kind == _STRING), func.lower(self._written)))

    @property
    def text(self) -> ColumnElement[str]:
        """Ordered by code points, as Python does."""
        plain = cast(func.trim_scale(cast(self._written, Numeric)), Text)
        read = case(
            (or_(self.kind == _STRING, self.kind == _BOOLEAN), self._written),
            (self.kind == _NUMBER, plain),
        )
        return read.collate("C")


def _compares(op: str, found: _Found, value: Value) -> ColumnElement[bool]:
    match value:
        case bool():
            return _known(found.boolean == _word(value))
        case str():
            match op:
                case "contains":
                    return _known(func.strpos(found.text, literal(value, Text)) > 0)
                case "starts with":
                    return _known(func.starts_with(found.text, literal(value, Text)))
            return _known(COMPARE[op](found.text, literal(value, Text)))
        case _:
            return _known(COMPARE[op](found.number, literal(as_number(value), Numeric)))


def _is_one_of(found: _Found, values: Sequence[Scalar]) -> Iterator[ColumnElement[bool]]:
    """One comparison for each kind of value among them."""
    if words := [_word(value) for value in values if isinstance(value, bool)]:
        yield _known(found.boolean == any_(literal(words, ARRAY(Text))))
    if texts := [value for value in values if isinstance(value, str)]:
        yield _known(found.text == any_(literal(texts, ARRAY(Text))))
    if numbers := [as_number(value) for value in values if not isinstance(value, str | bool)]:
        yield _known(found.number == any_(literal(numbers, ARRAY(Numeric))))


def _word(value: bool) -> str:
    return "true" if value else "false"


def _known(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """False where there was nothing to compare."""
    return func.coalesce(condition, false())
