"""What becomes of the members who wait for a message when it is closed."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.flows import Branch, Step, Wait
from domain.messages import MessageState, Skip, SourceKind
from domain.segments import parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.queries import enrollments_moved, ledger
from models.queries.ledger import Queue, Settled
from models.queries.ways import Move
from tests.people import a_flow, a_journey, a_message
from tests.sending import at, column, people, some

NAP = Wait(duration=timedelta(hours=2))
FORK = Branch(condition=parse({"all": []}))


async def a_waiting_member(db: AsyncSession, **values: Any) -> tuple[tuple[UUID, UUID], UUID]:
    """A live flow in which one member waits for a message, and that message, `values` being columns of it."""
    flow, [person] = await a_flow(db), await people(db, 1)
    await db.execute(text("update flows set state = 'live' where id = :flow"), {"flow": flow[0]})
    journey = await a_journey(db, flow, person, step="hello", visit=1, due_at=None, waiting_for="message")
    known: dict[str, Any] = {
        "queue_id": flow[0],
        "source_id": flow[0],
        "source_kind": "flow",
        "step": "hello",
    }
    known |= {"occasion": journey, "visit": 1, "state": "accepted", **values}
    return flow, await a_message(db, person, **known)


def onward(flow: tuple[UUID, UUID], to: str | None, step: Step | None) -> list[Move]:
    return [Move(DEFAULT_WORKSPACE, flow[0], flow[1], "hello", to, step, None, "the message was closed")]


async def go_on(
    db: AsyncSession, flow: tuple[UUID, UUID], message: UUID, moves: list[Move]
) -> enrollments_moved.GoneOn:
    return await enrollments_moved.go_on(db, DEFAULT_WORKSPACE, flow[0], [message], moves, at(1))


async def place(db: AsyncSession) -> tuple[Any, ...]:
    asked = "select step, due_at, waiting_for, ended_at, outcome from enrollments"
    return tuple((await db.execute(text(asked))).one())


@pytest.mark.parametrize("state", ["accepted", "failed", "skipped", "unknown"])
async def test_who_waits_for_a_message_goes_on_when_it_is_closed(db: AsyncSession, state: str) -> None:
    reason = Skip.CAPPED if state == "skipped" else None
    flow, message = await a_waiting_member(db, state=state, reason=reason)
    moves = onward(flow, "nap", NAP)

    assert await go_on(db, flow, message, moves) == (1, at(3))
    assert await place(db) == ("nap", at(3), None, None, None)
    assert await go_on(db, flow, message, moves) == (0, None)


async def test_whose_last_message_is_closed_has_finished_and_history_says_so(db: AsyncSession) -> None:
    flow, message = await a_waiting_member(db)

    assert await go_on(db, flow, message, onward(flow, None, None)) == (1, None)
    assert await place(db) == ("end", None, None, at(1), "finished")
    [history] = await some(db, "select history from enrollments")
    assert history == [["2026-03-02T13:00:00Z", "hello", "end", "the message was closed"]]


async def test_who_comes_to_a_branch_is_due_there_at_once(db: AsyncSession) -> None:
    flow, message = await a_waiting_member(db)

    assert await go_on(db, flow, message, onward(flow, "clicked?", FORK)) == (1, at(1))
    assert await place(db) == ("clicked?", at(1), None, None, None)


@pytest.mark.parametrize("state", ["paused", "archived"])
async def test_nobody_goes_on_while_the_flow_is_not_live(db: AsyncSession, state: str) -> None:
    flow, message = await a_waiting_member(db)
    await db.execute(text(f"update flows set state = '{state}'"))

    assert await go_on(db, flow, message, onward(flow, None, None)) == (1, at(1))
    assert await place(db) == ("hello", at(1), None, None, None)
    assert await some(db, "select jsonb_array_length(history) from enrollments") == [0]


async def test_who_has_no_way_here_is_due_where_they_are(db: AsyncSession) -> None:
    flow, message = await a_waiting_member(db)
    of_another_version = onward((flow[0], uuid4()), "nap", NAP)

    assert await go_on(db, flow, message, of_another_version) == (1, at(1))
    assert await place(db) == ("hello", at(1), None, None, None)


@pytest.mark.parametrize(
    ("becomes", "freed", "member", "due", "turns"),
    [
        (MessageState.ACCEPTED, (1, at(3)), ("nap", at(3), None, None, None), [at(3)], 0),
        (MessageState.QUEUED, (0, None), ("hello", None, "message", None, None), [], 1),
    ],
)
async def test_the_statement_that_settles_a_message_lets_its_member_go_on_if_it_closes_it(
    db: AsyncSession, becomes: MessageState, freed: object, member: object, due: object, turns: int
) -> None:
    flow, message = await a_waiting_member(db, state="sending")
    moves, queue = onward(flow, "nap", NAP), Queue(DEFAULT_WORKSPACE, flow[0], SourceKind.FLOW)
    attempt = await column(db, "attempt", message)
    settling = ledger.settling(queue, attempt, [Settled(message, becomes)], at(0), at(0))

    first, gone = await db.execute(*enrollments_moved.settling(settling, flow[0], moves, at(1)))
    assert first[:2] == (message, becomes)
    assert await enrollments_moved.went_on(db, gone, at(1)) == freed
    assert await place(db) == member
    assert await some(db, "select due_at from agenda") == due
    assert await some(db, "select message_id from queue") == [message] * turns


@pytest.mark.parametrize(
    "other",
    [
        {"state": "queued"},
        {"visit": 2},  # An earlier or later pass of a loop.
        {"step": "another"},
        {"source_kind": "campaign"},
        {"occasion": uuid4()},
    ],
)
async def test_no_other_message_lets_anybody_go(db: AsyncSession, other: dict[str, object]) -> None:
    flow, message = await a_waiting_member(db, **other)

    assert await go_on(db, flow, message, onward(flow, None, None)) == (0, None)
    assert await place(db) == ("hello", None, "message", None, None)
