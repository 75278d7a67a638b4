"""By which provider messages go: routes, failover, the breaker, limits, warm-up, and what waits."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from activities.bell import Bell
from activities.gates import Granted, Way
from activities.slices import Slice, Timing
from channels import registry
from channels.contract import Account, Blame, Capabilities, Envelope, Kind, Outcome, OutcomeKind, World
from channels.letters import Mail
from channels.null import NullProvider
from domain.breakers import BAD_CALLS, FIRST_PAUSE, TRIES
from domain.channels import Channel
from domain.messages import PROVIDER_TEST, MessageClass
from domain.routing import BUILT_IN
from domain.staging import Staging
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.providers import Provider, Route
from models.queries import holds
from models.queries.ledger import Queue
from models.workspaces import Workspace
from tests.people import HERE
from tests.sending import (
    NOW,
    PATIENT,
    a_bare_message,
    a_campaign,
    a_sender,
    a_sender_of,
    column,
    people,
    ran,
    some,
    states,
)
from tests.support import GivenClock

BRIEF = Timing(slice=1, linger=0, lease=60, reconcile_after=900)
REFUSED = Outcome(OutcomeKind.RETRY, reason="503 down")
NOT_NOW = Outcome(OutcomeKind.RETRY, reason="452 full", retry_after=60)
TOO_FAST = Outcome(OutcomeKind.RETRY, reason="429", retry_after=20, calm=True)
GREYLISTED = Outcome(OutcomeKind.RETRY, reason="450 try later", blame=Blame.RECIPIENT)
LOST = Outcome(OutcomeKind.UNKNOWN, reason="time-out")
YES = Outcome(OutcomeKind.ACCEPTED)

Answer = Callable[[Envelope], Outcome]


ABILITIES = Capabilities(largest_batch=100, wire_batch=100, webhooks=True, lookup=False)


class NoSettings(BaseModel):
    pass


@dataclass
class Desk:
    """A provider that answers as the test says, and remembers whom it was asked about."""

    answer: Answer = lambda _: YES
    calls: list[list[UUID]] = field(default_factory=list)
    name: str = "desk"
    capabilities: Capabilities = ABILITIES

    async def send(self, letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
        self.calls.append([envelope.id for envelope in batch])
        return [self.answer(envelope) for envelope in batch]

    async def check(self) -> str | None:
        return None

    async def close(self) -> None:
        return None

    @property
    def offered(self) -> int:
        return sum(map(len, self.calls))


DESKS: dict[UUID, Desk] = {}


def _open(account: Account, _: World) -> Desk:
    return DESKS.setdefault(account.id, Desk())


registry.register(Kind("desk", "A desk of the tests", Channel.EMAIL, NoSettings, ABILITIES, open=_open))


async def a_provider(
    sessions: Sessions,
    answer: Answer = lambda _: YES,
    *,
    priority: int = 1,
    message_class: str = "marketing",
    route: bool = True,
    **columns: Any,
) -> Desk:
    """An account, with a route for the marketing mail."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = Provider(**HERE, name="Desk", kind="desk", channel="email", **columns)
        db.add(row)
        await db.flush()
        if route:
            by = {"provider_id": row.id, "channel": "email", "message_class": message_class}
            db.add(Route(**HERE, **by, priority=priority))
    desk = DESKS[row.id] = Desk(answer, name=str(row.id))
    return desk


async def an_audience(sessions: Sessions, n: int) -> Queue:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        return await a_campaign(db, await people(db, n))


async def sent(
    sessions: Sessions, queue: Queue, clock: GivenClock | None = None, timing: Timing = PATIENT
) -> Slice:
    return await ran(a_sender_of(sessions, NullProvider(), Bell(""), clock, timing).send, queue)


async def hold(sessions: Sessions, desk: Desk, until: datetime | None = None) -> None:
    """Have nothing go by it: by hand, or because it failed and is left alone `until` then."""
    columns = "workspace_id, provider_id, state, since, window_began, until, reason, trips"
    values = {"here": DEFAULT_WORKSPACE, "id": UUID(desk.name), "now": NOW, "until": until}
    values["state"] = "open" if until else "held"
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = "(:here, :id, :state, :now, :now, :until, 'a fault', 1)"
        await db.execute(text(f"insert into breakers ({columns}) values {row}"), values)


async def how(sessions: Sessions, queue: Queue) -> Counter[str]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await states(db, queue)


async def went_by(sessions: Sessions) -> Counter[str]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return Counter(await some(db, "select provider::text from messages where state = 'accepted'"))


async def test_without_a_route_mail_goes_by_the_installations_own_provider(sessions: Sessions) -> None:
    await a_provider(sessions, route=False)
    queue = await an_audience(sessions, 3)

    await sent(sessions, queue)
    assert await went_by(sessions) == {str(BUILT_IN): 3}


async def test_mail_goes_by_the_route_and_the_ledger_says_by_which(sessions: Sessions) -> None:
    desk, second = await a_provider(sessions), await a_provider(sessions, priority=2)
    queue = await an_audience(sessions, 5)

    await sent(sessions, queue)
    assert await went_by(sessions) == {desk.name: 5}
    assert not second.calls


async def test_what_one_provider_has_certainly_not_taken_goes_by_the_next_at_once(sessions: Sessions) -> None:
    first = await a_provider(sessions, lambda _: REFUSED)
    second = await a_provider(sessions, priority=2)
    queue = await an_audience(sessions, 200)

    done = await sent(sessions, queue)
    assert (done.accepted, done.again) == (200, 0)
    assert await went_by(sessions) == {second.name: 200}
    assert len(first.calls) == BAD_CALLS


async def test_of_a_batch_only_what_was_refused_moves_on(sessions: Sessions) -> None:
    turn = iter(range(1000))
    first = await a_provider(sessions, lambda _: (YES, REFUSED, LOST, GREYLISTED)[next(turn) % 4])
    second = await a_provider(sessions, priority=2)
    queue = await an_audience(sessions, 16)

    await sent(sessions, queue)
    assert await how(sessions, queue) == {"accepted": 8, "unknown": 4, "queued": 4}
    assert await went_by(sessions) == {first.name: 4, second.name: 4}
    refused = set(first.calls[0][1::4])
    assert set(second.calls[0]) == refused


async def test_nobody_is_offered_to_a_provider_that_fails_for_long(sessions: Sessions) -> None:
    """What nobody can tell is never sent again, so that few are offered until it is known to work."""
    desk = await a_provider(sessions, lambda _: LOST)
    queue = await an_audience(sessions, 500)

    done = await sent(sessions, queue)
    assert len(desk.calls) == BAD_CALLS
    assert desk.offered < 60
    assert (await how(sessions, queue))["queued"] == 500 - desk.offered
    assert done.next_due_at == GivenClock().now() + timedelta(seconds=FIRST_PAUSE)
    assert "time-out" in done.agenda


async def test_when_the_pause_is_over_a_few_try_and_then_all_go(sessions: Sessions) -> None:
    clock = GivenClock()
    desk = await a_provider(sessions, lambda _: REFUSED)
    queue = await an_audience(sessions, 300)
    await sent(sessions, queue, clock)

    desk.answer, desk.calls = (lambda _: YES), []
    await sent(sessions, queue, clock)
    assert desk.calls == [], "its pause is not over"

    clock.move(timedelta(seconds=FIRST_PAUSE))
    await sent(sessions, queue, clock)
    assert len(desk.calls[0]) == TRIES
    assert await how(sessions, queue) == {"accepted": 300}


async def test_who_asks_for_less_is_left_alone_so_long_and_nothing_is_lost(sessions: Sessions) -> None:
    clock = GivenClock()
    desk = await a_provider(sessions, lambda _: TOO_FAST)
    queue = await an_audience(sessions, 40)

    done = await sent(sessions, queue, clock)
    assert len(desk.calls) == 1
    assert done.next_due_at is not None
    assert clock.now() < done.next_due_at <= clock.now() + timedelta(seconds=20)
    desk.answer = lambda _: YES
    clock.move(timedelta(seconds=21))
    await sent(sessions, queue, clock)
    assert await how(sessions, queue) == {"accepted": 40}


async def test_a_held_provider_is_sent_nothing_and_the_next_takes_all(sessions: Sessions) -> None:
    held, second = await a_provider(sessions), await a_provider(sessions, priority=2)
    await hold(sessions, held)
    queue = await an_audience(sessions, 10)

    await sent(sessions, queue)
    assert (held.offered, second.offered) == (0, 10)


@pytest.mark.parametrize("opens", [3, None])
async def test_what_one_refuses_for_a_minute_waits_no_longer_than_until_another_opens(
    sessions: Sessions, opens: int | None
) -> None:
    clock = GivenClock()
    await a_provider(sessions, lambda _: NOT_NOW)
    second = await a_provider(sessions, priority=2)
    await hold(sessions, second, until=NOW + timedelta(seconds=opens) if opens else None)
    queue = await an_audience(sessions, 4)

    await sent(sessions, queue, clock)
    clock.move(timedelta(seconds=4))
    await sent(sessions, queue, clock)

    assert second.offered == (4 if opens else 0)


async def test_an_account_that_is_refused_is_a_failure_at_the_first_message_once_an_hour(
    sessions: Sessions,
) -> None:
    clock = GivenClock()
    desk = await a_provider(sessions, lambda _: Outcome(OutcomeKind.RETRY, reason="sender: 401 who are you"))
    sender = a_sender_of(sessions, NullProvider(), Bell(""), clock, PATIENT)

    async def told() -> list[Any]:
        asked = "select provider_id::text || ' ' || category || ': ' || reason from failure_logs order by at"
        async with sessions(DEFAULT_WORKSPACE) as db:
            return await some(db, asked)

    queue = await an_audience(sessions, 1)
    await ran(sender.send, queue)
    clock.move(timedelta(seconds=30))
    await ran(sender.send, queue)
    assert len(desk.calls) == 2
    assert await told() == [f"{desk.name} configuration: sender: 401 who are you"]

    clock.move(timedelta(hours=1))
    await ran(sender.send, queue)
    assert len(await told()) == 2


async def test_no_more_go_than_the_limit_says_and_the_rest_waits(sessions: Sessions) -> None:
    desk = await a_provider(sessions, rate=5)
    queue = await an_audience(sessions, 50)

    await sent(sessions, queue, timing=BRIEF)
    assert desk.offered == 5, "the clock stands still: there is one second's worth"
    assert await how(sessions, queue) == {"accepted": 5, "queued": 45}


async def test_a_limit_for_one_domain_holds_up_no_other(sessions: Sessions) -> None:
    desk = await a_provider(sessions, domain_rates={"shop.example": 2})
    queue = await an_audience(sessions, 20)
    async with sessions(DEFAULT_WORKSPACE) as db:
        other = "update identities set value = replace(value, '@shop', '@mail') where value < 'p15'"
        await db.execute(text(other))
        moved = len(await some(db, "select 1 from identities where value like '%mail.example'"))
    assert 0 < moved < 18

    await sent(sessions, queue, timing=BRIEF)
    assert desk.offered == moved + 2


async def test_a_warm_up_fills_its_day_and_the_next_provider_takes_the_rest(sessions: Sessions) -> None:
    clock = GivenClock()
    plan = {"starts_on": date(2026, 3, 2).isoformat(), "days": [7, 10]}
    new, old = await a_provider(sessions, warm_up=plan), await a_provider(sessions, priority=2)
    queue = await an_audience(sessions, 30)

    await sent(sessions, queue, clock)
    assert (new.offered, old.offered) == (7, 23)

    clock.move(timedelta(seconds=24 * 3600))
    queue = await an_audience_of_others(sessions, 30)
    await sent(sessions, queue, clock)
    assert (new.offered, old.offered) == (17, 43)


async def an_audience_of_others(sessions: Sessions, n: int) -> Queue:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await a_campaign(db, await people(db, n, "q"))


def pausing(desk: Desk, sessions: Sessions) -> None:
    """Have the campaign paused while this provider is asked."""
    real = desk.send

    async def asked(letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
        async with sessions.engine() as db:
            await db.execute(text("update campaigns set state = 'paused'"))
        return await real(letter, batch)

    desk.send = asked  # type: ignore[method-assign]


async def test_a_pause_stops_what_was_on_its_way_to_the_second_provider(
    sessions: Sessions,
) -> None:
    second = await a_provider(sessions, priority=2)
    first = await a_provider(sessions, lambda _: REFUSED)
    queue = await an_audience(sessions, 4)
    pausing(first, sessions)
    await sent(sessions, queue)
    assert not second.calls
    assert await how(sessions, queue) == {"queued": 4}


async def test_what_is_paused_waits_for_no_tokens_before_it_goes_back(sessions: Sessions) -> None:
    desk = await a_provider(sessions, rate=1_000)
    queue = await an_audience(sessions, 500)
    pausing(desk, sessions)
    sender = a_sender_of(sessions, NullProvider(), Bell(""), timing=PATIENT)
    asked: list[int] = []
    granting = sender.dispatch.router.grant

    async def counted(
        workspace: Workspace, way: Way, addresses: Sequence[str], message_class: MessageClass
    ) -> Granted:
        asked.append(len(addresses))
        return await granting(workspace, way, addresses, message_class)

    sender.dispatch.router.grant = counted  # type: ignore[method-assign]
    done = await ran(sender.send, queue)
    assert len(asked) == 2, "one batch went, and one met the pause"
    assert done.accepted == asked[0]
    assert await how(sessions, queue) == {"accepted": asked[0], "queued": 500 - asked[0]}


async def test_a_module_that_fails_loses_nothing_silently(sessions: Sessions) -> None:
    def broken(_: Envelope) -> Outcome:
        raise KeyError("a bug")

    await a_provider(sessions, broken)
    queue = await an_audience(sessions, 4)

    await sent(sessions, queue)
    assert await how(sessions, queue) == {"unknown": 4}


async def test_a_message_that_tries_a_provider_goes_by_that_one_or_not_at_all(sessions: Sessions) -> None:
    routed = await a_provider(sessions)
    tried = await a_provider(sessions, lambda _: REFUSED, route=False)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        queue, message = await a_bare_message(
            db, "me@shop.example", step=PROVIDER_TEST, provider=UUID(tried.name)
        )

    await sent(sessions, queue)
    assert (routed.offered, tried.offered) == (0, 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await column(db, "state", message) == "failed", "a trial is tried once"
        assert await column(db, "reason", message) == "503 down"


async def test_what_no_provider_takes_does_not_hold_up_the_rest_of_a_queue(sessions: Sessions) -> None:
    await a_provider(sessions, lambda _: REFUSED)
    working = await a_provider(sessions, message_class="transactional")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        for n in range(40):
            await a_bare_message(db, f"m{n}@shop.example")
        for n in range(5):
            queue, _ = await a_bare_message(db, f"t{n}@shop.example", message_class="transactional")

    await sent(sessions, queue)
    assert working.offered == 5
    assert (await how(sessions, queue))["accepted"] == 5


async def test_a_trial_of_a_provider_that_was_deleted_is_given_up(sessions: Sessions) -> None:
    tried = await a_provider(sessions, route=False, deleted_at=GivenClock().now())
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        queue, message = await a_bare_message(
            db, "me@shop.example", step=PROVIDER_TEST, provider=UUID(tried.name)
        )

    done = await sent(sessions, queue)
    assert (done.skipped, done.open) == (1, 0)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await column(db, "detail", message) == "its provider was deleted"


async def test_marketing_that_did_harm_waits_and_what_was_asked_for_goes(sessions: Sessions) -> None:
    desk = await a_provider(sessions)
    working = await a_provider(sessions, message_class="transactional")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await holds.hold(db, DEFAULT_WORKSPACE, "email", "It was too much.", GivenClock().now())
    queue = await an_audience(sessions, 3)
    async with sessions(DEFAULT_WORKSPACE) as db:
        outbox, _ = await a_bare_message(db, "ada@shop.example", message_class="transactional")

    done = await sent(sessions, queue)
    await sent(sessions, outbox)
    assert (desk.offered, working.offered) == (0, 1)
    assert "held" in done.agenda


async def test_a_staging_system_writes_to_nobody_else(sessions: Sessions) -> None:
    await a_provider(sessions)
    queue = await an_audience(sessions, 3)
    activity = a_sender_of(sessions, NullProvider(), Bell(""))
    activity.dispatch.staging = Staging.of("p2@shop.example")

    await ran(activity.send, queue)
    assert await how(sessions, queue) == {"accepted": 1, "held back": 2}


async def test_failover_keeps_to_the_next_providers_limits(sessions: Sessions) -> None:
    plan = {"starts_on": date(2026, 3, 2).isoformat(), "days": [5]}
    await a_provider(sessions, lambda _: REFUSED)
    warming = await a_provider(sessions, priority=2, warm_up=plan)
    queue = await an_audience(sessions, 70)

    await sent(sessions, queue)
    assert warming.offered == 5
    assert await how(sessions, queue) == {"accepted": 5, "queued": 65}


async def test_a_warm_up_that_is_taken_away_holds_nothing_back(sessions: Sessions) -> None:
    clock = GivenClock()
    plan = {"starts_on": date(2026, 3, 2).isoformat(), "days": [5]}
    desk = await a_provider(sessions, warm_up=plan)
    queue = await an_audience(sessions, 20)
    activity = a_sender_of(sessions, NullProvider(), Bell(""), clock)
    await ran(activity.send, queue)
    assert desk.offered == 5

    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update providers set warm_up = null"))
    activity.router.forget()
    await ran(activity.send, queue)
    assert desk.offered == 20


async def test_what_a_report_proved_meanwhile_goes_to_no_other_provider(sessions: Sessions) -> None:
    second = await a_provider(sessions, priority=2)
    first = await a_provider(sessions, lambda _: REFUSED)
    queue = await an_audience(sessions, 4)
    real = first.send

    async def reported(letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
        async with sessions(DEFAULT_WORKSPACE) as db:
            told = "update messages set fate = 'delivered', reported_at = :now"
            await db.execute(text(told), {"now": GivenClock().now()})
        return await real(letter, batch)

    first.send = reported  # type: ignore[method-assign]
    done = await sent(sessions, queue)
    assert not second.calls
    assert (done.accepted, await how(sessions, queue)) == (4, {"accepted": 4})


async def test_who_may_not_go_yet_holds_up_nobody_who_may(sessions: Sessions) -> None:
    desk = await a_provider(sessions, message_class="transactional", domain_rates={"slow.example": 1})
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        for n in range(8):
            await a_bare_message(db, f"m{n}@slow.example", message_class="transactional")
        queue, quick = await a_bare_message(db, "ada@shop.example", message_class="transactional")

    await sent(sessions, queue, timing=BRIEF)
    assert desk.offered == 2, "one to the slow domain, as the clock stands still, and the quick one"
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await column(db, "state", quick) == "accepted"


async def test_however_many_are_refused_at_once_all_go_by_the_next_in_the_same_slice(
    sessions: Sessions,
) -> None:
    taken = iter(range(1000))
    first = await a_provider(sessions, lambda _: YES if next(taken) < 150 else REFUSED)
    second = await a_provider(sessions, priority=2)
    queue = await an_audience(sessions, 400)

    done = await sent(sessions, queue)
    assert (done.accepted, done.again) == (400, 0)
    assert await went_by(sessions) == {first.name: 150, second.name: 250}


async def test_what_every_provider_refuses_waits_with_the_last_ones_words(sessions: Sessions) -> None:
    also = Outcome(OutcomeKind.RETRY, reason="421 closing")
    await a_provider(sessions, lambda _: REFUSED)
    await a_provider(sessions, lambda _: also, priority=2)
    queue = await an_audience(sessions, 20)

    await sent(sessions, queue)
    assert await how(sessions, queue) == {"queued": 20}
    async with sessions(DEFAULT_WORKSPACE) as db:
        reasons = Counter(await some(db, "select reason from messages where attempts > 0"))
    assert set(reasons) == {"421 closing"}
