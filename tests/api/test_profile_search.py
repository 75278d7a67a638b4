"""Looking for people."""

from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import attributes, profiles_searched
from tests.api.support import V1, a_profile, created, refusal
from tests.people import NOON as _NOW


async def found(api: AsyncClient, **params: Any) -> list[str]:
    answer = await api.get(f"{V1}/profiles", params=params)
    assert answer.is_success, answer.text
    return [each["email"] for each in answer.json()["items"]]


@pytest.fixture
async def people(api: AsyncClient, sessions: Sessions) -> list[UUID]:
    ada = await a_profile(sessions, "ada@example.com", plan="pro", age=36, vip=True, likes=["tea", "bells"])
    bob = await a_profile(sessions, "bob@example.com", plan="free", age="36", likes=["tea"])
    return [ada, bob]


async def test_by_any_name_however_it_is_written(api: AsyncClient, people: list[UUID]) -> None:
    phone = {"phone": "+49 170 1234567", "user_id": "c1", "anonymous_id": "a-1"}
    await created(await api.patch(f"{V1}/profiles/{people[0]}", json=phone))

    for params in (
        {"email": " ADA@example.com"},
        {"phone": "+49 (170) 123 45 67"},
        {"user_id": "c1"},
        {"anonymous_id": "a-1"},
        {"email": "ada@example.com", "user_id": "c1"},
    ):
        assert await found(api, **params) == ["ada@example.com"], params
    assert await found(api, email="bob@example.com", user_id="c1") == []
    assert await found(api, email="nobody@example.com") == []


async def test_by_how_a_name_begins(api: AsyncClient, people: list[UUID]) -> None:
    assert await found(api, text="Ad") == ["ada@example.com"]
    assert await found(api, text="bob@") == ["bob@example.com"]
    assert await found(api, text="a%") == []


async def test_by_an_attribute_whether_it_is_hot_or_not(
    api: AsyncClient, sessions: Sessions, people: list[UUID]
) -> None:
    async def check() -> None:
        assert await found(api, **{"attribute.plan": "pro"}) == ["ada@example.com"]
        assert await found(api, **{"attribute.vip": "true"}) == ["ada@example.com"]
        assert await found(api, **{"attribute.age": "36"}) == ["bob@example.com", "ada@example.com"]
        assert await found(api, **{"attribute.age": "36.0"}) == ["ada@example.com"]
        assert await found(api, **{"attribute.age": "36", "attribute.plan": "pro"}) == ["ada@example.com"]
        assert await found(api, **{"attribute.plan": "pro", "text": "bob"}) == []
        assert await found(api, **{"attribute.none": "pro"}) == []

    await check()
    async with sessions(DEFAULT_WORKSPACE) as db:
        for name in ("plan", "vip", "age"):
            given = {"names": [name], "values": ['"x"']}
            await attributes.note(db, DEFAULT_WORKSPACE, attributes.GIVEN, _NOW, given)
            await attributes.change(db, DEFAULT_WORKSPACE, name, hot=True)
            await attributes.fill(db, DEFAULT_WORKSPACE, name)
    await check()


async def test_by_an_item_of_a_list(api: AsyncClient, sessions: Sessions, people: list[UUID]) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        given = {"names": ["likes"], "values": ["[]"]}
        await attributes.note(db, DEFAULT_WORKSPACE, attributes.GIVEN, _NOW, given)

    assert await found(api, **{"attribute.likes": "bells"}) == ["ada@example.com"]
    assert await found(api, **{"attribute.likes": "tea"}) == ["bob@example.com", "ada@example.com"]


async def test_pages_go_on_where_the_one_before_ended(api: AsyncClient, sessions: Sessions) -> None:
    for n in range(5):
        await a_profile(sessions, f"p{n}@example.com", plan="pro")
    seen, cursor = [], None
    while True:
        params: dict[str, Any] = {"attribute.plan": "pro", "limit": 2} | (
            {"cursor": cursor} if cursor else {}
        )
        page = (await api.get(f"{V1}/profiles", params=params)).json()
        seen += [each["email"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == [f"p{n}@example.com" for n in (4, 3, 2, 1, 0)]


async def test_what_takes_too_long_says_the_way_out(
    api: AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles_searched, "PATIENCE", 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(
            text(
                "insert into profiles (workspace_id, attributes) select :here, "
                "jsonb_build_object('n', n, 'text', repeat('x', 500)) from generate_series(1, 20000) n"
            ),
            {"here": DEFAULT_WORKSPACE},
        )

    told = refusal(await api.get(f"{V1}/profiles", params={"attribute.plan": "pro"}), 422)

    assert "hot" in told["detail"]
    assert told["errors"][0] == {
        "pointer": "/attribute.plan",
        "in": "query",
        "detail": told["errors"][0]["detail"],
    }


async def test_what_is_no_question_is_refused(strict_api: AsyncClient) -> None:
    for params in (
        {"attribute.": "x"},
        {"colour": "red"},
        {f"attribute.{n}": "x" for n in range(6)},
    ):
        refusal(await strict_api.get(f"{V1}/profiles", params=params), 422)
