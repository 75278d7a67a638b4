"""The mailbox to which mail servers return notices: a Maildir folder, read by the worker that has it.

A mail server delivers what comes to `bounces+…@` of our domain there (docs/reports.md says how). What is
about a message of ours waits in the table of webhooks for its workspace, and is then removed here; so a crash
in between repeats it, and it counts once. What we don't understand is moved to `cur`, for people to look at.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError
from uuid_utils.compat import uuid7

from domain import notices
from domain.channels import Channel
from domain.clock import Clock
from domain.notices import Notice
from domain.profiles import IdentityKind, normal
from domain.reports import MAIL, MAILBOX
from domain.tokens import Tokens
from models.base import Sessions
from models.queries import hooks
from models.queries.hooks import Coming, Owner

LOOK_EVERY = 3.0  # Seconds.
MOST = 200  # Mails of a look.

log = structlog.get_logger()


class _Mail(NamedTuple):
    path: Path
    raw: bytes
    notice: Notice


class Mailbox:
    """`folder` is the Maildir: https://cr.yp.to/proto/maildir.html."""

    def __init__(self, folder: Path, sessions: Sessions, tokens: Tokens, clock: Clock) -> None:
        self._folder, self._sessions, self._tokens, self._clock = folder, sessions, tokens, clock

    async def read_forever(self) -> None:
        while True:
            try:
                found = await self.look()
            except (OSError, SQLAlchemyError, psycopg.Error) as error:
                log.warning("The mailbox of notices could not be read", error=type(error).__name__)
                found = 0
            if found < MOST:
                await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> int:
        """Take in what has come, up to `MOST` mails. Returns how many were there."""
        paths = await asyncio.to_thread(self._waiting)
        mails = await asyncio.to_thread(self._read, paths)
        if mails:
            async with self._sessions.engine_batch() as db:
                owners = await hooks.owners(db, {mail.notice.message_id for mail in mails})
                known = [mail for mail in mails if _counts(mail.notice, owners)]
                coming = [self._coming(mail, owners[mail.notice.message_id].workspace_id) for mail in known]
                await hooks.put(db, coming)
            await asyncio.to_thread(self._remove, [mail.path for mail in known])
            await asyncio.to_thread(
                self._leave, [mail.path for mail in mails if not _counts(mail.notice, owners)]
            )
        return len(paths)

    def _waiting(self) -> list[Path]:
        new = self._folder / "new"
        paths = (path for path in new.iterdir() if not path.name.startswith(".")) if new.is_dir() else ()
        return sorted(path for path in paths if path.is_file() and not path.is_symlink())[:MOST]

    def _read(self, paths: Sequence[Path]) -> list[_Mail]:
        """Those that say something about a message of ours; the others are left to people."""
        mails, others = [], []
        for path in paths:
            try:
                with path.open("rb") as file:
                    raw = file.read(notices.LARGEST)
            except FileNotFoundError:  # Another worker of this machine was faster.
                continue
            notice = notices.read(raw, self._tokens)
            if notice is None:
                others.append(path)
            else:
                mails.append(_Mail(path, raw, notice))
        self._leave(others)
        return mails

    def _coming(self, mail: _Mail, workspace_id: UUID) -> Coming:
        return Coming(uuid7(), workspace_id, MAILBOX, self._clock.now(), MAIL, "", {}, mail.raw)

    def _remove(self, paths: Sequence[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    def _leave(self, paths: Sequence[Path]) -> None:
        for path in paths:
            (self._folder / "cur").mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                path.rename(self._folder / "cur" / f"{path.name.partition(':')[0]}:2,")
                log.warning("A notice finds no message, and is left to people", file=path.name)


def _counts(notice: Notice, owners: Mapping[UUID, Owner]) -> bool:
    """Whether it is about a message of ours; and where that is not proved, about its very address."""
    owner = owners.get(notice.message_id)
    if owner is None or owner.channel != Channel.EMAIL:
        return False
    return notice.proved or (owner.address is not None and _same(owner.address, notice.address))


def _same(address: str, other: str | None) -> bool:
    return other is not None and normal(IdentityKind.EMAIL, address) == normal(IdentityKind.EMAIL, other)
