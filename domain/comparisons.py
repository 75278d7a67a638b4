"""Comparing one value with another: what a profile's attribute says, or a property of an event.

Everything here is either true or false, never unknown. `models/queries/comparisons.py` says the same in SQL.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from domain import patterns
from domain.values import Scalar, Value, as_text, compares

LONGEST_LIST = 1_000
_LARGEST = 10**308
_BEYOND = 2**63  # Whole numbers of 64 bits are what every JSON library takes, and ours.


def storable(text: str) -> str:
    """PostgreSQL keeps neither a NUL nor half of a character."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("Take out what is no character: a NUL, or half of a surrogate pair.")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, serialize_by_alias=True)


# What each of these denies. They are true where the value is missing.
DENIES: Final[Mapping[str, str]] = {
    "is not": "is",
    "not in": "in",
    "does not contain": "contains",
    "does not include": "includes",
    "does not exist": "exists",
}
Op: TypeAlias = Literal[
    "is",
    "is not",
    "in",
    "not in",
    "contains",
    "does not contain",
    "starts with",
    "ends with",
    "matches",
    ">",
    ">=",
    "<",
    "<=",
    "between",
    "includes",
    "does not include",
    "exists",
    "does not exist",
]


class Comparison(Node):
    """What the value of this name says. The kind of the value it is compared with says how it is read.

    - A text: as text; numbers are plain decimals without trailing zeros (12.50 is "12.5"), booleans
      "true" and "false". Case matters. Text is ordered by code points, and so are dates written as
      1998-01-31.
    - A number: as a number, exactly; a text counts if it is written like one (12, -3.50).
    - A boolean: as a boolean; a text counts if it is "true" or "false" in any case.

    What can't be read so, lists and objects too, is as if it were missing; `exists` asks for anything but
    null, and `includes` for a list, of whose elements one is the value. `between` includes both ends.
    `matches` looks for a pattern (`domain.patterns`) in the first 200 characters. Each of `DENIES` is the
    same as not what it denies, and so true where the value is missing; every other is false there.
    """

    name: Name
    op: Op
    value: Value = Field(default=None, validate_default=True)

    @field_validator("value", mode="before")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Value:
        op = info.data.get("op")
        return None if op is None else fitting(op, value)  # None: the op is wrong, and said to be.

    @property
    def asks(self) -> tuple[str, bool]:
        """The op without its denial, and whether it is denied."""
        return DENIES.get(self.op, self.op), self.op in DENIES

    def holds(self, found: Any) -> bool:
        """Whether this is true of what was found under the name, None where nothing was."""
        op, denied = self.asks
        return compared(op, found, self.value) != denied


def all_hold(where: Iterable[Comparison], values: Mapping[str, Any]) -> bool:
    """Whether all of these are true of the values with these names: of an event's properties."""
    return all(each.holds(values.get(each.name)) for each in where)


def fitting(op: str, value: Any) -> Value:
    """The value, as it fits this op. Raises `ValueError`."""
    match DENIES.get(op, op):
        case "exists":
            if value is not None:
                raise ValueError(f'"{op}" asks only whether there is a value; leave the value out.')
            return None
        case "in":
            if not isinstance(value, list | tuple) or not 1 <= len(value) <= LONGEST_LIST:
                raise ValueError(f'"{op}" wants a list of 1 to {LONGEST_LIST:,} values.')
            return tuple(scalar(each) for each in value)
        case "between":
            return _ends(value)
        case "contains" | "starts with" | "ends with":
            if not isinstance(value, str):
                raise ValueError(f'"{op}" wants a text.')
            return storable(value)
        case "matches":
            if not isinstance(value, str):
                raise ValueError('"matches" wants a pattern: a text such as "^A[0-9]+".')
            patterns.canonical(storable(value))
            return value
        case "is" | "includes":
            return scalar(value)
    if isinstance(value, bool):
        raise ValueError(f'"{op}" wants a text or a number: true and false have no order.')
    return scalar(value)


def _ends(value: Any) -> tuple[Scalar, Scalar]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError('"between" wants two values, the smaller one first: [18, 30].')
    low, high = (scalar(each) for each in value)
    if isinstance(low, bool) or isinstance(high, bool) or isinstance(low, str) != isinstance(high, str):
        raise ValueError('"between" wants two numbers, or two texts.')
    if compares(">", low, high):
        raise ValueError("Write the smaller one of the two first: nothing lies between them so.")
    return low, high


def compared(op: str, found: Any, value: Value) -> bool:
    """Whether what was found compares so with the value; `op` denies nothing."""
    match op, value:
        case "exists", _:
            return found is not None
        case "in", tuple(values):
            return any(compares("is", found, each) for each in values)
        case "between", (low, high):
            return compares(">=", found, low) and compares("<=", found, high)
        case "includes", _:
            return isinstance(found, list) and any(compares("is", each, value) for each in found)
        case "matches", str(pattern):
            text = as_text(found)
            return text is not None and patterns.compiled(pattern).search(text[: patterns.REACH]) is not None
    return compares(op, found, value)


class Property(Comparison):
    """What a property of an event says. Only the event's own properties can be named, none inside them."""

    kind: Literal["property"] = "property"


def scalar(value: Any) -> Scalar:
    match value:
        case str():
            return storable(value)
        case bool():
            return value
        case int():
            if -_BEYOND <= value < _BEYOND:
                return value
            # PostgreSQL writes 1e300 out to its last digit, so a rule that it kept comes back so.
            if abs(value) <= _LARGEST and Decimal(repr(float(value))) == value:
                return float(value)
            raise ValueError("This whole number has more than 64 bits: write it as a text.")
        case float() if math.isfinite(value):
            return value
    raise ValueError("Give it a value to compare with: a text, a number, true or false.")
