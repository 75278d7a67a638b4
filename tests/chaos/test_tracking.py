"""Readers open 3,000 mails while tracking is killed: whoever got an answer is in the ledger."""

import asyncio
from functools import partial
from itertools import count
from uuid import UUID

from httpx2 import AsyncClient, TransportError

from dev.process import Process, free_port
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from settings import DEVELOPMENT_SECRET
from tests.chaos.site import Site
from tests.people import a_message, a_person, a_version

MAILS = 3_000
AT_ONCE = 64
TOKENS = Tokens(DEVELOPMENT_SECRET.encode())


async def test_an_open_that_was_answered_outlives_tracking_killed_twice(site: Site) -> None:
    messages = await sent(site)
    port = free_port()
    starts = count()

    async def served(client: AsyncClient) -> Process:
        process = site.campanile("tracking", next(starts), TRACKING_PORT=port)
        await eventually_up(client)
        return process

    async with AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        process = await served(client)
        try:
            answered: set[UUID] = set()
            for blow in (MAILS // 3, MAILS * 2 // 3):
                readers = asyncio.create_task(read(client, messages, answered))
                least = site.dice.randrange(blow - MAILS // 6, blow)
                await site.until(partial(more, answered, least), 60, "some opens")
                process.kill()
                await readers
                site.tell(f"killed tracking after {len(answered):,} answers")
                assert answered <= opened(site), "an open that was answered is lost"
                process = await served(client)
            await read(client, messages, answered)
        finally:
            process.kill()
    assert answered == opened(site) == set(messages)


async def sent(site: Site) -> list[UUID]:
    """Mails that reached one person each."""
    sessions = Sessions(site.database.url, site.database.engine_url, pool_size=1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        version = await a_version(db)
        person = await a_person(db, "ada@shop.example")
        messages = [await a_message(db, person, template_version_id=version) for _ in range(MAILS)]
    await sessions.close()
    return messages


async def read(client: AsyncClient, messages: list[UUID], answered: set[UUID]) -> None:
    """Open what was not answered yet, many at once, until all is or nobody answers any more."""
    left = [message for message in messages if message not in answered]

    async def reader() -> None:
        while left:
            message = left.pop()
            try:
                answer = await client.get(f"/o/{TOKENS.sign(DEFAULT_WORKSPACE, message)}")
            except TransportError:
                return
            if answer.status_code == 200:
                answered.add(message)

    await asyncio.gather(*(reader() for _ in range(AT_ONCE)))


def more(answered: set[UUID], than: int) -> bool:
    return len(answered) > than


def opened(site: Site) -> set[UUID]:
    marked = {id_ for (id_,) in site.ask("select id from messages where opened_at is not null")}
    noted = {id_ for (id_,) in site.ask("select message_id from message_events where kind = 'opened'")}
    assert marked == noted
    return {id_ for id_ in marked if isinstance(id_, UUID)}


async def eventually_up(client: AsyncClient) -> None:
    for _ in range(600):
        try:
            await client.get("/")
        except TransportError:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("tracking does not answer")
