"""The API in this process, on a database of its own: what a program of a user's would see."""

from collections.abc import AsyncIterator

import pytest
from httpx2 import ASGITransport, AsyncClient
from temporalio.client import Client

from api.app import build
from api.deps import Stack, TemporalLink
from api.front import Front
from models.base import Sessions
from settings import Settings
from tests.api.support import KEY


@pytest.fixture
async def api(sessions: Sessions, temporal: Client) -> AsyncIterator[AsyncClient]:
    """A client with the key, of an API whose Temporal is there but has no worker."""
    link = TemporalLink(temporal.service_client.config.target_host, temporal.namespace)
    async with served(sessions, link) as client:
        yield client


@pytest.fixture
async def lonely_api(sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """The same, with nothing where Temporal should be."""
    async with served(sessions, TemporalLink("127.0.0.1:9", "default")) as client:
        yield client


def served(sessions: Sessions, link: TemporalLink) -> AsyncClient:
    settings = Settings(api_key=KEY, public_url="https://mail.records.example")
    app = build(settings)
    app.state.stack = Stack(settings, sessions, link)
    return AsyncClient(
        transport=ASGITransport(app=Front(app)),
        base_url="http://campanile",
        headers={"Authorization": f"Bearer {KEY}"},
    )
