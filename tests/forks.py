"""Programs of ours that start at once: forks of a process that has their modules already.

To load what the API or a worker is made of takes 2 to 4 seconds of a processor, and tests start dozens of
them. So each process that runs tests has one beside it that loads all that and does nothing else: it has no
thread, no loop and no connection, and reads no setting. For a program it forks a keeper, which forks the
program and tells how that ended. Environment, session and output are the program's own, and it dies with us.
Tests of how a program starts have real ones.
"""

import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

from dev.launch import PR_SET_PDEATHSIG
from dev.places import ROOT
from dev.process import Process

MODULES = ("cli", "worker", "dev.serving", "api.app", "api.outside", "granian", "uvloop")
NUMBER = 4  # Bytes of what is told: first the program's pid, in the end its exit code.


class Fork(Process):
    """A `Process` of `python -m cli …`, without the seconds that loading takes."""

    def begin(self, log: IO[bytes], environment: dict[str, str]) -> "Forked":
        python, option, module, *words = self.command
        assert (python, option, module, self.folder) == (sys.executable, "-m", "cli", ROOT)
        asked = {"words": words, "environment": environment, "death": self.death}
        ours, keepers = socket.socketpair()
        with keepers:
            socket.send_fds(_source(), [json.dumps(asked).encode()], [keepers.fileno(), log.fileno()])
        return Forked(self.command, ours)


class Forked:
    """A program that was forked, as `subprocess.Popen` would have it."""

    def __init__(self, command: list[str], keeper: socket.socket) -> None:
        self.command, self.keeper = command, keeper
        self.pid = _number(keeper.recv(NUMBER))
        self.code: int | None = None

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            if not select.select([self.keeper], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.command, timeout or 0)
            self.code = _number(self.keeper.recv(NUMBER))
            self.keeper.close()
        return self.code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


def _number(told: bytes) -> int:
    assert len(told) == NUMBER, "what keeps the programs is gone"
    return int.from_bytes(told, signed=True)


class _Sources:
    """The process with the modules, once there is one, and how it is asked."""

    process: subprocess.Popen[bytes] | None = None
    asked: socket.socket


def _source() -> socket.socket:
    if _Sources.process is None:
        _Sources.asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.forks"]
            _Sources.process = subprocess.Popen(
                command, cwd=ROOT, stdin=theirs.fileno(), start_new_session=True
            )
    return _Sources.asked


def end() -> None:
    """Of the process with the modules, and of every program."""
    if _Sources.process:
        _Sources.asked.close()
        _Sources.process.wait()
        _Sources.process = None


# What follows runs in that process, its keepers and the programs.


def serve() -> None:
    """Fork whatever is asked for, until nobody can ask any more."""
    for module in MODULES:
        import_module(module)
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork would have one of these threads"
    with socket.socket(fileno=os.dup(0)) as asked:
        while True:
            said, passed, *_ = socket.recv_fds(asked, 2**20, 2)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not said:
                return
            if not os.fork():
                _keep(json.loads(said), *passed)
            for fd in passed:
                os.close(fd)


def _keep(asked: dict[str, Any], tell: int, log: int) -> NoReturn:
    """Fork the program, and tell how it ends. A process of its own, so that each has somebody who waits."""
    _die_with_parent(signal.SIGKILL)
    program = os.fork()
    if not program:
        _become(asked, tell, log)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    with suppress(BrokenPipeError):
        os.write(tell, code.to_bytes(NUMBER, signed=True))
    os._exit(0)


def _become(asked: dict[str, Any], tell: int, log: int) -> NoReturn:
    os.setsid()
    _die_with_parent(asked["death"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.write(tell, os.getpid().to_bytes(NUMBER, signed=True))
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.execv = _go_on  # type: ignore[assignment]
    _run("cli", asked["words"])


def _go_on(python: str, command: list[str]) -> NoReturn:
    """As another program of ours, without loading it all anew."""
    option, module, *words = command[1:]
    assert (python, option) == (sys.executable, "-m")
    _run(module, words)


def _run(module: str, words: list[str]) -> NoReturn:
    sys.argv = [sys.argv[0], *words]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter would say it
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _die_with_parent(how: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)


if __name__ == "__main__":
    serve()
