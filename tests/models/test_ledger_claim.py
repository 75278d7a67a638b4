"""What a claim decides about each message that is due: it goes, it waits, or it is skipped and why."""

from datetime import datetime, time, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo, available_timezones

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from domain.messages import MessageState, Skip, SourceKind
from domain.profiles import ConsentState, Purpose, SuppressionReason
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions, enter
from models.queries import claims, profiles, profiles_erased, profiles_merged, queued
from models.queries.claims import Cap, Claim, Cursor
from models.queries.ledger import Queue
from tests.people import a_person
from tests.sending import (
    NOW,
    a_bare_message,
    a_campaign,
    a_draft,
    a_queued_message,
    a_sender,
    at,
    column,
    counted,
    people,
    some,
    states,
)

ADA = "ada@shop.example"


async def claimed(
    db: AsyncSession,
    queue: Queue,
    now: datetime = NOW,
    cap: Cap | None = None,
    limit: int = 1000,
    after: Cursor = claims.BEGINNING,
) -> Claim:
    return await claims.claim(db, queue, uuid7(), now, 60, limit, [cap] if cap else [], after)


async def skipped(db: AsyncSession, queue: Queue, reason: Skip, now: datetime = NOW) -> bool:
    """Whether a claim takes nothing and skips the queue's one message for this reason."""
    claim = await claimed(db, queue, now)
    return not claim.claimed and len(claim.skipped) == 1 and await states(db, queue) == {reason: 1}


async def test_a_message_is_claimed_with_what_is_needed_to_write_it(db: AsyncSession) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA, name="Ada")])

    [message] = (await claimed(db, queue)).claimed

    assert (message.address, message.attributes, message.tracked, message.holes) == (
        ADA,
        {"name": "Ada"},
        True,
        None,
    )
    assert await states(db, queue) == {"claimed": 1}
    assert await column(db, "address", message.id) == ADA


async def test_who_allows_no_tracking_is_written_to_without_it(db: AsyncSession) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA, {"email": "granted", "tracking": "denied"})])

    assert [message.tracked for message in (await claimed(db, queue)).claimed] == [False]


@pytest.mark.parametrize("consents", [{}, {"email": "denied"}, {"tracking": "granted"}])
async def test_marketing_needs_consent(db: AsyncSession, consents: dict[str, str]) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA, consents)])

    assert await skipped(db, queue, Skip.NO_CONSENT)


@pytest.mark.parametrize("message_class", ["transactional", "test"])
async def test_other_mail_needs_no_consent(db: AsyncSession, message_class: str) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA, {})], message_class=message_class)

    assert len((await claimed(db, queue)).claimed) == 1


async def test_consent_that_ended_counts_no_more(db: AsyncSession) -> None:
    person = await a_person(db, ADA)
    queue = await a_campaign(db, [person])
    await profiles.consent(db, person, Purpose.EMAIL, ConsentState.DENIED, "import", NOW)

    assert await skipped(db, queue, Skip.NO_CONSENT)


@pytest.mark.parametrize("reason", [each for each in SuppressionReason if each != "unsubscribed"])
@pytest.mark.parametrize("message_class", ["marketing", "transactional", "test"])
async def test_a_suppressed_address_gets_nothing(
    db: AsyncSession, reason: SuppressionReason, message_class: str
) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA)], message_class=message_class)
    await profiles.suppress(db, "email", ADA, reason, "test", NOW)

    assert await skipped(db, queue, Skip.SUPPRESSED)


async def test_an_unsubscribed_address_gets_no_marketing(db: AsyncSession) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA)])
    await profiles.suppress(db, "email", ADA, SuppressionReason.UNSUBSCRIBED, "test", NOW)

    assert await skipped(db, queue, Skip.SUPPRESSED)


@pytest.mark.parametrize("message_class", ["transactional", "test"])
async def test_an_unsubscribed_address_gets_everything_else(db: AsyncSession, message_class: str) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA)], message_class=message_class)
    await profiles.suppress(db, "email", ADA, SuppressionReason.UNSUBSCRIBED, "test", NOW)

    assert len((await claimed(db, queue)).claimed) == 1


async def test_a_suppression_that_ended_or_is_somebody_elses_stops_nothing(db: AsyncSession) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA)])
    await profiles.suppress(db, "email", ADA, SuppressionReason.MANUAL, "test", NOW)
    await db.execute(text("update suppressions set ended_at = :now"), {"now": NOW})
    await profiles.suppress(db, "email", "bob@shop.example", SuppressionReason.MANUAL, "test", NOW)

    assert len((await claimed(db, queue)).claimed) == 1


async def test_who_has_no_address_is_skipped(db: AsyncSession) -> None:
    assert await skipped(db, await a_campaign(db, [await a_person(db)]), Skip.NO_ADDRESS)


async def test_an_address_that_is_not_the_primary_one_is_not_written_to(db: AsyncSession) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA)])
    await db.execute(text("update identities set is_primary = false"))

    assert await skipped(db, queue, Skip.NO_ADDRESS)


async def test_a_message_that_expired_comes_too_late(db: AsyncSession) -> None:
    queue = await a_campaign(db, [await a_person(db, ADA)], expires_at=NOW)

    assert await skipped(db, queue, Skip.TOO_LATE)


async def test_who_was_erased_gets_nothing(db: AsyncSession) -> None:
    person = await a_person(db, ADA)
    queue = await a_campaign(db, [person])
    await profiles_erased.erase(db, person, NOW)

    assert await skipped(db, queue, Skip.ERASED)


async def test_who_was_erased_after_a_merge_gets_nothing(db: AsyncSession) -> None:
    alias, survivor = await a_person(db, ADA), await a_person(db, "bob@shop.example")
    queue = await a_campaign(db, [alias])
    await profiles_merged.merge(db, alias, survivor, NOW)
    await profiles_erased.erase(db, survivor, NOW)

    assert await skipped(db, queue, Skip.ERASED)


# Two profiles that turned out to be one person.


@pytest.mark.parametrize("first_survives", [True, False])
async def test_two_who_are_queued_and_then_merged_get_one_mail(
    db: AsyncSession, first_survives: bool
) -> None:
    first, second = await a_person(db, ADA), await a_person(db, "bob@shop.example")
    queue = await a_campaign(db, [first, second])
    survivor = first if first_survives else second
    await profiles_merged.merge(db, second if first_survives else first, survivor, NOW)

    [message] = (await claimed(db, queue)).claimed

    assert message.address == (ADA if first_survives else "bob@shop.example")
    assert await states(db, queue) == {"claimed": 1, Skip.MERGED: 1}


@pytest.mark.parametrize("state", ["claimed", "sending", "accepted", "unknown"])
@pytest.mark.parametrize("alias_was_sent", [True, False])
async def test_who_had_the_mail_under_another_profile_gets_no_second(
    db: AsyncSession, state: str, alias_was_sent: bool
) -> None:
    alias, survivor = await a_person(db, ADA), await a_person(db, "bob@shop.example")
    campaign = await a_draft(db, state="running")
    queue = Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)
    for person in (alias, survivor):
        sent = (person == alias) == alias_was_sent
        await a_queued_message(db, campaign, person, state=state if sent else "queued")
    await profiles_merged.merge(db, alias, survivor, NOW)

    assert not (await claimed(db, queue)).claimed
    assert await states(db, queue) == {state: 1, Skip.MERGED: 1}


@pytest.mark.parametrize("state", ["failed", "skipped"])
async def test_who_had_no_mail_under_the_other_profile_gets_it_under_this_one(
    db: AsyncSession, state: str
) -> None:
    alias, survivor = await a_person(db, ADA), await a_person(db, "bob@shop.example")
    campaign = await a_draft(db, state="running")
    queue = Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)
    await a_queued_message(db, campaign, alias, state=state, reason="no address")
    await a_queued_message(db, campaign, survivor)
    await profiles_merged.merge(db, alias, survivor, NOW)

    assert len((await claimed(db, queue)).claimed) == 1


async def test_who_was_merged_into_somebody_outside_the_audience_gets_the_mail_as_that_person(
    db: AsyncSession,
) -> None:
    alias = await a_person(db, ADA, name="Ada", city="Turin")
    survivor = await a_person(db, "bob@shop.example", name="Bob")
    queue = await a_campaign(db, [alias])
    await profiles_merged.merge(db, alias, survivor, NOW)

    [message] = (await claimed(db, queue)).claimed

    assert message.address == "bob@shop.example"
    assert message.attributes == {"name": "Bob", "city": "Turin"}


async def test_three_profiles_of_one_person_get_one_mail(db: AsyncSession) -> None:
    first, second, third = await people(db, 3)
    queue = await a_campaign(db, [first, second, third])
    await profiles_merged.merge(db, first, second, NOW)
    await profiles_merged.merge(db, second, third, NOW)

    assert [message.address for message in (await claimed(db, queue)).claimed] == ["p3@shop.example"]


async def test_a_merged_persons_own_no_holds_for_what_was_queued_before(db: AsyncSession) -> None:
    alias, survivor = await a_person(db, ADA), await a_person(db, "bob@shop.example", {"email": "denied"})
    queue = await a_campaign(db, [alias])
    await profiles_merged.merge(db, alias, survivor, NOW)

    assert await skipped(db, queue, Skip.NO_CONSENT)


# Quiet hours.

NIGHT = {"quiet_from": time(21), "quiet_until": time(8)}
SIESTA = {"quiet_from": time(13), "quiet_until": time(15)}


async def due_after_claim(
    db: AsyncSession, now: datetime, zone: str | None, manners: dict[str, Any]
) -> datetime | None:
    """When a message is due that is claimed at `now`; None when it goes at once."""
    await a_sender(db, **manners)
    person = await a_person(db, f"{uuid4()}@shop.example")
    await db.execute(
        text("update profiles set time_zone = :zone where id = :id"), {"zone": zone, "id": person}
    )
    queue = await a_campaign(db, [person], due_at=now)
    claim = await claimed(db, queue, now)
    assert claim.found == 1
    if claim.claimed:
        return None
    assert await states(db, queue) == {"queued": 1}
    [due] = await some(db, "select due_at from messages where queue_id = :queue", queue=queue.id)
    assert isinstance(due, datetime)
    return due


@pytest.mark.parametrize(
    ("local", "zone", "manners", "until"),
    [
        ("2026-03-02 23:30", "UTC", NIGHT, "2026-03-03 08:00"),
        ("2026-03-02 03:30", "UTC", NIGHT, "2026-03-02 08:00"),
        ("2026-03-02 21:00", "UTC", NIGHT, "2026-03-03 08:00"),
        ("2026-03-02 20:59:59", "UTC", NIGHT, None),
        ("2026-03-02 08:00", "UTC", NIGHT, None),
        ("2026-12-31 23:00", "Asia/Tokyo", NIGHT, "2027-01-01 08:00"),
        ("2026-03-02 12:00", "America/New_York", NIGHT, None),  # 17:00 UTC: day here, whatever UTC says.
        ("2026-03-02 22:00", "America/New_York", NIGHT, "2026-03-03 08:00"),
        ("2026-03-02 13:00", "Europe/Berlin", SIESTA, "2026-03-02 15:00"),
        ("2026-03-02 15:00", "Europe/Berlin", SIESTA, None),
        ("2026-03-28 23:00", "Europe/Berlin", NIGHT, "2026-03-29 08:00"),  # The night is an hour shorter,
        ("2026-10-24 23:00", "Europe/Berlin", NIGHT, "2026-10-25 08:00"),  # or an hour longer.
    ],
)
async def test_marketing_waits_for_the_end_of_quiet_hours_where_the_person_is(
    db: AsyncSession, local: str, zone: str, manners: dict[str, Any], until: str | None
) -> None:
    here = ZoneInfo(zone)
    now = datetime.fromisoformat(local).replace(tzinfo=here)
    expected = until and datetime.fromisoformat(until).replace(tzinfo=here)

    assert await due_after_claim(db, now, zone, manners) == expected


async def test_quiet_hours_that_end_in_the_hour_that_a_night_skips_do_end(db: AsyncSession) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    manners = {"quiet_from": time(22), "quiet_until": time(2, 30)}
    now = datetime(2026, 3, 29, 1, 30, tzinfo=berlin)  # 2:30 never comes: 2:00 is 3:00.

    due = await due_after_claim(db, now, "Europe/Berlin", manners)

    assert due == datetime(2026, 3, 29, 3, 30, tzinfo=berlin)
    assert await due_after_claim(db, due, "Europe/Berlin", manners) is None


async def test_who_has_no_zone_lives_in_the_workspaces(db: AsyncSession) -> None:
    tokyo = NOW.replace(hour=13)  # 22:00 there.

    assert await due_after_claim(db, tokyo, None, {**NIGHT, "time_zone": "Asia/Tokyo"}) is not None
    assert await due_after_claim(db, tokyo, "UTC", {}) is None


async def test_quiet_hours_are_those_of_the_person_that_a_profile_was_merged_into(db: AsyncSession) -> None:
    await a_sender(db, **NIGHT)
    alias, survivor = await a_person(db, ADA), await a_person(db, "bob@shop.example")
    for person, zone in ((alias, "UTC"), (survivor, "Asia/Tokyo")):
        await db.execute(
            text("update profiles set time_zone = :zone where id = :id"), {"zone": zone, "id": person}
        )
    queue = await a_campaign(db, [alias])
    await profiles_merged.merge(db, alias, survivor, NOW)

    assert not (await claimed(db, queue, NOW.replace(hour=13))).claimed


async def test_a_message_that_waits_for_the_end_of_quiet_hours_says_so_until_it_goes(
    db: AsyncSession,
) -> None:
    await a_sender(db, **NIGHT)
    queue = await a_campaign(db, [await a_person(db, ADA)])
    why = "select detail from messages where queue_id = :queue"

    await claimed(db, queue, NOW.replace(hour=22))
    assert await some(db, why, queue=queue.id) == ["quiet hours"]
    assert (await claimed(db, queue, NOW.replace(hour=9) + timedelta(days=1))).claimed
    assert await some(db, why, queue=queue.id) == [None]


async def test_what_is_not_marketing_knows_no_quiet_hours(db: AsyncSession) -> None:
    await a_sender(db, **NIGHT)
    queue = await a_campaign(db, [await a_person(db, ADA)], message_class="transactional")

    assert len((await claimed(db, queue, at(11))).claimed) == 1


async def test_quiet_hours_are_known_in_every_zone_that_a_profile_may_have(db: AsyncSession) -> None:
    # One zone that PostgreSQL did not know would stop the whole queue.
    zones = sorted(available_timezones() - {"localtime", "Factory", "posixrules"})

    await db.execute(text("select now() at time zone z from unnest(cast(:z as text[])) z"), {"z": zones})


# Order, and who sees what.


async def test_a_queue_of_another_workspace_holds_nothing(sessions: Sessions) -> None:
    elsewhere = uuid4()
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = await a_campaign(db, await people(db, 1))
    async with sessions.engine() as db:
        await db.execute(text("insert into workspaces (id, name) values (:id, 'x')"), {"id": elsewhere})
    async with sessions(elsewhere) as db:
        assert (await claimed(db, queue)).found == 0
        assert (await claimed(db, Queue(elsewhere, queue.id, queue.kind))).found == 0
        # Even where somebody names the right workspace behind the wrong wall.
        await enter(db, elsewhere)
        assert (await queued.ahead(db, queue)).open == 0


async def test_messages_are_claimed_in_the_order_in_which_they_are_due(db: AsyncSession) -> None:
    campaign = await a_draft(db, state="running")
    late, soon, early = await people(db, 3)
    for person, hours in ((late, -1), (soon, 1), (early, -2)):
        await a_queued_message(db, campaign, person, due_at=at(hours))

    claim = await claimed(db, Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN))

    assert [message.address for message in claim.claimed] == ["p3@shop.example", "p1@shop.example"]
    assert datetime.fromisoformat(claim.cursor[0]) == at(-1)


async def test_a_claim_goes_on_where_the_last_one_ended(db: AsyncSession) -> None:
    queue = await a_campaign(db, await people(db, 5))

    first = await claimed(db, queue, limit=2)
    second = await claimed(db, queue, limit=2, after=first.cursor)
    rest = await claimed(db, queue, limit=9, after=second.cursor)
    nothing = await claimed(db, queue, after=rest.cursor)

    numbers = [[m.address[1] for m in each.claimed] for each in (first, second, rest, nothing)]
    assert numbers == [["1", "2"], ["3", "4"], ["5"], []]
    assert nothing.cursor == rest.cursor


async def test_two_claimers_at_once_share_the_queue_and_no_message(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = await a_campaign(db, await people(db, 6))
    async with sessions(DEFAULT_WORKSPACE) as one, sessions(DEFAULT_WORKSPACE) as other:
        first = await claimed(one, queue, limit=4)
        second = await claimed(other, queue, limit=4)  # Would wait for ever if it waited for the first.

    assert len(first.claimed) == 4
    assert len(second.claimed) == 2
    assert not {m.id for m in first.claimed} & {m.id for m in second.claimed}


@pytest.mark.parametrize("state", ["draft", "paused", "cancelled", "completed", "failed"])
async def test_nothing_is_claimed_for_a_campaign_that_does_not_run(db: AsyncSession, state: str) -> None:
    queue = await a_campaign(db, await people(db, 2), state="running")
    await db.execute(text("update campaigns set state = :state"), {"state": state})

    assert (await claimed(db, queue)).found == 0
    assert await states(db, queue) == {"queued": 2}


async def test_a_test_mail_goes_to_a_bare_address_as_it_was_written(db: AsyncSession) -> None:
    queue, _ = await a_bare_message(db, "eve@elsewhere.example")

    [message] = (await claimed(db, queue)).claimed

    assert (message.address, message.attributes, message.holes) == ("eve@elsewhere.example", None, ["Ada"])
    assert message.tracked is False


# Caps are counted by the claim.

TWO_A_WEEK = Cap(2, "week", NOW.date())


async def test_a_person_gets_as_many_as_the_cap_allows(db: AsyncSession) -> None:
    [person] = await people(db, 1)
    queues = [await a_campaign(db, [person]) for _ in range(3)]
    for queue in queues:
        await claimed(db, queue, cap=TWO_A_WEEK)

    assert [await states(db, queue) for queue in queues] == [{"claimed": 1}, {"claimed": 1}, {"capped": 1}]
    assert await counted(db) == 2


async def test_the_next_period_begins_at_nought(db: AsyncSession) -> None:
    [person] = await people(db, 1)
    for week in range(3):
        queue = await a_campaign(db, [person])
        cap = Cap(1, "week", NOW.date() + timedelta(weeks=week))
        assert len((await claimed(db, queue, cap=cap)).claimed) == 1


async def test_two_messages_to_one_person_in_one_batch_are_counted_one_by_one(db: AsyncSession) -> None:
    person, other = await people(db, 2)
    campaign = await a_draft(db, state="running")
    queue = Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)
    for visit in range(3):
        await a_queued_message(db, campaign, person, visit=visit)
    await a_queued_message(db, campaign, other)

    first = await claimed(db, queue, cap=TWO_A_WEEK)
    assert len(first.claimed) == 2
    assert await states(db, queue) == {"claimed": 2, "queued": 2}
    await claimed(db, queue, cap=TWO_A_WEEK)
    await claimed(db, queue, cap=TWO_A_WEEK)

    assert await states(db, queue) == {"claimed": 3, "capped": 1}
    assert await counted(db) == 3


async def test_two_profiles_of_one_person_share_a_counter(db: AsyncSession) -> None:
    alias, survivor = await people(db, 2)
    first, second = await a_campaign(db, [alias]), await a_campaign(db, [survivor])
    await profiles_merged.merge(db, alias, survivor, NOW)
    cap = Cap(1, "day", NOW.date())

    await claimed(db, first, cap=cap)
    await claimed(db, second, cap=cap)

    assert await states(db, first) == {"claimed": 1}
    assert await states(db, second) == {"capped": 1}


async def test_only_marketing_that_goes_is_counted(db: AsyncSession) -> None:
    cap = Cap(1, "day", NOW.date())
    await a_sender(db, **SIESTA)
    person, other = await people(db, 2)
    denied = await a_person(db, ADA, {})
    await claimed(db, await a_campaign(db, [person], message_class="transactional"), cap=cap)
    await claimed(db, await a_campaign(db, [denied]), cap=cap)
    await claimed(db, await a_campaign(db, [other], due_at=NOW), NOW.replace(hour=14), cap)

    assert await counted(db) == 0


async def test_skipped_messages_of_a_person_do_not_stand_in_the_way_of_the_one_that_may_go(
    db: AsyncSession,
) -> None:
    [person] = await people(db, 1)
    campaign = await a_draft(db, state="running")
    queue = Queue(DEFAULT_WORKSPACE, campaign.id, SourceKind.CAMPAIGN)
    await a_queued_message(db, campaign, person, visit=1, expires_at=at(-1))
    await a_queued_message(db, campaign, person, visit=2)
    cap = Cap(1, "day", NOW.date())

    await claimed(db, queue, cap=cap)
    await claimed(db, queue, cap=cap)

    assert await states(db, queue) == {Skip.TOO_LATE: 1, MessageState.CLAIMED: 1}
