"""What the tests of providers by HTTP share: letters, a scripted server, and an account that is open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from channels import discretion
from channels.contract import Account, Envelope, Kind, World
from channels.egress import EgressTransport
from channels.letters import Said
from domain.networks import networks_of
from lab.http_server import Answer, Asked, HttpServer

PUBLIC_URL = "https://campanile.example"
ACCOUNT = UUID(int=7)


@dataclass(frozen=True)
class ALetter:
    """Says its only hole, on any channel. An envelope whose hole is "broken" can't be filled."""

    template: str | None = None

    def text(self, envelope: Envelope) -> str:
        [hole] = envelope.holes
        if hole == "broken":
            raise ValueError("there is no first name")
        return f"Hello {hole}"

    def said(self, envelope: Envelope) -> Said:
        if self.template:
            return Said(self.template, "en_US", [self.text(envelope)], None)
        return Said(None, "en_US", [], self.text(envelope))

    def payload(self, envelope: Envelope) -> bytes:
        return f'{{"hello":"{self.text(envelope)}"}}'.encode()

    def fill(self, envelope: Envelope) -> bytes:
        return self.text(envelope).encode()


def envelope(number: int, address: str, hole: str = "Ada") -> Envelope:
    return Envelope(UUID(int=number), address, (hole,), tracked=True)


@dataclass
class Site:
    """A server that notes what it is asked, and answers what it is told, the last answer for ever."""

    answers: list[Answer] = field(default_factory=lambda: [Answer(200)])
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def a_site(*answers: Answer) -> AsyncIterator[Site]:
    site = Site(list(answers) or [Answer(200)])
    async with HttpServer(site.answer) as server:
        site.url = server.url
        yield site


@asynccontextmanager
async def an_account(kind: Kind, settings: BaseModel, home: str | None = None) -> AsyncIterator[Any]:
    """An account of this kind; `home` is where the provider is."""
    endpoints = {kind.name: home} if home else {}
    account = Account(UUID(int=1), ACCOUNT, settings)
    provider = discretion.open_account(kind, account, World(local, endpoints, PUBLIC_URL))
    try:
        yield provider
    finally:
        await provider.close()


def local() -> EgressTransport:
    """A guard that lets the tests' own servers through."""
    return EgressTransport(networks_of("127.0.0.0/8"), plain=True)


NOBODY = "http://127.0.0.1:9"  # The port of discard, where nothing listens.
