"""Compiled templates, kept from slice to slice: a template version is compiled once for a workspace."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from channels.mime import EmailLetter
from channels.texts import ShortLetter
from domain import short_templates, templates
from domain.clock import Clock
from domain.errors import Invalid
from domain.tokens import Tokens
from domain.workspaces import SYSTEM_WORKSPACE
from models.base import Sessions
from models.queries.claims import Claimed
from models.queries.templates import Said, said
from models.workspaces import Workspace

KEPT = 200  # Compiled templates in memory.


@dataclass(frozen=True)
class Writer:
    """Writes one template version's messages: the values of the holes first, then the letter around them."""

    compiled: templates.Compiled | short_templates.Compiled
    letter: Any  # Of the channel: see `channels.letters`.
    address: str | None = "email"  # Under which name the template prints the address, if it may.

    def at(self, now: datetime) -> "Writer":
        """The same for mails that are dated now."""
        if isinstance(self.letter, EmailLetter):
            return replace(self, letter=self.letter.at(now))
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


class Letters:
    def __init__(self, sessions: Sessions, tokens: Tokens, public_url: str, clock: Clock) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._public_url = public_url
        self._clock = clock
        self._kept: OrderedDict[tuple[UUID, datetime], Writer | NoWriter] = OrderedDict()

    async def of(self, workspace: Workspace, version_ids: Iterable[UUID]) -> dict[UUID, Writer | NoWriter]:
        """A writer for each template version, dated now and with the workspace's present sender."""
        wanted = {version_id: (version_id, workspace.updated_at) for version_id in version_ids}
        if missing := [version_id for version_id, key in wanted.items() if key not in self._kept]:
            async with self._sessions(workspace.id) as db:
                for version_id, content in (await said(db, missing)).items():
                    self._kept[wanted[version_id]] = self._write(workspace, content)
        now = self._clock.now()
        writers: dict[UUID, Writer | NoWriter] = {}
        for version_id, key in wanted.items():
            self._kept.move_to_end(key)
            kept = self._kept[key]
            writers[version_id] = kept.at(now) if isinstance(kept, Writer) else kept
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return writers

    def _write(self, workspace: Workspace, content: Said) -> Writer | NoWriter:
        try:
            if isinstance(content, short_templates.ShortTemplate):
                return self._short(workspace, content)
            return self._mail(workspace, content)
        except Invalid as error:
            return NoWriter(error.message)

    def _short(self, workspace: Workspace, content: short_templates.ShortTemplate) -> Writer:
        compiled = short_templates.compile(
            content, workspace_name=workspace.name, public_url=self._public_url
        )
        letter = ShortLetter(compiled, self._tokens, workspace.id)
        return Writer(compiled, letter, short_templates.address_variable(content.channel))

    def _mail(self, workspace: Workspace, content: templates.Template) -> Writer:
        way_out = workspace.id != SYSTEM_WORKSPACE
        compiled = templates.compile(
            content,
            workspace_name=workspace.name,
            postal_address=workspace.postal_address or "",
            public_url=self._public_url,
            way_out=way_out,
        )
        letter = EmailLetter(
            compiled,
            sender_name=workspace.sender_name or workspace.name,
            sender_email=workspace.sender_email or "",
            tokens=self._tokens,
            workspace_id=workspace.id,
            date=self._clock.now(),
            way_out=way_out,
        )
        return Writer(compiled, letter)
