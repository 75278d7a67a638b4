"""The API as a process that can be killed, and what its database keeps of a visit."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from dev.places import ROOT
from dev.postgres import Postgres
from dev.process import free_port
from dev.stack import is_up
from domain.clock import SystemClock
from models.base import Sessions
from tests.arrivals import pump
from tests.databases import Database
from tests.forks import Fork
from tests.support import OWNER_OF_ALL


@dataclass
class Site:
    """`campanile api` on a database of its own."""

    postgres: Postgres
    database: Database
    folder: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "DATABASE_URL": self.database.url,
            "ENGINE_DATABASE_URL": self.database.engine_url,
            "TEMPORAL_ADDRESS": "127.0.0.1:9",
            "PORT": str(self.port),
            "PUBLIC_URL": self.url,
            "STATE_DIR": str(self.folder),
        }
        command = [sys.executable, "-m", "cli", "api"]
        self.process = Fork("API", command, log=self.folder / "api.log", environment=environment, folder=ROOT)

    def start(self) -> None:
        self.process.start()
        self.process.wait_until(self.answers)

    def answers(self) -> bool:
        return is_up(f"{self.url}/health")

    def kill(self) -> None:
        """As the machine's crash would: with -9."""
        self.process.kill()

    def ask(self, method: str, path: str, **given: Any) -> Any:
        """What the API answers to the owner's key."""
        headers = {"Authorization": f"Bearer {OWNER_OF_ALL.key}"}
        answer = httpx2.request(method, f"{self.url}/api/v1{path}", headers=headers, timeout=30, **given)
        assert answer.is_success, answer.text
        return answer.json()

    def a_public_key(self, *origins: str) -> str:
        """For pages of these origins."""
        self.ask("PATCH", "/workspace", json={"origins": list(origins)})
        return str(self.ask("POST", "/keys", json={"name": "The shop", "kind": "pk"})["key"])

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What the database answers to its superuser, for whom there is no wall."""
        with self.postgres.connect(self.database.name) as db:
            cursor = db.execute(query, values)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def arrived(self) -> list[dict[str, Any]]:
        """What was made durable, in the order in which it came in."""
        return self.rows("select * from inbox order by id")

    async def work_in(self) -> None:
        """Let all that arrived take effect, as the worker's pump does."""
        sessions = Sessions(self.database.url, self.database.engine_url, pool_size=2)
        while (await pump(sessions, SystemClock())).arrivals:
            pass
        await sessions.close()
        assert self.rows("select reason from quarantine") == []

    async def kept(self) -> list[str]:
        """The names of the events that are kept for good, in the order in which they came in."""
        await self.work_in()
        return [str(row["name"]) for row in self.rows("select name from events order by id")]

    def forget(self) -> None:
        """So that the next test sees only what is its own."""
        with self.postgres.connect(self.database.name) as db:
            db.execute("truncate inbox, events, seen, refusals, quarantine, profiles cascade")
