"""Receipts of providers that have no way of their own to tell us anything: those of trials.

What they would report comes into the table of webhooks as if they had called us.
"""

from collections.abc import Sequence
from uuid import UUID

import psycopg
import structlog
from uuid_utils.compat import uuid7

from activities.gates import Way
from channels.contract import Envelope, Outcome, OutcomeKind
from domain.clock import Clock
from models.base import Sessions
from models.queries import hooks
from models.queries.hooks import Coming

log = structlog.get_logger()


async def keep(
    sessions: Sessions,
    workspace_id: UUID,
    way: Way,
    batch: Sequence[Envelope],
    outcomes: Sequence[Outcome],
    clock: Clock,
) -> None:
    """Have the receipts of what was accepted wait to be settled, if the provider has any.

    Never raises for the database's sake: where a receipt is lost, the message stays as it is.
    """
    receipts = getattr(way.provider, "receipts", None)
    if receipts is None:
        return
    accepted = [
        envelope.id
        for envelope, outcome in zip(batch, outcomes, strict=True)
        if outcome.kind is OutcomeKind.ACCEPTED
    ]
    if not accepted:
        return
    now = clock.now()
    body: bytes = receipts(accepted, now)
    hook = Coming(uuid7(), workspace_id, way.provider_id, now, "POST", "", {}, body)
    try:
        async with sessions.engine_batch() as db:
            await hooks.put(db, [hook])
    except (psycopg.Error, OSError) as error:
        log.warning("Receipts were lost", provider=str(way.provider_id), error=type(error).__name__)
