"""Campaigns of texts, WhatsApp messages and the rest, from the ledger through an account to the lab."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from activities.accounts import Accounts
from activities.bell import Bell
from activities.dispatch import Dispatch
from activities.letters import Letters
from activities.messages import MessageActivities
from activities.routing import Router
from activities.slices import Slice
from channels import credentials
from channels.contract import World
from channels.null import NullProvider
from domain.channels import Channel
from domain.messages import SourceKind
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from lab.app import ProviderLab
from lab.keys import Keys
from models.base import Sessions
from models.providers import Provider, Route
from models.queries.ledger import Queue
from tests.channels.calls_support import local
from tests.models.test_channels import a_text_campaign, frozen, somebody
from tests.people import HERE
from tests.sending import PATIENT, SEALER, SIGNING, a_bare_message, ran, some, states
from tests.support import GivenClock

TWILIO = {"account_sid": "AC00000000000000000000000000000001", "from_number": "+15005550006"}
META: dict[str, Any] = {"phone_number_id": "106540352242922"}
META_SECRETS = {
    "access_token": "lab-whatsapp",
    "app_secret": Keys.app_secret,
    "verify_token": Keys.verify_token,
}


@pytest.fixture
async def lab() -> AsyncIterator[ProviderLab]:
    async with ProviderLab() as lab:
        lab.desk.templates["winter", "en_US"] = 1
        yield lab


async def an_account(
    sessions: Sessions, kind: str, channel: Channel, settings: dict[str, Any], secrets: dict[str, str]
) -> UUID:
    """An account whose credentials are sealed, with a route for marketing."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = Provider(**HERE, name=kind, kind=kind, channel=channel, settings=settings)
        db.add(row)
        await db.flush()
        row.credentials = credentials.seal(SEALER, secrets, row.id)
        for message_class in ("marketing", "transactional"):
            db.add(Route(**HERE, provider_id=row.id, channel=channel, message_class=message_class))
    return row.id


async def sent(sessions: Sessions, lab: ProviderLab, queue: Queue) -> Slice:
    clock = GivenClock()
    world = World(local, {"twilio": lab.url, "whatsapp": lab.url}, "https://campanile.example")
    accounts = Accounts(SEALER, world)
    letters = Letters(sessions, Tokens(SIGNING), "https://campanile.example", clock)
    dispatch = Dispatch(sessions, Router(sessions, accounts, NullProvider(), clock), letters, clock, PATIENT)
    try:
        return await ran(MessageActivities(sessions, dispatch, Bell("")).send, queue)
    finally:
        await accounts.close()


async def test_a_campaign_of_texts_goes_by_twilio(sessions: Sessions, lab: ProviderLab) -> None:
    await an_account(sessions, "twilio", Channel.SMS, TWILIO, {"auth_token": "lab-twilio"})
    async with sessions(DEFAULT_WORKSPACE) as db:
        for number in range(20):
            await somebody(db, f"+120255501{number:02}")
        await somebody(db, "+12025550199", "email")
        queue, campaign = await a_text_campaign(db)
        await frozen(db, campaign)

    done = await sent(sessions, lab, queue)

    accepted = lab.accepted("twilio")
    assert (done.accepted, done.skipped) == (20, 1)
    assert {lab.content(one)["Body"] for one in accepted} == {"Hi Ada"}
    async with sessions(DEFAULT_WORKSPACE) as db:
        known = await some(db, "select provider_id from messages where state = 'accepted'")
        assert await states(db, queue) == {"accepted": 20, "no consent": 1}
    assert sorted(known) == sorted(one.id for one in accepted)


async def test_whatsapp_says_the_template_that_meta_approved(sessions: Sessions, lab: ProviderLab) -> None:
    await an_account(sessions, "whatsapp", Channel.WHATSAPP, META, META_SECRETS)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await somebody(db, "+12025550100", "whatsapp")
        queue, campaign = await a_text_campaign(db, Channel.WHATSAPP)
        await frozen(db, campaign)

    await sent(sessions, lab, queue)

    [one] = lab.accepted("whatsapp")
    template = orjson.loads(one.call.body)["template"]
    assert (template["name"], template["components"][0]["parameters"]) == (
        "winter",
        [{"type": "text", "text": "Ada"}],
    )


async def test_a_text_without_an_account_waits_for_one(sessions: Sessions, lab: ProviderLab) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await somebody(db)
        queue, campaign = await a_text_campaign(db)
        await frozen(db, campaign)

    await sent(sessions, lab, queue)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await states(db, queue) == {"queued": 1}


async def test_a_text_that_is_empty_for_somebody_fails_with_the_way_out(
    sessions: Sessions, lab: ProviderLab
) -> None:
    await an_account(sessions, "twilio", Channel.SMS, TWILIO, {"auth_token": "lab-twilio"})
    async with sessions(DEFAULT_WORKSPACE) as db:
        who = await somebody(db)
        await some(
            db, 'update profiles set attributes = \'{"name": ""}\' where id = :id returning id', id=who
        )
        queue, campaign = await a_text_campaign(db, words={"text": "{{ name }}"})
        await frozen(db, campaign)

    done = await sent(sessions, lab, queue)

    assert (done.failed, lab.accepted("twilio")) == (1, [])
    async with sessions(DEFAULT_WORKSPACE) as db:
        [reason] = await some(db, "select reason from messages")
    assert "give its variables defaults" in reason


async def test_a_webhook_is_signed_and_carries_the_payload(sessions: Sessions, lab: ProviderLab) -> None:
    lab.desk.receivers["shop"] = secret = "whsec_" + "A" * 43 + "="
    await an_account(sessions, "webhook", Channel.WEBHOOK, {}, {"secret": secret})
    async with sessions(DEFAULT_WORKSPACE) as db:
        _, campaign = await a_text_campaign(db, Channel.WEBHOOK)
        [version] = await some(db, "select template_version_id from campaigns where id = :id", id=campaign)
        await a_bare_message(
            db,
            f"{lab.url}/receiver/shop",
            channel="webhook",
            template_version_id=version,
            message_class="transactional",
            holes=["Ada"],
        )

    await sent(sessions, lab, Queue(DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, SourceKind.OUTBOX))

    [one] = lab.accepted("webhook")
    assert orjson.loads(lab.content(one)["body"]) == {"name": "Ada"}
