"""What somebody gives along with something else: a little JSON that is kept, and said again, as it is."""

from typing import Any

import orjson

from domain.comparisons import storable

LARGEST = 10_000  # Bytes of JSON.
DEEPEST = 20  # Levels of objects and lists, as of an event's properties: what says them again adds its own.


def small(extras: dict[str, Any]) -> dict[str, Any]:
    """The same, for fields of bodies. Raises `ValueError`, with the way out."""
    levels, level = 0, [extras]
    while level:
        levels += 1
        if levels > DEEPEST:
            raise ValueError(f"Nest this at most {DEEPEST} levels deep.")
        level = [each for within in level for each in _within(within)]
    try:
        size = len(orjson.dumps(extras))
    except TypeError:
        raise ValueError("A number in this is too large to be kept exactly; send it as a text.") from None
    if size > LARGEST:
        raise ValueError(f"Keep this under {LARGEST:,} bytes of JSON.")
    return extras


def _within(value: Any) -> list[Any]:
    """The objects and lists right within this one, whose texts can all be stored."""
    found = [*value, *value.values()] if isinstance(value, dict) else value
    for each in found:
        if isinstance(each, str):
            storable(each)
    return [each for each in found if isinstance(each, dict | list)]
