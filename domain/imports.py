"""Imports: what a file and each of its rows must look like, and what they mean. Pure; no database.

A header makes a `Layout`; `domain.import_rows` turns rows into lines that are ready to be stored, or into
refusals: the row's line, the column, and a sentence that says the way out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from domain import money
from domain.errors import Invalid


class ImportKind(StrEnum):
    CUSTOMERS = "customers"
    ORDERS = "orders"


class ImportFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"  # One JSON object a line.

    @classmethod
    def of(cls, file_name: str) -> "ImportFormat":
        """What a file of this name most likely is."""
        lines = file_name.lower().endswith((".jsonl", ".ndjson", ".json"))
        return cls.JSONL if lines else cls.CSV


class ImportState(StrEnum):
    UPLOADED = "uploaded"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


LONGEST_NAME = 255  # Characters of an id that somebody else gave.
MOST_COLUMNS = 500
LARGEST_QUANTITY = 1_000_000
EARLIEST = date(1900, 1, 1)

_CUSTOMER_COLUMNS = ("customer_id", "email", "consent_email", "consent_tracking", "time_zone")
_ORDER_COLUMNS = ("customer_id", "ordered_on", "ordered_at", "quantity", "total", "currency", "order_id")
_KNOWN = {ImportKind.CUSTOMERS: _CUSTOMER_COLUMNS, ImportKind.ORDERS: _ORDER_COLUMNS}
_TOTAL_IN = re.compile(r"total_([a-z]{3})").fullmatch


# A column of the file → what it is for us: a known column, the name of an attribute, or None to leave it out.
Meaning: TypeAlias = Mapping[str, str | None]


class Denial(NamedTuple):
    """What a row that is not imported denies all the same, and whose it is."""

    line: int
    customer_id: str | None
    email: str | None
    purposes: tuple[str, ...]


class Refusal(NamedTuple):
    """A row that is not imported."""

    line: int  # Of the file; the header is 1.
    column: str
    reason: str  # A sentence.
    denial: Denial | None = None


class CustomerLine(NamedTuple):
    """A row about a person, checked. None is what the row does not say."""

    line: int
    customer_id: str | None
    email: str | None  # As `normal_address` keeps it.
    consent_email: str | None
    consent_tracking: str | None
    time_zone: str | None
    attributes: str  # JSON: an object; of strings, unless the file itself has other types.


class OrderLine(NamedTuple):
    """A row about an order, checked. Times and money are text that PostgreSQL reads exactly."""

    line: int
    customer_id: str
    ordered_at: str
    quantity: int
    total: str
    currency: str
    key: str  # The order's own id, or all that the row says: customer, time, quantity, total and currency.
    nth: int  # Which row of this key among those read at once, from 1.


@dataclass(frozen=True)
class Layout:
    """Which column says what. `at` are the places of known columns, `attributes` those of the others."""

    kind: ImportKind
    names: tuple[str, ...]
    delimiter: str
    at: dict[str, int]
    attributes: dict[str, int]
    currency: str | None  # What the total's column is named for.
    rest: int | None = None  # The place of a cell that has all attributes, as JSON.

    @classmethod
    def of(
        cls, kind: ImportKind, header: Sequence[str], delimiter: str, meaning: Meaning | None = None
    ) -> "Layout":
        """The layout that a file's first row describes. Raises `Invalid` with a sentence."""
        names = tuple(name.strip() for name in header)
        _check_names(names)
        meant = _meant(names, meaning or {})
        lower = [name.lower() if name else "" for name in meant]
        at = {name: lower.index(name) for name in _KNOWN[kind] if name in lower}
        currency = None
        if kind is ImportKind.ORDERS:
            totals = [name for name in lower if name == "total" or _TOTAL_IN(name)]
            if len(totals) > 1:
                raise Invalid(
                    f'The columns "{totals[0]}" and "{totals[1]}" both are totals: keep one of them.'
                )
            if totals and (code := currency_of(totals[0])):
                if code not in money.CURRENCIES:
                    raise Invalid(f'The column "{totals[0]}" names no currency: write it like total_usd.')
                if "currency" in at:
                    raise Invalid(f'The columns "{totals[0]}" and "currency" both name a currency: keep one.')
                currency, at["total"] = code, lower.index(totals[0])
        _check_required(kind, at)
        others = {name: place for place, name in enumerate(meant) if name and place not in at.values()}
        return cls(kind, names, delimiter, at, others if kind is ImportKind.CUSTOMERS else {}, currency)

    @classmethod
    def of_objects(cls, kind: ImportKind, meaning: Meaning | None = None) -> "Layout":
        """The layout of rows that `domain.json_rows` makes of objects: all known columns, then the rest."""
        known = _KNOWN[kind]
        said = {meant.lower(): name for name, meant in (meaning or {}).items() if meant}
        names = (*(said.get(name, name) for name in known), "(line)")
        rest = len(known) if kind is ImportKind.CUSTOMERS else None
        return cls(kind, names, "", {name: place for place, name in enumerate(known)}, {}, None, rest)

    def name(self, place: int) -> str:
        return self.names[min(place, len(self.names) - 1)]

    def said(self, column: str) -> str:
        """What the file calls a known column."""
        return self.names[self.at[column]] if column in self.at else column


def currency_of(column: str) -> str | None:
    """The currency that a total's column is named for: USD for "total_usd"."""
    named = _TOTAL_IN(column)
    return named[1].upper() if named else None


def check_meaning(kind: ImportKind, meaning: Meaning) -> None:
    """What can be said of a mapping before the file is read. Raises `Invalid` with a sentence."""
    if len(meaning) > MOST_COLUMNS:
        raise Invalid(f"This maps {len(meaning)} columns; at most {MOST_COLUMNS} can be read.")
    for name, meant in meaning.items():
        column = f'The column "{shown(name)}" is mapped to'
        if meant is None:
            continue
        if "\0" in name + meant or not meant.strip():
            raise Invalid(f"{column} no name: name an attribute, or write null.")
        if len(meant) > LONGEST_NAME:
            raise Invalid(f"{column} a name that is too long: shorten it.")
        known = meant.strip().lower()
        if kind is ImportKind.ORDERS and known not in _ORDER_COLUMNS and not currency_of(known):
            fields = ", ".join(_ORDER_COLUMNS)
            raise Invalid(f'{column} "{shown(meant)}", which no order has: write one of {fields}, or null.')


def _meant(names: Sequence[str], meaning: Meaning) -> list[str | None]:
    """What each column is for us. Raises `Invalid` where a mapping and a file do not fit together."""
    asked = {name.strip().lower(): meant for name, meant in meaning.items()}
    lower = [name.lower() for name in names]
    for name in meaning:
        if name.strip().lower() not in lower:
            raise Invalid(f'The mapping names the column "{shown(name)}", which the file does not have.')
    meant = [asked.get(name.lower(), name) for name in names]
    seen: dict[str, str] = {}
    for name, means in zip(names, meant, strict=True):
        if means is None:
            continue
        if other := seen.get(means.strip().lower()):
            raise Invalid(
                f'The columns "{shown(other)}" and "{shown(name)}" both are "{shown(means)}": map one of '
                "them to something else, or to null."
            )
        seen[means.strip().lower()] = name
    return [means and means.strip() for means in meant]


def _check_names(names: Sequence[str]) -> None:
    if len(names) > MOST_COLUMNS:
        raise Invalid(f"The file has {len(names)} columns; at most {MOST_COLUMNS} can be read.")
    seen: set[str] = set()
    for place, name in enumerate(names, start=1):
        if not name:
            raise Invalid(f"Column {place} has no name: name it in the first line, or remove it.")
        if len(name) > LONGEST_NAME:
            raise Invalid(f'The name of column {place}, "{shown(name)}", is too long: shorten it.')
        if name.lower() in seen:
            raise Invalid(f'The column "{shown(name)}" is there twice: rename or remove one.')
        seen.add(name.lower())


def _check_required(kind: ImportKind, at: dict[str, int]) -> None:
    def need(*either: str) -> None:
        if not any(name in at for name in either):
            words = " or ".join(f'"{name}"' for name in either)
            raise Invalid(
                f"The column {words} is missing: the first line has to name it, or `mapping` to say which"
                " column it is."
            )

    if kind is ImportKind.CUSTOMERS:
        need("customer_id", "email")
        return
    need("customer_id")
    need("ordered_on", "ordered_at")
    need("quantity")
    if "total" not in at:
        raise Invalid('The column "total" is missing: name it "total_usd", or "total" beside a "currency".')
    if "ordered_on" in at and "ordered_at" in at:
        raise Invalid('The columns "ordered_on" and "ordered_at" both say when: keep one of them.')


def shown(text: str) -> str:
    """A cell as it may be quoted in a sentence: short, and without what can't be stored or seen."""
    short = text if len(text) <= 40 else f"{text[:37]}…"
    return "".join(each if each.isprintable() else "�" for each in short)
