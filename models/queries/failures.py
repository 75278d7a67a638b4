"""Failures are noted in the transaction in which they are known, each once."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import text

from domain.failures import Failure
from domain.remedies import Line, of_message
from models.base import Db, changed, ring
from models.failures import Origin

BELL = "failures"  # What is rung for once a failure is committed.

_NOTE = text(
    """
    insert into failure_logs (workspace_id, at, subject, subject_id, occasion, kind, title, category, reason,
        remedy, retryable, source_kind, source_id, provider_id, detail, origin, quiet)
    select :workspace, :now, f.subject, f.subject_id, f.occasion, f.kind, f.title, f.category, f.reason,
        f.remedy, f.retryable, f.source_kind, f.source_id, f.provider_id, f.detail, :origin, f.quiet
    from jsonb_to_recordset(cast(:failures as jsonb)) as f(nth int, subject text, subject_id text,
        occasion text, kind text, title text, category text, reason text, remedy text, retryable boolean,
        source_kind text, source_id uuid, provider_id uuid, detail jsonb, quiet boolean)
    order by f.subject, f.subject_id, f.occasion
    on conflict (workspace_id, subject, subject_id, occasion) do nothing
    """
)


async def note(
    db: Db,
    workspace_id: UUID,
    failures: Sequence[Failure],
    now: datetime,
    origin: Origin = Origin.CAMPANILE,
) -> int:
    """Note these, those that were noted before left out. Returns how many are new.

    Whoever tells of failures hears of it once this transaction has committed.
    """
    if not failures:
        return 0
    rows = [
        {
            "subject": each.subject,
            "subject_id": each.subject_id,
            "occasion": each.occasion,
            "kind": each.kind,
            "title": each.title,
            "category": each.category,
            "reason": each.reason.replace("\0", ""),
            "remedy": each.remedy,
            "retryable": each.retryable,
            "source_kind": each.source_kind,
            "source_id": each.source_id,
            "provider_id": each.provider_id,
            "detail": dict(each.detail),
            "quiet": each.quiet,
        }
        for each in failures
    ]
    values = {
        "workspace": workspace_id,
        "now": now,
        "origin": origin,
        "failures": orjson.dumps(rows).decode(),
    }
    new = await changed(db, _NOTE, values)
    if new:
        ring(db, BELL)
    return new


_FAILED = text(
    """
    select m.id, m.state, m.reason, m.detail, m.fate, m.channel, m.class, m.step, m.attempts, m.source_kind,
        m.source_id, m.provider
    from messages m
    where m.workspace_id = :workspace and m.id = any(cast(:ids as uuid[]))
        and (m.state in ('failed', 'unknown') or m.state = 'skipped' and m.reason = 'template error'
            or m.fate in ('failed', 'hard bounce'))
    """
)


async def note_messages(
    db: Db,
    workspace_id: UUID,
    ids: Collection[UUID],
    now: datetime,
    blames: Mapping[UUID, str] | None = None,
) -> int:
    """Note those of the messages that failed, as the ledger has them in this transaction.

    `blames` has whom the provider's answer was about (`channels.contract.Blame`), where that is known.
    Returns how many are new.
    """
    if not ids:
        return 0
    rows = await db.execute(_FAILED, {"workspace": workspace_id, "ids": [*ids]})
    found = [of_message(Line(*row), (blames or {}).get(row[0])) for row in rows]
    return await note(db, workspace_id, found, now)


_KNOWN = text(
    """
    update failure_logs f set acknowledged_at = :now, acknowledged_by = 'the provider''s report'
    where f.workspace_id = :workspace and f.subject = 'message' and f.occasion = 'unknown'
        and f.subject_id = any(cast(:ids as text[])) and f.acknowledged_at is null
    """
)


async def known(db: Db, workspace_id: UUID, ids: Collection[UUID], now: datetime) -> None:
    """These messages were unknown, and are not any more: that is no failure that anybody must look at."""
    if ids:
        values = {"workspace": workspace_id, "ids": [str(each) for each in ids], "now": now}
        await db.execute(_KNOWN, values)
