"""Keys: shown once, kept hashed, rotated with an overlap, revoked."""

from datetime import timedelta

from httpx2 import AsyncClient, Response
from sqlalchemy import text

from models.base import Sessions
from tests.api.conftest import Clocked
from tests.api.people import Person, a_member, an_owner
from tests.api.support import V1, created, refusal


async def test_a_key_is_shown_once_and_kept_hashed(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    made = await created(await owner.post("/keys", {"name": "n8n", "permissions": ["segments:read"]}))

    listed = (await owner.get("/keys")).text
    assert made["key"] not in listed
    assert made["details"]["prefix"] == made["key"][:11]
    async with sessions.engine() as db:
        row = str((await db.execute(text("select * from keys where name = 'n8n'"))).one())
    assert made["key"][11:] not in row


async def test_a_key_may_do_what_it_was_given(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    made = await created(await owner.post("/keys", {"name": "n8n", "permissions": ["segments:read"]}))

    assert (await asked(nobody, made["key"], "/segments")).is_success
    refusal(await asked(nobody, made["key"], "/campaigns"), 403)
    who = (await asked(nobody, made["key"], "/whoami")).json()
    assert (who["kind"], who["key_kind"], who["permissions"]) == ("key", "sk", ["segments:read"])
    assert who["workspace_id"] == owner.workspace
    assert (await owner.get("/keys")).json()["items"][0]["used_at"] is not None


async def test_a_key_makes_nobody_who_may_do_more_than_it(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    few = ["members:read", "members:write"]
    made = await created(await owner.post("/keys", {"name": "hr", "permissions": few}))
    headers = {"Authorization": f"Bearer {made['key']}"}
    for role in ("admin", "marketer", "viewer"):
        body = {"email": "friend@example.com", "role": role}
        refusal(await nobody.post(f"{V1}/invitations", json=body, headers=headers), 403)


async def test_a_public_key_manages_nothing(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    made = await created(await owner.post("/keys", {"name": "shop", "kind": "pk"}))

    assert made["key"].startswith("pk_")
    assert (await asked(nobody, made["key"], "/whoami")).json()["permissions"] == ["events:write"]
    for path in ("/segments", "/keys", "/workspace", "/users"):
        refusal(await asked(nobody, made["key"], path), 403)
    refusal(await owner.post("/keys", {"name": "x", "kind": "pk", "permissions": ["keys:read"]}), 422)


async def test_nobody_makes_a_key_that_may_do_more_than_they(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    marketer = await a_member(owner, sessions, "grace@example.com", "marketer")
    refusal(await marketer.post("/keys", {"name": "mine"}), 403)
    refusal(await owner.post("/keys", {"name": "x", "permissions": ["ownership:write"]}), 422)

    small = await created(await owner.post("/keys", {"name": "s", "permissions": ["keys:write"]}))
    headers = {"Authorization": f"Bearer {small['key']}"}
    body = {"name": "big", "permissions": ["segments:read"]}
    refusal(await nobody.post(f"{V1}/keys", json=body, headers=headers), 403)
    others = (await owner.get("/keys")).json()["items"]
    big = await created(await owner.post("/keys", {"name": "big"}))
    rotate = await nobody.post(f"{V1}/keys/{big['id']}/rotate", json={}, headers=headers)
    refusal(rotate, 403)
    assert len(others) == 1


async def test_a_rotated_key_works_until_the_overlap_ends(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    owner = await an_owner(nobody, sessions)
    old = await created(await owner.post("/keys", {"name": "n8n"}))
    new = await created(await owner.post(f"/keys/{old['id']}/rotate", {"overlap_seconds": 60}))

    assert (await asked(nobody, old["key"], "/segments")).is_success
    assert (await asked(nobody, new["key"], "/segments")).is_success
    refusal(await owner.post(f"/keys/{old['id']}/rotate", {}), 409)  # As after an answer that was lost.
    clocked.clock.move(timedelta(seconds=61))
    refusal(await asked(nobody, old["key"], "/segments"), 401)
    assert (await asked(nobody, new["key"], "/segments")).is_success
    refusal(await owner.post(f"/keys/{old['id']}/rotate", {}), 409)


async def test_a_revoked_key_works_no_more(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    made = await created(await owner.post("/keys", {"name": "n8n"}))
    assert (await asked(nobody, made["key"], "/segments")).is_success

    assert (await owner.delete(f"/keys/{made['id']}")).status_code == 204
    refusal(await asked(nobody, made["key"], "/segments"), 401)
    assert (await owner.get(f"/keys/{made['id']}")).json()["state"] == "revoked"


async def test_a_key_is_of_its_own_workspace_only(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    other: Person = await an_owner(nobody, sessions, "eve@example.com")
    made = await created(await owner.post("/keys", {"name": "n8n"}))

    refusal(await other.get(f"/keys/{made['id']}"), 404)
    refusal(await other.delete(f"/keys/{made['id']}"), 404)
    headers = {"Authorization": f"Bearer {made['key']}", "X-Workspace-Id": str(other.workspace)}
    refusal(await nobody.get(f"{V1}/segments", headers=headers), 404)
    assert [each["id"] for each in (await asked(nobody, made["key"], "/workspaces")).json()["items"]] == [
        owner.workspace
    ]


async def asked(api: AsyncClient, key: str, path: str) -> Response:
    return await api.get(f"{V1}{path}", headers={"Authorization": f"Bearer {key}"})
