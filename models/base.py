"""What every table shares: ids, times, names of constraints, and the wall between workspaces."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar
from uuid import UUID

import orjson
import psycopg
from sqlalchemy import ColumnElement, Double, MetaData, Numeric, Text, cast, event, func, literal, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column
from uuid_utils.compat import uuid7

from domain.workspaces import SYSTEM_WORKSPACE
from models import working
from models.batch import WAIT, Answer, Asked, Batch, Batches, Statement, leave_out_the_row
from models.idle import let_go
from models.ringer import Ringer

Tenant = Annotated[UUID, mapped_column(primary_key=True)]
Id = Annotated[UUID, mapped_column(primary_key=True, server_default=func.uuidv7())]
CreatedAt = Annotated[datetime, mapped_column(server_default=func.now())]
Json = dict[str, Any]
Db = AsyncSession | Batch  # A transaction: with a session's bookkeeping, or bare.

APP_ROLE = "campanile_app"
ENGINE_ROLE = "campanile_engine"

# The wall's workspace. Naming it keeps a statement within it also where the engine's role runs it.
HERE = "nullif(current_setting('app.workspace', true), '')::uuid"

# No policy here: COPY into a table with one is refused, and their workers serve every workspace.
# Only the engine's role reaches them.
QUEUE_TABLES = ("pokes", "inbox", "hooks")

# The people who use Campanile belong to no workspace: only the engine's role has any right here.
ACCOUNT_TABLES = (
    "users",
    "sessions",
    "refresh_tokens",
    "user_tokens",
    "recovery_codes",
    "external_identities",
    "sign_ins",
    "rate_limits",
)

# Whose changes triggers write into the audit log, when it is a person or a key who makes them.
AUDITED = {
    "workspaces": "workspace",
    "memberships": "member",
    "invitations": "invitation",
    "keys": "key",
    "issuers": "issuer",
    "providers": "provider",
    "routes": "route",
    "holds": "hold",
    "domains": "domain",
    "senders": "sender",
    "segments": "segment",
    "lists": "list",
    "topics": "topic",
    "templates": "template",
    "template_versions": "template version",
    "campaigns": "campaign",
    "flows": "flow",
    "imports": "import",
    "webhooks": "webhook",
    "integrations": "integration",
}
# What the audit log never holds.
UNSAID = (
    *("hash", "client_secret", "credentials", "dkim_key", "verify_token_hash", "secret", "old_secret"),
    *("position", "used_at"),
)

# Statements that span workspaces (tracking, poker, sweeps, reconcile) run as the engine, whose own
# policy on these tables lets every row through.
ENGINE_TABLES = (
    "workspaces",
    "memberships",
    "invitations",
    "keys",
    "issuers",
    "providers",
    "domains",
    "idempotency_keys",
    "audit_log",
    "profiles",
    "identities",
    "consents",
    "suppressions",
    "campaigns",
    "alarms",
    "template_versions",
    "flows",
    "flow_versions",
    "enrollments",
    "agenda",
    "messages",
    "queue",
    "message_events",
    "message_notes",
    "attachments",
    "leases",
    "imports",
    "segments",
    "seen",
    "quarantine",
    "refusals",
    "event_names",
    "attributes",
    "reported",
    "early_reports",
    "soft_bounces",
    "last_words",
    "hook_days",
    "holds",
    "webhooks",
    "webhook_deliveries",
    "failure_logs",
    "alerts",
    "calls",
    "integrations",
)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        Decimal: Numeric(20, 4),
        float: Double,
        str: Text,
        UUID: PgUUID(as_uuid=True),
    }


def one_of(column: str, words: type[Any] | tuple[str, ...]) -> str:
    """The condition of a CHECK that keeps `column` to these words."""
    return f"{column} in ({', '.join(repr(str(word)) for word in words)})"


def wall(table: str) -> list[str]:
    """The statements that put `table` behind the wall, for the migration that creates it."""
    key = "id" if table == "workspaces" else "workspace_id"
    mine = f"{key} = (select nullif(current_setting('app.workspace', true), '')::uuid)"
    statements = [
        f"alter table {table} enable row level security",
        f"alter table {table} force row level security",
        f"create policy workspace on {table} using ({mine}) with check ({mine})",
        f"grant select, insert, update, delete on {table} to {APP_ROLE}, {ENGINE_ROLE}",
    ]
    if table in ENGINE_TABLES:
        statements.append(f"create policy engine on {table} to {ENGINE_ROLE} using (true) with check (true)")
    return statements


class Sessions:
    """Opens transactions: behind one workspace's wall, or as the engine, across all of them."""

    def __init__(self, app_url: str, engine_url: str, pool_size: int = 10, *, patience: float = WAIT) -> None:
        """`patience` is for how many seconds a batch waits for a server that is away."""
        self._ringer = Ringer(app_url)
        self._app = _pool(app_url, pool_size)
        self._held = _pool(app_url, pool_size, options=_FOR_HOLDERS)
        self._pinned = _pool(app_url, pool_size, options=_FOR_BATCHES)
        self._batches = Batches(app_url, pool_size, _FOR_BATCHES, patience)
        self._engine_batches = Batches(engine_url, pool_size, _FOR_BATCHES, patience)
        self._engine = _pool(engine_url, pool_size)
        self._pumps = _pool(engine_url, pool_size, options=_FOR_PUMPS, but=1)
        event.listen(self._pumps.sync_engine, "connect", _make_working_tables)

    @asynccontextmanager
    async def __call__(self, workspace_id: UUID, actor: str = "") -> AsyncIterator[AsyncSession]:
        """A transaction in which only this workspace's rows exist. It commits at the end.

        `actor` is the JSON of who makes the changes in it, for the audit log; the system's are not logged.
        """
        async with self._session(self._app, workspace_id, actor) as db:
            yield db

    @asynccontextmanager
    async def accounts(self, actor: str = "") -> AsyncIterator[AsyncSession]:
        """A transaction of the engine's among the accounts, whose mails are the system workspace's."""
        async with self._session(self._engine, SYSTEM_WORKSPACE, actor) as db:
            yield db

    @asynccontextmanager
    async def held(self, workspace_id: UUID) -> AsyncIterator[AsyncSession]:
        """A transaction that stays open while its holder opens others, by requests and Temporal in between.

        Its pool is its own: were it the others', as many holders as it has connections would wait for ever.
        """
        async with self._session(self._held, workspace_id) as db:
            yield db

    @asynccontextmanager
    async def batch(self, workspace_id: UUID, asked: Sequence[Asked] = ()) -> AsyncIterator[Batch]:
        """The same for statements that look up the rows of one batch, each by its key.

        The planner is kept from reading whole tables instead, and from planning each batch anew: its
        statistics lag behind a ledger that was filled a moment ago, and a wrong guess costs a hundred
        times what a right one saves. What is `asked` is executed first, in the round trip that begins it.
        """
        async with self._batches.open(workspace_id, asked) as db:
            yield db
            poked = await _write_pokes(db)
        self._ringer.ring(poked)

    async def at_once(self, workspace_id: UUID, asked: Sequence[Asked]) -> list[Answer]:
        """A batch of statements after which nothing follows: see `Batches.at_once`."""
        return await self._batches.at_once(workspace_id, asked)

    @asynccontextmanager
    async def pinned(self, workspace_id: UUID) -> AsyncIterator[AsyncSession]:
        """A batch whose statement is built for the call, by a marketer's rule."""
        async with self._session(self._pinned, workspace_id) as db:
            yield db

    @asynccontextmanager
    async def pump(self, workspace_id: UUID) -> AsyncIterator[AsyncSession]:
        """A transaction of the engine's within one workspace, for batches that wait in temporary tables.

        The engine reaches the inbox, and sees beyond the wall where it has a policy of its own: statements
        name the workspace. Joins of a batch with itself may hash; no big table is read whole.
        """
        async with self._session(self._pumps, workspace_id) as db:
            yield db

    @asynccontextmanager
    async def _session(
        self, pool: AsyncEngine, workspace_id: UUID, actor: str = ""
    ) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(pool, expire_on_commit=False) as db, db.begin():
            await enter(db, workspace_id, actor)
            yield db
            poked = await _write_pokes(db)
        self._ringer.ring(poked)

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AsyncSession]:
        """A transaction for statements that span workspaces. It commits at the end."""
        async with AsyncSession(self._engine, expire_on_commit=False) as db, db.begin():
            yield db

    @asynccontextmanager
    async def engine_batch(self) -> AsyncIterator[Batch]:
        """The same by the bare driver."""
        async with self._engine_batches.open(None) as db:
            yield db

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[Batch]:
        """To read as the engine, each statement for itself."""
        async with self._engine_batches.glance() as db:
            yield db

    async def close(self) -> None:
        await self._ringer.close()
        await self._batches.close()
        await self._engine_batches.close()
        for pool in (self._app, self._held, self._pinned, self._engine, self._pumps):
            await pool.dispose()


_RINGS = "rings"  # In a transaction's `info`: what to ring for once it is committed, without a poke.
_POKES = "pokes"  # In a transaction's `info`: the queues to poke, and for which work.
_POKE = text(
    """
    select work || ':' || queue || ':' || poke(queue, work) as told
    from unnest(cast(:queues as uuid[]), cast(:works as text[])) p(queue, work)
    """
)


def poke(db: Db, queue_id: UUID, work: str) -> None:
    """Have this transaction of `Sessions` poke the queue by its last statement, and ring after its commit.

    Last, because two that poke one queue wait for each other's commit; in order, so that they take turns.
    """
    db.info.setdefault(_POKES, set()).add((queue_id, work))


def ring(db: Db, word: str) -> None:
    """Have this transaction of `Sessions` ring for whoever listens for this word, after its commit."""
    db.info.setdefault(_RINGS, set()).add(word)


async def _write_pokes(db: Db) -> list[str]:
    """Returns what to ring for after the commit."""
    pokes, rings = sorted(db.info.pop(_POKES, ())), sorted(db.info.pop(_RINGS, ()))
    if not db.in_transaction():  # It was rolled back by hand.
        return []
    if not pokes:
        return rings
    queues, works = zip(*pokes, strict=True)
    told = await db.execute(_POKE, {"queues": [*queues], "works": [*works]})
    # None for a queue of another workspace.
    return [*rings, *(each for each in told.scalars() if each)]


_ENTER = text("select set_config('app.workspace', :workspace, true), set_config('app.actor', :actor, true)")
# A process that was frozen in the middle of a transaction holds what others wait for.
_FOR_ALL = "-c idle_in_transaction_session_timeout=60s"
_FOR_HOLDERS = "-c idle_in_transaction_session_timeout=15min"
_FOR_BATCHES = " ".join(
    f"-c {setting}"
    for setting in (
        "idle_in_transaction_session_timeout=60s",
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "plan_cache_mode=force_generic_plan",
    )
)

_FOR_PUMPS = " ".join(
    f"-c {setting}"
    for setting in (
        "idle_in_transaction_session_timeout=60s",
        "enable_seqscan=off",
        "enable_mergejoin=off",
        "enable_memoize=off",
        "plan_cache_mode=force_generic_plan",
    )
)


async def enter(db: AsyncSession, workspace_id: UUID, actor: str = "") -> None:
    """From here to the end of the transaction, only this workspace's rows exist, and `actor` changes them."""
    await db.execute(_ENTER, {"workspace": str(workspace_id), "actor": actor})


@asynccontextmanager
async def entered(db: AsyncSession, workspace_id: UUID) -> AsyncIterator[None]:
    """A while of the engine's in one workspace, within a transaction of `Sessions.engine`.

    What is poked meanwhile is written at its end, and is for the poker: nothing rings for it.
    """
    await enter(db, workspace_id)
    yield
    await _write_pokes(db)
    await db.execute(text("select set_config('app.workspace', '', true)"))


async def act_as(db: AsyncSession, actor: str) -> None:
    """From here to the end of the transaction, the audit log names this actor."""
    await db.execute(text("select set_config('app.actor', :actor, true)"), {"actor": actor})


def bulk_prefix() -> str:
    """What the ids of one INSERT … SELECT have in common: a millisecond, and 42 random bits.

    The beginning of a UUIDv7 would not do: those of one millisecond count upwards at their end.
    """
    chance = secrets.randbits(42)
    time = uuid7().int >> 76 << 76  # With the version.
    return str(UUID(int=time | chance >> 30 << 64 | 0b10 << 62 | chance % 2**30 << 32))[:28]


def bulk_id(prefix: ColumnElement[str] | None = None) -> ColumnElement[UUID]:
    """A new id for each row of an INSERT … SELECT: a UUIDv7 whose last 32 bits count the rows.

    A statement that is kept takes its `prefix`, a new `bulk_prefix` each time, as a parameter.

    RFC 9562, section 6.2, allows the counter. uuidv7() asks the kernel for randomness each time, 3 µs a
    row; ids are no secrets here, since links carry a signature.
    """
    row = func.to_hex(func.row_number().over())
    prefix = literal(bulk_prefix()) if prefix is None else prefix
    return cast(prefix + func.lpad(row, 8, "0"), PgUUID(as_uuid=True))


async def changed(db: Db, statement: Statement, values: Mapping[str, Any] | None = None) -> int:
    """Execute a statement that writes, and return how many rows it touched."""
    if isinstance(db, Batch):
        return (await db.execute(statement, values)).rowcount
    # By the connection: a session takes an INSERT for objects of its own and forgets to count.
    connection = await db.connection()
    result = await connection.execute(statement, values, execution_options={"preserve_rowcount": True})
    return result.rowcount


async def whose(db: Db, statement: Statement, values: Mapping[str, Any] | None = None) -> list[UUID]:
    """Execute a statement that writes and returns ids, and return these."""
    if isinstance(db, Batch):
        return [*(await db.execute(statement, values)).scalars()]
    connection = await db.connection()
    return [*(await connection.execute(statement, values)).scalars()]


def _pool(url: str, size: int, options: str = _FOR_ALL, but: int = 0) -> AsyncEngine:
    """`but` so many connections stay, whether they are needed or not."""
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=300,
        pool_recycle=1800,
        hide_parameters=True,  # An error is logged, and kept in Temporal's history: no people in there.
        connect_args={"prepare_threshold": 1, "options": options},
        json_deserializer=orjson.loads,
        json_serializer=lambda value: orjson.dumps(value).decode(),
    )
    event.listen(engine.sync_engine, "handle_error", _leave_out_the_row)
    let_go(engine, but)
    return engine


def _make_working_tables(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for statement in working.create():
        cursor.execute(statement)
    cursor.close()
    connection.commit()


def _leave_out_the_row(context: ExceptionContext) -> None:
    error, told = context.original_exception, context.sqlalchemy_exception
    if isinstance(error, psycopg.Error) and error.diag.message_detail:
        leave_out_the_row(error)
        if told is not None:
            told.args = (f"({type(error).__module__}.{type(error).__name__}) {error}",)
