"""`smtp-sink` of Debian's postfix: it takes mail as fast as it comes, counts it, and throws it away."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.process import Process, free_port, listens

BACKLOG = 1000


def program() -> str | None:
    """Where it is, or None. Other users than root often lack /usr/sbin in their PATH."""
    return shutil.which("smtp-sink", path=os.environ.get("PATH", "") + ":/usr/sbin")


class Sink:
    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "logs" / "smtp-sink.log"
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [program, "-c", *user, f"127.0.0.1:{self.port}", str(BACKLOG)]
        self.process = Process("smtp-sink", command, log=self.log, note=folder / "run" / "smtp-sink.json")

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def count(self) -> int:
        """How many messages it has taken. It writes a line for each, ended by a carriage return."""
        with self.log.open("rb") as file:
            file.seek(-min(self.log.stat().st_size, 200), os.SEEK_END)
            counts = re.findall(rb"mesg=(\d+)\r", file.read())
        return int(counts[-1]) if counts else 0


@contextmanager
def running(program: str, folder: Path) -> Iterator[Sink]:
    sink = Sink(program, folder)
    sink.log.unlink(missing_ok=True)
    sink.process.start()
    try:
        sink.process.wait_until(lambda: listens(sink.port))
        yield sink
    finally:
        sink.process.stop()
