"""How soon somebody who changed is where they belong: the worker at work, and changes that come in steadily.

The changes go into the inbox as the tracking API writes them: traits of an identify, by COPY, a commit every
20 ms. Everybody who is told of is on the free plan and moves to the pro plan, and so into the first segment;
all twelve are kept meanwhile. What a person waits is counted from the answer to that commit to the moment at
which a look finds them among the members, one look every 20 ms. Afterwards all is put back as it was made.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import psycopg

from bench.segments_rows import NOW
from bench.stack import expect
from domain.arrivals import Arrived
from domain.events import EventKind
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import inbox

RATE = 500  # Changes a second.
EVERY = 0.02  # Seconds.
PATIENCE = 30.0

_SET_ASIDE = """
    create table made_up.before as
    select n, p.id, p.attributes, p.attributes_at, p.updated_at
    from (
        select n, made_up.person(n) as id from generate_series(1, %(people)s::bigint, 2) n
        where not made_up.is_alias(n)
    ) asked
    join profiles p using (id)
    where p.attributes ->> 'plan' = 'free' order by made_up.chance(n, 130) limit %(many)s
"""
# Whatever the worker wrote bears a time of `NOW` or later.
_PUT_BACK = (
    "truncate inbox, seen, segment_members",
    "delete from events where received_at >= %(now)s",
    "delete from segments where name <> 'Nobody'",
)
_PUT_PEOPLE_BACK = (
    """
    update profiles p set attributes = b.attributes, attributes_at = b.attributes_at,
        updated_at = b.updated_at
    from made_up.before b where b.id = p.id
    """,
    """
    update profile_values v set text = b.attributes ->> 'plan'
    from made_up.before b where b.id = v.profile_id and v.attribute = 'plan'
    """,
    "drop table made_up.before",
    "vacuum (analyze) events, profiles, profile_values",
)


def set_aside(db: psycopg.Connection, people: int, many: int) -> dict[UUID, int]:
    """Remember how those are who are to change: their ids, and by which number their address is made."""
    db.execute(_SET_ASIDE, {"people": people, "many": many})
    rows = db.execute("select id, n from made_up.before order by made_up.chance(n, 131)").fetchall()
    found: dict[UUID, int] = dict(rows)
    expect(len(found) == many, f"only {len(found):,} people can change, and {many:,} were to")
    return found


def put_back(db: psycopg.Connection) -> None:
    """Undo what a run did, also one that was broken off."""
    aside = db.execute("select to_regclass('made_up.before')").fetchone() != (None,)
    for statement in (*_PUT_BACK, *(_PUT_PEOPLE_BACK if aside else ())):
        db.execute(statement, {"now": NOW} if "%(" in statement else None)


async def freshness(sessions: Sessions, url: str, changing: dict[UUID, int], segment_id: UUID) -> list[float]:
    """Milliseconds that each of these waited until they were members, the shortest first."""
    told: dict[UUID, float] = {}
    waits: list[float] = []
    watching = asyncio.create_task(watch(url, segment_id, len(changing), told, waits))
    await tell(sessions, list(changing.items()), told)
    try:
        async with asyncio.timeout(PATIENCE):
            await watching
    except TimeoutError:
        expect(False, f"{len(changing) - len(waits):,} of {len(changing):,} people never became members")
    return sorted(waits)


async def tell(sessions: Sessions, changing: Sequence[tuple[UUID, int]], told: dict[UUID, float]) -> None:
    """Write so many changes a second into the inbox, and note when each was durable."""
    began, sent = time.perf_counter(), 0
    while sent < len(changing):
        elapsed = time.perf_counter() - began
        due = changing[sent : min(len(changing), int(elapsed * RATE) + 1)]
        at = NOW + timedelta(seconds=elapsed)
        received = inbox.microseconds(at)
        rows = [inbox.row(DEFAULT_WORKSPACE.bytes, at, received, True, change(n, at)) for _, n in due]
        async with sessions.engine_batch() as db:
            await inbox.write(db, rows)
        told |= dict.fromkeys((person for person, _ in due), time.perf_counter())
        sent += len(due)
        await asyncio.sleep(EVERY)


def change(n: int, at: datetime) -> Arrived:
    return Arrived(EventKind.IDENTIFY, False, at, email=f"p{n}@example.com", properties=b'{"plan": "pro"}')


async def watch(url: str, segment_id: UUID, many: int, told: dict[UUID, float], waits: list[float]) -> None:
    """Look for those who were told of until all are members."""
    asked = "select profile_id from segment_members where segment_id = %s and profile_id = any(%s)"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        while len(waits) < many:
            if waiting := list(told):
                found = await (await db.execute(asked, [segment_id, waiting])).fetchall()
                now = time.perf_counter()
                waits += [1000 * (now - told.pop(person)) for (person,) in found]
            await asyncio.sleep(EVERY)
