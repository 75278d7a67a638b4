"""The pump, on real rows of the inbox."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text
from temporalio.testing import ActivityEnvironment

from activities.ingest import Spoilt
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import segments_written, taken
from tests.arrivals import a_pump, arrival, look, pump, put
from tests.people import another_workspace
from tests.support import GivenClock
from tests.walls import contents


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


def everything() -> list[dict[str, Any]]:
    """A batch in which everything happens that a batch can do."""
    order = {"key": "o1", "total": "10.00", "currency": "USD", "quantity": 1}
    return [
        arrival(
            "identify", user_id="u1", email="ada@example.com", properties={"plan": "pro"}, message_id="m1"
        ),
        arrival(anonymous_id="a1", trusted=False),
        arrival("identify", user_id="u1", anonymous_id="a1", consents={"email": "granted"}),
        arrival("order", user_id="u1", properties=order),
        arrival("order change", properties={"key": "o1", "refunded": "4.00"}),
        arrival("page", name="page viewed", user_id="u2", message_id="m2"),
        arrival("page", name="page viewed", user_id="u2", message_id="m2"),
        arrival("alias", user_id="u2", properties={"previous_id": "u3"}),
        arrival(user_id="u3", historical=True),
    ]


async def outcome(sessions: Sessions) -> list[tuple[Any, ...]]:
    return await rows(
        sessions,
        """
        select (select count(*) from profiles where merged_into is null), (select count(*) from identities),
            (select count(*) from events where kind <> 'system'), (select count(*) from orders),
            (select sum(total) from order_rollups), (select sum(volume) from event_names),
            (select count(*) from consents), (select count(*) from seen),
            (select count(*) from segment_members), (select count(*) from events where kind = 'system')
        """,
    )


async def a_segment_of_pros(sessions: Sessions, clock: GivenClock) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        rule = {"kind": "attribute", "name": "plan", "op": "is", "value": "pro"}
        await segments_written.create(db, DEFAULT_WORKSPACE, "Pros", rule)
    await look(sessions, clock)


class Killed(Exception):
    pass


async def test_a_pump_that_dies_between_any_two_statements_loses_and_doubles_nothing(
    sessions: Sessions, clock: GivenClock
) -> None:
    await a_segment_of_pros(sessions, clock)
    await put(sessions, *everything())
    executed = 0
    fatal = 1

    def kill(*_: object) -> None:
        nonlocal executed
        executed += 1
        if executed == fatal:
            raise Killed

    engine = sessions._pumps.sync_engine
    event.listen(engine, "after_cursor_execute", kill)
    survived = False
    while not survived:
        executed = 0
        try:
            done = await pump(sessions, clock)
            survived = True
        except Killed:
            fatal += 1
    event.remove(engine, "after_cursor_execute", kill)
    again = await pump(sessions, clock)

    assert fatal > 25
    assert (done.arrivals, again.arrivals) == (9, 0)
    assert await outcome(sessions) == [(2, 6, 3, 1, Decimal(6), Decimal(3), 1, 2, 1, 1)]


async def test_the_same_comes_out_however_the_inbox_is_cut(sessions: Sessions, clock: GivenClock) -> None:
    await a_segment_of_pros(sessions, clock)
    await put(sessions, *everything())

    while (await pump(sessions, clock, batch=2)).arrivals:
        pass

    assert await outcome(sessions) == [(2, 6, 3, 1, Decimal(6), Decimal(3), 1, 2, 1, 1)]


async def test_a_second_pump_leaves_a_workspace_to_the_first(sessions: Sessions, clock: GivenClock) -> None:
    await put(sessions, arrival(user_id="u1"))
    async with sessions.pump(DEFAULT_WORKSPACE) as first:
        assert await taken.lock(first, DEFAULT_WORKSPACE)
        assert (await pump(sessions, clock)).arrivals == 0
    assert (await pump(sessions, clock)).arrivals == 1


async def test_an_old_identify_fills_in_what_is_missing_and_changes_nothing(
    sessions: Sessions, clock: GivenClock
) -> None:
    new = {"plan": "pro", "gone": None}
    await put(
        sessions,
        arrival("identify", user_id="u1", properties=new, occurred_at=clock.now()),
        arrival(
            "identify",
            user_id="u1",
            properties={"plan": "free", "city": "Oslo"},
            occurred_at=clock.now() - timedelta(days=1),
        ),
    )
    await pump(sessions, clock, batch=1)
    await pump(sessions, clock, batch=1)

    assert await rows(sessions, "select attributes from profiles") == [({"plan": "pro", "city": "Oslo"},)]


async def test_a_secret_key_may_grant_and_the_visitors_own_no_outlives_it(
    sessions: Sessions, clock: GivenClock
) -> None:
    async def current() -> list[tuple[Any, ...]]:
        return await rows(sessions, "select purpose, state, source from consents where ended_at is null")

    await put(sessions, arrival("identify", user_id="u1", consents={"email": "granted"}))
    await pump(sessions, clock)
    granted = await current()
    await put(sessions, arrival("identify", user_id="u1", consents={"email": "denied"}, trusted=False))
    await pump(sessions, clock)
    await put(sessions, arrival("identify", user_id="u1", consents={"email": "granted"}))
    await pump(sessions, clock)

    assert granted == [("email", "granted", "api")]
    assert await current() == [("email", "denied", "person")]


async def test_time_zone_locale_and_country_are_known_by_their_names(
    sessions: Sessions, clock: GivenClock
) -> None:
    good = {"timezone": "Europe/Oslo", "locale": "nb_NO", "country": "no"}
    bad = {"timezone": "Mars/Olympus", "locale": "???", "country": "Norway"}
    await put(
        sessions,
        arrival("identify", user_id="u1", properties=good),
        arrival("identify", user_id="u2", properties=bad),
    )
    await pump(sessions, clock)

    assert await rows(sessions, "select time_zone, locale, country from profiles order by time_zone") == [
        ("Europe/Oslo", "nb-NO", "NO"),
        (None, None, None),
    ]


async def test_another_workspace_in_which_the_same_happened_is_left_alone(
    sessions: Sessions, clock: GivenClock
) -> None:
    """The pump is the engine, and sees beyond the wall."""
    other = await another_workspace(sessions)
    await put(sessions, *(each | {"workspace_id": other} for each in everything()))
    await pump(sessions, clock, other)
    before = await contents(sessions, other)
    await a_segment_of_pros(sessions, clock)
    await put(sessions, *everything())

    await pump(sessions, clock)

    assert await contents(sessions, other) == before
    assert await outcome(sessions) == [(2, 6, 3, 1, Decimal(6), Decimal(3), 1, 2, 1, 1)]


async def test_what_was_written_again_after_a_lost_answer_is_worked_in_once(
    sessions: Sessions, clock: GivenClock
) -> None:
    event = arrival(user_id="u1")
    await put(sessions, event)
    await pump(sessions, clock)
    await put(sessions, event, arrival(user_id="u2"))

    done = await ActivityEnvironment().run(a_pump(sessions, clock).pump)

    assert (done.events, done.repeated, done.quarantined) == (1, 1, 0)
    assert await rows(sessions, "select count(*), sum(volume) from events, event_names") == [(2, Decimal(4))]


async def test_a_yes_of_long_ago_does_not_undo_a_no_of_today(sessions: Sessions, clock: GivenClock) -> None:
    long_ago = clock.now() - timedelta(days=2000)
    await put(
        sessions,
        arrival("identify", user_id="u1", consents={"email": "denied"}),
        arrival(
            "identify", user_id="u1", consents={"email": "granted"}, occurred_at=long_ago, historical=True
        ),
    )
    await pump(sessions, clock, batch=1)
    await pump(sessions, clock, batch=1)

    assert await rows(sessions, "select state from consents where ended_at is null") == [("denied",)]


async def test_a_public_key_can_not_use_up_a_servers_message_id(
    sessions: Sessions, clock: GivenClock
) -> None:
    await put(
        sessions,
        arrival(anonymous_id="a1", message_id="payment-1", trusted=False),
        arrival(user_id="u1", message_id="payment-1"),
    )

    done = await pump(sessions, clock)

    assert (done.events, done.repeated) == (2, 0)


@pytest.mark.parametrize("batch", [1, 100])
async def test_late_identifies_count_alike_however_the_inbox_is_cut(
    sessions: Sessions, clock: GivenClock, batch: int
) -> None:
    def said(days: int, **traits: Any) -> dict[str, Any]:
        at = clock.now() - timedelta(days=days)
        return arrival("identify", user_id="u1", properties=traits, occurred_at=at)

    await put(
        sessions,
        said(1, city="Bergen", gone="x", back="x"),
        said(30, city="Oslo", shoe=41),
        said(0, gone=None, back=None, plan="pro"),
        said(20, shoe=42, back="y"),
    )
    while (await pump(sessions, clock, batch=batch)).arrivals:
        pass

    assert await rows(sessions, "select attributes from profiles") == [
        ({"city": "Bergen", "shoe": 41, "plan": "pro", "back": "y"},)
    ]


@pytest.mark.parametrize("batch", [1, 100])
async def test_what_history_did_is_not_taken_for_what_somebody_does_now(
    sessions: Sessions, clock: GivenClock, batch: int
) -> None:
    await a_segment_of_pros(sessions, clock)
    await put(sessions, arrival(user_id="u1"), arrival(user_id="u2"))
    await pump(sessions, clock)
    await put(
        sessions,
        arrival("identify", user_id="u1", properties={"plan": "pro"}, historical=True),
        arrival("identify", user_id="u1", properties={"city": "Oslo"}),
        arrival("identify", user_id="u2", properties={"city": "Oslo"}, historical=True),
        arrival("identify", user_id="u2", properties={"plan": "pro"}),
    )
    while (await pump(sessions, clock, batch=batch)).arrivals:
        pass

    told = "select i.value, e.name from events e join identities i using (profile_id) where e.kind = 'system'"
    assert await rows(sessions, told) == [("u2", "segment entered")]
    assert await rows(sessions, "select count(*) from segment_members") == [(2,)]


async def test_attributes_beyond_what_a_profile_may_have_are_left_out_and_noted(
    sessions: Sessions, clock: GivenClock
) -> None:
    await put(
        sessions,
        arrival("identify", user_id="u1", properties={"plan": "pro"}),
        arrival("identify", user_id="u2", properties={f"a{n}": n for n in range(501)}),
    )
    await pump(sessions, clock)

    assert await rows(sessions, "select attributes from profiles order by attributes <> '{}'") == [
        ({},),
        ({"plan": "pro"},),
    ]
    assert await rows(sessions, "select stage, pointer from refusals") == [("field", "/traits")]


async def test_an_innocent_that_came_in_between_is_not_put_aside(
    sessions: Sessions, clock: GivenClock
) -> None:
    early = arrival(user_id="innocent")
    await put(sessions, arrival(user_id="u1", name="x" * 9000 + "".join(map(chr, range(200, 9000)))))
    with pytest.raises(Spoilt) as spoilt:
        await pump(sessions, clock, batch=1)
    await put(sessions, early)

    assert spoilt.value.arrival_id not in (None, early["id"])
    done = await ActivityEnvironment().run(a_pump(sessions, clock).pump)
    assert (done.events, done.quarantined) == (1, 1)
