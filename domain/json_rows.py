"""JSON Lines from pieces of a file, as rows of the same shape as those of CSV: one object a line.

Each object becomes the cells of `Layout.of_objects`: the known columns as text, and all the rest as JSON.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from domain.changes import DEEPEST, is_too_deep
from domain.csv_rows import BLOCK, Piece, Row, Unreadable
from domain.imports import LONGEST_NAME, MOST_COLUMNS, ImportKind, Layout, Meaning, currency_of, shown
from domain.profiles import ConsentState
from domain.values import as_text

_LONG_ROW = f"The line is longer than {BLOCK // 1024} KiB: shorten it"
_NO_OBJECT = 'This is no JSON object: write one on each line, such as {"customer_id": "c1"}'


class _Wrong(Exception):
    """A value can't be used: the place of its cell, and half a sentence."""

    def __init__(self, cell: int, reason: str) -> None:
        self.cell, self.reason = cell, reason


class Objects:
    """Reads the lines of one file."""

    def __init__(self, layout: Layout, meaning: Meaning | None = None) -> None:
        self.layout = layout
        self.meaning: Mapping[str, str | None] = {
            name.strip().lower(): meant and meant.strip() for name, meant in (meaning or {}).items()
        }
        self.line = len(layout.names) - 1  # The place of what is about the line as a whole.

    def read_piece(self, data: bytes, *, line: int, last: bool, most: int) -> Piece:
        """Read up to `most` whole lines from the beginning of `data`: see `domain.csv_rows.read_piece`."""
        whole = len(data) if last else data.rfind(b"\n") + 1
        if not whole and not last:
            return Piece([], [Unreadable(line, self.line, _LONG_ROW)], len(data), 1, True, skip_line=True)
        rows: list[Row] = []
        unreadable: list[Unreadable] = []
        size = lines = 0
        while size < whole and len(rows) + len(unreadable) < most:
            end = data.find(b"\n", size, whole)
            end = whole if end < 0 else end + 1
            text = data[size:end].strip()
            if text:
                try:
                    rows.append((line + lines, self._cells(text)))
                except _Wrong as wrong:
                    unreadable.append(Unreadable(line + lines, wrong.cell, wrong.reason))
            size, lines = end, lines + 1
        return Piece(rows, unreadable, size, lines, True, skip_line=False)

    def _cells(self, text: bytes) -> list[str]:
        try:
            said = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise _Wrong(self.line, f"This is no JSON: {error.msg}") from None
        if not isinstance(said, dict):
            raise _Wrong(self.line, _NO_OBJECT)
        cells, rest = [""] * len(self.layout.names), {}
        for key, value in said.items():
            name = key.strip()
            meant = self.meaning.get(name.lower(), name)
            if not meant or value is None or value == "":
                continue
            known = meant.lower()
            code = currency_of(known) if self.layout.kind is ImportKind.ORDERS else None
            if code:
                cells[self.layout.at["currency"]], known = code, "total"
            place = self.layout.at.get(known)
            if place is None:
                rest[meant] = value
            else:
                cells[place] = self._text(known, place, value)
        if self.layout.rest is not None:
            if text.count(b"[") + text.count(b"{") > DEEPEST:  # Few lines are worth a look at each value.
                self._check_levels(rest)
            cells[self.layout.rest] = self._rest(rest)
        return cells

    def _text(self, known: str, place: int, value: Any) -> str:
        if isinstance(value, bool) and known.startswith("consent_"):
            return ConsentState.GRANTED if value else ConsentState.DENIED
        text = None if isinstance(value, bool) else as_text(value)
        if text is None:
            raise _Wrong(place, "This is neither a text nor a number: write one of them")
        if "\0" in text:
            raise _Wrong(place, "The text contains a NUL character: remove it")
        return text

    def _check_levels(self, rest: dict[str, Any]) -> None:
        for name, value in rest.items():
            if is_too_deep(value):
                raise _Wrong(
                    self.line,
                    f'The attribute "{shown(name)}" is nested more than {DEEPEST} levels deep: flatten it',
                )

    def _rest(self, rest: dict[str, Any]) -> str:
        if not rest:
            return "{}"
        if len(rest) > MOST_COLUMNS:
            raise _Wrong(self.line, f"It has {len(rest)} attributes; at most {MOST_COLUMNS} can be read")
        if any(len(name) > LONGEST_NAME for name in rest):
            raise _Wrong(
                self.line, f"An attribute's name is longer than {LONGEST_NAME} characters: shorten it"
            )
        written = orjson.dumps(rest).decode()
        if "\\u0000" in written and _has_nul(rest):
            raise _Wrong(self.line, "A text contains a NUL character: remove it")
        return written


def _has_nul(value: Any) -> bool:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text if "\0" in text:
                return True
            case dict() as inner:
                waiting += [*inner.keys(), *inner.values()]
            case list() as inner:
                waiting += inner
    return False


def begin(data: bytes) -> int:
    """How many bytes a mark at the beginning of the file takes. Raises `ValueError` with a sentence."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("The file is in UTF-16: save it in UTF-8 and upload it again.")
    mark = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    if not data[mark:].strip():
        raise ValueError("The file is empty: write one JSON object on each line.")
    return mark
