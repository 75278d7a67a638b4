"""Marketing that does harm is held, its owners are told, and somebody releases it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from channels import registry
from domain.channels import Channel
from domain.routing import BUILT_IN
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import buckets, holds
from tests.people import a_message, another_workspace
from tests.reporting import MUTE, a_report, a_settler, an_account, came, settled
from tests.sending import NOW, people, some
from tests.support import OWNER_OF_ALL, GivenClock

TODAY = NOW.date()


async def rows(sessions: Sessions, asked: str) -> list[Any]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [tuple(row) for row in await db.execute(text(asked))]


async def complaints(sessions: Sessions, account: UUID, n: int, message_class: str = "marketing") -> None:
    """So many people complain about a mail each, and one was glad of theirs."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        prefix = f"{message_class}{await db.scalar(text('select count(*) from profiles'))}-"
        mails = [
            await a_message(db, who, marked_at=NOW, message_class=message_class)
            for who in await people(db, n + 1, prefix)
        ]
    await came(sessions, account, a_report("delivered", mails.pop()))
    await came(sessions, account, *[a_report("complained", mail) for mail in mails])


async def held(sessions: Sessions) -> set[str]:
    async with sessions(DEFAULT_WORKSPACE) as db:
        return await holds.open_for(db, DEFAULT_WORKSPACE)


async def mails(sessions: Sessions) -> list[Any]:
    async with sessions.engine() as db:
        return await some(db, "select bare from messages where step = 'marketing held'")


async def test_complaints_above_the_limit_hold_a_channels_marketing_and_owners_are_told_once(
    sessions: Sessions,
) -> None:
    account = await an_account(sessions)
    await complaints(sessions, account, 4)
    await settled(sessions)
    assert await held(sessions) == set()
    await complaints(sessions, account, 1)

    for _ in range(3):
        await settled(sessions)

    assert await held(sessions) == {"email"}
    assert await mails(sessions) == [OWNER_OF_ALL.email]
    async with sessions.engine() as db:
        [holes] = await some(db, "select holes from messages where step = 'marketing held'")
        [name] = await some(db, f"select name from workspaces where id = '{DEFAULT_WORKSPACE}'")
    assert name in holes
    [(reason,)] = await rows(sessions, "select reason from holds")
    assert reason.startswith("There were 5 complaints about 7 messages")
    asked = "select actor ->> 'kind', action, object_kind from audit_log where object_kind = 'hold'"
    assert await rows(sessions, asked) == [("system", "create", "hold")]


async def went_by(sessions: Sessions, provider: UUID, accepted: int) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await buckets.count(db, DEFAULT_WORKSPACE, provider, TODAY, buckets.Counts(accepted=accepted))


@pytest.mark.parametrize(
    ("kind", "accepted", "is_held"),
    [("built in", 3_000, False), ("built in", 1_000, True), ("mute", 3_000, False), ("parrot", 3_000, True)],
)
async def test_complaints_are_measured_by_what_was_accepted_where_nobody_reports_deliveries(
    sessions: Sessions, kind: str, accepted: int, is_held: bool
) -> None:
    """Mail servers say only what was not delivered; a text is no mail."""
    parrot, mute = await an_account(sessions), await an_account(sessions, kind=MUTE.name)
    await went_by(sessions, {"built in": BUILT_IN, "mute": mute, "parrot": parrot}[kind], accepted)
    await went_by(sessions, await an_account(sessions, Channel.SMS), 10_000)
    await complaints(sessions, parrot, 5)

    await settled(sessions)

    assert (await held(sessions) == {"email"}) == is_held


async def test_what_was_accepted_before_a_release_is_not_measured_by_again(sessions: Sessions) -> None:
    account = await an_account(sessions)
    await went_by(sessions, BUILT_IN, 1_000)
    await complaints(sessions, account, 9)
    await settled(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        await holds.release(db, DEFAULT_WORKSPACE, "email", "Ada", NOW, TODAY, registry.reporting())
    await went_by(sessions, BUILT_IN, 1_500)
    await complaints(sessions, account, 4)
    await settled(sessions)
    assert await held(sessions) == set()
    await complaints(sessions, account, 1)

    await settled(sessions)

    assert await held(sessions) == {"email"}
    assert "5 complaints about 1,507 messages" in str(await rows(sessions, "select reason from holds"))


async def test_tests_are_not_counted(sessions: Sessions) -> None:
    account = await an_account(sessions)
    await complaints(sessions, account, 9, "test")

    await settled(sessions)

    assert await held(sessions) == set()
    assert await rows(sessions, "select count(*) from deliveries") == [(0,)]


async def test_what_was_released_is_not_held_again_for_what_was_before(sessions: Sessions) -> None:
    account, clock = await an_account(sessions), GivenClock()
    await complaints(sessions, account, 9)
    await settled(sessions, clock)
    async with sessions(DEFAULT_WORKSPACE) as db:
        released = await holds.release(db, DEFAULT_WORKSPACE, "email", "Ada", NOW, TODAY, [])
    assert (released.released_by, released.judged_from) == ("Ada", TODAY)
    await complaints(sessions, account, 4)
    await settled(sessions, clock)
    assert await held(sessions) == set()
    await complaints(sessions, account, 1)

    await settled(sessions, clock)

    assert await held(sessions) == {"email"}
    assert len(await mails(sessions)) == 2


@pytest.mark.parametrize(("days", "is_held"), [(6, True), (7, False)])
async def test_a_week_is_judged(sessions: Sessions, days: int, is_held: bool) -> None:
    account, clock = await an_account(sessions), GivenClock()
    await complaints(sessions, account, 4)
    await settled(sessions, clock)
    clock.move(timedelta(days=days))
    await complaints(sessions, account, 1)

    await settled(sessions, clock)

    assert (await held(sessions) == {"email"}) == is_held


async def test_who_died_before_the_mails_were_queued_is_replaced(sessions: Sessions) -> None:
    account = await an_account(sessions)
    await complaints(sessions, account, 9)
    await a_settler(sessions).batch(DEFAULT_WORKSPACE, 200)
    assert (await mails(sessions), await held(sessions)) == ([], {"email"})

    await settled(sessions)

    assert await mails(sessions) == [OWNER_OF_ALL.email]


async def test_a_hold_is_its_own_workspaces(sessions: Sessions) -> None:
    theirs = await another_workspace(sessions)
    account = await an_account(sessions)
    await complaints(sessions, account, 9)
    await settled(sessions)

    async with sessions(theirs) as db:
        assert await holds.open_for(db, theirs) == set()
        assert await holds.open_for(db, DEFAULT_WORKSPACE) == set()
