"""Our node package for n8n, built by n8n's own tool with the Node.js that n8n runs on.

It is built where there is no build of what stands here now. Without it n8n runs all the same.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from dev.n8n_program import Program
from dev.places import ROOT
from dev.process import StackError, tied

PACKAGE = ROOT / "n8n" / "n8n-nodes-campanile"
BUILT = PACKAGE / "dist"
SOURCES = ("nodes", "credentials", "icons")
# What the tool needs is pinned with hashes in the package's lock; no script of a dependency is run.
INSTALL = ("ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund")
LONGEST = 600.0  # Seconds, for each of two steps.


def built() -> Path | None:
    """The folder that n8n loads, if there is one."""
    return BUILT if BUILT.is_dir() else None


def is_current() -> bool:
    """Whether nothing here is newer than what was built."""
    made = BUILT / "package.json"
    if not made.exists():
        return False
    sources = [path for folder in SOURCES for path in (PACKAGE / folder).rglob("*") if path.is_file()]
    return all(path.stat().st_mtime <= made.stat().st_mtime for path in [*sources, PACKAGE / "package.json"])


def build(program: Program, log: Path, say: Callable[[str], None] = print) -> None:
    """Build it, if need be. Raises StackError."""
    if not (PACKAGE / "package.json").exists() or is_current():
        return
    say("n8n: building our node (the first time in a clone that takes minutes) …")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        for step in (INSTALL, ("run", "build")):
            try:
                done = subprocess.run(
                    tied([*program.npm, *step], signal.SIGKILL),  # npm goes on after a SIGTERM.
                    cwd=PACKAGE,
                    env={**os.environ, "PATH": program.path},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=LONGEST,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise StackError(f"our node for n8n was not built in time: try again, or see {log}") from None
            if done.returncode:
                shutil.rmtree(BUILT, ignore_errors=True)
                why = f"our node for n8n can't be built (`npm {step[0]}`)"
                raise StackError(f"{why}: try again, or see {log}")
