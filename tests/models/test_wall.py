"""The wall between workspaces: as the migrated database's own catalogue tells it, and as it holds."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from domain.messages import Work
from domain.workspaces import DEFAULT_WORKSPACE
from models import metadata
from models.base import ACCOUNT_TABLES, APP_ROLE, AUDITED, ENGINE_ROLE, ENGINE_TABLES, QUEUE_TABLES, Sessions
from models.flows import Flow
from models.orders import OrderRollup
from models.profiles import Profile
from models.queries import pokes
from models.workspaces import Workspace
from tests.databases import Database
from tests.people import another_workspace

BOOKKEEPING = {"alembic_version"}  # Where the schema stands: nobody's, and the application only reads it.
OUTSIDE = {*QUEUE_TABLES, *ACCOUNT_TABLES, *BOOKKEEPING}
TENANT_TABLES = set(metadata().tables) - OUTSIDE
# Leases live for seconds, caps, turns and members come by the million, and the audit log and what was asked
# twice are written by triggers and before anything else: no foreign key is checked for them.
UNBOUND = {
    *("events", "seen", "leases", "cap_counters", "queue", "agenda", "audit_log", "idempotency_keys"),
    *("alarms", "segment_members", "breakers", "breaker_changes", "buckets", "provider_days"),
    *("reported", "early_reports", "soft_bounces", "last_words", "deliveries", "hook_days"),
}
SETTING = "nullif(current_setting('app.workspace'::text,true),''::text)"


async def catalogue(db: AsyncSession, question: str, **values: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await db.execute(text(question), values)]


async def test_every_table_says_whose_its_rows_are(db: AsyncSession) -> None:
    found = await catalogue(
        db,
        """
        select c.relname, c.relkind, exists (
            select from pg_attribute a
            where a.attrelid = c.oid and a.attname = 'workspace_id' and a.attnotnull
        )
        from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
            and not c.relispartition
        """,
    )
    assert {table for table, _, owned in found if owned} == TENANT_TABLES - {"workspaces"} | set(QUEUE_TABLES)
    ownerless = {table for table, _, owned in found if not owned}
    assert ownerless == {"workspaces"} | BOOKKEEPING | set(ACCOUNT_TABLES)
    # A view would read with the rights of its owner, past every policy.
    assert {kind for _, kind, _ in found} <= {"r", "p"}


async def test_every_table_has_a_policy_for_reading_and_writing_that_binds_its_owner_too(
    db: AsyncSession,
) -> None:
    found = await catalogue(
        db,
        """
        select c.relname, c.relrowsecurity and c.relforcerowsecurity, p.policyname, p.roles::text[], p.cmd,
            lower(p.qual), lower(p.with_check)
        from pg_class c left join pg_policies p on p.schemaname = 'public' and p.tablename = c.relname
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
            and not c.relispartition
        """,
    )
    forced = {table for table, is_forced, *_ in found if is_forced}
    mine: dict[str, tuple[str, str]] = {}
    engines = set()
    for table, _, policy, roles, command, reads, writes in found:
        if roles == ["public"]:
            assert (command, table in mine) == ("ALL", False), f"{policy} on {table} widens the wall"
            mine[table] = (reads, writes)
        elif policy:
            assert roles == [ENGINE_ROLE], f"{policy} on {table} is for {roles}"
            engines.add(table)

    assert forced == set(mine) == TENANT_TABLES
    assert engines == set(ENGINE_TABLES)
    for table, (reads, writes) in mine.items():
        key = "id" if table == "workspaces" else "workspace_id"
        condition = reads.replace(" ", "").replace("\n", "")
        assert condition.startswith(f"({key}=(select({SETTING})::uuid"), table
        assert reads == writes, table


async def test_the_application_owns_nothing_and_nothing_lets_it_past_the_wall(db: AsyncSession) -> None:
    for role in (APP_ROLE, ENGINE_ROLE):
        assert await catalogue(
            db,
            "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = :role",
            role=role,
        ) == [(False, False, False, False)]
        # The pump of a test beside this one has working tables of its own, in another database.
        owned = """
            select classid, objid from pg_shdepend where refobjid = cast(:role as regrole) and deptype = 'o'
                and dbid in (0, (select oid from pg_database where datname = current_database()))
        """
        assert await catalogue(db, owned, role=role) == []
        member = "select 1 from pg_auth_members where member = cast(:role as regrole)"
        assert await catalogue(db, member, role=role) == []
    assert not await db.scalar(select(func.has_schema_privilege(APP_ROLE, "public", "create")))


async def test_the_application_has_no_right_to_what_has_no_policy(db: AsyncSession) -> None:
    for table in (*QUEUE_TABLES, *ACCOUNT_TABLES):
        for right in ("select", "insert", "update", "delete", "truncate", "references", "trigger"):
            assert not await db.scalar(select(func.has_table_privilege(APP_ROLE, table, right)))
        assert not await db.scalar(
            select(func.has_any_column_privilege(APP_ROLE, table, "select, insert, update, references"))
        )
    for table in BOOKKEEPING:
        changes = "insert, update, delete, truncate, references, trigger"
        assert not await db.scalar(select(func.has_table_privilege(APP_ROLE, table, changes)))


async def test_a_function_with_its_owners_rights_means_what_it_meant_when_it_was_made(
    db: AsyncSession,
) -> None:
    """Its body was parsed then, its names are looked up where nobody else can write, and few may call it.

    Those that make and drop partitions write their statements anew, so only the engine may call them.
    """
    found = await catalogue(
        db,
        """
        select proname, prosqlbody is not null or not has_function_privilege(:app, oid, 'execute'),
            proconfig::text[], has_function_privilege('public', oid, 'execute')
        from pg_proc where pronamespace = 'public'::regnamespace and prosecdef
        """,
        app=APP_ROLE,
    )
    assert found
    for name, is_safe, settings, anybody in found:
        assert (is_safe, settings, anybody) == (True, ["search_path=pg_catalog, public"], False), name


async def test_nobody_reaches_a_partition_past_its_tables_policy(db: AsyncSession) -> None:
    found = await catalogue(
        db,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relispartition "
        "and relkind = 'r'",
    )
    assert found
    for (table,) in found:
        for role in (APP_ROLE, ENGINE_ROLE):
            assert not await db.scalar(
                select(func.has_table_privilege(role, table, "select, insert, update, delete, truncate"))
            ), table


async def test_nobody_rings_or_answers_for_another_workspaces_queue(sessions: Sessions) -> None:
    theirs = await another_workspace(sessions)
    async with sessions(theirs) as db:
        added = insert(Flow).values(workspace_id=theirs, name="Hi", slug="hi", definition={})
        flow = (await db.scalars(added.returning(Flow.id))).one()
        pokes.poke(db, flow, Work.ADVANCE)
    async with sessions(DEFAULT_WORKSPACE) as db:
        pokes.poke(db, flow, Work.SEND)
        pokes.poke(db, theirs, Work.SEND)
        await pokes.take(db, flow, Work.ADVANCE)

    async with sessions.engine() as db:
        assert await catalogue(db, "select queue_id, work from pokes") == [(flow, Work.ADVANCE)]


async def test_no_row_can_point_into_another_workspace(db: AsyncSession) -> None:
    found = await catalogue(
        db,
        """
        select f.conrelid::regclass::text, f.conname, f.confrelid::regclass::text,
            array(select a.attname::text from unnest(f.conkey) with ordinality k(number, place)
                join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.number order by place),
            array(select a.attname::text from unnest(f.confkey) with ordinality k(number, place)
                join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.number order by place)
        from pg_constraint f
        where f.contype = 'f' and f.connamespace = 'public'::regnamespace
        """,
    )
    assert found
    for table, name, to, columns, keys in found:
        if to == "workspaces":
            assert (columns, keys) == (["workspace_id"], ["id"]), name
        elif to in ACCOUNT_TABLES:  # A person may belong to many workspaces, or to none.
            assert table == "memberships" or table in ACCOUNT_TABLES, name
        else:
            assert (columns[0], keys[0], len(columns)) == ("workspace_id", "workspace_id", 2), name
    assert TENANT_TABLES - {"workspaces"} - {table for table, *_ in found} == UNBOUND


async def test_every_change_by_somebody_is_in_the_audit_log_and_nobody_can_take_it_back(
    db: AsyncSession,
) -> None:
    found = await catalogue(
        db,
        """
        select tgrelid::regclass::text, tgenabled, pg_get_triggerdef(oid) from pg_trigger
        where tgfoid = 'audit'::regproc
        """,
    )
    assert {table for table, *_ in found} == set(AUDITED)
    for table, enabled, definition in found:
        assert enabled == "O", table
        assert "AFTER INSERT OR DELETE OR UPDATE" in definition, table
    for role in (APP_ROLE, ENGINE_ROLE):
        for right in ("update", "delete", "truncate"):
            assert not await db.scalar(select(func.has_table_privilege(role, "audit_log", right)))


async def test_every_unique_key_begins_with_the_workspace(db: AsyncSession) -> None:
    found = await catalogue(
        db,
        """
        select i.indrelid::regclass::text, i.indexrelid::regclass::text, a.attname
        from pg_index i
        join pg_class c on c.oid = i.indrelid and c.relnamespace = 'public'::regnamespace
            and not c.relispartition
        left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indisunique
        """,
    )
    assert {table for table, *_ in found} == TENANT_TABLES | OUTSIDE
    for table, key, first in found:
        if table not in OUTSIDE:
            assert first == ("id" if table == "workspaces" else "workspace_id"), key


async def test_with_no_workspace_set_there_is_nothing_to_see(sessions: Sessions, database: Database) -> None:
    """Neither on a fresh connection nor on one that was in a workspace before."""
    await a_profile(sessions, DEFAULT_WORKSPACE)
    application = create_async_engine(database.url, pool_size=1)
    try:
        for _ in range(2):
            async with application.begin() as db:
                for table in sorted(TENANT_TABLES):
                    assert await db.scalar(text(f"select count(*) from {table}")) == 0, table
                await db.execute(select(func.set_config("app.workspace", str(DEFAULT_WORKSPACE), True)))
                assert await db.scalar(text("select count(*) from profiles")) == 1
    finally:
        await application.dispose()


async def test_another_workspaces_rows_can_be_neither_seen_nor_changed(sessions: Sessions) -> None:
    theirs = await another_workspace(sessions)
    profile = await a_profile(sessions, theirs)

    async with sessions(DEFAULT_WORKSPACE) as db:
        assert await db.scalar(select(func.count()).select_from(Profile)) == 0
        assert list(await db.scalars(select(Workspace.id))) == [DEFAULT_WORKSPACE]
        changed = update(Profile).where(Profile.id == profile).values(attributes={"seen": True})
        assert (await db.scalars(changed.returning(Profile.id))).all() == []
        removed = delete(Profile).where(Profile.id == profile).returning(Profile.id)
        assert (await db.scalars(removed)).all() == []

    async with sessions(theirs) as db:
        assert await db.scalar(select(Profile.attributes)) == {}


async def test_a_row_of_another_workspace_cannot_be_written(sessions: Sessions) -> None:
    theirs = await another_workspace(sessions)
    mine = await a_profile(sessions, DEFAULT_WORKSPACE)

    for statement in (
        insert(Profile).values(workspace_id=theirs),
        update(Profile).where(Profile.id == mine).values(workspace_id=theirs),
        insert(Workspace).values(name="Third"),
    ):
        with pytest.raises(ProgrammingError, match="row-level security"):
            await attempt(sessions, statement)


async def test_a_row_cannot_hang_on_another_workspaces_profile(sessions: Sessions) -> None:
    profile = await a_profile(sessions, await another_workspace(sessions))
    rollup = {"profile_id": profile, "currency": "USD", "total": 1, "count": 1}
    times = {"first_at": func.now(), "last_at": func.now()}

    with pytest.raises(IntegrityError, match="fk_order_rollups"):
        await attempt(sessions, insert(OrderRollup).values(workspace_id=DEFAULT_WORKSPACE, **rollup, **times))


@pytest.mark.parametrize(
    "statement", [f"set role {ENGINE_ROLE}", "alter table profiles disable row level security", "table pokes"]
)
async def test_the_application_cannot_step_around_the_wall(sessions: Sessions, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        await attempt(sessions, text(statement))


async def attempt(sessions: Sessions, statement: Any) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(statement)


async def a_profile(sessions: Sessions, workspace_id: UUID) -> UUID:
    async with sessions(workspace_id) as db:
        added = insert(Profile).values(workspace_id=workspace_id).returning(Profile.id)
        return (await db.scalars(added)).one()


async def test_an_error_says_nothing_of_the_people_that_the_statement_was_about(sessions: Sessions) -> None:
    with pytest.raises(DBAPIError) as error:
        async with sessions(DEFAULT_WORKSPACE) as db:
            await db.execute(text("select 1 / 0 where :name <> ''"), {"name": "Ada"})

    assert "division" in str(error.value)
    assert "Ada" not in str(error.value)


async def test_an_error_says_nothing_of_the_row_that_a_rule_refused(sessions: Sessions) -> None:
    """PostgreSQL quotes it whole: a person's attributes, or the hash of a password."""
    refused = text("insert into profiles (workspace_id, time_zone, attributes) values (:here, :zone, null)")
    row = {"here": DEFAULT_WORKSPACE, "zone": "Ada"}

    with pytest.raises(IntegrityError) as by_session:
        await attempt(sessions, refused.bindparams(**row))
    with pytest.raises(psycopg.errors.NotNullViolation) as by_batch:
        async with sessions.batch(DEFAULT_WORKSPACE) as db:
            await db.execute(refused, row)

    for error in (by_session.value, by_session.value.orig, by_batch.value):
        assert "attributes" in str(error)
        assert "Ada" not in str(error)
