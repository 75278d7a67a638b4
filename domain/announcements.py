"""What Campanile tells the outside: the types of announcements, and how a webhook asks for them.

An announcement goes to every webhook of its workspace that asks for its type. What is posted is
`{"type": …, "timestamp": …, "data": {…}}`, signed as Standard Webhooks 1.0 says. In our own words an event is
what a profile did; an announcement is what we tell somebody else's program, about that or anything.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

LARGEST = 256 * 1024  # Bytes of a body.
EVERYTHING = "*"


class AnnouncementType(StrEnum):
    """A group and what happened in it. `<group>.*` in a webhook's list asks for the whole group."""

    PROFILE_CREATED = "profile.created"
    PROFILE_UPDATED = "profile.updated"
    PROFILE_MERGED = "profile.merged"
    PROFILE_ERASED = "profile.erased"
    PROFILE_CONSENT_CHANGED = "profile.consent_changed"
    EVENT_RECEIVED = "event.received"
    SEGMENT_ENTERED = "segment.entered"
    SEGMENT_LEFT = "segment.left"
    CAMPAIGN_SCHEDULED = "campaign.scheduled"
    CAMPAIGN_STARTED = "campaign.started"
    CAMPAIGN_PAUSED = "campaign.paused"
    CAMPAIGN_RESUMED = "campaign.resumed"
    CAMPAIGN_COMPLETED = "campaign.completed"
    CAMPAIGN_CANCELLED = "campaign.cancelled"
    CAMPAIGN_FAILED = "campaign.failed"
    FLOW_PUBLISHED = "flow.published"
    FLOW_PAUSED = "flow.paused"
    FLOW_RESUMED = "flow.resumed"
    FLOW_ARCHIVED = "flow.archived"
    FLOW_ENTERED = "flow.entered"  # A profile, as are the next two.
    FLOW_MOVED = "flow.moved"
    FLOW_FINISHED = "flow.finished"
    MESSAGE_ACCEPTED = "message.accepted"
    MESSAGE_FAILED = "message.failed"
    MESSAGE_SKIPPED = "message.skipped"
    MESSAGE_UNKNOWN = "message.unknown"
    MESSAGE_DEFERRED = "message.deferred"
    MESSAGE_DELIVERED = "message.delivered"
    MESSAGE_BOUNCED = "message.bounced"
    MESSAGE_COMPLAINED = "message.complained"
    MESSAGE_READ = "message.read"
    MESSAGE_OPENED = "message.opened"
    MESSAGE_CLICKED = "message.clicked"
    MESSAGE_UNSUBSCRIBED = "message.unsubscribed"
    IMPORT_FINISHED = "import.finished"
    BREAKER_OPENED = "breaker.opened"
    BREAKER_CLOSED = "breaker.closed"
    JOB_FAILED = "job.failed"  # A digest of failures of one kind.
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_TEST = "webhook.test"  # Asked for by hand, and sent to one webhook.
    FLOW_CALL = "flow.call"  # A step of a flow calls the webhook that it names, and no other.


# What nobody asks for by its type: it is addressed to one webhook.
ADDRESSED = frozenset({AnnouncementType.WEBHOOK_TEST, AnnouncementType.FLOW_CALL})


@dataclass(frozen=True)
class Announcement:
    """Something that happened. `data` is plain JSON: the catalogue (`domain/catalogue.py`) has its schema."""

    type: AnnouncementType
    data: dict[str, Any]

    def body(self, at: datetime) -> str:
        """What is posted, and signed, byte for byte the same at each try."""
        return orjson.dumps({"type": self.type, "timestamp": written(at), "data": self.data}).decode()


def written(at: datetime) -> str:
    """An instant as announcements write it: ISO 8601, UTC, in microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def names(type_: AnnouncementType) -> list[str]:
    """By what a webhook may ask for this type."""
    return [type_.value, f"{type_.partition('.')[0]}.*", EVERYTHING]


def wanted(type_: AnnouncementType, asked: Collection[str]) -> bool:
    """Whether a webhook that asks for these gets this type."""
    return type_ not in ADDRESSED and any(name in asked for name in names(type_))
