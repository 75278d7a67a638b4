"""Rows of a file, whatever its bytes are and wherever a piece of it ends."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.csv_rows import BLOCK, LONGEST_CELL, Row, Unreadable, flaw, read_header, read_piece

CELL = st.text(st.sampled_from('ab,;"\n\r\tä€😀 '), max_size=6)
BLOCK_AT_LEAST = 256  # Longer than any row that is made here.


def read_all(data: bytes, block: int = BLOCK, most: int = 10_000) -> tuple[list[Row], list[Unreadable]]:
    rows: list[Row] = []
    unreadable: list[Unreadable] = []
    position, line = 0, 1
    while position < len(data):
        last = position + block >= len(data)
        piece = read_piece(data[position : position + block], line=line, delimiter=",", last=last, most=most)
        assert piece.size
        position, line = position + piece.size, line + piece.lines
        rows += piece.rows
        unreadable += piece.unreadable
    return rows, unreadable


@given(
    table=st.lists(st.lists(CELL, min_size=2, max_size=3), max_size=60),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.integers(BLOCK_AT_LEAST, 2000),
    most=st.integers(1, 50),
)
def test_what_was_written_is_read_wherever_a_piece_ends(
    table: list[list[str]], end: str, block: int, most: int
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(table)
    data = out.getvalue().encode()

    rows, unreadable = read_all(data, block, most)

    assert [cells for _, cells in rows] == table
    assert not unreadable


@given(data=st.lists(st.sampled_from([b"a", b",", b'"', b"\n", b"\r\n", b"\xff", b"\0"])).map(b"".join))
def test_any_bytes_are_read_to_the_end_and_alike_by_many_rows_or_one(data: bytes) -> None:
    rows, unreadable = read_all(data)

    assert read_all(data, most=1) == (rows, unreadable)
    begun = [line for line, _ in rows] + [each.line for each in unreadable]
    assert len(set(begun)) == len(begun)


def test_a_line_number_is_that_of_the_file() -> None:
    rows, _ = read_all(b'a,b\r\n\r\n"two\nlines",c\r\nd,e\r\n')

    assert rows == [(1, ["a", "b"]), (3, ["two\nlines", "c"]), (5, ["d", "e"])]


def test_an_open_quotation_mark_costs_one_row() -> None:
    rows, unreadable = read_all(b'a,1\nb,"2\nc,3\nd,4\n')

    assert rows == [(1, ["a", "1"]), (3, ["c", "3"]), (4, ["d", "4"])]
    assert [(each.line, each.cell) for each in unreadable] == [(2, 1)]


def test_an_open_quotation_mark_in_a_large_file_costs_one_row() -> None:
    many = b"c,3\n" * BLOCK
    rows, unreadable = read_all(b'a,1\nb,"2\n' + many)

    assert len(rows) == BLOCK + 1
    assert [each.line for each in unreadable] == [2]


def test_text_behind_a_closed_quotation_mark_costs_one_row() -> None:
    rows, unreadable = read_all(b'a,"1"x\nb,2\n')

    assert [cells for _, cells in rows] == [["b", "2"]]
    assert [each.line for each in unreadable] == [1]


def test_a_cell_that_is_too_long_costs_one_row() -> None:
    rows, unreadable = read_all(b"a," + b"x" * (LONGEST_CELL + 1) + b"\nb,2\n")

    assert [cells for _, cells in rows] == [["b", "2"]]
    assert "longer than 131,072 characters" in unreadable[0].reason


def test_a_line_longer_than_a_piece_is_refused_and_the_rest_of_it_is_skipped() -> None:
    piece = read_piece(b"x" * BLOCK, line=7, delimiter=",", last=False, most=10)

    assert piece.skip_line
    assert piece.unreadable[0].line == 7


def test_bytes_that_are_no_text_are_found_in_their_cell() -> None:
    piece = read_piece(b"a,\xe2\x82\nb,\0\nc,d\n", line=1, delimiter=",", last=True, most=10)

    assert not piece.clean
    assert [[bool(flaw(cell)) for cell in cells] for _, cells in piece.rows] == [
        [False, True],
        [False, True],
        [False, False],
    ]


def test_a_header_says_which_delimiter_and_how_far_it_goes() -> None:
    assert read_header(b"\xef\xbb\xbfa;b,c;d\r\n1;2;3\r\n") == (["a", "b,c", "d"], ";", 12, 1)
    assert read_header(b"a\tb\n") == (["a", "b"], "\t", 4, 1)
    assert read_header(b'\n"a\nb",c') == (["a\nb", "c"], ",", 8, 3)


def test_a_file_without_a_header_says_so() -> None:
    for data, words in ((b"", "is empty"), (b"\n \n", "is empty"), ("a,b".encode("utf-16"), "UTF-16")):
        with pytest.raises(ValueError, match=words):
            read_header(data)
