"""Whether this database is one that we can work with."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_HEAD = text("select version_num from alembic_version")


async def migrated_to(db: AsyncSession) -> str | None:
    """The newest migration that was run here; None in a database that no migration was run in."""
    if await db.scalar(text("select to_regclass('alembic_version')")) is None:
        return None
    return (await db.execute(_HEAD)).scalar()
