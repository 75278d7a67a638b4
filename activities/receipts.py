"""What is known about messages and addresses as soon as they were sent, and is settled like any report.

Trial providers have no way of their own to tell us anything, so that what they would report is written down
for them. And where an answer says that an address is gone or wants nothing more, that is as good as a bounce
that comes later: it suppresses the address and counts against the sender.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import orjson
import psycopg
import structlog
from uuid_utils.compat import uuid7

from activities.gates import Way
from channels.contract import Envelope, Outcome, OutcomeKind, Report, ReportKind
from domain.clock import Clock
from domain.profiles import SuppressionReason
from domain.reports import ANSWER
from models.base import Sessions
from models.queries import hooks
from models.queries.hooks import Coming

log = structlog.get_logger()

_SAYS = {
    SuppressionReason.HARD_BOUNCE: ReportKind.HARD_BOUNCE,
    SuppressionReason.COMPLAINED: ReportKind.COMPLAINED,
    SuppressionReason.UNSUBSCRIBED: ReportKind.UNSUBSCRIBED,
}


async def keep(
    sessions: Sessions,
    workspace_id: UUID,
    way: Way,
    batch: Sequence[Envelope],
    outcomes: Sequence[Outcome],
    clock: Clock,
) -> None:
    """Have receipts, and what answers say about addresses, wait to be settled among the webhooks.

    Never raises for the database's sake: where this is lost, the messages stay as they are.
    """
    now = clock.now()
    waiting = [(method, body) for method, body in _said(way, batch, outcomes, now) if body]
    if not waiting:
        return
    coming = [
        Coming(uuid7(), workspace_id, way.provider_id, now, method, "", {}, body) for method, body in waiting
    ]
    try:
        async with sessions.engine_batch() as db:
            await hooks.put(db, coming)
    except (psycopg.Error, OSError) as error:
        log.warning("Receipts were lost", provider=str(way.provider_id), error=type(error).__name__)


def _said(
    way: Way, batch: Sequence[Envelope], outcomes: Sequence[Outcome], now: datetime
) -> list[tuple[str, bytes]]:
    """Methods and bodies of what waits."""
    receipts = getattr(way.provider, "receipts", None)
    accepted: list[UUID] = []
    gone: list[dict[str, str | None]] = []
    for envelope, outcome in zip(batch, outcomes, strict=True):
        if receipts and outcome.kind is OutcomeKind.ACCEPTED:
            accepted.append(envelope.id)
        elif outcome.suppress in _SAYS:
            said = {"id": str(envelope.id), "address": envelope.address, "reason": outcome.reason}
            gone.append({**said, "kind": _SAYS[outcome.suppress].value})
    found = [(ANSWER, orjson.dumps(gone))] if gone else []
    if receipts and accepted:
        found.append(("POST", receipts(accepted, now)))
    return found


def answers(body: bytes, at: datetime) -> list[Report]:
    """What answers said about addresses, as `keep` wrote it down."""
    return [
        Report(
            ReportKind(one["kind"]),
            at,
            f"answer {one['id']}",
            UUID(one["id"]),
            address=one["address"],
            reason=one["reason"],
        )
        for one in orjson.loads(body)
    ]
