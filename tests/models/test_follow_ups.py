"""What others than the pump change is followed up where a segment asks about it, and only there."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.messages import Interaction
from domain.profiles import ConsentState, IdentityKind, Purpose, SuppressionReason
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.lists import List, Topic
from models.queries import (
    consents,
    follow_ups,
    lists,
    preferences,
    profile_notes,
    profiles,
    profiles_written,
    segments_written,
    sign_ups,
    suppressions,
    topics,
    tracking,
)
from models.queries.profiles_written import Item
from models.queries.tracking import Arrival
from tests import people
from tests.people import HERE, a_message, a_person
from tests.sending import NOW

ADDRESS = "ada@shop.example"
GRANTED, DENIED = ConsentState.GRANTED, ConsentState.DENIED
Change = Callable[[AsyncSession, UUID, UUID, UUID], Awaitable[Any]]  # The person, a list, a topic.


async def lift(db: AsyncSession, who: UUID, *_: UUID) -> None:
    await suppressions.end(db, (await suppressions.current(db, "email", "old@shop.example")).id, NOW)


async def confirm(db: AsyncSession, who: UUID, on: UUID, *_: UUID) -> None:
    await sign_ups.ask(db, DEFAULT_WORKSPACE, on, ADDRESS, NOW)
    await sign_ups.confirm(db, on, who, NOW)


# What is done, and the words of which a segment may read one.
CHANGES: dict[str, tuple[Change, set[str]]] = {
    "consents": (
        lambda db, who, *_: profiles.consent(db, who, Purpose.SMS, GRANTED, "api", NOW),
        {"consents"},
    ),
    "unsubscribes": (
        lambda db, who, *_: profiles.unsubscribe_profile(db, who, NOW, "form"),
        {"consents", "suppressions"},
    ),
    "chooses a topic": (
        lambda db, who, _, topic: consents.choose(db, who, topic, GRANTED, "api", NOW),
        {"topics"},
    ),
    "chooses on the preference page": (
        lambda db, who, _, topic: preferences.choose(db, who, [topic], [topic], NOW),
        {"topics", "consents"},
    ),
    "is put on a list": (lambda db, who, on, _: lists.add(db, on, [who], "test", NOW), {"list"}),
    "signs up": (confirm, {"list", "consents"}),
    "is tagged": (
        lambda db, who, *_: profile_notes.tag(db, DEFAULT_WORKSPACE, who, "late", NOW),
        {"tags"},
    ),
    "loses a tag": (lambda db, who, *_: profile_notes.untag(db, who, "early", NOW), {"tags"}),
    "is suppressed": (
        lambda db, *_: profiles.suppress(db, "email", ADDRESS, SuppressionReason.COMPLAINED, "test", NOW),
        {"suppressions"},
    ),
    "is not suppressed any more": (lift, {"suppressions"}),
    "gets another name": (
        lambda db, who, *_: profiles_written.write(
            db,
            DEFAULT_WORKSPACE,
            [Item(names={IdentityKind.EMAIL: ADDRESS, IdentityKind.USER_ID: "c9"})],
            NOW,
        ),
        {"identities", "consents", "suppressions"},
    ),
}


async def reading(db: AsyncSession, *words: str) -> None:
    """A segment that reads these, whose members are known."""
    segment = await segments_written.create(db, DEFAULT_WORKSPACE, str(uuid4()), {"all": []})
    segment.reads, segment.materialized_at = sorted(words), NOW
    await db.flush()


async def a_situation(db: AsyncSession) -> tuple[UUID, UUID, UUID]:
    who = await a_person(db, ADDRESS, consents={})
    on, topic = List(**HERE, name="News"), Topic(**HERE, name="Concerts", purpose="email")
    db.add_all([on, topic])
    await db.flush()
    await profile_notes.tag(db, DEFAULT_WORKSPACE, who, "early", NOW)
    old = text(
        "insert into identities (workspace_id, kind, value, profile_id, is_primary) "
        "values (:workspace_id, 'email', 'old@shop.example', :who, false)"
    )
    await db.execute(old, {**HERE, "who": who})
    await profiles.suppress(db, "email", "old@shop.example", SuppressionReason.COMPLAINED, "test", NOW)
    return who, on.id, topic.id


async def noted(sessions: Sessions) -> list[tuple[str, set[str] | None]]:
    """Whom the pump is to look at, and for what."""
    async with sessions.engine() as db:
        asked = "select properties ->> 'profile_id', properties -> 'reads' from inbox where kind = 'change'"
        return [(who, set(reads) if reads else None) for who, reads in await people.rows(db, asked)]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_noted_where_a_segment_reads_it(sessions: Sessions, change: str) -> None:
    act, words = CHANGES[change]
    async with sessions(DEFAULT_WORKSPACE) as db:
        situation = await a_situation(db)
        named = {f"list:{situation[1]}" if word == "list" else word for word in words}
        await reading(db, *named)
        await act(db, *situation)

    found = await noted(sessions)
    assert {who for who, _ in found} == {str(situation[0])}
    assert set().union(*(reads for _, reads in found if reads)) == named


async def test_changes_are_not_noted_where_no_segment_reads_them(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        situation = await a_situation(db)
        await reading(db, "attribute:plan", "orders", f"list:{uuid4()}")
        for act, _ in CHANGES.values():
            await act(db, *situation)

    assert await noted(sessions) == []


async def test_whoever_says_nothing_of_what_changed_is_looked_at_for_all(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        who = await a_person(db)
        await follow_ups.note(db, [who], NOW)
        await reading(db, "orders")
        await follow_ups.note(db, [who], NOW)

    assert await noted(sessions) == [(str(who), None)]


async def test_an_attribute_that_is_searched_is_followed_up_though_no_segment_reads_it(
    sessions: Sessions,
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        who = await a_person(db)
        hot = "insert into attributes (workspace_id, name, type, first_seen_at, last_seen_at, hot) values "
        row = "(:workspace_id, 'plan', 'string', :now, :now, true)"
        await db.execute(text(hot + row), {**HERE, "now": NOW})
        await follow_ups.note(db, [who], NOW, reads=["tags"])
        await follow_ups.note(db, [who], NOW, reads=["attribute:plan"])

    assert await noted(sessions) == [(str(who), {"attribute:plan"})]


@pytest.mark.parametrize("read", [True, False])
async def test_the_first_click_is_followed_up_where_a_segment_asks_about_messages(
    sessions: Sessions, read: bool
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        who = await a_person(db, ADDRESS)
        await profiles.consent(db, who, Purpose.TRACKING, GRANTED, "api", NOW)
        message = await a_message(db, who, ADDRESS, state="accepted", tracked=True)
        await reading(db, "messages" if read else "orders")
    click = Arrival(DEFAULT_WORKSPACE, message, Interaction.CLICKED, NOW, 0, None, uuid4())

    for _ in range(2):
        async with sessions.engine() as db:
            await tracking.record(db, [click])

    assert await noted(sessions) == ([(str(who), {"messages"})] if read else [])


async def test_what_everybody_loses_has_everybody_looked_at(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        _, on, topic = await a_situation(db)
        await reading(db, f"list:{on}")
        await reading(db, "topics")
        await reading(db, "orders")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await lists.remove(db, on, NOW)
        await topics.remove(db, topic, NOW)

        due = await people.rows(db, "select reads from segments where due_at is not null")
    assert sorted(word for [word] in due) == [f"list:{on}", "topics"]
