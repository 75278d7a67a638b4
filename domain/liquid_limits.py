"""Keeps Liquid's filters from making what nobody could send: a template may come from anyone with a key.

Liquid limits loops and the output, and looks when a filter has returned. `join` and `replace` multiply
what they are given, so a short template could ask for gigabytes within one call.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from liquid.exceptions import FilterError

_MOST_BITS = 4096  # Of a whole number: more than a thousand digits.

Filter = Callable[..., Any]


def bounded(filters: dict[str, Filter], largest: int) -> dict[str, Filter]:
    """The same filters, which raise Liquid's FilterError instead of making more than `largest` characters or
    items, or a number of more than a thousand digits."""
    return {name: _bounded(name, filter_, largest) for name, filter_ in filters.items()}


def _bounded(name: str, filter_: Filter, largest: int) -> Filter:
    @wraps(filter_)  # With the attributes by which Liquid knows what to hand to it.
    def limited(*given: Any, **named: Any) -> Any:
        if (makes := _MULTIPLY.get(name)) and makes(*given) > largest:
            raise FilterError(f"{name} would make more than {largest:,} characters", token=None)
        made = filter_(*given, **named)
        if isinstance(made, str | list | tuple) and len(made) > largest:
            raise FilterError(f"{name} makes more than {largest:,} characters or items", token=None)
        if isinstance(made, int) and made.bit_length() > _MOST_BITS:
            raise FilterError(f"{name} makes a number of more than a thousand digits", token=None)
        return made

    return limited


def _joined(left: object, separator: object = " ", *_: object) -> int:
    """The least that `join` makes, in characters."""
    return len(left) * len(str(separator)) if isinstance(left, list | tuple) else 0


def _replaced(left: object, old: object = "", new: object = "", *_: object) -> int:
    """The least that `replace` makes, in characters."""
    return str(left).count(str(old)) * len(str(new))


_MULTIPLY: dict[str, Callable[..., int]] = {"join": _joined, "replace": _replaced}
