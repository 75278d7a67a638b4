"""Lists while it is decided who is who: nobody is put on one under a name that is given up meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.lists import List
from models.queries import lists, people_lock, profiles_erased, profiles_merged, sign_ups
from tests.people import HERE, NOON, a_person

ADDRESS = "ada@example.com"
LATER = NOON + timedelta(minutes=1)
Write = Callable[[AsyncSession, UUID, UUID], Awaitable[Any]]  # For a list and a profile.

WRITES: dict[str, Write] = {
    "put on": lambda db, on, who: lists.add(db, on, [who], "api", LATER),
    "taken off": lambda db, on, who: lists.take_off(db, on, [who], "api", LATER),
    "asks to be on": lambda db, on, who: sign_ups.ask(db, DEFAULT_WORKSPACE, on, ADDRESS, LATER),
    "says yes": lambda db, on, who: sign_ups.confirm(db, on, who, LATER),
    "list deleted": lambda db, on, who: lists.remove(db, on, LATER),
}


async def two_people_and_a_list(sessions: Sessions, *, on_it: bool) -> tuple[UUID, UUID, UUID]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada, other = await a_person(db, ADDRESS), await a_person(db, "ada@work.example")
        news = List(**HERE, name="News")
        db.add(news)
        await db.flush()
        if on_it:
            await lists.add(db, news.id, [ada], "api", NOON)
        return ada, other, news.id


async def members(sessions: Sessions) -> Sequence[tuple[UUID, str]]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [
            (row[0], row[1]) for row in await db.execute(text("select profile_id, state from list_members"))
        ]


@pytest.mark.parametrize("on_it", [False, True])
@pytest.mark.parametrize("write", WRITES)
async def test_who_is_merged_meanwhile_is_there_as_the_survivor(
    sessions: Sessions, write: str, on_it: bool
) -> None:
    ada, other, news = await two_people_and_a_list(sessions, on_it=on_it)

    async def written() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await WRITES[write](db, news, ada)

    async with sessions(DEFAULT_WORKSPACE) as db:
        await people_lock.take_here(db)
        await profiles_merged.merge(db, ada, other, NOON)
        writing = asyncio.create_task(written())
        await asyncio.sleep(0.3)
    await writing

    assert {who for who, _ in await members(sessions)} <= {other}


@pytest.mark.parametrize("write", ["put on", "taken off", "list deleted"])
async def test_who_is_erased_meanwhile_is_on_no_list(sessions: Sessions, write: str) -> None:
    ada, _, news = await two_people_and_a_list(sessions, on_it=True)

    async def written() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await WRITES[write](db, news, ada)

    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, ada, NOON)
        writing = asyncio.create_task(written())
        await asyncio.sleep(0.3)
    await writing

    assert await members(sessions) == []
