"""What somebody who means harm tries with accounts, workspaces and keys, and what stops them."""

import asyncio
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any
from uuid import UUID

import bcrypt
import pytest
from httpx2 import AsyncClient
from sqlalchemy import select, text, update

from domain import passwords
from domain.access import Access
from domain.errors import Conflict
from domain.networks import place_of
from models.accounts import User
from models.base import Sessions
from models.members import Membership
from models.queries import accounts, campaigns, flows
from tests.api.people import (
    PASSWORD,
    a_member,
    a_person,
    an_owner,
    mailed,
    registered,
    signed_in,
    stack_of,
)
from tests.api.support import V1, created, refusal
from tests.support import eventually

EMAIL = "ada@example.com"
OTHER = "a lamp over the harbour wall"
SLOW = "4@8({[<36691!|1l0$5+7%2" * 3  # Of which zxcvbn's search takes seconds.


async def somebody_waits(sessions: Sessions) -> bool:
    """Whether a transaction waits for another one's lock."""
    async with sessions.engine() as db:
        return bool(await db.scalar(text("select exists (select from pg_locks where not granted)")))


async def key_of(owner: Any, *permissions: str) -> dict[str, str]:
    made = await created(await owner.post("/keys", {"name": "n8n", "permissions": [*permissions]}))
    return {"Authorization": f"Bearer {made['key']}"}


# Accounts.


async def test_a_password_that_is_slow_to_judge_stops_nobody_else(strict_api: AsyncClient) -> None:
    body = {"email": EMAIL, "password": SLOW}
    await strict_api.get(f"{V1}/whoami")  # The first request is slow by itself: it makes the routes.
    slow = asyncio.ensure_future(strict_api.post(f"{V1}/auth/register", json=body))
    began = time.perf_counter()
    await asyncio.sleep(0.1)
    await strict_api.get("/health")
    waited = time.perf_counter() - began
    await slow

    assert waited < 0.5


async def test_who_registers_a_strangers_address_does_not_learn_whether_it_had_an_account(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    await registered(nobody, sessions, EMAIL)
    answers = []
    for email in (EMAIL, "new@example.com"):
        body = {"email": email, "password": OTHER}
        await created(await nobody.post(f"{V1}/auth/register", json=body))
        answers.append(await nobody.post(f"{V1}/auth/login", json=body))

    told = [{k: v for k, v in answer.json().items() if k != "request_id"} for answer in answers]
    assert told[0] == told[1]


async def test_how_often_one_may_try_tells_nothing_and_sends_no_mail_without_end(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    body = {"email": EMAIL, "password": OTHER}
    await created(await nobody.post(f"{V1}/auth/register", json=body))

    answers = [await nobody.post(f"{V1}/auth/login", json=body) for _ in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]


async def test_how_long_a_forgotten_password_takes_tells_nothing(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    await a_person(nobody, sessions, EMAIL)
    took: dict[str, list[float]] = {EMAIL: [], "none@example.com": []}
    for _ in range(9):
        for email, times in took.items():
            began = time.perf_counter()
            await created(await nobody.post(f"{V1}/auth/forgot-password", json={"email": email}))
            times.append(time.perf_counter() - began)

    known, unknown = (median(times) for times in took.values())
    assert abs(known - unknown) < 0.01, (known, unknown)


async def test_a_long_password_is_only_wrong_where_an_old_hash_is_kept(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    person = await a_person(nobody, sessions, EMAIL)
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    async with sessions.accounts() as db:
        await db.execute(update(User).where(User.email == person.email).values(password_hash=old))

    answer = await nobody.post(f"{V1}/auth/login", json={"email": EMAIL, "password": "x" * 100})

    refusal(answer, 401)


async def test_a_new_password_ends_a_change_of_address_that_somebody_else_began(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    await registered(nobody, sessions, EMAIL)
    thief = await signed_in(nobody, EMAIL)
    await created(
        await thief.patch("/users/me", {"email": "thief@example.com", "current_password": PASSWORD})
    )
    await nobody.post(f"{V1}/auth/forgot-password", json={"email": EMAIL})
    [reset] = await mailed(sessions, EMAIL, "reset password")
    await nobody.post(f"{V1}/auth/reset-password", json={"token": reset, "password": OTHER})

    [change] = await mailed(sessions, "thief@example.com", "change email")
    refusal(await nobody.post(f"{V1}/auth/verify-email", json={"token": change}), 422)
    async with sessions.accounts() as db:
        assert await accounts.by_email(db, EMAIL) is not None


async def test_a_link_for_a_password_works_no_more_once_the_address_is_another(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    await registered(nobody, sessions, EMAIL)
    person = await signed_in(nobody, EMAIL)
    await nobody.post(f"{V1}/auth/forgot-password", json={"email": EMAIL})
    [reset] = await mailed(sessions, EMAIL, "reset password")
    await person.patch("/users/me", {"email": "ada@new.example", "current_password": PASSWORD})
    [change] = await mailed(sessions, "ada@new.example", "change email")
    assert (await nobody.post(f"{V1}/auth/verify-email", json={"token": change})).status_code == 204

    answer = await nobody.post(f"{V1}/auth/reset-password", json={"token": reset, "password": OTHER})

    refusal(answer, 422)


@pytest.mark.parametrize("what", ["login", "change"])
async def test_an_old_password_that_is_being_checked_opens_nothing_once_there_is_a_new_one(
    nobody: AsyncClient, sessions: Sessions, what: str
) -> None:
    person = await a_person(nobody, sessions, EMAIL)
    async with sessions.accounts() as db:  # It waits for this transaction when the password was checked.
        user = await accounts.by_email(db, EMAIL, lock=True)
        assert user is not None
        if what == "login":
            asking = nobody.post(f"{V1}/auth/login", json={"email": EMAIL, "password": PASSWORD})
        else:
            asking = person.patch("/users/me", {"password": OTHER + "!", "current_password": PASSWORD})
        late = asyncio.ensure_future(asking)
        await eventually(lambda: somebody_waits(sessions))
        await accounts.change(db, user.id, {"password_hash": passwords.hash_of(OTHER)})

    assert (await late).status_code in (401, 403)
    async with sessions.accounts() as db:
        kept = (await accounts.get(db, user.id)).password_hash
    assert passwords.verify(OTHER, kept)[0]


async def test_a_stolen_session_cannot_guess_the_password_for_long(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    thief = await a_person(nobody, sessions, EMAIL)
    wrong = {"password": OTHER, "current_password": "not the password"}
    answers = [await thief.patch("/users/me", wrong) for _ in range(11)]

    assert [answer.status_code for answer in answers] == [403] * 10 + [429]


async def test_nobody_sends_strangers_mail_without_end(nobody: AsyncClient, sessions: Sessions) -> None:
    person = await an_owner(nobody, sessions, EMAIL)
    async with sessions.accounts() as db:
        await db.execute(update(User).where(User.email == EMAIL).values(password_hash=None))

    changes = [await person.patch("/users/me", {"email": "bob@example.com"}) for _ in range(11)]
    asked = {"email": "eve@example.com", "role": "viewer"}
    invitations = [await person.post("/invitations", asked) for _ in range(11)]

    assert changes[-1].status_code == 429
    assert invitations[-1].status_code == 429


def test_a_whole_network_of_version_six_is_one_place() -> None:
    assert place_of("2001:db8:1:2:a::1") == place_of("2001:db8:1:2:b::2")
    assert place_of("2001:db8:1:2::1") != place_of("2001:db8:1:3::1")
    assert place_of("::ffff:192.0.2.1") == place_of("192.0.2.1") != place_of("192.0.2.2")


async def test_a_mail_to_an_address_that_nobody_proved_says_nothing_of_a_strangers(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    body = {"email": EMAIL, "password": OTHER, "name": "you won: https://evil.example"}
    await created(await nobody.post(f"{V1}/auth/register", json=body))

    async with sessions.accounts() as db:
        holes = await db.scalar(
            text("select holes::text from messages where bare = :email"), {"email": EMAIL}
        )
    assert "evil.example" not in str(holes)


async def test_who_registered_an_address_first_does_not_get_what_its_owner_confirms(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    for password in (OTHER, PASSWORD, OTHER):  # The stranger, the owner, the stranger again.
        body = {"email": EMAIL, "password": password}
        await created(await nobody.post(f"{V1}/auth/register", json=body))
    tokens = await mailed(sessions, EMAIL, "verify email")

    assert (await nobody.post(f"{V1}/auth/verify-email", json={"token": tokens[1]})).status_code == 204
    await signed_in(nobody, EMAIL)
    refusal(await nobody.post(f"{V1}/auth/login", json={"email": EMAIL, "password": OTHER}), 401)
    refusal(await nobody.post(f"{V1}/auth/verify-email", json={"token": tokens[2]}), 422)


async def test_an_invited_person_registers_although_a_stranger_took_the_address(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions, "owner@example.com")
    await created(await owner.post("/invitations", {"email": EMAIL, "role": "viewer"}))
    [token] = await mailed(sessions, EMAIL, "invitation")
    await nobody.post(f"{V1}/auth/register", json={"email": EMAIL, "password": OTHER})

    body = {"email": EMAIL, "password": PASSWORD, "invitation": token}
    await created(await nobody.post(f"{V1}/auth/register", json=body))

    person = await signed_in(nobody, EMAIL)
    assert (await created(await person.get("/whoami")))["role"] == "viewer"
    refusal(await nobody.post(f"{V1}/auth/login", json={"email": EMAIL, "password": OTHER}), 401)


# Workspaces.


async def test_a_key_makes_nobody_who_may_do_more_than_it(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    viewer = await a_member(owner, sessions, "bob@example.com", "viewer")
    key = await key_of(owner, "members:write", "members:read", "issuers:write")
    viewers_id = (await created(await viewer.get("/whoami")))["id"]

    invited = await nobody.post(
        f"{V1}/invitations", json={"email": "eve@example.com", "role": "admin"}, headers=key
    )
    raised = await nobody.patch(f"{V1}/members/{viewers_id}", json={"role": "admin"}, headers=key)
    issuer = {"name": "Mine", "issuer": "http://127.0.0.1:9", "client_id": "a", "client_secret": "b"}
    vouched = await nobody.post(f"{V1}/issuers", json=issuer, headers=key)

    refusal(invited, 403)
    refusal(raised, 403)
    refusal(vouched, 403)


async def test_a_public_key_does_not_read_the_workspace(nobody: AsyncClient, sessions: Sessions) -> None:
    owner = await an_owner(nobody, sessions)
    made = await created(await owner.post("/keys", {"name": "page", "kind": "pk"}))

    answer = await nobody.get(f"{V1}/workspaces", headers={"Authorization": f"Bearer {made['key']}"})

    refusal(answer, 403)


async def test_an_admin_cannot_take_an_owner_out_by_an_issuer(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    await a_member(owner, sessions, "bob@example.com", "owner")
    assert owner.workspace is not None
    me = UUID((await created(await owner.get("/whoami")))["id"])
    stack = stack_of(nobody)
    async with sessions.accounts() as db:  # As an issuer of the admin's would open it.
        session_id, _ = await accounts.open_session(db, me, "", stack.clock.now(), UUID(owner.workspace))
    token = stack.access.sign(Access(me, session_id), stack.clock.now())

    answer = await nobody.delete(f"{V1}/members/{me}", headers={"Authorization": f"Bearer {token}"})

    refusal(answer, 403)


async def test_who_was_removed_does_not_come_back_by_an_invitation_of_before(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    admin = await a_member(owner, sessions, "bob@example.com", "admin")
    await created(await admin.post("/invitations", {"email": "bobs-other@example.com", "role": "admin"}))
    other = await a_person(nobody, sessions, "bobs-other@example.com")
    bob = (await created(await admin.get("/whoami")))["id"]
    assert (await owner.delete(f"/members/{bob}")).status_code == 204

    [token] = await mailed(sessions, other.email, "invitation")
    refusal(await other.post("/invitations/accept", {"token": token}), 422)


async def test_who_lost_a_role_meanwhile_does_not_use_it_once_more(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    second = await a_member(owner, sessions, "bob@example.com", "owner")
    friend = await a_member(owner, sessions, "eve@example.com", "viewer")
    assert owner.workspace is not None
    bob, eve = [UUID((await created(await each.get("/whoami")))["id"]) for each in (second, friend)]

    async with sessions(UUID(owner.workspace)) as db:  # As another process would.
        await db.execute(update(Membership).where(Membership.user_id == bob).values(role="viewer"))
    raised = await second.patch(f"/members/{bob}", {"role": "owner"})
    handed = await second.post("/workspace/hand-over", {"user_id": str(eve)})

    refusal(raised, 403)
    refusal(handed, 403)
    async with sessions(UUID(owner.workspace)) as db:
        roles = {row[0]: row[1] for row in await db.execute(select(Membership.user_id, Membership.role))}
    assert (roles[bob], roles[eve]) == ("viewer", "viewer")


async def test_nothing_that_was_asked_for_before_begins_in_a_workspace_that_was_closed(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    owner = await an_owner(nobody, sessions)
    assert owner.workspace is not None
    segment = await created(await owner.post("/segments", {"name": "Everybody", "rule": {"all": []}}))
    letter = {"name": "Letter", "subject": "Hello", "html": "<p>Hello</p>"}
    template = await created(await owner.post("/templates", letter))
    body = {"name": "Winter", "segment_id": segment["id"], "template_id": template["id"]}
    campaign = await created(await owner.post("/campaigns", body))
    steps = {"wait": {"kind": "wait", "duration": "P1D"}}
    graph = {"trigger": {"kind": "api"}, "first": "wait", "steps": steps}
    flow = await created(await owner.post("/flows", {"name": "Welcome", "definition": graph}))
    assert (await owner.delete(f"/workspaces/{owner.workspace}")).status_code == 204

    async with sessions(UUID(owner.workspace)) as db:
        with pytest.raises(Conflict, match="closed"):
            await flows.publish(db, UUID(flow["id"]))
        begun = await campaigns.begin(db, UUID(campaign["id"]), datetime.now(UTC))

    assert begun is None


async def test_nobody_uploads_a_file_before_we_know_who_they_are(strict_api: AsyncClient) -> None:
    read = 0

    async def body() -> Any:
        nonlocal read
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        for _ in range(200):
            read += 1
            yield b"a" * 65_536
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": "Bearer sk_none"}
    answer = await strict_api.post(f"{V1}/imports", content=body(), headers=headers)

    refusal(answer, 401)
    assert read < 10


async def test_one_whose_requests_take_long_keeps_nobody_else_waiting(
    nobody: AsyncClient, sessions: Sessions
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    eve = await an_owner(nobody, sessions, "eve@example.com")
    ada = await a_person(nobody, sessions, EMAIL)
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        issuer = {
            "name": "Slow",
            "issuer": f"http://127.0.0.1:{port}",
            "client_id": "a",
            "client_secret": "b",
        }

        async def slowly(n: int) -> int:
            headers = {**eve.headers, "Idempotency-Key": str(n)}
            return (await nobody.post(f"{V1}/issuers", json=issuer, headers=headers)).status_code

        slow = [asyncio.ensure_future(slowly(n)) for n in range(10)]
        await asyncio.sleep(0.5)
        headers = {**ada.headers, "Idempotency-Key": "1"}
        async with asyncio.timeout(3):
            await created(await nobody.post(f"{V1}/workspaces", json={"name": "Records"}, headers=headers))
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
