"""Between a worker and Temporal: what an activity has done may be told late, or be lost with its worker."""

import asyncio
from typing import Any

from temporalio import activity
from temporalio import client as clients
from temporalio import worker as workers
from temporalio.client import Client


class Held:
    """One answer that is not told yet. What it tells of is committed."""

    def __init__(self) -> None:
        self.given = asyncio.Event()
        self._let = asyncio.Event()
        self._lost = False

    def tell(self) -> None:
        self._let.set()

    def lose(self) -> None:
        """Temporal never hears of it, and has the activity tried again."""
        self._lost = True
        self._let.set()

    async def wait(self) -> None:
        self.given.set()
        await self._let.wait()
        if self._lost:
            raise ConnectionError("The worker died before it could tell.")


class Answers(clients.Interceptor, workers.Interceptor):
    """Belongs to a client, and so to the workers that are built with it."""

    def __init__(self) -> None:
        self._next: dict[str, Held] = {}
        self._all: list[Held] = []

    def of(self, client: Client) -> Client:
        """The client, for a worker whose answers can be held."""
        config = client.config()
        config["interceptors"] = [*config["interceptors"], self]
        return Client(**config)

    def hold(self, name: str) -> Held:
        """Hold the next answer of the activity of this name."""
        self._next[name] = held = Held()
        self._all.append(held)
        return held

    def let_go(self) -> None:
        """Tell whatever is held, so that the worker can end."""
        self._next.clear()
        for held in self._all:
            held.tell()

    async def pass_on(self, name: str) -> None:
        if held := self._next.pop(name, None):
            await held.wait()

    def intercept_activity(
        self,
        next: workers.ActivityInboundInterceptor,  # noqa: A002
    ) -> workers.ActivityInboundInterceptor:
        return _Telling(next, self)


class _Telling(workers.ActivityInboundInterceptor):
    def __init__(self, inner: workers.ActivityInboundInterceptor, answers: Answers) -> None:
        super().__init__(inner)
        self.answers = answers

    async def execute_activity(self, input: workers.ExecuteActivityInput) -> Any:  # noqa: A002
        answer = await super().execute_activity(input)
        await self.answers.pass_on(activity.info().activity_type)
        return answer
