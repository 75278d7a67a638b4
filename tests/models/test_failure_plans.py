"""Twenty thousand failures: they are told of as one, and what is asked for is found by an index."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import alerts, failures, failures_found
from models.queries.failures_found import Which
from tests.databases import Database
from tests.models.test_plans import plans_of
from tests.sending import NOW

MANY = 20_000
SOURCE = UUID(int=7)
_MANY = """
    insert into failure_logs (workspace_id, at, subject, subject_id, occasion, kind, category, reason, remedy,
        retryable, source_kind, source_id)
    select :here, :now, 'message', gen_random_uuid(), 'failed', 'kind', 'provider', '451 Not now', 'Wait.',
        true, 'campaign', case when n % 100 = 0 then cast(:source as uuid) else gen_random_uuid() end
    from generate_series(1, :n) n
"""


async def test_many_failures_are_counted_together_and_found_by_their_indexes(
    database: Database, sessions: Sessions
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text(_MANY), {"here": DEFAULT_WORKSPACE, "now": NOW, "n": MANY, "source": SOURCE})
    owner = create_async_engine(database.admin_url, isolation_level="AUTOCOMMIT")
    async with owner.connect() as connection:
        await connection.execute(text("analyze failure_logs"))
    async with sessions(DEFAULT_WORKSPACE) as db:
        await alerts.count(db, DEFAULT_WORKSPACE, NOW)
        [digest] = await alerts.digests(db, DEFAULT_WORKSPACE, NOW)
        assert digest.untold == MANY
    async with owner.connect() as connection:
        await connection.execute(text("vacuum analyze failure_logs"))
    await owner.dispose()

    async with sessions(DEFAULT_WORKSPACE) as db:
        [newest] = await plans_of(db, failures_found.page(db, DEFAULT_WORKSPACE, Which(), None, 50))
        one = Which(source_id=SOURCE)
        [of_one] = await plans_of(db, failures_found.page(db, DEFAULT_WORKSPACE, one, None, 50))
        told = Which(alert_id=digest.id)
        [of_alert] = await plans_of(db, failures_found.page(db, DEFAULT_WORKSPACE, told, None, 50))
        [known] = await plans_of(db, failures.known(db, DEFAULT_WORKSPACE, [SOURCE], NOW))
    assert not newest.walked | of_one.walked | of_alert.walked | known.walked
    assert "workspace_id = " in newest.sought["pk_failure_logs"]
    assert "source_id = " in of_one.sought["ix_failure_logs_source"]
    assert "subject_id = " in known.sought["uq_failure_logs_subject"]
