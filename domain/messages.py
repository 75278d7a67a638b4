"""The ledger's vocabulary: the states of a message and what may follow what.

    queued ─claim─► claimed ─mark─► sending ─► accepted
       ▲               │               ├─► queued     a no before acceptance: 429, refused connection
       └── lease ends ─┘               ├─► failed     a no for good; the reason is kept
                                       └─► unknown    nobody can say: a time-out or a crash after the mark
    queued, claimed ─► skipped         see `Skip`
    unknown ─► accepted, failed        the truth came later

A message whose state is one of `CLOSED` has `closed_at` set, is out of the queue, and has freed the
enrollment that waited for it. Only `unknown` may still change after that.
"""

from enum import StrEnum


class MessageState(StrEnum):
    """What we know of our own sending. What the provider reports afterwards is the fate."""

    QUEUED = "queued"
    CLAIMED = "claimed"  # A worker holds it under a lease; it has not been on the wire.
    SENDING = "sending"  # The mark is committed: from here on it may have been on the wire.
    ACCEPTED = "accepted"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


OPEN = (MessageState.QUEUED, MessageState.CLAIMED, MessageState.SENDING)
CLOSED = (MessageState.ACCEPTED, MessageState.FAILED, MessageState.SKIPPED, MessageState.UNKNOWN)


class MessageClass(StrEnum):
    """Whether consent and caps count: they do for marketing only."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"
    TEST = "test"


class Skip(StrEnum):
    """Why a message was not sent although somebody had decided to send it."""

    SUPPRESSED = "suppressed"
    NO_CONSENT = "no consent"
    CAPPED = "capped"
    NO_ADDRESS = "no address"
    TEMPLATE_ERROR = "template error"
    TOO_LATE = "too late"
    CANCELLED = "cancelled"
    ERASED = "erased"
    HELD_BACK = "held back"  # CAMPANILE_DELIVER_ONLY_TO does not name the address.
    MERGED = "merged"  # The same person, known as two profiles when the audience was frozen, has one already.


# The step of a message that tries one provider: it goes by that one or not at all.
PROVIDER_TEST = "provider test"


class Fate(StrEnum):
    """What the provider reported after acceptance. It only rises, in this order."""

    DEFERRED = "deferred"
    SOFT_BOUNCE = "soft bounce"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    HARD_BOUNCE = "hard bounce"
    COMPLAINED = "complained"


class SourceKind(StrEnum):
    """Who decided that a message be sent."""

    CAMPAIGN = "campaign"
    FLOW = "flow"
    OUTBOX = "outbox"  # The workspace itself: single messages and test sends.


class Work(StrEnum):
    """What the workflow of a queue may have to do, and is poked for."""

    ADVANCE = "advance"  # Members of the flow are due.
    SEND = "send"  # Messages of the flow or the outbox are due.
    DELIVER = "deliver"  # Announcements of the workspace are due at its webhooks.


class Interaction(StrEnum):
    """What a reader did with a message."""

    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
