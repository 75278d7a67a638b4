"""The circuit breaker: when a provider is left alone for a while, and when it is tried again.

    closed ──(failing or slow)──► open ──(pause over: one batch tries)──► half-open ──(went well)──► closed
                                   ▲                                         │
                                   └───────────────(failed again)────────────┘

`held` is by hand, and ends by hand. A provider that asks for less (429) is closed and rests until then.
Rows that all workers share hold a `Standing`; this module says what follows from what, and nothing else.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

WINDOW = timedelta(seconds=10)  # Over which calls are counted.
BAD_CALLS = 3  # In a window, before anything is concluded from them.
BAD_SHARE = 0.5  # Of the messages, or of the calls that were slow.
SLOW = 10.0  # Seconds that a call may take.
HANGING = 5.0  # Seconds after which a call without an answer looks like those that failed before it.
FIRST_PAUSE = 5.0  # Seconds; doubled by each failed try.
LONGEST_PAUSE = 300.0
TRIAL = timedelta(seconds=40)  # What whoever tries has, before another may: a send ends within 30 s.
TRIES = 8  # Messages that go out in a trial.


class BreakerState(StrEnum):
    CLOSED = "closed"  # It works.
    OPEN = "open"  # It is left alone until its pause is over.
    HALF_OPEN = "half-open"  # One batch is trying.
    HELD = "held"  # Somebody stopped it by hand.


@dataclass(frozen=True, slots=True)
class Tally:
    """What happened since it was told last."""

    calls: int = 0
    bad_calls: int = 0  # At least half of their messages failed by the provider's fault.
    slow_calls: int = 0
    well: int = 0  # Messages that it took, or refused for their own sake.
    badly: int = 0  # Messages that failed by its fault.
    rest: float = 0  # Seconds for which it asked not to be called.
    reason: str | None = None  # Of the last bad call, in words.

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.calls + other.calls,
            self.bad_calls + other.bad_calls,
            self.slow_calls + other.slow_calls,
            self.well + other.well,
            self.badly + other.badly,
            max(self.rest, other.rest),
            other.reason or self.reason,
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """How a provider is doing."""

    since: datetime
    window_began: datetime
    state: BreakerState = BreakerState.CLOSED
    until: datetime | None = None  # Open or half-open: when it may be tried. Closed: until when it rests.
    trips: int = 0  # In a row.
    reason: str | None = None
    window: Tally = field(default_factory=Tally)

    def opens_at(self, now: datetime) -> datetime | None:
        """When it may be called; None while somebody holds it. In the past or now: it may."""
        if self.state is BreakerState.HELD:
            return None
        return max(self.until, now) if self.until else now


def after(standing: Standing, tally: Tally, now: datetime) -> Standing:
    """How it stands after these calls."""
    fresh = now - standing.window_began > WINDOW
    window = tally if fresh else standing.window + tally
    then = replace(standing, window=window, window_began=now if fresh else standing.window_began)
    match standing.state:
        case BreakerState.CLOSED:
            if why := _why_open(window):
                return _opened(then, 1, why, now)
            if tally.rest:
                rest = now + timedelta(seconds=tally.rest)
                return replace(then, until=max(rest, standing.until or rest), reason=tally.reason)
        case BreakerState.HALF_OPEN if tally.bad_calls:
            return _opened(then, standing.trips + 1, tally.reason, now)
        case BreakerState.HALF_OPEN if tally.calls:
            rest_until = now + timedelta(seconds=tally.rest) if tally.rest else None
            return Standing(now, now, until=rest_until)
    return then


def will_open(standing: Standing, tally: Tally, hanging: int, now: datetime) -> str | None:
    """Why it opens once these calls are told, if it is closed and does.

    `hanging` calls have no answer for longer than one takes. They count as bad where one has failed.
    """
    if standing.state is not BreakerState.CLOSED:
        return None
    then = after(standing, tally, now)
    if hanging and then.state is BreakerState.CLOSED and then.window.bad_calls:
        then = after(then, Tally(hanging, hanging, badly=hanging, reason=tally.reason), now)
    return then.reason if then.state is BreakerState.OPEN else None


def tried(standing: Standing, now: datetime) -> Standing | None:
    """How it stands once somebody may try, or None where nobody may now."""
    if standing.state not in (BreakerState.OPEN, BreakerState.HALF_OPEN):
        return None
    if standing.until and standing.until > now:
        return None
    since = now if standing.state is BreakerState.OPEN else standing.since
    return replace(standing, state=BreakerState.HALF_OPEN, since=since, until=now + TRIAL)


def held(standing: Standing, reason: str, now: datetime) -> Standing:
    """Stopped by hand."""
    return replace(standing, state=BreakerState.HELD, since=now, until=None, reason=reason)


def released(standing: Standing, now: datetime) -> Standing:
    """Let go by hand, or tried before its pause is over: as if nothing had been."""
    return Standing(now, now)


def _why_open(window: Tally) -> str | None:
    if window.bad_calls >= BAD_CALLS and window.badly >= BAD_SHARE * (window.well + window.badly):
        return window.reason or "most calls failed"
    if window.slow_calls >= BAD_CALLS and window.slow_calls >= BAD_SHARE * window.calls:
        return f"{window.slow_calls} of {window.calls} calls took more than {SLOW:g} s"
    return None


def _opened(standing: Standing, trips: int, reason: str | None, now: datetime) -> Standing:
    pause = min(FIRST_PAUSE * 2 ** min(trips - 1, 10), LONGEST_PAUSE)
    until = now + timedelta(seconds=pause)
    return replace(
        standing, state=BreakerState.OPEN, since=now, until=until, trips=trips, reason=reason, window=Tally()
    )
