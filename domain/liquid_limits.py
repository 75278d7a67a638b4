"""Keeps Liquid's filters from taking for ever, and from making what nobody could send.

Liquid looks when a filter has returned, if at all. `join` and `replace` multiply what they are given, so a
short template could ask for gigabytes within one call; others compare each item with each, or go through a
text slowly. So each filter pays for what it is about to do (see `domain/liquid_work.py`), then does it.
"""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

from liquid import Environment
from liquid.builtin.filters.array import uniq as compare_all
from liquid.exceptions import FilterError
from liquid.filter import sequence_filter
from markupsafe import Markup

from domain.liquid_work import MeteredContext, TooMuchWork, Work, extent

_MOST_BITS = 4096  # Of a whole number: more than a thousand digits.
_CALL = 30  # Units for calling a filter.

Filter = Callable[..., Any]


def bounded(liquid: Environment, largest: int) -> dict[str, Filter]:
    """Its filters, with a `MeteredContext` before their arguments, whose work they count. They raise Liquid's
    FilterError instead of making more than `largest` characters or items, or a number of more than a
    thousand digits."""
    return {name: _bounded(name, filter_, liquid, largest) for name, filter_ in liquid.filters.items()}


def _bounded(name: str, filter_: Filter, liquid: Environment, largest: int) -> Filter:
    each, price = (0 if name in _GLANCES else _EACH.get(name, 4)), _PRICES.get(name)
    multiplies, compares = _MULTIPLY.get(name), name == "uniq"
    apply = partial(filter_, environment=liquid) if getattr(filter_, "with_environment", False) else filter_

    @wraps(filter_)
    def limited(context: MeteredContext, left: Any, *given: Any, **named: Any) -> Any:
        work = context.work
        before = 1 + (len(left) >> 4) if type(left) is str else extent(left, work.left) if each else 0
        beside = 0
        for value in (*given, *named.values()) if named else given:
            beside += extent(value, work.left)
        work.left -= _CALL + each * before + 4 * beside
        if work.left < 0:
            raise TooMuchWork
        if price:
            work.spend(price(left, before, beside))
        if multiplies and multiplies(left, *given, **named) > largest:
            raise FilterError(f"{name} would make more than {largest:,} characters", token=None)
        made = _uniq(left, *given, work=work, **named) if compares else apply(left, *given, **named)
        if isinstance(made, _LONG):
            if len(made) > largest:
                raise FilterError(f"{name} makes more than {largest:,} characters or items", token=None)
            work.left -= len(made) >> 4  # A list holds no more than what was given, which is paid for.
        elif isinstance(made, int) and made.bit_length() > _MOST_BITS:
            raise FilterError(f"{name} makes a number of more than a thousand digits", token=None)
        return made

    return limited


_LONG = (str, list, tuple)

# These look at no more than an end of what they are given, or hand it on.
_GLANCES = {"default", "first", "last", "size"}

# Units for 16 characters or one item, where it is more than four. As measured.
_EACH = {
    "date": 600,
    "escape_once": 50,
    "escapejs": 50,
    "split": 12,
    "squish": 16,
    "strip_html": 100,
    "sum": 25,
    "truncatewords": 8,
    "url_decode": 32,
    "url_encode": 32,
} | dict.fromkeys(
    [
        "abs",
        "at_least",
        "at_most",
        "ceil",
        "divided_by",
        "floor",
        "minus",
        "modulo",
        "plus",
        "round",
        "times",
    ],
    8,
)


def _each_by_all(_: object, before: int, beside: int) -> int:
    """Each item may be held against all that stands beside."""
    return before * beside


def _sorting(_: object, before: int, beside: int) -> int:
    return before * (4 * before.bit_length() + beside)


def _stripping(left: object, before: int, _: int) -> int:
    """The parser may look to the end of the text from each tag: whether it is closed somewhere."""
    return before * (str(left).count("<") // 10)


# Units besides, for filters that take more than so many for each of what they are given.
_PRICES: dict[str, Callable[[object, int, int], int]] = {
    "strip_html": _stripping,
    "sort": _sorting,
    "sort_natural": _sorting,
    **dict.fromkeys(("compact", "find", "find_index", "has", "map"), _each_by_all),
    **dict.fromkeys(("reject", "sum", "uniq", "where"), _each_by_all),
}


def _joined(left: object, separator: object = " ", **_: object) -> int:
    """The least that `join` makes, in characters."""
    return len(left) * len(str(separator)) if isinstance(left, list | tuple | range) else 0


def _replaced(val: object, seq: object = "", sub: object = "", **_: object) -> int:
    """The least that `replace` makes, in characters."""
    return str(val).count(str(seq)) * len(str(sub))


# With the parameters that Liquid's filters have: a template may name them.
_MULTIPLY: dict[str, Callable[..., int]] = {"join": _joined, "replace": _replaced}


@sequence_filter
def _uniq(sequence: Sequence[Any], key: object = None, *, work: Work) -> Any:
    """Liquid's `uniq`, but for plain values without comparing each with each."""
    items = list(sequence)
    values = items if key is None else [each.get(key) if type(each) is dict else each for each in items]
    comparable = key is None or all(type(each) is dict and key in each for each in items)
    if comparable and all(type(value) in _PLAIN for value in values):
        seen: dict[object, object] = {}
        for value, item in zip(values, items, strict=True):
            seen.setdefault(value, item)
        return [*seen.values()]
    work.spend(len(items) * extent(items, work.left) // 2)
    return compare_all.__wrapped__(sequence, key)  # type: ignore[attr-defined]


_PLAIN = {str, Markup, int, float, bool, type(None)}
