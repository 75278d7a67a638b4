"""What npm installs and esbuild builds, once, however many runs of the tests want it."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.places import ROOT

SDK = ROOT / "sdk"
NODE = ROOT / "tests" / "sdk" / "node"


def npm() -> str | None:
    return shutil.which("npm") if shutil.which("node") else None


def installed(folder: Path) -> Path:
    """The folder, with the packages of its lock file."""
    with alone(folder):
        lock = (folder / "package-lock.json").read_bytes()
        note = folder / "node_modules" / ".installed"  # `npm ci` removes what is in there, and so this.
        digest = hashlib.sha256(lock).hexdigest()
        if not note.exists() or note.read_text() != digest:
            run(folder, "ci", "--no-audit", "--no-fund")
            note.write_text(digest)
    return folder


def built(folder: Path) -> Path:
    """What the folder's `build` script makes, from its sources as they are now."""
    installed(folder)
    with alone(folder):
        sources = [path for path in folder.iterdir() if path.is_file()]
        sources += (folder / "src").rglob("*")
        newest = max(path.stat().st_mtime_ns for path in sources)
        note = folder / "dist" / ".built"
        if not note.exists() or note.stat().st_mtime_ns < newest:
            run(folder, "run", "build")
            note.touch()
    return folder / "dist"


def run(folder: Path, *arguments: str) -> None:
    program = npm()
    assert program, "npm is not there: install Node.js 20 or newer"
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"npm {' '.join(arguments)} in {folder}:\n{done.stdout}\n{done.stderr}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Test runs side by side wait for each other here.

    The folder itself is locked: `npm ci` would remove a file in `node_modules` under whoever waits for it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
