"""A webhook's log of very many is read and replayed by its indexes, as the application's role."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from dev.postgres import Postgres
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import profiles_erased, webhook_log, webhooks
from models.queries.webhook_log import Asked, Which, Within
from models.webhooks import DeliveryState, Webhook
from tests.databases import a_clone
from tests.models.test_plans import plans_of
from tests.people import a_person

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOOK = UUID("01920000-0000-7000-8000-00000000000b")
MANY = 30_000  # Deliveries of each of two webhooks, a second apart; every thousandth failed.

_MANY = """
    with hooks as (
        insert into webhooks (workspace_id, id, name, url, event_types, secret)
        select :here, id, 'x', 'https://a.example', '{}', 'x' from (values (:hook), (uuidv7())) v(id)
        returning id
    )
    insert into webhook_deliveries
        (workspace_id, webhook_id, event_type, about, body, state, created_at, due_at, closed_at)
    select :here, id, 'message.failed', uuidv7(), '{}',
        case when n % 1000 = 0 then 'failed' else 'delivered' end, at, at, at
    from hooks, generate_series(1, :many) n, lateral (
        select cast(:since as timestamptz) + make_interval(secs => n)
    ) a(at)
"""


@pytest.fixture(scope="module")
async def crowded(postgres: Postgres) -> AsyncIterator[Sessions]:
    database = a_clone(postgres)
    sessions = Sessions(database.url, database.engine_url, pool_size=1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        values = {"here": DEFAULT_WORKSPACE, "hook": HOOK, "many": MANY, "since": SINCE}
        await db.execute(text(_MANY), values)
    owner = create_async_engine(database.admin_url, isolation_level="AUTOCOMMIT")
    async with owner.connect() as connection:
        await connection.execute(text("vacuum analyze webhooks, webhook_deliveries"))
    await owner.dispose()
    yield sessions
    await sessions.close()
    postgres.drop_database(database.name)


@pytest.mark.parametrize(
    ("asked", "index", "sought"),
    [
        (Asked(), "log", "webhook_id = "),
        (Asked(since=SINCE + HOUR, until=SINCE + 2 * HOUR), "log", "created_at >= "),
        (Asked(DeliveryState.FAILED), "failed", "webhook_id = "),
        (Asked(DeliveryState.FAILED, since=SINCE, until=SINCE + HOUR), "failed", "created_at < "),
        (Asked(DeliveryState.DELIVERED), "log", "webhook_id = "),
        (Asked(DeliveryState.PENDING), "pending", "webhook_id = "),
    ],
)
async def test_a_page_of_the_log_is_read_by_an_index(
    crowded: Sessions, asked: Asked, index: str, sought: str
) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        [plan] = await plans_of(db, webhook_log.page(db, HOOK, asked, None, 50))

    assert not plan.walked
    assert sought in plan.sought[f"ix_webhook_deliveries_{index}"]


async def test_the_next_page_begins_where_the_last_one_ended(crowded: Sessions) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        [*_, last] = await webhook_log.page(db, HOOK, Asked(), None, 50)
        _, plan = await plans_of(db, webhook_log.page(db, HOOK, Asked(), last.id, 50))

    assert "ROW(created_at, id) < " in plan.sought["ix_webhook_deliveries_log"]


@pytest.mark.parametrize(
    ("which", "index", "replayed"),
    [(Which.FAILED, "failed", 4), (Which.DELIVERED, "log", 500), (Which.ALL, "log", 500)],
)
async def test_what_is_replayed_is_found_by_an_index(
    crowded: Sessions, which: Which, index: str, replayed: int
) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        row = await webhooks.get(db, HOOK, lock=True)
        within = Within(SINCE + HOUR, SINCE + 2 * HOUR, which)
        [plan] = await plans_of(db, counted(db, row, within, replayed))
        await db.rollback()

    assert not plan.walked
    assert "ROW(created_at, id) > " in plan.sought[f"ix_webhook_deliveries_{index}"]


async def counted(db: AsyncSession, row: Webhook, within: Within, replayed: int) -> None:
    """Replay up to 500, which are to be so many."""
    done = await webhook_log.replay(db, row, within, SINCE, limit=500)
    assert done.n == replayed


async def test_what_is_pending_is_counted_by_an_index(crowded: Sessions) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        [plan] = await plans_of(db, webhooks.pending(db, DEFAULT_WORKSPACE, [HOOK]))

    assert "webhook_id = " in plan.sought["ix_webhook_deliveries_pending"]


async def test_what_was_told_of_a_person_is_found_by_an_index_when_they_are_erased(crowded: Sessions) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        ada = await a_person(db, "ada@shop.example")
        plans = await plans_of(db, profiles_erased.erase(db, ada, SINCE))
        await db.rollback()

    told = [plan for plan in plans if plan.statement.lstrip().startswith("delete from webhook_deliveries")]
    assert not set().union(*(plan.walked for plan in plans)) & {"webhook_deliveries"}
    assert "about = ANY" in told[0].sought["ix_webhook_deliveries_about"]
