"""A loft of carrier pigeons next door: what a provider of that kind talks to."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Self

from lab.http_server import Answer, Asked, HttpServer

TOKEN = "grain and water"


@dataclass
class LoftLab:
    """Lets in whoever has the token, and keeps what flies. Listens while it is entered."""

    flights: list[dict[str, str]] = field(default_factory=list)
    wait: float = 0  # Seconds before each answer.
    status: int | None = None  # Of each answer, whoever asks.

    async def __aenter__(self) -> Self:
        self.server = await HttpServer(self.answer).__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.server.__aexit__(*error)

    @property
    def url(self) -> str:
        return self.server.url

    async def answer(self, asked: Asked) -> Answer:
        await asyncio.sleep(self.wait)
        if self.status is not None:
            return Answer(self.status, b"Out of order.")
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, b"There is no such token.")
        if asked.path == "/loft":
            return Answer(200)
        self.flights.append(json.loads(asked.body))
        return Answer(201, {"flight": f"f{len(self.flights)}"})
