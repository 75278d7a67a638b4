"""What tests in every folder begin with: a given clock, waiting for what must come true."""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher
from sqlalchemy import Engine, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.util import LRUCache

from dev.first_key import FirstOwner
from domain import passwords
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions

# Of the default workspace, in every test's database.
OWNER_OF_ALL = FirstOwner(
    "owner@records.example", "correct horse battery staple", "sk_the-key-of-the-tests-and-of-nothing-else-00"
)


class GivenClock:
    """A `domain.clock.Clock` that stands still until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 3, 2, 12, tzinfo=UTC)) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def move(self, by: timedelta) -> None:
        self.time += by


async def eventually(
    holds: Callable[[], Awaitable[bool]], within: float = 10, every: float = 0.02, what: str = "it"
) -> None:
    """Wait until `holds()`. Fails, naming `what`, when that is not so within so many seconds."""
    deadline = time.monotonic() + within
    while not await holds():
        assert time.monotonic() < deadline, f"{what} did not come true within {within:g} s"
        await asyncio.sleep(every)


async def somebody_waits(sessions: Sessions) -> bool:
    """Whether a transaction of the application's waits for another one's lock."""
    waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with sessions(DEFAULT_WORKSPACE) as db:
        return bool(await db.scalar(text(f"select exists ({waiting})")))


def spend_little() -> None:
    """Have this process spend its time on the tests, and little on what surrounds them."""
    _hash_passwords_fast()
    _compile_each_statement_once()
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type] # httpx2 looks for it at every request.
    # What a failing test shows of our log. Rich's tracebacks took 17 seconds of a run.
    in_plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, in_plain]
    )
    gc.set_threshold(50_000, 20, 50)  # Hundreds of modules and schemas would be walked every few seconds.


def _compile_each_statement_once() -> None:
    """SQLAlchemy keeps what it compiled for each engine; here hundreds of databases have some engines each.

    All of them are made in one place (`models.base`), so what one has compiled serves the others.
    """
    compiled: LRUCache[Any, Any] = LRUCache(2000)
    Engine._compiled_cache = property(lambda _: compiled, lambda *_: None)  # type: ignore[assignment]
    PGDialectAsync_psycopg.__hash__ = lambda dialect: hash(type(dialect))  # type: ignore[assignment,method-assign]
    PGDialectAsync_psycopg.__eq__ = lambda dialect, other: type(dialect) is type(other)  # type: ignore[method-assign]


def _hash_passwords_fast() -> None:
    """At the least that argon2id can cost; production's takes 0.25 s."""
    cheap = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords._hasher = PasswordHash((cheap, BcryptHasher()))
