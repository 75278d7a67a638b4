"""The catalogue of attributes by HTTP, and one that becomes hot while people are written."""

from httpx2 import AsyncClient
from sqlalchemy import text
from temporalio.client import Client

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.api.support import V1, created, refusal
from tests.databases import Database
from tests.support import eventually
from tests.workflows.site import at_work


async def known(api: AsyncClient, **attributes: object) -> None:
    await created(await api.post(f"{V1}/profiles", json={"user_id": "c1", "attributes": attributes}))


async def test_what_is_seen_on_somebody_is_in_the_catalogue(api: AsyncClient) -> None:
    await known(api, plan="pro", age=36, born="1990-01-01", likes=["tea"])
    await known(api, age="unknown")

    listed = (await api.get(f"{V1}/attributes")).json()

    assert [(each["name"], each["type"], each["conflicts"]) for each in listed["items"]] == [
        ("age", "number", 1),
        ("born", "date", 0),
        ("likes", "list", 0),
        ("plan", "string", 0),
    ]
    page = (await api.get(f"{V1}/attributes", params={"limit": 3})).json()
    rest = (await api.get(f"{V1}/attributes", params={"cursor": page["next_cursor"]})).json()
    assert [each["name"] for each in rest["items"]] == ["plan"]
    assert (await api.get(f"{V1}/attributes/age")).json()["values"] == 2


async def test_a_type_and_who_may_set_it_are_decided_by_members(api: AsyncClient) -> None:
    await known(api, zip=8000, likes=["tea"])

    changed = await api.patch(f"{V1}/attributes/zip", json={"type": "string", "server_only": True})

    assert changed.status_code == 200
    assert (changed.json()["type"], changed.json()["server_only"], changed.json()["hot"]) == (
        "string",
        True,
        False,
    )
    refusal(await api.patch(f"{V1}/attributes/likes", json={"hot": True}), 422)
    refusal(await api.patch(f"{V1}/attributes/nothing", json={"hot": True}), 404)
    refusal(await api.patch(f"{V1}/attributes/zip", json={}), 422)


async def test_what_was_there_before_is_read_by_a_workflow(
    api: AsyncClient, sessions: Sessions, temporal: Client, database: Database
) -> None:
    for n in range(3):
        await created(
            await api.post(f"{V1}/profiles", json={"user_id": f"c{n}", "attributes": {"plan": f"p{n}"}})
        )
    async with at_work(temporal, sessions, database):
        changed = await created(await api.patch(f"{V1}/attributes/plan", json={"hot": True}))

        async def ready() -> bool:
            return bool((await api.get(f"{V1}/attributes/plan")).json()["ready"])

        await eventually(ready, what="the attribute is ready")
    assert changed["hot"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        kept = list(await db.scalars(text("select text from profile_values order by 1")))
    assert kept == ["p0", "p1", "p2"]


async def test_without_temporal_it_is_hot_all_the_same_and_waits(lonely_api: AsyncClient) -> None:
    await known(lonely_api, plan="pro")

    changed = await lonely_api.patch(f"{V1}/attributes/plan", json={"hot": True})

    assert changed.status_code == 200
    assert (changed.json()["hot"], changed.json()["ready"]) == (True, False)
