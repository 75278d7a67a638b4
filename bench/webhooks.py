"""How fast others are told: `python -m bench.webhooks [--quick]`.

Announcements are written as everything that happens writes them, and delivered by a worker as production runs
it, through Temporal, the wall, signatures and the egress guard. Nothing is asserted about time; but a run in
which something was not told counts for nothing.
"""

import argparse
import asyncio
import secrets
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from httpx2 import AsyncClient
from sqlalchemy import text

from bench.harness import Case, report
from bench.run import run
from bench.stack import Stack, expect
from dev.process import Process, free_port, listens
from domain.announcements import Announcement, AnnouncementType
from domain.failures import Category, Failure, Subject
from domain.secrets import Sealer
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import failures
from models.queries.announcing import announce
from models.webhooks import Webhook
from settings import DEVELOPMENT_ENCRYPTION_KEY

SIZE = 20_000
A_TRANSACTION = 200  # Announcements that happen together.
STEADY = 20.0  # Seconds for which a healthy endpoint is watched beside one that hangs,
A_SECOND = 50  # and so many announcements a second for both.
DEADLINE = 120.0
AT_ONCE = 16  # Connections of the bare client, as many as one webhook has.


async def main(quick: bool) -> None:
    size, steady = (2_000, 5.0) if quick else (SIZE, STEADY)
    with Stack() as stack:
        stack.make_template(10)
        cases = [
            await deliveries(stack, size),
            await neighbour(stack, steady),
            await first_alert(stack, size),
        ]
    report("webhooks", cases, keep=not quick)


@contextmanager
def a_sink(stack: Stack) -> Iterator[tuple[str, Process]]:
    port = free_port()
    log = stack.folder / "logs" / "webhook-sink.log"
    command = [sys.executable, "-m", "bench.webhook_sink", str(port)]
    sink = Process("webhook sink", command, log=log, note=stack.folder / "run" / "webhook-sink.json")
    sink.start()
    try:
        sink.wait_until(lambda: listens(port))
        yield f"http://127.0.0.1:{port}", sink
    finally:
        sink.stop()


@asynccontextmanager
async def nobody_answers() -> AsyncIterator[str]:
    """An endpoint that takes every connection and says nothing."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hang"


async def a_webhook(sessions: Sessions, url: str, types: Sequence[str] = ("message.*",)) -> None:
    id_ = uuid4()
    secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
    sealed = Sealer.of(DEVELOPMENT_ENCRYPTION_KEY).seal(secret, f"webhook:{id_}")
    async with sessions(DEFAULT_WORKSPACE) as db:
        here = {"workspace_id": DEFAULT_WORKSPACE, "id": id_}
        db.add(Webhook(**here, name="sink", url=url, event_types=[*types], secret=sealed))


async def tell(sessions: Sessions, first: int, n: int) -> None:
    told = [
        Announcement(
            AnnouncementType.MESSAGE_ACCEPTED,
            {"message_id": str(uuid4()), "nth": nth, "channel": "email", "campaign_id": str(uuid4())},
        )
        for nth in range(first, first + n)
    ]
    async with sessions(DEFAULT_WORKSPACE) as db:
        await announce(db, DEFAULT_WORKSPACE, told, datetime.now(UTC))


async def seen(url: str) -> dict[str, Any]:
    async with AsyncClient() as client:
        found: dict[str, Any] = (await client.get(f"{url}/seen")).json()
    of_ours: dict[str, Any] = found.get("/hook", {"taken": 0, "bodies": 0})
    return of_ours


async def until_told(url: str, size: int) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE
    while (found := await seen(url))["bodies"] < size:
        expect(time.monotonic() < deadline, f"{found['bodies']:,} of {size:,} were told in {DEADLINE:.0f} s")
        await asyncio.sleep(0.2)
    expect(found["taken"] == size, f"{found['taken']:,} posts for {size:,} announcements: some came twice")
    return found


async def deliveries(stack: Stack, size: int) -> Case:
    """A backlog of announcements to one webhook, from the first that arrives to the last."""
    sessions = stack.fresh()
    with (
        a_sink(stack) as (url, sink),
        stack.worker("bench.worker", "null", egress_networks="127.0.0.0/8") as w,
    ):
        await a_webhook(sessions, f"{url}/hook")
        alone = await by_a_bare_client(url, size // 2)
        meter = stack.meter(w, sink=sink)
        for first in range(0, size, A_TRANSACTION):
            await tell(sessions, first, A_TRANSACTION)
        found = await until_told(url, size)
        cpu = meter.read()
        await settled(sessions, size)
    await sessions.close()
    seconds = found["last"] - found["first"]
    beside = {
        "the sink by a bare client": alone,
        "seconds": seconds,
        "CPU seconds": cpu,
    }
    return Case("deliveries", size / seconds, "/s", 1_500, "higher", beside)


async def settled(sessions: Sessions, size: int) -> None:
    """Wait until the books say so, too, each by its first try."""
    deadline = time.monotonic() + DEADLINE
    asked = text("select count(*) from webhook_deliveries where state = 'delivered' and attempts = 1")
    while True:
        async with sessions(DEFAULT_WORKSPACE) as db:
            n = await db.scalar(asked)
        if n == size:
            return
        expect(time.monotonic() < deadline, f"{n:,} of {size:,} are settled")
        await asyncio.sleep(0.2)


async def by_a_bare_client(url: str, n: int) -> float:
    """Posts a second by a program that does nothing else, on as many kept connections."""
    port = int(url.rpartition(":")[2])
    body = b'{"type":"x","timestamp":"2026-03-01T12:00:00.000000Z","data":{"nth":1,"channel":"email"}}'
    head = (
        b"POST /bare HTTP/1.1\r\nHost: sink\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    asked, left = head % len(body) + body, n

    async def post() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while left > 0:
            left -= 1
            writer.write(asked)
            await reader.readuntil(b"\r\n\r\n{}")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(post() for _ in range(AT_ONCE)))
    return n / (time.perf_counter() - began)


async def neighbour(stack: Stack, seconds: float) -> Case:
    """How long announcements are on their way to a healthy endpoint, while another never answers.

    The first one has a workflow started, and is told for itself.
    """
    sessions, told = stack.fresh(), 1
    with a_sink(stack) as (url, _), stack.worker("bench.worker", "null", egress_networks="127.0.0.0/8"):
        async with nobody_answers() as hanging:
            await a_webhook(sessions, hanging)
            await a_webhook(sessions, f"{url}/hook")
            await tell(sessions, 0, 1)
            await until_told(url, 1)
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                await tell(sessions, told, A_SECOND // 10)
                told += A_SECOND // 10
                await asyncio.sleep(0.1)
            found = await until_told(url, told)
    await sessions.close()
    first, *others = (1000 * each for each in found["delays"])
    delays = sorted(others)
    p99 = delays[int(len(delays) * 0.99)]
    beside = {
        "median": delays[len(delays) // 2],
        "worst": delays[-1],
        "the first": first,
        "announcements": told,
    }
    return Case("neighbour p99", p99, "ms", 1_000, "lower", beside)


async def first_alert(stack: Stack, size: int) -> Case:
    """From the first of many messages that failed to the alert that tells of it."""
    sessions = stack.fresh()
    with a_sink(stack) as (url, _), stack.worker("bench.worker", "null", egress_networks="127.0.0.0/8"):
        await a_webhook(sessions, f"{url}/hook", ["job.failed"])
        began = time.time()
        for first in range(0, size, A_TRANSACTION):
            failed = [
                Failure(
                    Subject.MESSAGE,
                    str(uuid4()),
                    Category.PROVIDER,
                    "550 5.7.1 Not today",
                    "Ask the provider why.",
                    occasion=str(nth),
                )
                for nth in range(first, first + A_TRANSACTION)
            ]
            async with sessions(DEFAULT_WORKSPACE) as db:
                await failures.note(db, DEFAULT_WORKSPACE, failed, datetime.now(UTC))
        wrote = time.time() - began
        deadline = time.monotonic() + DEADLINE
        while not (found := await seen(url))["taken"]:
            expect(time.monotonic() < deadline, "nobody told of the failures")
            await asyncio.sleep(0.1)
    await sessions.close()
    beside = {"failures": size, "seconds to write them": wrote}
    return Case("first alert", 1000 * (found["first"] - began), "ms", 5_000, "lower", beside)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.webhooks", description="How fast others are told")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    run(main(parser.parse_args().quick))
