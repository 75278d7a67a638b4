"""Changes to a profile's attributes: set, removed (null), counted up ($inc), added to a list ($append)."""

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

import orjson

from domain.attributes import LONGEST_NAME
from domain.errors import Invalid
from domain.nesting import depth
from domain.values import exact

MOST = 500  # Attributes of one profile.
LARGEST = 100_000  # Bytes of one profile's attributes as JSON.
LONGEST_LIST = 1000
DEEPEST = 8  # Levels of lists and objects of one attribute, whichever way it comes.
INC, APPEND = "$inc", "$append"

_LARGEST_INT = 2**63


def changed(attributes: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes afterwards. Raises `Invalid` whose field is a pointer below `/attributes`."""
    after = dict(attributes)
    for name, change in changes.items():
        check_name(name)
        if change is None:
            after.pop(name, None)
        else:
            after[name] = _applied(name, attributes.get(name), change)
    if len(after) > MOST and len(after) > len(attributes):
        raise Invalid(f"A profile has at most {MOST} attributes: remove some by null.", "/attributes")
    if changes and len(orjson.dumps(after)) > LARGEST:
        raise Invalid(f"A profile's attributes take at most {LARGEST:,} bytes.", "/attributes")
    return after


def check_name(name: str) -> None:
    """Raises `Invalid` for what no attribute can be called."""
    if not 1 <= len(name) <= LONGEST_NAME or "\0" in name or not _is_whole(name):
        raise Invalid(f"An attribute's name has 1 to {LONGEST_NAME} whole characters.", "/attributes")


def _applied(name: str, before: Any, change: Any) -> Any:
    field = pointer(name)
    match change:
        case {"$inc": by, **more} if not more:
            return _sum(before, by, field)
        case {"$append": item, **more} if not more:
            return _longer(before, item, field)
        case dict() if any(key.startswith("$") for key in change):
            raise Invalid(
                'Send a value, null, {"$inc": 3} or {"$append": "x"}; no other key may begin with $.', field
            )
    check(change, field)
    return change


def _sum(before: Any, by: Any, field: str) -> int | float:
    if not _is_number(by):
        raise Invalid("Count up by a number, such as 1 or -2.5.", field)
    if before is not None and not _is_number(before):
        raise Invalid("This profile has no number there: set one first.", field)
    if isinstance(before, int | None) and isinstance(by, int):
        total: int | float = (before or 0) + by
    else:
        total = float(Decimal(exact(before or 0)) + exact(by))
    check(total, field)
    return total


def _longer(before: Any, item: Any, field: str) -> list[Any]:
    if before is not None and not isinstance(before, list):
        raise Invalid("This profile has no list there: set one first.", field)
    check([item], field)  # As deep as it comes to stand.
    after = [*(before or []), item]
    if len(after) > LONGEST_LIST:
        raise Invalid(f"A list has at most {LONGEST_LIST:,} items.", field)
    return after


def is_too_deep(value: Any) -> bool:
    """Whether an attribute's value has more levels than are kept."""
    # `depth` counts what stands in the innermost of them, too.
    return isinstance(value, dict | list) and depth(value) > DEEPEST + 1


def check(value: Any, field: str) -> None:
    """Raises `Invalid` for what can't be kept as JSON and searched again."""
    if is_too_deep(value):
        raise Invalid(f"It is nested more than {DEEPEST} levels deep.", field)
    _check(value, field)


def _check(value: Any, field: str) -> None:
    match value:
        case bool() | None:
            pass
        case str():
            if "\0" in value or not _is_whole(value):
                raise Invalid("A text holds whole characters, and no NUL.", field)
        case int() | float():
            if not _is_number(value):
                raise Invalid("This number is too large to be kept exactly; send it as a text.", field)
        case list():
            if len(value) > LONGEST_LIST:
                raise Invalid(f"A list has at most {LONGEST_LIST:,} items.", field)
            for each in value:
                _check(each, field)
        case dict():
            for key, each in value.items():
                _check(key, field)
                _check(each, field)
        case _:
            raise Invalid("Send JSON here.", field)


def pointer(name: str) -> str:
    """The JSON pointer (RFC 6901) to an attribute."""
    return "/attributes/" + name.replace("~", "~0").replace("/", "~1")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -_LARGEST_INT <= value < _LARGEST_INT
    return isinstance(value, float) and isfinite(value)


def _is_whole(value: str) -> bool:
    """Half a character (a lone surrogate) is no text in any encoding."""
    return value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)
