"""Deliveries: when one is tried again, when it is given up, and when its webhook rests or is disabled."""

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

GIVEN_UP_AFTER = timedelta(days=3)  # Since it was announced, or replayed; with a last try then.
DISABLED_AFTER = timedelta(days=5)  # Of nothing but failure.
PAUSES = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)  # Seconds, by attempts.
LONGEST_PAUSE = 43_200.0
SHORTEST_PAUSE = 1.0  # Of those that a receiver asks for.
JITTER = 0.2  # The share of a pause by which it may be shorter.

HELD_AT_MOST = GIVEN_UP_AFTER + timedelta(hours=1)  # By rests. The last try is not taken from anybody.
OVER_AFTER = HELD_AT_MOST + timedelta(days=1)  # By then each has been closed, or nobody looks after it.

IN_A_ROW = 5  # So many failures, and the webhook rests as a whole.
FIRST_REST = 5.0  # Seconds; doubled by each try that fails, up to
LONGEST_REST = 300.0
LONGEST_REST_ASKED = 3_600.0  # What Retry-After may ask of the webhook as a whole.

KEPT_TRIES = 20
LONGEST_ANSWER = 500  # Characters.

# Why we disable a webhook, which is what owners and admins are written to about.
GONE = "It answered 410: it wants nothing more."
FAILED_FOR_DAYS = f"Nothing but failures for {DISABLED_AFTER.days} days."
WAS_DISABLED = "The webhook is disabled."
HELD_TOO_LONG = f"The webhook did not work for {GIVEN_UP_AFTER.days} days."


@dataclass(frozen=True)
class Try:
    """What came of posting one delivery once."""

    at: datetime
    seconds: float
    status: int | None = None
    reason: str | None = None  # Why it failed; None: it is delivered.
    answer: str = ""  # The beginning of it, without secrets.
    hopeless: bool = False  # It would fail however often it is tried.
    gone: bool = False  # The receiver wants nothing more.
    blameless: bool = False  # It says nothing about the webhook.
    retry_after: float | None = None  # Seconds.

    @property
    def delivered(self) -> bool:
        return self.reason is None


def next_due(id_: UUID, attempts: int, began: datetime, tried: Try, now: datetime) -> datetime | None:
    """When to try again after `attempts` tries, of which this is the last. None: it is given up."""
    last = began + GIVEN_UP_AFTER
    if tried.delivered or tried.hopeless or tried.gone or tried.at >= last:
        return None
    return min(now + timedelta(seconds=_pause(id_, attempts, tried.retry_after)), last)


def _pause(id_: UUID, attempts: int, asked: float | None) -> float:
    if asked is not None:
        return min(max(asked, SHORTEST_PAUSE), LONGEST_PAUSE)
    pause = PAUSES[attempts - 1] if attempts <= len(PAUSES) else LONGEST_PAUSE
    share = zlib.crc32(id_.bytes + attempts.to_bytes(4)) / 2**32
    return pause * (1 - JITTER * share)


@dataclass(frozen=True)
class Health:
    """How one webhook fared in a few tries that are settled together."""

    webhook_id: UUID
    good: bool  # Whether any was delivered.
    failures: int  # In a row at the end.
    rest: float | None = None  # Seconds for which it asked to be left alone.
    gone: bool = False
    last_reason: str | None = None


def health(webhook_id: UUID, tries: list[Try]) -> Health | None:
    """Of tries in their order. None where they say nothing about it."""
    telling = [each for each in tries if not each.blameless]
    if not telling:
        return None
    failing = list[Try]()
    for each in reversed(telling):
        if each.delivered:
            break
        failing.append(each)
    rests = [each.retry_after for each in failing if each.status in (429, 503) and each.retry_after]
    return Health(
        webhook_id,
        good=len(failing) < len(telling),
        failures=len(failing),
        rest=min(max(rests), LONGEST_REST_ASKED) if rests else None,
        gone=any(each.gone for each in failing),
        last_reason=failing[0].reason if failing else None,
    )
