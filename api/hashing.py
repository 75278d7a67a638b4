"""Passwords are hashed and judged beside the loop, few at a time: a hash takes 64 MB, a judgement a while.

Or a hundred sign-ins at once would take the process's memory, and whoever waits for the loop its time.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from api.errors import Unavailable

AT_ONCE = 3
ROOM = 100  # How many may wait for their turn; who comes later is told to come again.

Given = ParamSpec("Given")
Found = TypeVar("Found")


class Hashing:
    """The turns of one process."""

    def __init__(self, at_once: int = AT_ONCE, room: int = ROOM) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._most, self._here = at_once + room, 0

    async def __call__(
        self, work: Callable[Given, Found], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Found:
        """Run `work` in a thread when its turn comes. Raises `Unavailable` when too many wait already.

        Keep no transaction open meanwhile: there are fewer connections than may wait.
        """
        if self._here >= self._most:
            raise Unavailable("Too many people sign in at this moment. Try again soon.")
        self._here += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work, *args, **kwargs)
        finally:
            self._here -= 1


_STEP = 0.25  # Seconds.


class EvenTimes:
    """Ends at a whole multiple of a quarter of a second after it began, so that its time says little."""

    async def __aenter__(self) -> None:
        self._began = asyncio.get_running_loop().time()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(_STEP - (asyncio.get_running_loop().time() - self._began) % _STEP)
