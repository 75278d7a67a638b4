"""The newest migration of this code."""

from pathlib import Path

from alembic.script import ScriptDirectory


def head() -> str | None:
    """Its revision, as `alembic_version` names it."""
    return ScriptDirectory(str(Path(__file__).parent)).get_current_head()
