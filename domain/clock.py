"""Business time is given: whoever decides anything by the time of day is handed a clock."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol
from zoneinfo import available_timezones


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware and in UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@lru_cache(maxsize=1)
def time_zones() -> frozenset[str]:
    """The names of IANA's time zones. This machine's own is none: PostgreSQL, elsewhere, knows no such."""
    return frozenset(available_timezones() - {"localtime"})
