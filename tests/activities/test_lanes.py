"""An outbox's messages go side by side: a provider that hangs holds up nobody who goes elsewhere."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest
from psycopg import OperationalError
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from activities import gates, lanes
from activities.bell import Bell
from activities.books import Attempt
from activities.lanes import Lanes
from activities.slices import Slice, Timing
from channels import registry
from channels.contract import Account, Capabilities, Envelope, Kind, Outcome, World
from channels.letters import Mail
from channels.null import NullProvider
from domain.breakers import BAD_CALLS
from domain.channels import Channel
from domain.messages import MessageClass, SourceKind
from domain.outboxes import express
from domain.short_templates import ShortTemplate
from domain.templates import Template
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.providers import Provider, Route
from models.queries import bodies, singles
from models.queries.claims import Claimed
from models.queries.ledger import Queue
from models.queries.singles import Single
from tests.activities.test_routing import ABILITIES, LOST, YES, NoSettings
from tests.fragile import Blow, FragileSessions, Killed
from tests.people import HERE
from tests.sending import NOW, PATIENT, a_sender, a_sender_of, ran, some
from tests.support import eventually

QUEUE = Queue(DEFAULT_WORKSPACE, express(DEFAULT_WORKSPACE), SourceKind.OUTBOX)
LEASES = "select cardinality(message_ids) from leases"
END_LEASES = "update leases set until = clock_timestamp() - interval '1 s'"
STATES = "select distinct state from messages order by state"


@pytest.fixture(autouse=True)
def few_and_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "STUCK", 0.05)
    monkeypatch.setattr(lanes, "LANES", 2)


def nothing() -> None:
    return None


@dataclass
class Till:
    """A provider that hangs in each call while it is `stuck`, and remembers what it has taken."""

    name: str = "till"
    capabilities: Capabilities = ABILITIES
    taken: list[UUID] = field(default_factory=list)
    waiting: list[UUID] = field(default_factory=list)
    moving: asyncio.Event = field(default_factory=asyncio.Event)
    after: Callable[[], None] = nothing
    says: Outcome = YES
    pause: float = 0

    def __post_init__(self) -> None:
        self.moving.set()

    async def send(self, letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
        ids = [envelope.id for envelope in batch]
        self.waiting += ids
        await self.moving.wait()
        await asyncio.sleep(self.pause)
        self.after()
        self.taken += ids
        return [self.says] * len(batch)

    async def check(self) -> str | None:
        return None

    async def close(self) -> None:
        return None


TILLS: dict[UUID, Till] = {}


def _open(account: Account, _: World) -> Till:
    return TILLS[account.id]


registry.register(Kind("mail till", "Of the tests", Channel.EMAIL, NoSettings, ABILITIES, open=_open))
registry.register(Kind("text till", "Of the tests", Channel.SMS, NoSettings, ABILITIES, open=_open))


async def a_till(sessions: Sessions, channel: Channel, *, stuck: bool = False) -> tuple[UUID, Till]:
    kind = "mail till" if channel is Channel.EMAIL else "text till"
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        row = Provider(**HERE, name="Till", kind=kind, channel=channel)
        db.add(row)
        await db.flush()
        by = {"provider_id": row.id, "channel": channel, "message_class": "transactional"}
        db.add(Route(**HERE, **by))
    till = TILLS[row.id] = Till()
    if stuck:
        till.moving.clear()
    return row.id, till


async def asked_for(sessions: Sessions, channel: Channel, n: int = 1, content: str = "Hi") -> list[UUID]:
    """Messages to bare addresses, all with the same content."""
    is_mail = channel is Channel.EMAIL
    said = Template(content, f"<p>{content}</p>") if is_mail else ShortTemplate(channel, {"text": content})
    async with sessions(DEFAULT_WORKSPACE) as db:
        one = Single(
            channel=channel,
            message_class=MessageClass.TRANSACTIONAL,
            template_version_id=await bodies.version(db, DEFAULT_WORKSPACE, said),
            profile_id=None,
            bare="ada@example.com" if is_mail else "+4915112345678",
            holes=[],
            due_at=NOW,
            expires_at=None,
            note="Ada asked for it.",
        )
        return await singles.write(db, DEFAULT_WORKSPACE, [one] * n, NOW)


async def now(sessions: Sessions, asked: str) -> list[object]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await some(db, asked)


async def becomes(sessions: Sessions, states: list[str]) -> bool:
    return await now(sessions, STATES) == states


@dataclass
class UnderWay:
    environment: ActivityEnvironment
    slice_: "asyncio.Task[Slice]"


@asynccontextmanager
async def a_slice(sessions: Sessions, timing: Timing = PATIENT) -> AsyncIterator[UnderWay]:
    environment = ActivityEnvironment()
    send = a_sender_of(sessions, NullProvider(), Bell(""), timing=timing).send
    slice_ = asyncio.create_task(environment.run(send, QUEUE))
    try:
        yield UnderWay(environment, slice_)
    finally:
        for till in TILLS.values():
            till.moving.set()
        with suppress(asyncio.CancelledError, Killed):
            await slice_


async def takes(till: Till, *ids: UUID) -> None:
    async def has() -> bool:
        return {*ids} <= {*till.taken}

    await eventually(has, within=5, what="what it takes")


async def waits(till: Till, n: int) -> None:
    async def has() -> bool:
        return len(till.waiting) >= n

    await eventually(has, within=5, what="what hangs")


async def test_other_channels_do_not_wait_for_a_provider_that_hangs(sessions: Sessions) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    _, texts = await a_till(sessions, Channel.SMS)
    together = [*await asked_for(sessions, Channel.EMAIL), *await asked_for(sessions, Channel.SMS)]

    async with a_slice(sessions) as under_way:
        await takes(texts, together[1])
        await takes(texts, *await asked_for(sessions, Channel.SMS))  # Asked for while the mail hangs.
        assert (mails.taken, len(mails.waiting)) == ([], 1)
        mails.moving.set()
        done = await under_way.slice_

    assert (done.accepted, done.open) == (3, 0)
    assert await now(sessions, LEASES) == []


async def test_nor_do_other_messages_of_the_channel_while_there_are_lanes(sessions: Sessions) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    [hanging] = await asked_for(sessions, Channel.EMAIL)

    async with a_slice(sessions):
        await waits(mails, 1)
        mails.moving, stuck = asyncio.Event(), mails.moving
        mails.moving.set()
        await takes(mails, *await asked_for(sessions, Channel.EMAIL))
        assert hanging not in mails.taken
        stuck.set()

    assert await now(sessions, STATES) == ["accepted"]


async def test_a_backlog_that_goes_by_one_road_holds_up_no_other(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "STUCK", 0.5)  # So that none of them hangs.
    _, mails = await a_till(sessions, Channel.EMAIL)
    _, texts = await a_till(sessions, Channel.SMS)
    mails.pause = 0.05
    for n in range(60):
        await asked_for(sessions, Channel.EMAIL, content=f"No. {n}")

    async with a_slice(sessions) as under_way:
        await waits(mails, 4)
        await takes(texts, *await asked_for(sessions, Channel.SMS))
        before = len(mails.taken)
        done = await under_way.slice_

    assert before < 45
    assert done.accepted == 61


async def test_when_all_lanes_hang_the_rest_of_the_kind_waits_unclaimed_and_goes_when_one_ends(
    sessions: Sessions,
) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    _, texts = await a_till(sessions, Channel.SMS)

    await asked_for(sessions, Channel.EMAIL)
    async with a_slice(sessions) as under_way:
        await waits(mails, 1)
        await asked_for(sessions, Channel.EMAIL)
        await waits(mails, 2)
        waiting = await asked_for(sessions, Channel.EMAIL, 3)
        await takes(texts, *await asked_for(sessions, Channel.SMS))
        assert len(mails.waiting) == 2
        assert await now(sessions, "select count(*) from queue") == [3]
        mails.moving.set()
        done = await under_way.slice_

    assert (done.accepted, {*waiting} <= {*mails.taken}) == (6, True)


async def test_when_one_of_those_that_hang_has_failed_nobody_else_is_offered(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody can tell is never sent again: who waits is not to find out what others are finding out."""
    monkeypatch.setattr(lanes, "LANES", BAD_CALLS)
    monkeypatch.setattr(gates, "HANGING", 0.05)
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    mails.says = LOST

    await asked_for(sessions, Channel.EMAIL)
    async with a_slice(sessions) as under_way:
        await waits(mails, 1)
        mails.moving, first = asyncio.Event(), mails.moving
        for n in range(1, BAD_CALLS):
            await asked_for(sessions, Channel.EMAIL)
            await waits(mails, n + 1)
        await asked_for(sessions, Channel.EMAIL, 9)
        await asyncio.sleep(0.1)  # So that they hang.
        first.set()
        await eventually(lambda: becomes(sessions, ["queued", "sending", "unknown"]))
        await asyncio.sleep(0.2)  # Whoever is offered all the same has been by then.
        assert len(mails.waiting) == BAD_CALLS
        mails.moving.set()
        done = await under_way.slice_

    assert len(mails.waiting) == BAD_CALLS
    assert (done.unknown, done.open) == (BAD_CALLS, 9)


async def test_when_the_slice_is_over_the_others_still_go_while_one_hangs(sessions: Sessions) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    _, texts = await a_till(sessions, Channel.SMS)
    await asked_for(sessions, Channel.EMAIL)

    async with a_slice(sessions, replace(PATIENT, slice=0.1)) as under_way:
        await waits(mails, 1)
        await takes(texts, *await asked_for(sessions, Channel.SMS))
        await takes(texts, *await asked_for(sessions, Channel.SMS))
        [late] = await asked_for(sessions, Channel.EMAIL)
        await takes(texts, *await asked_for(sessions, Channel.SMS))
        assert len(mails.waiting) == 1  # So that the slice comes to its end.
        mails.moving.set()
        done = await under_way.slice_

    assert (done.lively, late in mails.taken or done.open == 1) == (True, True)


async def test_a_slice_that_is_over_ends_though_one_or_other_provider_is_always_slow(
    sessions: Sessions,
) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL)
    _, texts = await a_till(sessions, Channel.SMS)
    mails.pause, texts.pause = 0.2, 0.3  # Longer than what is said to hang.
    for n in range(12):
        await asked_for(sessions, Channel.EMAIL, content=f"No. {n}")
        await asked_for(sessions, Channel.SMS, content=f"No. {n}")

    async with a_slice(sessions, replace(PATIENT, slice=0.1)) as under_way:
        done = await under_way.slice_

    assert (done.accepted, done.open) == (4, 20)  # One a lane.


async def test_who_waits_for_a_limit_while_another_hangs_is_not_claimed_again_and_again(
    sessions: Sessions,
) -> None:
    provider, mails = await a_till(sessions, Channel.EMAIL)
    _, texts = await a_till(sessions, Channel.SMS, stuck=True)
    async with sessions(DEFAULT_WORKSPACE) as db:
        limited = "update providers set domain_rates = cast(:rates as jsonb) where id = :id"
        await db.execute(text(limited), {"rates": '{"example.com": 0.02}', "id": provider})
    await asked_for(sessions, Channel.SMS)
    await asked_for(sessions, Channel.EMAIL, 3)

    async with a_slice(sessions, replace(PATIENT, slice=0.1)) as under_way:
        await waits(texts, 1)
        await asyncio.sleep(1)  # Of its overtime: whoever spins does so a thousand times by then.
        texts.moving.set()
        done = await under_way.slice_

    assert len(mails.taken) == 1
    assert done.again < 100


async def test_what_is_claimed_when_a_delivery_has_failed_goes_back_at_once(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    await a_till(sessions, Channel.SMS)
    begin = Lanes.begin

    async def late(self: Lanes, attempt: Attempt, claimed: Sequence[Claimed]) -> None:
        """The mail fails while the text is claimed."""
        if claimed[0].channel == Channel.SMS:
            mails.moving.set()
            await eventually(lambda: failed(self))
        await begin(self, attempt, claimed)

    async def failed(self: Lanes) -> bool:
        return self._failure is not None

    def dies() -> None:
        raise Killed

    mails.after = dies
    monkeypatch.setattr(Lanes, "begin", late)
    await asked_for(sessions, Channel.EMAIL)
    async with a_slice(sessions) as under_way:
        await waits(mails, 1)
        await asked_for(sessions, Channel.SMS)
        with pytest.raises(Killed):
            await under_way.slice_

    assert await now(sessions, "select state from messages where channel = 'sms'") == ["queued"]


async def test_a_worker_that_is_to_stop_claims_nothing_more_while_one_hangs(sessions: Sessions) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    _, texts = await a_till(sessions, Channel.SMS)
    await asked_for(sessions, Channel.EMAIL)

    async with a_slice(sessions) as under_way:
        await waits(mails, 1)
        under_way.environment.worker_shutdown()
        await asked_for(sessions, Channel.SMS)
        await asyncio.sleep(0.2)  # Whoever still claims has done so by then.
        mails.moving.set()
        done = await under_way.slice_

    assert (done.accepted, done.open, texts.taken) == (1, 1, [])


async def test_a_cancelled_slice_sees_through_what_is_on_the_wire_and_puts_the_rest_back(
    sessions: Sessions,
) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    mails.capabilities = replace(ABILITIES, largest_batch=1, wire_batch=1)
    await asked_for(sessions, Channel.EMAIL, 3)

    async with a_slice(sessions) as under_way:
        await waits(mails, 1)
        under_way.environment.cancel()
        await asyncio.sleep(0.05)  # Whoever would not wait for the wire is gone by then.
        assert not under_way.slice_.done()

    assert len(mails.taken) == 1
    assert await now(sessions, STATES) == ["accepted", "queued"]
    assert (await now(sessions, LEASES), await now(sessions, "select count(*) from queue")) == ([], [2])


async def test_the_lease_lasts_until_the_last_of_those_who_share_it(sessions: Sessions) -> None:
    await a_till(sessions, Channel.EMAIL, stuck=True)
    _, texts = await a_till(sessions, Channel.SMS)
    await asked_for(sessions, Channel.EMAIL)
    [message] = await asked_for(sessions, Channel.SMS)

    async with a_slice(sessions):
        await takes(texts, message)
        await eventually(lambda: becomes(sessions, ["accepted", "sending"]))
        assert await now(sessions, LEASES) == [2]

    assert await now(sessions, LEASES) == []


async def test_who_named_a_provider_that_hangs_is_put_off_and_holds_up_nobody(sessions: Sessions) -> None:
    named, stuck = await a_till(sessions, Channel.EMAIL, stuck=True)
    theirs = [(await asked_for(sessions, Channel.EMAIL, content=content))[0] for content in "abc"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update messages set only_by = :named"), {"named": named})
        await db.execute(text("delete from routes"))
    _, mails = await a_till(sessions, Channel.EMAIL)

    async with a_slice(sessions):
        await waits(stuck, 2)
        later = (await asked_for(sessions, Channel.EMAIL, content="d"))[0]
        async with sessions(DEFAULT_WORKSPACE) as db:
            await db.execute(
                text("update messages set only_by = :named where id = :id"), {"named": named, "id": later}
            )
        await takes(mails, *await asked_for(sessions, Channel.EMAIL))
        assert len(stuck.waiting) == 2

    assert len(stuck.taken) >= 3
    assert {*stuck.taken} <= {*theirs, later}


async def test_a_delivery_that_fails_fails_the_slice_and_the_others_are_seen_through(
    sessions: Sessions,
) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL, stuck=True)
    _, texts = await a_till(sessions, Channel.SMS, stuck=True)
    [fails] = await asked_for(sessions, Channel.EMAIL)
    [other] = await asked_for(sessions, Channel.SMS)

    def dies() -> None:
        texts.moving.set()
        raise Killed

    mails.after = dies
    async with a_slice(sessions) as under_way:
        await waits(texts, 1)
        mails.moving.set()
        with pytest.raises(Killed):
            await under_way.slice_

    assert (texts.taken, mails.taken) == ([other], [])
    assert await now(sessions, LEASES) == [2]  # Whoever finds it ended says what became of the other.
    async with sessions.engine() as db:
        await db.execute(text(END_LEASES))
    mails.after = nothing
    await ran(a_sender_of(sessions, NullProvider(), Bell("")).send, QUEUE)
    assert await now(sessions, STATES) == ["accepted", "unknown"]
    assert fails not in mails.taken


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("killed", [False, True])
async def test_a_slice_with_several_lanes_may_be_struck_at_every_transaction(
    sessions: Sessions, committed: bool, killed: bool
) -> None:
    _, mails = await a_till(sessions, Channel.EMAIL)
    _, texts = await a_till(sessions, Channel.SMS)
    blow = Blow(1, committed, killed)
    while True:
        for channel, content in ((Channel.EMAIL, "Hi"), (Channel.EMAIL, "Ho"), (Channel.SMS, "Hi")):
            await asked_for(sessions, channel, 2, content)
        fragile = FragileSessions(sessions, blow)
        with suppress(Killed, OperationalError):
            await ran(a_sender_of(fragile, NullProvider(), Bell("")).send, QUEUE)
        async with sessions.engine() as db:
            await db.execute(text(END_LEASES))
        done = await ran(a_sender_of(sessions, NullProvider(), Bell("")).send, QUEUE)

        taken = Counter([*mails.taken, *texts.taken])
        assert done.open == 0
        assert set(taken.values()) == {1}
        assert {*await now(sessions, STATES)} <= {"accepted", "unknown"}
        assert {*await now(sessions, "select id from messages where state = 'accepted'")} <= {*taken}
        assert await now(sessions, LEASES) == []
        if not fragile.struck:
            break
        blow = blow.next()
    assert blow.nth > 5
