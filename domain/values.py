"""How values are read and compared. Attributes are JSON of any kind, and all text if they came from a file.

Each reading answers None for what can't be read so. `models/queries/segments.py` reads the same in SQL.
"""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

Scalar: TypeAlias = str | bool | int | float
Value: TypeAlias = Scalar | tuple[Scalar, ...] | None

# What the operators mean, between Python values and between a column and a value alike.
COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "is": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "before": operator.lt,
    "on or after": operator.ge,
}

# What a text must look like to be read as a number, here and in SQL.
NUMBER = r"^[+-]?[0-9]{1,100}([.][0-9]{1,100})?$"
_NUMBER = re.compile(NUMBER)


def as_number(value: Any) -> Decimal | None:
    """A number, or a text that is written like one (12, -3.50), exactly."""
    match value:
        case bool():
            return None
        case int() | float():
            return exact(value)
        case str() if _NUMBER.fullmatch(value):
            return Decimal(value)
    return None


def as_boolean(value: Any) -> bool | None:
    """True or false, or these words as a text in any case."""
    match value:
        case bool():
            return value
        case str():
            return {"true": True, "false": False}.get(value.lower())
    return None


def as_text(value: Any) -> str | None:
    """A text, a boolean's word, or a number as a plain decimal without trailing zeros (12.50 is "12.5")."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            digits = format(exact(value), "f")
            plain = digits.rstrip("0").rstrip(".") if "." in digits else digits
            return "0" if plain == "-0" else plain
    return None


# What a text must look like to be read as a day or an instant (ISO 8601), here and in SQL; both then ask the
# calendar whether there is such a day.
TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?"
    r"(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])?)?$"
)
_TIME = re.compile(TIME)


def as_day(value: Any) -> date | None:
    """The day of a text that is a day or an instant in ISO 8601, as it is written there."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def as_time(value: Any, zone: ZoneInfo) -> datetime | None:
    """The same as an instant: what has no offset is the time of day in `zone`, and a day its midnight."""
    if as_day(value) is None:
        return None
    at = datetime.fromisoformat(value)
    if at.tzinfo:
        return at
    # What the clocks show twice, or never, is taken for standard time, as PostgreSQL does.
    return min((at.replace(tzinfo=zone, fold=fold) for fold in (0, 1)), key=_offset)


def _offset(at: datetime) -> timedelta:
    offset = at.utcoffset()
    assert offset is not None
    return offset


def exact(value: float) -> Decimal:
    """The number that was written, not the binary fraction that stands for it."""
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))


def compares(op: str, found: Any, value: Value) -> bool:
    """Whether what was found, read as the kind of thing that the value is, compares so with the value."""
    match value:
        case bool():
            return as_boolean(found) is value
        case str():
            text = as_text(found)
            if text is None:
                return False
            match op:
                case "contains":
                    return value in text
                case "starts with":
                    return text.startswith(value)
                case "ends with":
                    return text.endswith(value)
            return bool(COMPARE[op](text, value))
        case _:
            number = as_number(found)
            return number is not None and bool(COMPARE[op](number, as_number(value)))
