"""Group commit: whatever arrives while one group is at work forms the next. There is no timer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Full(Exception):
    """More are waiting than may."""


class Groups(Generic[Item, Answer]):
    """Serves items by the group. `work` is given a group and returns an answer for each, in its order."""

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        largest: int = 1_000,
        room: int = 20_000,
    ) -> None:
        """`largest` is how many make a group at most, `room` how many may wait for their turn."""
        self._work, self._largest, self._room = work, largest, room
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._running: asyncio.Task[None] | None = None

    async def put(self, item: Item) -> Answer:
        """The answer for this item, once its group is done. Raises Full, and what `work` raised.

        Each has a future of its own: a reader who hangs up takes nobody along, and is served all the same.
        """
        if len(self._waiting) >= self._room:
            raise Full
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """Wait until everyone is served."""
        while self._running is not None:
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        try:
            while self._waiting:
                group = self._waiting[: self._largest]
                del self._waiting[: self._largest]
                await self._serve(group)
        finally:
            self._running = None

    async def _serve(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._work([item for item, _ in group])
        except Exception as error:  # noqa: BLE001 - it is raised in everyone who waits.
            for _, waiting in group:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(group, answers, strict=True):
            if not waiting.done():  # Cancelled: its reader hung up.
                waiting.set_result(answer)
