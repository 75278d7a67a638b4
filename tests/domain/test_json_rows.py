"""JSON Lines, read in pieces: each object is a row, and a bad line takes none with it."""

from datetime import UTC, datetime

import pytest

from domain.changes import DEEPEST
from domain.import_rows import CustomerReader, OrderReader, reader
from domain.imports import CustomerLine, ImportKind, Layout, Meaning, OrderLine, Refusal
from domain.json_rows import Objects, begin

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def read(
    kind: ImportKind, data: str | bytes, meaning: Meaning | None = None
) -> tuple[list[CustomerLine] | list[OrderLine], list[tuple[int, str, str]]]:
    """The lines, and what was refused: line, column, reason."""
    layout = Layout.of_objects(kind, meaning)
    data = data.encode() if isinstance(data, str) else data
    piece = Objects(layout, meaning).read_piece(data, line=1, last=True, most=1000)
    of_rows = reader(layout, "Europe/Berlin", "EUR", NOW)
    assert isinstance(of_rows, CustomerReader | OrderReader)
    lines, refusals = of_rows.read(piece.rows, piece.clean)
    refusals += [Refusal(line, layout.name(cell), reason) for line, cell, reason in piece.unreadable]
    return lines, [
        (each.line, each.column, each.reason) for each in sorted(refusals, key=lambda each: each.line)
    ]


def test_a_person_keeps_the_types_of_their_attributes() -> None:
    lines, refused = read(
        ImportKind.CUSTOMERS,
        '{"customer_id": 7, "Email": "Ada@Example.com", "consent_email": true, "consent_tracking": "denied",'
        ' "plan": "gold", "seats": 3, "tags": ["a"], "nothing": null, "empty": ""}\r\n\n{"customer_id": "8"}',
    )

    assert refused == []
    rest = '{"plan":"gold","seats":3,"tags":["a"]}'
    assert lines == [
        CustomerLine(1, "7", "ada@example.com", "granted", "denied", None, rest),
        CustomerLine(3, "8", None, None, None, None, "{}"),
    ]


def test_an_order_has_the_same_key_as_in_a_csv() -> None:
    lines, refused = read(
        ImportKind.ORDERS,
        '{"customer_id": "c1", "ordered_on": "2025-12-24", "quantity": 1, "total": 29.330}\n'
        '{"customer_id": "c1", "ordered_on": "2025-12-24", "quantity": 1, "total": "29.33"}\n'
        '{"customer_id": "c1", "ordered_at": "2025-12-24T10:00:00Z", "quantity": "2", "total_usd": 5}\n',
    )

    assert refused == []
    assert [(each.key, each.nth) for each in lines if isinstance(each, OrderLine)] == [
        ("c1:2025-12-24:1:29.33:EUR", 1),
        ("c1:2025-12-24:1:29.33:EUR", 2),
        ("c1:20251224T100000:2:5:USD", 1),
    ]


@pytest.mark.parametrize(
    ("line", "column", "words"),
    [
        ("[1]", "(line)", "no JSON object"),
        ('{"customer_id": ', "(line)", "no JSON"),
        (b'{"customer_id": "\xff"}', "(line)", "no JSON"),
        (rb'{"customer_id": "\ud800"}', "(line)", "no JSON"),
        (r'{"customer_id": "a\u0000"}', "customer_id", "NUL"),
        (r'{"customer_id": "a", "deep": [{"x\u0000": 1}]}', "(line)", "NUL"),
        ('{"customer_id": ["a"]}', "customer_id", "neither a text nor a number"),
        ('{"email": "home"}', "email", "no email address"),
        ('{"name": "Ada"}', "customer_id", "say who this is"),
        ('{"customer_id": "a", "' + "x" * 256 + '": 1}', "(line)", "longer than 255"),
        ("[" * 5000, "(line)", "no JSON"),
    ],
)
def test_a_bad_line_is_refused_with_its_way_out(line: str | bytes, column: str, words: str) -> None:
    line = line.encode() if isinstance(line, str) else line
    good = b'{"customer_id": "1"}\n'
    lines, refused = read(ImportKind.CUSTOMERS, good + line + b"\n" + good)

    assert len(lines) == 2
    [(number, where, reason)] = refused
    assert (number, where) == (2, column)
    assert words in reason


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return f'{{"customer_id": "a", "plan": "pro", "tree": {opening * levels}1{closing * levels}}}'


def test_an_attribute_of_a_line_is_nested_as_deeply_as_the_apis_and_no_deeper() -> None:
    lines, refused = read(ImportKind.CUSTOMERS, f"{nested(DEEPEST)}\n{nested(DEEPEST + 1)}")

    assert [each.line for each in lines] == [1]
    [(number, column, reason)] = refused
    assert (number, column) == (2, "(line)")
    assert reason == 'The attribute "tree" is nested more than 8 levels deep: flatten it'


@pytest.mark.parametrize("levels", [250, 253, 254, 300, 1000, 1020, 1500, 50_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_a_line_that_is_nested_without_end_is_refused_alone(levels: int, brackets: tuple[str, str]) -> None:
    good = '{"customer_id": "b"}'
    for kind, most in ((ImportKind.CUSTOMERS, 2), (ImportKind.ORDERS, 0)):
        lines, refused = read(kind, f"{good}\n{nested(levels, *brackets)}\n{good}")
        assert len(lines) == most
        assert 2 in [line for line, _, _ in refused]


def test_a_literal_backslash_is_no_nul() -> None:
    lines, refused = read(ImportKind.CUSTOMERS, r'{"customer_id": "a", "path": "C:\\u0000"}')
    assert (len(lines), refused) == (1, [])


def test_columns_may_be_called_otherwise_and_are_reported_so() -> None:
    meaning = {"Nummer": "customer_id", "Notiz": None, "Stadt": "city", "Mail": "email"}
    lines, refused = read(
        ImportKind.CUSTOMERS,
        '{"Nummer": "1", "Notiz": "secret", "stadt": "Wien"}\n{"Mail": "home"}',
        meaning,
    )

    assert lines == [CustomerLine(1, "1", None, None, None, None, '{"city":"Wien"}')]
    assert [(line, column) for line, column, _ in refused] == [(2, "Mail")]


def test_wherever_a_piece_ends_the_same_is_read() -> None:
    data = "".join(f'{{"customer_id": "{n}"}}\n' for n in range(50)).encode()
    objects = Objects(Layout.of_objects(ImportKind.CUSTOMERS))
    for size in (25, 100, 2000):
        found, position, line = [], 0, 1
        while position < len(data):
            piece_ = data[position : position + size]
            last = position + size >= len(data)
            piece = objects.read_piece(piece_, line=line, last=last, most=7)
            found += piece.rows
            position, line = position + piece.size, line + piece.lines
        assert [(number, cells[0]) for number, cells in found] == [(n + 1, str(n)) for n in range(50)]


def test_a_line_without_an_end_is_too_long() -> None:
    piece = Objects(Layout.of_objects(ImportKind.ORDERS)).read_piece(b'{"a": 1', line=4, last=False, most=9)
    assert piece.skip_line
    assert [each.line for each in piece.unreadable] == [4]


def test_what_is_no_text_is_said_before_anything_is_read() -> None:
    assert begin(b"\xef\xbb\xbf{}") == 3
    for data, words in ((b"\xff\xfe{", "UTF-16"), (b" \n", "empty")):
        with pytest.raises(ValueError, match=words):
            begin(data)
