"""Imports with wishes: JSON Lines, columns by other names, only a report, people put on a list."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import text

from domain.imports import ImportFormat, ImportState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.lists import List
from models.queries.imports import Wishes
from tests.importing import (
    LEFT_OVERS,
    ORDERS,
    PEOPLE,
    ROLLUPS,
    asked,
    counts,
    imported,
    loaded,
    refused,
    uploaded,
)
from tests.models.test_orders import pumped, take
from tests.people import HERE, NOON

JSONL = Wishes(ImportFormat.JSONL)
TWO = "customer_id,email\n1,ada@shop.example\n2,bob@shop.example\n"


async def a_list(sessions: Sessions) -> UUID:
    async with sessions(DEFAULT_WORKSPACE) as db:
        made = List(**HERE, name="Newsletter")
        db.add(made)
        await db.flush()
    return made.id


async def members(sessions: Sessions) -> list[tuple[str, str, str]]:
    found = await asked(
        sessions,
        "select i.value, m.state, m.source from list_members m join identities i"
        " on i.profile_id = m.profile_id and i.kind = 'user_id' order by 1",
    )
    return [(value, state, source) for value, state, source in found]


async def test_json_lines_are_imported_and_bad_lines_reported(sessions: Sessions) -> None:
    people = '\ufeff{"customer_id": "1", "email": "ada@shop.example", "seats": 3}\nno\n{"customer_id": 2}\n'
    run = await uploaded(sessions, "customers", people, wishes=JSONL)
    done = await loaded(sessions, run, batch=1)
    while not done.over:
        done = await loaded(sessions, run, batch=1)

    assert (counts(done), done.bytes_done) == ((2, 0, 1), done.bytes_total)
    assert [(line, column) for line, column, _ in await refused(sessions, run.import_id)] == [(2, "(line)")]
    ada, bob = await asked(sessions, PEOPLE)
    assert (ada[0], ada[1], ada[3]) == ("1", "ada@shop.example", {"seats": 3})
    assert bob[0] == "2"
    orders = '{"customer_id": "1", "ordered_on": "2026-01-01", "quantity": 1, "total": 12.5}\n'
    run = await uploaded(sessions, "orders", orders * 2, wishes=JSONL)
    assert counts(await loaded(sessions, run)) == (2, 0, 0)
    assert [key for key, *_ in await asked(sessions, ORDERS)] == [
        "1:2026-01-01:1:12.5:USD#1",
        "1:2026-01-01:1:12.5:USD#2",
    ]
    assert await asked(sessions, LEFT_OVERS) == [(0, 0)]


async def test_a_line_that_is_nested_too_deeply_takes_no_other_with_it(sessions: Sessions) -> None:
    people = [f'{{"customer_id": "{n}"}}' for n in range(50)]
    tree = '{"customer_id": "x", "tree": ' + "[" * 300 + "]" * 300 + "}"
    data = "\n".join([*people, tree, '{"customer_id": "last"}'])
    for wishes in (replace(JSONL, dry_run=True), JSONL):
        run = await uploaded(sessions, "customers", data, wishes=wishes)
        assert counts(await loaded(sessions, run)) == (51, 0, 1)
        assert await refused(sessions, run.import_id) == [
            (51, "(line)", 'The attribute "tree" is nested more than 8 levels deep: flatten it.')
        ]
    assert await asked(sessions, "select count(*) from profiles") == [(51,)]


async def test_an_empty_file_of_json_lines_fails_with_a_sentence(sessions: Sessions) -> None:
    done = await loaded(sessions, await uploaded(sessions, "customers", "\n", wishes=JSONL))
    assert done.state is ImportState.FAILED
    assert "write one JSON object on each line" in (done.reason or "")


async def test_columns_by_other_names_are_read_also_after_a_stop(sessions: Sessions) -> None:
    wishes = Wishes(mapping={"Nummer": "customer_id", "Mail": "email", "Notiz": None})
    data = "Nummer;Mail;Notiz\n" + "".join(f"{n};p{n}@shop.example;x\n" for n in range(10))
    run = await uploaded(sessions, "customers", data, wishes=wishes)
    done = await loaded(sessions, run, batch=3)
    while not done.over:
        done = await loaded(sessions, run, batch=3)

    assert counts(done) == (10, 0, 0)
    assert {str(attributes) for _, _, _, attributes, *_ in await asked(sessions, PEOPLE)} == {"{}"}


async def test_a_mapping_that_does_not_fit_fails_the_import(sessions: Sessions) -> None:
    wishes = Wishes(mapping={"Mail": "email"})
    done = await loaded(sessions, await uploaded(sessions, "customers", TWO, wishes=wishes))
    assert done.state is ImportState.FAILED
    assert "which the file does not have" in (done.reason or "")


async def test_a_dry_run_reports_all_and_stores_nothing(sessions: Sessions) -> None:
    await imported(sessions, "customers", TWO)
    before = [await asked(sessions, what) for what in (PEOPLE, ORDERS, ROLLUPS)]
    data = TWO + "3,ada@shop.example\n4,home\n5,eve@shop.example\n"
    wishes = Wishes(dry_run=True, list_id=await a_list(sessions))

    run = await uploaded(sessions, "customers", data, wishes=wishes)
    done = await loaded(sessions, run)

    assert (done.state, counts(done)) == (ImportState.COMPLETED, (1, 2, 2))
    report = await refused(sessions, run.import_id)
    assert [(line, column) for line, column, _ in report] == [(4, "email"), (5, "email")]
    orders = "customer_id,ordered_on,quantity,total\n1,2026-01-01,1,5\n9,2026-01-01,1,5\n"
    run = await uploaded(sessions, "orders", orders, live=True, wishes=Wishes(dry_run=True))
    assert counts(await loaded(sessions, run)) == (1, 0, 1)
    assert [(line, column) for line, column, _ in await refused(sessions, run.import_id)] == [
        (3, "customer_id")
    ]
    assert [await asked(sessions, what) for what in (PEOPLE, ORDERS, ROLLUPS)] == before
    assert await members(sessions) == []
    assert await asked(sessions, LEFT_OVERS) == [(0, 0)]


async def test_the_people_of_a_file_are_put_on_a_list_and_whoever_left_stays_away(sessions: Sessions) -> None:
    list_id = await a_list(sessions)
    await imported(sessions, "customers", TWO)
    async with sessions(DEFAULT_WORKSPACE) as db:
        left = text(
            "insert into list_members select :here, :list, profile_id, 'left', 'person', :at"
            " from identities where kind = 'user_id' and value = '2'"
        )
        await db.execute(left, {"here": DEFAULT_WORKSPACE, "list": list_id, "at": NOON})

    data = TWO + "3,eve@shop.example\n4,home\n"
    run = await uploaded(sessions, "customers", data, wishes=Wishes(list_id=list_id))
    assert counts(await loaded(sessions, run)) == (1, 2, 1)

    on_it = [("1", "member", "import"), ("2", "left", "person"), ("3", "member", "import")]
    assert await members(sessions) == on_it
    await imported(sessions, "customers", "customer_id\n6\n")
    orders = "customer_id,ordered_on,quantity,total\n6,2026-01-01,1,5\n6,2026-01-02,1,5\n9,2026-01-02,1,5\n"
    run = await uploaded(sessions, "orders", orders, wishes=Wishes(list_id=list_id))
    assert counts(await loaded(sessions, run)) == (2, 0, 1)
    assert await members(sessions) == [*on_it, ("6", "member", "import")]


async def test_a_list_that_is_gone_holds_up_no_import(sessions: Sessions) -> None:
    run = await uploaded(sessions, "customers", TWO, wishes=Wishes(list_id=uuid4()))
    assert counts(await loaded(sessions, run)) == (2, 0, 0)


async def test_sums_of_files_and_of_the_pump_agree(sessions: Sessions) -> None:
    """Refunds and cancellations between two files of one buyer."""
    await imported(sessions, "customers", TWO)
    header = "customer_id,ordered_on,quantity,total,order_id\n"
    await imported(sessions, "orders", header + "1,2026-01-01,1,5,a\n1,2026-01-02,1,7,b\n")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await take(db, "order change", {"key": "a", "status": "cancelled"})
        await take(db, "order change", {"key": "b", "status": "refunded", "refunded": "3"})
        await pumped(db)
    await imported(sessions, "orders", header + "1,2026-01-01,1,5,a\n1,2025-12-01,1,9,c\n")

    [(_, _, total, count, first_at, _)] = await asked(sessions, ROLLUPS)
    assert (total, count, first_at.day) == (Decimal(13), 2, 1)
