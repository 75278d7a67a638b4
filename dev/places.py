"""Where the embedded stack keeps things. Standard library only: the set-up uses it before there is more."""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path("/var/lib/campanile")


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
    return SHARED / hashlib.sha256(str(state()).encode()).hexdigest()[:12]


def cache() -> Path:
    """What every clone of this user shares, because it takes minutes to make."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "campanile"
