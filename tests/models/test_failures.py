"""Failures are noted once, told of as digests, and tried again once, whoever asks at the same time."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import text

from domain.channels import Channel
from domain.failures import Category, Failure, Subject
from domain.messages import MessageClass, SourceKind
from domain.outboxes import express
from domain.remedies import of_delivery
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.failures import Origin
from models.queries import (
    alerts,
    attachments,
    claims,
    failures,
    failures_found,
    failures_retried,
    profiles_erased,
    reconcile,
)
from models.queries.attachments import File
from models.queries.failures_found import Which
from models.queries.failures_retried import How, Retried
from models.queries.ledger import Queue
from models.webhooks import Webhook, WebhookDelivery
from tests.people import HERE, a_message, a_person
from tests.sending import NOW, a_bare_message, a_sender, at, people, some
from tests.support import eventually, somebody_waits

HOW = How("Ada", "Ada asked for it.")


def a_failure(n: int = 1, reason: str = "It broke.", remedy: str = "Mend it.", **values: Any) -> Failure:
    return Failure(Subject.OUTSIDE, f"job {n}", Category.OURS, reason, remedy, **values)


async def noted(sessions: Sessions, *found: Failure, hours: float = 0) -> int:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await failures.note(db, DEFAULT_WORKSPACE, found, at(hours))


async def asked(sessions: Sessions, question: str) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await some(db, question)


async def a_failed_message(sessions: Sessions, *, bare: bool = False, **values: Any) -> tuple[UUID, UUID]:
    """A message that failed, and its failure."""
    known: dict[str, Any] = {"state": "failed", "reason": "451 4.3.2 Not now", **values}
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        if bare:
            _, message = await a_bare_message(db, "eve@elsewhere.example", **known)
        else:
            campaign = uuid4()
            of: dict[str, Any] = {"queue_id": campaign, "source_id": campaign, "source_kind": "campaign"}
            [person] = await people(db, 1)
            message = await a_message(db, person, occasion=campaign, **of | known)
        await failures.note_messages(db, DEFAULT_WORKSPACE, [message], NOW)
        found = await failures_found.noted(db, DEFAULT_WORKSPACE, Subject.MESSAGE, str(message))
        return message, found.id


async def retried(sessions: Sessions, *ids: UUID, how: How = HOW) -> Retried:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await failures_retried.retry(db, DEFAULT_WORKSPACE, ids, how, at(1))


async def test_a_failure_is_noted_once_for_each_occasion(sessions: Sessions) -> None:
    assert await noted(sessions, a_failure(1), a_failure(2)) == 2
    assert await noted(sessions, a_failure(1), a_failure(1, occasion="again")) == 1
    assert len(await asked(sessions, "select id from failure_logs")) == 3


async def test_a_batch_of_the_bare_driver_notes_as_well(sessions: Sessions) -> None:
    message, _ = await a_failed_message(sessions)
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        assert await failures.note_messages(db, DEFAULT_WORKSPACE, [message], NOW) == 0
        lost = "update messages set state = 'unknown'"
        await db.execute(text(lost))
        assert await failures.note_messages(db, DEFAULT_WORKSPACE, [message], NOW) == 1
    async with sessions(DEFAULT_WORKSPACE) as db:
        await failures.known(db, DEFAULT_WORKSPACE, [message], NOW)
    open_ = "select occasion from failure_logs where acknowledged_at is null"
    assert await asked(sessions, open_) == ["failed"]


async def told(sessions: Sessions, seconds: float) -> list[tuple[str, int, int]]:
    """What is told at this time: the newest reason, how many since the last time, and in all."""
    now = NOW + timedelta(seconds=seconds)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await alerts.lock(db, DEFAULT_WORKSPACE)
        await alerts.count(db, DEFAULT_WORKSPACE, now)
        found = await alerts.digests(db, DEFAULT_WORKSPACE, now)
        await alerts.told(db, DEFAULT_WORKSPACE, [each.id for each in found], now)
        return [(each.reason, each.untold, each.failures) for each in found]


async def test_failures_of_one_kind_are_told_of_at_once_and_then_at_growing_intervals(
    sessions: Sessions,
) -> None:
    """Ten a second for an hour and a half: a handful."""
    digests = []
    for second in range(0, 5400, 5):
        batch = [a_failure(second * 10 + n, f"It broke {n}.") for n in range(50)]
        if second < 100 or second % 300 == 0:
            await noted(sessions, *batch)
            digests += [(second, *each[1:]) for each in await told(sessions, second)]

    assert [second for second, *_ in digests] == [0, 10, 70, 600, 1500, 5100]
    assert digests[1] == (10, 100, 150)
    assert sum(count for _, count, _ in digests) <= digests[-1][2]


async def test_an_alert_ends_after_an_hour_of_quiet_and_the_next_failure_is_news(sessions: Sessions) -> None:
    await noted(sessions, a_failure(1))
    assert await told(sessions, 1) == [("It broke.", 1, 1)]
    assert await told(sessions, 3700) == []
    assert await asked(sessions, "select count(*) from alerts where closed_at is not null") == [1]

    await noted(sessions, a_failure(2))
    assert await told(sessions, 3701) == [("It broke.", 1, 1)]


async def test_kinds_are_told_of_apart_until_there_are_too_many(sessions: Sessions) -> None:
    words = [a_failure(n, f"Word{chr(97 + n % 26)}{chr(97 + n // 26)} broke.") for n in range(80)]
    await noted(sessions, *words, a_failure(99, "Quietly.", quiet=True))

    found = await told(sessions, 0)

    assert len(found) == 51
    assert sum(count for _, count, _ in found) == 80
    assert max(count for _, count, _ in found) == 30


async def test_sources_that_are_too_many_are_told_of_together_by_subject_and_category(
    sessions: Sessions,
) -> None:
    """200 campaigns, and one provider that is away."""
    provider = uuid4()
    of = [a_failure(n, source_kind="campaign", source_id=uuid4(), provider_id=provider) for n in range(200)]
    await noted(sessions, *of)

    found = await told(sessions, 0)

    assert (len(found), sum(count for _, count, _ in found)) == (51, 200)
    assert await asked(sessions, "select failures from alerts where source_id is null") == [150]


async def test_two_who_tell_at_once_tell_once(sessions: Sessions) -> None:
    await noted(sessions, a_failure(1))
    async with sessions(DEFAULT_WORKSPACE) as one, sessions(DEFAULT_WORKSPACE) as other:
        assert await alerts.lock(one, DEFAULT_WORKSPACE)
        assert not await alerts.lock(other, DEFAULT_WORKSPACE)
    async with sessions.glance() as look:
        assert [each[0] for each in await alerts.due(look)] == [DEFAULT_WORKSPACE]


async def test_a_failed_message_goes_out_again_as_a_new_line(sessions: Sessions) -> None:
    _, failure = await a_failed_message(sessions)

    done = await retried(sessions, failure)

    again = done.again[failure]
    assert done.refused == {}
    rows = await asked(
        sessions,
        "select state || ' ' || resend || ' ' || (queue_id = workspace_id) from messages order by id",
    )
    assert rows == ["failed 0 false", "queued 1 true"]
    assert await asked(sessions, "select message_id from queue") == [again]
    assert await asked(sessions, "select retried_as from failure_logs") == [again]
    assert await asked(sessions, "select acknowledged_by from failure_logs") == ["Ada"]
    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = Queue(DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, SourceKind.OUTBOX)
        claim = await claims.claim(db, queue, uuid4(), at(1), 60, 9)
    assert [(each.id, each.only) for each in claim.claimed] == [(again, None)]


async def test_two_who_retry_at_once_make_one_line(sessions: Sessions) -> None:
    _, failure = await a_failed_message(sessions)

    both = await asyncio.gather(retried(sessions, failure), retried(sessions, failure))

    assert sorted(len(each.again) for each in both) == [0, 1]
    assert await asked(sessions, "select count(*) from messages") == [2]
    [why] = [each.refused[failure] for each in both if each.refused]
    assert why == "It was sent again already."


async def test_a_retry_and_a_report_at_once_wait_for_each_other(sessions: Sessions) -> None:
    message, failure = await a_failed_message(sessions, state="unknown")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("select id from messages for no key update"))
        going = asyncio.create_task(retried(sessions, failure, how=HOW._replace(unknown=True)))
        await eventually(lambda: somebody_waits(sessions))
        await failures.known(db, DEFAULT_WORKSPACE, [message], NOW)

    assert failure in (await going).again


async def test_what_the_policy_sent_again_is_not_sent_once_more(sessions: Sessions) -> None:
    _, failure = await a_failed_message(sessions, state="unknown", reconcile_at=NOW)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db, unknown_policy="resend")
    async with sessions.engine() as db:
        assert await reconcile.decide(db, NOW) == (1, 0)

    done = await retried(sessions, failure, how=HOW._replace(unknown=True))

    assert done.refused == {failure: "It was sent again already."}


async def test_what_is_unknown_goes_again_only_where_somebody_says_so(sessions: Sessions) -> None:
    _, failure = await a_failed_message(sessions, state="unknown")

    assert "unknown: true" in (await retried(sessions, failure)).refused[failure]
    assert failure in (await retried(sessions, failure, how=HOW._replace(unknown=True))).again


async def test_a_message_of_words_of_its_own_goes_again_with_them_its_files_and_its_haste(
    sessions: Sessions,
) -> None:
    message, failure = await a_failed_message(sessions, bare=True, message_class="transactional")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await attachments.add(db, DEFAULT_WORKSPACE, [(message, File("a.txt", "text/plain", b"x"))])

    done = await retried(sessions, failure)

    again = done.again[failure]
    assert await asked(sessions, "select queue_id from queue") == [express(DEFAULT_WORKSPACE)]
    assert await asked(sessions, f"select holes from messages where id = '{again}'") == [["Ada"]]
    assert await asked(sessions, f"select name from attachments where message_id = '{again}'") == ["a.txt"]


async def test_by_another_provider_means_by_that_alone(sessions: Sessions) -> None:
    _, failure = await a_failed_message(sessions)
    provider = uuid4()

    await retried(sessions, failure, how=HOW._replace(provider_id=provider, channel=Channel.EMAIL))

    async with sessions(DEFAULT_WORKSPACE) as db:
        queue = Queue(DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, SourceKind.OUTBOX)
        closed = [(Channel.EMAIL, MessageClass.MARKETING)]
        claim = await claims.claim(db, queue, uuid4(), at(1), 60, 9, but=closed)
    assert [each.only for each in claim.claimed] == [provider]


async def test_a_filter_finds_what_can_succeed_as_it_is(sessions: Sessions) -> None:
    _, may = await a_failed_message(sessions)
    _, gone = await a_failed_message(sessions, bare=True, reason="550 5.1.1 Nobody")
    _, lost = await a_failed_message(sessions, bare=True, state="unknown")
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await failures_found.to_retry(db, DEFAULT_WORKSPACE, Which())
        wide = await failures_found.to_retry(db, DEFAULT_WORKSPACE, Which(), unknown=True)
        of_addresses = Which(category=Category.ADDRESS)
        assert await failures_found.to_retry(db, DEFAULT_WORKSPACE, of_addresses) == []
        sums = await failures_found.summary(db, DEFAULT_WORKSPACE, Which())

    assert (found, wide) == ([may], [may, lost])
    assert {(each.category, each.failures, each.retryable) for each in sums} == {
        ("provider", 2, 1), ("address", 1, 0),
    }  # fmt: skip
    assert gone in (await retried(sessions, gone)).again


async def test_a_delivery_that_was_given_up_is_replayed(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        webhook = Webhook(**HERE, name="n8n", url="https://n8n.example/x", event_types=["*"], secret="sealed")
        db.add(webhook)
        await db.flush()
        delivery = WebhookDelivery(
            **HERE, webhook_id=webhook.id, event_type="message.failed", body="{}", state="failed",
            created_at=NOW, due_at=NOW, closed_at=NOW,
        )  # fmt: skip
        db.add(delivery)
        await db.flush()
        given_up = of_delivery(webhook.id, delivery.id, "message.failed", "It answered 500.", 500)
        await failures.note(db, DEFAULT_WORKSPACE, [given_up], NOW)
        [failure] = await some(db, "select id from failure_logs")
        delivery_id = delivery.id

    done = await retried(sessions, failure)

    assert done.again == {failure: delivery_id}
    assert await asked(sessions, "select state from webhook_deliveries") == ["pending"]
    assert await asked(sessions, "select replayed_at from webhook_deliveries") == [at(1)]
    once_more = of_delivery(webhook.id, delivery_id, "message.failed", "It answered 500.", 500, began=at(1))
    assert await noted(sessions, once_more) == 1


async def test_what_is_not_ours_to_try_says_so(sessions: Sessions) -> None:
    await noted(sessions, a_failure(1))
    [failure] = await asked(sessions, "select id from failure_logs")

    assert "Nothing of ours" in (await retried(sessions, failure)).refused[failure]
    assert await retried(sessions, uuid4()) == Retried()


async def test_erasing_somebody_leaves_nothing_that_names_them(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@shop.example")
        skipped = {"state": "skipped", "reason": "template error", "detail": "'Lovelace' is no number."}
        message = await a_message(db, ada, **skipped)
        await failures.note_messages(db, DEFAULT_WORKSPACE, [message], NOW)
        theirs = a_failure(
            1, detail={"to": ["ada@shop.example"]}, title="Lead", remedy="Ask ada@shop.example."
        )
        other = a_failure(2, detail={"to": ["bob@shop.example"]})
        await failures.note(db, DEFAULT_WORKSPACE, [theirs, other], NOW, Origin.API)

    async with sessions(DEFAULT_WORKSPACE) as db:
        await profiles_erased.erase(db, ada, at(1))

    left = orjson.dumps(await asked(sessions, "select to_jsonb(f) from failure_logs f")).decode()
    assert "Lovelace" not in left
    assert "ada@shop.example" not in left
    assert "bob@shop.example" in left


async def test_failures_are_forgotten_after_a_time_some_at_once(sessions: Sessions) -> None:
    await noted(sessions, a_failure(1), *(a_failure(n) for n in range(10, 5_011)))
    await told(sessions, 0)
    await told(sessions, 3600)
    await noted(sessions, a_failure(3), hours=2)
    await told(sessions, 7201)
    async with sessions.engine() as db:
        dropped = [await alerts.drop_old(db, at(1)) for _ in range(3)]

    assert dropped == [5_000, 2, 0]
    assert await asked(sessions, "select subject_id from failure_logs") == ["job 3"]
    assert await asked(sessions, "select count(*) from alerts where failures > 1") == [0]
