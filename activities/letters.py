"""Compiled templates, kept from slice to slice: a template version is compiled once for a workspace."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from channels.dkim import Signer
from channels.mime import EmailLetter
from channels.texts import ShortLetter
from domain import short_templates, templates, verp
from domain.clock import Clock
from domain.errors import Invalid
from domain.secrets import Sealer
from domain.sending_domains import return_host
from domain.tokens import Tokens
from domain.workspaces import SYSTEM_WORKSPACE, reached_at
from models.base import Sessions
from models.queries import domains, verified_senders
from models.queries.claims import Claimed
from models.queries.ledger import Queue
from models.queries.templates import Said, said
from models.workspaces import Workspace

KEPT = 200  # Compiled templates in memory.


@dataclass(frozen=True)
class Writer:
    """Writes one template version's messages: the values of the holes first, then the letter around them."""

    compiled: templates.Compiled | short_templates.Compiled
    letter: Any  # Of the channel: see `channels.letters`.
    address: str | None = "email"  # Under which name the template prints the address, if it may.

    def at(self, now: datetime, feedback_id: str | None = None) -> "Writer":
        """The same for mails that are dated now."""
        if isinstance(self.letter, EmailLetter):
            return replace(self, letter=self.letter.at(now, feedback_id))
        return self

    def holes(self, message: Claimed) -> tuple[str, ...]:
        """The values of the holes for this person. Raises `TemplateError`, which skips this one message."""
        if message.holes is not None:
            return tuple(message.holes)
        here = {self.address: message.address} if self.address else {}
        return self.compiled.taken.render({**(message.attributes or {}), **here})


@dataclass(frozen=True)
class NoWriter:
    """Stands for a template that can't be used at all, though it could when it was checked."""

    reason: str

    def holes(self, message: Claimed) -> tuple[str, ...]:
        """Raises `TemplateError` for every message: they are skipped, and hold nobody else's up."""
        raise templates.TemplateError(self.reason)


NO_SENDER = "The workspace has no verified sender: set sender_email by PATCH /api/v1/workspace."


@dataclass(frozen=True)
class Dress:
    """What all mails of a workspace look like from outside."""

    email: str
    name: str
    reply_to: str | None
    signer: Signer | None = None
    bounces: Callable[[UUID], str] | None = None  # A return path for each message.


def feedback_id(queue: Queue) -> str:
    """Gmail's Feedback-ID: the campaign or flow, of which kind it is, the workspace, and who we are.

    Nothing in it is a person's. See https://support.google.com/a/answer/6254652.
    """
    return f"{queue.id.hex[-12:]}:{queue.kind}:{queue.workspace_id.hex[-12:]}:campanile"


class Letters:
    def __init__(
        self, sessions: Sessions, tokens: Tokens, public_url: str, clock: Clock, sealer: Sealer | None = None
    ) -> None:
        """Without a `sealer`, which opens the domains' keys, no mail is signed."""
        self._sessions = sessions
        self._tokens = tokens
        self._public_url = public_url
        self._clock = clock
        self._sealer = sealer
        self._kept: OrderedDict[tuple[UUID, datetime, bool], Writer | NoWriter] = OrderedDict()

    async def of(
        self,
        workspace: Workspace,
        version_ids: Iterable[UUID],
        queue: Queue | None = None,
        *,
        way_out: bool = True,
    ) -> dict[UUID, Writer | NoWriter]:
        """A writer for each template version, dated now and with the workspace's present sender.

        `queue` is for what they are sent: mailbox providers count complaints by it. Without a `way_out` mails
        get no unsubscribe link but the template's own: those that somebody asked for.
        """
        way_out = way_out and workspace.id != SYSTEM_WORKSPACE
        wanted = {version_id: (version_id, workspace.updated_at, way_out) for version_id in version_ids}
        # Others come while the database is asked, and what they need takes the place of what we found.
        found = {key: self._kept[key] for key in wanted.values() if key in self._kept}
        if missing := [version_id for version_id, key in wanted.items() if key not in found]:
            async with self._sessions(workspace.id) as db:
                dress = await self._dress(db, workspace)
                for version_id, content in (await said(db, missing)).items():
                    found[wanted[version_id]] = self._write(workspace, content, dress, way_out)
        now, feedback = self._clock.now(), feedback_id(queue) if queue else None
        writers: dict[UUID, Writer | NoWriter] = {}
        for version_id, key in wanted.items():
            kept = self._kept[key] = found[key]
            self._kept.move_to_end(key)
            writers[version_id] = kept.at(now, feedback) if isinstance(kept, Writer) else kept
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return writers

    async def _dress(self, db: AsyncSession, workspace: Workspace) -> Dress | None:
        """None where the workspace has no verified sender."""
        if not (email := workspace.sending_email):
            return None
        sender = await verified_senders.of_email(db, email)
        name = (sender.name if sender else None) or workspace.sender_name or workspace.name
        dress = Dress(email, name, sender.reply_to if sender else None)
        domain = await domains.of_address(db, email) if self._sealer else None
        if self._sealer is None or domain is None:
            return dress
        key = self._sealer.open(domain.dkim_key, f"domain:{domain.id}")
        bounces = self._bounces(return_host(domain.name)) if domain.return_path_at else None
        return replace(dress, signer=Signer.of(domain.name, domain.dkim_selector, key), bounces=bounces)

    def _bounces(self, host: str) -> Callable[[UUID], str]:
        return lambda message_id: verp.address(host, message_id, self._tokens)

    def _write(
        self, workspace: Workspace, content: Said, dress: Dress | None, way_out: bool
    ) -> Writer | NoWriter:
        try:
            if isinstance(content, short_templates.ShortTemplate):
                return self._short(workspace, content)
            return self._mail(workspace, content, dress, way_out) if dress else NoWriter(NO_SENDER)
        except Invalid as error:
            return NoWriter(error.message)

    def _short(self, workspace: Workspace, content: short_templates.ShortTemplate) -> Writer:
        compiled = short_templates.compile(
            content,
            workspace_name=workspace.name,
            public_url=reached_at(workspace.tracking_host, self._public_url),
        )
        letter = ShortLetter(compiled, self._tokens, workspace.id)
        return Writer(compiled, letter, short_templates.address_variable(content.channel))

    def _mail(self, workspace: Workspace, content: templates.Template, dress: Dress, way_out: bool) -> Writer:
        compiled = templates.compile(
            content,
            workspace_name=workspace.name,
            postal_address=workspace.postal_address or "",
            public_url=reached_at(workspace.tracking_host, self._public_url),
            way_out=way_out,
        )
        letter = EmailLetter(
            compiled,
            sender_name=dress.name,
            sender_email=dress.email,
            reply_to=dress.reply_to,
            signer=dress.signer,
            bounces=dress.bounces,
            tokens=self._tokens,
            workspace_id=workspace.id,
            date=self._clock.now(),
            way_out=way_out,
        )
        return Writer(compiled, letter)
