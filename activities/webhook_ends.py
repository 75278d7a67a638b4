"""How it ends with deliveries and webhooks: what is counted, noted, and told of those that failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import remedies
from domain.announcements import Announcement, AnnouncementType, written
from domain.deliveries import GONE, HELD_TOO_LONG, WAS_DISABLED, Try
from domain.failures import Category, Failure, Subject
from domain.webhooks import site
from models.base import Db
from models.queries import announcing, failures
from models.queries.webhook_deliveries import Claimed, Ready, Settled
from models.queries.webhook_health import Disabled, GivenUp

_ENABLE = "Mend the receiver, enable the webhook again, then replay what it missed."


@dataclass
class Delivered:
    """What a slice did and what it left. Counts and times only: history keeps everything we pass."""

    delivered: int = 0
    again: int = 0  # Failed, and will be tried again.
    failed: int = 0  # Given up.
    disabled: int = 0  # Webhooks.
    pending: bool = False  # Whether enabled webhooks still wait for some.
    next_due_at: datetime | None = None  # When the first may be tried; in the past: now.
    lease_left: float | None = None  # Seconds until another worker's lease ends.
    lively: bool = False  # Its time was over before it had waited in vain: the next one follows at once.

    def count(self, settled: Sequence[Settled], disabled: int) -> None:
        self.delivered += sum(each.tried.delivered for each in settled)
        self.again += sum(each.due_at is not None for each in settled)
        self.failed += sum(not each.tried.delivered and each.due_at is None for each in settled)
        self.disabled += disabled


async def given_up(
    db: Db, workspace_id: UUID, lost: Sequence[tuple[Claimed, Ready, Try]], now: datetime
) -> None:
    """These were tried for the last time."""
    found = [
        remedies.of_delivery(
            webhook.id,
            delivery.id,
            delivery.event_type,
            tried.reason or "",
            tried.status,
            final=tried.hopeless,
            began=delivery.began,
        )
        for delivery, webhook, tried in lost
    ]
    await failures.note(db, workspace_id, found, now)


async def closed_without_a_try(
    db: Db, workspace_id: UUID, stranded: Sequence[GivenUp], expired: Sequence[GivenUp], now: datetime
) -> None:
    """One failure for each webhook, however much it would have got."""
    found = [
        Failure(
            Subject.WEBHOOK,
            str(webhook_id),
            category,
            reason,
            _ENABLE,
            occasion=f"{written(now)} {min(ids)}",  # They are closed page by page.
            source_kind="webhook",
            source_id=webhook_id,
            detail={"deliveries": len(ids)},
        )
        for closed, category, reason in (
            (stranded, Category.CONFIGURATION, WAS_DISABLED),
            (expired, Category.PROVIDER, HELD_TOO_LONG),
        )
        for webhook_id, ids in _by_webhook(closed).items()
    ]
    await failures.note(db, workspace_id, found, now)


def _by_webhook(closed: Sequence[GivenUp]) -> dict[UUID, list[UUID]]:
    found: dict[UUID, list[UUID]] = {}
    for each in closed:
        found.setdefault(each.webhook_id, []).append(each.id)
    return found


async def disabled_now(db: Db, workspace_id: UUID, off: Sequence[Disabled], now: datetime) -> None:
    """These webhooks were disabled: the others are told, and it is noted."""
    told = [
        Announcement(
            AnnouncementType.WEBHOOK_DISABLED,
            {
                "webhook_id": str(each.id),
                "name": each.name,
                "url": site(each.url),
                "reason": each.reason,
                "failing_since": each.failing_since and written(each.failing_since),
                "at": written(now),
            },
        )
        for each in off
    ]
    await announcing.announce(db, workspace_id, told, now)
    found = [
        Failure(
            Subject.WEBHOOK,
            str(each.id),
            Category.CONFIGURATION if each.reason == GONE else Category.PROVIDER,
            f"The webhook {each.name} was disabled. {each.reason}",
            _ENABLE,
            occasion=f"disabled {written(now)}",
            source_kind="webhook",
            source_id=each.id,
        )
        for each in off
    ]
    await failures.note(db, workspace_id, found, now)
