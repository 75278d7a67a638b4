"""Transactions and channels of which one fails, at a place that the test chooses: crash here."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession

from channels.contract import Capabilities, Envelope, Outcome, Provider
from channels.letters import Raw
from models.base import Sessions
from models.batch import Answer, Asked, Batch

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone. Nothing catches this, as nothing catches a kill."""


@dataclass(frozen=True)
class Blow:
    """What happens to one transaction, counted from 1.

    `killed` ends the process there. Otherwise the connection is lost: the process lives, and the database
    answers again.
    """

    nth: int
    committed: bool  # Whether the commit reached the database.
    killed: bool

    def next(self) -> "Blow":
        return replace(self, nth=self.nth + 1)


class FragileSessions(Sessions):
    """Hands out another one's transactions, and strikes one of them."""

    def __init__(self, real: Sessions, blow: Blow) -> None:
        self._real = real
        self.blow = blow
        self.begun = 0
        self.dead = False

    @property
    def struck(self) -> bool:
        return self.begun >= self.blow.nth

    @asynccontextmanager
    async def __call__(self, workspace_id: UUID, actor: str = "") -> AsyncIterator[AsyncSession]:
        async with self._through(self._real(workspace_id, actor)) as db:
            yield db

    @asynccontextmanager
    async def batch(self, workspace_id: UUID, asked: Sequence[Asked] = ()) -> AsyncIterator[Batch]:
        async with self._through(self._real.batch(workspace_id, asked)) as db:
            yield db

    async def at_once(self, workspace_id: UUID, asked: Sequence[Asked]) -> list[Answer]:
        now = self._begin()
        if now and not self.blow.committed:
            self._strike()
        answers = await self._real.at_once(workspace_id, asked)
        if now:
            self._strike()
        return answers

    @asynccontextmanager
    async def pinned(self, workspace_id: UUID) -> AsyncIterator[AsyncSession]:
        async with self._through(self._real.pinned(workspace_id)) as db:
            yield db

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AsyncSession]:
        async with self._through(self._real.engine()) as db:
            yield db

    @asynccontextmanager
    async def _through(self, real: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        now = self._begin()
        async with real as db:
            yield db
            if now and not self.blow.committed:
                self._strike()
        if now:
            self._strike()

    def _begin(self) -> bool:
        """Whether this one is struck."""
        if self.dead:
            raise Killed
        self.begun += 1
        return self.begun == self.blow.nth

    def _strike(self) -> None:
        self.dead = self.blow.killed
        if self.blow.killed:
            raise Killed
        raise psycopg.OperationalError("the connection was lost")


class FragileProvider:
    """Sends so many of a batch by another channel, and is killed then, before anybody hears of them."""

    def __init__(self, real: Provider[Raw], sends: int) -> None:
        self._real = real
        self._sends = sends

    @property
    def name(self) -> str:
        return self._real.name

    @property
    def capabilities(self) -> Capabilities:
        return self._real.capabilities

    async def send(self, letter: Raw, batch: Sequence[Envelope]) -> list[Outcome]:
        await self._real.send(letter, batch[: self._sends])
        raise Killed

    async def close(self) -> None:
        await self._real.close()

    async def check(self) -> str | None:
        return await self._real.check()
