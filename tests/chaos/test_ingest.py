"""Events are sent while what takes them in is killed, and while PostgreSQL is: 202 means they are stored."""

import asyncio
from collections import Counter
from functools import partial
from itertools import count
from typing import Any

from httpx2 import AsyncClient, TransportError

from dev.process import Process, free_port
from tests.chaos.site import Site
from tests.chaos.test_tracking import eventually_up
from tests.support import OWNER_OF_ALL

AT_ONCE = 64
BATCH = 5  # Events of every second request.


class Load:
    """Senders that go on until they are told to stop, and what they were told."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._names = count()
        self.answered: set[str] = set()  # Names of events for which somebody was told 202.
        self.sent: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.over = False

    async def run(self) -> None:
        await asyncio.gather(*(self._sender(n) for n in range(AT_ONCE)))

    async def _sender(self, nth: int) -> None:
        while not self.over:
            names = [f"n{next(self._names)}" for _ in range(BATCH if nth % 2 else 1)]
            self.sent.update(names)
            events = [{"userId": f"u{nth}", "name": name, "messageId": name} for name in names]
            body: dict[str, Any] = {"events": events} if nth % 2 else events[0]
            try:
                answer = await self._client.post("/track/batch" if nth % 2 else "/track", json=body)
            except TransportError:
                self.statuses[0] += 1
                await asyncio.sleep(0.05)
                continue
            self.statuses[answer.status_code] += 1
            if answer.status_code == 202:
                assert answer.json()["accepted"] == len(names)
                self.answered.update(names)
            else:
                await asyncio.sleep(0.05)


async def test_an_event_that_was_accepted_outlives_the_process_that_took_it_killed_twice(site: Site) -> None:
    port, starts = free_port(), count()

    async def served(client: AsyncClient) -> Process:
        process = site.campanile("tracking", next(starts), TRACKING_PORT=port)
        await eventually_up(client)
        return process

    async with a_client(port) as client:
        load = Load(client)
        process = await served(client)
        running = asyncio.create_task(load.run())
        try:
            for _ in range(2):
                least = len(load.answered) + site.dice.randrange(500, 1_500)
                await site.until(partial(more, load.answered, least), 60, "some answers")
                process.kill()
                site.tell(f"killed it after {len(load.answered):,} answers")
                process = await served(client)
            least = len(load.answered) + 500
            await site.until(partial(more, load.answered, least), 60, "answers of the last one")
            load.over = True
            await running
        finally:
            load.over = True
            process.kill()
    everything_is_there(site, load)
    assert set(load.statuses) <= {0, 202}


async def test_postgresql_restarted_under_load_is_503_for_a_while_and_nothing_is_claimed(site: Site) -> None:
    port = free_port()
    process = site.campanile("tracking", TRACKING_PORT=port)
    async with a_client(port) as client:
        await eventually_up(client)
        load = Load(client)
        running = asyncio.create_task(load.run())
        try:
            for blow in (site.postgres.kill, site.postgres.stop):
                await site.until(partial(more, load.answered, len(load.answered) + 500), 60, "some answers")
                before = load.statuses[503]
                await asyncio.to_thread(blow)
                site.tell(f"PostgreSQL is gone after {len(load.answered):,} answers")
                await site.until(lambda least=before: load.statuses[503] > least, 30, "a refusal")  # type: ignore[misc]
                await asyncio.to_thread(site.postgres.start)
                await site.until(partial(more, load.answered, len(load.answered) + 500), 60, "answers again")
                site.tell(f"it is back: {dict(load.statuses)}")
            load.over = True
            await running
        finally:
            load.over = True
            process.kill()
    everything_is_there(site, load)
    assert set(load.statuses) == {202, 503}


def a_client(port: int) -> AsyncClient:
    headers = {"Authorization": f"Bearer {OWNER_OF_ALL.key}"}
    return AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, headers=headers, trust_env=False)


def more(answered: set[str], than: int) -> bool:
    return len(answered) > than


def everything_is_there(site: Site, load: Load) -> None:
    """Each accepted event once; and none that nobody sent."""
    stored = Counter(str(name) for (name,) in site.ask("select name from inbox"))
    assert load.answered <= set(stored), f"{len(load.answered - set(stored))} accepted events are lost"
    assert set(stored) <= load.sent
    assert set(stored.values()) == {1}, "an event is there twice"
    site.tell(f"{len(load.answered):,} were accepted, {len(stored):,} are there")
