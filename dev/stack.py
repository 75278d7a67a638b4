"""The supervisor behind `make dev`: starts every part, watches over them, and stops them all.

What it started with (ports it really got, generated passwords) stands in `.campanile/stack.env`, where every
process of this clone reads it. One stack runs in a clone at a time; a lock that the kernel holds says so.
"""

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from dev.first_key import first_owner
from dev.places import ROOT
from dev.postgres import APP, ENGINE, OWNER, Postgres
from dev.process import Lock, Process, StackError, end_remembered, free_port, remember, remembered
from dev.temporal import Temporal
from settings import STACK_ENV, Settings

DATABASE = "campanile"
PATIENCE = {"worker": 12.0, "API": 8.0}  # Seconds to finish what is in hand.
LONGEST_PAUSE = 30.0  # Seconds between two starts of a part that keeps crashing.
START = 120.0  # Seconds that a program may take to be ready, on a machine that has much else to do.
STEADY = 60.0  # After so many seconds a part counts as well again.

Say = Callable[[str], None]


class Running(StackError):
    """This clone's stack runs already."""


class Part(Protocol):
    """Something that runs: a server, or a program of ours."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def running(self) -> bool: ...


@dataclass
class Program:
    """A command of ours in a process of its own; `start` returns when `ready()`."""

    process: Process
    ready: Callable[[], bool]
    patience: float = 10

    def start(self) -> None:
        self.launch()
        self.process.wait_until(self.ready, START)

    def launch(self) -> None:
        """Start it without waiting until it is ready."""
        if self.process.child:
            self.process.kill()  # What it started may have outlived it, and hold its port.
        self.process.start()

    def stop(self) -> None:
        self.process.stop(patience=self.patience)

    @property
    def running(self) -> bool:
        return self.process.running


@dataclass
class Watched:
    """A part as the supervisor sees it."""

    name: str
    part: Part
    crashes: int = 0
    started_at: float = field(default_factory=time.monotonic)
    again_at: float | None = None


class Stack:
    """The whole stack. Enter it (`with`) to start, leave it to stop; `watch` in between.

    `settings` hold wishes for ports; `addresses` says what became of them, under the settings' names.
    """

    def __init__(self, settings: Settings, say: Say = print) -> None:
        self.settings = settings
        self.say = say
        self.state = settings.state
        self.lock = Lock(self.state / "run" / "stack.lock")
        self.note = self.state / "run" / "stack.json"
        self.file = self.state / STACK_ENV
        self.parts: list[Watched] = []
        self.addresses: dict[str, str] = {}
        self.stopping = threading.Event()

    def __enter__(self) -> "Stack":
        if not self.lock.take():
            raise Running(f"the stack of this clone runs already (process {remembered(self.note)})")
        remember(self.note, os.getpid())
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.file.unlink(missing_ok=True)
        for note in (self.state / "run").glob("*.json"):
            if note != self.note:
                end_remembered(note)  # Worker and API first, so that they let go of the servers.
        self.choose_addresses()
        self.start_database()
        self.start_temporal()
        programs = [("mailbox", self.mailbox()), ("API", self.api()), ("worker", self.worker())]
        for name, program in programs:
            self.parts.append(Watched(name, program))
            program.launch()
        for name, program in programs:
            program.process.wait_until(program.ready, START)
            self.say(f"{name} is ready")
        self.write_file()

    def beside(self, name: str, part: Part, addresses: dict[str, str]) -> None:
        """Start one part more and watch over it; `addresses` say where it is."""
        self.parts.append(Watched(name, part))
        part.start()
        self.addresses |= addresses
        self.write_file()
        self.say(f"{name} is ready")

    def stop(self) -> None:
        """Stop every part, the last one first. Whoever stops slowly is ended."""
        self.file.unlink(missing_ok=True)
        while self.parts:
            self.parts.pop().part.stop()
        self.note.unlink(missing_ok=True)
        self.lock.release()

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Start again what crashes, with growing pauses, until `stopping` is set or `until()`."""
        while not self.stopping.wait(0.25) and not until():
            for watched in self.parts:
                self.look_after(watched)

    def look_after(self, watched: Watched) -> None:
        now = time.monotonic()
        if watched.part.running:
            if watched.crashes and now - watched.started_at > STEADY:
                watched.crashes = 0
        elif watched.again_at is None:
            pause = min(2.0**watched.crashes, LONGEST_PAUSE) - 1
            watched.crashes += 1
            watched.again_at = now + pause
            self.say(f"{watched.name} ended{self.code(watched)}; starting it again in {pause:.0f} s")
        elif now >= watched.again_at:
            watched.again_at, watched.started_at = None, now
            try:
                watched.part.start()
            except StackError as error:
                self.say(str(error))
            else:
                self.say(f"{watched.name} runs again")

    def code(self, watched: Watched) -> str:
        match watched.part:
            case Program(process=process):
                return f" ({process.end_in_words()})"
        return ""

    # What the parts are.

    def choose_addresses(self) -> None:
        """Ports: the settings' wishes where they are free."""
        settings = self.settings
        taken: set[int] = set()
        smtp = urlsplit(settings.smtp_url).port or 1025
        for name, wish in (
            ("PORT", settings.port),
            ("TRACKING_PORT", settings.tracking_port),
            ("SMTP_PORT", smtp),
            ("RELAY_PORT", smtp + 1),  # The mailbox's, too: the demo's provider that gives up.
            ("MAILBOX_PORT", urlsplit(settings.mailbox_url).port or 8025),
        ):
            port = self.free(name, wish, taken)
            self.addresses[name] = str(port)
        api = f"http://127.0.0.1:{self.addresses['PORT']}"
        public = settings.public_url
        self.addresses |= {
            "API_URL": api,
            "PUBLIC_URL": api if public == Settings.model_fields["public_url"].default else public,
            "SMTP_URL": f"smtp://127.0.0.1:{self.addresses.pop('SMTP_PORT')}",
            "RELAY_URL": f"smtp://127.0.0.1:{self.addresses.pop('RELAY_PORT')}",
            "EGRESS_NETWORKS": settings.egress_networks or "127.0.0.0/8",  # The lab's.
            "MAILBOX_URL": f"http://127.0.0.1:{self.addresses.pop('MAILBOX_PORT')}",
        }

    def free(self, name: str, wish: int, taken: set[int]) -> int:
        port = free_port(0 if wish in taken else wish)
        taken.add(port)
        self.tell_port(name, wish, port)
        return port

    def tell_port(self, name: str, wish: int, got: int) -> None:
        if wish and got != wish:
            self.say(f"Port {wish} ({name}) is in use: taking {got}")

    def start_database(self) -> None:
        """PostgreSQL, its database, and the newest migration."""
        wish = port_of(self.settings.database_url, 5433)
        database = Postgres(port=wish)
        self.parts.append(Watched("PostgreSQL", database))
        database.start()
        self.tell_port("PostgreSQL", wish, database.port)
        for name, role in (("", APP), ("ENGINE_", ENGINE), ("ADMIN_", OWNER)):
            self.addresses[f"{name}DATABASE_URL"] = database.url(DATABASE, role)
        if DATABASE not in database.databases():
            database.create_database(DATABASE)
            database.let_go()
        self.say("PostgreSQL is ready")
        # In a process of its own: this one stays, and would keep the memory that migrations take.
        done = subprocess.run(
            [sys.executable, "-m", "cli", "migrate"],
            env={**os.environ, **self.addresses},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(f"the migrations fail: {done.stderr.strip().removeprefix('campanile: ')}")
        owner = first_owner(self.addresses["ENGINE_DATABASE_URL"], self.state / "owner.json")
        self.addresses |= {"API_KEY": owner.key, "API_PUBLIC_KEY": owner.public_key}

    def start_temporal(self) -> None:
        wish = port_of(f"//{self.settings.temporal_address}", 7233)
        ui_wish = port_of(self.settings.temporal_ui_url, 8233)
        temporal = Temporal(
            self.state / "temporal" / "temporal.db", wish, ui_wish, folder=self.state / "logs"
        )
        self.parts.append(Watched("Temporal", temporal))
        temporal.start()
        self.tell_port("Temporal", wish, temporal.port)
        self.tell_port("Temporal's web UI", ui_wish, temporal.ui_port)
        self.addresses["TEMPORAL_ADDRESS"] = temporal.address
        self.addresses["TEMPORAL_UI_URL"] = temporal.ui_url
        self.say("Temporal is ready")

    def mailbox(self) -> Program:
        url = self.addresses["MAILBOX_URL"]
        command = ["dev.mailbox", str(self.state / "mailbox")]
        names = ("SMTP_URL", "RELAY_URL", "MAILBOX_URL")
        command += [str(port_of(self.addresses[name], 0)) for name in names]
        return self.program("mailbox", command, lambda: is_up(f"{url}/health"))

    def api(self) -> Program:
        url = self.addresses["API_URL"]
        return self.program("API", ["cli", "api"], lambda: is_up(f"{url}/health"))

    def worker(self) -> Program:
        log = self.log("worker")
        begin = log.stat().st_size if log.exists() else 0

        def ready() -> bool:
            with log.open("rb") as file:
                file.seek(begin)
                return b"The worker is ready" in file.read()

        return self.program("worker", ["cli", "worker"], ready)

    def program(self, name: str, module: list[str], ready: Callable[[], bool]) -> Program:
        process = Process(
            name,
            [sys.executable, "-m", *module],
            log=self.log(name.lower()),
            note=self.state / "run" / f"{name.lower()}.json",
            environment={**self.addresses, "PYTHONUNBUFFERED": "1"},
            folder=ROOT,
        )
        return Program(process, ready, PATIENCE.get(name, 5.0))

    def log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"

    def write_file(self) -> None:
        """Tell every other process of this clone where everything is."""
        new = self.file.with_suffix(".new")
        new.touch(mode=0o600)
        lines = [f"{name}={value}" for name, value in sorted(self.addresses.items())]
        new.write_text("# Written by the embedded stack while it runs.\n" + "\n".join(lines) + "\n")
        new.replace(self.file)


def port_of(url: str, otherwise: int) -> int:
    return urlsplit(url).port or otherwise


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
