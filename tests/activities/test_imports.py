"""Imports on a real database: what rows become, what a second time changes, and what a crash costs."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from dev.places import ROOT
from domain.imports import ImportState
from domain.profiles import ConsentSource, ConsentState, IdentityKind, Purpose
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.flows import Flow, FlowVersion
from models.queries import imports, profiles
from tests.importing import (
    LEFT_OVERS,
    ORDERS,
    PEOPLE,
    ROLLUPS,
    asked,
    counts,
    everything,
    imported,
    loaded,
    refused,
    uploaded,
)
from tests.support import GivenClock

SAMPLE = (ROOT / "samples" / "cdnow_orders.csv").read_bytes()
GIVEN = GivenClock().now()

TWO = "customer_id,email,first_name\n1,ada@example.com,Ada\n2,bob@example.com,Bob\n"
BOUGHT = """customer_id,ordered_on,quantity,total_usd
1,1997-01-01,2,29.33
1,1997-01-18,1,9.77
2,1997-01-18,1,9.77
"""


async def test_customers_become_profiles_with_names_consents_and_attributes(sessions: Sessions) -> None:
    done = await imported(
        sessions,
        "customers",
        "customer_id,email,consent_email,consent_tracking,time_zone,city\n"
        "1,Ada@Example.com,granted,denied,Europe/Berlin,Köln\n"
        ",bob@example.com,,,,\n",
    )

    assert done.state is ImportState.COMPLETED
    assert counts(done) == (2, 0, 0)
    assert await asked(sessions, PEOPLE) == [
        ("-", "bob@example.com", None, {}, GIVEN, None, 0, None),
        (
            "1",
            "ada@example.com",
            "Europe/Berlin",
            {"city": "Köln"},
            GIVEN,
            [["email", "granted", "import"], ["tracking", "denied", "import"]],
            0,
            None,
        ),
    ]


async def test_the_same_customers_again_change_nothing(sessions: Sessions) -> None:
    header, clock = "customer_id,email,consent_email,time_zone,city\n", GivenClock()
    data = f"{header}1,ada@example.com,granted,UTC,Köln\n2,,,,\n,bob@example.com,denied,,\n"
    await loaded(sessions, await uploaded(sessions, "customers", data), clock)
    versions = (
        "select xmin::text, ctid::text from profiles union all select xmin::text, ctid::text from consents"
    )
    before = await asked(sessions, versions)

    clock.move(timedelta(days=1))
    done = await loaded(sessions, await uploaded(sessions, "customers", data), clock)

    assert counts(done) == (0, 3, 0)
    assert await asked(sessions, versions) == before


async def test_what_a_file_says_otherwise_is_changed_and_the_rest_is_kept(sessions: Sessions) -> None:
    await imported(sessions, "customers", "customer_id,city,name\n1,Köln,Ada\n")
    clock = GivenClock()
    clock.move(timedelta(days=1))

    run = await uploaded(sessions, "customers", "customer_id,email,city,name\n1,ada@example.com,Bonn,\n")
    done = await loaded(sessions, run, clock)

    assert counts(done) == (1, 0, 0)
    assert (await asked(sessions, PEOPLE))[0][1:5] == (
        "ada@example.com",
        None,
        {"city": "Bonn", "name": "Ada"},
        clock.now(),
    )


async def test_a_new_address_becomes_the_one_that_is_written_to_and_an_old_one_may_return(
    sessions: Sessions,
) -> None:
    for address, old in (("new@example.com", "ada@example.com"), ("ada@example.com", "new@example.com")):
        await imported(sessions, "customers", "customer_id,email\n1,ada@example.com\n")
        await imported(sessions, "customers", f"customer_id,email\n1,{address}\n")
        [person] = await asked(sessions, PEOPLE)
        assert (person[1], person[-1]) == (address, [old])


async def test_later_rows_of_a_file_work_on_earlier_ones(sessions: Sessions) -> None:
    data = (
        "customer_id,email,city\n"
        "1,ada@example.com,Köln\n"
        "1,,Bonn\n"  # Changes what the row before it said,
        "1,,Bonn\n"  # says nothing new,
        ",ada@example.com,Mainz\n"  # and names the same person by address.
        "1,new@example.com,\n"
    )
    done = await imported(sessions, "customers", data)

    assert counts(done) == (4, 1, 0)
    [person] = await asked(sessions, PEOPLE)
    assert (person[1], person[3], person[-1]) == ("new@example.com", {"city": "Mainz"}, ["ada@example.com"])


async def test_an_address_that_another_profile_holds_goes_to_the_report(sessions: Sessions) -> None:
    await imported(sessions, "customers", TWO)

    run = await uploaded(
        sessions,
        "customers",
        "customer_id,email\n2,ADA@example.com\n3,ada@example.com\n4,eve@example.com\n5,eve@example.com\n",
    )
    done = await loaded(sessions, run)

    assert counts(done) == (1, 0, 3)
    report = await refused(sessions, run.import_id)
    assert [(line, column) for line, column, _ in report] == [(2, "email"), (3, "email"), (5, "email")]
    assert "Another profile already has the address ada@example.com" in report[0][2]


async def consent_now(sessions: Sessions) -> list[tuple[Any, ...]]:
    return await asked(
        sessions, "select state, source from consents where ended_at is null and purpose = 'email'"
    )


@asynccontextmanager
async def the_first(sessions: Sessions) -> AsyncIterator[tuple[AsyncSession, UUID]]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await profiles.find(db, IdentityKind.USER_ID, "1")
        assert found
        yield db, found


async def test_a_grant_in_a_file_never_lifts_an_unsubscribe(sessions: Sessions) -> None:
    granted = "customer_id,email,consent_email\n1,ada@example.com,granted\n"
    await imported(sessions, "customers", granted)
    async with the_first(sessions) as (db, ada):
        await profiles.consent(
            db, ada, Purpose.EMAIL, ConsentState.DENIED, ConsentSource.ONE_CLICK, datetime.now(UTC)
        )

    assert counts(await imported(sessions, "customers", granted)) == (0, 1, 0)
    assert await consent_now(sessions) == [("denied", "one-click unsubscribe")]


async def test_a_denial_in_a_file_is_taken_and_a_later_file_may_put_it_right(sessions: Sessions) -> None:
    for said in ("granted", "denied", "", "granted"):
        await imported(sessions, "customers", f"customer_id,consent_email\n1,{said}\n")
        assert await consent_now(sessions) == [(said or "denied", "import")]
    [(ended,)] = await asked(sessions, "select count(*) from consents where ended_at is not null")
    assert ended == 2


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("customer_id,email,consent_email,time_zone", "1,,denied,Mars/Olympus"),
        ("customer_id,email,consent_email,time_zone", ",ada@example.com,DENIED,Mars/Olympus"),
        ("customer_id,email,consent_email", "1,bob@example.com,denied"),
    ],
)
async def test_a_row_that_is_refused_for_something_else_still_denies(
    sessions: Sessions, header: str, row: str
) -> None:
    await imported(
        sessions,
        "customers",
        "customer_id,email,consent_email\n1,ada@example.com,granted\n2,bob@example.com,\n",
    )

    run = await uploaded(sessions, "customers", f"{header}\n{row}\n")
    done = await loaded(sessions, run)

    assert counts(done) == (0, 0, 1)
    assert await consent_now(sessions) == [("denied", "import")]
    [(_, _, reason)] = await refused(sessions, run.import_id)
    assert reason.endswith("; its denial of email was taken.")


async def test_a_refused_row_of_nobody_that_we_know_denies_nothing(sessions: Sessions) -> None:
    run = await uploaded(
        sessions, "customers", "customer_id,consent_email,time_zone\n9,denied,Mars/Olympus\n"
    )
    await loaded(sessions, run)

    assert await consent_now(sessions) == []
    [(_, _, reason)] = await refused(sessions, run.import_id)
    assert "denial" not in reason


async def test_orders_add_up_and_the_same_file_again_changes_nothing(sessions: Sessions) -> None:
    await imported(sessions, "customers", TWO)
    first = await imported(sessions, "orders", BOUGHT)
    before = await everything(sessions)
    again = await imported(sessions, "orders", BOUGHT)

    assert counts(first) == (3, 0, 0)
    assert counts(again) == (0, 3, 0)
    assert (await everything(sessions))[:3] == before[:3]
    assert await asked(sessions, ROLLUPS) == [
        (
            "1",
            "USD",
            Decimal("39.1000"),
            2,
            datetime(1997, 1, 1, tzinfo=UTC),
            datetime(1997, 1, 18, tzinfo=UTC),
        ),
        (
            "2",
            "USD",
            Decimal("9.7700"),
            1,
            datetime(1997, 1, 18, tzinfo=UTC),
            datetime(1997, 1, 18, tzinfo=UTC),
        ),
    ]


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
async def test_identical_rows_are_separate_orders_wherever_a_batch_ends(
    sessions: Sessions, batch: int
) -> None:
    header, row, other = (
        "customer_id,ordered_on,quantity,total_usd\n",
        "1,1997-01-01,1,9.77\n",
        "1,1997-01-02,1,5\n",
    )
    await imported(sessions, "customers", TWO)

    assert counts(await imported(sessions, "orders", header + row + other + row, batch=batch)) == (3, 0, 0)
    # A longer file brings what is new in it, and only that.
    assert counts(await imported(sessions, "orders", header + row * 3 + other, batch=batch)) == (1, 3, 0)
    assert counts(await imported(sessions, "orders", header + row * 4, batch=batch)) == (1, 3, 0)
    [ada] = await asked(sessions, ROLLUPS)
    assert ada[2:4] == (Decimal("44.0800"), 5)
    assert await asked(sessions, LEFT_OVERS) == [(0, 0)]


async def test_an_order_of_nobody_is_refused_until_its_customer_is_there(sessions: Sessions) -> None:
    run = await uploaded(sessions, "orders", BOUGHT)
    assert counts(await loaded(sessions, run)) == (0, 0, 3)
    report = await refused(sessions, run.import_id)
    assert report[0][:2] == (2, "customer_id")
    assert "import the customers first" in report[0][2]

    await imported(sessions, "customers", TWO)
    assert counts(await imported(sessions, "orders", BOUGHT)) == (3, 0, 0)


async def test_an_order_with_an_id_is_never_changed_by_a_file(sessions: Sessions) -> None:
    header = "order_id,customer_id,ordered_on,quantity,total_usd\n"
    await imported(sessions, "customers", TWO)
    run = await uploaded(
        sessions,
        "orders",
        f"{header}A-1,1,1997-01-01,1,5\nA-1,1,1997-01-01,1,5.00\nA-1,2,1997-01-01,1,5\nA-2,1,1997-01-01,1,6\n",
    )
    done = await loaded(sessions, run)

    assert counts(done) == (2, 1, 1)
    assert [(line, column) for line, column, _ in await refused(sessions, run.import_id)] == [(4, "order_id")]
    assert [order[0] for order in await asked(sessions, ORDERS)] == ["A-1", "A-2"]


async def test_rows_that_can_not_be_read_or_stored_are_reported_and_the_counts_add_up(
    sessions: Sessions,
) -> None:
    data = (
        b"\xef\xbb\xbfcustomer_id;email;note\r\n"
        b'1;ada@example.com;"two\r\nlines; and a ""quote"""\r\n'
        b"2;bob@example.com;\xff\r\n"
        b"3;eve@example.com;\0\r\n"
        b"\r\n"
        b"4;x;\r\n"
        b"5;;\\N \\t back\\slash\r\n"
        b"6;;;\r\n"
        b'7;;"open\r\n'
        b"8;;=1+1"
    )
    run = await uploaded(sessions, "customers", data, chunk=7)
    done = await loaded(sessions, run)

    assert counts(done) == (3, 0, 5)
    assert [(line, column) for line, column, _ in await refused(sessions, run.import_id)] == [
        (4, "note"),
        (5, "note"),
        (7, "email"),
        (9, "note"),
        (10, "note"),
    ]
    assert [(who, said) for who, _, _, said, *_ in await asked(sessions, PEOPLE)] == [
        ("1", {"note": 'two\r\nlines; and a "quote"'}),
        ("5", {"note": "\\N \\t back\\slash"}),
        ("8", {"note": "=1+1"}),
    ]


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("customers", b"", "is empty"),
        ("customers", b"name\nAda\n", '"customer_id" or "email" is missing'),
        ("orders", b"customer_id,ordered_on,quantity\n", '"total" is missing'),
        ("orders", b"\xff\xfe\0", "UTF-16"),
        ("customers", b"customer_id,\xff\n", "not text in UTF-8"),
    ],
)
async def test_a_file_that_can_not_be_read_fails_as_a_whole_and_says_why(
    sessions: Sessions, kind: str, data: bytes, words: str
) -> None:
    done = await imported(sessions, kind, data)

    assert done.state is ImportState.FAILED
    assert words in (done.reason or "")
    assert await asked(sessions, LEFT_OVERS) == [(0, 0)]


async def test_a_header_alone_is_a_file_without_rows(sessions: Sessions) -> None:
    done = await imported(sessions, "customers", "customer_id,email")

    assert done.state is ImportState.COMPLETED
    assert counts(done) == (0, 0, 0)


async def test_a_line_that_never_ends_costs_one_row(sessions: Sessions) -> None:
    long = b"x" * 600_000
    run = await uploaded(sessions, "customers", b"customer_id\n1\n" + long + b"\r\n2\n", chunk=100_000)
    done = await loaded(sessions, run)

    assert counts(done) == (2, 0, 1)
    assert [line for line, *_ in await refused(sessions, run.import_id)] == [3]


async def test_the_samples_orders_all_come_in(sessions: Sessions) -> None:
    buyers = {row["customer_id"] for row in csv.DictReader(io.StringIO(SAMPLE.decode()))}
    await imported(sessions, "customers", "customer_id\n" + "\n".join(buyers))
    assert counts(await imported(sessions, "orders", SAMPLE, batch=1000)) == (6919, 0, 0)
    assert counts(await imported(sessions, "orders", SAMPLE)) == (0, 6919, 0)
    [(people, bought)] = await asked(sessions, "select count(*), sum(count) from order_rollups")
    assert (people, bought) == (2357, 6919)


MESSY = {
    "customers": "customer_id,email,consent_email,city\n"
    + "".join(
        f"{n % 7},{'ada' if n % 5 == 0 else f'c{n % 11}'}@example.com,"
        f"{('granted', 'denied', '')[n % 3]},Köln {n % 4}\n"
        for n in range(40)
    )
    + "9,broken\n,,,\n",
    "orders": "customer_id,ordered_on,quantity,total_usd\n"
    + "".join(f"{n % 5},1997-01-0{1 + n % 3},1,{n % 2 + 5}.5\n" for n in range(40))
    + "1,1997,1,1\n77,1997-01-01,1,1\n",
}


async def both(sessions: Sessions, chunk: int = 1000, batch: int = 10_000) -> list[list[tuple[Any, ...]]]:
    for kind, data in MESSY.items():
        await loaded(sessions, await uploaded(sessions, kind, data, chunk=chunk), batch=batch)
    return await everything(sessions)


WRITTEN_BY = {
    "customers": ("imports where kind = 'customers'", "consents", "identities", "profiles"),
    "orders": ("imports where kind = 'orders'", "order_rollups", "orders"),
}


async def wiped(sessions: Sessions, *kinds: str) -> None:
    for table in (table for kind in kinds for table in WRITTEN_BY[kind]):
        async with sessions(DEFAULT_WORKSPACE) as db:
            await (await db.connection()).exec_driver_sql(f"delete from {table}")


async def test_chunks_and_batches_make_no_difference(sessions: Sessions) -> None:
    expected = await both(sessions)
    for chunk, batch in ((1, 10_000), (13, 7), (64, 3), (1000, 1)):
        await wiped(sessions, "orders", "customers")
        assert await both(sessions, chunk, batch) == expected


@contextmanager
def dying_at(sessions: Sessions, nth: int) -> Iterator[list[int]]:
    """The process dies at its nth statement or commit from now on. Yields how many there were."""
    engine, seen = sessions._app.sync_engine, [0]

    def die(*_: Any) -> None:
        seen[0] += 1
        if seen[0] == nth:
            raise Died

    event.listen(engine, "before_cursor_execute", die)
    event.listen(engine, "commit", die)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", die)
        event.remove(engine, "commit", die)


class Died(BaseException):
    """Not an error that anybody could catch and mend."""


async def test_a_worker_that_dies_between_any_two_statements_costs_nothing(sessions: Sessions) -> None:
    for kind, data in MESSY.items():  # Customers first; they stay while orders die.
        expected, nth, died = None, 0, True
        while died:
            await wiped(sessions, kind)
            run = await uploaded(sessions, kind, data)
            with dying_at(sessions, nth):
                try:
                    await loaded(sessions, run, batch=25)
                    died = nth == 0  # Nobody dies in the first, which says what is right.
                except Died:
                    pass
            await loaded(sessions, run, batch=25)
            found = await everything(sessions)
            expected = expected or found
            assert found == expected, f"{kind}, statement {nth}"
            nth += 1
        assert nth > 21
    assert expected == await afresh(sessions)


async def afresh(sessions: Sessions) -> list[list[tuple[Any, ...]]]:
    """What both files leave in an empty workspace."""
    await wiped(sessions, "orders", "customers")
    return await both(sessions)


class Forgetful(Sessions):
    """Commits, and loses the database's answer to the nth commit."""

    def __init__(self, sessions: Sessions, nth: int) -> None:
        self._sessions, self._left = sessions, nth

    @asynccontextmanager
    async def __call__(self, workspace_id: UUID, actor: str = "") -> AsyncIterator[AsyncSession]:
        async with self._sessions(workspace_id, actor) as db:
            yield db
        self._left -= 1
        if not self._left:
            raise ConnectionError("The answer to the commit was lost.")


async def test_a_lost_answer_to_any_commit_changes_nothing(sessions: Sessions) -> None:
    expected = await both(sessions, batch=25)
    nth, lost = 0, True
    while lost:
        nth += 1
        await wiped(sessions, "orders")
        run = await uploaded(sessions, "orders", MESSY["orders"])
        try:
            await loaded(Forgetful(sessions, nth), run, batch=25)
            lost = False
        except ConnectionError:
            await loaded(sessions, run, batch=25)
        assert await everything(sessions) == expected
    assert nth > 4


async def test_two_workers_on_one_import_store_every_row_once(sessions: Sessions) -> None:
    await imported(sessions, "customers", TWO)
    data = "customer_id,ordered_on,quantity,total_usd\n" + "1,1997-01-01,1,5\n" * 500
    run = await uploaded(sessions, "orders", data)

    await asyncio.gather(*(loaded(sessions, run, batch=20) for _ in range(3)))

    done = await loaded(sessions, run)
    assert counts(done) == (500, 0, 0)
    assert (await asked(sessions, ROLLUPS))[0][3] == 500


async def test_an_upload_that_nobody_began_or_goes_on_with_is_found(sessions: Sessions) -> None:
    runs = [await uploaded(sessions, "customers", TWO) for _ in range(3)]
    await loaded(sessions, runs[1])
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = await imports.get(db, runs[2].import_id)
        await imports.move(db, row, state=ImportState.RUNNING)

    async with sessions.engine() as db:
        now = await imports.forgotten(db, datetime.now(UTC) - timedelta(minutes=1))
        later = await imports.forgotten(db, datetime.now(UTC) + timedelta(minutes=1))

    assert now == []
    assert {row.id for row in later} == {runs[0].import_id, runs[2].import_id}


async def a_live_flow(sessions: Sessions, event_: str | None = "order placed") -> None:
    """A flow that is live and begins with an order, or by hand alone."""
    trigger = {"kind": "event", "event": event_} if event_ else {"kind": "api"}
    graph = {
        "trigger": trigger,
        "first": "a",
        "steps": {"a": {"kind": "wait", "duration": 60}},
        "reentry": "always",
    }
    async with sessions(DEFAULT_WORKSPACE) as db:
        flow = Flow(
            workspace_id=DEFAULT_WORKSPACE, name="Thanks", slug="thanks", state="live", definition=graph
        )
        db.add(flow)
        await db.flush()
        version = FlowVersion(
            workspace_id=DEFAULT_WORKSPACE, flow_id=flow.id, number=1, definition=graph, templates={}
        )
        db.add(version)
        await db.flush()
        flow.version_id = version.id


ENTERED = "select properties ->> 'total' from enrollments order by 1"


async def test_historical_orders_enroll_nobody_and_live_ones_everybody(sessions: Sessions) -> None:
    await imported(sessions, "customers", TWO)
    await a_live_flow(sessions)
    await a_live_flow(sessions, None)

    await imported(sessions, "orders", BOUGHT)
    assert await asked(sessions, ENTERED) == []

    more = BOUGHT + "2,1997-01-19,1,5\n1,1997-01-20,1,6\n9,1997-01-20,1,7\n"
    done = await imported(sessions, "orders", more, live=True, batch=2)
    assert counts(done) == (2, 3, 1)
    assert await asked(sessions, ENTERED) == [("5.00",), ("6.00",)]
