"""Listening: whatever is told is heard at once, and whoever hears nothing does nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from models.listener import heard
from tests.databases import Database

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


async def connected(database: Database) -> Connection:
    url = database.url.replace("postgresql+psycopg://", "postgresql://")
    return await psycopg.AsyncConnection.connect(url, autocommit=True)


@pytest.fixture
async def teller(database: Database) -> AsyncIterator[Connection]:
    async with await connected(database) as connection:
        yield connection


@pytest.fixture
async def listener(database: Database) -> AsyncIterator[Connection]:
    async with await connected(database) as connection:
        await connection.execute("listen campanile")
        yield connection


async def told(listener: Connection, seconds: float | None = None) -> list[str]:
    async with asyncio.timeout(10):
        return [notice.payload for notice in await heard(listener, seconds)]


async def test_what_is_told_while_somebody_listens_and_before_is_heard(
    teller: Connection, listener: Connection
) -> None:
    listening = asyncio.create_task(told(listener))
    await asyncio.sleep(0)
    await teller.execute("notify campanile, 'one'")
    assert await listening == ["one"]

    await teller.execute("select pg_notify('campanile', n::text) from generate_series(1, 3) n")
    assert await told(listener) == ["1", "2", "3"]


async def test_what_came_with_an_answer_comes_with_the_next(teller: Connection, listener: Connection) -> None:
    await teller.execute("notify campanile, 'one'")
    await listener.execute("select 1")
    await teller.execute("notify campanile, 'two'")

    assert [*await told(listener), *await told(listener)] == ["one", "two"]


def test_who_hears_nothing_is_not_woken_before_the_end(database: Database) -> None:
    looks: list[float | None] = []

    async def hear_nothing() -> None:
        async with await connected(database) as listener:
            await listener.execute("listen campanile")
            selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
            look = selector.select

            def counted(timeout: float | None = None) -> Any:
                looks.append(timeout)
                return look(timeout)

            selector.select = counted
            assert await told(listener, seconds=0.3) == []
            del selector.select

    asyncio.run(hear_nothing())  # The loop of the tests has others on it, who look after their connections.

    assert len(looks) <= 2


async def test_a_listener_hears_that_the_server_hangs_up(postgres: Any, listener: Connection) -> None:
    listening = asyncio.create_task(told(listener))
    await asyncio.sleep(0)
    with postgres.connect("postgres") as owner:
        owner.execute("select pg_terminate_backend(%s)", [listener.info.backend_pid])

    with pytest.raises(psycopg.OperationalError):
        await listening
