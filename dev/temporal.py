"""A Temporal development server with its web UI, and a database file that survives restarts."""

import urllib.error
import urllib.request
from pathlib import Path

from dev.places import state
from dev.process import Process, StackError, end_remembered, free_port
from dev.temporal_program import program

NAMESPACE = "default"
SEARCH_ATTRIBUTES = ("CampanileWorkspace", "CampanileKind", "CampanileStatus", "CampanileName")
CONFIGURATION = {
    "matching.enableFairness": "true",  # A big sender must not starve a small one.
    "matching.numTaskqueueReadPartitions": "1",  # One partition keeps fairness and priority exact.
    "matching.numTaskqueueWritePartitions": "1",
    "frontend.rps": "20000",
    "frontend.namespaceRPS": "20000",
    "frontend.enableServerVersionCheck": "false",  # It would ask a host on the internet.
    "limit.maxIDLength": "255",
}
# By default 2,200 goroutines wait for tasks, each with the stack of the largest that it had. They are for
# many shards, and for a cluster that is copied to; this server has one shard, two cores and a file.
FOR_ITS_SIZE = {
    "history.transferProcessorSchedulerWorkerCount": "32",
    "history.timerProcessorSchedulerWorkerCount": "32",
    "history.visibilityProcessorSchedulerWorkerCount": "32",
    "history.memoryTimerProcessorSchedulerWorkerCount": "8",
    "history.ReplicationProcessorSchedulerWorkerCount": "1",
    "history.ReplicationLowPriorityProcessorSchedulerWorkerCount": "1",
}
# Of Go's collector: garbage may be half of what is in use, instead of as much.
COLLECTOR = {"GOGC": "50"}
# A killed server loses nothing with these; a machine that loses power may lose the last moment.
PRAGMAS = ("journal_mode=wal", "synchronous=normal")


class Temporal:
    """One server. `file=None` keeps its state in memory; ports are wishes, as for `Postgres`.

    Start it from a thread that lives as long as the server should.
    """

    def __init__(
        self,
        file: Path | None = None,
        port: int = 0,
        ui_port: int = 0,
        *,
        folder: Path | None = None,
        name: str = "temporal",
    ) -> None:
        self.file = file
        self.port, self.ui_port, self.http_port = port, ui_port, 0
        folder = folder or state() / "logs"
        self.log = folder / f"{name}.log"
        self.note = folder.parent / "run" / f"{name}.json"
        self.process: Process | None = None

    def start(self) -> None:
        """Start it, or start it again on the same ports. Under 1 s once the program is there."""
        end_remembered(self.note)
        self.port, self.ui_port = free_port(self.port), free_port(self.ui_port)
        self.http_port = free_port(self.http_port)
        self.process = Process(
            "Temporal", self.command(), log=self.log, note=self.note, environment=COLLECTOR
        )
        self.process.start()
        self.process.wait_until(self.answers)

    def command(self) -> list[str | Path]:
        command: list[str | Path] = [program(), "server", "start-dev", "--ip", "127.0.0.1"]
        command += ["--port", str(self.port), "--ui-port", str(self.ui_port)]
        command += ["--http-port", str(self.http_port), "--namespace", NAMESPACE]
        command += ["--log-level", "error", "--log-format", "json"]
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            command += ["--db-filename", self.file]
            for pragma in PRAGMAS:
                command += ["--sqlite-pragma", pragma]
        for key, value in {**CONFIGURATION, **FOR_ITS_SIZE}.items():
            command += ["--dynamic-config-value", f"{key}={value}"]
        for attribute in SEARCH_ATTRIBUTES:
            command += ["--search-attribute", f"{attribute}=Keyword"]
        return command

    def stop(self) -> None:
        if self.process:
            self.process.stop()

    def kill(self) -> None:
        """End it as a crash would. With a file, `start` goes on where it was."""
        if self.process:
            self.process.kill()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    @property
    def pid(self) -> int:
        if not self.process or not self.process.child:
            raise StackError("Temporal has not been started")
        return self.process.child.pid

    @property
    def address(self) -> str:
        """host:port for `temporalio.client.Client.connect`."""
        return f"127.0.0.1:{self.port}"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    def answers(self) -> bool:
        """Whether the namespace is there, asked through the frontend's HTTP API."""
        address = f"http://127.0.0.1:{self.http_port}/api/v1/namespaces/{NAMESPACE}"
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
