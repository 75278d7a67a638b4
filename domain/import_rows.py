"""Rows of files: each becomes a line that is ready to be stored, or is refused with the way out. Pure."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import orjson

from domain import money
from domain.addresses import normal_address
from domain.clock import time_zones
from domain.csv_rows import Row, flaw
from domain.imports import (
    EARLIEST,
    LARGEST_QUANTITY,
    LONGEST_NAME,
    CustomerLine,
    Denial,
    ImportKind,
    Layout,
    OrderLine,
    Refusal,
    shown,
)
from domain.profiles import ConsentState

_CONSENT = {"": None, **{str(state): str(state) for state in ConsentState}}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
).fullmatch
_DIGITS = re.compile(r"[0-9]{1,9}").fullmatch
# The day on which the clock of the easternmost place is ahead of ours.
_TOMORROW = timedelta(days=1)


class _Wrong(Exception):
    """A cell can't be used: its column, and half a sentence that says the way out."""

    def __init__(self, column: str, reason: str) -> None:
        self.column, self.reason = column, reason


def reader(layout: Layout, time_zone: str, currency: str, now: datetime) -> "CustomerReader | OrderReader":
    """A reader of this file's rows. Zone and currency are the workspace's, for rows that name none."""
    if layout.kind is ImportKind.CUSTOMERS:
        return CustomerReader(layout)
    return OrderReader(layout, ZoneInfo(time_zone), currency, now)


class CustomerReader:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def read(self, rows: Iterable[Row], clean: bool) -> tuple[list[CustomerLine], list[Refusal]]:
        """Check rows; `clean` promises that they are text. Each comes out once, on one side."""
        at, width = self.layout.at, len(self.layout.names)
        customer_at, email_at, zone_at = at.get("customer_id"), at.get("email"), at.get("time_zone")
        mail_at, track_at = at.get("consent_email"), at.get("consent_tracking")
        others, rest = list(self.layout.attributes.items()), self.layout.rest
        lines, refusals = [], []
        for line, cells in rows:
            try:
                if len(cells) != width or not clean:
                    _check_shape(cells, self.layout)
                customer = None if customer_at is None else _identifier(cells[customer_at], "customer_id")
                email = None if email_at is None else _address(cells[email_at])
                if customer is None and email is None:
                    raise _nobody(at)
                if rest is not None:
                    attributes = cells[rest]
                else:
                    said = {name: text for name, place in others if (text := cells[place].strip())}
                    attributes = orjson.dumps(said).decode() if said else "{}"
                lines.append(
                    CustomerLine(
                        line,
                        customer,
                        email,
                        None if mail_at is None else _consent(cells[mail_at], "consent_email"),
                        None if track_at is None else _consent(cells[track_at], "consent_tracking"),
                        None if zone_at is None else _zone(cells[zone_at]),
                        attributes,
                    )
                )
            except _Wrong as wrong:
                column = self.layout.said(wrong.column)
                refusals.append(Refusal(line, column, f"{wrong.reason}.", self._denial(line, cells)))
        return lines, refusals

    def _denial(self, line: int, cells: list[str]) -> Denial | None:
        """What a refused row denies, where it can be told of whom."""
        if len(cells) != len(self.layout.names):
            return None  # Nobody knows which cell is which.
        given = {name: cells[place] for name, place in self.layout.at.items() if not flaw(cells[place])}
        purposes = tuple(
            purpose
            for purpose in ("email", "tracking")
            if given.get(f"consent_{purpose}", "").strip().lower() == ConsentState.DENIED
        )
        customer = _or_none(lambda: _identifier(given.get("customer_id", ""), "customer_id"))
        email = _or_none(lambda: _address(given.get("email", "")))
        return Denial(line, customer, email, purposes) if purposes and (customer or email) else None


class OrderReader:
    def __init__(self, layout: Layout, zone: ZoneInfo, currency: str, now: datetime) -> None:
        self.layout = layout
        self.currency = layout.currency or currency
        latest = now + _TOMORROW
        # The same few texts come again and again; what each says is found out once.
        self.instant = lru_cache(maxsize=20_000)(lambda text: _instant(text, zone, latest))
        self.day = lru_cache(maxsize=20_000)(lambda text: _day(text, zone, latest))
        self.amount = lru_cache(maxsize=20_000)(_amount)

    def _either(self, day: str, instant: str) -> tuple[str, str]:
        if day:
            raise _Wrong("ordered_on", "It is there beside ordered_at, and both say when: keep one")
        return self.instant(instant)

    def read(self, rows: Iterable[Row], clean: bool) -> tuple[list[OrderLine], list[Refusal]]:
        """Check rows; `clean` promises that they are text. Each comes out once, on one side."""
        at, width = self.layout.at, len(self.layout.names)
        customer_at, quantity_at, total_at = at["customer_id"], at["quantity"], at["total"]
        order_at, currency_at = at.get("order_id"), at.get("currency")
        when: Callable[[str], tuple[str, str]] = self.day if "ordered_on" in at else self.instant
        when_at = at["ordered_on"] if "ordered_on" in at else at["ordered_at"]
        # Objects may have the one or the other.
        either_at = at["ordered_at"] if "ordered_on" in at and "ordered_at" in at else None
        quantity, amount, default = _quantity, self.amount, self.currency
        seen: dict[str, int] = {}
        lines, refusals = [], []
        for line, cells in rows:
            try:
                if len(cells) != width or not clean:
                    _check_shape(cells, self.layout)
                customer = _identifier(cells[customer_at], "customer_id")
                if customer is None:
                    raise _Wrong("customer_id", "It is empty: say whose order this is")
                if either_at is not None and cells[either_at]:
                    moment, written = self._either(cells[when_at], cells[either_at])
                else:
                    moment, written = when(cells[when_at])
                count = quantity(cells[quantity_at])
                total = amount(cells[total_at])
                currency = default if currency_at is None else _currency(cells[currency_at]) or default
                own = None if order_at is None else _identifier(cells[order_at], "order_id")
                # From the right, none of the parts but the customer's id can contain a colon.
                key = own or f"{customer}:{written}:{count}:{total}:{currency}"
                nth = seen[key] = seen.get(key, 0) + 1
                # A key of rows that have no id ends in #nth once it is known; an own id stays as it is.
                lines.append(
                    OrderLine(line, customer, moment, count, total, currency, key, 0 if own else nth)
                )
            except _Wrong as wrong:
                refusals.append(Refusal(line, self.layout.said(wrong.column), f"{wrong.reason}."))
        return lines, refusals


def _check_shape(cells: list[str], layout: Layout) -> None:
    width = len(layout.names)
    for place, cell in enumerate(cells):
        if wrong := flaw(cell):
            raise _Wrong(layout.name(place), wrong)
    if len(cells) < width:
        raise _Wrong(
            layout.names[len(cells)],
            f"The row has {len(cells)} of {width} cells: add what is missing from here on",
        )
    if len(cells) > width:
        raise _Wrong(
            layout.names[-1],
            f"The row has {len(cells)} cells for {width} columns: quote text that contains "
            f"{'a tab' if layout.delimiter == chr(9) else f'“{layout.delimiter}”'}",
        )


def _or_none(read: Callable[[], str | None]) -> str | None:
    try:
        return read()
    except _Wrong:
        return None


def _nobody(at: dict[str, int]) -> _Wrong:
    if "email" not in at:
        return _Wrong("customer_id", "It is empty: say who this is")
    if "customer_id" not in at:
        return _Wrong("email", "It is empty: say who this is")
    return _Wrong("customer_id", "It is empty, and so is the email: give one of them to say who this is")


def _identifier(cell: str, column: str) -> str | None:
    text = cell.strip()
    if len(text) > LONGEST_NAME:
        raise _Wrong(column, f'"{shown(text)}" is longer than {LONGEST_NAME} characters: shorten it')
    return text or None


def _address(cell: str) -> str | None:
    text = cell.strip()
    if not text:
        return None
    try:
        return normal_address(text)
    except ValueError as error:
        raise _Wrong("email", f'"{shown(text)}" is no email address: {error}') from None


def _consent(cell: str, column: str) -> str | None:
    try:
        return _CONSENT[cell.strip().lower()]
    except KeyError:
        raise _Wrong(
            column, f'"{shown(cell)}" says neither: write granted or denied, or leave it empty'
        ) from None


def _zone(cell: str) -> str | None:
    text = cell.strip()
    if text and text not in time_zones():
        raise _Wrong(
            "time_zone", f'"{shown(text)}" is no time zone: write one of IANA\'s, such as Europe/Berlin'
        )
    return text or None


def _day(cell: str, zone: ZoneInfo, latest: datetime) -> tuple[str, str]:
    """Midnight of a date in `zone`, as text for PostgreSQL, and the date as a key says it."""
    text = cell.strip()
    try:
        found = date.fromisoformat(text) if _DATE(text) else None
    except ValueError:
        found = None
    if found is None:
        raise _Wrong("ordered_on", f'"{shown(text)}" is no date: write it as YYYY-MM-DD, such as 1998-01-31')
    return _checked(datetime.combine(found, time(), zone), text, "ordered_on", latest), text


def _instant(cell: str, zone: ZoneInfo, latest: datetime) -> tuple[str, str]:
    """An instant, in `zone` where it names no offset, as text for PostgreSQL, and as a key says it."""
    text = cell.strip()
    try:
        found = datetime.fromisoformat(text) if _TIME(text) else None
    except ValueError:
        found = None
    if found is None:
        raise _Wrong(
            "ordered_at",
            f'"{shown(text)}" is no time: write it in ISO 8601, such as 1998-01-31T14:30:00+01:00',
        )
    at = _checked(found if found.tzinfo else found.replace(tzinfo=zone), text, "ordered_at", latest)
    return at, compact(at)


def compact(at: str) -> str:
    """An instant in UTC as a key says it: without colons, which part a key."""
    return re.sub("[-:]|[+]00:00", "", at)


def _checked(at: datetime, text: str, column: str, latest: datetime) -> str:
    if at.date() < EARLIEST:
        raise _Wrong(column, f'"{shown(text)}" is before {EARLIEST.year}: check the year')
    if at > latest:
        raise _Wrong(column, f'"{shown(text)}" lies in the future: check the year, day and month')
    return at.astimezone(UTC).isoformat()


@lru_cache(maxsize=10_000)
def _quantity(cell: str) -> int:
    text = cell.strip()
    count = int(text) if _DIGITS(text) else 0
    if not 1 <= count <= LARGEST_QUANTITY:
        raise _Wrong(
            "quantity",
            f'"{shown(text)}" is no number of things: write 1 to {LARGEST_QUANTITY:,}, without commas',
        )
    return count


def _amount(cell: str) -> str:
    text = cell.strip()
    try:
        return format(money.amount(text), "f")
    except ValueError as error:
        way_out = "; refunds are not orders, so leave them out" if text.startswith("-") else ""
        raise _Wrong("total", f'"{shown(text)}" is no total. {error}{way_out}') from None


@lru_cache(maxsize=1000)
def _currency(cell: str) -> str | None:
    text = cell.strip()
    try:
        return money.currency(text) if text else None
    except ValueError as error:
        raise _Wrong("currency", f'"{shown(text)}" can\'t be used. {error}') from None
