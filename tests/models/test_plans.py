"""What is asked often is answered by an index: behind the wall, too, where only what is leakproof has one."""

from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Executable, event, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from dev.postgres import Postgres
from domain.profiles import IdentityKind
from domain.segments import parse
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.flows import Enrollment, FlowVersion
from models.orders import Order
from models.queries import (
    calls,
    enrollments_moved,
    profiles,
    profiles_found,
    segments,
    webhook_deliveries,
)
from models.queries.ways import Move
from tests.databases import a_clone

CROWD = 20_000  # Profiles in the default workspace, with two orders, a journey and a message each.
SMALL_WORKSPACE = UUID("01920000-0000-7000-8000-00000000000a")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANNERS: dict[str, Any] = {"now": NOW, "time_zone": "UTC", "currency": "USD"}


@dataclass(frozen=True)
class Plan:
    """How PostgreSQL answers one statement."""

    statement: str
    nodes: tuple[dict[str, Any], ...]  # Every node of EXPLAIN's tree.

    @property
    def walked(self) -> set[str]:
        """The tables that are read from end to end."""
        return {node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan"}

    @property
    def sought(self) -> dict[str, str]:
        """Each index that is used, with what is looked up in it. What only filters is not in there."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if name := node.get("Index Name"):
                found[name] = f"{found.get(name, '')} {node.get('Index Cond', '')}"
        return found


async def plans_of(db: AsyncSession, work: Awaitable[Any]) -> list[Plan]:
    """Do the work, and explain every statement that it sent on this session, in their order."""
    connection = await db.connection()
    heard: list[tuple[str, Any]] = []

    def hear(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        heard.append((statement, values))

    event.listen(connection.sync_connection, "before_cursor_execute", hear)
    try:
        await work
    finally:
        event.remove(connection.sync_connection, "before_cursor_execute", hear)
    plans = []
    for statement, values in heard:
        explained = await connection.exec_driver_sql(f"explain (format json) {statement}", values)
        plans.append(Plan(statement, tuple(_nodes(explained.scalar_one()[0]["Plan"]))))
    return plans


async def plan_of(db: AsyncSession, statement: Executable, values: Mapping[str, Any] | None = None) -> Plan:
    """Execute one statement, and explain it."""
    [plan] = await plans_of(db, db.execute(statement, values))
    return plan


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


@pytest.fixture(scope="module")
async def crowded(postgres: Postgres) -> AsyncIterator[Sessions]:
    """A database with a crowd in one workspace and a few people in another, as ANALYZE left it."""
    database = a_clone(postgres)
    owner = create_async_engine(database.admin_url, isolation_level="AUTOCOMMIT")
    async with owner.connect() as connection:
        for workspace_id, people in ((DEFAULT_WORKSPACE, CROWD), (SMALL_WORKSPACE, CROWD // 100)):
            await connection.execute(
                text("select set_config('app.workspace', :workspace, false)"),
                {"workspace": str(workspace_id)},
            )
            for statement in _PEOPLE:
                await connection.execute(text(statement), {"people": people})
        await connection.execute(text("vacuum analyze"))
    await owner.dispose()
    sessions = Sessions(database.url, database.engine_url, pool_size=1)
    yield sessions
    await sessions.close()
    postgres.drop_database(database.name)


_HERE = "current_setting('app.workspace')::uuid"
_PEOPLE = (
    f"insert into workspaces (id, name) values ({_HERE}, 'Crowd') on conflict do nothing",
    f"""
    insert into profiles (workspace_id, attributes)
    select {_HERE}, jsonb_build_object('nth', n, 'country', (array['DE', 'FR', 'US'])[1 + n % 3])
    from generate_series(1, :people) n
    """,
    f"""
    insert into identities (workspace_id, kind, value, profile_id)
    select {_HERE}, 'email', 'nr-' || (attributes ->> 'nth') || '@example.com', id
    from profiles where workspace_id = {_HERE}
    """,
    f"""
    insert into consents (workspace_id, profile_id, purpose, state, source, at)
    select {_HERE}, id, purpose, 'granted', 'import', timestamptz '2026-01-01'
    from profiles, unnest(array['email', 'tracking']) purpose where workspace_id = {_HERE}
    """,
    f"""
    insert into orders (workspace_id, key, profile_id, ordered_at, quantity, total, currency, source)
    select {_HERE}, id || '/' || n, id, timestamptz '2026-01-01' - make_interval(days => n * 7),
        1, 10 * n, 'USD', ''
    from profiles, generate_series(1, 2) n where workspace_id = {_HERE}
    """,
    f"""
    insert into order_rollups (workspace_id, profile_id, currency, total, count, first_at, last_at)
    select workspace_id, profile_id, currency, sum(total), count(*), min(ordered_at), max(ordered_at)
    from orders where workspace_id = {_HERE} group by 1, 2, 3
    """,
    f"""
    with template as (
        insert into templates (workspace_id, name) values ({_HERE}, 'Hello') returning id
    )
    insert into template_versions (workspace_id, template_id, number, subject, html)
    select {_HERE}, id, 1, 'Hello', 'Hello' from template
    """,
    f"""
    with flow as (
        insert into flows (workspace_id, name, slug, definition, state)
        values ({_HERE}, 'Hello', 'hello', '{{}}', 'live') returning id
    )
    insert into flow_versions (workspace_id, flow_id, number, definition, templates)
    select {_HERE}, id, 1, '{{}}', '{{}}' from flow
    """,
    f"""
    insert into enrollments (workspace_id, flow_id, version_id, profile_id, entry, step, due_at, entered_at)
    select {_HERE}, v.flow_id, v.id, p.id, 'once', case when (attributes ->> 'nth')::int % 20 = 0
            then 'branch' else 'wait' end,
        timestamptz '2026-03-01' + make_interval(mins => (attributes ->> 'nth')::int),
        timestamptz '2026-01-01'
    from profiles p join flow_versions v on v.workspace_id = {_HERE} where p.workspace_id = {_HERE}
    """,
    f"""
    insert into agenda (workspace_id, version_id, step, due_at, enrollment_id)
    select workspace_id, version_id, step, due_at, id from enrollments where workspace_id = {_HERE}
    """,
    f"""
    insert into messages (workspace_id, queue_id, source_id, source_kind, step, profile_id, occasion, channel,
        class, template_version_id, state, due_at, closed_at)
    select {_HERE}, e.flow_id, e.flow_id, 'flow', 'hello', e.profile_id, e.id, 'email',
        'marketing', t.id, 'accepted', e.entered_at, e.entered_at
    from enrollments e join template_versions t on t.workspace_id = {_HERE} where e.workspace_id = {_HERE}
    """,
)


async def test_a_person_is_found_by_name_in_one_look_up(crowded: Sessions) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        found = profiles.find(db, IdentityKind.EMAIL, "nr-777@example.com")
        [plan] = await plans_of(db, found)

        assert not plan.walked
        assert "value = " in plan.sought["pk_identities"]


async def test_what_a_template_may_print_is_looked_up(crowded: Sessions) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        person = await profiles_found.find(db, "nr-777@example.com")
        [plan] = await plans_of(db, profiles.variables(db, person.profile.id))

        assert not plan.walked


async def test_a_profiles_orders_are_found_in_their_order(crowded: Sessions) -> None:
    async with crowded(DEFAULT_WORKSPACE) as db:
        person = await profiles_found.find(db, "nr-777@example.com")
        theirs = select(Order).where(Order.profile_id == person.profile.id).order_by(Order.ordered_at)
        plan = await plan_of(db, theirs)

        assert not plan.walked
        assert "profile_id = " in plan.sought["ix_orders_profile"]


async def test_a_segment_on_orders_reads_its_own_workspace_only(crowded: Sessions) -> None:
    rule = parse(
        {
            "all": [
                {"kind": "orders", "measure": "total", "op": ">=", "value": 30},
                {"not": {"kind": "orders", "measure": "last", "op": "on or after", "value": "1998-01-01"}},
                {"kind": "attribute", "name": "country", "op": "is", "value": "DE"},
            ]
        }
    )
    async with crowded(SMALL_WORKSPACE) as db:
        plan = await plan_of(db, segments.members(rule, **MANNERS))

        assert not plan.walked
        assert "workspace_id = " in plan.sought["pk_order_rollups"]
        assert "workspace_id = " in plan.sought["pk_profiles"]


@pytest.mark.parametrize(
    ("condition", "index", "key"),
    [
        ({"kind": "message", "did": "clicked", "step": "hello"}, "uq_messages_decision", "occasion = "),
        ({"kind": "orders", "measure": "count", "op": "<", "value": 2}, "pk_order_rollups", "profile_id = "),
        ({"kind": "attribute", "name": "country", "op": "is", "value": "DE"}, "pk_profiles", "id = "),
    ],
)
async def test_a_branch_looks_up_those_who_are_due_and_nobody_else(
    crowded: Sessions, condition: dict[str, Any], index: str, key: str
) -> None:
    rule = parse(condition, in_flow=True)
    met = segments.where(rule, profile_id=Enrollment.profile_id, enrollment=Enrollment.id, **MANNERS)
    async with crowded(DEFAULT_WORKSPACE) as db:
        version = (await db.scalars(select(FlowVersion))).one()
        move = Move(DEFAULT_WORKSPACE, version.flow_id, version.id, "branch", None, None, None, "clicked")
        [_, plan] = await plans_of(db, enrollments_moved.advance(db, move, NOW, 2_000, met))

        assert plan.walked <= {"flows"}  # Which has two rows here.
        assert key in plan.sought[index]
        assert "due_at <= " in plan.sought["pk_agenda"]


async def test_a_call_looks_up_those_who_have_come_and_what_is_said_of_each(crowded: Sessions) -> None:
    async with crowded.pinned(DEFAULT_WORKSPACE) as db:
        version = (await db.scalars(select(FlowVersion))).one()
        here = (version.id, "branch")
        [plan] = await plans_of(
            db, calls.hold(db, DEFAULT_WORKSPACE, version.flow_id, here, ["country"], NOW, 500)
        )

        assert plan.walked == set()
        assert "due_at <= " in plan.sought["pk_agenda"]
        assert "id = " in plan.sought["pk_profiles"]
        assert any("profile_id = " in sought for name, sought in plan.sought.items() if "identities" in name)


async def test_deliveries_that_are_due_are_sought_webhook_by_webhook(crowded: Sessions) -> None:
    at = NOW.isoformat()
    async with crowded(DEFAULT_WORKSPACE) as db:
        await db.execute(
            text(f"""
                insert into webhooks (workspace_id, name, url, event_types, secret)
                select {_HERE}, 'n8n', 'https://n8n.example', '{{}}', '' from generate_series(1, 20)
            """)
        )
        await db.execute(
            text(f"""
                insert into webhook_deliveries
                    (workspace_id, webhook_id, event_type, body, created_at, due_at, state, closed_at)
                select {_HERE}, w.id, 'message.failed', '{{}}', '{at}', '{at}',
                    case when n > 5 then 'delivered' else 'pending' end,
                    case when n > 5 then '{at}'::timestamptz end
                from webhooks w, generate_series(1, 1000) n where w.workspace_id = {_HERE}
            """)
        )
        one = (await db.scalars(text("select id from webhooks limit 1"))).one()
        claim = partial(webhook_deliveries.claim, lease=60, most=100, most_bytes=4_000_000)
        asked = [
            *await plans_of(db, webhook_deliveries.ready(db, DEFAULT_WORKSPACE, NOW)),
            *await plans_of(db, webhook_deliveries.ahead(db, DEFAULT_WORKSPACE)),
            *await plans_of(db, claim(db, DEFAULT_WORKSPACE, one, UUID(int=1), NOW)),
        ]
        await db.rollback()

    for plan in asked:
        assert "webhook_deliveries" not in plan.walked
        assert "webhook_id = " in plan.sought["ix_webhook_deliveries_pending"]
