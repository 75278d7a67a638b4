"""Die anywhere: wherever a worker is killed or loses its connection, nobody is lost and nobody gets two.

Each test strikes the first transaction of the work, then does it all again and strikes the second, and so on
until there is none left to strike; each time another worker finishes what was begun.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import OperationalError
from sqlalchemy import text

import activities.campaigns
from activities.bell import Bell
from activities.campaigns import CampaignActivities, CampaignRef
from activities.flows import FlowActivities, FlowRef
from activities.slices import Interrupted
from channels.contract import Envelope, Outcome
from channels.letters import Raw
from channels.null import NullProvider
from channels.smtp import SmtpProvider
from domain.campaigns import CampaignState
from domain.messages import SourceKind
from domain.workspaces import DEFAULT_WORKSPACE
from lab.smtp import SmtpLab
from models.base import Sessions
from models.queries.ledger import Queue
from tests.fragile import Blow, FragileProvider, FragileSessions, Killed
from tests.sending import (
    CALLER,
    NOW,
    PATIENT,
    a_campaign,
    a_draft,
    a_flow,
    a_graph,
    a_segment,
    a_sender,
    a_sender_of,
    a_template,
    as_json,
    clicked,
    counted,
    people,
    published,
    ran,
    send,
    some,
    states,
    wait,
)
from tests.support import GivenClock

MANY = [{"channel": "email", "limit": 1000, "period": "day"}]
BLOWS = [
    pytest.param(committed, killed, id=f"{'killed' if killed else 'cut off'} {when} a commit")
    for killed in (True, False)
    for committed, when in ((False, "before"), (True, "after"))
]
blows = pytest.mark.parametrize(("committed", "killed"), BLOWS)
BELL = Bell("")  # Nobody rings in these tests.


@pytest.fixture
async def lab() -> AsyncIterator[SmtpLab]:
    async with SmtpLab() as server:
        yield server


@pytest.fixture
async def channel(lab: SmtpLab) -> AsyncIterator[SmtpProvider]:
    opened = SmtpProvider(f"smtp://127.0.0.1:{lab.port}")
    yield opened
    await opened.close()


async def an_audience(sessions: Sessions, n: int = 5) -> list[UUID]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json(MANY))
        return await people(db, n)


async def end_leases(sessions: Sessions) -> None:
    async with sessions.engine() as db:
        await db.execute(text("update leases set until = clock_timestamp() - interval '1 s'"))


async def struck(work: Any, *given: Any) -> None:
    """Do the work until the blow, if it comes."""
    with suppress(Killed, OperationalError):
        await ran(work, *given)


async def finish(sessions: Sessions, channel: SmtpProvider, queue: Queue) -> None:
    """Another worker takes over, once the dead one's leases have ended."""
    await end_leases(sessions)
    done = await ran(a_sender_of(sessions, channel, BELL).send, queue)
    assert done.open == 0


async def everyone_is_accounted_for(
    sessions: Sessions, lab: SmtpLab, queue: Queue, audience: int
) -> Counter[str]:
    """The ledger, the mail server and the counters of the caps tell one story."""
    kept = Counter(mail.id for mail in lab.accepted)
    assert set(kept.values()) <= {1}, "somebody got a mail twice"
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await states(db, queue)
        assert found.total() == audience
        assert set(found) <= {"accepted", "unknown"}
        accepted = "select id::text from messages where state = 'accepted' and queue_id = :queue"
        assert set(await some(db, accepted, queue=queue.id)) <= set(kept), (
            "called accepted, and never arrived"
        )
        everything = "select count(*) from messages where state in ('accepted', 'unknown')"
        assert await counted(db) == (await some(db, everything))[0]
        assert await some(db, "select id from leases") == []
    return found


@blows
async def test_a_sender_may_be_struck_at_every_transaction(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider, committed: bool, killed: bool
) -> None:
    audience = await an_audience(sessions)
    unknown, blow = [], Blow(1, committed, killed)
    while True:
        async with sessions(DEFAULT_WORKSPACE) as db:
            queue = await a_campaign(db, audience)
        fragile = FragileSessions(sessions, blow)
        await struck(a_sender_of(fragile, channel, BELL).send, queue)
        await finish(sessions, channel, queue)
        found = await everyone_is_accounted_for(sessions, lab, queue, len(audience))
        unknown.append(found["unknown"])
        if not fragile.struck:
            break
        blow = blow.next()

    assert len(unknown) > 6, "begin, claim, template, mark, settle, look ahead"
    if not killed:
        assert not any(unknown), "a known answer became unknown"
    else:  # At one place only: between the commit of the mark and the commit of the answers.
        assert sorted(unknown)[-2:] == [0, 5], unknown


@pytest.mark.parametrize("sent", [0, 2, 5])
async def test_a_sender_that_is_killed_on_the_wire_leaves_unknown_what_it_marked(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider, sent: int
) -> None:
    audience = await an_audience(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = await a_campaign(db, audience)

    await struck(a_sender_of(sessions, FragileProvider(channel, sent), BELL).send, queue)
    await finish(sessions, channel, queue)

    assert len(lab.accepted) == sent
    assert await everyone_is_accounted_for(sessions, lab, queue, 5) == {"unknown": 5}


class ClosedLoop(NullProvider):
    """Whoever closes the loop cancels everything in it, also what is on the wire."""

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        raise asyncio.CancelledError


async def test_a_sender_whose_loop_is_closed_leaves_unknown_what_it_marked(
    sessions: Sessions, channel: SmtpProvider
) -> None:
    audience = await an_audience(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = await a_campaign(db, audience)

    with suppress(Interrupted, asyncio.CancelledError):
        await ran(a_sender_of(sessions, ClosedLoop(), BELL).send, queue)
    await finish(sessions, channel, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"unknown": 5}


async def test_a_flow_may_be_struck_at_every_transaction(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider
) -> None:
    """Three enter by their segment, get one mail, wait, and go one way or the other."""
    await an_audience(sessions, 3)
    async with sessions(DEFAULT_WORKSPACE) as db:
        template, _ = await a_template(db)
        segment = await a_segment(db)
    steps = {
        "hello": send(template, "nap"),
        "nap": wait(60, "fork"),
        "fork": clicked("hello", "thanks", "bye"),
        "thanks": send(template),
        "bye": send(template),
    }
    trigger = {"kind": "segment", "segment_id": str(segment)}
    unknown: list[int] = []
    blow = Blow(1, committed=True, killed=True)  # What is not committed is what the one before left.
    while True:
        async with sessions(DEFAULT_WORKSPACE) as db:
            flow = FlowRef(DEFAULT_WORKSPACE, await a_flow(db, a_graph(steps, "hello", trigger=trigger)))
        fragile = FragileSessions(sessions, blow)
        await travel(sessions, fragile, channel, flow)
        queue = Queue(DEFAULT_WORKSPACE, flow.flow_id, SourceKind.FLOW)
        found = await everyone_is_accounted_for(sessions, lab, queue, 6)
        async with sessions(DEFAULT_WORKSPACE) as db:
            ended = "select outcome from enrollments where flow_id = :flow"
            assert await some(db, ended, flow=flow.flow_id) == ["finished"] * 3
            steps_sent = "select step from messages where queue_id = :flow"
            sent = Counter(await some(db, steps_sent, flow=flow.flow_id))
            assert sent["hello"] == 3
            assert sent["thanks"] + sent["bye"] == 3
            assert sent["thanks"] == await readers_of_hello(sessions, flow)
        unknown.append(found["unknown"])
        if not fragile.struck:
            break
        blow = blow.next()
    assert blow.nth > 25
    assert sum(map(bool, unknown)) == 2, "only where a mark was committed, at each send"


async def readers_of_hello(sessions: Sessions, flow: FlowRef) -> int:
    async with sessions(DEFAULT_WORKSPACE) as db:
        asked = "select 1 from messages where queue_id = :flow and step = 'hello' and clicked_at is not null"
        return len(await some(db, asked, flow=flow.flow_id))


async def travel(sessions: Sessions, fragile: FragileSessions, channel: SmtpProvider, flow: FlowRef) -> None:
    """Bring everyone to the end, by a worker that is struck once and by another one that goes on."""
    clock = GivenClock(NOW)
    queue = Queue(DEFAULT_WORKSPACE, flow.flow_id, SourceKind.FLOW)

    async def work(activity: str) -> None:
        for opened in (fragile, sessions):
            flows = FlowActivities(opened, BELL, clock, PATIENT, CALLER)
            sends = a_sender_of(opened, channel, BELL, clock)
            try:
                if activity == "publish":
                    await published(opened, clock, flow)
                elif activity == "advance":
                    await ran(flows.advance, flow)
                else:
                    await ran(sends.send, queue)
            except (Killed, OperationalError):
                await end_leases(sessions)  # And the other one does it again.
                continue
            return

    await work("publish")
    await work("advance")
    await work("send")
    async with sessions(DEFAULT_WORKSPACE) as db:
        one_reader = """
            update messages set clicked_at = :now where id = (
                select id from messages where queue_id = :flow and state = 'accepted' limit 1)
        """
        await db.execute(text(one_reader), {"now": NOW, "flow": flow.flow_id})
    await work("advance")
    clock.move(timedelta(seconds=61))
    await work("advance")
    await work("send")
    await work("advance")


@blows
async def test_a_campaign_may_be_struck_at_every_transaction_before_it_sends(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, committed: bool, killed: bool
) -> None:
    """Two of its five people go on a page, so that it is struck between pages, too."""
    for size in ("FIRST_PAGE", "LARGEST_PAGE"):
        monkeypatch.setattr(activities.campaigns, size, 2)
    await an_audience(sessions)
    blow = Blow(1, committed, killed)
    while True:
        async with sessions(DEFAULT_WORKSPACE) as db:
            campaign = CampaignRef(DEFAULT_WORKSPACE, (await a_draft(db)).id)
        fragile = FragileSessions(sessions, blow)
        for opened in (fragile, sessions):
            acts = CampaignActivities(opened, GivenClock(), PATIENT, slices=1)
            with suppress(Killed, OperationalError):
                assert (await ran(acts.begin, campaign)).started
                break
        for opened in (fragile, sessions):
            acts = CampaignActivities(opened, GivenClock(), PATIENT, slices=1)
            with suppress(Killed, OperationalError):
                assert await ran(acts.freeze, campaign) == 5
                break
        async with sessions(DEFAULT_WORKSPACE) as db:
            queue = Queue(DEFAULT_WORKSPACE, campaign.campaign_id, SourceKind.CAMPAIGN)
            assert await states(db, queue) == {"queued": 5}
        if not fragile.struck:
            break
        blow = blow.next()
    assert blow.nth == 5


@blows
async def test_a_cancelled_campaign_gives_back_what_a_dead_worker_had_counted(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider, committed: bool, killed: bool
) -> None:
    audience = await an_audience(sessions)
    blow = Blow(1, committed, killed)
    while True:
        async with sessions(DEFAULT_WORKSPACE) as db:
            queue = await a_campaign(db, audience)
        campaign = CampaignRef(DEFAULT_WORKSPACE, queue.id)
        dead = FragileSessions(sessions, Blow(3, committed=True, killed=True))  # It has claimed, and no more.
        await struck(a_sender_of(dead, channel, BELL).send, queue)
        await end_leases(sessions)
        fragile = FragileSessions(sessions, blow)
        for opened in (fragile, sessions):
            with suppress(Killed, OperationalError):
                acts = CampaignActivities(opened, GivenClock(), PATIENT, slices=1)
                assert await ran(acts.cancel, campaign)
                tally = await ran(acts.skip_unsent, campaign)
                assert (tally.open, tally.reasons) == (0, {"cancelled": 5})
                break
        async with sessions(DEFAULT_WORKSPACE) as db:
            assert await states(db, queue) == {"cancelled": 5}
            assert await counted(db) == 0
            [row] = (
                await db.execute(text("select state from campaigns where id = :id"), {"id": queue.id})
            ).all()
            assert row.state == CampaignState.CANCELLED
        if not fragile.struck:
            break
        blow = blow.next()
    assert not lab.accepted
