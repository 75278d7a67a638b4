"""Comparing one value with another: what a profile's attribute says, or a property of an event.

Everything here is either true or false, never unknown. `models/queries/comparisons.py` says the same in SQL.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from domain.values import Scalar, Value, compares

LONGEST_LIST = 1_000
_LARGEST = 10**308
_BEYOND = 2**63  # Whole numbers of 64 bits are what every JSON library takes, and ours.


def _storable(text: str) -> str:
    """PostgreSQL keeps neither a NUL nor half of a character."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("Take out what is no character: a NUL, or half of a surrogate pair.")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, serialize_by_alias=True)


class Comparison(Node):
    """What the value of this name says. The kind of the value it is compared with says how it is read.

    - A text: as text; numbers are plain decimals without trailing zeros (12.50 is "12.5"), booleans
      "true" and "false". Case matters. Text is ordered by code points, and so are dates written as
      1998-01-31.
    - A number: as a number, exactly; a text counts if it is written like one (12, -3.50).
    - A boolean: as a boolean; a text counts if it is "true" or "false" in any case.

    What can't be read so, lists and objects too, is as if it were missing; `exists` alone asks for
    anything but null. `is not` is the same as not `is`, and so true where the value is missing.
    """

    name: Name
    op: Literal["is", "is not", ">", ">=", "<", "<=", "contains", "starts with", "in", "exists"]
    value: Value = Field(default=None, validate_default=True)

    @field_validator("value", mode="before")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Value:
        match info.data.get("op"):
            case None:
                return None  # The op is wrong, and said to be.
            case "exists":
                if value is not None:
                    raise ValueError('"exists" asks only whether there is a value; leave the value out.')
                return None
            case "in":
                if not isinstance(value, list | tuple) or not 1 <= len(value) <= LONGEST_LIST:
                    raise ValueError(f'"in" wants a list of 1 to {LONGEST_LIST:,} values.')
                return tuple(scalar(each) for each in value)
            case "contains" | "starts with" as op:
                if not isinstance(value, str):
                    raise ValueError(f'"{op}" wants a text.')
                return _storable(value)
            case "is" | "is not":
                return scalar(value)
            case op:
                if isinstance(value, bool):
                    raise ValueError(f'"{op}" wants a text or a number: true and false have no order.')
                return scalar(value)

    def holds(self, found: Any) -> bool:
        """Whether this is true of what was found under the name, None where nothing was."""
        match self.op, self.value:
            case "exists", _:
                return found is not None
            case "in", tuple(values):
                return any(compares("is", found, value) for value in values)
            case "is not", value:
                return not compares("is", found, value)
            case op, value:
                return compares(op, found, value)


class Property(Comparison):
    """What a property of an event says. Only the event's own properties can be named, none inside them."""

    kind: Literal["property"] = "property"


def scalar(value: Any) -> Scalar:
    match value:
        case str():
            return _storable(value)
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
