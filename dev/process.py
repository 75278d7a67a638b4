"""A child process that is never left behind: it dies with us, and a later run clears up."""

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import IO, NoReturn, Protocol

LAUNCH = Path(__file__).with_name("launch.py")
PATIENCE = 120.0  # Seconds that a process may take to be ready.


class StackError(Exception):
    """A part of the embedded stack can't run; the message says what to do."""


class Child(Protocol):
    """What `subprocess.Popen` is to us."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...


class Process:
    """One program that runs beside us, with its output in `log`.

    `death` is the signal that it gets when we die, whatever the reason. `note` is a file that remembers the
    process, so that the next run can end it if it outlived us all the same. Start it from a thread that
    lives as long as the process should.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        note: Path | None = None,
        user: str = "",
        death: signal.Signals = signal.SIGTERM,
        environment: dict[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log, self.note = log, note
        self.user, self.death = user, death
        self.environment, self.folder = environment, folder
        self.child: Child | None = None
        self.heard = 0  # Bytes in the log that are of an earlier run.

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.heard = log.tell()
            self.child = self.begin(log, {**os.environ, **(self.environment or {})})
        if self.note:
            remember(self.note, self.child.pid)

    def begin(self, log: IO[bytes], environment: dict[str, str]) -> Child:
        """The program, in a session of its own: Ctrl-C at the terminal is for us; we stop it in order."""
        return subprocess.Popen(
            tied(self.command, self.death, self.user),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=self.folder,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As of `subprocess`: negative for a signal, None while it runs or before it did."""
        return self.child.poll() if self.child else None

    def stop(self, how: signal.Signals = signal.SIGTERM, patience: float = 15) -> None:
        """Ask it to stop, and after `patience` seconds end it and what it started."""
        if not self.child:
            return
        if self.running:
            self.child.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(patience)
        self.kill()
        if self.note:
            self.note.unlink(missing_ok=True)

    def kill(self, whole_tree: bool = False) -> None:
        """End it and its session at once, as a crash of the machine would.

        `whole_tree` also ends those of its children that went into sessions of their own.
        """
        if self.child:
            strays = children(self.child.pid) if whole_tree else []
            with suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            for stray in strays:
                with suppress(ProcessLookupError):
                    os.kill(stray, signal.SIGKILL)
            self.child.wait()

    def wait_until(self, ready: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait for `ready()`. Raises StackError when the process ends first or `patience` (s) runs out.

        A process that ends is noticed at once, so that patience is for one that lives: on a machine with much
        else to do it needs minutes for what takes seconds elsewhere.
        """
        deadline = time.monotonic() + patience
        while not ready():
            if not self.running:
                raise StackError(f"{self.name} ended ({self.end_in_words()})")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} is not ready after {patience:.0f} s{busy_in_words()}: {self.last_words()}"
                )
            time.sleep(0.02)

    def end_in_words(self) -> str:
        """How it ended; a program that was killed had nothing to say about it."""
        code = self.exit_code
        if code is None or code >= 0:
            return f"code {code}: {self.last_words()}"
        return f"{signal.Signals(-code).name}; see {self.log}"

    def last_words(self) -> str:
        """The last line of its output that tells of trouble or is plain text, and where the rest is."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(self.heard)
            lines = log.read().decode(errors="replace").strip().splitlines()
            told = [line for line in lines if not is_calm(line)]
            if told:
                return f"{told[-1].strip()[:300]} – see {self.log}"
        return f"see {self.log}"


def is_calm(line: str) -> bool:
    """Whether a line of a log is one of ours and tells of no trouble."""
    with suppress(ValueError):
        said = json.loads(line)
        return isinstance(said, dict) and said.get("level") in ("debug", "info")
    return False


def busy_in_words() -> str:
    """What keeps a process from getting on, if the machine has more to do than it can."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f" (this machine is busy: load {load:.0f} on {cores} cores; try again)" if load > 2 * cores else ""


def tied(
    command: Sequence[str | Path], death: signal.Signals = signal.SIGTERM, user: str = ""
) -> list[str | Path]:
    """The command that runs `command`, as `user`, so that the signal `death` reaches it when we die."""
    return [sys.executable, "-I", "-S", LAUNCH, str(int(death)), str(os.getpid()), user, *command]


class Lock:
    """A file that one process holds at a time; the kernel lets go of it when that process ends, however."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[str] | None = None

    def take(self) -> bool:
        """False when another process holds it. Taking what is ours already is no news."""
        if self.file:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self.file = file
        return True

    def release(self) -> None:
        if self.file:
            self.file.close()
            self.file = None


def remember(note: Path, pid: int) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"pid": pid, "started": started(pid)}))


def remembered(note: Path) -> int | None:
    """The pid in the note if that same process still runs; a pid that another has got since is not it."""
    with suppress(OSError, ValueError, KeyError):
        told = json.loads(note.read_text())
        if told["started"] is not None and told["started"] == started(told["pid"]):
            return int(told["pid"])
    return None


def end_remembered(note: Path, how: signal.Signals = signal.SIGTERM, patience: float = 10) -> bool:
    """End what an earlier run left behind, with its session. True if there was anything."""
    pid = remembered(note)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, how)
        deadline = time.monotonic() + patience
        while remembered(note) and time.monotonic() < deadline:
            time.sleep(0.02)
        if remembered(note):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    note.unlink(missing_ok=True)
    return pid is not None


def children(pid: int) -> list[int]:
    """Whom the process started, as far as they live (proc_pid_task_children(5))."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks since boot (proc_pid_stat(5)); None if it is no more."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    return None


def leave(code: int) -> NoReturn:
    """End a process that used Temporal's client, now, with everything said that was to be said.

    The client's threads may still call into the interpreter while it is being taken down, which aborts it
    (sdk-python issue 300). Nothing of ours is done at exit, so we skip that part.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def free_port(wanted: int = 0, host: str = "127.0.0.1") -> int:
    """`wanted` if nobody listens on it, else one that is free."""
    for port in dict.fromkeys((wanted, 0)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError, OverflowError):
                probe.bind((host, port))
                return int(probe.getsockname()[1])
    raise StackError(f"no port is free on {host}; end some programs and try again")


def listens(port: int, host: str = "127.0.0.1") -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def may_listen(port: int, host: str) -> None:
    """Raises StackError where a program of ours could not listen now; the message says what to do."""
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except ValueError:
        raise StackError(
            f"HOST is {host!r}: set it to an address of this machine, such as 127.0.0.1"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = "end what listens there, or set PORT or TRACKING_PORT"
            raise StackError(f"port {port} is in use: {hint}") from None
        why = os.strerror(error.errno or 0).lower()
        raise StackError(
            f"nobody can listen on port {port} of {host} here ({why}): set HOST, PORT or TRACKING_PORT"
        ) from None
