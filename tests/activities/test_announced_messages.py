"""What becomes of messages is told to the webhooks that ask, in the transaction in which it is known."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from activities.bell import Bell
from activities.claiming import Claiming
from activities.slices import Hourglass, Slice
from api.tracking.reads import Reads
from api.tracking.storage import Storage
from channels.null import NullProvider
from domain.messages import Interaction, MessageState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import announced_messages, ledger, profiles, queued, reconcile
from models.queries.tracking import Arrival
from tests import bookkeeping
from tests.announcing import a_webhook, listening, told, types, were_told
from tests.people import a_message, a_person, another_workspace
from tests.reporting import a_report, an_account, came, settled
from tests.sending import (
    HASTY,
    NOW,
    a_campaign,
    a_sender,
    a_sender_of,
    at,
    people,
    ran,
    some,
    until_leases_end,
)

BELL = Bell("")
BROKEN = "<p>{{ nth | divided_by: 0 }}</p>"


async def a_mail(sessions: Sessions, **values: Any) -> UUID:
    async with sessions(DEFAULT_WORKSPACE) as db:
        who = await a_person(db, "ada@shop.example")
        await db.execute(
            text(
                "insert into identities (workspace_id, kind, value, profile_id)"
                " values (:here, 'user_id', 'customer-1', :who)"
            ),
            {"here": DEFAULT_WORKSPACE, "who": who},
        )
        return await a_message(db, who, **{"marked_at": NOW, **values})


async def test_what_a_provider_takes_and_what_is_skipped_is_told(sessions: Sessions) -> None:
    await listening(sessions, "message.*")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        one, two = await people(db, 2)
        await db.execute(text("update consents set state = 'denied' where profile_id = :two"), {"two": two})
        queue = await a_campaign(db, [one, two])

    await ran(a_sender_of(sessions, NullProvider(), BELL).send, queue)

    found = dict(await were_told(sessions))
    assert found.keys() == {"message.accepted", "message.skipped"}
    assert found["message.accepted"]["profile_id"] == str(one)
    assert found["message.accepted"]["address"] == "p1@shop.example"
    assert found["message.accepted"]["source"] == {
        "kind": "campaign",
        "id": str(queue.id),
        "name": "Winter letter",
    }
    assert found["message.accepted"]["attempts"] == 1
    assert not found["message.accepted"]["corrected"]
    assert found["message.skipped"]["reason"] == "no consent"


async def test_what_a_template_can_not_say_and_what_is_cancelled_is_told(sessions: Sessions) -> None:
    await listening(sessions, "message.skipped")
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        broken = await a_campaign(db, await people(db, 1), BROKEN)
        given_up = await a_campaign(db, await people(db, 2, "q"), state="cancelled")

    await ran(a_sender_of(sessions, NullProvider(), BELL).send, broken)
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        assert await queued.cancel(db, given_up, NOW) == 2

    found = await were_told(sessions)
    assert sorted(data["reason"] for _, data in found) == ["cancelled", "cancelled", "template error"]


async def test_what_a_dead_worker_left_is_told_as_unknown_and_its_truth_as_corrected(
    sessions: Sessions,
) -> None:
    await listening(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        queue = await a_campaign(db, await people(db, 1))
    sender = a_sender_of(sessions, NullProvider(), BELL, timing=HASTY)
    source = await sender._begin(queue, Slice())
    attempt, claim, _ = await Claiming(sender.dispatch.books, source, Slice(), Hourglass(15)).take()
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        letters = [(each.id, [""]) for each in claim.claimed]
        assert await bookkeeping.mark(db, queue, attempt.id, letters, NOW)
    await until_leases_end(sessions)

    await sender._begin(queue, Slice())
    [(unknown, data)] = await were_told(sessions)
    async with sessions.batch(DEFAULT_WORKSPACE) as db:
        answers = [ledger.Settled(UUID(data["message_id"]), MessageState.ACCEPTED)]
        states = await bookkeeping.settle(db, queue, attempt.id, answers, at(1), at(1))
        await announced_messages.ended(db, states, at(1), late=True)
    [(known, truth)] = await were_told(sessions)

    assert (unknown, data["state"], data["corrected"]) == ("message.unknown", "unknown", False)
    assert (known, truth["state"], truth["corrected"]) == ("message.accepted", "accepted", True)


async def test_the_truth_that_a_report_had_told_is_told_by_upkeep(sessions: Sessions) -> None:
    await listening(sessions, "message.accepted")
    await a_mail(sessions, state="unknown", reported_at=NOW, reconcile_at=NOW)

    async with sessions.engine() as db:
        await reconcile.decide(db, NOW)
        poked = await some(db, "select work from pokes")

    [(_, data)] = await were_told(sessions)
    assert data["corrected"]
    assert poked == ["deliver"]


REPORTED = {
    "deferred": ("message.deferred", None),
    "soft bounce": ("message.bounced", "soft"),
    "delivered": ("message.delivered", None),
    "read": ("message.read", None),
    "failed": ("message.failed", None),
    "hard bounce": ("message.bounced", "hard"),
    "complained": ("message.complained", None),
}


async def test_each_fate_is_told_once(sessions: Sessions) -> None:
    await listening(sessions)
    message, account = await a_mail(sessions), await an_account(sessions)
    for kind, (type_, bounce) in REPORTED.items():
        report = a_report(kind, message, reason="because")
        await came(sessions, account, report, report)
        await settled(sessions)

        found = [each for each in await were_told(sessions) if each[0].startswith("message.")]

        [(said, data)] = found
        assert (said, data.get("bounce"), data["fate"]) == (type_, bounce, kind)
        arrived = kind in ("delivered", "read")
        assert (data["user_id"], data["reason"]) == ("customer-1", None if arrived else "because")


async def test_a_report_on_an_unknown_message_tells_both_that_it_was_sent_and_its_fate(
    sessions: Sessions,
) -> None:
    await listening(sessions, "message.*")
    message, account = await a_mail(sessions, state="unknown"), await an_account(sessions)
    await came(sessions, account, a_report("delivered", message))

    await settled(sessions)

    found = await were_told(sessions)
    assert types(found) == ["message.accepted", "message.delivered"]
    assert [data["corrected"] for _, data in found] == [True, False]


async def test_readers_are_told_of_once_each_workspace_its_own(sessions: Sessions) -> None:
    await listening(sessions, "message.*")
    await listening(sessions, workspace_id=await another_workspace(sessions))
    message = await a_mail(sessions)
    reads = Reads(sessions, Storage())
    opened = Arrival(DEFAULT_WORKSPACE, message, Interaction.OPENED, NOW, None, "Mail", uuid4())
    clicked = replace(
        opened, kind=Interaction.CLICKED, id=uuid4(), link=0, url="https://shop.example/x", at=at(1)
    )
    for _ in range(2):
        await reads.note(opened)
        await reads.note(clicked)
    await reads.close()
    async with sessions(DEFAULT_WORKSPACE) as db:
        for _ in range(2):
            await profiles.unsubscribe(db, message, at(2))
    async with sessions.engine() as db:
        everybody = await some(db, "select distinct workspace_id from webhook_deliveries")
        poked = await some(db, "select work from pokes")

    found = await were_told(sessions)

    assert types(found) == ["message.opened", "message.clicked", "message.unsubscribed"]
    assert [data["at"][:13] for _, data in found] == ["2026-03-02T12", "2026-03-02T13", "2026-03-02T14"]
    assert [data["link"] for _, data in found] == [None, "https://shop.example/x", None]
    assert everybody == [DEFAULT_WORKSPACE]
    assert poked == ["deliver"]


async def test_what_machines_open_is_told_as_theirs(sessions: Sessions) -> None:
    await listening(sessions, "message.opened", "message.clicked")
    message, account = await a_mail(sessions), await an_account(sessions)
    await came(
        sessions,
        account,
        a_report("opened", message, machine=True),
        a_report("clicked", message, at=NOW + timedelta(seconds=1)),
    )

    await settled(sessions)

    found = {type_: data["machine"] for type_, data in await were_told(sessions)}
    assert found == {"message.opened": True, "message.clicked": False}


@pytest.mark.parametrize("asked", [["profile.*"], ["message.failed"], []])
async def test_who_asks_for_something_else_or_is_disabled_or_elsewhere_is_told_nothing(
    db: AsyncSession, asked: list[str]
) -> None:
    await a_webhook(db, *asked, state="enabled" if asked else "disabled")
    message = await a_message(db, await a_person(db, "ada@shop.example"))

    assert await announced_messages.ended(db, {message: MessageState.ACCEPTED}, NOW) == 0
    assert await told(db) == []


async def test_what_is_rolled_back_was_never_told(sessions: Sessions) -> None:
    await listening(sessions)
    message = await a_mail(sessions)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await announced_messages.ended(db, {message: MessageState.ACCEPTED}, NOW) == 1
        await db.rollback()

    assert await were_told(sessions) == []


async def test_a_push_subscription_shows_its_host_alone(db: AsyncSession) -> None:
    await a_webhook(db)
    where = '{"endpoint":"https://push.example/abc","keys":{"auth":"x","p256dh":"y"}}'
    message = await a_message(db, await a_person(db), where, channel="push")

    await announced_messages.ended(db, {message: MessageState.ACCEPTED}, NOW)

    [(_, data)] = await told(db)
    assert data["address"] == "push.example"
