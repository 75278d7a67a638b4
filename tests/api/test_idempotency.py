"""What is sent again, because its answer was lost, is answered the same and done once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
from fastapi import APIRouter, FastAPI
from httpx2 import ASGITransport, AsyncClient, Response
from sqlalchemy import func, select, text
from temporalio.testing import ActivityEnvironment

from activities.upkeep import UpkeepActivities
from api.callers import WorkspaceId
from api.deps import Db
from api.errors import handle
from api.front import Front
from api.manners import Mannered
from api.stack import Stack, TemporalLink
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.imports import Import
from models.members import IdempotencyKey
from models.queries import segments_written
from models.segments import Segment
from settings import Settings
from tests.api.conftest import the_app
from tests.api.people import a_member, a_person, an_owner
from tests.api.support import EVERYBODY, KEY, V1, created, refusal
from tests.support import GivenClock

AT = f"{V1}/segments"
BODY = {"name": "Everybody", "rule": EVERYBODY}
ONCE = {"Idempotency-Key": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"}


async def segments_made(sessions: Sessions) -> int:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await db.scalar(select(func.count()).select_from(Segment)) or 0


async def an_upload(
    api: AsyncClient, headers: dict[str, str], data: bytes = b"email\nada@example.com\n"
) -> Response:
    files = {"file": ("people.csv", data, "text/csv")}
    return await api.post(f"{V1}/imports", data={"kind": "customers"}, files=files, headers=headers)


async def test_the_same_request_again_is_answered_the_same_and_makes_nothing(
    api: AsyncClient, sessions: Sessions
) -> None:
    first = await api.post(AT, json=BODY, headers=ONCE)
    again = await api.post(AT, json=BODY, headers=ONCE)

    assert (again.status_code, again.content) == (201, first.content)
    for name in ("etag", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert await segments_made(sessions) == 1


async def test_the_same_request_at_the_same_time_makes_one_thing(
    api: AsyncClient, sessions: Sessions
) -> None:
    answers = await asyncio.gather(*(api.post(AT, json=BODY, headers=ONCE) for _ in range(5)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 4
    assert await segments_made(sessions) == 1


async def test_another_key_is_another_request(api: AsyncClient, sessions: Sessions) -> None:
    for key in ("a", "b"):
        await created(await api.post(AT, json=BODY, headers={"Idempotency-Key": key}))

    assert await segments_made(sessions) == 2


@pytest.mark.parametrize(
    ("path", "body"), [(AT, {**BODY, "name": "Other"}), (f"{AT}/estimate", {"rule": EVERYBODY})]
)
async def test_a_key_is_good_for_one_request(api: AsyncClient, path: str, body: dict[str, object]) -> None:
    await created(await api.post(AT, json=BODY, headers=ONCE))

    problem = refusal(await api.post(path, json=body, headers=ONCE), 422)

    assert "used for another request" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/Idempotency-Key"


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "ä", "a\t"])
async def test_a_key_that_is_none_is_refused(strict_api: AsyncClient, key: str) -> None:
    headers = {"Idempotency-Key": key.encode()}
    problem = refusal(await strict_api.post(AT, json=BODY, headers=headers), 422)  # type: ignore[arg-type]

    assert problem["errors"][0]["in"] == "header"


async def test_a_refusal_is_not_kept_and_leaves_the_key(api: AsyncClient, sessions: Sessions) -> None:
    refusal(await api.post(AT, json={**BODY, "name": ""}, headers=ONCE), 422)

    await created(await api.post(AT, json=BODY, headers=ONCE))
    assert await segments_made(sessions) == 1


async def test_nobody_is_given_what_another_was_answered(nobody: AsyncClient, sessions: Sessions) -> None:
    ada = await an_owner(nobody, sessions)
    grace = await an_owner(nobody, sessions, "grace@example.com")

    made = [
        await created(await nobody.post(AT, json=BODY, headers={**who.headers, **ONCE}))
        for who in (ada, grace)
    ]

    assert made[0]["id"] != made[1]["id"]


async def test_who_lost_the_permission_is_not_told_again(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    grace = await a_member(owner, sessions, "grace@example.com", "marketer")
    once = {**grace.headers, "Idempotency-Key": "once"}
    body = {"name": "Everybody", "rule": EVERYBODY}
    await created(await nobody.post(f"{V1}/segments", json=body, headers=once))
    members = (await owner.get("/members")).json()["items"]
    [user] = [each["user_id"] for each in members if each["email"] == grace.email]
    assert (await owner.patch(f"/members/{user}", {"role": "viewer"})).status_code == 204

    refusal(await nobody.post(f"{V1}/segments", json=body, headers=once), 403)


async def test_who_is_nobody_is_told_so(strict_api: AsyncClient) -> None:
    for credential in ("", "Bearer sk_of-nobody", "Basic dTpw"):
        answer = await strict_api.post(AT, json=BODY, headers={**ONCE, "Authorization": credential})
        refusal(answer, 401)


@pytest.fixture
async def frail(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """An API with one route, that breaks after it has made a segment, the first two times."""
    router = APIRouter(route_class=Mannered)
    asked = 0

    @router.post(AT)
    async def make(workspace_id: WorkspaceId, db: Db) -> str:
        nonlocal asked
        asked += 1
        made = await segments_written.create(db, workspace_id, "Everybody", EVERYBODY)
        if asked < 3:
            raise RuntimeError("A crash.")
        return str(made.id)

    app = FastAPI()
    handle(app)
    app.include_router(router)
    app.state.stack = Stack(Settings(), sessions, TemporalLink("127.0.0.1:9", "default"))
    async with AsyncClient(
        transport=ASGITransport(app=Front(app), raise_app_exceptions=False),
        base_url="http://campanile",
        headers={"Authorization": f"Bearer {KEY}"},
    ) as client:
        yield client


async def test_a_crash_leaves_nothing_and_the_key_is_free(frail: AsyncClient, sessions: Sessions) -> None:
    for _ in range(2):
        assert (await frail.post(AT, headers=ONCE)).status_code == 500
        assert await segments_made(sessions) == 0
        async with sessions(DEFAULT_WORKSPACE) as db:
            assert await db.scalar(select(func.count()).select_from(IdempotencyKey)) == 0

    made, again = [await frail.post(AT, headers=ONCE) for _ in range(2)]

    assert (made.status_code, again.json()) == (200, made.json())
    assert await segments_made(sessions) == 1


async def test_who_waits_too_long_for_the_first_is_told_so(api: AsyncClient, sessions: Sessions) -> None:
    key_id = (await api.get(f"{V1}/whoami")).json()["id"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = {"workspace_id": DEFAULT_WORKSPACE, "caller": key_id, "key": "slow", "fingerprint": b""}
        db.add(IdempotencyKey(**row, created_at=func.now()))
        await db.flush()

        problem = refusal(await api.post(AT, json=BODY, headers={"Idempotency-Key": "slow"}), 409)
        await db.rollback()

    assert "under way" in problem["detail"]
    await created(await api.post(AT, json=BODY, headers={"Idempotency-Key": "slow"}))


async def test_a_secret_is_shown_once_and_not_kept(api: AsyncClient, sessions: Sessions) -> None:
    body = {"name": "n8n", "kind": "sk"}
    made = await created(await api.post(f"{V1}/keys", json=body, headers=ONCE))

    problem = refusal(await api.post(f"{V1}/keys", json=body, headers=ONCE), 409)

    assert "shown once" in problem["detail"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        kept = await db.scalar(text("select idempotency_keys::text from idempotency_keys"))
    assert kept
    assert made["key"] not in kept
    assert made["key"].encode().hex() not in kept


async def test_a_person_makes_one_workspace_even_their_first(nobody: AsyncClient, sessions: Sessions) -> None:
    ada = await a_person(nobody, sessions)
    headers = {**ada.headers, **ONCE}

    answers = [
        await nobody.post(f"{V1}/workspaces", json={"name": "Records"}, headers=headers) for _ in range(2)
    ]
    other = await nobody.post(
        f"{V1}/workspaces", json={"name": "Tapes"}, headers={**headers, "Idempotency-Key": "other"}
    )
    late = await nobody.post(f"{V1}/workspaces", json={"name": "Records"}, headers=headers)

    assert {answer.status_code for answer in (*answers, other, late)} == {201}
    assert len({answer.content for answer in (*answers, late)}) == 1
    assert len((await ada.get("/workspaces")).json()["items"]) == 2


async def test_an_upload_that_is_sent_again_is_one_import(
    lonely_api: AsyncClient, sessions: Sessions
) -> None:
    first, again = [await an_upload(lonely_api, ONCE) for _ in range(2)]
    refusal(await an_upload(lonely_api, ONCE, b"email\nanother-file@example.com\n"), 422)

    assert (first.status_code, again.json()) == (202, first.json())
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await db.scalar(select(func.count()).select_from(Import)) == 1


async def test_many_who_hold_a_key_do_not_wait_for_each_other(lonely_api: AsyncClient) -> None:
    """There are more of them than connections in a pool, and each takes a second one for the file."""
    uploads = (an_upload(lonely_api, {"Idempotency-Key": str(uuid4())}) for _ in range(15))

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*uploads)

    assert {answer.status_code for answer in answers} == {202}


async def test_after_a_day_a_key_is_forgotten(api: AsyncClient, sessions: Sessions) -> None:
    clock = GivenClock()
    the_app().state.stack.clock = clock
    first = await created(await api.post(AT, json=BODY, headers=ONCE))
    upkeep = UpkeepActivities(sessions, clock).upkeep

    clock.move(timedelta(hours=23))
    await ActivityEnvironment().run(upkeep)
    assert (await created(await api.post(AT, json=BODY, headers=ONCE)))["id"] == first["id"]

    clock.move(timedelta(hours=2))
    await ActivityEnvironment().run(upkeep)
    assert (await created(await api.post(AT, json=BODY, headers=ONCE)))["id"] != first["id"]


async def test_each_post_that_takes_a_credential_takes_the_key_and_says_so(strict_api: AsyncClient) -> None:
    for _ in range(2):  # The description is made once, and asked for again.
        document = (await strict_api.get("/openapi.json")).json()

    for path, operations in document["paths"].items():
        named = [each["name"] for each in operations.get("post", {}).get("parameters", ())]
        takes = "security" in operations.get("post", {})
        assert named.count("Idempotency-Key") == takes, path
