"""The demo removes what it made, and asks before anything of others goes with it."""

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from dev.forget import check, forget
from dev.process import StackError
from domain.workspaces import DEFAULT_WORKSPACE
from models.attributes import ProfileValue
from models.base import Sessions
from models.messages import Attachment, MessageNote
from models.profiles import ProfileNote, ProfileTag
from models.providers import Breaker, BreakerChange, Provider, ProviderDay
from models.segments import SegmentMember
from tests.databases import Database
from tests.people import HERE, NOON, a_flow, a_journey, a_person, an_event, rows
from tests.sending import a_campaign, a_segment, a_template, people


async def test_journeys_of_the_demo_go_and_others_stay_on_the_agenda(
    database: Database, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        [person] = await people(db, 1)
        ours, demos = await a_flow(db), await a_flow(db)
        rename = "update flows set name = 'Demo: welcome' where id = :id"
        await db.execute(text(rename), {"id": demos[0]})
        stays = await a_journey(db, ours, person)
        await a_journey(db, demos, person)

    forget(database.admin_url, "Demo: ")

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select id from enrollments") == [stays]
        assert await rows(db, "select enrollment_id from agenda") == [stays]


async def test_a_campaign_of_others_to_the_demos_customers_is_named_and_its_lines_stay(
    database: Database, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        person = await a_person(db, "customer-7@example.com")
        await a_campaign(db, [person])
    refusal = (
        r'^your campaign ".+" has 1 line about the demo\'s customers .* --forget .make demo FORGET=1. removes'
    )

    with pytest.raises(StackError, match=refusal):
        check(database.admin_url, "Demo: ")
    with pytest.raises(StackError, match=refusal):
        forget(database.admin_url, "Demo: ")

    assert await counted(sessions) == [1, 1]
    forget(database.admin_url, "Demo: ", others_too=True)
    assert await counted(sessions) == [0, 0]


async def test_a_flow_of_others_that_a_customer_of_the_demo_is_in_is_named(
    database: Database, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        person = await a_person(db, "customer-7@example.com")
        await a_journey(db, await a_flow(db), person)

    with pytest.raises(StackError, match=r'^your flow ".+" has 1 line'):
        forget(database.admin_url, "Demo: ")


async def test_a_template_and_a_segment_that_others_use_stay(database: Database, sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_campaign(db, [])
        await a_template(db)
        await a_segment(db)
        for table in ("templates", "segments"):
            await db.execute(text(f"update {table} set name = 'Demo: ' || name"))

    forget(database.admin_url, "Demo: ")

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select count(*) from campaigns") == [1]
        assert await rows(db, "select template_id from campaigns") == await rows(
            db, "select id from templates"
        )
        assert await rows(db, "select segment_id from campaigns") == await rows(db, "select id from segments")


async def test_all_that_hangs_on_a_customer_of_the_demo_goes_with_them(
    database: Database, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        demos, other = await a_person(db, "customer-7@example.com"), await a_person(db, "a@shop.example")
        visitor = await a_person(db)  # Before they said who they are.
        merged = text("update profiles set merged_into = :demos where id = :visitor")
        await db.execute(merged, {"demos": demos, "visitor": visitor})
        for person in (demos, visitor, other):
            await an_event(db, person)
            db.add(ProfileTag(**HERE, profile_id=person, tag="vip", at=NOON))
            db.add(ProfileNote(**HERE, profile_id=person, text="Hello", author="Ada", at=NOON))
            db.add(ProfileValue(**HERE, profile_id=person, attribute="plan", text="gold"))
        segment = await a_segment(db)
        for person in (demos, other):
            db.add(SegmentMember(**HERE, segment_id=segment, profile_id=person, entered_at=NOON))
        await db.execute(text("update segments set members = 2"))

    forget(database.admin_url, "Demo: ")

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await rows(db, "select id from profiles") == [other]
        for table in ("events", "profile_tags", "profile_notes", "profile_values"):
            assert await rows(db, f"select profile_id from {table}") == [other]
        assert await rows(db, "select members from segments") == [1]


async def test_what_is_known_of_a_message_to_a_customer_of_the_demo_goes_with_it(
    database: Database, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        person = await a_person(db, "customer-7@example.com")
        await a_campaign(db, [person])
        [message] = await rows(db, "select id from messages")
        db.add(MessageNote(**HERE, message_id=message, at=NOON, what="Ada asked for it."))
        file = {"name": "a.txt", "content_type": "text/plain", "content": b"Hello", "created_at": NOON}
        db.add(Attachment(**HERE, message_id=message, **file))

    forget(database.admin_url, "Demo: ", others_too=True)

    assert await counted(sessions) == [0, 0]


async def test_an_account_of_the_demo_goes_when_it_is_deleted_and_explains_nothing_any_more(
    database: Database, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_campaign(db, await people(db, 1))
        told, spent, live, other = [uuid7() for _ in range(4)]
        for id_, name in (
            (told, "Demo: told"),
            (spent, "Demo: spent"),
            (live, "Demo: live"),
            (other, "Mine"),
        ):
            gone = None if id_ == live else NOON
            db.add(Provider(**HERE, id=id_, name=name, kind="simulated", channel="email", deleted_at=gone))
            db.add(ProviderDay(**HERE, provider_id=id_, day=NOON.date()))
            db.add(Breaker(**HERE, provider_id=id_, since=NOON, window_began=NOON))
            db.add(BreakerChange(**HERE, provider_id=id_, at=NOON, state="open"))
        await db.flush()
        await db.execute(text("update messages set provider = :told"), {"told": told})

    forget(database.admin_url, "Demo: ")

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert set(await rows(db, "select id from providers")) == {told, live, other}
        for table in ("provider_days", "breakers", "breaker_changes"):
            assert set(await rows(db, f"select provider_id from {table}")) == {told, live, other}


async def counted(sessions: Sessions) -> list[int]:
    """How many messages and profiles there are."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [
            *await rows(db, "select count(*) from messages"),
            *await rows(db, "select count(*) from profiles"),
        ]
