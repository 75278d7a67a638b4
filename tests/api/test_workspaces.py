"""Workspaces and who is in them: made, shared, handed over, closed."""

import asyncio
from datetime import timedelta

from httpx2 import AsyncClient
from sqlalchemy import text

from models.base import Sessions
from tests.api.conftest import Clocked
from tests.api.people import PASSWORD, a_member, a_person, an_owner, mailed, signed_in
from tests.api.support import EVERYBODY, V1, a_campaign, a_profile, a_sender, created, refusal


async def test_a_person_makes_a_workspace_and_owns_it(nobody: AsyncClient, sessions: Sessions) -> None:
    person = await a_person(nobody, sessions)
    body = {
        "name": "Records",
        "time_zone": "Europe/Rome",
        "currency": "EUR",
        "sender_email": "hello@records.example",
        "postal_address": "1 Groove Street",
    }
    made = await created(await person.post("/workspaces", body))
    assert {key: made[key] for key in body} == body
    assert made["role"] == "owner"

    listed = (await person.get("/workspaces")).json()["items"]
    assert [each["id"] for each in listed] == [made["id"]]
    # With one workspace it need not be named.
    assert (await person.get("/workspace")).json()["name"] == "Records"
    await created(await person.post("/workspaces", {"name": "Second"}))
    problem = refusal(await person.get("/workspace"), 422)
    assert (problem["errors"][0]["pointer"], problem["errors"][0]["in"]) == ("/X-Workspace-Id", "header")


async def test_a_workspace_is_read_changed_and_closed_by_its_id(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    at = f"/workspaces/{owner.workspace}"
    await created(await owner.post("/workspaces", {"name": "Second"}))

    assert (await created(await owner.patch(at, {"currency": "EUR"})))["currency"] == "EUR"
    assert (await owner.get(at)).json()["currency"] == "EUR"
    assert (await owner.delete(at)).status_code == 204
    refusal(await owner.get(at), 404)
    owner.workspace = None
    assert [each["name"] for each in (await owner.get("/workspaces")).json()["items"]] == ["Second"]


async def test_another_workspace_is_not_there(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    stranger = await an_owner(nobody, sessions, "eve@example.com")

    for path in (f"/workspaces/{owner.workspace}",):
        refusal(await stranger.get(path), 404)
        refusal(await stranger.patch(path, {"name": "Mine"}), 404)
        refusal(await stranger.delete(path), 404)
    stranger.workspace = owner.workspace
    refusal(await stranger.get("/segments"), 404)


async def test_somebody_without_an_account_joins_by_the_invitation(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    await created(await owner.post("/invitations", {"email": "Grace@Example.com", "role": "marketer"}))
    [token] = await mailed(sessions, "grace@example.com", "invitation")

    body = {"email": "grace@example.com", "password": PASSWORD, "invitation": token}
    other = await nobody.post(f"{V1}/auth/register", json=body | {"email": "eve@example.com"})
    assert refusal(other, 422)["errors"][0]["pointer"] == "/invitation"
    await created(await nobody.post(f"{V1}/auth/register", json=body))
    login = {"email": "grace@example.com", "password": PASSWORD}
    tokens = await created(await nobody.post(f"{V1}/auth/login", json=login))

    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    who = (await nobody.get(f"{V1}/whoami", headers=headers)).json()
    assert (who["workspace_id"], who["role"]) == (owner.workspace, "marketer")
    assert (await owner.get("/invitations")).json()["items"][0]["state"] == "accepted"


async def test_the_page_of_an_invitation_lets_in_who_has_an_account_and_who_has_none(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    await a_person(nobody, sessions, "grace@example.com")
    for email in ("grace@example.com", "new@example.com"):
        await created(await owner.post("/invitations", {"email": email, "role": "viewer"}))
        [token] = await mailed(sessions, email, "invitation")
        assert "<form" in (await nobody.get(f"/accounts/join?token={token}")).text
        form = {"token": token, "name": "Grace", "password": "password123"}
        assert (await nobody.post("/accounts/join", data=form)).status_code == 422
        done = await nobody.post("/accounts/join", data=form | {"password": PASSWORD})
        assert "You are in" in done.text
        assert (await nobody.post("/accounts/join", data=form)).status_code == 422
        member = await signed_in(nobody, email)
        assert (await member.get("/whoami")).json()["workspace_id"] == owner.workspace


async def test_an_invitation_is_for_one_address_once_and_for_a_while(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    owner = await an_owner(nobody, sessions)
    grace = await a_person(nobody, sessions, "grace@example.com")
    eve = await a_person(nobody, sessions, "eve@example.com")
    invite = {"email": "grace@example.com", "role": "viewer"}
    revoked = await created(await owner.post("/invitations", invite))
    assert (await owner.delete(f"/invitations/{revoked['id']}")).status_code == 204
    await created(await owner.post("/invitations", invite))
    dead, token = await mailed(sessions, "grace@example.com", "invitation")

    refusal(await grace.post("/invitations/accept", {"token": dead}), 422)
    refusal(await eve.post("/invitations/accept", {"token": token}), 403)
    assert (await created(await grace.post("/invitations/accept", {"token": token})))["role"] == "viewer"
    refusal(await grace.post("/invitations/accept", {"token": token}), 422)

    await created(await owner.post("/invitations", {"email": "eve@example.com", "role": "viewer"}))
    [late] = await mailed(sessions, "eve@example.com", "invitation")
    clocked.clock.move(timedelta(days=7, seconds=1))
    eve.tokens = await created(
        await nobody.post(f"{V1}/auth/login", json={"email": eve.email, "password": PASSWORD})
    )
    refusal(await eve.post("/invitations/accept", {"token": late}), 422)


async def test_roles_are_changed_within_what_one_may_give(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    admin = await a_member(owner, sessions, "admin@example.com", "admin")
    grace = await a_member(owner, sessions, "grace@example.com", "viewer")
    ids = {each["email"]: each["user_id"] for each in (await owner.get("/members")).json()["items"]}

    refusal(await grace.post("/segments", {"name": "All", "rule": EVERYBODY}), 403)
    assert (await admin.patch(f"/members/{ids[grace.email]}", {"role": "marketer"})).status_code == 204
    await created(await grace.post("/segments", {"name": "All", "rule": EVERYBODY}))
    refusal(await admin.patch(f"/members/{ids[grace.email]}", {"role": "owner"}), 403)
    refusal(await admin.patch(f"/members/{ids[owner.email]}", {"role": "viewer"}), 403)
    refusal(await admin.delete(f"/members/{ids[owner.email]}"), 403)
    refusal(await admin.post("/invitations", {"email": "eve@example.com", "role": "owner"}), 403)
    refusal(await grace.delete(f"/members/{ids[admin.email]}"), 403)
    refusal(await admin.post("/invitations", {"email": grace.email, "role": "admin"}), 409)
    assert (await grace.delete(f"/members/{ids[grace.email]}")).status_code == 204
    refusal(await grace.get("/segments"), 404)


async def test_the_last_owner_cannot_leave_and_hands_the_workspace_over(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    grace = await a_member(owner, sessions, "grace@example.com", "viewer")
    ids = {each["email"]: each["user_id"] for each in (await owner.get("/users")).json()["items"]}

    refusal(await owner.delete(f"/members/{ids[owner.email]}"), 409)
    refusal(await owner.patch(f"/members/{ids[owner.email]}", {"role": "admin"}), 409)
    refusal(await grace.post("/workspace/hand-over", {"user_id": ids[grace.email]}), 403)
    assert (await owner.post("/workspace/hand-over", {"user_id": ids[grace.email]})).status_code == 204
    assert (await grace.get("/whoami")).json()["role"] == "owner"
    assert (await owner.get("/whoami")).json()["role"] == "admin"
    assert (await owner.delete(f"/members/{ids[owner.email]}")).status_code == 204


async def test_two_owners_who_leave_at_once_leave_one(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    grace = await a_member(owner, sessions, "grace@example.com", "viewer")
    ids = {each["email"]: each["user_id"] for each in (await owner.get("/members")).json()["items"]}
    await owner.patch(f"/members/{ids[grace.email]}", {"role": "owner"})

    left = await asyncio.gather(
        owner.delete(f"/members/{ids[owner.email]}"), grace.delete(f"/members/{ids[grace.email]}")
    )

    assert sorted(answer.status_code for answer in left) == [204, 409]


async def test_a_workspace_with_something_under_way_is_not_closed(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    nobody.headers |= owner.headers
    campaign = await a_campaign(nobody)
    state = text("update campaigns set state = :state where id = :id")
    for told, status in (("running", 409), ("completed", 204)):
        async with sessions.engine() as db:
            await db.execute(state, {"state": told, "id": campaign})
        assert (await owner.delete(f"/workspaces/{owner.workspace}")).status_code == status


async def test_no_key_closes_a_workspace_or_makes_one(api: AsyncClient) -> None:
    own = (await api.get(f"{V1}/whoami")).json()["workspace_id"]
    refusal(await api.delete(f"{V1}/workspaces/{own}"), 403)
    refusal(await api.post(f"{V1}/workspaces", json={"name": "Another"}), 403)


async def test_the_audit_log_says_who_changed_what_and_how_it_was(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    segment = await created(await owner.post("/segments", {"name": "All", "rule": EVERYBODY}))
    await created(await owner.patch(f"/segments/{segment['id']}", {"name": "Everybody"}))
    assert (await owner.delete(f"/segments/{segment['id']}")).status_code == 204
    key = await created(await owner.post("/keys", {"name": "n8n"}))

    lines = (await owner.get(f"/audit-log?object_id={segment['id']}")).json()["items"]
    assert [line["action"] for line in lines] == ["delete", "change", "create"]
    change = lines[1]
    assert (change["before"]["name"], change["after"]["name"]) == ("All", "Everybody")
    assert (change["actor"]["kind"], change["actor"]["name"]) == ("user", owner.email)
    assert change["actor"]["request_id"]
    whole = (await owner.get("/audit-log")).text
    assert key["key"] not in whole
    assert "hash" not in whole
    kinds = {line["object_kind"] for line in (await owner.get("/audit-log")).json()["items"]}
    assert {"workspace", "member", "segment", "key"} <= kinds


async def test_the_audit_log_keeps_what_was_asked_of_a_workflow(api: AsyncClient, sessions: Sessions) -> None:
    await a_profile(sessions)
    await a_sender(api)
    campaign = await a_campaign(api)
    await created(await api.post(f"{V1}/campaigns/{campaign}/start"))

    lines = (await api.get(f"{V1}/audit-log?object_id={campaign}")).json()["items"]
    assert [line["action"] for line in lines] == ["start", "create"]
    assert {line["actor"]["kind"] for line in lines} == {"key"}
