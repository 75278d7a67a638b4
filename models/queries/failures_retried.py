"""What failed is tried again because somebody asks: a message as a new line of the ledger, a delivery itself.

Of two who ask at once, one waits for the other and finds that it is done: the messages and the failures are
locked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.channels import OTHERS_SERVERS, Channel
from domain.failures import Subject
from domain.messages import Work
from domain.outboxes import express
from domain.retries import AGAIN, GONE, NOT_ASKED_FOR, NOTHING_TO_SEND, Line, why_not
from models.base import changed
from models.queries import announcing, notes, pokes


class How(NamedTuple):
    """How to try again."""

    by: str  # The name of who asks.
    note: str  # The same as a sentence, for the stories of messages.
    provider_id: UUID | None = None  # By this provider and no other.
    channel: Channel | None = None  # That provider's.
    unknown: bool = False  # Those as well of which nobody knows whether they were sent.
    named: bool = True  # Each was named by its id, and not found by what it is like.


@dataclass
class Retried:
    """What goes out again, by failure, and why others do not."""

    again: dict[UUID, UUID] = field(default_factory=dict)  # As which message, or delivery.
    refused: dict[UUID, str] = field(default_factory=dict)


# Reports hold a message before they see to its failure: so it is here.
_MESSAGES_OF = text(
    """
    select f.subject_id from failure_logs f
    where f.workspace_id = :workspace and f.id = any(cast(:ids as uuid[])) and f.subject = 'message'
    """
)
_HOLD_MESSAGES = text(
    """
    select m.id from messages m
    where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[]))
    order by m.id for no key update of m
    """
)
_HELD = text(
    """
    select f.id, f.subject, f.subject_id, f.retryable, f.retried_at, f.occasion, f.detail
    from failure_logs f
    where f.workspace_id = :workspace and f.id = any(cast(:ids as uuid[]))
    order by f.id for no key update of f
    """
)
_LINES = text(
    """
    select m.id, m.state, m.reason, m.reported_at, m.expires_at, m.channel, m.step, m.source_kind,
        m.profile_id is not null, m.bare is not null, m.holes is not null
    from messages m
    where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[]))
    order by m.id
    """
)
# As `reconcile` sends what is unknown again: the same decision's key, and its own words where it had any.
_RESEND = text(
    """
    with first as materialized (
        select m.* from messages m
        where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[]))
    ),
    again as (
        insert into messages (workspace_id, queue_id, source_id, source_kind, step, profile_id, occasion,
            visit, resend, channel, class, template_version_id, bare, holes, state, created_at, due_at,
            expires_at, only_by)
        select f.workspace_id,
            case when f.class = 'transactional' and not f.channel = any(cast(:others as text[]))
                then cast(:express as uuid) else f.workspace_id end,
            f.source_id, f.source_kind, f.step, f.profile_id, f.occasion, f.visit, f.resend + 1, f.channel,
            f.class, f.template_version_id, f.bare,
            case when f.profile_id is null or f.source_kind = 'outbox' then f.holes end, 'queued',
            cast(:now as timestamptz), cast(:now as timestamptz), f.expires_at, cast(:only_by as uuid)
        from first f order by f.id
        on conflict do nothing
        returning workspace_id, queue_id, due_at, id, source_id, step, occasion, visit, resend, profile_id,
            bare
    ),
    pairs as materialized (
        select f.id as first_id, a.id, a.queue_id, a.due_at
        from again a
        join first f on f.source_id = a.source_id and f.step = a.step and f.occasion = a.occasion
            and f.visit = a.visit and f.resend + 1 = a.resend
            and f.profile_id is not distinct from a.profile_id and f.bare is not distinct from a.bare
    ),
    files as (
        insert into attachments (workspace_id, message_id, name, content_type, content)
        select a.workspace_id, p.id, a.name, a.content_type, a.content
        from pairs p
        join attachments a on a.workspace_id = :workspace and a.message_id = p.first_id
        order by a.id
    ),
    queued as (
        insert into queue (workspace_id, queue_id, due_at, message_id)
        select :workspace, p.queue_id, p.due_at, p.id from pairs p
    )
    select p.first_id, p.id, p.queue_id from pairs p
    """
)
_REPLAY = text(
    """
    update webhook_deliveries d set state = 'pending', due_at = :now, replayed_at = :now, attempts = 0,
        closed_at = null, attempt = null, leased_until = null
    from webhooks w
    where d.workspace_id = :workspace and d.id = any(cast(:ids as uuid[])) and d.state = 'failed'
        and w.workspace_id = :workspace and w.id = d.webhook_id and w.state = 'enabled'
    returning d.id
    """
)
_DONE = text(
    """
    update failure_logs f set retried_at = :now, retried_as = d.again,
        acknowledged_at = coalesce(f.acknowledged_at, :now),
        acknowledged_by = coalesce(f.acknowledged_by, :by)
    from unnest(cast(:ids as uuid[]), cast(:again as uuid[])) d(id, again)
    where f.workspace_id = :workspace and f.id = d.id
    """
)


async def retry(
    db: AsyncSession, workspace_id: UUID, ids: Sequence[UUID], how: How, now: datetime
) -> Retried:
    """Try these failures again, each once. Those that are not there are left out.

    What stands against a message (consent, suppression, caps) is asked again when it is claimed.
    """
    done = Retried()
    messages: dict[UUID, UUID] = {}  # Failures by message and by delivery.
    deliveries: dict[UUID, UUID] = {}
    theirs = list(await db.scalars(_MESSAGES_OF, {"workspace": workspace_id, "ids": [*ids]}))
    if theirs:
        await db.execute(_HOLD_MESSAGES, {"workspace": workspace_id, "ids": theirs})
    for row in await db.execute(_HELD, {"workspace": workspace_id, "ids": [*ids]}):
        if row.retried_at is not None:
            done.refused[row.id] = AGAIN
        elif row.subject == Subject.MESSAGE:
            may = how.named or row.retryable or (how.unknown and row.occasion == "unknown")
            if not may:
                done.refused[row.id] = NOT_ASKED_FOR
            elif UUID(row.subject_id) in messages:
                done.refused[row.id] = AGAIN
            else:
                messages[UUID(row.subject_id)] = row.id
        elif row.subject == Subject.WEBHOOK and row.detail.get("delivery_id"):
            deliveries[UUID(row.detail["delivery_id"])] = row.id
        else:
            done.refused[row.id] = NOTHING_TO_SEND
    await _resend(db, workspace_id, messages, how, now, done)
    await _replay(db, workspace_id, deliveries, now, done)
    if done.again:
        values = {
            "workspace": workspace_id,
            "ids": [*done.again],
            "again": [*done.again.values()],
            "now": now,
            "by": how.by,
        }
        await changed(db, _DONE, values)
    return done


async def _resend(
    db: AsyncSession,
    workspace_id: UUID,
    messages: Mapping[UUID, UUID],
    how: How,
    now: datetime,
    done: Retried,
) -> None:
    if not messages:
        return
    here: dict[str, Any] = {"workspace": workspace_id}
    may: list[UUID] = []
    done.refused |= dict.fromkeys(messages.values(), GONE)
    for row in await db.execute(_LINES, here | {"ids": sorted(messages)}):
        why = why_not(Line(*row), now, unknown=how.unknown, channel=how.channel)
        if why is None:
            may.append(row[0])
        done.refused[messages[row[0]]] = why or AGAIN
    values = {
        "ids": may,
        "others": [each.value for each in OTHERS_SERVERS],
        "express": express(workspace_id),
        "now": now,
        "only_by": how.provider_id,
    }
    pairs = (await db.execute(_RESEND, here | values)).all() if may else []
    for first, again, queue in pairs:
        done.again[messages[first]] = again
        del done.refused[messages[first]]
        pokes.poke(db, queue, Work.SEND)
    said = [notes.Note(again, now, how.note) for _, again, _ in pairs]
    await notes.add(db, workspace_id, said)


async def _replay(
    db: AsyncSession, workspace_id: UUID, deliveries: Mapping[UUID, UUID], now: datetime, done: Retried
) -> None:
    if not deliveries:
        return
    values = {"workspace": workspace_id, "ids": sorted(deliveries), "now": now}
    replayed = set(await db.scalars(_REPLAY, values))
    for delivery, failure in deliveries.items():
        if delivery in replayed:
            done.again[failure] = delivery
        else:
            done.refused[failure] = (
                "It was delivered meanwhile, is on its way, is gone, or its webhook is disabled."
            )
    if replayed:
        announcing.deliver(db, workspace_id)


def by_reason(refused: Mapping[UUID, str]) -> dict[str, list[UUID]]:
    """The failures that are not tried again, by why."""
    found: dict[str, list[UUID]] = defaultdict(list)
    for failure, why in refused.items():
        found[why].append(failure)
    return found
