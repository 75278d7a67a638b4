"""The ledger's statements one by one, as tests take them: `activities.books` takes several at a time."""

from typing import Any
from uuid import UUID

from domain.messages import MessageState
from models.base import Db
from models.queries import ledger


async def mark(db: Db, *asked: Any, **more: Any) -> set[UUID]:
    """As `ledger.marking`: whose ids were marked."""
    return set((await db.execute(*ledger.marking(*asked, **more))).scalars())


async def settle(db: Db, *asked: Any, **more: Any) -> dict[UUID, MessageState]:
    """As `ledger.settling`: the states that they have now."""
    return ledger.states(await db.execute(*ledger.settling(*asked, **more)))


async def renew(db: Db, *asked: Any) -> None:
    await db.execute(*ledger.renewing(*asked))


async def drop_lease(db: Db, *asked: Any) -> None:
    await db.execute(*ledger.dropping_lease(*asked))
