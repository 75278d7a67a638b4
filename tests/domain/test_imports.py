"""What a row must look like, and what is said when it does not."""

from datetime import UTC, datetime

import pytest

from domain.errors import Invalid
from domain.import_rows import CustomerReader, OrderReader, reader
from domain.imports import CustomerLine, ImportKind, Layout, OrderLine, Refusal, check_meaning

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def customers(header: str, *rows: str, clean: bool = True) -> tuple[list[CustomerLine], list[Refusal]]:
    of_rows = reader(Layout.of(ImportKind.CUSTOMERS, header.split(","), ","), "UTC", "USD", NOW)
    assert isinstance(of_rows, CustomerReader)
    return of_rows.read([(line, row.split(",")) for line, row in enumerate(rows, start=2)], clean)


def orders(header: str, *rows: str, zone: str = "UTC") -> tuple[list[OrderLine], list[Refusal]]:
    of_rows = reader(Layout.of(ImportKind.ORDERS, header.split(","), ","), zone, "EUR", NOW)
    assert isinstance(of_rows, OrderReader)
    return of_rows.read([(line, row.split(",")) for line, row in enumerate(rows, start=2)], clean=True)


SAMPLE = "customer_id,ordered_on,quantity,total_usd"


def test_a_customer_is_read_with_names_consents_and_attributes() -> None:
    lines, refused = customers(
        "Customer_ID,Email,consent_email,consent_tracking,time_zone,First name,city",
        " 7 ,Ada@Example.com,Granted,denied,Europe/Berlin,Ada,",
    )

    assert not refused
    assert lines == [
        CustomerLine(2, "7", "ada@example.com", "granted", "denied", "Europe/Berlin", '{"First name":"Ada"}')
    ]


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        (",,,", "customer_id", "and so is the email"),
        ("1,ada,,", "email", '"ada" is no email address'),
        ("1,,yes,", "consent_email", "write granted or denied"),
        ("1,,,Berlin", "time_zone", "such as Europe/Berlin"),
        ("1,,,localtime", "time_zone", "such as Europe/Berlin"),
        ("1,,", "time_zone", "3 of 4 cells"),
        ("1,,,,5", "time_zone", "5 cells for 4 columns"),
        ("x" * 256 + ",,,", "customer_id", "longer than 255"),
    ],
)
def test_a_bad_customer_is_refused_with_its_column_and_the_way_out(row: str, column: str, words: str) -> None:
    lines, refused = customers("customer_id,email,consent_email,time_zone", "1,ada@example.com,,", row)

    assert len(lines) == 1
    assert [(each.line, each.column) for each in refused] == [(3, column)]
    assert words in refused[0].reason


def test_a_cell_that_is_no_text_is_refused_with_its_column() -> None:
    lines, refused = customers("customer_id,city", "1,\udcff", "2,a\0b", "3,Köln", clean=False)

    assert [line.customer_id for line in lines] == ["3"]
    assert [(each.line, each.column) for each in refused] == [(2, "city"), (3, "city")]


def test_an_order_of_the_sample_is_read() -> None:
    lines, refused = orders(SAMPLE, "4,1997-01-01,2,29.330")

    assert not refused
    assert lines == [
        OrderLine(2, "4", "1997-01-01T00:00:00+00:00", 2, "29.33", "USD", "4:1997-01-01:2:29.33:USD", 1)
    ]


def test_a_date_is_midnight_in_the_workspaces_time_zone() -> None:
    lines, _ = orders(SAMPLE, "4,1997-07-01,2,5", zone="Europe/Berlin")

    assert lines[0].ordered_at == "1997-06-30T22:00:00+00:00"
    assert lines[0].key == "4:1997-07-01:2:5:USD"


def test_a_time_without_an_offset_is_meant_in_the_workspaces_zone() -> None:
    lines, refused = orders(
        "customer_id,ordered_at,quantity,total",
        "4,1997-07-01T10:00,1,5",
        "4,1997-07-01T10:00:00Z,1,5",
        zone="Europe/Berlin",
    )

    assert not refused
    assert [line.ordered_at for line in lines] == ["1997-07-01T08:00:00+00:00", "1997-07-01T10:00:00+00:00"]
    assert [line.currency for line in lines] == ["EUR", "EUR"]
    assert lines[0].key == "4:19970701T080000:1:5:EUR"


def test_rows_alike_are_counted_and_rows_with_an_id_are_not() -> None:
    alike, _ = orders(SAMPLE, *["4,1997-01-01,2,29.33"] * 3)
    with_id, _ = orders(f"{SAMPLE},order_id", *["4,1997-01-01,2,29.33,A-1"] * 2)

    assert [line.nth for line in alike] == [1, 2, 3]
    assert [(line.key, line.nth) for line in with_id] == [("A-1", 0), ("A-1", 0)]


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        (",1997-01-01,1,5", "customer_id", "say whose order"),
        ("1,1997-02-30,1,5", "ordered_on", "YYYY-MM-DD"),
        ("1,19970101,1,5", "ordered_on", "YYYY-MM-DD"),
        ("1,1697-01-01,1,5", "ordered_on", "check the year"),
        ("1,2997-01-01,1,5", "ordered_on", "in the future"),
        ("1,1997-01-01,0,5", "quantity", "1 to 1,000,000"),
        ("1,1997-01-01,-1,5", "quantity", "1 to 1,000,000"),
        ("1,1997-01-01,1.5,5", "quantity", "1 to 1,000,000"),
        ("1,1997-01-01,1,-5", "total_usd", "refunds are not orders"),
        ("1,1997-01-01,1,$5", "total_usd", "without a currency's sign"),
        ("1,1997-01-01,1,5.12345", "total_usd", "four decimals"),
        ("1,1997-01-01,1,1000000000000.01", "total_usd", "check the decimal point"),
        ("1,1997-01-01,1,NaN", "total_usd", "digits with a point"),
        ("1,1997-01-01,1,", "total_usd", "digits with a point"),
        ("1,1997-01-01,1,٥", "total_usd", "digits with a point"),
    ],
)
def test_a_bad_order_is_refused_with_its_column_and_the_way_out(row: str, column: str, words: str) -> None:
    lines, refused = orders(SAMPLE, row, "1,1997-01-01,1,0")

    assert [line.total for line in lines] == ["0"]
    assert [(each.line, each.column) for each in refused] == [(2, column)]
    assert words in refused[0].reason


def test_a_currency_that_is_none_is_refused_and_an_empty_one_is_the_workspaces() -> None:
    lines, refused = orders(
        "customer_id,ordered_on,quantity,total,currency",
        "1,1997-01-01,1,5,gbp",
        "1,1997-01-01,1,5,",
        "1,1997-01-01,1,5,XXZ",
    )

    assert [line.currency for line in lines] == ["GBP", "EUR"]
    assert refused[0].column == "currency"


@pytest.mark.parametrize(
    ("kind", "header", "words"),
    [
        (ImportKind.CUSTOMERS, "name,city", '"customer_id" or "email" is missing'),
        (ImportKind.CUSTOMERS, "email,EMAIL", '"EMAIL" is there twice'),
        (ImportKind.CUSTOMERS, "email,", "Column 2 has no name"),
        (ImportKind.ORDERS, "customer_id,quantity,total", '"ordered_on" or "ordered_at" is missing'),
        (ImportKind.ORDERS, "customer_id,ordered_on,total", '"quantity" is missing'),
        (ImportKind.ORDERS, "customer_id,ordered_on,total", "or `mapping` to say which column it is"),
        (ImportKind.ORDERS, "customer_id,ordered_on,quantity", '"total" is missing'),
        (ImportKind.ORDERS, "customer_id,ordered_on,quantity,total_zzz", '"total_zzz" names no currency'),
        (ImportKind.ORDERS, "customer_id,ordered_on,quantity,total_usd,total", "both are totals"),
        (ImportKind.ORDERS, "customer_id,ordered_on,quantity,total_usd,currency", "both name a currency"),
        (ImportKind.ORDERS, "customer_id,ordered_on,ordered_at,quantity,total", "both say when"),
    ],
)
def test_a_header_that_can_not_be_used_names_the_column(kind: ImportKind, header: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        Layout.of(kind, header.split(","), ",")


def test_columns_are_mapped_left_out_and_reported_by_the_files_own_names() -> None:
    meaning = {"kundennummer": "customer_id", "Mail": "email", "Notiz": None, "Stadt": "city"}
    layout = Layout.of(ImportKind.CUSTOMERS, ["Kundennummer", "Mail", "Notiz", "Stadt"], ";", meaning)
    of_rows = reader(layout, "UTC", "USD", NOW)
    assert isinstance(of_rows, CustomerReader)

    lines, refused = of_rows.read([(2, ["1", "", "x", "Wien"]), (3, ["2", "home", "", ""])], clean=True)

    assert [(each.customer_id, each.attributes) for each in lines] == [("1", '{"city":"Wien"}')]
    assert [each.column for each in refused] == ["Mail"]


def test_an_orders_total_may_be_mapped_with_its_currency() -> None:
    meaning = {"who": "customer_id", "day": "ordered_on", "n": "quantity", "sum": "total_eur"}
    layout = Layout.of(ImportKind.ORDERS, ["who", "day", "n", "sum"], ",", meaning)
    assert layout.currency == "EUR"
    of_rows = reader(layout, "UTC", "USD", NOW)
    assert isinstance(of_rows, OrderReader)
    lines, refused = of_rows.read(
        [(2, ["c1", "2026-01-01", "1", "5"]), (3, ["c1", "x", "1", "-5"])], clean=True
    )
    assert [each.key for each in lines] == ["c1:2026-01-01:1:5:EUR"]
    assert [each.column for each in refused] == ["day"]


@pytest.mark.parametrize(
    ("meaning", "words"),
    [
        ({"mail": "email"}, "which the file does not have"),
        ({"a": "email", "b": "email"}, "both are"),
        ({"a": "b"}, "both are"),
        ({"customer_id": None}, "is missing"),
    ],
)
def test_a_mapping_that_does_not_fit_the_file_is_refused(meaning: dict[str, str | None], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        Layout.of(ImportKind.CUSTOMERS, ["customer_id", "a", "b"], ",", meaning)


@pytest.mark.parametrize(
    ("kind", "meaning", "words"),
    [
        (ImportKind.CUSTOMERS, {"a": " "}, "no name"),
        (ImportKind.CUSTOMERS, {"a": "x\0"}, "no name"),
        (ImportKind.CUSTOMERS, {"a": "x" * 256}, "too long"),
        (ImportKind.ORDERS, {"a": "colour"}, "which no order has"),
        (ImportKind.ORDERS, {str(n): None for n in range(501)}, "at most 500"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_at_once(
    kind: ImportKind, meaning: dict[str, str | None], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        check_meaning(kind, meaning)
    check_meaning(ImportKind.ORDERS, {"a": "Total_USD", "b": "total", "c": None})
