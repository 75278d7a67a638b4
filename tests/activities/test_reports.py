"""What providers report is settled, in whatever order it comes, once, and for its own workspace."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from activities.reports import Reported
from domain import verp
from domain.messages import MessageState, SourceKind
from domain.reports import ANSWER, MAIL, MAILBOX
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import claims, enrollments, flows, hooks, ledger, reconcile, singles
from models.queries.hooks import Coming
from models.queries.ledger import Queue
from tests import bookkeeping
from tests.databases import Database
from tests.domain.test_notices import PATH, POSTFIX, mail
from tests.people import a_message, a_person, another_workspace
from tests.reporting import TOKENS, a_report, a_settler, an_account, came, settled
from tests.sending import (
    NOW,
    a_campaign,
    a_flow,
    a_graph,
    a_sender,
    a_template,
    at,
    people,
    send,
    some,
    states,
    wait,
)
from tests.support import GivenClock


async def rows(sessions: Sessions, asked: str, **values: Any) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [tuple(row) for row in await db.execute(text(asked), values)]


async def fate(sessions: Sessions, message: UUID) -> tuple[Any, ...]:
    [found] = await rows(sessions, "select state, fate, reason from messages where id = :id", id=message)
    return tuple(found)


async def a_mail(sessions: Sessions, state: str = "accepted", **values: Any) -> UUID:
    """A mail that was on the wire."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        who = await a_person(db, "ada@shop.example")
        return await a_message(db, who, state=state, **{"marked_at": NOW, **values})


async def test_a_delivery_is_the_messages_fate(sessions: Sessions) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    await came(sessions, account, a_report("delivered", message))

    done = await settled(sessions)

    assert (done.hooks, done.reports, done.raised) == (1, 1, 1)
    assert await fate(sessions, message) == ("accepted", "delivered", None)
    assert await rows(sessions, "select channel, delivered, hard from deliveries") == [("email", 1, 0)]
    async with sessions.engine() as db:
        assert await some(db, "select count(*) from hooks") == [0]


async def test_a_reason_is_kept_without_the_address_that_it_names(sessions: Sessions) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    words = "550 <ada@shop.example> is gone, call +49 151 1234567"
    await came(sessions, account, a_report("hard bounce", message, reason=words))

    await settled(sessions)

    assert await fate(sessions, message) == ("accepted", "hard bounce", "550 <…> is gone, call …")


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("together", [True, False])
async def test_a_fate_only_rises_in_whatever_order_reports_come(
    sessions: Sessions, order: int, together: bool
) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    told = [
        a_report(kind, message, at=at(n), reason=f"because {n}")
        for n, kind in enumerate(["deferred", "delivered", "soft bounce", "complained", "read"])
    ][::order]
    if together:
        await came(sessions, account, *told)
    for each in () if together else told:
        await came(sessions, account, each)
        await settled(sessions)
    await settled(sessions)

    assert await fate(sessions, message) == ("accepted", "complained", "because 3")
    assert await rows(sessions, "select sum(delivered), sum(complained) from deliveries") == [(1, 1)]
    assert await rows(sessions, "select reason, source from suppressions") == [("complained", "Parrot")]


@pytest.mark.parametrize("together", [True, False])
async def test_what_was_reported_before_stays_in_the_story(sessions: Sessions, together: bool) -> None:
    message = await a_mail(sessions, marked_at=NOW - timedelta(minutes=1))
    account = await an_account(sessions)
    told = [
        a_report("deferred", message, at=at(1), reason="452 full"),
        a_report("delivered", message, at=at(2), reason="250 OK"),
        a_report("complained", message, at=at(3), reason="abuse"),
    ]
    await came(sessions, account, *(told if together else told[:1]))
    for each in () if together else told[1:]:
        await settled(sessions)
        await came(sessions, account, each)
    await settled(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        story = await singles.told(db, await singles.get(db, message), NOW)
    expected = [
        "The provider is still trying to deliver it: 452 full.",
        "It was delivered.",
        "The person called it spam: abuse.",
    ]
    assert [each.what for each in story if each.what in expected] == expected


async def test_what_arrived_has_no_reason(sessions: Sessions) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    await came(sessions, account, a_report("deferred", message, at=at(1), reason="452 full"))
    await settled(sessions)
    assert await fate(sessions, message) == ("accepted", "deferred", "452 full")

    await came(sessions, account, a_report("delivered", message, at=at(2), reason="250 OK"))
    await settled(sessions)
    assert await fate(sessions, message) == ("accepted", "delivered", None)


async def test_a_report_that_comes_again_counts_once(sessions: Sessions) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    told = a_report("delivered", message)
    await came(sessions, account, told, told)
    await came(sessions, account, told)
    first = await settled(sessions)
    await came(sessions, account, told)

    again = await settled(sessions)

    assert (first.reports, first.repeated, again.reports, again.repeated) == (1, 2, 0, 1)
    assert await rows(sessions, "select sum(delivered) from deliveries") == [(1,)]
    assert await rows(sessions, "select reports, repeated from hook_days") == [(1, 3)]


async def test_two_who_settle_at_once_count_everything_once(sessions: Sessions) -> None:
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        sent = [await a_message(db, who, marked_at=NOW) for who in await people(db, 30)]
    for each in sent:
        await came(sessions, account, a_report("delivered", each), a_report("opened", each))

    done = await asyncio.gather(*(_until_nothing_waits(sessions) for _ in range(3)))

    assert sum(each.reports for each in done) == 60
    assert await rows(sessions, "select sum(delivered) from deliveries") == [(30,)]


async def _until_nothing_waits(sessions: Sessions) -> Reported:
    done, settler = Reported(), a_settler(sessions, most=4)
    while True:
        await settler.round(done)
        async with sessions.engine() as db:
            if await some(db, "select count(*) from hooks") == [0]:
                return done


@pytest.mark.parametrize(
    ("kind", "state"),
    [("accepted", "accepted"), ("delivered", "accepted"), ("hard bounce", "accepted"), ("failed", "failed")],
)
async def test_what_was_unknown_is_known_by_a_report(sessions: Sessions, kind: str, state: str) -> None:
    message, account = await a_mail(sessions, "unknown", reconcile_at=at(1)), await an_account(sessions)
    await came(sessions, account, a_report(kind, message))

    done = await settled(sessions)

    assert done.known == 1
    assert (await fate(sessions, message))[0] == state
    assert await rows(sessions, "select reconcile_at from messages") == [(None,)]


async def test_what_waits_to_be_sent_again_is_not_when_the_provider_has_it(sessions: Sessions) -> None:
    """And counts for the person's cap after all."""
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, caps='[{"channel": "email", "limit": 9, "period": "day"}]')
        [who] = await people(db, 1)
        queue = await a_campaign(db, [who], marked_at=NOW, claimed_at=NOW)
        [message] = await some(db, "select id from messages")
    await came(sessions, account, a_report("delivered", message))

    done = await settled(sessions)

    assert done.closed == 1
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"accepted": 1}
        assert await some(db, "select count(*) from queue") == [0]
        assert await some(db, "select n from cap_counters") == [1]
        again = await claims.claim(db, queue, uuid4(), at(9), 60, 9)
    assert again.claimed == []


async def test_a_claimed_message_that_the_provider_has_can_not_be_marked(sessions: Sessions) -> None:
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        queue = await a_campaign(db, await people(db, 2), marked_at=NOW)
        attempt = uuid7()
        claimed = (await claims.claim(db, queue, attempt, NOW, 60, 9)).claimed
    await came(sessions, account, a_report("delivered", claimed[0].id))
    await settled(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        marked = await bookkeeping.mark(db, queue, attempt, [(each.id, ["x"]) for each in claimed], NOW)
        assert marked == {claimed[1].id}
        assert await ledger.put_back(db, queue, attempt, [claimed[0].id], NOW) == {}
        done = [ledger.Settled(claimed[1].id, MessageState.ACCEPTED)]
        await bookkeeping.settle(db, queue, attempt, done, NOW, at(1))
    assert (await fate(sessions, claimed[0].id))[:2] == ("accepted", "delivered")


async def test_a_member_of_a_flow_goes_on_when_their_message_proves_to_be_sent(sessions: Sessions) -> None:
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        template, _ = await a_template(db)
        who = await people(db, 1)
        flow_id = await a_flow(db, a_graph({"a": send(template, "b"), "b": wait(60)}, "a"))
        flow, *_ = await flows.publish(db, flow_id)
        await enrollments.enroll(db, DEFAULT_WORKSPACE, flow.id, [(who[0], "once", {})], NOW)
        [message] = await some(db, "update messages set marked_at = now() returning id")
    await came(sessions, account, a_report("delivered", message))

    await settled(sessions)

    assert await rows(sessions, "select step, waiting_for from enrollments") == [("b", None)]
    async with sessions.engine() as db:
        assert await some(db, "select work from pokes where work = 'advance'") == ["advance"]


async def test_what_was_never_on_the_wire_is_sent_whatever_is_reported(sessions: Sessions) -> None:
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = await a_campaign(db, await people(db, 1))
        [message] = await some(db, "select id from messages")
    await came(sessions, account, a_report("delivered", message))
    await settled(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"queued": 1}
    assert await fate(sessions, message) == ("queued", None, None)


async def _on_the_wire(sessions: Sessions) -> tuple[Queue, UUID, UUID]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        queue = await a_campaign(db, await people(db, 1))
        attempt = uuid7()
        [claimed] = (await claims.claim(db, queue, attempt, NOW, 60, 9)).claimed
        await bookkeeping.mark(db, queue, attempt, [(claimed.id, ["x"])], NOW)
    return queue, attempt, claimed.id


@pytest.mark.parametrize("outcome", [MessageState.QUEUED, MessageState.UNKNOWN, MessageState.ACCEPTED])
async def test_whatever_its_sender_thinks_a_message_that_is_reported_on_while_it_is_sent_is_accepted(
    sessions: Sessions, outcome: MessageState
) -> None:
    """A report may be faster than the answer, and the answer may be lost, or wrong."""
    account = await an_account(sessions)
    queue, attempt, message = await _on_the_wire(sessions)
    await came(sessions, account, a_report("delivered", message))
    await settled(sessions)
    assert await fate(sessions, message) == ("sending", "delivered", None)

    async with sessions(DEFAULT_WORKSPACE) as db:
        answers = [ledger.Settled(message, outcome, reason="451 not now")]
        await bookkeeping.settle(db, queue, attempt, answers, NOW, at(1))

    assert await fate(sessions, message) == ("accepted", "delivered", None)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await bookkeeping.drop_lease(db, queue, attempt)


@pytest.mark.parametrize("first", ["the answer", "what follows from it"])
async def test_a_no_that_says_that_an_address_is_gone_is_no_proof_that_the_message_was_taken(
    sessions: Sessions, first: str
) -> None:
    account = await an_account(sessions)
    queue, attempt, message = await _on_the_wire(sessions)
    said = [{"id": str(message), "address": "p1@shop.example", "reason": "550 no", "kind": "hard bounce"}]
    hook = Coming(uuid7(), DEFAULT_WORKSPACE, account, NOW, ANSWER, "", {}, json.dumps(said).encode())
    async with sessions.engine_batch() as db:
        await hooks.put(db, [hook])
    if first == "what follows from it":
        await settled(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        refused = ledger.Settled(message, MessageState.FAILED, reason="550 no")
        await bookkeeping.settle(db, queue, attempt, [refused], NOW, at(1))
        await bookkeeping.drop_lease(db, queue, attempt)
    await settled(sessions)

    assert await fate(sessions, message) == ("failed", "hard bounce", "550 no")
    assert await rows(sessions, "select reason from suppressions") == [("hard bounce",)]


async def test_a_message_whose_sender_died_after_it_was_reported_on_is_accepted(sessions: Sessions) -> None:
    account, clock = await an_account(sessions), GivenClock()
    queue, _, message = await _on_the_wire(sessions)
    await came(sessions, account, a_report("delivered", message))
    await settled(sessions, clock)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update leases set until = clock_timestamp() - interval '1 s'"))
        await ledger.recover(db, queue, NOW, at(1))

    clock.move(timedelta(seconds=2))
    await settled(sessions, clock)

    assert (await fate(sessions, message))[:2] == ("accepted", "delivered")
    assert await rows(sessions, "select count(*) from early_reports") == [(0,)]


async def test_a_message_that_stays_in_a_dead_workers_hands_is_looked_at_less_and_less_often(
    sessions: Sessions,
) -> None:
    """As of a paused campaign, whose leases nobody takes over. What was reported is not forgotten by that."""
    account, clock = await an_account(sessions), GivenClock()
    queue, _, message = await _on_the_wire(sessions)
    await came(sessions, account, a_report("delivered", message))
    looks = strays = 0
    for _ in range(90):
        done = await settled(sessions, clock)
        looks, strays = looks + done.early, strays + done.stray
        clock.move(timedelta(minutes=1))

    assert (looks, strays) == (7, 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update leases set until = clock_timestamp() - interval '1 s'"))
        await db.execute(text("update workspaces set unknown_policy = 'resend'"))
        await ledger.recover(db, queue, NOW, NOW)
    async with sessions.engine() as db:
        assert (await reconcile.decide(db, at(1)))[0] == 0
    assert (await fate(sessions, message))[:2] == ("accepted", "delivered")


async def _sent_once_more(sessions: Sessions) -> UUID:
    """A campaign's mail of which nobody knows anything, and which is queued again."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        await db.execute(text("update workspaces set unknown_policy = 'resend'"))
        await a_campaign(db, await people(db, 1), marked_at=NOW, reconcile_at=NOW)
        await db.execute(text("delete from queue"))
        message: UUID
        [message] = await some(db, "update messages set state = 'unknown', closed_at = now() returning id")
    async with sessions.engine() as db:
        assert await reconcile.decide(db, NOW) == (1, 0)
    return message


OUTBOX = Queue(DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, SourceKind.OUTBOX)


@pytest.mark.parametrize("state", ["queued", "claimed"])
async def test_what_waits_to_be_sent_in_the_place_of_a_message_that_proves_to_be_sent_is_not(
    sessions: Sessions, state: str
) -> None:
    account, message = await an_account(sessions), await _sent_once_more(sessions)
    attempt = uuid7()
    if state == "claimed":
        async with sessions(DEFAULT_WORKSPACE) as db:
            [claimed] = (await claims.claim(db, OUTBOX, attempt, NOW, 60, 9)).claimed
    await came(sessions, account, a_report("delivered", message))

    done = await settled(sessions)

    assert (done.known, done.closed) == (1, 1)
    asked = "select resend, state, reason from messages order by resend"
    assert await rows(sessions, asked) == [(0, "accepted", None), (1, "skipped", "cancelled")]
    assert await rows(sessions, "select count(*) from queue") == [(0,)]
    if state == "claimed":
        async with sessions(DEFAULT_WORKSPACE) as db:
            assert await bookkeeping.mark(db, OUTBOX, attempt, [(claimed.id, ["x"])], NOW) == set()


async def test_a_report_waits_while_somebody_has_the_second_try_in_hand(sessions: Sessions) -> None:
    account, clock, message = await an_account(sessions), GivenClock(), await _sent_once_more(sessions)
    await came(sessions, account, a_report("delivered", message))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("select from messages where resend = 1 for update"))
        done = await settled(sessions, clock)
        assert (done.raised, done.early) == (0, 1)

    clock.move(timedelta(seconds=2))
    done = await settled(sessions, clock)

    assert (done.raised, done.closed) == (1, 1)


async def test_what_the_provider_dropped_is_still_sent_once_more(sessions: Sessions) -> None:
    account, message = await an_account(sessions), await _sent_once_more(sessions)
    await came(sessions, account, a_report("failed", message))

    await settled(sessions)

    asked = "select resend, state from messages order by resend"
    assert await rows(sessions, asked) == [(0, "failed"), (1, "queued")]


async def test_a_message_in_somebodys_hands_is_left_to_them_and_settled_a_moment_later(
    sessions: Sessions,
) -> None:
    clock = GivenClock()
    message, account = await a_mail(sessions), await an_account(sessions)
    await came(sessions, account, a_report("delivered", message))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("select from messages for update"))
        done = await settled(sessions, clock)
        assert (done.raised, done.early) == (0, 1)

    clock.move(timedelta(seconds=2))
    await settled(sessions, clock)

    assert await fate(sessions, message) == ("accepted", "delivered", None)


async def test_a_report_waits_an_hour_for_its_message_and_is_a_stray_then(sessions: Sessions) -> None:
    clock, account, nowhere = GivenClock(), await an_account(sessions), uuid4()
    await came(sessions, account, a_report("delivered", nowhere))
    first = await settled(sessions, clock)
    strays = 0
    for _ in range(20):
        clock.move(timedelta(minutes=5))
        strays += (await settled(sessions, clock)).stray

    assert (first.early, first.stray, strays) == (1, 0, 1)
    assert await rows(sessions, "select sum(stray) from hook_days") == [(1,)]
    assert await rows(sessions, "select count(*) from early_reports") == [(0,)]


async def test_a_report_that_came_before_its_message_counts_when_that_is_there(sessions: Sessions) -> None:
    clock, account, message = GivenClock(), await an_account(sessions), uuid7()
    await came(sessions, account, a_report("delivered", message))
    await settled(sessions, clock)
    await a_mail(sessions, id=message)
    clock.move(timedelta(minutes=1))

    await settled(sessions, clock)

    assert await fate(sessions, message) == ("accepted", "delivered", None)


async def test_a_provider_of_one_workspace_says_nothing_of_anothers_messages(sessions: Sessions) -> None:
    message, theirs = await a_mail(sessions, "unknown"), await another_workspace(sessions)
    account = await an_account(sessions, workspace_id=theirs)
    told = [
        a_report(kind, message, address="ada@shop.example")
        for kind in ("hard bounce", "complained", "unsubscribed")
    ]
    await came(sessions, account, *told, workspace_id=theirs)

    await settled(sessions)

    assert await fate(sessions, message) == ("unknown", None, None)
    assert await rows(sessions, "select count(*) from suppressions") == [(0,)]
    assert await rows(sessions, "select state from consents where purpose = 'email'") == [("granted",)]
    assert await rows(sessions, "select count(*) from deliveries") == [(0,)]


async def test_the_same_key_of_two_accounts_is_two_reports(sessions: Sessions) -> None:
    message = await a_mail(sessions)
    await came(sessions, await an_account(sessions), a_report("delivered", message, key="1"))
    await came(sessions, await an_account(sessions), a_report("complained", message, key="1"))

    assert (await settled(sessions)).reports == 2
    assert (await fate(sessions, message))[1] == "complained"


async def test_a_message_is_found_by_what_the_provider_calls_it(sessions: Sessions) -> None:
    message, account = await a_mail(sessions, provider_id="their-7"), await an_account(sessions)
    told = a_report("delivered", provider_id="their-7", address="Ada@shop.example")
    await came(
        sessions, account, told, a_report("delivered", provider_id="their-8", address="ada@shop.example")
    )

    done = await settled(sessions)

    assert (done.raised, done.early) == (1, 1)
    assert (await fate(sessions, message))[1] == "delivered"


async def test_what_nobody_can_read_holds_up_nothing_else(sessions: Sessions) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    for body in (b"[", b'[{"kind": "unheard of"}]', b"7", b"\xff"):
        hook = Coming(uuid7(), DEFAULT_WORKSPACE, account, NOW, "POST", "", {}, body)
        async with sessions.engine_batch() as db:
            await hooks.put(db, [hook])
    await came(sessions, account, a_report("delivered", message))

    done = await settled(sessions)

    assert (done.hooks, done.unread, done.raised) == (5, 4, 1)
    assert await rows(sessions, "select unread from hook_days") == [(4,)]


async def test_what_the_database_refuses_holds_up_nothing_else(sessions: Sessions) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    nul = a_report("replied", text="a\0b", address="ada\0@shop.example", reason="\ud800", extra={"a": "\0"})
    await came(sessions, account, nul, a_report("delivered", message, reason="x" * 10_000, key="k" * 5_000))

    done = await settled(sessions)

    assert (done.hooks, done.unread, done.raised) == (1, 0, 1)


async def test_a_refused_row_is_dropped_alone(sessions: Sessions, database: Database) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    with psycopg.connect(database.admin_url.replace("+psycopg", "")) as db:
        db.execute("alter table reported add constraint never check (key not like '%poison')")
    await came(sessions, account, a_report("delivered", message, key="poison"))
    await came(sessions, account, a_report("delivered", message, key="good"))

    done = await settled(sessions)

    assert (done.unread, done.raised) == (1, 1)
    assert (await fate(sessions, message))[1] == "delivered"


async def test_a_webhook_with_more_words_than_a_transaction_takes_is_settled_in_several(
    sessions: Sessions,
) -> None:
    account, settler = await an_account(sessions), a_settler(sessions)
    words = [a_report("unsubscribed", address=f"p{n}@shop.example") for n in range(450)]
    await came(sessions, account, *words)

    batches = [await settler.batch(DEFAULT_WORKSPACE, 200) for _ in range(4)]

    assert [each.reports for each in batches] == [450, 0, 0, 0]
    assert [each.more for each in batches] == [True, True, False, False]
    assert await rows(sessions, "select count(*) from suppressions") == [(450,)]
    assert await rows(sessions, "select count(*) from early_reports") == [(0,)]


async def test_one_workspaces_words_hold_up_no_others_reports(sessions: Sessions) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    theirs = await another_workspace(sessions)
    loud = await an_account(sessions, workspace_id=theirs)
    words = [a_report("unsubscribed", address=f"p{n}@shop.example") for n in range(450)]
    await came(sessions, loud, *words, workspace_id=theirs)
    await came(sessions, account, a_report("delivered", message))

    await a_settler(sessions, turn=0).round(Reported())

    assert (await fate(sessions, message))[1] == "delivered"
    async with sessions.engine() as db:
        assert await some(db, "select count(*) from early_reports") == [250]


async def test_what_the_database_refuses_among_the_rest_of_a_webhook_is_dropped_alone(
    sessions: Sessions, database: Database
) -> None:
    message, account = await a_mail(sessions), await an_account(sessions)
    said = [a_report("unsubscribed", address=f"p{n}@shop.example") for n in range(220)]
    said += [a_report("unsubscribed", address="poison@shop.example"), a_report("delivered", message)]
    with psycopg.connect(database.admin_url.replace("+psycopg", "")) as db:
        db.execute("alter table suppressions add constraint never check (address <> 'poison@shop.example')")
    await came(sessions, account, *said)
    done, settler = Reported(), a_settler(sessions)

    while await settler.round(done):
        pass

    assert (done.unread, done.raised) == (1, 1)
    assert await rows(sessions, "select count(*) from suppressions") == [(220,)]


async def test_a_notice_suppresses_nobody_but_whom_the_mail_went_to(sessions: Sessions) -> None:
    """Who was erased still has the return path, and may write into a notice whom they like."""
    message = await a_mail(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update messages set address = null"))
    raw = mail(POSTFIX).replace(PATH.encode(), verp.address("x.example", message, TOKENS).encode())
    raw = raw.replace(b"nobody@example.com", b"somebody@else.example")
    async with sessions.engine_batch() as db:
        hook = Coming(uuid7(), DEFAULT_WORKSPACE, MAILBOX, NOW, MAIL, "", {}, raw)
        await hooks.put(db, [hook])

    done = await settled(sessions)

    assert (done.raised, done.suppressed) == (1, 0)
    assert await rows(sessions, "select count(*) from suppressions") == [(0,)]


async def test_a_notice_of_a_mail_server_settles_a_mail_of_whatever_workspace(sessions: Sessions) -> None:
    message = await a_mail(sessions)
    raw = mail(POSTFIX).replace(PATH.encode(), verp.address("x.example", message, TOKENS).encode())
    async with sessions.engine_batch() as db:
        owners = await hooks.owners(db, {message, uuid4()})
        hook = Coming(uuid7(), owners[message].workspace_id, MAILBOX, NOW, MAIL, "", {}, raw)
        await hooks.put(db, [hook])

    await settled(sessions)

    assert (await fate(sessions, message))[1] == "hard bounce"
    assert await rows(sessions, "select reason, source from suppressions") == [
        ("hard bounce", "the mail server")
    ]
