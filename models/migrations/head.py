"""The newest migration of this code."""

from functools import cache
from pathlib import Path


@cache
def head() -> str | None:
    """Its revision, as `alembic_version` names it. The first time takes a moment: call it in a thread."""
    from alembic.script import ScriptDirectory  # Slow to load.

    return ScriptDirectory(str(Path(__file__).parent)).get_current_head()
