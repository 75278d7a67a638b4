"""What was refused, written down for whoever debugs a site. It holds no answer up, and may be left out."""

import asyncio
from collections import Counter
from uuid import UUID

import structlog

from api.tracking.storage import Away, Storage
from domain.calls import Call, Fault
from domain.clock import Clock
from domain.events import RefusalStage
from models.base import Sessions
from models.queries import refusals
from models.queries.refusals import Told

log = structlog.get_logger("ingest")

MOST = 20  # Refusals of one workspace that are kept in one pace.
MOST_AT_ALL = 1_000
LONGEST = 2_000  # Characters of what was sent.


class Refusals:
    """Keeps the first of each second and workspace; the others were told to their senders all the same."""

    def __init__(self, sessions: Sessions, storage: Storage, clock: Clock, pace: float = 1.0) -> None:
        """`pace` is the seconds between two writes."""
        self._sessions, self._storage, self._clock, self._pace = sessions, storage, clock, pace
        self._waiting: list[Told] = []
        self._counts: Counter[UUID] = Counter()
        self._running: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def note(
        self,
        workspace_id: UUID,
        fault: Fault,
        *,
        kind: str | None = None,
        call: Call | None = None,
        body: bytes = b"",
        stage: RefusalStage = RefusalStage.REQUEST,
    ) -> None:
        """Have it written down soon, unless many were just now. `body` is what was sent."""
        if self._counts[workspace_id] >= MOST or len(self._waiting) >= MOST_AT_ALL:
            return
        self._counts[workspace_id] += 1
        name = message_id = None
        if call is not None:
            name = call.name if call.event is None else call.event
            said = call.message_id if call.our_message_id is None else call.our_message_id
            message_id = None if said is None else str(said)
        self._waiting.append(
            Told(
                workspace_id,
                self._clock.now(),
                stage,
                _clean(kind),
                _clean(name),
                _clean(message_id),
                _clean(fault.pointer) or "",
                _clean(fault.detail) or "",
                _beginning(body[: 4 * LONGEST].decode("utf-8", "replace")),
            )
        )
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Write down what waits, now."""
        self._closing.set()
        if self._running is not None:
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        try:
            while self._waiting:
                try:
                    async with asyncio.timeout(self._pace):
                        await self._closing.wait()
                except TimeoutError:
                    pass
                told, self._waiting = self._waiting, []
                self._counts.clear()
                await self._write(told)
        finally:
            self._running = None

    async def _write(self, told: list[Told]) -> None:
        async def write() -> None:
            async with self._sessions.engine_batch() as db:
                await refusals.keep(db, told)

        try:
            await self._storage.do(write)
        except Away as error:
            log.warning("Refusals were not written down", refusals=len(told), why=str(error))
        except Exception as error:
            log.error("Refusals were not written down", refusals=len(told), exc_info=error)


def _clean(text: str | None) -> str | None:
    """Text that PostgreSQL keeps, and not too much of it."""
    return None if text is None else text[:LONGEST].replace("\0", "\\u0000")


def _beginning(body: str) -> str | None:
    """As much of a body, without half a text at its end: it may be a name, which nobody finds again."""
    return _clean(body if len(body) <= LONGEST else body[:LONGEST].rpartition('"')[0])
