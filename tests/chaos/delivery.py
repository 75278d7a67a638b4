"""Two providers of the lab beside a site: what they do wrong, what they took, and what they report."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from math import inf
from typing import Any

import httpx2
from uuid_utils.compat import uuid7

from channels import credentials
from dev.places import ROOT
from dev.process import Process, free_port, listens
from domain.secrets import Sealer
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.providers import Provider, Route
from settings import DEVELOPMENT_ENCRYPTION_KEY
from tests.chaos.site import Site
from tests.support import OWNER_OF_ALL

KINDS = ("sendgrid", "ses")
TOPIC = "arn:aws:sns:eu-west-1:123456789012:lab"  # The lab reports on it.
# What goes wrong, in turn, and how often each. All that a provider can do to us is here.
FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 500, "times": 1},
    {"status": 500, "keep": True, "times": 1},  # It took the call over, and fell over the answer.
    {"status": 503, "headers": {"Retry-After": "1"}, "times": 1},
    {"status": 429, "headers": {"Retry-After": "1"}, "times": 1},
    {"cut": "before", "times": 1},
    {"cut": "after", "times": 1},
    {"lost_reply": True, "times": 1},
    {"latency": 0.4, "times": 2},
    {"partial": 0.3, "times": 1},
    {"status": 200, "body": "<html>hello</html>", "keep": True, "times": 1},
)
# What goes wrong with webhooks, all the time.
TWISTS: tuple[dict[str, Any], ...] = (
    {"wrong_signature": True, "after": 1, "times": 1},
    {"stale": 900, "after": 2, "times": 1},
    {"duplicates": 2, "after": 3, "times": 2},
    {"disorder": True},
)
EVERY = 0.4  # Seconds between two faults, at least.
PATIENCE = 2.0  # Seconds that a fault waits for a call by its own provider alone.


@dataclass
class Delivery:
    """The lab with SES and SendGrid, an account with each, and the API that takes their webhooks."""

    site: Site
    rate: float  # Messages a second by each provider: so few that every fault has its turn meanwhile.
    kinds: Sequence[str] = KINDS
    struck: Counter[str] = field(default_factory=Counter)
    given: int = 0  # Faults that were asked for, and had their time.

    def __post_init__(self) -> None:
        self.port, self.api_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        self.sink = self.site.folder / "lab.jsonl"
        self._seen = self._counted = 0  # Bytes of it that were counted, and lines in them.
        self.accounts = {kind: uuid7() for kind in self.kinds}
        self.settings = {
            "PROVIDER_ENDPOINTS": ",".join(f"{kind}={self.url}" for kind in (*self.kinds, "sns")),
            "PUBLIC_URL": self.api_url,
            "PORT": self.api_port,
            "EGRESS_NETWORKS": "127.0.0.0/8",
            "RECONCILE_AFTER_SECONDS": 900,
        }
        self.site.more = self.settings

    async def start(self) -> None:
        command = [sys.executable, "-m", "lab.app", "--port", str(self.port), "--keep", str(self.sink)]
        self.lab = Process(
            "provider lab", command, log=self.site.folder / "logs" / "providers.log", folder=ROOT
        )
        self.lab.start()
        self.lab.wait_until(lambda: listens(self.port))
        self.api = self.site.campanile("api")
        self.api.wait_until(lambda: listens(self.api_port))
        async with httpx2.AsyncClient(base_url=self.api_url, timeout=60, trust_env=False) as api:
            (await api.get("/ready")).raise_for_status()  # The lab is not as patient.
        self.client = httpx2.AsyncClient(base_url=self.url, timeout=30, trust_env=False)
        await self._open_accounts((await self.client.get("/lab/keys")).json())

    async def close(self) -> None:
        with suppress(AttributeError):
            await self.client.aclose()
        for process in (getattr(self, "api", None), getattr(self, "lab", None)):
            if process:
                process.kill()

    async def _open_accounts(self, keys: dict[str, str]) -> None:
        sealer = Sealer.of(DEVELOPMENT_ENCRYPTION_KEY)
        given: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
            "sendgrid": ({"webhook_key": keys["sendgrid_public_key"]}, {"api_key": "SG.lab"}),
            "ses": (
                {"region": "eu-west-1", "topic_arn": TOPIC},
                {"access_key_id": "AKIALAB", "secret_access_key": "lab-secret"},
            ),
        }
        sessions = Sessions(self.site.database.url, self.site.database.engine_url, pool_size=1)
        async with sessions(DEFAULT_WORKSPACE) as db:
            for kind, id_ in self.accounts.items():
                settings, secrets = given[kind]
                sealed = credentials.seal(sealer, secrets, id_)
                row = Provider(
                    workspace_id=DEFAULT_WORKSPACE,
                    id=id_,
                    name=kind,
                    kind=kind,
                    channel="email",
                    settings=settings,
                    credentials=sealed,
                    rate=self.rate,
                )
                db.add(row)
                await db.flush()
                for message_class in ("marketing", "transactional"):
                    db.add(
                        Route(
                            workspace_id=DEFAULT_WORKSPACE,
                            channel="email",
                            message_class=message_class,
                            provider_id=id_,
                        )
                    )
        await sessions.close()
        for kind, id_ in self.accounts.items():
            plan = {"delivered": 1.0}
            hook = {"provider": kind, "url": f"{self.api_url}/hooks/{id_}", "plan": plan, "delay": 0.5}
            listening = await self.client.post("/lab/webhooks", json={**hook, "batch": 100})
            assert listening.is_success, listening.text
            for twist in TWISTS:
                await self.fail({**twist, "provider": kind})

    # What goes wrong.

    async def fail(self, fault: dict[str, Any]) -> None:
        (await self.client.post("/lab/faults", json=fault)).raise_for_status()

    async def misbehave(self, until: asyncio.Event, gap: int) -> None:
        """One fault after the other, the whole list at least once; each time at another provider.

        The next one waits until this one struck, and so many messages were taken: whatever the machine's
        speed, most calls go well. One whose provider rests for long is given to the others as well: else
        all that is left might go by them meanwhile, and nothing would meet the last faults."""
        clock = asyncio.get_running_loop().time
        for nth, fault in enumerate(cycle(FAULTS)):
            self.given = nth
            if until.is_set() and nth >= len(FAULTS):
                return
            kind = self.kinds[(nth + nth // len(FAULTS)) % len(self.kinds)]
            before = self.taken_so_far()
            await self.fail({**fault, "provider": kind})
            await asyncio.sleep(EVERY)
            patient_until = clock() + PATIENCE
            while not until.is_set() and (self.taken_so_far() < before + gap or await self.unmet(fault)):
                if clock() > patient_until:
                    patient_until = inf
                    for other in {*self.kinds} - {kind}:
                        await self.fail({**fault, "provider": other})
                with suppress(TimeoutError):
                    await asyncio.wait_for(until.wait(), EVERY / 4)

    async def unmet(self, fault: dict[str, Any]) -> bool:
        """Whether it still waits for a call that it can strike."""
        given = (await self.client.get("/lab/faults")).json()
        return not any(named(each) == named(fault) and each["struck"] for each in given)

    async def behave(self) -> None:
        """Nothing goes wrong any more."""
        faults = (await self.client.get("/lab/faults")).json()
        for fault in faults:
            self.struck[named(fault)] += fault["struck"]
        await self.client.delete("/lab/faults")

    async def tell_again(self) -> None:
        """Report all that was taken, as it should have been: forged and stale ones were refused for good."""
        for kind in self.kinds:
            fire = {"provider": kind, "event": "delivered", "wait": False}
            (await self.client.post("/lab/fire", json=fire)).raise_for_status()

    async def told_everything(self, within: float) -> None:
        """Wait until the lab has reported all that it took, and all of that is settled."""

        async def pending() -> int:
            return int((await self.client.get("/lab/webhooks")).json()["pending"])

        end = asyncio.get_running_loop().time() + within
        while await pending() or self.site.ask("select 1 from hooks limit 1"):
            assert asyncio.get_running_loop().time() < end, "webhooks are still under way"
            await asyncio.sleep(0.1)

    async def mended(self) -> None:
        """An operator says that the providers are well again: nobody waits for what is left of a pause."""
        async with httpx2.AsyncClient(base_url=self.api_url, timeout=30, trust_env=False) as api:
            api.headers["Authorization"] = f"Bearer {OWNER_OF_ALL.key}"
            for id_ in self.accounts.values():
                (await api.post(f"/api/v1/providers/{id_}/release")).raise_for_status()

    # What came of it.

    def taken_so_far(self) -> int:
        """How many messages the lab took over, counting only what is new since the last call."""
        with suppress(FileNotFoundError), self.sink.open("rb") as file:
            file.seek(self._seen)
            new = file.read()
            self._seen += len(new)
            self._counted += new.count(b"\n")
        return self._counted

    def taken(self) -> Iterator[tuple[str, str, str]]:
        """(provider, our id, recipient) of each message that the lab took over, in order."""
        with suppress(FileNotFoundError):
            whole, _, _ = self.sink.read_bytes().rpartition(b"\n")  # The lab may be in the middle of a line.
            for line in whole.splitlines():
                kept = json.loads(line)
                yield kept["provider"], kept["own"], kept["recipient"]


@dataclass(frozen=True)
class Books:
    """Lab and ledger side by side, by message."""

    taken: Counter[str]  # How often the lab took each.
    states: dict[str, str]

    @classmethod
    def of(cls, delivery: Delivery) -> "Books":
        lines = delivery.site.ledger()
        return cls(Counter(own for _, own, _ in delivery.taken()), {line.id: line.state for line in lines})

    @property
    def twice(self) -> list[str]:
        return [id_ for id_, n in self.taken.items() if n > 1]

    @property
    def lost(self) -> list[str]:
        """Called accepted, and nobody has them."""
        return [id_ for id_, state in self.states.items() if state == "accepted" and not self.taken[id_]]

    @property
    def untold(self) -> list[str]:
        """Taken, and neither accepted nor unknown in the ledger."""
        fine = ("accepted", "unknown")
        return [id_ for id_ in self.taken if self.states.get(id_) not in fine]

    def unknown(self, *, taken: bool) -> list[str]:
        """Unknown in the ledger: those that the lab has, or those that it never got."""
        return [i for i, state in self.states.items() if state == "unknown" and bool(self.taken[i]) is taken]

    def counts(self) -> Counter[str]:
        return Counter(self.states.values())


def named(fault: dict[str, Any]) -> str:
    """What a fault is called in a summary."""
    if fault.get("lost_reply"):
        return "lost_reply"
    for name in ("cut", "status", "partial", "latency"):
        if fault.get(name):
            return f"{name} {fault[name]}" + (" kept" if fault.get("keep") else "")
    return next(name for name in ("wrong_signature", "stale", "duplicates", "disorder") if fault.get(name))
