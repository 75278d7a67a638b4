"""202 means durable, whatever becomes of the database, of neighbours, and of who asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from starlette.types import Message

from api.ingest.inbox import Fate, Inbox
from api.tracking.storage import Storage
from domain.arrivals import Arrived
from domain.events import EventKind
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import inbox
from tests.api.sending import ADA, a_key, arrivals, let_postgresql_refuse, served
from tests.databases import Database
from tests.people import NOON
from tests.relay import Relay
from tests.support import eventually

EVENT = {**ADA, "name": "x"}
NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:9/nothing"


def a_row(name: str = "x") -> bytes:
    arrived = Arrived(EventKind.TRACK, False, NOON, name=name, user_id="u")
    return inbox.row(DEFAULT_WORKSPACE.bytes, NOON, inbox.microseconds(NOON), True, arrived)


@asynccontextmanager
async def by_way_of(database: Database) -> AsyncIterator[tuple[Sessions, Relay]]:
    """Transactions whose network can be cut."""
    relay = Relay(database.url)
    await relay.mend()
    sessions = Sessions(relay.url(database.url), relay.url(database.engine_url))
    try:
        yield sessions, relay
    finally:
        await sessions.close()
        relay.cut()


@contextmanager
def locked(database: Database) -> Iterator[Callable[[], Awaitable[bool]]]:
    """Nothing can be stored meanwhile. What is given tells whether somebody tries to."""
    with psycopg.connect(database.admin_url.replace("+psycopg", "")) as holder:
        holder.execute("lock table inbox in exclusive mode")

        async def somebody_waits() -> bool:
            waiting = holder.execute("select exists (select from pg_locks where not granted)").fetchone()
            return waiting == (True,)

        yield somebody_waits


async def test_without_a_database_nothing_is_claimed() -> None:
    gone = Sessions(NOWHERE, NOWHERE)
    async with served(gone, "pk_" + 43 * "x", patience=0.1) as (client, _, _):
        for path, body in (("/track", EVENT), ("/v1/batch", {"batch": [EVENT]})):
            answer = await client.post(path, json=body)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "2"
            assert answer.json()["type"] == "urn:campanile:problem:unavailable"
    await gone.close()


async def test_a_database_that_was_away_is_found_again(sessions: Sessions, database: Database) -> None:
    key = await a_key(sessions)
    async with by_way_of(database) as (cuttable, relay), served(cuttable, key, patience=0.2) as (site, _, _):
        assert (await site.post("/track", json=EVENT)).status_code == 202
        relay.cut()
        answers = await asyncio.gather(*(site.post("/track", json=EVENT) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {503}
        await relay.mend()

        async def answers_again() -> bool:
            return (await site.post("/track", json={**EVENT, "name": "again"})).status_code == 202

        await eventually(answers_again)
    assert arrivals(database, "name") == ["x", "again"]


async def test_a_short_absence_of_the_database_costs_nobody_anything(
    sessions: Sessions, database: Database
) -> None:
    key = await a_key(sessions)
    async with by_way_of(database) as (cuttable, relay), served(cuttable, key) as (site, _, _):
        await site.post("/track", json=EVENT)
        relay.cut()
        sent = [asyncio.create_task(site.post("/track", json=EVENT)) for _ in range(10)]
        await asyncio.sleep(0.3)
        await relay.mend()
        assert {answer.status_code for answer in await asyncio.gather(*sent)} == {202}
    assert len(arrivals(database)) == 11


async def test_a_commit_whose_answer_was_lost_is_repeated_and_nothing_is_there_twice(
    sessions: Sessions, database: Database
) -> None:
    rows = [a_row(f"n{n}") for n in range(5)]
    async with sessions.glance() as db:
        await inbox.write(db, rows[:3])
    assert await Inbox(sessions, Storage()).put(rows) == ()
    assert await Inbox(sessions, Storage()).put(rows) == ()
    assert arrivals(database, "name") == [f"n{n}" for n in range(5)]


async def test_poison_beside_what_is_there_already_is_found_all_the_same(
    sessions: Sessions, database: Database
) -> None:
    let_postgresql_refuse(database, "poison")
    rows = [a_row("poison" if n in (0, 5, 6) else f"n{n}") for n in range(9)]
    async with sessions.glance() as db:
        await inbox.write(db, rows[1:3])
    fates = await Inbox(sessions, Storage()).put(rows)
    assert [n for n, fate in enumerate(fates) if fate is Fate.REFUSED] == [0, 5, 6]
    assert arrivals(database, "name") == ["n1", "n2", "n3", "n4", "n7", "n8"]


async def test_a_client_that_hangs_up_harms_nobody_and_is_stored_all_the_same(
    sessions: Sessions, database: Database
) -> None:
    waiting = Inbox(sessions, Storage())
    puts = [asyncio.create_task(waiting.put([a_row(f"n{n}")])) for n in range(10)]
    await asyncio.sleep(0)
    for n in (0, 4, 9):
        puts[n].cancel()
    done = await asyncio.gather(*puts, return_exceptions=True)
    assert [n for n, each in enumerate(done) if isinstance(each, asyncio.CancelledError)] == [0, 4, 9]
    assert [each for each in done if not isinstance(each, BaseException)] == 7 * [()]
    await waiting.close()
    assert arrivals(database, "name") == [f"n{n}" for n in range(10)]


async def test_who_leaves_in_the_middle_of_a_body_is_not_taken_at_their_word(
    sessions: Sessions, database: Database
) -> None:
    key = await a_key(sessions)
    whole = b'{"email": "ada@shop.example", "name": "x"}'
    said: list[Message] = [
        {"type": "http.request", "body": whole, "more_body": True},
        {"type": "http.disconnect"},
    ]
    answered: list[Any] = []

    async def receive() -> Message:
        return said.pop(0)

    async def send(message: Message) -> None:
        answered.append(message)

    headers = [(b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/track", "headers": headers}
    async with served(sessions) as (_, _, app):
        await app(scope, receive, send)
    assert answered == []
    assert arrivals(database) == []


async def test_hundreds_at_once_are_stored_by_few_commits_in_their_order(
    sessions: Sessions, database: Database
) -> None:
    async with served(sessions, await a_key(sessions)) as (site, _, _):
        with locked(database) as somebody_stores:
            asking = [
                asyncio.create_task(site.post("/track", json={**EVENT, "properties": {"n": n}}))
                for n in range(500)
            ]
            await eventually(somebody_stores)
        answers = await asyncio.gather(*asking)
    assert {answer.status_code for answer in answers} == {202}
    with psycopg.connect(database.engine_url.replace("+psycopg", "")) as db:
        [commits] = db.execute("select count(distinct xmin::text) from inbox").fetchone() or [0]
    assert commits < 100
    assert arrivals(database, "(properties->>'n')::int") == [*range(500)]


async def test_more_than_may_wait_are_sent_back(sessions: Sessions, database: Database) -> None:
    async with served(sessions, await a_key(sessions), room=5) as (site, _, _):
        await site.post("/track", json=EVENT)
        with locked(database):
            asking = [asyncio.create_task(site.post("/track", json=EVENT)) for _ in range(50)]

            async def somebody_is_answered() -> bool:
                return any(each.done() for each in asking)

            await eventually(somebody_is_answered)
        answers = await asyncio.gather(*asking)
        full = [answer for answer in answers if answer.status_code == 503]
        assert full
        assert {answer.headers["retry-after"] for answer in full} == {"1"}
        batch = {"events": 6 * [EVENT]}
        assert (await site.post("/track/batch", json=batch)).status_code == 503
    assert len(arrivals(database)) == 51 - len(full)


async def test_bytes_are_counted_as_well_as_events(sessions: Sessions) -> None:
    small = Inbox(sessions, Storage(), room_bytes=1_000)
    tasks = [asyncio.create_task(small.put([a_row("x" * 100)])) for _ in range(50)]
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert 0 < sum(each == () for each in done) < 50


async def test_what_waits_is_stored_before_the_server_stops(sessions: Sessions, database: Database) -> None:
    waiting = Inbox(sessions, Storage())
    tasks = [asyncio.create_task(waiting.put([a_row()])) for _ in range(20)]
    await asyncio.sleep(0)
    await waiting.close()
    assert all(task.done() for task in tasks)
    assert len(arrivals(database)) == 20


async def test_a_table_that_is_gone_is_nobodys_poison(sessions: Sessions, database: Database) -> None:
    with psycopg.connect(database.admin_url.replace("+psycopg", "")) as db:
        db.execute("alter table inbox rename to elsewhere")
    async with served(sessions, await a_key(sessions), patience=0.1) as (site, _, _):
        assert (await site.post("/track", json=EVENT)).status_code == 503


async def test_the_ids_of_one_process_rise(sessions: Sessions) -> None:
    rows = [a_row() for _ in range(20_000)]
    assert sorted(rows, key=lambda row: row[26:42]) == rows
