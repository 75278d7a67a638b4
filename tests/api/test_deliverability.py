"""How sending goes, and who lets held marketing go on."""

from datetime import timedelta

from httpx2 import AsyncClient
from sqlalchemy import text

from domain.reports import Counts
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import holds, hooks
from tests.api.conftest import Clocked
from tests.api.support import KEY, V1, created, refusal
from tests.reporting import an_account


async def test_days_holds_and_webhooks_are_shown(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    nobody.headers["Authorization"] = f"Bearer {KEY}"
    now, account = clocked.clock.now(), await an_account(sessions)
    async with sessions(DEFAULT_WORKSPACE) as db:
        for ago in (0, 3, 40):
            day = now.date() - timedelta(days=ago)
            await holds.count(db, DEFAULT_WORKSPACE, {"email": Counts(delivered=7, hard=1)}, day, [])
        assert await holds.hold(db, DEFAULT_WORKSPACE, "email", "It was too much.", now)
        assert not await holds.hold(db, DEFAULT_WORKSPACE, "email", "It was too much.", now)
    async with sessions.engine_batch() as db:
        await hooks.count(db, [(DEFAULT_WORKSPACE, account, {"refused": 2})], now.date())

    found = await created(await nobody.get(f"{V1}/deliverability"))

    assert [(each["channel"], each["delivered"], each["hard"]) for each in found["days"]] == 2 * [
        ("email", 7, 1)
    ]
    [hold] = found["holds"]
    assert (hold["channel"], hold["reason"], hold["released_at"]) == ("email", "It was too much.", None)
    assert [(each["provider_id"], each["refused"]) for each in found["webhooks"]] == [(str(account), 2)]
    week = await created(await nobody.get(f"{V1}/deliverability?days=2"))
    assert len(week["days"]) == 1


async def test_a_hold_is_released_by_somebody_once_and_it_is_in_the_audit_log(
    nobody: AsyncClient, sessions: Sessions, clocked: Clocked
) -> None:
    nobody.headers["Authorization"] = f"Bearer {KEY}"
    async with sessions(DEFAULT_WORKSPACE) as db:
        await holds.hold(db, DEFAULT_WORKSPACE, "sms", "It was too much.", clocked.clock.now())

    released = await created(await nobody.post(f"{V1}/deliverability/sms/release"))

    assert released["released_by"]
    refusal(await nobody.post(f"{V1}/deliverability/sms/release"), 404)
    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await holds.open_for(db, DEFAULT_WORKSPACE) == set()
        asked = text("select actor ->> 'kind', action from audit_log where object_kind = 'hold'")
        assert [tuple(row) for row in await db.execute(asked)] == [("key", "change")]


async def test_a_channel_that_is_none_is_refused(nobody: AsyncClient) -> None:
    nobody.headers["Authorization"] = f"Bearer {KEY}"

    refusal(await nobody.post(f"{V1}/deliverability/pigeon/release"), 422)


async def test_a_workspace_says_how_many_soft_bounces_are_too_many(nobody: AsyncClient) -> None:
    nobody.headers["Authorization"] = f"Bearer {KEY}"
    changed = {
        "soft_bounce_limit": 3,
        "soft_bounce_days": 30,
        "sms_help": "Ada's Records: write to ada@example.com",
    }

    found = await created(await nobody.patch(f"{V1}/workspace", json=changed))

    assert {name: found[name] for name in changed} == changed
    refusal(await nobody.patch(f"{V1}/workspace", json={"soft_bounce_limit": 0}), 422)
