"""Values, amounts, moments and windows as people say them: "$1,250.50", "3 May 2026", "in the last week"."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from domain.moments import DAY, When, Window, instant
from domain.money import shown, written
from domain.values import as_number, as_text

LONGEST_TEXT = 100  # Characters of a value that are shown.
LONGEST_NUMBER = 30  # Digits; a longer one is shown with an exponent.
MOST_SHOWN = 5  # Values of a list.

_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_PLAIN = re.compile(r"[^\W\d][\w.-]*")
_ANY_TIME = When(datetime(2000, 6, 15, 12, tzinfo=UTC), "UTC", "")  # To see which of two moments is later.


def quoted(text: str) -> str:
    """A text in quotation marks, cut where it is long."""
    short = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    return json.dumps(short, ensure_ascii=False)


def named(name: str) -> str:
    """A name as it is where it looks like one, else in quotation marks."""
    return name if len(name) <= LONGEST_TEXT and _PLAIN.fullmatch(name) else quoted(name)


def value(found: Any) -> str:
    """A value of JSON: texts in quotation marks, numbers without."""
    match found:
        case str():
            return quoted(found)
        case bool() | int() | float():
            plain = as_text(found) or ""
            return plain if len(plain) <= LONGEST_NUMBER else repr(found)
        case list() | tuple():
            return listed([value(each) for each in found]) if found else "an empty list"
    return quoted(json.dumps(found, ensure_ascii=False, default=str))


def number(found: Decimal) -> str:
    """The same of a number that was worked out; of one that is long only the first digits."""
    plain = written(found) if found else "0"
    return plain if len(plain) <= LONGEST_NUMBER else f"{found.normalize(Context(prec=15)):g}"


def listed(words: Sequence[str]) -> str:
    """These words in a row: "a, b and c". Of many only the first are said, and how many others there are."""
    if len(words) > MOST_SHOWN + 1:
        rest = len(words) - MOST_SHOWN
        words = [*words[:MOST_SHOWN], f"{rest:,} others"]
    *ahead, last = words
    return f"{', '.join(ahead)} and {last}" if ahead else last


def one_of(words: Sequence[str]) -> str:
    """Without an "or", which would not be told from one between conditions."""
    return f"one of {listed(words)}" if len(words) > 1 else words[0]


def money(amount: str | float | Decimal, currency: str) -> str:
    """An amount in its currency: "$100", "€1,250.50", "100 SEK"."""
    exact = amount if isinstance(amount, Decimal) else as_number(amount)
    assert exact is not None, "A condition's amount is a number."
    if exact == exact.to_integral_value():
        digits = f"{exact.copy_abs():,.0f}"
    else:
        whole, _, decimals = shown(exact.copy_abs()).partition(".")
        digits = f"{int(whole):,}.{decimals}"
    sign = _SIGNS.get(currency)
    return ("-" if exact < 0 else "") + (f"{sign}{digits}" if sign else f"{digits} {currency}")


def counted(number: int, one: str, several: str | None = None) -> str:
    """ "1 order", "2 orders"."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def day(at: date) -> str:
    """ "3 May 2026"."""
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def _span(text: str) -> tuple[int, str] | None:
    """How far from now a moment is, in which unit: -30 and "day" for "30 days ago"."""
    match text.split():
        case ["in", number, unit]:
            return int(number), unit.removesuffix("s")
        case [number, unit, "ago"]:
            return -int(number), unit.removesuffix("s")
    return None


def point(text: str) -> str:
    """A moment by itself: "3 May 2026", "30 days ago", "now"."""
    if span := _span(text):
        number, unit = span
        return f"{counted(abs(number), unit)} {'ago' if text.endswith('ago') else 'from now'}"
    if text == "now":
        return text
    if text == "today":
        return "the start of today"
    if DAY.fullmatch(text):
        return day(date.fromisoformat(text))
    at = datetime.fromisoformat(text)
    clock = f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"
    return f"{day(at.date())} at {clock} ({at.tzname()})"


def until(text: str) -> str:
    """Earlier than a moment: "before 3 May 2026", "more than 30 days ago"."""
    match _span(text):
        case (_, _) if text.endswith("ago"):
            return f"more than {point(text)}"
        case (_, _):
            return f"earlier than {point(text)}"
    return "before today" if text == "today" else f"before {point(text)}"


def since(text: str) -> str:
    """At a moment or later, of what people did: "since 3 May 2026", "in the last 30 days"."""
    match _span(text):
        case (number, unit) if text.endswith("ago"):
            return f"in the last {unit if number == -1 else counted(-number, unit)}"
        case (_, _):
            return f"{point(text)} or later"
    return {"now": "from now on", "today": "today"}.get(text) or f"since {point(text)}"


def or_later(text: str) -> str:
    """At a moment or later, of what may lie ahead too: "on 3 May 2026 or later", "30 days ago or later"."""
    if text in ("now", "today"):
        return f"{text} or later"
    return f"{'' if _span(text) else 'on '}{point(text)} or later"


def was_since(text: str) -> str:
    """At a moment or later, of a day in the past: "on 3 May 2026 or later", "in the last 30 days"."""
    return since(text) if text.endswith("ago") or text == "today" else or_later(text)


def window(asked: Window | None) -> str:
    """When: "in the last 30 days", "between 30 and 7 days ago", "on 3 May 2026". An empty text is always."""
    match asked:
        case None:
            return ""
        case Window(after=str(after), before=str(before)):
            return between(after, before)
        case Window(after=str(after)):
            return since(after)
        case Window(before=str(before)):
            return until(before)
    raise AssertionError("A window says something.")


def between(after: str, before: str) -> str:
    """From one moment on, and up to another one, which is left out."""
    both_count, days = (
        bool(_counts(after) and _counts(before)),
        DAY.fullmatch(after) and DAY.fullmatch(before),
    )
    if not (both_count or days) or instant(after, _ANY_TIME) >= instant(before, _ANY_TIME):
        return f"{since(after)} and {until(before)}"  # Nothing, or it depends on when one asks.
    if days:
        first, last = date.fromisoformat(after), date.fromisoformat(before) - timedelta(days=1)
        return f"on {day(first)}" if first == last else f"from {day(first)} to {day(last)}"
    begin, end = _span(after), _span(before)
    if after == "now" and end:
        return f"in the next {end[1] if end[0] == 1 else counted(end[0], end[1])}"
    if begin and end and begin[1] == end[1] and begin[0] * end[0] > 0:
        return f"between {abs(begin[0]):,} and {point(before)}"
    return f"between {point(after)} and {point(before)}"


def _counts(text: str) -> bool:
    return _span(text) is not None or text in ("now", "today")
