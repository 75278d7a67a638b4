"""The mail that asks whether an address may be sent from, and what its link does."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid4

from api.limits import strictly
from api.routes.auth import mail
from api.stack import Stack
from domain.errors import Invalid
from domain.keys import hash_of
from domain.tokens import About, Tokens
from models.domains import Sender
from models.queries import verified_senders, workspaces

PARTS = 3  # Of a token: workspace, sender, and chance.
DAY = timedelta(days=1)
# In a day: to one address, whoever asks, and of one workspace. Nobody is written to who does not want to be.
TO_ONE, OF_ONE = 5, 100


async def choose(opened: Stack, db: AsyncSession, workspace_id: UUID, email: str | None) -> None:
    """The workspace's `sender_email` is this now: if need be, the address is asked whether it may be."""
    if email is not None:
        sender, made = await verified_senders.put(db, workspace_id, email, opened.clock.now())
        if made and sender.verified_at is None:
            await ask(opened, db, sender)
    await verified_senders.settle(db, workspace_id)


async def ask(opened: Stack, db: AsyncSession, sender: Sender) -> None:
    """Mail the link. `db` is a transaction that holds the sender. Raises `TooMany`."""
    to = hash_of(sender.email).hex()[:32]
    await strictly(opened, f"verify sender:{to}", TO_ONE, DAY)
    await strictly(opened, f"verify senders:{sender.workspace_id}", OF_ONE, DAY)
    parts = (sender.workspace_id, sender.id, UUID(bytes=uuid4().bytes))
    token = _tokens(opened).sign_all(parts, About.SENDER)
    await verified_senders.expect(db, sender, token, opened.clock.now())
    workspace = await workspaces.get(db, sender.workspace_id)
    link = f"{opened.settings.public_url.rstrip('/')}/accounts/sender?token={token}"
    async with opened.sessions.accounts() as accounts:
        named = {"workspace_name": workspace.name, "link": link}
        await mail(opened, accounts, "verify sender", sender.email, **named)


async def confirm(opened: Stack, token: str) -> str:
    """What the link's page does when its reader says yes. Returns the address. Raises `Invalid`."""
    if ids := _tokens(opened).read_all(token, PARTS, About.SENDER):
        workspace_id, sender_id, _ = ids
        async with opened.sessions(workspace_id) as db:
            if await workspaces.is_open(db):
                await workspaces.get(db, workspace_id, lock=True)
                sender = await verified_senders.confirm(db, sender_id, token, opened.clock.now())
                if sender is not None:
                    await verified_senders.settle(db, workspace_id)
                    return sender.email
    raise Invalid(
        "This link is unknown, was used before, or is too old: ask for another one by POST "
        "/api/v1/senders/{id}/verify.",
        "/token",
    )


def _tokens(opened: Stack) -> Tokens:
    return Tokens(opened.settings.signing_key.encode())
