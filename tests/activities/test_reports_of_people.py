"""What reports say of people: whom nothing must reach any more, and what they said themselves."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from domain.channels import Channel
from domain.profiles import ConsentSource, ConsentState, IdentityKind, Purpose, address_hash
from domain.reports import ANSWER
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.lists import Topic
from models.profiles import Consent, Identity
from models.queries import flows, hooks, profiles, reports, suppressions
from models.queries.hooks import Coming
from models.queries.profiles_erased import erase
from tests.arrivals import pump
from tests.people import HERE, a_message, a_person
from tests.reporting import a_report, an_account, came, settled
from tests.sending import NOW, a_flow, a_graph, a_segment, at, some, wait
from tests.support import GivenClock

ADA = "ada@shop.example"
PHONE = "+4915112345678"
YESTERDAY = NOW - timedelta(days=1)


async def rows(sessions: Sessions, asked: str, **values: Any) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [tuple(row) for row in await db.execute(text(asked), values)]


async def ada(sessions: Sessions, channel: str = "email", **values: Any) -> tuple[UUID, UUID]:
    """Ada, who has a phone and granted everything, and a message that reached her."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        granted = {"email": "granted", "sms": "granted", "tracking": "granted"}
        who = await a_person(db, ADA, granted)
        await db.execute(text("update consents set at = :then"), {"then": YESTERDAY})
        db.add(Identity(**HERE, kind="phone", value=PHONE, profile_id=who))
        address = ADA if channel == "email" else PHONE
        sent = {"marked_at": NOW, "channel": channel, **values}
        return who, await a_message(db, who, address, **sent)


async def holds(sessions: Sessions) -> list[Any]:
    """The suppressions that hold."""
    return await rows(
        sessions, "select channel, address, reason from suppressions where ended_at is null order by reason"
    )


async def consents(sessions: Sessions, purpose: str = "sms") -> list[Any]:
    asked = "select state, source from consents where purpose = :purpose and ended_at is null"
    return await rows(sessions, asked, purpose=purpose)


@pytest.mark.parametrize("kind", ["hard bounce", "complained"])
async def test_an_address_that_is_gone_or_complains_is_never_written_to_again(
    sessions: Sessions, kind: str
) -> None:
    _, message = await ada(sessions)
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_segment(db)
        await db.execute(
            text("update segments set reads = '{suppressions,messages}', materialized_at = now()")
        )
    await came(sessions, account, a_report(kind, message), a_report(kind, message))

    await settled(sessions)

    assert await holds(sessions) == [("email", ADA, kind)]
    async with sessions.engine() as db:
        asked = "select distinct properties -> 'reads' ->> 0 from inbox order by 1"
        told = await some(db, asked)
    assert "suppressions" in told


@pytest.mark.parametrize("kind", ["failed", "deferred", "soft bounce"])
async def test_what_is_not_the_addresss_fault_suppresses_nobody(sessions: Sessions, kind: str) -> None:
    _, message = await ada(sessions)
    await came(sessions, await an_account(sessions), a_report(kind, message))

    await settled(sessions)

    assert await holds(sessions) == []


async def test_a_hard_bounce_takes_the_place_of_an_unsubscribe_and_the_first_of_others_stays(
    sessions: Sessions,
) -> None:
    _, message = await ada(sessions)
    account = await an_account(sessions)
    for kind in ("unsubscribed", "hard bounce", "complained"):
        await came(sessions, account, a_report(kind, message))
        await settled(sessions)

    assert await holds(sessions) == [("email", ADA, "hard bounce")]
    assert await rows(sessions, "select count(*) from suppressions") == [(2,)]


async def test_a_complaint_without_a_message_that_we_know_counts_for_the_address(sessions: Sessions) -> None:
    account = await an_account(sessions)
    await came(sessions, account, a_report("complained", address="Eve@Shop.example"))

    await settled(sessions)

    assert await holds(sessions) == [("email", "eve@shop.example", "complained")]
    assert await rows(sessions, "select count(*) from deliveries") == [(0,)]


async def bounce_softly(
    sessions: Sessions, account: UUID, clock: GivenClock, times: int, days: float = 1
) -> None:
    for _ in range(times):
        async with sessions(DEFAULT_WORKSPACE) as db:
            who = await profiles.find(db, IdentityKind.EMAIL, ADA)
            message = await a_message(db, who, ADA, marked_at=NOW)
        told = [a_report("soft bounce", message, at=clock.now()) for _ in range(2)]
        await came(sessions, account, *told)
        await settled(sessions, clock)
        clock.move(timedelta(days=days))


async def test_five_soft_bounces_within_two_weeks_are_a_hard_one(sessions: Sessions) -> None:
    await ada(sessions)
    account, clock = await an_account(sessions), GivenClock()
    await bounce_softly(sessions, account, clock, 4)
    assert await holds(sessions) == []

    await bounce_softly(sessions, account, clock, 1)

    assert await holds(sessions) == [("email", ADA, "hard bounce")]
    assert await rows(sessions, "select source from suppressions") == [("5 soft bounces",)]


async def test_soft_bounces_that_lie_far_apart_are_none(sessions: Sessions) -> None:
    await ada(sessions)
    await bounce_softly(sessions, await an_account(sessions), GivenClock(), 9, days=4)

    assert await holds(sessions) == []


async def test_a_workspace_has_a_rule_of_its_own_for_soft_bounces(sessions: Sessions) -> None:
    await ada(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update workspaces set soft_bounce_limit = 2, soft_bounce_days = 90"))
    await bounce_softly(sessions, await an_account(sessions), GivenClock(), 2, days=60)

    assert await holds(sessions) == [("email", ADA, "hard bounce")]


async def test_what_is_delivered_between_makes_up_for_soft_bounces(sessions: Sessions) -> None:
    _, message = await ada(sessions)
    account, clock = await an_account(sessions), GivenClock()
    await bounce_softly(sessions, account, clock, 4)
    await came(sessions, account, a_report("delivered", message, at=clock.now()))
    await settled(sessions, clock)

    await bounce_softly(sessions, account, clock, 4)

    assert await holds(sessions) == []


async def test_stop_ends_marketing_on_its_channel_and_only_there(sessions: Sessions) -> None:
    await ada(sessions)
    account = await an_account(sessions, Channel.SMS)
    await came(sessions, account, a_report("unsubscribed", address="+49 151 12345678", text="STOP"))

    await settled(sessions)

    assert await holds(sessions) == [("sms", PHONE, "unsubscribed")]
    assert await consents(sessions) == [("denied", "person")]
    assert await consents(sessions, "email") == [("granted", "import")]


async def test_stop_of_somebody_whom_we_do_not_know_counts_for_their_number(sessions: Sessions) -> None:
    account = await an_account(sessions, Channel.SMS)
    await came(sessions, account, a_report("unsubscribed", address=PHONE))

    await settled(sessions)

    assert await holds(sessions) == [("sms", PHONE, "unsubscribed")]


async def test_start_takes_a_stop_back(sessions: Sessions) -> None:
    await ada(sessions)
    account = await an_account(sessions, Channel.SMS)
    await came(sessions, account, a_report("unsubscribed", address=PHONE))
    await settled(sessions)
    await came(sessions, account, a_report("resubscribed", address=PHONE, at=at(-0.1)))
    await came(sessions, account, a_report("resubscribed", address=PHONE))

    await settled(sessions)

    assert await holds(sessions) == []
    assert await consents(sessions) == [("granted", "person")]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("first", ["unsubscribed", "resubscribed"])
async def test_the_last_word_counts_in_whatever_order_words_come(
    sessions: Sessions, first: str, together: bool
) -> None:
    """After a first STOP, START and STOP, or STOP and START, come in the other order than they were said."""
    await ada(sessions)
    account, clock = await an_account(sessions, Channel.SMS), GivenClock(at(5))
    await came(sessions, account, a_report("unsubscribed", address=PHONE, at=NOW))
    await settled(sessions, clock)
    last = {"unsubscribed": "resubscribed", "resubscribed": "unsubscribed"}[first]
    said = [a_report(last, address=PHONE, at=at(2)), a_report(first, address=PHONE, at=at(1))]

    for each in [said] if together else [[one] for one in said]:
        await came(sessions, account, *each)
        await settled(sessions, clock)

    unsubscribed = [("sms", PHONE, "unsubscribed")]
    assert await holds(sessions) == (unsubscribed if last == "unsubscribed" else [])
    assert [state for state, _ in await consents(sessions)] == [
        "denied" if last == "unsubscribed" else "granted"
    ]


async def test_a_start_that_is_played_again_long_after_undoes_no_later_stop(sessions: Sessions) -> None:
    """Some providers name no time: then it is the time at which it came."""
    await ada(sessions)
    account, clock = await an_account(sessions, Channel.SMS), GivenClock()
    start = a_report("resubscribed", address=PHONE)
    await came(sessions, account, start)
    await settled(sessions, clock)
    await came(sessions, account, a_report("unsubscribed", address=PHONE, at=at(1)))
    clock.move(timedelta(days=40))
    await settled(sessions, clock)
    async with sessions.engine_batch() as db:
        await reports.forget(db, reported=clock.now(), bounced=clock.now())
    await came(sessions, account, start | {"at": clock.now().isoformat()})

    done = await settled(sessions, clock)

    assert (done.reports, done.repeated) == (0, 1)
    assert await holds(sessions) == [("sms", PHONE, "unsubscribed")]


async def test_start_is_no_consent_of_somebody_who_never_gave_it(sessions: Sessions) -> None:
    who, _ = await ada(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles.consent(db, who, Purpose.SMS, ConsentState.DENIED, ConsentSource.IMPORT, YESTERDAY)
    await came(sessions, await an_account(sessions, Channel.SMS), a_report("resubscribed", address=PHONE))

    await settled(sessions)

    assert await consents(sessions) == [("denied", "import")]


@pytest.mark.parametrize("before", [None, "import"])
async def test_start_after_a_stop_leaves_what_was_before_it(sessions: Sessions, before: str | None) -> None:
    """Nobody had ever granted it; and somebody's file had denied it."""
    who, _ = await ada(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("delete from consents where purpose = 'sms'"))
        if before:
            await profiles.consent(db, who, Purpose.SMS, ConsentState.DENIED, before, YESTERDAY)
    account, clock = await an_account(sessions, Channel.SMS), GivenClock(at(5))
    for n in range(2):
        for kind, minute in (("unsubscribed", 2 * n + 1), ("resubscribed", 2 * n + 2)):
            await came(sessions, account, a_report(kind, address=PHONE, at=at(minute)))
            await settled(sessions, clock)
            if kind == "unsubscribed":
                assert await consents(sessions) == [("denied", "person")]

    assert await holds(sessions) == []
    assert await consents(sessions) == ([("denied", before)] if before else [])


async def test_start_does_not_bring_back_a_number_that_bounced(sessions: Sessions) -> None:
    _, message = await ada(sessions, "sms")
    account = await an_account(sessions, Channel.SMS)
    await came(sessions, account, a_report("hard bounce", message))
    await settled(sessions)
    await came(sessions, account, a_report("resubscribed", address=PHONE))

    await settled(sessions)

    assert await holds(sessions) == [("sms", PHONE, "hard bounce")]


async def test_an_unsubscribe_of_a_mail_is_kept_with_the_mail(sessions: Sessions) -> None:
    _, message = await ada(sessions)
    account = await an_account(sessions)
    await came(sessions, account, a_report("unsubscribed", message), a_report("unsubscribed", message))

    await settled(sessions)

    assert await holds(sessions) == [("email", ADA, "unsubscribed")]
    assert await consents(sessions, "email") == [("denied", "person")]
    assert await rows(sessions, "select message_id, kind from message_events") == [(message, "unsubscribed")]


async def test_a_no_because_they_had_unsubscribed_before_is_no_unsubscribe_by_that_message(
    sessions: Sessions,
) -> None:
    _, message = await ada(sessions, "sms", state="failed", reason="21610")
    account = await an_account(sessions)
    said = [{"id": str(message), "address": PHONE, "reason": "21610", "kind": "unsubscribed"}]
    hook = Coming(uuid7(), DEFAULT_WORKSPACE, account, NOW, ANSWER, "", {}, json.dumps(said).encode())
    async with sessions.engine_batch() as db:
        await hooks.put(db, [hook])

    await settled(sessions)

    assert await holds(sessions) == [("sms", PHONE, "unsubscribed")]
    assert await rows(sessions, "select kind from message_events") == []


async def a_topic(sessions: Sessions) -> UUID:
    async with sessions(DEFAULT_WORKSPACE) as db:
        topic = Topic(**HERE, name="Concerts", purpose="email")
        db.add(topic)
        await db.flush()
        return topic.id


async def test_an_unsubscribe_of_a_topic_leaves_the_channel_alone(sessions: Sessions) -> None:
    _, message = await ada(sessions)
    account, topic = await an_account(sessions), await a_topic(sessions)
    await came(sessions, account, a_report("unsubscribed", message, extra={"topic": str(topic)}))
    await settled(sessions)

    assert await holds(sessions) == []
    assert await consents(sessions, "email") == [("granted", "import")]
    asked = "select topic_id, state, source from topic_consents where ended_at is null"
    assert await rows(sessions, asked) == [(topic, "denied", "person")]

    await came(sessions, account, a_report("resubscribed", message, at=NOW, extra={"topic": str(topic)}))
    await settled(sessions)
    assert [state for _, state, _ in await rows(sessions, asked)] == ["granted"]


@pytest.mark.parametrize("topic", ["0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f", "concerts"])
async def test_an_unsubscribe_of_a_topic_that_is_gone_is_one_of_the_channel(
    sessions: Sessions, topic: str
) -> None:
    _, message = await ada(sessions)
    told = a_report("unsubscribed", message, extra={"topic": topic})
    await came(sessions, await an_account(sessions), told)

    await settled(sessions)

    assert await holds(sessions) == [("email", ADA, "unsubscribed")]


async def test_opens_and_clicks_count_and_those_of_machines_apart(sessions: Sessions) -> None:
    _, message = await ada(sessions)
    account = await an_account(sessions)
    await came(
        sessions,
        account,
        a_report("opened", message, at=at(-2), machine=True),
        a_report("clicked", message, at=at(-1), machine=True),
    )
    await settled(sessions)
    assert await rows(sessions, "select opened_at, clicked_at from messages") == [(None, None)]
    await came(sessions, account, a_report("opened", message))

    await settled(sessions)

    assert await rows(sessions, "select opened_at, clicked_at from messages") == [(NOW, None)]
    assert await rows(sessions, "select kind, machine from message_events order by at") == [
        ("opened", True),
        ("clicked", True),
        ("opened", False),
    ]


async def test_nobody_who_does_not_allow_tracking_is_tracked_by_a_provider(sessions: Sessions) -> None:
    who, message = await ada(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles.consent(db, who, Purpose.TRACKING, ConsentState.DENIED, ConsentSource.PERSON, NOW)
    told = [a_report("opened", message, machine=machine) for machine in (True, False)]
    await came(sessions, await an_account(sessions), *told)

    await settled(sessions)

    assert await rows(sessions, "select count(*) from message_events") == [(0,)]


async def test_a_flow_begins_with_a_reply(sessions: Sessions, clock: GivenClock) -> None:
    who, message = await ada(sessions, "sms")
    async with sessions(DEFAULT_WORKSPACE) as db:
        trigger = {"kind": "event", "event": "message replied"}
        flow = await a_flow(db, a_graph({"w": wait(60)}, "w", trigger=trigger))
        await flows.publish(db, flow)
    account = await an_account(sessions, Channel.SMS)
    reply = a_report("replied", address=PHONE, text="Is it still there?", extra={"country": "DE"})
    await came(sessions, account, reply)
    await settled(sessions)
    await came(sessions, account, reply, a_report("help", message, text="HELP"))
    await settled(sessions)

    await pump(sessions, clock)

    found = await rows(sessions, "select profile_id, name, properties from events order by id")
    assert found == [
        (who, "message replied", {"channel": "sms", "text": "Is it still there?", "country": "DE"}),
        (
            who,
            "message replied",
            {"channel": "sms", "text": "HELP", "keyword": "help", "message_id": str(message)},
        ),
    ]
    assert await rows(sessions, "select profile_id from enrollments") == [(who,)]


async def helped(sessions: Sessions) -> list[Any]:
    """What waits to be sent as an answer to HELP."""
    return await rows(
        sessions,
        "select m.channel, m.class, m.bare, m.holes, q.message_id is not null from messages m "
        "left join queue q on q.message_id = m.id where m.step = 'single'",
    )


async def test_help_is_answered_with_the_workspaces_words_where_the_provider_has_not(
    sessions: Sessions,
) -> None:
    account = await an_account(sessions, Channel.SMS)
    await came(sessions, account, a_report("help", address=PHONE, text="HELP"))
    await settled(sessions)
    assert await helped(sessions) == []  # There are no words.
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update workspaces set sms_help = 'Write to {{ ada }}.'"))
    answered = {"answered": True}
    await came(sessions, account, a_report("help", address=PHONE, text="HELP", extra=answered))
    await settled(sessions)
    assert await helped(sessions) == []
    await came(sessions, account, a_report("help", address=PHONE, text="HELP"))

    await settled(sessions)

    assert await helped(sessions) == [("sms", "transactional", PHONE, ["Write to {{ ada }}."], True)]


async def test_help_is_answered_once_an_hour_to_each_number(sessions: Sessions) -> None:
    """Answers cost, and a machine at the other end would answer them."""
    account, clock = await an_account(sessions, Channel.SMS), GivenClock()
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update workspaces set sms_help = 'Write to us.'"))
    asked = [(PHONE, 0), (PHONE, 0), ("+4915187654321", 0), (PHONE, 50), (PHONE, 20)]
    answers = []
    for number, minutes in asked:
        clock.move(timedelta(minutes=minutes))
        await came(sessions, account, a_report("help", address=number, text="HELP"))
        await settled(sessions, clock)
        answers.append(len(await helped(sessions)))

    assert answers == [1, 1, 2, 2, 3]


async def test_a_reply_of_a_number_that_nobody_has_makes_a_person(
    sessions: Sessions, clock: GivenClock
) -> None:
    account = await an_account(sessions, Channel.SMS)
    await came(sessions, account, a_report("replied", address="+4915187654321", text="Who is this?"))
    await settled(sessions)

    await pump(sessions, clock)

    assert await rows(sessions, "select value from identities where kind = 'phone'") == [("+4915187654321",)]


async def test_reports_about_somebody_who_was_erased_bring_nothing_of_them_back(sessions: Sessions) -> None:
    who, message = await ada(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await erase(db, who, NOW)
    account = await an_account(sessions)
    told = [
        a_report(kind, message, address=ADA, reason=f"550 <{ADA}> is gone")
        for kind in ("hard bounce", "unsubscribed", "opened")
    ]
    await came(sessions, account, *told)

    await settled(sessions)

    assert await rows(sessions, "select reason from messages") == [("550 <…> is gone",)]
    assert await rows(sessions, "select address from suppressions where channel = 'email'") == [(None,)]
    assert await rows(sessions, "select count(*) from message_events where kind = 'opened'") == [(0,)]


async def test_reports_of_somebody_who_was_merged_count_for_who_they_are(sessions: Sessions) -> None:
    who, message = await ada(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        other = await a_person(db, "ada@home.example")
        db.add(Consent(**HERE, profile_id=other, purpose="sms", state="granted", source="import", at=NOW))
        for change in (
            "update identities set profile_id = :other, is_primary = false where profile_id = :who",
            "update profiles set merged_into = :other where id = :who",
        ):
            await db.execute(text(change), {"who": who, "other": other})
    await came(sessions, await an_account(sessions), a_report("unsubscribed", message))

    await settled(sessions)

    asked = "select state from consents where profile_id = :other and purpose = 'email' and ended_at is null"
    assert await rows(sessions, asked, other=other) == [("denied",)]


async def test_a_suppression_by_report_can_be_ended_as_any_other(sessions: Sessions) -> None:
    _, message = await ada(sessions)
    await came(sessions, await an_account(sessions), a_report("hard bounce", message))
    await settled(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await suppressions.current(db, "email", ADA)
        assert bytes(found.address_hash) == address_hash(ADA)
        await suppressions.end(db, found.id, NOW)
    assert await holds(sessions) == []
