"""Alerts: failures of one kind are told of together, at once at first and then at growing intervals."""

from datetime import timedelta

# What passes between two digests of one kind: twenty thousand failures make a handful.
PAUSES = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
)
QUIET = timedelta(hours=1)  # After so long without another one, the next is news again.
MOST_KINDS = 50  # Open at a time in one workspace; beyond, those of one subject and category are one.
SAMPLES = 5  # Of a digest.


def pause(digests: int) -> timedelta:
    """What passes after so many digests before the next."""
    return PAUSES[min(max(digests, 1), len(PAUSES)) - 1]
