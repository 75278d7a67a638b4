"""Looking for people, and at what happened to one of them, is answered by indexes, behind the wall too."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from domain.profiles import IdentityKind
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import consents, messages, profiles, profiles_searched, timelines
from models.queries.messages import Singles
from models.queries.profiles_searched import Search
from tests.models.test_plans import Plan, crowded, plans_of

__all__ = ["crowded"]

_EVERYBODY_HAS = (
    (
        "insert into profile_tags (workspace_id, profile_id, tag, at) "
        "select workspace_id, id, 'common', now() from profiles on conflict do nothing"
    ),
    (
        "insert into attributes (workspace_id, name, type, first_seen_at, last_seen_at, hot) "
        "values (:here, 'nth', 'number', now(), now(), true) on conflict do nothing"
    ),
    (
        "insert into profile_values (workspace_id, profile_id, attribute, number) "
        "select workspace_id, id, 'nth', (attributes ->> 'nth')::float8 from profiles on conflict do nothing"
    ),
)


@pytest.mark.parametrize(
    ("search", "index", "key"),
    [
        (Search(names={IdentityKind.EMAIL: "nr-777@example.com"}), "pk_identities", "value = "),
        (Search(begins="nr-777"), "pk_identities", "value >= "),
        (Search(tag="common"), "ix_profile_tags_tag", "tag = "),
        (Search(attributes={"nth": "777"}), "ix_profile_values_number", "number = "),
    ],
)
async def test_a_search_walks_no_table(crowded: Sessions, search: Search, index: str, key: str) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        for statement in _EVERYBODY_HAS:
            await db.execute(text(statement), {"here": DEFAULT_WORKSPACE})
    async with crowded.pinned(DEFAULT_WORKSPACE) as db:
        plans = await plans_of(db, profiles_searched.page(db, DEFAULT_WORKSPACE, search, None, 20))

        plan = next(each for each in plans if "found" in each.statement)
        assert not plan.walked
        assert key in plan.sought[index]


async def test_single_messages_are_found_by_their_address(crowded: Sessions) -> None:
    """Most of the ledger goes to bare addresses here: no index but theirs is worth its while."""
    bare = """
        insert into messages (workspace_id, queue_id, source_id, source_kind, occasion, step, channel, class,
            template_version_id, due_at, bare)
        select :here, :here, :here, 'outbox', uuidv7(), 'single', 'email', 'transactional', uuidv7(), now(),
            'bare-' || n || '@example.com'
        from generate_series(1, 20000) n
    """
    async with crowded(DEFAULT_WORKSPACE) as db:
        await db.execute(text(bare), {"here": DEFAULT_WORKSPACE})
        await db.execute(text("analyze messages"))
        which = Singles(address="bare-777@example.com")
        page = messages.singles_page(db, DEFAULT_WORKSPACE, which, None, 50)
        plans: Sequence[Plan] = await plans_of(db, page)
        await db.rollback()

    plan = next(each for each in plans if "bare" in each.statement)
    assert not {"messages", "profiles", "identities"} & plan.walked
    assert "bare = " in plan.sought["ix_messages_bare"]
    assert "value = " in plan.sought["pk_identities"]


async def test_a_timeline_reads_one_persons_rows(crowded: Sessions) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        who = await profiles.find(db, IdentityKind.EMAIL, "nr-777@example.com")
        assert who is not None
        at = (datetime(9999, 12, 31, tzinfo=UTC), who)
        page = timelines.page(db, DEFAULT_WORKSPACE, who, list(timelines.Kind), at, 50)
        plans: Sequence[Plan] = await plans_of(db, page)
        plans = [*plans, *await plans_of(db, consents.history(db, who, None, 50))]

        walked = {table for plan in plans for table in plan.walked}
        assert {table for table in walked if not table.startswith("events_")} <= SMALL


# They have few rows here, as the months of events have: no index is worth its while.
SMALL: set[str] = {"flows", "topics", "topic_consents", "profile_notes"}
