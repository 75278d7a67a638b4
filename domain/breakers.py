"""The circuit breaker: when a provider is left alone for a while, and when it is tried again.

    closed ──(failing, slow)──► open ──(pause over: one batch tries)──► half-open ──(went well)──► closed
                                 ▲                                        │
                                 └──────────────(failed again)────────────┘

`held` is by hand, and ends by hand. `models/queries/breakers.py` says the same in SQL, for all workers at
once.
"""

from enum import StrEnum

WINDOW = 10.0  # Seconds over which failures are counted.
BAD_CALLS = 3  # In a window, before anything is concluded from them.
BAD_SHARE = 0.5  # Of the messages in a window.
SLOW = 10.0  # Seconds that a call may take.
FIRST_PAUSE = 5.0  # Seconds; doubled by each failed try.
LONGEST_PAUSE = 300.0
TRIAL = 10.0  # Seconds that whoever tries a half-open provider has, before another may.


class BreakerState(StrEnum):
    CLOSED = "closed"  # It works.
    OPEN = "open"  # It is left alone until its pause is over.
    HALF_OPEN = "half-open"  # One batch is trying.
    HELD = "held"  # Somebody stopped it by hand.


def pause(trips: int) -> float:
    """Seconds for which the breaker stays open, after opening so often in a row, from 1."""
    return float(min(FIRST_PAUSE * 2 ** (trips - 1), LONGEST_PAUSE))
