"""Compiled templates, kept from slice to slice: a template version is compiled once for a workspace."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from channels.mime import EmailLetter
from domain import templates
from domain.clock import Clock
from domain.errors import Invalid
from domain.tokens import Tokens
from domain.workspaces import SYSTEM_WORKSPACE
from models.base import Sessions
from models.queries.claims import Claimed
from models.queries.templates import content_of, versions
from models.workspaces import Workspace

KEPT = 200  # Compiled templates in memory.


@dataclass(frozen=True)
class Writer:
    """Writes one template version's mails: the values of the holes first, then the letter around them."""

    compiled: templates.Compiled
    letter: EmailLetter

    def at(self, now: datetime) -> "Writer":
        """The same for mails that are dated now."""
        return Writer(self.compiled, self.letter.at(now))

    def holes(self, message: Claimed) -> tuple[str, ...]:
        """The values of the holes for this person. Raises `TemplateError`, which skips this one message."""
        if message.holes is not None:
            return tuple(message.holes)
        return templates.render(self.compiled, {**(message.attributes or {}), "email": message.address})


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
                for version in await versions(db, missing):
                    self._kept[wanted[version.id]] = self._write(workspace, content_of(version))
        now = self._clock.now()
        writers: dict[UUID, Writer | NoWriter] = {}
        for version_id, key in wanted.items():
            self._kept.move_to_end(key)
            kept = self._kept[key]
            writers[version_id] = kept.at(now) if isinstance(kept, Writer) else kept
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return writers

    def _write(self, workspace: Workspace, content: templates.Template) -> Writer | NoWriter:
        way_out = workspace.id != SYSTEM_WORKSPACE
        try:
            compiled = templates.compile(
                content,
                workspace_name=workspace.name,
                postal_address=workspace.postal_address or "",
                public_url=self._public_url,
                way_out=way_out,
            )
        except Invalid as error:
            return NoWriter(error.message)
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
