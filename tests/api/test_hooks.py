"""Webhooks come in: what is genuine is durable when it is answered, and nothing else leaves a trace."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from sqlalchemy import text

from api.front import Front
from api.hooks import Hooks
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import provider_accounts
from tests.databases import Database
from tests.people import a_message, a_person, another_workspace
from tests.relay import Relay
from tests.reporting import MUTE, SECRET, a_report, accounts, an_account, settled
from tests.sending import NOW, some
from tests.support import GivenClock, eventually

GENUINE = {"X-Parrot": SECRET}


@asynccontextmanager
async def served(sessions: Sessions, **values: Any) -> AsyncIterator[tuple[AsyncClient, Hooks]]:
    app = Hooks(sessions, accounts(), "https://campanile.example/", GivenClock(), **values)
    transport = ASGITransport(app=Front(None, None, None, app))
    async with AsyncClient(transport=transport, base_url="http://hooks") as client:
        try:
            yield client, app
        finally:
            await app.settle()


@pytest.fixture
async def provider(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """What calls us."""
    async with served(sessions) as (client, _):
        yield client


async def waiting(sessions: Sessions, columns: str = "count(*)") -> list[Any]:
    async with sessions.engine() as db:
        return [tuple(row) for row in await db.execute(text(f"select {columns} from hooks order by 1"))]


def refused(answer: Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    assert SECRET not in answer.text
    return detail


async def test_a_genuine_webhook_waits_as_it_came(sessions: Sessions, provider: AsyncClient) -> None:
    account = await an_account(sessions)
    headers = {
        **GENUINE,
        "Content-Type": "application/json; x=y",
        "Authorization": "Bearer x",
        "Cookie": "a=b",
    }

    answer = await provider.post(f"/hooks/{account}?mid=7&x=%20", content=b"[\x00\xff]", headers=headers)

    assert (answer.status_code, answer.content) == (200, b"")
    columns = "workspace_id, provider_id, received_at, method, url, headers, body"
    assert await waiting(sessions, columns) == [
        (
            DEFAULT_WORKSPACE,
            account,
            NOW,
            "POST",
            f"https://campanile.example/hooks/{account}?mid=7&x=%20",
            {"content-type": "application/json; x=y"},
            b"[\x00\xff]",
        )
    ]


async def test_the_way_from_a_webhook_to_a_fate(sessions: Sessions, provider: AsyncClient) -> None:
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        message = await a_message(db, await a_person(db, "ada@shop.example"), marked_at=NOW)
    told = json.dumps([a_report("delivered", message)])
    for _ in range(2):  # Somebody plays it once more.
        answer = await provider.post(f"/hooks/{account}", content=told, headers=GENUINE)
        assert answer.is_success

    done = await settled(sessions)

    assert (done.reports, done.repeated, done.raised) == (1, 1, 1)


async def test_a_deleted_account_is_gone_and_its_provider_need_not_come_again(sessions: Sessions) -> None:
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await provider_accounts.delete(db, account, NOW)
    async with served(sessions) as (provider, _):
        answer = await provider.post(f"/hooks/{account}", content=b"[]", headers=GENUINE)

    assert "deleted" in refused(answer, 410)
    assert await waiting(sessions) == [(0,)]
    async with sessions.engine() as db:
        assert await some(db, "select count(*) from hook_days") == [0]


async def test_a_handshake_is_answered_and_does_not_wait(sessions: Sessions, provider: AsyncClient) -> None:
    account = await an_account(sessions)

    answer = await provider.get(f"/hooks/{account}?hub.challenge=x", headers=GENUINE)

    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "hello", "text/plain")
    assert await waiting(sessions) == [(0,)]


async def test_what_is_not_genuine_is_refused_and_counted(sessions: Sessions) -> None:
    account = await an_account(sessions)
    async with served(sessions) as (provider, _):
        for headers in ({}, {"X-Parrot": "polly"}):
            answer = await provider.post(f"/hooks/{account}", content=b"[]", headers=headers)
            assert refused(answer, 401) == "The signature is not ours."

    assert await waiting(sessions) == [(0,)]
    async with sessions.engine() as db:
        assert await some(db, "select refused from hook_days") == [2]


@pytest.mark.parametrize(
    "path",
    [
        "/hooks/0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
        "/hooks/",
        "/hooks/7",
        "/hooks/{account}/",
        "/hooks/{account}/x",
        "/hooks//{account}",
        "/hooks/{account}%00",
        f"/hooks/{36 * '-'}",
    ],
)
async def test_an_address_that_is_no_accounts_answers_nothing(
    sessions: Sessions, provider: AsyncClient, path: str
) -> None:
    account = await an_account(sessions)

    answer = await provider.post(path.format(account=account), content=b"[]", headers=GENUINE)

    assert "No account" in refused(answer, 404)
    assert await waiting(sessions) == [(0,)]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_other_methods_are_refused(sessions: Sessions, provider: AsyncClient, method: str) -> None:
    account = await an_account(sessions)

    answer = await provider.request(method, f"/hooks/{account}", headers=GENUINE)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"


async def test_the_size_of_a_body_is_limited_whatever_it_says_of_itself(
    sessions: Sessions, provider: AsyncClient
) -> None:
    account = await an_account(sessions)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100_000

    for body in (b"x" * 1_000_001, pieces()):
        answer = await provider.post(f"/hooks/{account}", content=body, headers=GENUINE)
        assert "1,000,000 bytes" in refused(answer, 413)
    largest = await provider.post(f"/hooks/{account}", content=b"x" * 1_000_000, headers=GENUINE)
    assert largest.is_success


async def test_an_account_whose_secret_can_not_be_opened_is_told_to_come_again(
    sessions: Sessions, provider: AsyncClient
) -> None:
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update providers set credentials = 'v1.k9.AAAA'"))

    refused(await provider.post(f"/hooks/{account}", content=b"[]", headers=GENUINE), 503)


async def test_a_provider_that_reports_nothing_has_no_address(
    sessions: Sessions, provider: AsyncClient
) -> None:
    account = await an_account(sessions, kind=MUTE.name)

    answer = await provider.post(f"/hooks/{account}", content=b"[]", headers=GENUINE)

    assert "reports nothing" in refused(answer, 404)


async def test_a_parser_that_stumbles_shows_nobody_how(sessions: Sessions, provider: AsyncClient) -> None:
    account = await an_account(sessions)

    answer = await provider.post(f"/hooks/{account}", content=b"[]", headers={"X-Parrot": "stumble"})

    refused(answer, 400)


async def test_while_the_database_is_away_providers_are_told_to_come_again(
    sessions: Sessions, database: Database
) -> None:
    account = await an_account(sessions)
    relay = Relay(database.engine_url)
    await relay.mend()
    there = Sessions(relay.url(database.url), relay.url(database.engine_url), patience=0.2)
    async with served(there, patience=0.5) as (provider, _):
        assert (await provider.post(f"/hooks/{account}", content=b"[]", headers=GENUINE)).is_success
        relay.cut()
        answer = await provider.post(f"/hooks/{account}", content=b"[]", headers=GENUINE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        await relay.mend()
        await eventually(lambda: again(provider, account))
    await there.close()
    relay.cut()


async def again(provider: AsyncClient, account: UUID) -> bool:
    return (await provider.post(f"/hooks/{account}", content=b"[]", headers=GENUINE)).is_success


async def test_many_at_once_all_wait(sessions: Sessions, provider: AsyncClient) -> None:
    theirs = await another_workspace(sessions)
    mine, other = await an_account(sessions), await an_account(sessions, workspace_id=theirs)

    answers = await asyncio.gather(
        *(
            provider.post(f"/hooks/{account}", content=b"[]", headers=GENUINE)
            for account in 60 * [mine, other]
        )
    )

    assert {each.status_code for each in answers} == {200}
    assert await waiting(
        sessions, "distinct workspace_id, provider_id, count(*) over (partition by workspace_id)"
    ) == (sorted([(DEFAULT_WORKSPACE, mine, 60), (theirs, other, 60)]))


async def test_who_waits_for_webhooks_hears_of_them(database: Database, sessions: Sessions) -> None:
    account = await an_account(sessions)
    url = database.engine_url.replace("+psycopg", "")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as ears:
        await ears.execute("listen campanile_hooks")
        async with served(sessions) as (provider, _):
            await provider.post(f"/hooks/{account}", content=b"[]", headers=GENUINE)
        heard = [each.channel async for each in ears.notifies(timeout=2, stop_after=1)]
    assert heard == ["campanile_hooks"]
