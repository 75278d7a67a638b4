"""Wherever something fails it is noted in the same transaction, and told of as a digest, once."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest
from sqlalchemy import text
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.bell import Bell
from activities.campaigns import CampaignActivities, CampaignRef
from activities.failures import FailureActivities, Told
from channels.contract import Blame, Outcome, OutcomeKind
from channels.null import NullProvider
from domain.announcements import AnnouncementType
from domain.breakers import Tally
from domain.catalogue import CATALOGUE
from domain.failures import Category, Failure, Subject
from domain.remedies import of_delivery
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import breakers, failures
from models.webhooks import Webhook
from tests.databases import Database
from tests.people import HERE, a_message
from tests.reporting import a_report, an_account, came, settled
from tests.sending import NOW, PATIENT, a_campaign, a_sender, a_sender_of, people, ran
from tests.support import GivenClock, eventually
from workflows.temporal import WORKSPACE

BELL = Bell("")
PUBLIC_URL = "https://campanile.example"


class Says(NullProvider):
    """Answers as it is told."""

    def __init__(self, kind: OutcomeKind, reason: str, blame: Blame = Blame.PROVIDER) -> None:
        self.outcome = Outcome(kind, reason=reason, blame=blame)

    async def send(self, letter: Any, batch: Any) -> list[Outcome]:
        return [self.outcome for _ in batch]


async def asked(sessions: Sessions, question: str) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [tuple(row) for row in await db.execute(text(question))]


LOGGED = "select subject, category, occasion, reason, retryable from failure_logs order by id"


@pytest.mark.parametrize(
    ("provider", "category", "occasion"),
    [
        (
            Says(OutcomeKind.REJECTED, "Not ada@shop.example", Blame.RECIPIENT),
            "address",
            "failed",
        ),
        (Says(OutcomeKind.REJECTED, "Spam", Blame.MESSAGE), "content", "failed"),
        (Says(OutcomeKind.UNKNOWN, "It hung up"), "provider", "unknown"),
    ],
)
async def test_a_message_that_fails_is_a_failure_of_its_category(
    sessions: Sessions, provider: Says, category: str, occasion: str
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        queue = await a_campaign(db, await people(db, 2))

    await ran(a_sender_of(sessions, provider, BELL).send, queue)

    found = [row for row in await asked(sessions, LOGGED) if row[0] == "message"]
    assert [row[1:3] for row in found] == [(category, occasion)] * 2
    assert "ada" not in found[0][3]
    assert await asked(sessions, "select distinct source_id from failure_logs where subject = 'message'") == [
        (queue.id,)
    ]


async def test_a_template_that_can_not_be_filled_is_a_failure_of_content(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        html = "<p>{{ first_name | divided_by: 0 }}</p>"
        queue = await a_campaign(db, await people(db, 1), html)

    await ran(a_sender_of(sessions, NullProvider(), BELL).send, queue)

    [(subject, category, occasion, reason, retryable)] = await asked(sessions, LOGGED)
    assert (subject, category, occasion, retryable) == ("message", "content", "skipped", True)
    assert reason.startswith("template error")


async def test_what_a_report_says_did_not_arrive_is_a_failure_and_what_is_known_is_none(
    sessions: Sessions,
) -> None:
    account = await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        by: dict[str, Any] = {"provider": account, "marked_at": NOW}
        bounced = await a_message(db, None, **by)
        lost = await a_message(db, None, "eve@shop.example", state="unknown", **by)
        await failures.note_messages(db, DEFAULT_WORKSPACE, [lost], NOW)
    said = [a_report("hard bounce", bounced, reason="550 5.1.1"), a_report("delivered", lost)]
    await came(sessions, account, *said)

    await settled(sessions)

    found = await asked(
        sessions,
        "select subject_id, category, retryable, acknowledged_by is not null from failure_logs order by id",
    )
    assert found == [(str(lost), "provider", False, True), (str(bounced), "address", False, False)]


async def test_a_breaker_that_opens_is_a_failure_of_its_provider_once_for_an_outage(
    sessions: Sessions,
) -> None:
    provider = await an_account(sessions)
    bad = Tally(calls=3, bad_calls=3, badly=30, reason="sender: 535 5.7.8 no")
    for minutes in (0, 1):
        async with sessions.batch(DEFAULT_WORKSPACE) as db:
            now = NOW + timedelta(minutes=minutes)
            await breakers.attempt(db, DEFAULT_WORKSPACE, provider, now)
            await breakers.note(db, DEFAULT_WORKSPACE, provider, bad, now)

    found = await asked(sessions, "select subject, category, subject_id from failure_logs")
    assert found == [("provider", "configuration", str(provider))]


async def test_a_campaign_that_can_not_go_on_is_a_failure(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = await a_campaign(db, [])
    campaigns = CampaignActivities(sessions, GivenClock(), PATIENT, 1)
    for _ in range(2):
        await ran(campaigns.fail, CampaignRef(DEFAULT_WORKSPACE, queue.id), "Its segment is gone.")

    assert await asked(sessions, LOGGED) == [
        ("workflow", "configuration", "failed", "Its segment is gone.", False)
    ]


# Digests.


def telling(sessions: Sessions, clock: GivenClock, bell: Bell = BELL) -> FailureActivities:
    nobody: Client = None  # type: ignore[assignment] # Nobody is asked for workflows here.
    return FailureActivities(sessions, bell, clock, PATIENT, PUBLIC_URL, nobody, WORKSPACE)


async def a_webhook(sessions: Sessions, *types: str) -> UUID:
    async with sessions(DEFAULT_WORKSPACE) as db:
        webhook = Webhook(**HERE, name="n8n", url="https://n8n.example", event_types=[*types], secret="x")
        db.add(webhook)
        await db.flush()
        return webhook.id


def jobs(n: int, first: int = 0) -> list[Failure]:
    return [
        Failure(Subject.OUTSIDE, f"job {first + each}", Category.OURS, "It broke.", "Mend it.")
        for each in range(n)
    ]


async def note(sessions: Sessions, found: list[Failure]) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await failures.note(db, DEFAULT_WORKSPACE, found, NOW)


async def test_a_digest_says_how_many_and_shows_a_few(sessions: Sessions) -> None:
    await a_webhook(sessions, "job.failed")
    await note(sessions, jobs(12))
    clock, done = GivenClock(NOW), Told()
    tell = telling(sessions, clock)

    assert await tell.round(done) == 0  # There may be more.
    assert await tell.round(done) == 3600  # Then it is over.
    await note(sessions, jobs(5, first=12))
    assert await tell.round(done) == 0
    assert await tell.round(done) == pytest.approx(10)
    clock.move(timedelta(seconds=10))
    await tell.round(done)

    assert done == Told(2, 17)
    rows = await asked(sessions, "select body from webhook_deliveries order by id")
    bodies = [orjson.loads(body) for (body,) in rows]
    assert [(each["data"]["count"], each["data"]["total"]) for each in bodies] == [(12, 12), (5, 17)]
    said = bodies[0]["data"]
    assert CATALOGUE[AnnouncementType.JOB_FAILED].model_validate(said)
    assert (said["category"], said["remedy"], len(said["samples"])) == ("ours", "Mend it.", 5)
    assert said["url"] == f"{PUBLIC_URL}/api/v1/failure-logs?alert_id={said['alert_id']}"


async def test_a_digest_quotes_no_address_that_a_program_named_its_failure_by(sessions: Sessions) -> None:
    await a_webhook(sessions, "job.failed")
    named = Failure(Subject.OUTSIDE, "lead ada@shop.example", Category.OURS, "It broke.", "Mend it.")
    await note(sessions, [named])
    await telling(sessions, GivenClock(NOW)).round(Told())

    [(body,)] = await asked(sessions, "select body from webhook_deliveries")
    assert orjson.loads(body)["data"]["samples"][0]["subject_id"] == "lead …"


async def test_a_webhook_is_not_told_of_its_own_failures_and_those_of_telling_are_told_to_nobody(
    sessions: Sessions,
) -> None:
    broken, other = await a_webhook(sessions, "job.failed"), await a_webhook(sessions, "*")
    await note(
        sessions,
        [
            of_delivery(broken, UUID(int=1), "message.failed", "It answered 500.", 500),
            of_delivery(broken, UUID(int=2), "job.failed", "It answered 500.", 500),
        ],
    )
    done = Told()
    await telling(sessions, GivenClock(NOW)).round(done)

    assert done == Told(1, 1)
    assert await asked(sessions, "select webhook_id from webhook_deliveries") == [(other,)]


async def test_a_failure_whose_transaction_is_rolled_back_is_none_and_two_who_tell_tell_once(
    sessions: Sessions,
) -> None:
    await a_webhook(sessions, "job.failed")
    await note(sessions, jobs(3))
    tell, done = telling(sessions, GivenClock(NOW)), Told()
    async with sessions(DEFAULT_WORKSPACE) as db:
        await failures.note(db, DEFAULT_WORKSPACE, jobs(1, first=9), NOW)
        await db.rollback()
    await asyncio.gather(tell.round(done), tell.round(done))

    assert done == Told(1, 3)
    assert len(await asked(sessions, "select id from webhook_deliveries")) == 1


async def test_the_first_digest_is_told_at_once(database: Database, sessions: Sessions) -> None:
    await a_webhook(sessions, "job.failed")
    bell = Bell(database.engine_url)
    await bell.start(sessions)
    tell = telling(sessions, GivenClock(NOW), bell)
    working = asyncio.create_task(ActivityEnvironment().run(tell.tell))
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    await note(sessions, jobs(3))

    async def told() -> bool:
        return bool(await asked(sessions, "select id from webhook_deliveries"))

    await eventually(told, within=5)
    took = asyncio.get_running_loop().time() - began
    working.cancel()
    with pytest.raises((asyncio.CancelledError, psycopg.Error)):
        await working
    await bell.close()
    assert took < 5
