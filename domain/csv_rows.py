"""CSV (RFC 4180) from pieces of a file: which rows are whole, where they begin, how many bytes they took.

A row that can't be read never takes others with it: reading goes on in the line after the one in which the
row began. What is read depends on the bytes alone, never on where a piece ends.
"""

import csv
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

BLOCK = 256 * 1024  # Bytes of a piece, and therefore of the longest row.
LONGEST_CELL = 131_072  # Characters; the csv module's own limit, which is the process's.

Row = tuple[int, list[str]]  # The line that it begins on (the file's first is 1) and its cells.

_STRAY_QUOTE = (
    "A quotation mark opens text that does not end as it should: close it, write a quotation mark within "
    "quoted text twice, or remove it"
)
_LONG_ROW = (
    f"The row is longer than {BLOCK // 1024} KiB: shorten it, or close the quotation mark that is open"
)
_LONG_CELL = f"The text is longer than {LONGEST_CELL:,} characters: shorten it"


class Unreadable(NamedTuple):
    """A row that can't be read: its line, the index of the cell at fault, why."""

    line: int
    cell: int
    reason: str


class Piece(NamedTuple):
    rows: list[Row]
    unreadable: list[Unreadable]
    size: int  # Bytes read.
    lines: int  # Lines read.
    clean: bool  # Every row is text: valid UTF-8, no NUL. Otherwise ask `flaw` about each cell.
    skip_line: bool  # The rest of the line that follows `size` belongs to a row that was unreadable.


def read_piece(data: bytes, *, line: int, delimiter: str, last: bool, most: int) -> Piece:
    """Read up to `most` whole rows from the beginning of `data`, which is on line `line` of the file.

    `data` is the next `BLOCK` bytes of the file, or if `last` all that is left of it. Empty lines are no
    rows. At least one line is read.
    """
    whole = len(data) if last else _end_of_last_line(data)
    if not whole and not last:
        return Piece([], [Unreadable(line, 0, _LONG_ROW)], len(data), 1, True, skip_line=True)
    lines = data[:whole].splitlines(keepends=True)
    texts = [each.decode("utf-8", "surrogateescape") for each in lines]
    rows: list[Row] = []
    unreadable: list[Unreadable] = []
    done = 0  # Lines.
    while done < len(texts) and len(rows) + len(unreadable) < most:
        begun, reader = done, csv.reader(islice(texts, done, None), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if cells:
                    rows.append((line + done, cells))
                done = begun + reader.line_num
                if len(rows) + len(unreadable) >= most:
                    break
        except csv.Error as error:
            unfinished = "unexpected end" in str(error)
            if unfinished and not last and done:
                break  # Its end may lie in the next piece.
            reason = _LONG_ROW if unfinished and not last else _reason(error)
            unreadable.append(Unreadable(line + done, _open_cell(texts[done], delimiter), reason))
            done += 1
    size = whole if done == len(lines) else sum(map(len, lines[:done]))
    clean = b"\0" not in data and _is_utf8(data[:size])
    return Piece(rows, unreadable, size, done, clean, skip_line=False)


def read_header(data: bytes) -> tuple[list[str], str, int, int]:
    """The first row's cells, the delimiter it speaks for, and the bytes and lines it took.

    `data` is the first `BLOCK` bytes of the file. Raises `ValueError` with a sentence.
    """
    mark = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError('The file is in UTF-16: save it as "CSV UTF-8" and upload it again.')
    if not data[mark:].strip():
        raise ValueError("The file is empty: its first line has to name the columns.")
    pieces = {each: _first_row(data[mark:], each) for each in ",;\t"}
    delimiter = max(pieces, key=lambda each: max((len(cells) for _, cells in pieces[each].rows), default=0))
    found = pieces[delimiter]
    if not found.rows:
        raise ValueError(f"The first line can't be read. {found.unreadable[0].reason}.")
    cells = found.rows[0][1]
    if not found.clean and any(flaw(cell) for cell in cells):
        raise ValueError(
            'The first line is not text in UTF-8: save the file as "CSV UTF-8" and upload it again.'
        )
    return cells, delimiter, mark + found.size, found.lines


def flaw(cell: str) -> str | None:
    """What makes a cell no text, if anything does."""
    if "\0" in cell:
        return "The text contains a NUL character: remove it"
    if not cell.isascii() and not _is_encodable(cell):
        return 'The text is not valid UTF-8: save the file as "CSV UTF-8"'
    return None


def _first_row(data: bytes, delimiter: str) -> Piece:
    size = lines = 0
    while True:
        piece = read_piece(data[size:], line=1 + lines, delimiter=delimiter, last=True, most=1)
        size, lines = size + piece.size, lines + piece.lines
        if piece.rows or piece.unreadable or size >= len(data):
            return piece._replace(size=size, lines=lines)


def _end_of_last_line(data: bytes) -> int:
    """Behind the last line that is whole; a CR at the very end may be half of a CRLF."""
    return max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1


def _open_cell(text: str, delimiter: str) -> int:
    """Which cell of a row's first line is the last one that can be made out."""
    try:
        cells: Sequence[str] = next(csv.reader([text[:LONGEST_CELL]], delimiter=delimiter), [])
    except csv.Error:
        return 0
    return max(len(cells) - 1, 0)


def _reason(error: csv.Error) -> str:
    return _LONG_CELL if "field limit" in str(error) else _STRAY_QUOTE


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
