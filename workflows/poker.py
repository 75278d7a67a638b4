"""The poker: it tells workflows of pokes that no slice under way has heard, sets the alarms of scheduled
campaigns in Temporal, and starts what was forgotten.

One process of the installation pokes at a time (an advisory lock); it waits for NOTIFY, and looks every
ten seconds in case one was lost. Each workflow costs a signal, so there are at most twenty a second.
"""

import asyncio
import time
from datetime import timedelta

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError
from temporalio.client import Client
from temporalio.service import RPCError

from domain.clock import Clock
from domain.messages import SourceKind, Work
from models.base import Sessions
from models.listener import heard
from models.queries import attributes, imports, pokes
from models.queries.pokes import Poked
from workflows import (
    campaigns,
    flows,
    outbox,
    schedules,
    webhooks,
)
from workflows.attributes import start as start_filling
from workflows.imports import start as start_import

LOCK = 0x9045  # The advisory lock's number.
GRACE = 0.25  # Seconds that a slice under way has to take a poke.
LOOK_EVERY = 10.0  # Seconds.
SIGNALS = 20  # A second.
AT_ONCE = 5  # Before it looks again for what is more urgent.
FORGOTTEN = timedelta(seconds=30)  # A file that waits so long is nobody's.

log = structlog.get_logger()


async def poke_forever(sessions: Sessions, client: Client, url: str, clock: Clock) -> None:
    """Poke until cancelled. `url` is the engine's, for the connection that holds the lock and listens."""
    while True:
        try:
            await _poke_while_connected(sessions, client, url, clock)
        except (psycopg.Error, SQLAlchemyError, RPCError, OSError) as error:
            log.warning("The poker lost its connection and tries again", error=str(error))
            await asyncio.sleep(1)


async def _poke_while_connected(sessions: Sessions, client: Client, url: str, clock: Clock) -> None:
    address = url.replace("postgresql+psycopg://", "postgresql://")
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        await connection.execute("listen campanile")
        locked = await (await connection.execute("select pg_try_advisory_lock(%s)", [LOCK])).fetchone()
        if locked != (True,):
            await asyncio.sleep(LOOK_EVERY)
            return
        wait = GRACE  # What was poked before we listened may be too young for the first look.
        while True:
            until = time.monotonic() + LOOK_EVERY
            while (busy := await _signal_some(sessions, client)) and time.monotonic() < until:
                pass
            await schedules.keep(sessions, client, clock.now())
            await _start_imports(sessions, client, clock)
            await _fill_attributes(sessions, client)
            if busy:
                continue
            # All that have come by now are one occasion to look.
            if await heard(connection, wait):
                await asyncio.sleep(GRACE)
            wait = LOOK_EVERY


async def _start_imports(sessions: Sessions, client: Client, clock: Clock) -> None:
    """Start those whose API died, or found no Temporal, before it could, or that somebody ended by hand."""
    async with sessions.engine() as db:
        waiting = await imports.forgotten(db, clock.now() - FORGOTTEN)
    for row in waiting:
        await start_import(client, row)


async def _fill_attributes(sessions: Sessions, client: Client) -> None:
    """Start what the API could not. Starting what is under way does nothing."""
    async with sessions.engine() as db:
        waiting = await attributes.unfilled(db)
    for row in waiting:
        await start_filling(client, row.workspace_id, row.name)


async def _signal_some(sessions: Sessions, client: Client) -> bool:
    """Signal those who come first. Whether there were any that could be told."""
    async with sessions.engine() as db:
        waiting = await pokes.waiting(db, GRACE, AT_ONCE)
    told: list[Poked] = []
    for poke in waiting:
        try:
            await _signal(client, poke)
        except RPCError as error:  # One workflow that can't be told must not hold up all others.
            log.warning("A workflow could not be told", queue=str(poke.queue_id), error=str(error))
        else:
            told.append(poke)
        await asyncio.sleep(1 / SIGNALS)
    if told:
        async with sessions.engine() as db:
            await pokes.answered(db, told)
    return bool(told)


async def _signal(client: Client, poke: Poked) -> None:
    if poke.work is Work.DELIVER:
        await webhooks.wake(client, poke.workspace_id)
        return
    match poke.kind:
        case SourceKind.FLOW:
            await flows.wake(client, poke)
        case SourceKind.CAMPAIGN:
            await campaigns.start(client, poke.workspace_id, poke.queue_id, poke.name, poke.slug)
        case SourceKind.OUTBOX:
            await outbox.wake(client, poke.workspace_id, poke.queue_id)
