"""One's own account: name, address, password, sessions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Request, status
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.callers import Person
from api.errors import Forbidden
from api.limits import guess
from api.manners import Feature
from api.routes.auth import Email, Password, PersonsName, link_to, mail, refuse_a_weak
from api.shapes import In, Out, Page, absent, example
from api.stack import Opened, Stack
from domain import passwords
from domain.accounts import Purpose
from domain.errors import Invalid, NotFound
from models.accounts import Session, User
from models.queries import accounts

router = Feature(prefix="/users/me", tags=["users"])

_EXAMPLE = {
    "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
    "email": "ada@example.com",
    "name": "Ada Lovelace",
    "has_password": True,
    "second_factor": False,
    "created_at": "2026-11-21T09:00:00Z",
    "updated_at": "2026-11-21T09:00:00Z",
}


class UserOut(Out):
    id: UUID
    email: str
    name: str
    has_password: bool = Field(description="False for who came by Google or another issuer, and set none.")
    second_factor: bool
    created_at: datetime
    updated_at: datetime

    model_config = example(_EXAMPLE)


class UserChange(In):
    """What to change; the rest stays. Address and password ask for the present password."""

    name: PersonsName = Field(default_factory=absent)
    email: Email = Field(
        default_factory=absent, description="It holds when the mail that is sent there was answered."
    )
    password: Password = Field(default_factory=absent, description="A new one. All other sessions end.")
    current_password: Password | None = None

    model_config = example({"name": "Ada King", "current_password": None})


class SessionOut(Out):
    id: UUID
    user_agent: str
    created_at: datetime
    used_at: datetime = Field(description="When it was refreshed last.")
    expires_at: datetime
    current: bool = Field(description="Whether it is the one that asks.")

    model_config = example(
        {
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "user_agent": "Mozilla/5.0",
            "created_at": "2026-11-21T09:00:00Z",
            "used_at": "2026-11-21T09:00:00Z",
            "expires_at": "2026-12-21T09:00:00Z",
            "current": True,
        }
    )


@router.get("")
async def read_me(opened: Opened, asker: Person) -> UserOut:
    """Your account."""
    async with opened.sessions.glance() as db:
        return UserOut.model_validate(await accounts.show(db, asker.id))


@router.patch("")
async def change_me(change: UserChange, request: Request, opened: Opened, asker: Person) -> UserOut:
    """Change your account. A new address holds once its mail was answered, and every session ends then; a
    new password ends the others at once."""
    given = change.model_fields_set - {"current_password"}
    if not given:
        raise Invalid("Name at least one field to change.")
    async with opened.sessions.accounts() as db:
        user = await accounts.get(db, asker.id)
    hashed = None
    if given & {"email", "password"}:
        await check_password(opened, request, user, change.current_password)
    if "email" in given:
        await guess(opened, request, "change email", change.email)
    if "password" in given:
        await refuse_a_weak(opened, change.password, "/password", user.email, user.name)
        hashed = await opened.hashing(passwords.hash_of, change.password)
    return UserOut.model_validate(await _change(opened, user, asker.session_id, change, given, hashed))


async def _change(
    opened: Stack,
    before: User,
    session_id: UUID | None,
    change: UserChange,
    given: set[str],
    hashed: str | None,
) -> accounts.Account:
    now = opened.clock.now()
    async with opened.sessions.accounts() as db:
        user = await locked(db, before)
        user_id = user.id
        values: dict[str, Any] = {"name": change.name} if "name" in given else {}
        if hashed:
            values["password_hash"] = hashed
            await accounts.end_sessions(db, user_id, now, but=session_id)
            await accounts.forget_tokens(db, user_id)
            await mail(opened, db, "password changed", user.email, name=user.name)
        if "email" in given and change.email != user.email:
            if await accounts.by_email(db, change.email):
                await mail(opened, db, "registered already", change.email)
            else:
                token = await accounts.issue(db, user_id, Purpose.CHANGE_EMAIL, change.email, now)
                link = link_to(opened, "confirm", token)
                await mail(opened, db, "change email", change.email, name=user.name, link=link)
        if values:
            await accounts.change(db, user_id, values)
        changed = await accounts.show(db, user_id)
    opened.visitors.forget()
    return changed


@router.get("/sessions")
async def list_sessions(opened: Opened, asker: Person) -> Page[SessionOut]:
    """Where you are signed in, the last used first."""
    async with opened.sessions.accounts() as db:
        found = await accounts.sessions_of(db, asker.id, opened.clock.now())
    return Page(items=[_session(each, asker.session_id) for each in found], next_cursor=None)


@router.delete("/sessions", status_code=status.HTTP_204_NO_CONTENT)
async def end_other_sessions(opened: Opened, asker: Person) -> None:
    """Sign out everywhere else."""
    async with opened.sessions.accounts() as db:
        await accounts.end_sessions(db, asker.id, opened.clock.now(), but=asker.session_id)
    opened.visitors.forget()


@router.delete("/sessions/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
async def end_session(session_id: UUID, opened: Opened, asker: Person) -> None:
    """End one of your sessions: here at once, in other processes within three seconds."""
    async with opened.sessions.accounts() as db:
        if not await accounts.end_session(db, asker.id, session_id, opened.clock.now()):
            raise NotFound(f"There is no session {session_id} of yours that is good.")
    opened.visitors.forget()


async def check_password(opened: Stack, request: Request, user: User, given: str | None) -> None:
    """Raises `Forbidden` for a wrong one. Who has none yet needs none: the session is their proof.

    Whoever stole a session guesses no faster than anybody else: raises `TooMany`.
    """
    if user.password_hash is None:
        return
    if given is None:
        raise Invalid("Send your present password with this.", "/current_password")
    await guess(opened, request, "own password", str(user.id))
    good, _ = await opened.hashing(passwords.verify, given, user.password_hash)
    if not good:
        raise Forbidden("This is not your password.")


async def locked(db: AsyncSession, before: User) -> User:
    """The user, locked for a change. Raises `Forbidden` when the checked password is another by now."""
    user = await accounts.get(db, before.id, lock=True)
    if user.password_hash != before.password_hash:
        raise Forbidden("The password was changed meanwhile.")
    return user


def _session(row: Session, present: UUID | None) -> SessionOut:
    return SessionOut.model_validate({**vars(row), "current": row.id == present})
