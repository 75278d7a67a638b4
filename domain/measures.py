"""Counting, adding up and comparing what somebody did: orders, events and messages alike."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Context, Decimal
from functools import reduce
from typing import Any, Literal, TypeAlias

from domain.moments import When, instant
from domain.values import COMPARE, as_number

Size: TypeAlias = Literal["is", ">", ">=", "<", "<="]
MOST = 1_000_000_000

SIZES = ("is", ">", ">=", "<", "<=")
TIMES = ("before", "on or after")
OF_TIME = ("first", "last")
# Adds up as PostgreSQL does, to the last digit: with more of them than any numbers in JSON need.
EXACT = Context(prec=10_000)
OF_NONE = {"count": 0, "total": Decimal(0), "sum": Decimal(0)}  # The others have nothing to say of none.


def suits(op: str, measure: str) -> str:
    """The op, if one can compare this measure so. Raises `ValueError`."""
    is_time = measure in OF_TIME
    if is_time != (op in TIMES):
        allowed = '"before" or "on or after"' if is_time else "is, >, >=, <, or <="
        raise ValueError(f'Compare "{measure}" by {allowed}.')
    return op


def count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise ValueError(f"Give a whole number between 0 and {MOST:,}.")
    return value


def operand(measure: str, value: Any, when: When) -> Decimal | int | datetime:
    """What the measure is compared with: an amount, a number of times, or an instant."""
    if measure in OF_TIME:
        return instant(str(value), when)
    if measure == "count":
        return int(value)
    amount = as_number(value)
    assert amount is not None, "The validator refuses anything else."
    return amount


def measured(
    measure: str, times: Sequence[datetime], amounts: Sequence[Decimal]
) -> Decimal | int | datetime | None:
    """None where there is nothing to say."""
    match measure:
        case "count":
            return len(times)
        case "first":
            return min(times, default=None)
        case "last":
            return max(times, default=None)
        case "total" | "sum":
            return _sum(amounts)
        case "largest":
            return max(amounts, default=None)
    return None if not amounts else _sum(amounts)  # Of "average": see `meets`.


def _sum(amounts: Sequence[Decimal]) -> Decimal:
    return reduce(EXACT.add, amounts, Decimal(0))


def about(total: Decimal, parts: int) -> Decimal:
    """An average as it is shown, to two decimals."""
    return EXACT.quantize(EXACT.divide(total, parts), Decimal("0.01"))


def meets(
    measure: str, op: str, value: Any, times: Sequence[datetime], amounts: Sequence[Decimal], when: When
) -> bool:
    """Whether these times and amounts add up as the condition has it.

    An average is compared as a sum with as many times the value, so that nothing is rounded.
    """
    found = measured(measure, times, amounts)
    asked: Any = operand(measure, value, when)
    if measure == "average":
        asked = EXACT.multiply(asked, len(amounts))
    return found is not None and bool(COMPARE[op](found, asked))


def of_none(measure: str, op: str, value: Any, when: When) -> bool:
    """Whether it holds for those of whom there is nothing to measure."""
    return measure in OF_NONE and bool(COMPARE[op](OF_NONE[measure], operand(measure, value, when)))
