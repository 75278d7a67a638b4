"""What a comparison means for a whole column of values. `domain/comparisons.py` says it for one."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    ColumnElement,
    Numeric,
    Text,
    and_,
    any_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
)
from sqlalchemy.dialects.postgresql import JSONB

from domain import patterns
from domain.comparisons import Comparison
from domain.conditions import Attribute, Identity
from domain.values import COMPARE, NUMBER, TIME, Scalar, Value, as_number

# Ours, and not a marketer's: written out, since every parameter of a long statement costs a little each time.
_NULL, _STRING, _NUMBER, _BOOLEAN, _ARRAY = (
    literal_column(f"'{kind}'", Text) for kind in ("null", "string", "number", "boolean", "array")
)
_LIKE_A_NUMBER = literal_column(f"'{NUMBER}'", Text)
_LIKE_A_TIME = literal_column(f"'{TIME}'", Text)
_ZONED = literal_column(r"'(Z|[T ].*[+-][0-9]{2}:?[0-9]{2})$'", Text)
_EMPTY = literal_column("'[]'", JSONB)


def holding(condition: Comparison | Attribute, values: Any) -> ColumnElement[bool]:
    """The condition that is true where it holds of `values`, a column of JSON objects. It is never null.

    Of an attribute, one that is no question of time.
    """
    found = Found.under(condition.name, values)
    op, denied = condition.asks
    plain = _plainly(op, found, condition.value)
    holds = plain if plain is not None else compares(op, found, condition.value)
    return not_(holds) if denied else holds


def named(condition: Identity, value: Any) -> ColumnElement[bool]:
    """Whether one name, a column of text, is what the condition asks for, leaving a denial aside."""
    op, _ = condition.asks
    return compares(op, Found(_STRING, value), condition.value)


class Found:
    """A value of JSON, and the readings of `domain.values`: null for what can't be read so."""

    def __init__(self, kind: Any, written: Any, whole: Any = None) -> None:
        self.kind = kind
        self.written = written
        self.whole = whole

    @classmethod
    def under(cls, name: str, values: Any) -> "Found":
        whole = values.op("->")(literal(name, Text))
        return cls(func.jsonb_typeof(whole), values.op("->>")(literal(name, Text)), whole)

    @property
    def number(self) -> ColumnElement[Decimal]:
        like_one = and_(self.kind == _STRING, self.written.op("~")(_LIKE_A_NUMBER))
        return case((or_(self.kind == _NUMBER, like_one), cast(self.written, Numeric)))

    @property
    def boolean(self) -> ColumnElement[str]:
        """The word, in small letters. Any other text is there too, and is neither word."""
        return case((or_(self.kind == _BOOLEAN, self.kind == _STRING), func.lower(self.written)))

    @property
    def text(self) -> ColumnElement[str]:
        """Ordered by code points, as Python does."""
        plain = cast(func.trim_scale(cast(self.written, Numeric)), Text)
        read = case(
            (or_(self.kind == _STRING, self.kind == _BOOLEAN), self.written),
            (self.kind == _NUMBER, plain),
        )
        return read.collate("C")

    @property
    def is_time(self) -> ColumnElement[bool]:
        """Whether it is a day or an instant that there is."""
        looks_so = and_(self.kind == _STRING, self.written.op("~")(_LIKE_A_TIME))
        day = func.left(self.written, 10)
        return case((looks_so, func.pg_input_is_valid(day, literal_column("'date'"))), else_=false())

    def time(self, zone: str) -> ColumnElement[datetime]:
        as_written = cast(self.written, TIMESTAMP(timezone=True))
        here = func.timezone(literal(zone, Text), cast(self.written, TIMESTAMP(timezone=False)))
        return case((self.is_time, case((self.written.op("~")(_ZONED), as_written), else_=here)))


def compares(op: str, found: Found, value: Value) -> ColumnElement[bool]:
    """Whether it compares so with the value; `op` denies nothing."""
    match op, value:
        case "exists", _:
            return known(found.kind != _NULL)
        case "in", tuple(values):
            return or_(*_is_one_of(found, values))
        case "between", (low, high):
            return and_(compares(">=", found, low), compares("<=", found, high))
        case "includes", _:
            return _includes(found, value)
        case _, bool():
            return known(found.boolean == _word(bool(value)))
        case _, str(text):
            return known(_with_text(op, found.text, text))
    return known(COMPARE[op](found.number, literal(as_number(value), Numeric)))


def _with_text(op: str, found: ColumnElement[str], value: str) -> ColumnElement[bool]:
    match op:
        case "contains":
            return func.strpos(found, literal(value, Text)) > 0
        case "starts with":
            return func.starts_with(found, literal(value, Text))
        case "ends with":
            return func.right(found, len(value)) == literal(value, Text)
        case "matches":
            pattern = literal(patterns.canonical(value), Text)
            return func.left(found, patterns.REACH).op("~")(pattern)
    compared: ColumnElement[bool] = COMPARE[op](found, literal(value, Text))
    return compared


def _plainly(op: str, found: Found, value: Value) -> ColumnElement[bool] | None:
    """The same where only a text, or a boolean, can be written so: as it is written, which is fast."""
    words = value if isinstance(value, tuple) else (value,)
    if op in ("is", "in") and all(isinstance(word, bool) for word in words):
        return known(func.lower(found.written) == any_(literal([_word(bool(w)) for w in words], ARRAY(Text))))
    if not all(isinstance(word, str) and is_plain(word) for word in words):
        return None
    match op:
        case "is":
            return known(found.written == literal(value, Text))
        case "in":
            return known(found.written == any_(literal(list(words), ARRAY(Text))))
        case "starts with":
            return known(func.starts_with(found.written, literal(value, Text)))
    return None


def is_plain(word: str) -> bool:
    """Whether no number, list or object is written like this, or begins so."""
    return bool(word) and word[0] not in "[{-0123456789"


def _includes(found: Found, value: Value) -> ColumnElement[bool]:
    elements = func.jsonb_array_elements(case((found.kind == _ARRAY, found.whole), else_=_EMPTY))
    listed = elements.table_valued("value").alias()
    element = listed.c.value
    each = Found(func.jsonb_typeof(element), element.op("#>>")(literal_column("'{}'")))
    return exists().where(compares("is", each, value)).correlate_except(listed)


def _is_one_of(found: Found, values: Sequence[Scalar]) -> Iterator[ColumnElement[bool]]:
    """One comparison for each kind of value among them."""
    if words := [_word(value) for value in values if isinstance(value, bool)]:
        yield known(found.boolean == any_(literal(words, ARRAY(Text))))
    if texts := [value for value in values if isinstance(value, str)]:
        yield known(found.text == any_(literal(texts, ARRAY(Text))))
    if numbers := [as_number(value) for value in values if not isinstance(value, str | bool)]:
        yield known(found.number == any_(literal(numbers, ARRAY(Numeric))))


def _word(value: bool) -> str:
    return "true" if value else "false"


def known(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """False where there was nothing to compare."""
    return func.coalesce(condition, false())
