"""How people go through flows is told to the webhooks that ask: who enters, goes on, and is through."""

from typing import Any
from uuid import UUID

import pytest

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.activities.test_flows import Site
from tests.announcing import listening, types, were_told
from tests.arrivals import arrival, pump, put
from tests.calling import answered, call, posted
from tests.sending import a_segment, clicked, ran, send, wait

MEMBERS = "flow.entered", "flow.moved", "flow.finished"


def a_way(template: UUID) -> dict[str, Any]:
    return {
        "hello": send(template, "nap"),
        "nap": wait(60, "clicked?"),
        "clicked?": clicked("hello", None, "again"),
        "again": send(template, "late"),
        "late": wait(60),
    }


async def test_each_move_is_told_once_from_the_entry_to_the_end(sessions: Sessions) -> None:
    await listening(sessions, *MEMBERS)
    site = Site(sessions)
    [member] = await site.begin(a_way, "hello")
    await site.enroll(member)  # Who is in already does not enter again.
    for _ in range(3):
        await site.send()
        await site.advance(61)
    await site.advance(61)

    found = await were_told(sessions)

    assert {data["profile_id"] for _, data in found} == {str(member)}
    assert [(type_.partition(".")[2], data["from_step"], data["step"]) for type_, data in found] == [
        ("entered", None, "start"),
        ("moved", "start", "hello"),
        ("moved", "hello", "nap"),
        ("moved", "nap", "clicked?"),
        ("moved", "clicked?", "again"),
        ("moved", "again", "late"),
        ("finished", "late", "end"),
    ]
    assert found[4][1]["why"] == "the condition was not met"
    assert [data["outcome"] for _, data in found] == [None] * 6 + ["finished"]


async def test_who_enters_by_an_event_is_told_of_with_the_first_wait(sessions: Sessions) -> None:
    await listening(sessions, *MEMBERS)
    site = Site(sessions)
    await site.begin(
        lambda _: {"nap": wait(60)},
        "nap",
        0,
        trigger={"kind": "event", "event": "signed up"},
        reentry="always",
    )
    await put(sessions, *(arrival(name="signed up", user_id=who) for who in ("u1", "u2", "u1")))
    await pump(sessions, site.clock)

    found = await were_told(sessions)

    assert types(found) == ["flow.entered"] * 3 + ["flow.moved"] * 3
    assert [data["user_id"] for _, data in found] == ["u1", "u2", "u1"] * 2
    assert len({data["enrollment_id"] for _, data in found}) == 3


async def test_who_enters_by_a_segment_and_whose_journey_an_archive_ends_is_told_of(
    sessions: Sessions,
) -> None:
    await listening(sessions, "flow.entered", "flow.finished")
    site = Site(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        segment = await a_segment(db)
    await site.begin(
        lambda _: {"nap": wait(60)}, "nap", 2, trigger={"kind": "segment", "segment_id": str(segment)}
    )
    await site.publish()
    await site.advance()
    await ran(site.acts.archive, site.flow)
    await ran(site.acts.end_journeys, site.flow)

    found = await were_told(sessions)

    assert types(found) == ["flow.entered"] * 2 + ["flow.finished"] * 2
    assert [(data["step"], data["outcome"]) for _, data in found[2:]] == [("nap", "archived")] * 2


async def test_who_goes_on_by_a_callback_is_told_of_with_what_it_said(sessions: Sessions) -> None:
    webhook = await listening(sessions, *MEMBERS)
    site = Site(sessions)
    await site.begin(
        lambda _: {"ask": call(webhook, then="well", otherwise="ill"), "well": wait(60), "ill": wait(60)},
        "ask",
        3,
    )
    await site.advance()
    [said] = await posted(sessions)
    await were_told(sessions)
    well, ill, _ = (each["member"] for each in said["members"])

    await answered(sessions, site.clock, said, well)
    await answered(sessions, site.clock, said, ill, outcome="failed", reason="Nothing is known of them.")
    assert await were_told(sessions) == []
    await site.advance()
    await site.advance(3600)

    found = await were_told(sessions)
    moved = [data for type_, data in found if type_ == "flow.moved"]
    assert sorted((data["from_step"], data["step"], data["why"]) for data in moved) == [
        ("ask", "ill", "no callback came in time"),
        ("ask", "ill", "the callback said failed"),
        ("ask", "well", "the callback said done"),
    ]
    assert {data["why"]: data["enrollment_id"] for data in moved}["the callback said done"] == well


@pytest.mark.parametrize("asked", [(), ("message.*",)])
async def test_where_nobody_asks_for_members_nothing_is_written(
    sessions: Sessions, asked: tuple[str, ...]
) -> None:
    if asked:
        await listening(sessions, *asked)
    site = Site(sessions)
    await site.begin(lambda _: {"nap": wait(60)}, "nap")
    await site.advance()
    await site.advance(61)

    assert await were_told(sessions) == []
    assert await site.places() == {"finished": 1}
