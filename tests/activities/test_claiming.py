"""Claims that are made while the last one is sent: nobody is lost, written to twice, or held for long."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from psycopg import OperationalError
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities import claiming
from activities.bell import Bell
from activities.slices import Timing
from channels.contract import Envelope, Outcome
from channels.letters import Raw
from channels.null import NullProvider
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries.ledger import Queue
from tests.fragile import Blow, FragileSessions, Killed
from tests.sending import a_campaign, a_sender, a_sender_of, as_json, counted, people, ran, some, states
from tests.support import GivenClock, eventually

BELL = Bell("")  # Nobody rings in these tests.
MANY = [{"channel": "email", "limit": 1000, "period": "day"}]
LEASES = "select cardinality(message_ids) from leases"


@pytest.fixture(autouse=True)
def by_twos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "CLAIM", 2)


async def a_frozen_campaign(sessions: Sessions, n: int = 7) -> Queue:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json(MANY))
        return await a_campaign(db, await people(db, n))


class Watching(NullProvider):
    """Notes what is held under leases whenever it sends, once the second of them is there or can't be."""

    def __init__(self, sessions: Sessions, awaited: int = 2) -> None:
        self._sessions, self._awaited = sessions, awaited
        self.held: list[list[int]] = []
        self.sent: list[Envelope] = []

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        async def enough() -> bool:
            return len(await self._now_held()) >= self._awaited

        if 2 <= len(self.sent) < 4:  # The first of a slice are claimed alone: nobody knows how quick it is.
            await eventually(enough)
        self.held.append(await self._now_held())
        self.sent += batch
        return await super().send(letter, batch)

    async def _now_held(self) -> list[int]:
        async with self._sessions(DEFAULT_WORKSPACE) as db:
            return sorted(await some(db, LEASES))


async def test_the_next_are_claimed_while_the_last_are_sent(sessions: Sessions) -> None:
    queue, provider = await a_frozen_campaign(sessions), Watching(sessions)

    done = await ran(a_sender_of(sessions, provider, BELL).send, queue)

    assert provider.held[:2] == [[2], [2, 2]]
    assert len({envelope.id for envelope in provider.sent}) == len(provider.sent) == done.accepted == 7
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 7}
        assert (await counted(db), await some(db, LEASES)) == (7, [])


async def test_who_sends_slowly_holds_nobody_but_those_whom_it_sends_to(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "QUICK", 0)
    queue, provider = await a_frozen_campaign(sessions), Watching(sessions, awaited=1)

    await ran(a_sender_of(sessions, provider, BELL).send, queue)

    assert provider.held == [[2], [2], [2], [1]]


async def test_what_was_claimed_ahead_goes_back_when_the_worker_leaves(sessions: Sessions) -> None:
    queue, environment = await a_frozen_campaign(sessions), ActivityEnvironment()

    class LastOrders(Watching):
        async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
            outcomes = await super().send(letter, batch)
            if len(self.sent) == 4:
                environment.worker_shutdown()
            return outcomes

    done = await environment.run(a_sender_of(sessions, LastOrders(sessions), BELL).send, queue)

    assert (done.accepted, done.open) == (4, 3)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 4, "queued": 3}
        assert (await counted(db), await some(db, LEASES)) == (4, [])


async def test_a_cancelled_slice_lets_go_of_what_it_had_claimed_ahead(sessions: Sessions) -> None:
    queue, environment = await a_frozen_campaign(sessions), ActivityEnvironment()

    class Cancelled(Watching):
        async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
            outcomes = await super().send(letter, batch)
            if len(self.sent) == 4:
                environment.cancel()
                await asyncio.sleep(0)
            return outcomes

    with pytest.raises(asyncio.CancelledError):
        await environment.run(a_sender_of(sessions, Cancelled(sessions), BELL).send, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 4, "queued": 3}
        assert (await counted(db), await some(db, LEASES)) == (4, [])


async def test_a_slice_that_ends_leaves_nothing_claimed(sessions: Sessions) -> None:
    queue = await a_frozen_campaign(sessions, 40)
    short = Timing(slice=0.3, linger=0, lease=60, reconcile_after=0)

    class Slow(NullProvider):
        async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
            async with sessions(DEFAULT_WORKSPACE) as db:
                await db.execute(text("select pg_sleep(0.05)"))
            return await super().send(letter, batch)

    done = await ran(a_sender_of(sessions, Slow(), BELL, timing=short).send, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": done.accepted, "queued": 40 - done.accepted}
        assert (await counted(db), await some(db, LEASES)) == (done.accepted, [])


class Cancelling(FragileSessions):
    """Has the slice cancelled in the middle of a transaction."""

    def __init__(self, real: Sessions, nth: int, environment: ActivityEnvironment) -> None:
        super().__init__(real, Blow(nth, committed=True, killed=False))
        self._environment = environment

    def _strike(self) -> None:
        self._environment.cancel()


@pytest.mark.parametrize(("n", "rate"), [(5, 0.0), (2, 1e6)])  # Limits take a transaction of their own.
async def test_a_slice_lets_go_of_everybody_wherever_it_is_cancelled(
    sessions: Sessions, n: int, rate: float
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json(MANY))
        audience = await people(db, n)
    nth, before, clock = 1, 0, GivenClock()
    while True:
        clock.move(timedelta(seconds=5))  # There are tokens again.
        async with sessions(DEFAULT_WORKSPACE) as db:
            queue = await a_campaign(db, audience)
        environment = ActivityEnvironment()
        cancelling, sent = Cancelling(sessions, nth, environment), Counting()
        sender = a_sender_of(cancelling, sent, BELL, clock)
        sender.router.workspace_rate = rate
        with suppress(asyncio.CancelledError):
            await environment.run(sender.send, queue)

        async with sessions(DEFAULT_WORKSPACE) as db:
            found = await states(db, queue)
            assert set(found) <= {"accepted", "queued"}, f"cancelled at {nth}: {found}"
            assert found["accepted"] == len(sent.ids)
            before += len(sent.ids)
            assert (await counted(db), await some(db, LEASES)) == (before, [])
        if not cancelling.struck:
            break
        nth += 1


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("killed", [False, True])
async def test_a_sender_may_be_struck_anywhere_while_it_claims_ahead(
    sessions: Sessions, committed: bool, killed: bool
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json(MANY))
        audience = await people(db, 5)
    blow, before = Blow(1, committed, killed), 0
    while True:
        async with sessions(DEFAULT_WORKSPACE) as db:
            queue = await a_campaign(db, audience)
        fragile, sent = FragileSessions(sessions, blow), Counting()
        with suppress(Killed, OperationalError):
            await ran(a_sender_of(fragile, sent, BELL).send, queue)
        async with sessions.engine() as engine:
            await engine.execute(text("update leases set until = clock_timestamp() - interval '1 s'"))
        await ran(a_sender_of(sessions, sent, BELL).send, queue)

        async with sessions(DEFAULT_WORKSPACE) as db:
            found = await states(db, queue)
            before += 5
            assert found.total() == 5
            assert set(found) <= {"accepted", "unknown"}
            assert (await counted(db), await some(db, LEASES)) == (before, [])
        assert len(set(sent.ids)) == len(sent.ids), "somebody got a mail twice"
        assert found["accepted"] <= len(sent.ids) <= 5, "somebody is called accepted and got none"
        if not fragile.struck:
            break
        blow = blow.next()


class Counting(NullProvider):
    def __init__(self) -> None:
        self.ids: list[object] = []

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        self.ids += [envelope.id for envelope in batch]
        return await super().send(letter, batch)
