"""Moments as rules say them: a day, an instant, or a time counted from now; and windows between two."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from domain.comparisons import Node

DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(DAY.pattern + r"[T ][0-9]{2}:[0-9]{2}.*(Z|[+-][0-9]{2}:?[0-9]{2})")
_SPAN = re.compile(r"([0-9]{1,8}) (minute|hour|day|week|month|year)s?")
_COUNTED = re.compile(rf"(?:(?P<ahead>in ){_SPAN.pattern}|{_SPAN.pattern} ago)")

_MINUTES = {"minute": 1, "hour": 60, "day": 1_440, "week": 10_080, "month": 44_640, "year": 527_040}
LONGEST_SPAN = 100 * _MINUTES["year"]
NAMED = ("now", "today")


@dataclass(frozen=True, slots=True)
class When:
    """The moment at which a rule is asked, and its workspace's manners."""

    now: datetime
    time_zone: str  # IANA.
    currency: str  # ISO 4217.

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


def moment(value: Any) -> str:
    """A moment as it was written. Raises `ValueError`."""
    if isinstance(value, str):
        if value in NAMED or ((counted := _COUNTED.fullmatch(value)) and _minutes(counted) <= LONGEST_SPAN):
            return value
        try:
            if DAY.fullmatch(value):
                date.fromisoformat(value)
                return value
            if _INSTANT.fullmatch(value):
                datetime.fromisoformat(value)
                return value
        except ValueError:
            pass
    raise ValueError(
        "Give a date such as 1998-01-31, an instant such as 1998-01-31T08:00:00+01:00, or a time counted "
        'from now: "30 days ago", "in 2 weeks", "today", "now" (at most 100 years away).'
    )


# The formats are told to whoever builds a page on which rules are made.
Moment = Annotated[str, BeforeValidator(moment), Field(json_schema_extra={"format": "moment"})]


def _minutes(counted: re.Match[str]) -> int:
    _, n, unit, back, back_unit = counted.groups()
    return int(n or back) * _MINUTES[unit or back_unit]


def moves(text: str | None) -> bool:
    """Whether it comes nearer, or goes further away, as time goes by."""
    return text is not None and not DAY.match(text)


def instant(text: str, when: When) -> datetime:
    """The instant that is meant. A day is its midnight in the workspace's time zone.

    Months and years are the calendar's there: a month before 31 March is the last day of February.
    """
    if DAY.fullmatch(text):
        return datetime.combine(date.fromisoformat(text), time(), when.zone)
    if counted := _COUNTED.fullmatch(text):
        ahead, n, unit, back, back_unit = counted.groups()
        return _shifted(int(n) if ahead else -int(back), unit or back_unit, when)
    match text:
        case "now":
            return when.now
        case "today":
            return datetime.combine(when.now.astimezone(when.zone).date(), time(), when.zone)
    return datetime.fromisoformat(text)


def _shifted(n: int, unit: str, when: When) -> datetime:
    if unit in ("month", "year"):
        here = when.now.astimezone(when.zone)
        months = here.year * 12 + here.month - 1 + n * (12 if unit == "year" else 1)
        year, month = divmod(months, 12)
        day = min(here.day, calendar.monthrange(year, month + 1)[1])
        return here.replace(year=year, month=month + 1, day=day)
    return when.now + timedelta(minutes=n * _MINUTES[unit])


def _span(value: Any) -> str:
    if isinstance(value, str) and (counted := _SPAN.fullmatch(value)):
        n, unit = counted.groups()
        if unit not in ("month", "year") and 1 <= int(n) * _MINUTES[unit] <= 400 * _MINUTES["day"]:
            return value
    raise ValueError('Say how long in minutes, hours, days or weeks, such as "3 days", and at most 400 days.')


Span = Annotated[str, BeforeValidator(_span), Field(json_schema_extra={"format": "span"})]


def length(span: str) -> timedelta:
    counted = _SPAN.fullmatch(span)
    assert counted, "The validator refuses anything else."
    n, unit = counted.groups()
    return timedelta(minutes=int(n) * _MINUTES[unit])


# Of two moments that both go with the time, or both don't, one is always before the other.
_SOME_TIME = When(datetime(2000, 7, 15, 12, tzinfo=UTC), "UTC", "")
_A_MONTHS_DIFFERENCE = timedelta(days=4)  # Between the longest one and the shortest, and to spare.


class Window(Node):
    """From one moment on, and up to another one: either may be left out."""

    after: Moment | None = None  # Then or later.
    before: Moment | None = None  # Earlier than then.

    @model_validator(mode="after")
    def _says_something(self) -> Window:
        if self.after is None and self.before is None:
            raise ValueError('Say "after", "before" or both, or leave the window out.')
        if self.after and self.before and moves(self.after) == moves(self.before):
            slack = _A_MONTHS_DIFFERENCE if moves(self.after) else timedelta()
            if instant(self.after, _SOME_TIME) >= instant(self.before, _SOME_TIME) + slack:
                raise ValueError('Nothing lies in this window: what is "after" comes first.')
        return self

    def bounds(self, when: When) -> tuple[datetime | None, datetime | None]:
        return (
            None if self.after is None else instant(self.after, when),
            None if self.before is None else instant(self.before, when),
        )

    @property
    def moves(self) -> bool:
        return moves(self.after) or moves(self.before)


def within(window: Window | None, at: datetime, when: When) -> bool:
    """Whether something that was at `at` is in the window; without one, always."""
    if window is None:
        return True
    after, before = window.bounds(when)
    return (after is None or at >= after) and (before is None or at < before)
