"""The pump, on real rows of the inbox."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.arrivals import a_pump, arrival, pump, put
from tests.support import GivenClock


async def rows(sessions: Sessions, question: str, **values: Any) -> list[tuple[Any, ...]]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [tuple(row) for row in await db.execute(text(question), values)]


async def who(sessions: Sessions, kind: str, value: str) -> UUID | None:
    found = await rows(
        sessions,
        "select profile_id from identities where kind = :kind and value = :value",
        kind=kind,
        value=value,
    )
    return found[0][0] if found else None


async def test_an_event_makes_the_person_that_it_names(sessions: Sessions, clock: GivenClock) -> None:
    await put(sessions, arrival(name="Page Viewed", email="ada@example.com", properties={"page": "/pricing"}))

    done = await pump(sessions, clock)

    assert (done.arrivals, done.events) == (1, 1)
    ada = await who(sessions, "email", "ada@example.com")
    assert await rows(sessions, "select profile_id, name, properties from events") == [
        (ada, "Page Viewed", {"page": "/pricing"})
    ]
    assert await rows(sessions, "select name, volume, properties from event_names") == [
        ("Page Viewed", 1, {"page": {"string": 1}})
    ]
    async with sessions.engine() as db:
        assert await db.scalar(text("select count(*) from inbox")) == 0


async def test_an_anonymous_visit_becomes_the_persons_who_is_named_on_it(
    sessions: Sessions, clock: GivenClock
) -> None:
    await put(sessions, arrival(anonymous_id="a1", trusted=False))
    await pump(sessions, clock)
    visitor = await who(sessions, "anonymous_id", "a1")
    await put(
        sessions,
        arrival(
            "identify", anonymous_id="a1", email="ada@example.com", trusted=False, properties={"plan": "pro"}
        ),
        arrival(anonymous_id="a1", trusted=False),
    )

    await pump(sessions, clock)

    assert await who(sessions, "email", "ada@example.com") == visitor
    assert await rows(sessions, "select attributes from profiles") == [({"plan": "pro"},)]
    assert await rows(sessions, "select count(*) from events where profile_id = :id", id=visitor) == [(2,)]


async def test_a_visit_of_somebody_known_is_merged_into_them(sessions: Sessions, clock: GivenClock) -> None:
    await put(sessions, arrival(user_id="u1"), arrival(anonymous_id="a1"))
    await pump(sessions, clock)
    known, visitor = await who(sessions, "user_id", "u1"), await who(sessions, "anonymous_id", "a1")
    await put(sessions, arrival("identify", user_id="u1", anonymous_id="a1", trusted=False))

    done = await pump(sessions, clock)

    assert done.merged == 1
    assert await who(sessions, "anonymous_id", "a1") == known
    assert await rows(sessions, "select merged_into from profiles where id = :id", id=visitor) == [(known,)]


async def test_what_is_sent_again_is_counted_once(sessions: Sessions, clock: GivenClock) -> None:
    await put(
        sessions, arrival(email="a@b.example", message_id="m1"), arrival(email="a@b.example", message_id="m1")
    )
    first = await pump(sessions, clock)
    await put(sessions, arrival(email="a@b.example", message_id="m1"))
    second = await pump(sessions, clock)

    assert (first.events, first.repeated, second.events, second.repeated) == (1, 1, 0, 1)


async def test_a_public_key_gives_no_known_person_another_name(sessions: Sessions, clock: GivenClock) -> None:
    await put(sessions, arrival(user_id="u1"))
    await pump(sessions, clock)
    await put(sessions, arrival("identify", user_id="u1", email="evil@example.com", trusted=False))

    await pump(sessions, clock)

    assert await who(sessions, "email", "evil@example.com") is None
    assert await rows(sessions, "select stage, pointer from refusals") == [("name", "/email")]


async def test_poison_is_put_aside_and_its_neighbours_are_worked_in(
    sessions: Sessions, clock: GivenClock
) -> None:
    poison = arrival(email="c@example.com", name="x" * 9000 + "".join(map(chr, range(200, 9000))))
    await put(
        sessions,
        *(arrival(email=f"p{i}@example.com") for i in range(20)),
        poison,
        *(arrival(email=f"q{i}@example.com") for i in range(20)),
    )
    done = await ActivityEnvironment().run(a_pump(sessions, clock).pump)

    assert (done.events, done.quarantined) == (40, 1)
    [(id_, reason)] = await rows(sessions, "select id, reason from quarantine")
    assert id_ == poison["id"]
    assert "index row" in reason
