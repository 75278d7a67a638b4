"""Sign in by an issuer: with Google, or with one that a workspace set up.

Each issuer sends browsers back to an address of its own, so that none is handed what another gave
(RFC 9700, section 4.4). What comes back must bring the state, once, and the cookie of the browser that began.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Cookie, Depends, Query, Request, Response, status
from fastapi.responses import RedirectResponse

from api.deps import ANY_PARAMETER
from api.errors import Forbidden, Unauthorized, Unavailable
from api.limits import guess
from api.manners import Feature
from api.routes.auth import Agent, Tokens, tokens
from api.sign_ins import Source, google, owner_of, workspaces
from api.stack import Opened, Stack
from channels import oidc
from domain import id_tokens
from domain.id_tokens import Claimed, Untrusted
from domain.keys import hash_of
from models.accounts import SignIn
from models.queries import accounts, issuers, sign_ins
from models.queries.sign_ins import Secrets

router = Feature(prefix="/auth", tags=["auth"])

COOKIE = "campanile_sign_in"
HOST_COOKIE = f"__Host-{COOKIE}"  # Which no other host of the domain can set; it needs TLS.

Given = Annotated[str | None, Query(max_length=2000)]
Kept = Annotated[str | None, Cookie(alias=COOKIE, include_in_schema=False)]
KeptByHost = Annotated[str | None, Cookie(alias=HOST_COOKIE, include_in_schema=False)]

_SENT_ON: dict[int | str, dict[str, Any]] = {
    302: {"description": "To the issuer, which asks whoever sits there, and sends them back."}
}
_ERROR = re.compile(r"[a-z_]{1,40}")


@router.get("/google/start", status_code=302, response_class=RedirectResponse, responses=_SENT_ON)
async def start_with_google(request: Request, opened: Opened) -> RedirectResponse:
    """Send a browser here to sign in with Google."""
    await guess(opened, request, "sign in by an issuer")
    return await _start(opened, google(opened))


@router.get(
    "/issuers/{issuer_id}/start", status_code=302, response_class=RedirectResponse, responses=_SENT_ON
)
async def start_with_issuer(issuer_id: UUID, request: Request, opened: Opened) -> RedirectResponse:
    """Send a browser here to sign in by a workspace's issuer, as a member of that workspace."""
    await guess(opened, request, "sign in by an issuer")
    return await _start(opened, await workspaces(opened, issuer_id))


@dataclass(frozen=True)
class Back:
    """What a browser brings back from an issuer, in the sign-in that it began."""

    begun: SignIn
    code: str | None
    error: str | None
    iss: str | None
    user_agent: str


async def back(
    opened: Opened,
    response: Response,
    state: Given = None,
    code: Given = None,
    iss: Given = None,
    error: Given = None,
    cookie: Kept = None,
    host_cookie: KeptByHost = None,
    user_agent: Agent = "",
) -> Back:
    begun = await _begun(opened, state, host_cookie or cookie)
    response.delete_cookie(_cookie(opened), secure=_safe(opened), httponly=True, samesite="lax")
    return Back(begun, code, error, iss, user_agent)


CameBack = Annotated[Back, Depends(back)]


@router.get("/oidc/callback", openapi_extra=ANY_PARAMETER)
async def finish_with_google(opened: Opened, came: CameBack) -> Tokens:
    """Where Google sends the browser back. Whoever has the second factor on is not asked for it again."""
    if came.begun.issuer_id is not None:
        raise _astray()
    return await _finish(opened, google(opened), came)


@router.get("/issuers/{issuer_id}/callback", openapi_extra=ANY_PARAMETER)
async def finish_with_issuer(issuer_id: UUID, opened: Opened, came: CameBack) -> Tokens:
    """Where a workspace's issuer sends the browser back. The session opens that workspace alone."""
    if came.begun.issuer_id != issuer_id:
        raise _astray()
    return await _finish(opened, await workspaces(opened, issuer_id), came)


async def _start(opened: Stack, source: Source) -> RedirectResponse:
    given = Secrets(*(secrets.token_urlsafe(32) for _ in Secrets._fields))
    try:
        provider = await oidc.discover(opened.egress, source.issuer)
    except oidc.IssuerFailed as failed:
        raise Unavailable(failed.message) from None
    async with opened.sessions.accounts() as db:
        await sign_ins.begin(db, given, source.workspace_id, source.issuer_id, opened.clock.now())
    url = oidc.authorization_url(provider, source.client, given.state, given.nonce, given.verifier)
    response = RedirectResponse(url, status.HTTP_302_FOUND)
    response.set_cookie(
        _cookie(opened),
        given.browser,
        max_age=int(sign_ins.LIFETIME.total_seconds()),
        secure=_safe(opened),
        httponly=True,
        samesite="lax",  # It comes back by a link from the issuer's pages.
    )
    return response


async def _begun(opened: Stack, state: str | None, browser: str | None) -> SignIn:
    """The sign-in that this browser began, which is used up with this."""
    async with opened.sessions.accounts() as db:
        begun = await sign_ins.take(db, state, opened.clock.now()) if state else None
    if begun is None:
        raise Unauthorized("This sign-in is unknown, was finished before, or took too long: start again.")
    if not browser or not secrets.compare_digest(hash_of(browser), begun.browser_hash):
        raise Unauthorized("This sign-in was begun in another browser: start again in this one.")
    return begun


def _code(code: str | None, error: str | None) -> str:
    if error is not None:
        said = f" ({error})" if _ERROR.fullmatch(error) else ""
        raise Unauthorized(f"The issuer did not sign you in{said}: start again.")
    if not code:
        raise Unauthorized("The issuer sent no code: start again.")
    return code


async def _finish(opened: Stack, source: Source, came: Back) -> Tokens:
    claimed = await _claimed(opened, source, came.begun, _code(came.code, came.error), came.iss)
    now = opened.clock.now()
    async with opened.sessions.accounts() as db:
        if source.issuer_id is not None:
            # Locked, or it could be deleted or changed meanwhile.
            now_is = await issuers.anywhere(db, source.issuer_id, lock=True)
            if (now_is.identities, now_is.client_id) != (source.identities, source.client.id):
                raise Unauthorized("The issuer was changed meanwhile: start again.")
        user_id = await owner_of(opened, db, source, claimed)
        session_id, token = await accounts.open_session(
            db, user_id, came.user_agent, now, source.workspace_id
        )
    opened.visitors.forget()
    return tokens(opened, user_id, session_id, token)


async def _claimed(opened: Stack, source: Source, begun: SignIn, code: str, iss: str | None) -> Claimed:
    """Who the issuer says it is. Nothing of ours is open while it is asked."""
    try:
        provider = await oidc.discover(opened.egress, source.issuer)
        if iss not in source.names and (iss is not None or provider.names_itself):
            raise _astray()
        token = await oidc.exchange(opened.egress, provider, source.client, code, begun.verifier)
        return id_tokens.read(
            token,
            await oidc.keys(opened.egress, provider),
            issuers=source.names,
            client_id=source.client.id,
            nonce=begun.nonce,
            now=opened.clock.now(),
        )
    except oidc.CodeRefused as refused:
        raise Unauthorized(refused.message) from None
    except oidc.IssuerFailed as failed:
        raise Unavailable(failed.message) from None
    except Untrusted as untrusted:
        raise Unauthorized(untrusted.message) from None


def _astray() -> Forbidden:
    return Forbidden("This answer came from another issuer than the one that you were sent to: start again.")


def _safe(opened: Stack) -> bool:
    """Whether browsers reach us by TLS: always, but in development."""
    return opened.settings.environment != "development"


def _cookie(opened: Stack) -> str:
    return HOST_COOKIE if _safe(opened) else COOKIE
