"""The set-up's commands: they take turns on the terminal, and a failure is one sentence.

Standard library only: the set-up uses it before there is more.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from dev.places import ROOT
from dev.process import tied

Command = Sequence[str | Path]

PATIENCE = 10.0  # Seconds for a command to end once it was told to.


class SetupError(Exception):
    """This machine can't be set up as it is; the message says what to do."""


class Terminal:
    """Lines that stay, and below them at most one that the next replaces; any thread may say something."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.turn = threading.Lock()
        self.passing = ""

    def say(self, what: str) -> None:
        with self.turn:
            wipe = "\r\x1b[K" if self.passing else ""
            self.write(f"{wipe}{what}\n{self.passing}")

    def progress(self, what: str, end: bool = False) -> None:
        """A line that the next one replaces, where there is somebody to see it; `end` makes it stay."""
        if not self.out.isatty():
            self.say(f"  {what}")
            return
        with self.turn:
            self.passing = "" if end else f"  {what}"
            self.write(f"\r\x1b[K  {what}" + ("\n" if end else ""))

    def write(self, what: str) -> None:
        self.out.write(what)
        self.out.flush()


terminal = Terminal()
say, progress = terminal.say, terminal.progress


class Beside:
    """A command of ours that runs while we do something else, and ends when we leave (`with`), if not before.

    What it prints is said line by line, as it comes; what it says of a failure is kept for `finish`.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self.complaint = ""

    def __enter__(self) -> "Beside":
        self.child = subprocess.Popen(
            tied(self.command),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # So that all it started can be told to stop, and none of us.
        )
        self.readers = [threading.Thread(target=read, daemon=True) for read in (self.relay, self.listen)]
        for reader in self.readers:
            reader.start()
        return self

    def relay(self) -> None:
        assert self.child.stdout
        for line in self.child.stdout:
            say(line.rstrip())

    def listen(self) -> None:
        assert self.child.stderr
        self.complaint = self.child.stderr.read()

    def finish(self) -> None:
        """Wait until it is done. Raises SetupError with what it said when it failed."""
        self.child.wait()
        for reader in self.readers:
            reader.join()
        if self.child.returncode:
            last = self.complaint.strip().splitlines()[-1:]
            raise SetupError(
                last[0].removeprefix("campanile: ")
                if last
                else f"`{in_words(self.command)}` ended early ({self.child.returncode}): run it again"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.child.poll() is None:
            self.tell(signal.SIGINT)  # As Ctrl-C would: what it was building is cleared away.
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(PATIENCE)
            self.tell(signal.SIGKILL)
            self.child.wait()

    def tell(self, what: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, what)


def run(command: Command, environment: Mapping[str, str] | None = None) -> None:
    """Raises SetupError, with what the command said last, when it fails."""
    done = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    check(command, done.returncode, done.stderr)


def check(command: Command, code: int, said: str) -> None:
    if code:
        last = said.strip().splitlines()[-1:] or ["it said nothing"]
        reason = last[0].strip(" ╰─▶")  # uv draws a tree.
        raise SetupError(f"`{in_words(command)}` failed ({reason}): mend that and run it again")


def in_words(command: Command) -> str:
    return " ".join(map(str, command))
