"""Idempotency-Key: a POST that is sent again, since its answer was lost, is answered the same and done once.

The key is taken and the answer is kept in one transaction. An endpoint that works in the asker's transaction
(`api.deps.Db`) works in this one, so that what it does and what it answers commit together or not at all.
One that opens transactions of its own, or asks a workflow, runs beside it: should the process die after its
effect and before the answer is kept, sending the request again does it again.
"""

import asyncio
import hmac
import re
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from uuid import UUID

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from api.callers import HEADER, Caller, Needs, permitted, recognise
from api.deps import OF_WORKSPACE, Held, database
from api.errors import Unauthorized
from api.etags import Handler
from api.stack import Stack, stack_of
from domain.errors import Conflict, Invalid
from domain.roles import Permission
from domain.workspaces import SYSTEM_WORKSPACE
from models.queries import idempotency
from models.queries.idempotency import Answered, Asked

KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
SHOWN_ONCE = {"x-shown-once": True}  # A route's `openapi_extra`, when its answer holds a secret.

FOR_ANYBODY = 64_000  # Bytes of a body that are read before we know who sends it.
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PLACES = 5
_KEPT = ("content-type", "etag", "location")


def once(handler: Handler, route: APIRoute) -> Handler:
    """Let requests to this route that carry an Idempotency-Key be done once."""
    asked_for = set(_calls(route.dependant))
    needed = [each.permission for each in asked_for if isinstance(each, Needs)]
    shares, of_workspace = database in asked_for, bool(needed) or not asked_for.isdisjoint(OF_WORKSPACE)
    shown_once = is_shown_once(route)
    is_upload = route.body_field is not None and isinstance(route.body_field.field_info, Form)

    async def done_once(request: Request) -> Response:
        key = request.headers.get(KEY)
        if is_upload or (needed and route.body_field is not None and _is_long(request)):
            await _before_a_body(request, needed)
        if key is None or request.method != "POST":
            return await handler(request)
        if not _KEY.fullmatch(key):
            raise Invalid("Send 1 to 255 visible ASCII characters, such as a UUID.", f"#{KEY}")
        opened = stack_of(request)
        asker = await _asker(request, opened)
        if asker is None or (of_workspace and asker.workspace_id is None):
            return await handler(request)  # It refuses by itself, or is open to everybody.
        for permission in needed:  # Who lost it is not told again what they were told when they had it.
            permitted(asker, permission)
        try:
            fingerprint = await _fingerprint(request, opened, is_upload)
        except ClientDisconnect:
            return await handler(request)
        held = await _transaction(request, opened, asker, shares=shares, of_workspace=of_workspace)
        asked = Asked(held.workspace_id, asker.id, key)
        before = await idempotency.begin(held.db, asked, fingerprint, opened.clock.now())
        if before is not None:
            return _again(before, fingerprint)
        response = await handler(request)
        headers = [] if shown_once else [each for each in response.headers.items() if each[0] in _KEPT]
        body = None if shown_once else bytes(response.body)
        await idempotency.keep(held.db, asked, response.status_code, headers, body)
        return response

    return done_once


def _is_long(request: Request) -> bool:
    """Whether more may come than we read for strangers."""
    announced = request.headers.get("content-length", "")
    return not announced.isdecimal() or int(announced) > FOR_ANYBODY


async def _before_a_body(request: Request, needed: Sequence[Permission]) -> None:
    """A file is written to disk as it comes in, and a long body kept in memory: not for just anybody.

    Raises `Unauthorized`, `Forbidden`, and `TooMany`.
    """
    asker = await _asker(request, stack_of(request))
    if asker is None:
        raise Unauthorized("Send a key or an access token that is good: this much is not read before.")
    for permission in needed if asker.workspace_id else ():
        permitted(asker, permission)


def is_shown_once(route: APIRoute) -> bool:
    return bool((route.openapi_extra or {}).get("x-shown-once"))


def _calls(dependant: Dependant) -> Iterator[object]:
    """All that a route depends on."""
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


async def _asker(request: Request, opened: Stack) -> Caller | None:
    """Who sent it, or None when the route itself has to say what is wrong with their credential."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        named = UUID(request.headers[HEADER]) if HEADER in request.headers else None
        return await recognise(request, opened, credential, named)
    except (Unauthorized, ValueError):
        return None


async def _transaction(
    request: Request, opened: Stack, asker: Caller, *, shares: bool, of_workspace: bool
) -> Held:
    """The transaction in which the key is taken. It ends where an endpoint's own would: before we answer.

    What a person asks for outside any workspace is kept in the system's.
    """
    ends: AsyncExitStack = request.scope["fastapi_function_astack"]
    workspace_id = asker.workspace_id if of_workspace else None
    if shares and workspace_id is not None:
        opening = opened.sessions(workspace_id, asker.actor)
    else:
        await ends.enter_async_context(_places(opened, asker))
        opening = opened.sessions.held(workspace_id or SYSTEM_WORKSPACE)
    db: AsyncSession = await ends.enter_async_context(opening)
    held = Held(db, workspace_id or SYSTEM_WORKSPACE)
    if shares:
        request.state.held = held
    return held


def _places(opened: Stack, asker: Caller) -> asyncio.Semaphore:
    """The few places that a caller has among those who hold a transaction while they wait for something else.

    Or one whose requests take long, such as those that ask a slow issuer, would keep everybody's.
    """
    places = opened.holders.get(asker.id) or asyncio.Semaphore(_PLACES)
    return opened.holders.setdefault(asker.id, places)


async def _fingerprint(request: Request, opened: Stack, is_upload: bool) -> bytes:
    """What makes two requests the same: method, address and body; of a file, its name and size.

    With a key of ours, since a body may hold a password. The body is read here, before any transaction
    begins, so that none waits for a slow sender.
    """
    seen = hmac.new(opened.settings.signing_key.encode(), digestmod="sha256")
    for part in (request.method, request.url.path, request.url.query):
        seen.update(part.encode() + b"\0")
    if not is_upload:
        seen.update(await request.body())
        return seen.digest()
    form = await request.form()
    request.scope["fastapi_middleware_astack"].push_async_callback(form.close)
    for name, value in form.multi_items():
        said = (value.filename, value.size) if isinstance(value, UploadFile) else value
        seen.update(repr((name, said)).encode())
    return seen.digest()


def _again(before: Answered, fingerprint: bytes) -> Response:
    """The answer once more. Raises `Invalid` for another request, `Conflict` for what is shown once."""
    if not hmac.compare_digest(before.fingerprint, fingerprint):
        raise Invalid("This key was used for another request: take a new one for each.", f"#{KEY}")
    if before.body is None:
        raise Conflict(
            "This was done, and what it answered is shown once: if that is lost, make or rotate another."
        )
    response = Response(before.body, before.status, {REPLAYED: "true"})
    for name, value in before.headers:
        response.headers[name] = value
    return response
