"""People who use the API, as the tests' stories begin with them: registered, verified, signed in."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from httpx2 import AsyncClient, Response
from sqlalchemy import text

from api.routes.auth import tokens
from api.stack import Stack
from domain import passwords
from models.base import Sessions
from models.queries import accounts
from tests.api.support import V1, created

PASSWORD = "a bell that rings at noon"


@dataclass
class Person:
    """Somebody with a session; what they ask, they ask in the workspace of `headers`."""

    api: AsyncClient
    email: str
    tokens: dict[str, Any]
    workspace: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        named = {"X-Workspace-Id": self.workspace} if self.workspace else {}
        return {"Authorization": f"Bearer {self.tokens['access_token']}", **named}

    async def get(self, path: str, **more: Any) -> Response:
        return await self.api.get(f"{V1}{path}", headers=self.headers, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> Response:
        return await self.api.post(f"{V1}{path}", json=json, headers=self.headers, **more)

    async def patch(self, path: str, json: Any = None) -> Response:
        return await self.api.patch(f"{V1}{path}", json=json, headers=self.headers)

    async def delete(self, path: str) -> Response:
        return await self.api.delete(f"{V1}{path}", headers=self.headers)


async def mailed(sessions: Sessions, email: str, kind: str) -> list[str]:
    """The tokens in the links of this kind that were queued for an address, the newest last."""
    async with sessions.accounts() as db:
        rows = await db.scalars(
            text("select holes::text from messages where bare = :email and step = :kind order by id"),
            {"email": email, "kind": kind},
        )
        return [found[1] if (found := re.search(r"token=([\w-]+)", row)) else "" for row in rows]


async def registered(api: AsyncClient, sessions: Sessions, email: str) -> None:
    """Somebody whose address is confirmed."""
    body = {"email": email, "password": PASSWORD, "name": "Ada"}
    await created(await api.post(f"{V1}/auth/register", json=body))
    [token] = await mailed(sessions, email, "verify email")
    assert (await api.post(f"{V1}/auth/verify-email", json={"token": token})).status_code == 204


async def signed_in(api: AsyncClient, email: str, password: str = PASSWORD, **more: Any) -> Person:
    body = {"email": email, "password": password, **more}
    return Person(api, email, await created(await api.post(f"{V1}/auth/login", json=body)))


async def a_person(api: AsyncClient, sessions: Sessions, email: str = "ada@example.com") -> Person:
    """Somebody with an account and a session, made as the API would, but for a hash that is made once."""
    stack = stack_of(api)
    now = stack.clock.now()
    async with sessions.accounts() as db:
        user = await accounts.create(db, email, "Ada", hash_of_password(), now)
        assert user is not None, f"{email} has an account already"
        session_id, refresh_token = await accounts.open_session(db, user.id, "tests", now)
    return Person(api, email, vars(tokens(stack, user.id, session_id, refresh_token)))


@cache
def hash_of_password() -> str:
    return passwords.hash_of(PASSWORD)


def stack_of(api: AsyncClient) -> Stack:
    """What the API of this client works with."""
    front = getattr(api._transport, "app")  # noqa: B009 - the transport's type has no app.
    found = front._app.state.stack
    assert isinstance(found, Stack)
    return found


async def an_owner(api: AsyncClient, sessions: Sessions, email: str = "ada@example.com") -> Person:
    """Somebody with a workspace of their own, in which they ask."""
    person = await a_person(api, sessions, email)
    person.workspace = (await created(await person.post("/workspaces", {"name": "Records"})))["id"]
    return person


async def a_member(owner: Person, sessions: Sessions, email: str, role: str) -> Person:
    """Somebody whom the owner invited, and who came."""
    await created(await owner.post("/invitations", {"email": email, "role": role}))
    token = (await mailed(sessions, email, "invitation"))[-1]
    member = await a_person(owner.api, sessions, email)
    joined = await created(await member.post("/invitations/accept", {"token": token}))
    member.workspace = joined["workspace_id"]
    return member
