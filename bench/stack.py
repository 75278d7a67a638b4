"""What a benchmark runs on: PostgreSQL and Temporal as `make dev` starts them, with data of their own.

Neither is tuned for a benchmark. The worker is a process of its own, so that its memory is its own.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from bench import people
from dev.migrations import migrate
from dev.places import ROOT, state
from dev.postgres import APP, ENGINE, OWNER, Postgres
from dev.process import Process, StackError
from dev.temporal import Temporal
from models.base import Sessions

FOLDER = Path("bench")  # In the folder of state.
TEMPLATE = "bench_template"
DATABASE = "bench"


class Stack:
    """The servers. `make_template` says who lives in each `fresh` database that follows."""

    database = DATABASE

    def __init__(self, data: str = "bench") -> None:
        self.folder = state() / FOLDER
        self.postgres = Postgres(data)
        self.temporal = Temporal(self.folder / "temporal.db", folder=self.folder / "logs")

    def __enter__(self) -> "Stack":
        self.postgres.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.temporal.stop()
        for name in (DATABASE, TEMPLATE):
            self.postgres.drop_database(name)
        self.postgres.stop()

    def make_template(self, size: int) -> None:
        """A database made by the migrations, in which `size` profiles live, and nothing happened yet."""
        self.postgres.drop_database(TEMPLATE)
        self.postgres.create_database(TEMPLATE)
        migrate(self.postgres.url(TEMPLATE, OWNER))
        with self.postgres.connect(TEMPLATE) as db:
            people.settle(db, size)

    def fresh(self) -> Sessions:
        """Begin anew: a clone of the template, and a Temporal server that has seen no workflow."""
        self.postgres.drop_database(DATABASE)
        self.postgres.create_database(DATABASE, TEMPLATE)
        with self.postgres.connect(DATABASE) as db:
            db.execute("checkpoint")  # What writing the clone left to do is not the benchmark's to pay.
        self.forget_workflows()
        return self.sessions()

    def forget_workflows(self) -> None:
        """Start a Temporal server that has seen no workflow."""
        self.temporal.stop()
        for leftover in self.folder.glob("temporal.db*"):
            leftover.unlink()
        self.temporal.start()

    def sessions(self) -> Sessions:
        return Sessions(self.postgres.url(self.database, APP), self.postgres.url(self.database, ENGINE))

    @contextmanager
    def worker(self, *command: str, **environment: object) -> Iterator[Process]:
        """A worker on the fresh database: `python -m` these words. `environment` holds settings."""
        log = self.folder / "logs" / "worker.log"
        log.unlink(missing_ok=True)
        process = Process(
            "worker",
            [sys.executable, "-m", *command],
            log=log,
            note=self.folder / "run" / "worker.json",
            environment={
                "DATABASE_URL": self.postgres.url(self.database, APP),
                "ENGINE_DATABASE_URL": self.postgres.url(self.database, ENGINE),
                "TEMPORAL_ADDRESS": self.temporal.address,
                **{name.upper(): str(value) for name, value in environment.items()},
            },
            folder=ROOT,
        )
        process.start()
        try:
            process.wait_until(lambda: b"The worker is ready" in log.read_bytes())
            yield process
        finally:
            process.stop()

    def meter(self, worker: Process, **others: Process) -> "Meter":
        parts = {"worker": worker, "postgresql": server(self.postgres), "temporal": server(self.temporal)}
        return Meter({name: pid(part) for name, part in {**parts, **others}.items()})


@dataclass
class Meter:
    """CPU seconds, in user and system mode, that each part with its children has used since `start`.

    `stolen` is what a virtual machine's host gave to its other guests meanwhile.
    """

    pids: dict[str, int]

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.before = self.so_far()

    def read(self) -> dict[str, float]:
        return {name: round(now - self.before[name], 3) for name, now in self.so_far().items()}

    def so_far(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()} | {
            "stolen": float(psutil.cpu_times().steal)
        }


def cpu_seconds(pid: int) -> float:
    process = psutil.Process(pid)
    times = process.cpu_times()
    used = times.user + times.system + times.children_user + times.children_system
    for child in process.children():
        try:
            used += cpu_seconds(child.pid)
        except psutil.NoSuchProcess:  # It ended meanwhile, and is in its parent's sum the next time.
            continue
    return float(used)


def peak_memory(process: Process) -> float:
    """The most that it and each of its children have had in memory, in MB of 10^6 bytes."""
    family = psutil.Process(pid(process))
    return sum(_peak(each.pid) for each in (family, *family.children(recursive=True)))


def _peak(number: int) -> float:
    """VmHWM of proc_pid_status(5)."""
    for line in Path(f"/proc/{number}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise StackError("this kernel does not tell how much memory a process has had")


def server(part: Postgres | Temporal) -> Process:
    if part.process is None:
        raise StackError("a server was to be measured before it was started")
    return part.process


def pid(process: Process) -> int:
    if process.child is None:
        raise StackError(f"{process.name} was to be measured before it was started")
    return process.child.pid


def expect(holds: bool, otherwise: str) -> None:
    """A figure is worth nothing if the work behind it was not done: raises StackError with what is wrong."""
    if not holds:
        raise StackError(otherwise)
