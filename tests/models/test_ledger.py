"""From the claim to the end: marks, answers, leases that end, and what is given back."""

from collections.abc import Sequence
from datetime import timedelta
from unittest.mock import ANY
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain.messages import MessageState, Skip
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.providers import Provider
from models.queries import claims, ledger, profiles_erased, queued
from models.queries.claims import Cap
from models.queries.ledger import MOST_ATTEMPTS, Queue, Settled, Unsendable
from tests import bookkeeping
from tests.calling import a_webhook
from tests.sending import NOW, a_campaign, a_sender, as_json, at, column, counted, people, some, states

TODAY = Cap(1, "day", NOW.date())
SOON = at(0.25)  # When what is unknown is looked at again.


async def a_batch(
    db: AsyncSession, n: int = 1, *, lease: float = 60, cap: Cap | None = TODAY
) -> tuple[Queue, UUID, list[UUID]]:
    """A campaign's messages, claimed: the queue, the attempt, and their ids. A lease below 0 has ended."""
    queue, attempt = await a_campaign(db, await people(db, n, prefix=f"{uuid4().hex[:6]}-")), uuid7()
    claim = await claims.claim(db, queue, attempt, NOW, lease, 1000, [cap] if cap else [])
    return queue, attempt, [message.id for message in claim.claimed]


async def a_marked_batch(
    db: AsyncSession, n: int = 1, *, lease: float = 60, attempts: int = 1
) -> tuple[Queue, UUID, list[UUID]]:
    queue, attempt, messages = await a_batch(db, n)
    await marked(db, queue, attempt, messages)
    values = {"attempts": attempts, "id": attempt, "lease": lease}
    await db.execute(text("update messages set attempts = :attempts where attempt = :id"), values)
    over = "update leases set until = clock_timestamp() + make_interval(secs => :lease) where id = :id"
    await db.execute(text(over), values)
    return queue, attempt, messages


async def marked(
    db: AsyncSession, queue: Queue, attempt: UUID, messages: Sequence[UUID], again: bool = False
) -> set[UUID]:
    return await bookkeeping.mark(db, queue, attempt, [(id_, ["Ada"]) for id_ in messages], NOW, again)


async def settled(
    db: AsyncSession, queue: Queue, attempt: UUID, *answers: Settled
) -> dict[UUID, MessageState]:
    return await bookkeeping.settle(db, queue, attempt, answers, NOW, SOON)


async def set_state(db: AsyncSession, queue: Queue, state: str) -> None:
    await db.execute(
        text("update campaigns set state = :state where id = :id"), {"state": state, "id": queue.id}
    )


async def holds(db: AsyncSession, message: UUID, **columns: object) -> bool:
    """Whether the message's columns hold these values."""
    found = {name: await column(db, name, message) for name in columns}
    assert found == columns
    return True


# The mark.


async def test_a_marked_message_is_on_its_way_with_what_it_says(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_batch(db)

    assert await marked(db, queue, attempt, [message]) == {message}
    assert await holds(db, message, state="sending", marked_at=NOW, attempts=1, holes=["Ada"])


@pytest.mark.parametrize("state", ["paused", "cancelled", "failed", "completed"])
async def test_nothing_is_marked_for_a_campaign_that_does_not_run(db: AsyncSession, state: str) -> None:
    queue, attempt, messages = await a_batch(db, 2)
    await set_state(db, queue, state)

    assert await marked(db, queue, attempt, messages) == set()
    assert await states(db, queue) == {"claimed": 2}


async def test_nothing_is_marked_after_its_lease_has_ended(db: AsyncSession) -> None:
    queue, attempt, messages = await a_batch(db, lease=-0.001)

    assert await marked(db, queue, attempt, messages) == set()


async def test_a_lease_runs_by_the_databases_clock(db: AsyncSession) -> None:
    queue, attempt, messages = await a_batch(db, lease=60)  # NOW lies months in its past.

    [left] = await some(db, "select extract(epoch from until - clock_timestamp()) from leases")
    assert 50 < left <= 60
    assert await marked(db, queue, attempt, messages) == set(messages)


async def test_only_the_attempt_that_claimed_a_message_may_mark_it(db: AsyncSession) -> None:
    queue, _, [message] = await a_batch(db)
    _, other, _ = await a_batch(db)

    assert await marked(db, queue, other, [message]) == set()


async def test_a_message_is_marked_once_unless_the_answer_was_lost(db: AsyncSession) -> None:
    queue, attempt, messages = await a_batch(db, 2)
    first, _ = messages
    await marked(db, queue, attempt, [first])

    assert await marked(db, queue, attempt, [first]) == set()
    assert await marked(db, queue, attempt, messages, again=True) == set(messages)


async def test_the_mark_of_an_erased_person_is_refused(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_batch(db)
    [person] = await some(db, "select profile_id from messages where id = :id", id=message)
    await profiles_erased.erase(db, person, NOW)

    assert await marked(db, queue, attempt, [message]) == set()
    claim = await claims.claim(db, queue, uuid7(), NOW, 60, 1000)
    assert claim.skipped == [message]
    assert await states(db, queue) == {Skip.ERASED: 1}


# What is put back.


async def test_what_a_pause_held_up_goes_back_to_the_queue(db: AsyncSession) -> None:
    queue, attempt, messages = await a_batch(db, 2)
    await set_state(db, queue, "paused")

    back = await ledger.put_back(db, queue, attempt, messages, NOW)

    assert back == dict.fromkeys(messages, MessageState.QUEUED)
    sooner = NOW - timedelta(microseconds=1)
    assert await holds(db, messages[0], state="queued", attempt=None, closed_at=None, due_at=sooner)


@pytest.mark.parametrize("state", ["cancelled", "failed"])
async def test_what_a_cancelled_campaign_had_claimed_is_skipped(db: AsyncSession, state: str) -> None:
    queue, attempt, messages = await a_batch(db)
    await set_state(db, queue, state)

    back = await ledger.put_back(db, queue, attempt, messages, NOW)

    assert back == dict.fromkeys(messages, MessageState.SKIPPED)
    assert await holds(db, messages[0], state="skipped", reason="cancelled", closed_at=NOW)


async def test_only_what_this_attempt_holds_and_has_not_marked_is_put_back(db: AsyncSession) -> None:
    queue, attempt, [sent, held] = await a_batch(db, 2)
    _, other, [foreign] = await a_batch(db)
    await marked(db, queue, attempt, [sent])

    back = await ledger.put_back(db, queue, attempt, [sent, held, foreign], NOW)

    assert back == {held: MessageState.QUEUED}
    assert await holds(db, sent, state="sending")
    assert await holds(db, foreign, state="claimed", attempt=other)


async def test_a_mark_whose_answer_was_lost_can_be_put_back_as_nothing_was_sent(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_batch(db)
    await marked(db, queue, attempt, [message])
    await set_state(db, queue, "paused")

    assert await marked(db, queue, attempt, [message], again=True) == set()
    back = await ledger.put_back(db, queue, attempt, [message], NOW, again=True)

    assert back == {message: MessageState.QUEUED}


async def test_a_template_error_is_a_reason_with_a_sentence(db: AsyncSession) -> None:
    queue, attempt, [message, other] = await a_batch(db, 2)
    await marked(db, queue, attempt, [other])

    errors = [
        Unsendable(message, Skip.TEMPLATE_ERROR, 'Nobody has "nmae".'),
        Unsendable(other, Skip.TEMPLATE_ERROR, "too late for that"),
    ]
    assert await ledger.skip_unsendable(db, queue, attempt, errors, NOW) == [message]
    assert await holds(
        db, message, state="skipped", reason="template error", detail='Nobody has "nmae".', closed_at=NOW
    )
    assert await holds(db, other, state="sending")


# The answer.


async def test_an_accepted_message_is_closed_with_the_providers_name_for_it(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_marked_batch(db)

    answer = Settled(message, MessageState.ACCEPTED, "provider-1", "250 fine")
    assert await settled(db, queue, attempt, answer) == {message: MessageState.ACCEPTED}
    assert await holds(
        db, message, state="accepted", provider_id="provider-1", reason=None, closed_at=NOW, reconcile_at=None
    )


async def test_a_no_for_good_keeps_its_reason(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_marked_batch(db)

    await settled(db, queue, attempt, Settled(message, MessageState.FAILED, reason="550 no such user"))

    assert await holds(
        db, message, state="failed", reason="550 no such user", closed_at=NOW, reconcile_at=None
    )


async def test_what_nobody_can_say_is_closed_and_looked_at_later(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_marked_batch(db)

    await settled(db, queue, attempt, Settled(message, MessageState.UNKNOWN, reason="no answer"))

    assert await holds(
        db, message, state="unknown", reason="no answer", closed_at=NOW, reconcile_at=SOON, attempt=attempt
    )


@pytest.mark.parametrize(
    ("attempts", "wish", "pause"),
    [(1, None, 2), (1, 60, 60), (5, None, 32), (5, 3, 32), (9, None, 512), (3, 7200, 7200)],
)
async def test_a_no_before_acceptance_is_tried_again_after_a_pause(
    db: AsyncSession, attempts: int, wish: float | None, pause: float
) -> None:
    queue, attempt, [message] = await a_marked_batch(db, attempts=attempts)

    no = Settled(message, MessageState.QUEUED, reason="421 busy", retry_after=wish)
    assert await settled(db, queue, attempt, no) == {message: MessageState.QUEUED}
    assert await holds(
        db,
        message,
        state="queued",
        reason="421 busy",
        closed_at=None,
        attempt=None,
        due_at=NOW + timedelta(seconds=pause),
    )


async def test_what_was_refused_too_often_is_given_up(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_marked_batch(db, attempts=MOST_ATTEMPTS)

    no = Settled(message, MessageState.QUEUED, reason="421 busy", retry_after=9)
    assert await settled(db, queue, attempt, no) == {message: MessageState.FAILED}
    assert await holds(db, message, state="failed", reason="421 busy", closed_at=NOW, due_at=NOW)


@pytest.mark.parametrize("state", ["accepted", "failed", "unknown", "queued"])
async def test_an_answer_that_is_written_twice_changes_nothing(db: AsyncSession, state: str) -> None:
    queue, attempt, [message] = await a_marked_batch(db)
    answer = Settled(message, MessageState(state), reason="so it is")
    await settled(db, queue, attempt, answer)
    [before] = await some(db, "select to_jsonb(m) from messages m where id = :id", id=message)

    assert await settled(db, queue, attempt, answer) == {}
    [after] = await some(db, "select to_jsonb(m) from messages m where id = :id", id=message)
    assert before == after


@pytest.mark.parametrize("truth", [MessageState.ACCEPTED, MessageState.FAILED])
async def test_the_truth_may_come_after_the_lease_ended(db: AsyncSession, truth: MessageState) -> None:
    queue, attempt, [message] = await a_marked_batch(db, lease=-1)
    await ledger.recover(db, queue, at(1), SOON)

    assert await settled(db, queue, attempt, Settled(message, truth, "id", "why")) == {message: truth}
    assert await holds(db, message, state=truth, reconcile_at=None, closed_at=at(1))


async def test_an_unknown_message_is_not_queued_again_by_a_late_answer(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_marked_batch(db, lease=-1)
    await ledger.recover(db, queue, NOW, SOON)

    assert await settled(db, queue, attempt, Settled(message, MessageState.QUEUED)) == {}
    assert await holds(db, message, state="unknown", reconcile_at=NOW)


@pytest.mark.parametrize("first", [MessageState.ACCEPTED, MessageState.FAILED])
@pytest.mark.parametrize("second", ["accepted", "failed", "unknown", "queued"])
async def test_what_is_known_never_changes(db: AsyncSession, first: MessageState, second: str) -> None:
    queue, attempt, [message] = await a_marked_batch(db)
    await settled(db, queue, attempt, Settled(message, first))

    assert await settled(db, queue, attempt, Settled(message, MessageState(second))) == {}
    assert await holds(db, message, state=first)


async def test_only_the_attempt_that_sent_a_message_settles_it(db: AsyncSession) -> None:
    queue, _, [message] = await a_marked_batch(db)

    assert await settled(db, queue, uuid7(), Settled(message, MessageState.ACCEPTED)) == {}


@pytest.mark.parametrize(
    "before",
    [
        "state = 'sending'",
        "state = 'unknown', reason = 'no answer', closed_at = :at, reconcile_at = :at",
        "state = 'accepted', closed_at = :at",
        "state = 'failed', closed_at = :at",
        "reported_at = :at, fate = 'failed', reason = '550 no such user'",
        "provider_id = 'reported'",
        "attempt = id",
    ],
)
@pytest.mark.parametrize("theirs", ["provider-1", None])
async def test_the_short_way_of_settling_writes_what_the_long_one_does(
    db: AsyncSession, before: str, theirs: str | None
) -> None:
    queue, attempt, [message] = await a_marked_batch(db)
    values = {"at": at(-1), "id": message} if ":at" in before else {"id": message}
    await db.execute(text(f"update messages set {before} where id = :id"), values)

    answers, found = [Settled(message, MessageState.ACCEPTED, theirs)], []
    for asked in (
        ledger.settling(queue, attempt, answers, NOW, SOON),
        ledger.accepting(queue, attempt, answers, NOW),
    ):
        async with db.begin_nested() as trial:
            settled_now = [row[0] for row in await db.execute(*asked)]
            found.append((settled_now, await some(db, "select to_jsonb(m) from messages m order by id")))
            await trial.rollback()
    assert found[0] == found[1]


@pytest.mark.parametrize(("state", "settles"), [("enabled", False), ("disabled", True)])
async def test_the_short_way_of_settling_is_closed_while_a_webhook_may_ask(
    db: AsyncSession, state: str, settles: bool
) -> None:
    await a_webhook(db, state=state)
    queue, attempt, [message] = await a_marked_batch(db)

    asked = ledger.accepting(queue, attempt, [Settled(message, MessageState.ACCEPTED)], NOW)
    assert [row[0] for row in await db.execute(*asked)] == [message] * settles
    assert await holds(db, message, state="accepted" if settles else "sending")


# Leases that end.


async def test_what_a_dead_worker_had_only_claimed_is_queued_again(db: AsyncSession) -> None:
    queue, _, [message] = await a_batch(db, lease=-1)

    assert await ledger.recover(db, queue, NOW, SOON) == {message: MessageState.QUEUED}
    assert await holds(
        db, message, state="queued", attempt=None, reason=None, closed_at=None, reconcile_at=None
    )
    assert len((await claims.claim(db, queue, uuid7(), NOW, 60, 10)).claimed) == 1


async def test_what_a_dead_worker_had_marked_is_unknown(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_marked_batch(db, lease=-1)

    assert await ledger.recover(db, queue, NOW, SOON) == {message: MessageState.UNKNOWN}
    assert await holds(db, message, state="unknown", attempt=attempt, closed_at=NOW, reconcile_at=NOW)
    assert "stopped" in await column(db, "reason", message)
    assert not (await claims.claim(db, queue, uuid7(), NOW, 60, 10)).found


async def test_what_a_provider_may_still_report_is_not_decided_about_before(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_batch(db, lease=60)
    telling = Provider(workspace_id=queue.workspace_id, name="Ours", kind="telling", channel="email")
    db.add(telling)
    await db.flush()
    await bookkeeping.mark(db, queue, attempt, [(message, [])], NOW, provider=telling.id)
    await db.execute(text("update leases set until = clock_timestamp() - interval '1 second'"))

    assert await ledger.recover(db, queue, NOW, SOON, ["telling"]) == {message: MessageState.UNKNOWN}
    assert await holds(db, message, state="unknown", provider=telling.id, reconcile_at=SOON)


async def test_a_hold_that_has_ended_is_not_renewed(db: AsyncSession) -> None:
    queue, attempt, [message] = await a_batch(db, lease=-1)

    await bookkeeping.renew(db, queue, attempt, 60)

    assert await ledger.recover(db, queue, NOW, SOON) == {message: MessageState.QUEUED}


async def test_only_the_queues_own_leases_that_have_ended_are_taken_over(db: AsyncSession) -> None:
    queue, _, _ = await a_batch(db, lease=60)
    other, _, _ = await a_batch(db, lease=-1)

    assert await ledger.recover(db, queue, NOW, SOON) == {}
    assert await states(db, queue) == {"claimed": 1}
    assert await states(db, other) == {"claimed": 1}


async def test_a_lease_is_taken_over_once(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue, _, [message] = await a_batch(db, lease=-1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await ledger.recover(db, queue, NOW, SOON) == {message: MessageState.QUEUED}
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await ledger.recover(db, queue, NOW, SOON) == {}


async def test_a_batch_that_is_done_leaves_no_lease(db: AsyncSession) -> None:
    queue, attempt, _ = await a_batch(db)
    assert await queued.ahead(db, queue) == (1, None, ANY)
    await bookkeeping.drop_lease(db, queue, attempt)

    assert (await queued.ahead(db, queue)).lease_left is None


async def test_a_claim_that_takes_nothing_leaves_no_lease(db: AsyncSession) -> None:
    queue = await a_campaign(db, await people(db, 1), expires_at=NOW)
    await claims.claim(db, queue, uuid7(), NOW, 60, 10)

    assert await some(db, "select id from leases") == []


# Caps are given back for what did not go.


@pytest.fixture
async def capped(db: AsyncSession) -> None:
    await a_sender(db, caps=as_json([{"channel": "email", "limit": 9, "period": "day"}]))


@pytest.mark.parametrize(("state", "left"), [("failed", 0), ("queued", 0), ("accepted", 1), ("unknown", 1)])
@pytest.mark.usefixtures("capped")
async def test_a_counter_holds_what_may_have_been_sent(db: AsyncSession, state: str, left: int) -> None:
    queue, attempt, [message] = await a_marked_batch(db)
    found = await settled(db, queue, attempt, Settled(message, MessageState(state)))
    unsent = [id_ for id_, now in found.items() if now in (MessageState.FAILED, MessageState.QUEUED)]
    await ledger.give_back(db, DEFAULT_WORKSPACE, unsent)

    assert await counted(db) == left


@pytest.mark.usefixtures("capped")
async def test_a_counter_is_given_back_in_the_period_in_which_it_was_taken(db: AsyncSession) -> None:
    await db.execute(text("update workspaces set time_zone = 'Pacific/Auckland'"))
    queue, attempt = await a_campaign(db, await people(db, 2)), uuid7()
    tomorrow = Cap(5, "day", (NOW + timedelta(days=1)).date())  # It is, there.
    claim = await claims.claim(db, queue, attempt, NOW, 60, 10, [tomorrow])
    await ledger.give_back(db, DEFAULT_WORKSPACE, [claim.claimed[0].id])

    assert await some(db, "select n from cap_counters order by n") == [0, 1]


@pytest.mark.usefixtures("capped")
async def test_what_knows_no_cap_gives_nothing_back(db: AsyncSession) -> None:
    [person] = await people(db, 1)
    marketing, attempt = await a_campaign(db, [person]), uuid7()
    await claims.claim(db, marketing, attempt, NOW, 60, 10, [TODAY])
    service = await a_campaign(db, [person], message_class="transactional")
    claim = await claims.claim(db, service, uuid7(), NOW, 60, 10, [TODAY])
    await ledger.give_back(db, DEFAULT_WORKSPACE, [claim.claimed[0].id])

    assert await counted(db) == 1


@pytest.mark.usefixtures("capped")
async def test_what_a_dead_worker_had_only_claimed_counts_no_more(db: AsyncSession) -> None:
    claimed, _, _ = await a_batch(db, 2, lease=-1)
    marked_, _, _ = await a_marked_batch(db, 3, lease=-1)
    assert await counted(db) == 5

    for queue in (claimed, marked_):
        await ledger.recover(db, queue, NOW, SOON)

    assert await counted(db) == 3


# Cancelling, looking ahead, and those who wait for a message.


async def test_cancelling_skips_what_is_queued_and_nothing_else(db: AsyncSession) -> None:
    queue = await a_campaign(db, await people(db, 3))
    claim = await claims.claim(db, queue, uuid7(), NOW, 60, 2)
    other = await a_campaign(db, await people(db, 1, prefix="q"))
    await marked(db, queue, (await some(db, "select id from leases"))[0], [claim.claimed[0].id])

    assert await queued.cancel(db, queue, NOW) == 1
    assert await queued.cancel(db, queue, NOW) == 0
    assert await states(db, queue) == {"claimed": 1, "sending": 1, Skip.CANCELLED: 1}
    assert await states(db, other) == {"queued": 1}


async def test_looking_ahead_tells_what_is_open_when_it_is_due_and_how_long_it_is_held(
    db: AsyncSession,
) -> None:
    queue = await a_campaign(db, await people(db, 3), due_at=at(2))
    assert await queued.ahead(db, queue) == (3, at(2), None)

    first = "select id from messages order by id limit 1"
    for due in (
        f"update messages set due_at = :now where id = ({first})",
        f"update queue set due_at = :now where message_id = ({first})",
    ):
        await db.execute(text(due), {"now": NOW})
    await claims.claim(db, queue, uuid7(), NOW, 60, 10)
    held = await queued.ahead(db, queue)
    assert held[:2] == (3, at(2))
    assert held.lease_left is not None
    assert 50 < held.lease_left <= 60

    await db.execute(text("update leases set until = clock_timestamp() - interval '5 s'"))
    over = (await queued.ahead(db, queue)).lease_left
    assert over is not None
    assert over < 0
    await queued.cancel(db, queue, NOW)
    assert (await queued.ahead(db, queue)).open == 1
