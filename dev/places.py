"""Where the embedded stack keeps things. Standard library only: the set-up uses it before there is more."""

import hashlib
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path("/var/lib/campanile")
MEMORY = Path("/dev/shm")
TO_SPARE = 4 * 2**30  # Bytes; the tests use a quarter of it.


def state() -> Path:
    """The folder of all state in this clone, `.campanile` unless STATE_DIR says otherwise."""
    return ROOT / os.environ.get("STATE_DIR", ".campanile")


def database_home() -> Path:
    """Where PostgreSQL's programs and data are.

    As root it runs as another user, which may not enter the folders above a clone such as root's home, so
    it has a place of its own. A hash keeps clones apart.
    """
    if os.geteuid() != 0:
        return state() / "postgres"
    return SHARED / _name()


def memory_home() -> Path:
    """The place in memory of this clone and user, whether it is there or not. A restart empties it."""
    return MEMORY / f"campanile-{os.geteuid()}-{_name()}"


def has_memory() -> bool:
    """Whether databases that nobody will miss can be in memory: on Linux, where enough of it is free.

    A test's database is 740 files that are made and soon removed. That takes memory a tenth of the time that
    it takes ext4 without a journal, which looks for inodes that were not in use a moment ago.
    """
    return MEMORY.is_mount() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= TO_SPARE


def _name() -> str:
    return hashlib.sha256(str(state()).encode()).hexdigest()[:12]


def cache() -> Path:
    """What every clone of this user shares, because it takes minutes to make."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "campanile"
