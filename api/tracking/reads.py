"""Opens and clicks on their way to the ledger, and where a click leads."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from api.tracking.groups import Full, Groups
from api.tracking.storage import Away, Storage
from domain import templates
from domain.errors import CampanileError
from domain.messages import Interaction
from models.base import Sessions, entered
from models.queries import announced_messages, pokes, tracking
from models.queries.tracking import Arrival, Sent, Version

log = structlog.get_logger("tracking")

COMPILED = 200  # Template versions in memory.
REMEMBERED = 10_000  # Links that somebody followed, for when the database is away.
NAMED = 100  # Messages that one line of the log names.


class Reads:
    """Writes opens and clicks down by the group. What can't be written is logged, and nobody is kept."""

    def __init__(self, sessions: Sessions, storage: Storage, *, room: int = 20_000) -> None:
        self._sessions, self._storage = sessions, storage
        self._groups: Groups[Arrival, None] = Groups(self._write, room=room)
        self._lost: Counter[Interaction] = Counter()
        self._lost_of: list[str] = []

    async def note(self, arrival: Arrival) -> None:
        """Returns when the arrival is durable, or lost and logged."""
        try:
            await self._groups.put(arrival)
        except Full:  # Logged with the group under way: one line for each would be a second flood.
            self._lose([arrival])

    def lost(self, arrival: Arrival, why: str) -> None:
        """Log that this one can't be written down."""
        self._lose([arrival])
        self._report(why)

    async def close(self) -> None:
        await self._groups.close()

    async def _write(self, arrivals: Sequence[Arrival]) -> Sequence[None]:
        try:
            await self._record(arrivals)
        except (Away, SQLAlchemyError) as error:
            self._lose(arrivals)
            self._report(f"They could not be written: {error}")
        self._report("More came in than could be kept waiting.")
        return [None] * len(arrivals)

    async def _record(self, arrivals: Sequence[Arrival]) -> None:
        """Write all of them in one transaction, or, where one is poison, all others in smaller ones."""

        async def write() -> None:
            async with self._sessions.engine() as db:
                told = await tracking.record(db, arrivals)
                for workspace_id in sorted(told):
                    async with entered(db, workspace_id):
                        now = max(each.at for each in arrivals)
                        await announced_messages.tell_of(db, told[workspace_id], now)
                if told:
                    await pokes.wake_poker(db)

        try:
            await self._storage.do(write)
        except (DataError, IntegrityError) as error:
            if len(arrivals) == 1:
                self._lose(arrivals)
                self._report(f"PostgreSQL refused it: {error.orig}")
                return
            half = len(arrivals) // 2
            await self._record(arrivals[:half])
            await self._record(arrivals[half:])

    def _lose(self, arrivals: Sequence[Arrival]) -> None:
        self._lost.update(arrival.kind for arrival in arrivals)
        self._lost_of += [str(arrival.message_id) for arrival in arrivals[: NAMED - len(self._lost_of)]]

    def _report(self, why: str) -> None:
        if self._lost:
            lost = {kind.value: n for kind, n in self._lost.items()}
            log.error("Opens or clicks were lost", why=why, messages=self._lost_of, **lost)
            self._lost, self._lost_of = Counter(), []


class Click(NamedTuple):
    workspace_id: UUID
    message_id: UUID
    number: int  # Of the link in the mail, from 0.


class Links:
    """Finds where clicks lead, by the group: to a link that was in the message, or nowhere."""

    def __init__(self, sessions: Sessions, storage: Storage, public_url: str) -> None:
        self._sessions, self._storage, self._public_url = sessions, storage, public_url
        self._groups: Groups[Click, str | None] = Groups(self._find)
        self._compiled: OrderedDict[UUID, templates.Compiled | None] = OrderedDict()
        self._remembered: OrderedDict[Click, str] = OrderedDict()

    async def target(self, click: Click) -> str | None:
        """The address, plain http or https in ASCII; None when the message had no such link. Raises Away."""
        try:
            return await self._groups.put(click)
        except Full as error:
            raise Away("Too many clicks are waiting.") from error

    def remembered(self, click: Click) -> str | None:
        """Where the same click led before. It is asked only while the database can't be."""
        return self._remembered.get(click)

    async def close(self) -> None:
        await self._groups.close()

    async def _find(self, clicks: Sequence[Click]) -> Sequence[str | None]:
        messages = list({click[:2] for click in clicks})

        async def look_up() -> tuple[dict[tuple[UUID, UUID], Sent], dict[UUID, Version]]:
            async with self._sessions.engine() as db:
                sent = await tracking.sent(db, messages)
                unknown = {
                    (workspace_id, of.template_version_id)
                    for (workspace_id, _), of in sent.items()
                    if of.template_version_id not in self._compiled
                }
                return sent, await tracking.versions(db, list(unknown)) if unknown else {}

        sent, versions = await self._storage.do(look_up)
        for version_id, version in versions.items():
            self._compiled[version_id] = await asyncio.to_thread(self._compile, version_id, version)
        targets = [self._lead(click, sent.get(click[:2])) for click in clicks]
        while len(self._compiled) > COMPILED:
            self._compiled.popitem(last=False)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return targets

    def _compile(self, version_id: UUID, version: Version) -> templates.Compiled | None:
        try:
            return templates.compile(
                version.template,
                workspace_name=version.workspace_name,
                postal_address=version.postal_address,
                public_url=self._public_url,
            )
        except CampanileError as error:
            log.error(
                "A template can't be compiled, so its links are dead", version=version_id, why=str(error)
            )
            return None

    def _lead(self, click: Click, sent: Sent | None) -> str | None:
        """Where one click leads. Remembers it, and forgets what leads nowhere any more."""
        target = None
        if sent is not None and (compiled := self._compiled[sent.template_version_id]) is not None:
            self._compiled.move_to_end(sent.template_version_id)
            try:
                target = templates.link_target(compiled, click.number, sent.holes)
            except IndexError:  # The values of the holes are kept for a time only, and not of the erased.
                target = None
        self._remembered.pop(click, None)
        if target is not None:
            self._remembered[click] = target
        return target
