"""Who asks, and what they may: a person by a session's access token, a program by a key."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import orjson
import structlog
from fastapi import Depends, Header, Request, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from api import limits
from api.errors import Forbidden, Unauthorized
from api.front import tell
from api.stack import Stack, stack_of
from domain import keys
from domain.access import Access
from domain.errors import Invalid, NotFound
from domain.roles import MAY, PUBLIC, KeyKind, Permission, Role
from models.queries import callers, members
from models.queries import keys as kept_keys
from models.queries.callers import KeyFound, Visitor

HEADER = "X-Workspace-Id"
_USED_EVERY = 60.0  # Seconds between two notes of a key's last use.

_EXPOSED = "ETag, Idempotency-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"

_bearer = HTTPBearer(
    auto_error=False,
    description="A secret key (`sk_…`), or the access_token that `POST /api/v1/auth/login` answers.",
)


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    kind: Literal["user", "key"]
    id: UUID  # The user's or the key's.
    name: str  # An address or a key's name.
    workspace_id: UUID | None
    permissions: frozenset[Permission]
    role: Role | None = None
    session_id: UUID | None = None
    limited_to: UUID | None = None  # The workspace whose issuer vouched for them: nothing else is theirs.
    key_kind: KeyKind | None = None
    origins: tuple[str, ...] = ()  # Of the pages that may use a public key.

    @property
    def actor(self) -> str:
        """For the audit log."""
        return actor(self.kind, self.id, self.name, "issuer" if self.limited_to else None)


def actor(kind: str, id_: UUID, name: str, via: str | None = None) -> str:
    """Who makes a change, as the audit log keeps it; `via` says on whose word they are who they are."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    said = {"kind": kind, "id": id_, "name": name, "via": via, "request_id": request_id}
    return orjson.dumps(said).decode()


# Dependencies of dependencies are few: the framework walks all of them for each that names them.
async def caller(
    request: Request,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    named: Annotated[
        UUID | None,
        Header(alias=HEADER, description="Which workspace a session speaks of; a key has its own."),
    ] = None,
) -> Caller:
    """Raises `Unauthorized`, `NotFound` for a workspace that is none of theirs."""
    if given is None:
        raise Unauthorized("Send a key or an access token: Authorization: Bearer sk_…")
    return await recognise(request, stack_of(request), given.credentials, named)


async def recognise(request: Request, opened: Stack, credential: str, named: UUID | None) -> Caller:
    """Who sent this request, found out and counted once. Raises `TooMany`, and what `caller` raises."""
    known: Caller | None = getattr(request.state, "caller", None)
    if known is None:
        known = await identify(opened, credential, named)
        request.state.caller = known
        _let_page_read(request, known)
        await limits.count(opened, request, known.session_id or known.id)
    return known


def _let_page_read(request: Request, known: Caller) -> None:
    """Let the page of the origin that the workspace listed read the answer; any other is refused.

    Only browsers send an origin, and only a public key may be seen in one. Raises `Forbidden`.
    """
    origin = request.headers.get("origin")
    if origin is None or known.key_kind is not KeyKind.PUBLIC:
        return
    if origin not in known.origins and "*" not in known.origins:
        raise Forbidden(
            "Pages of this origin may not use the key: add it to `origins` by PATCH /api/v1/workspace."
        )
    tell(
        request,
        {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
            "Vary": "Origin",
        },
    )


async def identify(opened: Stack, credential: str, named: UUID | None) -> Caller:
    if credential.startswith(("sk_", "pk_")):
        return await _of_key(opened, credential, named)
    access = opened.access.read(credential, opened.clock.now())
    if access is None:
        raise Unauthorized(
            "This is no key and no access token that is still good: sign in, or refresh the session."
        )
    return await _of_session(opened, access, named)


async def _of_key(opened: Stack, given: str, named: UUID | None) -> Caller:
    now = opened.clock.now()
    hash_ = keys.hash_of(given)
    found: KeyFound | None = opened.keys.get(hash_)
    if found is None and keys.is_key(given):
        async with opened.sessions.engine_batch() as db:
            found = await callers.key(db, hash_)
            if found and (found.used_at is None or (now - found.used_at).total_seconds() > _USED_EVERY):
                await callers.key_was_used(db, found, now)
        if found:
            opened.keys.keep(hash_, found)
    if found is None or (found.expires_at and found.expires_at <= now):
        raise Unauthorized("This key is unknown, revoked, or past its end; make a new one.")
    if named not in (None, found.workspace_id):
        raise NotFound(f"There is no workspace {named}, or this key is not of it.")
    kind = KeyKind(found.kind)
    granted = frozenset(map(Permission, found.permissions))
    return Caller(
        "key",
        found.id,
        found.name,
        found.workspace_id,
        granted & PUBLIC if kind is KeyKind.PUBLIC else granted,
        key_kind=kind,
        origins=tuple(found.origins),
    )


async def _of_session(opened: Stack, access: Access, named: UUID | None) -> Caller:
    asked = access.session_id, named
    found: Visitor | None = opened.visitors.get(asked)
    if found is None:
        async with opened.sessions.engine_batch() as db:
            found = await callers.session(db, access.session_id, named, opened.clock.now())
        if found is None:
            raise Unauthorized("This session has ended: sign in again.")
        opened.visitors.keep(asked, found)
    if named and not found.places:
        raise NotFound(f"There is no workspace {named}, or you are no member of it.")
    place = found.places[0] if len(found.places) == 1 else None
    role = _role(Role(place.role), found.limited_to) if place else None
    return Caller(
        "user",
        found.user_id,
        found.email,
        place.workspace_id if place else None,
        MAY[role] if role else frozenset(),
        role=role,
        session_id=access.session_id,
        limited_to=found.limited_to,
    )


def _role(role: Role, limited_to: UUID | None) -> Role:
    """An admin may set up issuers, which say who somebody is: nobody comes as an owner by one."""
    return Role.ADMIN if limited_to and role is Role.OWNER else role


Asker = Annotated[Caller, Depends(caller)]


def workspace_of(asker: Caller) -> UUID:
    """The workspace that the request is about."""
    if asker.workspace_id is None:
        raise Invalid(
            f"Name the workspace in the header {HEADER}: GET /api/v1/workspaces lists yours, POST makes one.",
            f"#{HEADER}",
        )
    return asker.workspace_id


# Dependencies are coroutines, even where they wait for nothing: the framework runs others in threads.
async def workspace(asker: Asker) -> UUID:
    return workspace_of(asker)


WorkspaceId = Annotated[UUID, Depends(workspace)]


async def somebody(asker: Asker) -> Caller:
    """A person, however they signed in. Raises `Forbidden` for a key."""
    if asker.kind != "user":
        raise Forbidden("This takes a person, not a key: sign in by POST /api/v1/auth/login.")
    return asker


Somebody = Annotated[Caller, Depends(somebody)]


async def person(asker: Somebody) -> Caller:
    """A person whose account is their own: who came by a workspace's issuer has that workspace alone.

    Raises `Forbidden` for everybody else.
    """
    if asker.limited_to is not None:
        raise Forbidden(
            "You came by the issuer of one workspace, which is not in charge of your account: sign in by "
            "POST /api/v1/auth/login."
        )
    return asker


Person = Annotated[Caller, Depends(person)]


async def at(opened: Stack, asker: Caller, workspace_id: UUID) -> Caller:
    """The same caller in this workspace. Raises `NotFound` where they are not of it."""
    if asker.workspace_id == workspace_id:
        return asker
    if asker.kind == "key" or asker.session_id is None:
        raise NotFound(f"There is no workspace {workspace_id}, or this key is not of it.")
    return await _of_session(opened, Access(asker.id, asker.session_id), workspace_id)


def may(asker: Caller, permission: Permission) -> bool:
    """Whether they may do this, for what is told to those alone who may."""
    return permission in asker.permissions


def permitted(asker: Caller, permission: Permission) -> UUID:
    """The workspace in which they may do this. Raises `Invalid` for who named none, and `Forbidden`."""
    workspace_id = workspace_of(asker)
    if not may(asker, permission):
        who = f"the role {asker.role}" if asker.role else f"this {asker.key_kind}_ key"
        raise Forbidden(f"It takes the permission {permission}, which {who} does not have.")
    return workspace_id


async def as_now(db: AsyncSession, asker: Caller, permission: Permission, now: datetime) -> Caller:
    """The caller with the rights that they have in this transaction, for what would outlast their loss.

    Who asks is remembered for some seconds, in which a lost role or a revoked key must not make another one.
    Raises `Forbidden`.
    """
    workspace_id = permitted(asker, permission)
    if asker.kind == "key":
        if not await kept_keys.works(db, workspace_id, asker.id, now):
            raise Forbidden("This key works no more.")
        return asker
    place = await members.find(db, workspace_id, asker.id)
    if place is None:
        raise Forbidden("You are no member of this workspace any more.")
    role = _role(Role(place.role), asker.limited_to)
    present = replace(asker, role=role, permissions=MAY[role])
    permitted(present, permission)
    return present


class Needs:
    """A route's permission."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, asker: Asker) -> None:
        permitted(asker, self.permission)


def needs(permission: Permission) -> params.Depends:
    """For a route's `dependencies`: its caller must have this permission in the workspace."""
    return params.Depends(Needs(permission))
