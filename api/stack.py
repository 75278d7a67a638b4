"""What one process of the API works with: settings, transactions, Temporal, and who asked a moment ago."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated
from uuid import UUID
from weakref import WeakValueDictionary

from fastapi import Depends, Request
from temporalio.client import Client

from api.errors import Unavailable
from api.hashing import Hashing
from api.leases import Leases
from api.memory import Memory
from channels.dns import Dns, Published
from channels.world import world
from domain.access import AccessTokens
from domain.clock import Clock, SystemClock
from domain.secrets import Sealer
from models.base import Sessions
from models.queries.callers import KeyFound, Visitor
from settings import Settings
from workflows.temporal import connect

EXPORTS = 3  # That one process writes at once.
CONNECT_TIMEOUT = 5.0  # Seconds that a request waits for a Temporal that is away.


class TemporalLink:
    """A connection to Temporal that is made when it is first needed, so that the API starts without."""

    def __init__(self, address: str, namespace: str) -> None:
        self._address, self._namespace = address, namespace
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def client(self) -> Client:
        """The client. Raises `Unavailable` while Temporal can't be reached."""
        async with self._connecting:
            if self._client is None:
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT):
                        self._client = await connect(self._address, self._namespace)
                except (RuntimeError, TimeoutError) as error:  # RuntimeError is what the SDK's core raises.
                    raise Unavailable(
                        f"Temporal can't be reached at {self._address}, so nothing can be started or changed "
                        "that is under way. Start it, or set TEMPORAL_ADDRESS, and try again."
                    ) from error
            return self._client


@dataclass
class Stack:
    """What one process of the API works with, opened once when it starts."""

    settings: Settings
    sessions: Sessions
    temporal: TemporalLink
    clock: Clock = field(default_factory=SystemClock)
    keys: Memory[KeyFound] = field(default_factory=Memory)
    visitors: Memory[Visitor] = field(default_factory=Memory)
    hashing: Hashing = field(default_factory=Hashing)
    # Of each caller who holds a transaction; it is forgotten when nobody does.
    holders: WeakValueDictionary[UUID, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)

    exports: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(EXPORTS))

    def __post_init__(self) -> None:
        self.access = AccessTokens(self.settings.signing_key)
        minute = timedelta(minutes=1)
        self.leases = Leases(self.sessions, self.settings.requests_a_minute, minute)
        self.sealer = Sealer.of(self.settings.encryption_keys)
        self.published: Published = Dns(self.settings.dns_servers)
        self.world = world(
            self.settings.egress_networks,
            self.settings.endpoints,
            self.settings.public_url,
            plain=self.settings.environment == "development",
        )
        self.egress = self.world.egress()


def stack_of(request: Request) -> Stack:
    found = request.app.state.stack
    assert isinstance(found, Stack)
    return found


async def stack(request: Request) -> Stack:
    return stack_of(request)


Opened = Annotated[Stack, Depends(stack)]
