"""How fast campaigns go out by real providers' clients, and what a provider that is down costs.

The clients talk to `bench.http_sink`, which checks nothing and so is not what is measured; the accounts are
rows like anybody's.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from sqlalchemy import text
from uuid_utils.compat import uuid7

from bench import people
from bench.campaign import campaign
from bench.harness import Case
from bench.stack import Stack, expect
from channels import credentials
from dev.places import ROOT
from dev.process import Process, free_port, listens
from domain.secrets import Sealer
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.providers import Provider, Route
from settings import DEVELOPMENT_ENCRYPTION_KEY

SES = {"region": "eu-west-1"}, {"access_key_id": "AKIALAB", "secret_access_key": "lab-secret"}
SENDGRID = dict[str, str](), {"api_key": "SG.lab"}
ACCOUNTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {"ses": SES, "sendgrid": SENDGRID}
AIMS = {"sendgrid": 20_000, "ses": 12_000}
FEW_CALLS = 200


@dataclass(frozen=True)
class HttpSink:
    """`bench.http_sink`, running."""

    process: Process
    url: str

    @property
    def endpoints(self) -> str:
        return f"ses={self.url},sendgrid={self.url}"

    def counts(self) -> dict[str, dict[str, int]]:
        """{"calls", "messages": by provider}."""
        counts: dict[str, dict[str, int]] = httpx2.get(f"{self.url}/counts").json()
        return counts

    def fail(self, provider: str) -> None:
        httpx2.post(f"{self.url}/fail/{provider}").raise_for_status()


@contextmanager
def running(stack: Stack) -> Iterator[HttpSink]:
    port = free_port()
    process = Process(
        "http sink",
        [sys.executable, "-m", "bench.http_sink", str(port)],
        log=stack.folder / "logs" / "http-sink.log",
        note=stack.folder / "run" / "http-sink.json",
        folder=ROOT,
    )
    process.start()
    try:
        process.wait_until(lambda: listens(port))
        yield HttpSink(process, f"http://127.0.0.1:{port}")
    finally:
        process.stop()


async def an_account(sessions: Sessions, kind: str, priority: int = 1) -> None:
    """An account of this kind, by which the workspace's marketing goes."""
    settings, secrets = ACCOUNTS[kind]
    id_ = uuid7()
    sealed = credentials.seal(Sealer.of(DEVELOPMENT_ENCRYPTION_KEY), secrets, id_)
    here: dict[str, Any] = {"workspace_id": DEFAULT_WORKSPACE}
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = Provider(**here, id=id_, name=kind, kind=kind, channel="email", settings=settings)
        row.credentials = sealed
        # An account of one's own at SES has a limit of its own, which is not what is measured.
        row.rate = 1_000_000.0
        db.add(row)
        await db.flush()
        db.add(Route(**here, channel="email", message_class="marketing", provider_id=id_, priority=priority))


async def measure(stack: Stack, size: int) -> list[Case]:
    """A campaign to so many by each provider, and one whose first provider answers 500 to everything."""
    print(f"Settling {size:,} customers")
    stack.make_template(size)
    return [
        await through(stack, size, "sendgrid"),
        await through(stack, size, "ses"),
        await wasted(stack, size),
    ]


async def through(stack: Stack, size: int, kind: str) -> Case:
    sessions = stack.fresh()
    await an_account(sessions, kind)
    with (
        running(stack) as sink,
        stack.worker("bench.worker", "null", provider_endpoints=sink.endpoints) as worker,
    ):
        run = await campaign(stack, sessions, worker, size, kind, {"sink": sink.process})
        counts = sink.counts()
    await sessions.close()
    taken, accepted = counts["messages"][kind], size - people.suppressed(size)
    expect(taken == accepted, f"{kind} took {taken:,} messages, and {accepted:,} are accepted")
    beside = {**run.beside, "calls": counts["calls"][kind], "worker memory, MB": run.memory}
    return Case(kind, run.rate, "messages/s", AIMS[kind], "higher", beside)


async def wasted(stack: Stack, size: int) -> Case:
    """What a provider that answers 500 to everything is offered before the other one takes all."""
    sessions = stack.fresh()
    await an_account(sessions, "sendgrid")
    await an_account(sessions, "ses", priority=2)
    with (
        running(stack) as sink,
        stack.worker("bench.worker", "null", provider_endpoints=sink.endpoints) as worker,
    ):
        sink.fail("sendgrid")
        run = await campaign(stack, sessions, worker, size, "breaker waste", {}, check=False)
        counts = sink.counts()
    async with sessions(DEFAULT_WORKSPACE) as db:
        found = await db.execute(text("select state, count(*) from messages group by 1"))
    states: dict[str, int] = dict(found.tuples().all())
    await sessions.close()
    expect(states.get("accepted") == counts["messages"]["ses"], f"the ledger has {states}: {counts}")
    expect(set(states) <= {"accepted", "unknown", "skipped"}, f"the ledger has {states}")
    beside = {
        "messages/s": run.rate,
        "unknown": states.get("unknown", 0),
        "accepted by the other": counts["messages"]["ses"],
    }
    return Case("breaker waste", counts["calls"]["sendgrid"], "calls", FEW_CALLS, "lower", beside)
