"""Sending to a mail server that does as it is told: each of its answers has its state in the ledger."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from psycopg_pool import PoolTimeout
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities.bell import Bell
from activities.slices import Timing
from channels.contract import Envelope, Outcome
from channels.letters import Raw
from channels.null import NullProvider
from channels.smtp import SmtpProvider
from channels.smtp_wire import Timeouts
from domain.messages import SourceKind, Work
from domain.workspaces import DEFAULT_WORKSPACE
from lab.smtp import Fault, Phase, SmtpLab
from models.base import Sessions
from models.queries import pokes
from models.queries.ledger import Queue
from tests.announcing import listening
from tests.databases import Database
from tests.fragile import Blow, FragileSessions
from tests.people import a_person
from tests.relay import Relay
from tests.sending import (
    NOW,
    PATIENT,
    a_bare_message,
    a_campaign,
    a_draft,
    a_queued_message,
    a_sender,
    a_sender_of,
    as_json,
    at,
    column,
    counted,
    people,
    ran,
    some,
    states,
)
from tests.support import GivenClock, eventually

BELL = Bell("")  # Nobody rings, unless a test starts one.
ONE_A_DAY = [{"channel": "email", "limit": 1, "period": "day"}]
HASTE = Timeouts(connect=1, greeting=0.3, command=0.3, content=0.3)


@pytest.fixture
async def lab() -> AsyncIterator[SmtpLab]:
    async with SmtpLab() as server:
        yield server


@pytest.fixture
async def channel(lab: SmtpLab) -> AsyncIterator[SmtpProvider]:
    opened = SmtpProvider(f"smtp://127.0.0.1:{lab.port}", timeouts=HASTE)
    yield opened
    await opened.close()


async def a_frozen_campaign(sessions: Sessions, n: int = 1, **values: str) -> Queue:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json(ONE_A_DAY))
        return await a_campaign(db, await people(db, n), **values)


async def outcome(sessions: Sessions, queue: Queue) -> tuple[str, str | None, int]:
    """The queue's one message: its state, its reason, and how many the caps have counted."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = (await db.execute(text("select state, reason from messages"))).one()
        return row.state, row.reason, await counted(db)


# What a server may answer.


async def test_an_accepted_mail_is_in_the_lab_with_its_id(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider
) -> None:
    queue = await a_frozen_campaign(sessions)

    done = await ran(a_sender_of(sessions, channel, BELL).send, queue)

    assert (done.accepted, done.open, done.next_due_at) == (1, 0, None)
    assert await outcome(sessions, queue) == ("accepted", None, 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert [mail.id for mail in lab.accepted] == await some(db, "select id::text from messages")


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT])
async def test_a_no_for_good_fails_the_message(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider, phase: Phase
) -> None:
    queue = await a_frozen_campaign(sessions)
    lab.fail(Fault(phase, reply="550 5.1.1 No such user"))

    done = await ran(a_sender_of(sessions, channel, BELL).send, queue)

    state, reason, count = await outcome(sessions, queue)
    assert (done.failed, done.open, state, count) == (1, 0, "failed", 0)
    assert "No such user" in (reason or "")


async def test_what_is_kept_of_a_no_names_nobody(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider
) -> None:
    queue = await a_frozen_campaign(sessions)
    words = "550 5.1.1 <p1@shop.example>: unknown, ask +49 151 23456789, key=abc123"
    lab.fail(Fault(Phase.RCPT, reply=words))

    await ran(a_sender_of(sessions, channel, BELL).send, queue)

    state, reason, _ = await outcome(sessions, queue)
    assert (state, reason) == ("failed", "550 5.1.1 <…>: unknown, ask …, key=…")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Phase.MAIL, reply="451 4.3.0 Later"),
        Fault(Phase.RCPT, reply="450 4.2.1 Mailbox busy"),
        Fault(Phase.DOT, reply="452 4.3.1 No room"),
        Fault(Phase.GREETING, reply="421 4.7.0 Too busy"),
        Fault(Phase.GREETING, hang=True),
        Fault(Phase.MAIL, hang=True),
        Fault(Phase.MAIL, cut=True),
        Fault(Phase.DATA, cut=True),
    ],
    ids=lambda fault: f"{fault.at} {fault.reply or ('hangs' if fault.hang else 'cuts')}",
)
async def test_a_no_before_acceptance_waits_in_the_queue(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider, fault: Fault
) -> None:
    queue = await a_frozen_campaign(sessions)
    lab.fail(fault)

    done = await ran(a_sender_of(sessions, channel, BELL).send, queue)

    state, reason, count = await outcome(sessions, queue)
    assert (done.again, done.open, state, count) == (1, 1, "queued", 0)
    assert reason
    assert done.next_due_at is not None
    assert done.next_due_at >= NOW + timedelta(seconds=2)


async def test_a_server_that_is_not_there_keeps_messages_in_the_queue_until_it_is(
    sessions: Sessions,
) -> None:
    queue, clock, lab = await a_frozen_campaign(sessions), GivenClock(), SmtpLab()
    async with lab:
        pass  # It had a port, and is gone.
    channel = SmtpProvider(f"smtp://127.0.0.1:{lab.port}", timeouts=HASTE)
    send = a_sender_of(sessions, channel, BELL, clock).send

    assert (await ran(send, queue)).again == 1
    async with lab:
        assert (await ran(send, queue)).accepted == 0  # Not due again yet.
        clock.move(timedelta(minutes=2))
        channel.content_until = 0  # As if time had passed for the channel, too.
        assert (await ran(send, queue)).accepted == 1
        await channel.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Phase.DOT, hang=True),
        Fault(Phase.DOT, cut=True),
        Fault(Phase.DOT, cut=True, keep=True),
        Fault(Phase.CONTENT, cut=True),  # All of a short mail, with its dot, was written by then.
    ],
    ids=["hangs", "cut", "cut after it was kept", "cut while it came"],
)
async def test_silence_after_the_final_dot_was_written_is_unknown(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider, fault: Fault
) -> None:
    queue = await a_frozen_campaign(sessions)
    lab.fail(fault)

    done = await ran(a_sender_of(sessions, channel, BELL).send, queue)
    await ran(a_sender_of(sessions, channel, BELL).send, queue)

    state, reason, count = await outcome(sessions, queue)
    assert (done.unknown, done.open, state, count) == (1, 0, "unknown", 1)
    assert reason
    assert len(lab.accepted) == int(fault.keep)


async def test_what_stays_unknown_is_decided_at_once_where_no_webhook_will_tell(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider
) -> None:
    queue = await a_frozen_campaign(sessions)
    lab.lose_the_next_reply()
    await ran(a_sender_of(sessions, channel, BELL).send, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select reconcile_at from messages") == [NOW]


async def test_a_bad_address_hurts_only_its_own_message(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        audience = [*await people(db, 2), await a_person(db, "no address at all"), *await people(db, 2, "q")]
        queue = await a_campaign(db, audience)

    await ran(a_sender_of(sessions, channel, BELL).send, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 4, "failed": 1}
    assert len(lab.accepted) == 4


@pytest.mark.parametrize(
    "html",
    [
        "<p>Hello {{ name }}</p>",
        "<p>{{ name | default: 'x' }} {{ 9 | divided_by: nought }}</p>",
        "{% unless name %}{% for i in (1..9999) %}{% assign x = 1 | abs %}{% endfor %}{% endunless %}-",
        "{% unless name %}{% if (1..1000000000) contains 'a' %}{% endif %}{% endunless %}<p>Hello</p>",
    ],
)
async def test_a_template_error_hurts_only_its_own_message(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider, html: str
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json(ONE_A_DAY))
        good = await people(db, 2, name="Ada", nought=1)
        bad = await people(db, 1, "nameless", nought=0)
        queue = await a_campaign(db, [good[0], *bad, good[1]], html)

    done = await ran(a_sender_of(sessions, channel, BELL).send, queue)

    assert (done.accepted, done.skipped) == (2, 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 2, "template error": 1}
        assert await counted(db) == 2
        [detail] = await some(db, "select detail from messages where state = 'skipped'")
        assert detail


async def test_a_template_that_can_not_be_used_at_all_skips_its_messages_and_no_others(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider
) -> None:
    """It was checked when it came in, by the rules of that day."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json(ONE_A_DAY))
        queue, broken = await a_bare_message(db, "eve@elsewhere.example")
        await db.execute(text("update template_versions set html = '<p>{% if'"))
        _, whole = await a_bare_message(db, "bob@elsewhere.example")

    await ran(a_sender_of(sessions, channel, BELL).send, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await column(db, "state", whole) == "accepted"
        assert await column(db, "reason", broken) == "template error"
        assert await column(db, "detail", broken)


# Which transaction it is, counted from the end: mark, settle, look for a freeze, look ahead.
MARK, SETTLE = 4, 3


async def nth(sessions: Sessions, from_the_end: int) -> int:
    """The number of one transaction of a slice that sends one batch."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        queue = await a_campaign(db, await people(db, 1, "rehearsal"))
    count = FragileSessions(sessions, Blow(1000, committed=False, killed=False))
    await ran(a_sender_of(count, NullProvider(), BELL).send, queue)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("delete from messages where queue_id = :queue"), {"queue": queue.id})
        await db.execute(text("delete from cap_counters"))
    return count.begun - from_the_end


# Pauses and cancels that come in the middle.


class HeldUp(NullProvider):
    """Accepts everything in wire batches of two, and does something else first, once."""

    capabilities = NullProvider.capabilities.__class__(
        largest_batch=2, wire_batch=2, webhooks=False, lookup=False
    )

    def __init__(self, sessions: Sessions, statement: str) -> None:
        self.sessions = sessions
        self.statement = statement
        self.sent: list[UUID] = []

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        self.sent += [envelope.id for envelope in batch]
        async with self.sessions.engine() as db:
            await db.execute(text(self.statement))
        return await super().send(letter, batch)


@pytest.mark.parametrize(
    ("state", "left"),
    [("paused", {"queued": 4}), ("cancelled", {"cancelled": 4}), ("failed", {"cancelled": 4})],
)
async def test_a_campaign_that_is_stopped_in_the_middle_marks_no_more(
    sessions: Sessions, state: str, left: dict[str, int]
) -> None:
    queue = await a_frozen_campaign(sessions, 6)
    channel = HeldUp(sessions, f"update campaigns set state = '{state}'")

    done = await ran(a_sender_of(sessions, channel, BELL).send, queue)

    assert len(channel.sent) == 2
    assert (done.accepted, done.again + done.skipped) == (2, 4)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 2, **left}
        assert await counted(db) == 2
        assert await some(db, "select id from leases") == []


async def test_a_webhook_that_is_made_while_a_batch_is_on_the_wire_is_told_of_it(sessions: Sessions) -> None:
    queue = await a_frozen_campaign(sessions, 6)

    class Announced(HeldUp):
        async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
            if not self.sent:
                await listening(sessions, "message.accepted")
            return await super().send(letter, batch)

    channel = Announced(sessions, "select 1")
    done = await ran(a_sender_of(sessions, channel, BELL).send, queue)

    assert (done.accepted, len(channel.sent), len({*channel.sent})) == (6, 6, 6)
    async with sessions(DEFAULT_WORKSPACE) as db:
        told = await some(db, "select about from webhook_deliveries")
        assert {*told} == {*await some(db, "select profile_id from messages")}
        assert len(told) == 6
        assert await some(db, "select distinct attempts from messages") == [1]


async def test_what_a_slow_worker_lost_is_not_given_back_twice(sessions: Sessions) -> None:
    """Its lease ends while the first batch is on the wire; somebody else has claimed the second by then."""
    queue = await a_frozen_campaign(sessions, 4)
    other = a_sender_of(sessions, NullProvider(), BELL)

    class Slow(HeldUp):
        async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
            outcomes = await super().send(letter, batch)
            await ran(other.send, queue)
            return outcomes

    channel = Slow(sessions, "update leases set until = clock_timestamp() - interval '1 s'")
    await ran(a_sender_of(sessions, channel, BELL).send, queue)

    assert len(channel.sent) == 2
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 4}  # The unknown two were put right.
        assert await counted(db) == 4


async def test_a_mark_whose_answer_was_lost_during_a_pause_holds_nothing_up(sessions: Sessions) -> None:
    """The first mark is committed, nobody hears so, and the second is refused: nothing was sent."""
    queue = await a_frozen_campaign(sessions, 2)

    lossy = FragileSessions(sessions, Blow(6, committed=True, killed=False))
    channel = HeldUp(sessions, "select 1")
    sending = asyncio.create_task(ran(a_sender_of(lossy, channel, BELL).send, queue))

    async def marked() -> bool:
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await states(db, queue) == {"sending": 2}

    await eventually(marked, what="the mark")
    async with sessions.engine() as db:
        await db.execute(text("update campaigns set state = 'paused'"))
    done = await sending

    assert (done.again, channel.sent) == (2, [])
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"queued": 2}
        assert await counted(db) == 0


# The database away.


async def test_a_known_answer_survives_a_database_that_is_away(
    sessions: Sessions, database: Database, lab: SmtpLab, channel: SmtpProvider
) -> None:
    queue, relay = await a_frozen_campaign(sessions, 3), Relay(database.url)
    await relay.mend()
    far = Sessions(relay.url(database.url), relay.url(database.engine_url))

    class Cut(NullProvider):
        async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
            outcomes = await channel.send(letter, batch)
            relay.cut()
            return outcomes

    short = Timing(slice=30, linger=0, lease=0.5, reconcile_after=900)
    sending = asyncio.create_task(ran(a_sender_of(far, Cut(), BELL, timing=short).send, queue))

    async def sent() -> bool:
        return len(lab.accepted) == 3

    await eventually(sent, what="three mails")
    takeover = a_sender_of(sessions, channel, BELL)

    async def unknown() -> bool:  # Meanwhile the lease ends, and somebody else can't know.
        await ran(takeover.send, queue)
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await states(db, queue) == {"unknown": 3}

    await eventually(unknown, what="a lease's end")
    await relay.mend()
    await sending
    await far.close()

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 3}
    assert len(lab.accepted) == 3


async def test_an_answer_is_kept_until_a_connection_is_free(sessions: Sessions) -> None:
    queue = await a_frozen_campaign(sessions)

    class Exhausted(FragileSessions):
        def _strike(self) -> None:
            raise PoolTimeout("no connection became free")

    busy = Exhausted(sessions, Blow(await nth(sessions, SETTLE), committed=False, killed=False))
    await ran(a_sender_of(busy, NullProvider(), BELL).send, queue)

    assert await outcome(sessions, queue) == ("accepted", None, 1)


async def test_a_cancelled_activity_writes_down_what_it_knows(
    sessions: Sessions, lab: SmtpLab, channel: SmtpProvider
) -> None:
    queue, environment = await a_frozen_campaign(sessions, 3), ActivityEnvironment()

    class Cancelled(NullProvider):
        async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
            environment.cancel()
            await asyncio.sleep(0)
            return await channel.send(letter, batch)

    with pytest.raises(asyncio.CancelledError):
        await environment.run(a_sender_of(sessions, Cancelled(), BELL).send, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 3}
        assert await some(db, "select id from leases") == []


async def test_a_worker_that_shuts_down_finishes_its_batch_and_leaves_the_rest(sessions: Sessions) -> None:
    queue, environment = await a_frozen_campaign(sessions, 6), ActivityEnvironment()

    class LastOrders(HeldUp):
        async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
            environment.worker_shutdown()
            return await super().send(letter, batch)

    done = await environment.run(a_sender_of(sessions, LastOrders(sessions, "select 1"), BELL).send, queue)

    assert (done.accepted, done.open) == (2, 4)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 2, "queued": 4}
        assert await some(db, "select id from leases") == []


async def test_a_slice_is_over_in_time_however_slow_the_provider_is(sessions: Sessions) -> None:
    queue = await a_frozen_campaign(sessions, 6)
    channel = HeldUp(sessions, "select pg_sleep(0.6)")
    short = Timing(slice=0.5, linger=0, lease=60, reconcile_after=0)

    done = await ran(a_sender_of(sessions, channel, BELL, timing=short).send, queue)

    assert (done.accepted, done.again, done.open) == (2, 4, 4)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 2, "queued": 4}
        assert await counted(db) == 2


# What a slice looks for, and how long.


async def test_a_slice_tells_when_the_rest_is_due_and_how_long_others_hold_it(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        campaign = await a_draft(db, state="running")
        soon, later = await people(db, 2)
        await a_queued_message(db, campaign, soon)
        await a_queued_message(db, campaign, later, due_at=at(3))

    done = await ran(
        a_sender_of(sessions, NullProvider(), BELL).send,
        Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN),
    )

    assert (done.accepted, done.open, done.next_due_at, done.lease_left) == (1, 1, at(3), None)


async def test_a_slice_waits_for_the_next_page_of_a_freeze(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        campaign = await a_draft(db, state="running", frozen_at=None)
        first, second = await people(db, 2)
        await a_queued_message(db, campaign, first)
    queue = Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)
    sending = asyncio.create_task(ran(a_sender_of(sessions, NullProvider(), BELL).send, queue))

    async def sent() -> bool:
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await states(db, queue) == {"accepted": 1}

    await eventually(sent, what="the first page")
    assert not sending.done()
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_queued_message(db, campaign, second)
        await db.execute(text("update campaigns set frozen_at = :now"), {"now": NOW})

    done = await sending
    assert (done.accepted, done.open) == (2, 0)


async def test_two_messages_to_one_person_go_one_after_the_other_in_one_slice(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps=as_json([{"channel": "email", "limit": 2, "period": "week"}]))
        campaign = await a_draft(db, state="running")
        [person] = await people(db, 1)
        for visit in range(3):
            await a_queued_message(db, campaign, person, visit=visit)
    queue = Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)

    await ran(a_sender_of(sessions, NullProvider(), BELL).send, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 2, "capped": 1}
        assert await counted(db) == 2


async def test_an_outbox_lingers_for_what_comes_and_hears_the_bell(
    sessions: Sessions, database: Database
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
    bell = Bell(database.engine_url)
    await bell.start(sessions)
    lingering = Timing(slice=20, linger=20, lease=60, reconcile_after=0)
    environment = ActivityEnvironment()
    send = a_sender_of(sessions, NullProvider(), bell, timing=lingering).send
    outbox = Queue(DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, SourceKind.OUTBOX)
    slice_ = asyncio.create_task(environment.run(send, outbox))
    await asyncio.sleep(0.2)  # So that it lingers by then. It would find the message in any case.

    async with sessions(DEFAULT_WORKSPACE) as db:
        _, message = await a_bare_message(db, "eve@elsewhere.example")
        pokes.poke(db, DEFAULT_WORKSPACE, Work.SEND)

    async def accepted() -> bool:
        async with sessions(DEFAULT_WORKSPACE) as db:
            return str(await column(db, "state", message)) == "accepted"

    await eventually(accepted, within=5, what="the message")
    async with sessions.engine() as db:
        assert await some(db, "select queue_id from pokes") == []  # It has taken the poke.
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slice_
    await bell.close()


async def test_nothing_of_a_campaign_is_sent_while_it_is_paused(sessions: Sessions) -> None:
    queue = await a_frozen_campaign(sessions, 3, state="paused")

    done = await ran(a_sender_of(sessions, NullProvider(), BELL, timing=PATIENT).send, queue)

    assert (done.idle, done.open) == (True, 3)
