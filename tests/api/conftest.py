"""The API in this process, on a database of its own: what a program of a user's would see."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from temporalio.client import Client

from api.app import build
from api.front import Front
from api.stack import Stack, TemporalLink
from lab.issuer import IssuerLab
from models.base import Sessions
from settings import Settings
from tests.api.support import KEY
from tests.support import GivenClock

SETTINGS = Settings(public_url="https://mail.records.example", egress_networks="127.0.0.0/8")


@pytest.fixture
async def api(sessions: Sessions, temporal_address: str, temporal: Client) -> AsyncIterator[AsyncClient]:
    """A client with the key, of an API whose Temporal is there but has no worker."""
    async with served(sessions, TemporalLink(temporal_address, temporal.namespace)) as client:
        yield client


@pytest.fixture
async def strict_api(shared_sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """An API that is asked only for what it refuses, so that the database stays as it is."""
    async with served(shared_sessions, TemporalLink("127.0.0.1:9", "default")) as client:
        yield client


@pytest.fixture
async def lonely_api(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """An API with nothing where Temporal should be."""
    async with served(sessions, TemporalLink("127.0.0.1:9", "default")) as client:
        yield client


@pytest.fixture
async def stranded_api() -> AsyncIterator[AsyncClient]:
    """An API with nothing where its database should be."""
    nowhere = "postgresql+psycopg://nobody:nothing@127.0.0.1:9/nothing"
    sessions = Sessions(nowhere, nowhere, pool_size=1, patience=1)
    async with served(sessions, TemporalLink("127.0.0.1:9", "default")) as client:
        yield client
    await sessions.close()


@dataclass
class Clocked:
    """The clock of `nobody`'s API."""

    clock: GivenClock


@pytest.fixture
def clocked() -> Clocked:
    return Clocked(GivenClock(datetime.now(UTC)))


@pytest.fixture
async def nobody(sessions: Sessions, clocked: Clocked) -> AsyncIterator[AsyncClient]:
    """A client without a credential, of an API with a given clock and without Temporal."""
    async with served(sessions, TemporalLink("127.0.0.1:9", "default")) as client:
        the_app().state.stack.clock = clocked.clock
        del client.headers["Authorization"]
        yield client


@pytest.fixture
async def issuer() -> AsyncIterator[IssuerLab]:
    """An OpenID Connect issuer next door."""
    async with IssuerLab() as lab:
        yield lab


@pytest.fixture
def anybody(nobody: AsyncClient, issuer: IssuerLab) -> AsyncClient:
    """As `nobody`, of an API that takes the issuer next door for Google."""
    client = {"google_client_id": "campanile", "google_client_secret": "lab-secret"}
    settings = SETTINGS.model_copy(update={"google_issuer": issuer.url, **client})
    the_app().state.stack.settings = settings
    return nobody


def served(sessions: Sessions, link: TemporalLink) -> AsyncClient:
    app = the_app()
    app.state.stack = Stack(SETTINGS, sessions, link)
    return AsyncClient(
        transport=ASGITransport(app=Front(app)),
        base_url="http://campanile",
        headers={"Authorization": f"Bearer {KEY}"},
    )


@cache
def the_app() -> FastAPI:
    return build(SETTINGS)
