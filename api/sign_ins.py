"""Which issuers there are, and whose account somebody who comes by one gets into.

An issuer is believed about who somebody is there (its subject). About an address it is believed only when it
says that it verified it, and then:

- Google's word opens the account that has the address, or a new one.
- The word of a workspace's issuer opens the accounts of that workspace's members, and a new one for a person
  who was invited and has none; the session enters that workspace alone. Whoever sets up an issuer is in
  charge of their workspace, and of nobody's account.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from api.callers import actor
from api.errors import Forbidden
from api.stack import Stack
from channels.oidc import Client
from domain.errors import Conflict, NotFound
from domain.id_tokens import Claimed
from domain.secrets import CannotOpen
from models.accounts import User
from models.base import act_as
from models.queries import accounts, invitations, issuers, sign_ins

UNKNOWN = (
    "You are no member of this issuer's workspace, and nobody with your address was invited to it: ask one "
    "of its admins for an invitation."
)


@dataclass(frozen=True)
class Source:
    """An issuer that we send people to."""

    issuer: str
    names: tuple[str, ...]  # By which its tokens may name it.
    client: Client
    identities: str  # Under which its people are known.
    workspace_id: UUID | None = None  # Whose it is; None for Google.
    issuer_id: UUID | None = None


def google(opened: Stack) -> Source:
    """Raises `NotFound` where nobody set it up."""
    settings = opened.settings
    if not settings.google_client_id or not settings.google_client_secret:
        raise NotFound("Sign-in with Google is not set up here; sign in by POST /api/v1/auth/login.")
    issuer = settings.google_issuer
    return Source(
        issuer,
        (issuer, issuer.removeprefix("https://")),  # Google's documents allow both in its tokens.
        Client(
            settings.google_client_id,
            settings.google_client_secret,
            f"{settings.public_url.rstrip('/')}/api/v1/auth/oidc/callback",
        ),
        issuer,
    )


async def workspaces(opened: Stack, issuer_id: UUID) -> Source:
    """A workspace's issuer. Raises `NotFound`."""
    async with opened.sessions.accounts() as db:
        found = await issuers.anywhere(db, issuer_id)
    try:
        secret = opened.sealer.open(found.client_secret, f"issuer:{found.id}")
    except CannotOpen:
        raise NotFound("The secret of this issuer can't be opened any more: set it anew.") from None
    return Source(
        found.issuer,
        (found.issuer,),
        Client(found.client_id, secret, callback_of(opened, found.id)),
        found.identities,
        found.workspace_id,
        found.id,
    )


def callback_of(opened: Stack, issuer_id: UUID) -> str:
    """Where a workspace's issuer must be told to send browsers back to."""
    return f"{opened.settings.public_url.rstrip('/')}/api/v1/auth/issuers/{issuer_id}/callback"


async def owner_of(opened: Stack, db: AsyncSession, source: Source, claimed: Claimed) -> UUID:
    """The user whose account this person gets into. Raises `Forbidden` when it is nobody's."""
    user = await sign_ins.known(db, source.identities, claimed.subject)
    if user is None:
        if claimed.email is None or not claimed.email_verified:
            raise Forbidden(
                "The issuer does not say that it verified your address: verify it there, and start again."
            )
        find = _by_google if source.workspace_id is None else _by_workspace
        user = await find(opened, db, source, claimed, claimed.email)
        await sign_ins.link(db, source.identities, claimed.subject, user.id, opened.clock.now())
    if source.workspace_id is not None and not await sign_ins.is_member(db, source.workspace_id, user.id):
        raise Forbidden(UNKNOWN)
    return user.id


async def _by_google(opened: Stack, db: AsyncSession, source: Source, claimed: Claimed, email: str) -> User:
    now = opened.clock.now()
    user = await accounts.by_email(db, email)
    if user is not None:
        if user.verified_at is None:
            await sign_ins.hand_to_its_owner(db, user.id, now)
        return user
    if opened.settings.registration == "invited" and not await sign_ins.invitation(db, email, now):
        raise Forbidden("Only invited people can register here: ask for an invitation.")
    return await _made(db, email, claimed.name, verified=True, opened=opened)


async def _by_workspace(
    opened: Stack, db: AsyncSession, source: Source, claimed: Claimed, email: str
) -> User:
    assert source.workspace_id is not None
    now = opened.clock.now()
    user = await accounts.by_email(db, email)
    invitation = await sign_ins.invitation(db, email, now, source.workspace_id)
    if user is not None:
        if invitation and not await sign_ins.is_member(db, source.workspace_id, user.id):
            raise Forbidden(
                "You have an account: sign in to it, and accept the invitation that was mailed to you."
            )
        return user
    if invitation is None:
        raise Forbidden(UNKNOWN)
    # Its word is no proof of the address to anybody else, so that this stays to be proved.
    user = await _made(db, email, claimed.name, verified=False, opened=opened)
    await act_as(db, actor("user", user.id, user.email))
    await invitations.accept(db, invitation, user.id, now)
    return user


async def _made(db: AsyncSession, email: str, name: str, *, verified: bool, opened: Stack) -> User:
    user = await accounts.create(db, email, name, None, opened.clock.now() if verified else None)
    if user is None:
        raise Conflict("This address got an account a moment ago: start again.")
    return user
