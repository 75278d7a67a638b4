"""A single message to somebody who is erased at that moment: no word of it stays."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from domain.channels import Channel
from domain.errors import Conflict
from domain.messages import MessageClass
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import profiles_erased, singles
from models.queries.attachments import File
from models.queries.singles import Single
from tests.sending import NOW, a_template, at, people, some
from tests.support import eventually, somebody_waits


@pytest.fixture
async def single(sessions: Sessions) -> Single:
    async with sessions(DEFAULT_WORKSPACE) as db:
        _, version = await a_template(db)
        [person] = await people(db, 1)
    file = File("a.txt", "text/plain", b"4711")
    return Single(
        Channel.EMAIL,
        MessageClass.TRANSACTIONAL,
        version,
        person,
        None,
        ["4711"],
        NOW,
        at(1),
        'The key "shop" asked for it.',
        (file,),
    )


async def write(db: AsyncSession, single: Single) -> list[UUID]:
    return await singles.write(db, DEFAULT_WORKSPACE, [single], NOW)


async def erase(db: AsyncSession, single: Single) -> None:
    assert single.profile_id
    await profiles_erased.erase(db, single.profile_id, NOW)


async def test_erasure_waits_for_a_message_that_is_being_written_and_forgets_its_words(
    sessions: Sessions, single: Single
) -> None:
    async def erased() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await erase(db, single)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await write(db, single)
        erasing = asyncio.create_task(erased())
        await eventually(lambda: somebody_waits(sessions))
    await erasing

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select holes from messages") == [None]
        assert not await some(db, "select name from attachments")
        assert not await some(db, "select what from message_notes")


async def test_a_message_waits_for_an_erasure_and_is_refused(sessions: Sessions, single: Single) -> None:
    async def written() -> None:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await write(db, single)

    async with sessions(DEFAULT_WORKSPACE) as db:
        await erase(db, single)
        writing = asyncio.create_task(written())
        await eventually(lambda: somebody_waits(sessions))
    with pytest.raises(Conflict, match="was erased at this moment"):
        await writing

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert not await some(db, "select id from messages")
