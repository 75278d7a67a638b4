"""Taking over from workers that died."""

from datetime import datetime
from uuid import UUID

from channels import registry
from domain.messages import MessageState
from models.base import Db
from models.queries import announced_messages, failures, ledger
from models.queries.ledger import Queue


async def take_over(db: Db, queue: Queue, now: datetime, reconcile_at: datetime) -> list[UUID]:
    """What they had claimed goes back; what they had marked is unknown, a failure. Returns the latter.

    `reconcile_at` is when to decide about what a provider may still tell of.
    """
    states = await ledger.recover(db, queue, now, reconcile_at, registry.reporting())
    unknown = [id_ for id_, state in states.items() if state is MessageState.UNKNOWN]
    await failures.note_messages(db, queue.workspace_id, unknown, now)
    await announced_messages.ended(db, states, now)
    return unknown
