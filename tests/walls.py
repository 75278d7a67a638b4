"""What is in a workspace, as one value: two of them are equal when nothing was changed in between."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from models import metadata
from models.base import ACCOUNT_TABLES, QUEUE_TABLES, Sessions

TENANT_TABLES = sorted(set(metadata().tables) - {*QUEUE_TABLES, *ACCOUNT_TABLES})
# One question for all tables. Each answers with the hash of its rows, in whatever order they lie.
_CONTENTS = text(
    "select jsonb_object_agg(name, hash) from ("
    + " union all ".join(
        f"select '{table}' as name, md5(string_agg(t::text, ' ' order by t::text)) as hash from {table} t"
        for table in TENANT_TABLES
    )
    + ") each_table"
)


async def contents_of(db: AsyncSession) -> dict[str, str | None]:
    """The hash of all rows of each tenant table that this transaction sees; None where it sees none."""
    found: dict[str, str | None] = await db.scalar(_CONTENTS)
    return found


async def contents(sessions: Sessions, workspace_id: UUID) -> dict[str, str | None]:
    """The same of what is committed in a workspace."""
    async with sessions(workspace_id) as db:
        return await contents_of(db)
