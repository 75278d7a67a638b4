"""A provider that somebody else wrote, in under sixty lines: set up by the API, and sent by."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient

from activities.accounts import Accounts
from activities.bell import Bell
from activities.dispatch import Dispatch
from activities.letters import Letters
from activities.messages import MessageActivities
from activities.routing import Router
from channels.null import NullProvider
from domain.messages import SourceKind
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries.ledger import Queue
from tests.api.conftest import the_app
from tests.api.support import V1, a_sender, created, refusal
from tests.channels import pigeons
from tests.channels.lofts import TOKEN, LoftLab
from tests.sending import PATIENT, SEALER, SIGNING, WORLD, a_campaign, people, ran, some
from tests.support import GivenClock

OUTBOX = Queue(DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, SourceKind.OUTBOX)


@pytest.fixture
async def loft(lonely_api: AsyncClient) -> AsyncIterator[LoftLab]:
    stack = the_app().state.stack
    async with LoftLab() as lab:
        stack.world = replace(stack.world, endpoints={"pigeons": lab.url})
        yield lab


@pytest.fixture
async def messages(sessions: Sessions, loft: LoftLab) -> AsyncIterator[MessageActivities]:
    """The activity that sends, with the loft in its world."""
    clock = GivenClock(datetime.now(UTC) + timedelta(minutes=1))
    letters = Letters(sessions, Tokens(SIGNING), "http://127.0.0.1:8000", clock)
    accounts = Accounts(SEALER, replace(WORLD, endpoints={"pigeons": loft.url}))
    router = Router(sessions, accounts, NullProvider(), clock)
    yield MessageActivities(sessions, Dispatch(sessions, router, letters, clock, PATIENT), Bell(""))
    await accounts.close()


async def an_account(api: AsyncClient, **values: Any) -> str:
    await a_sender(api)
    body = {"name": "Pigeons", "kind": "pigeons", "settings": {"loft": "North", "token": TOKEN}, **values}
    return str((await created(await api.post(f"{V1}/providers", json=body)))["id"])


def test_it_takes_less_than_sixty_lines() -> None:
    assert len(Path(pigeons.__file__).read_text().splitlines()) < 60


async def test_its_test_goes_by_it_though_no_route_leads_there(
    lonely_api: AsyncClient, sessions: Sessions, loft: LoftLab, messages: MessageActivities
) -> None:
    provider = await an_account(lonely_api)
    at = f"{V1}/providers/{provider}/test"
    sent = await created(await lonely_api.post(at, json={"address": "me@records.example"}))

    await ran(messages.send, OUTBOX)

    assert [flight["to"] for flight in loft.flights] == ["me@records.example"]
    assert "This is a test." in loft.flights[0]["mail"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        [line] = await some(db, "select row_to_json(m) from messages m")
    assert (line["id"], line["state"], line["provider_id"]) == (sent["message_id"], "accepted", "f1")
    health = (await lonely_api.get(f"{V1}/providers/{provider}/health")).json()
    assert health["state"] == "closed"
    assert health["today"]["accepted"] == 1


SUBSCRIPTION = '{"endpoint": "https://push.example/1", "keys": {"p256dh": "x", "auth": "y"}}'


async def test_a_provider_of_any_channel_can_be_tried(
    lonely_api: AsyncClient, sessions: Sessions, messages: MessageActivities
) -> None:
    await a_sender(lonely_api)
    addresses = {
        "simulated": "me@records.example",
        "simulated-sms": "+49 170 1234567",
        "simulated-whatsapp": "+49 170 1234567",
        "simulated-push": SUBSCRIPTION,
        "simulated-webhook": "https://hooks.records.example/in",
    }
    for kind, address in addresses.items():
        made = await created(await lonely_api.post(f"{V1}/providers", json={"name": kind, "kind": kind}))
        at = f"{V1}/providers/{made['id']}/test"
        await created(await lonely_api.post(at, json={"address": address}))
        assert refusal(await lonely_api.post(at, json={"address": "none"}), 422)["errors"]

    await ran(messages.send, OUTBOX)

    async with sessions(DEFAULT_WORKSPACE) as db:
        states = await some(db, "select channel || ': ' || state from messages order by channel")
    assert states == [f"{each}: accepted" for each in ("email", "push", "sms", "webhook", "whatsapp")]


async def test_a_campaign_goes_by_it_where_a_route_leads_there(
    lonely_api: AsyncClient, sessions: Sessions, loft: LoftLab, messages: MessageActivities
) -> None:
    provider = await an_account(lonely_api)
    route = {"channel": "email", "class": "marketing", "provider_id": provider}
    await created(await lonely_api.post(f"{V1}/routes", json=route))
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = await a_campaign(db, await people(db, 3))

    await ran(messages.send, queue)

    assert sorted(flight["to"] for flight in loft.flights) == [f"p{n}@shop.example" for n in (1, 2, 3)]
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert set(await some(db, "select provider from messages")) == {UUID(provider)}


async def test_nothing_goes_by_it_while_it_is_held(
    lonely_api: AsyncClient, sessions: Sessions, loft: LoftLab, messages: MessageActivities
) -> None:
    provider = await an_account(lonely_api)
    at = f"{V1}/providers/{provider}"
    await created(await lonely_api.post(f"{at}/hold", json={"reason": "Cats."}))
    await created(await lonely_api.post(f"{at}/test", json={"address": "me@records.example"}))

    await ran(messages.send, OUTBOX)

    assert loft.flights == []
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await some(db, "select state from messages") == ["queued"]
