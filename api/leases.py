"""Requests are counted by leases: a process takes some at a time, so that not every request writes.

What it took and did not use is lost when the window ends. So all processes together never grant more than
the limit, and may grant a little less. Each lease is twice the one before, so that who asks little takes
little.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from models.base import Sessions
from models.queries import rate_limits

PARTS = 20  # A lease is at most the twentieth part of the limit.
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass
class Lease:
    """What this process has left of an allowance."""

    mine: int = 0
    others: int = 0  # What was left to everybody when it was taken.
    ends_at: datetime = _LONG_AGO
    size: int = 0  # Of the last one in this window.
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True)
class Standing:
    """How one who asks stands."""

    granted: bool
    left: int  # About so many more in this window.
    seconds: int  # To the end of the window, at least 1.


class Leases:
    """Those of one process, each for `limit` a `period`."""

    def __init__(self, sessions: Sessions, limit: int, period: timedelta, size: int = 10_000) -> None:
        self.limit, self.period = limit, period
        self._sessions, self._size = sessions, size
        self._kept: OrderedDict[str, Lease] = OrderedDict()

    async def take(self, name: str, now: datetime, n: int = 1) -> Standing:
        """Take `n` of this allowance, or none if so many are not left."""
        lease = self._lease(name)
        if lease.mine < n or lease.ends_at <= now:
            async with lease.taking:
                await self._renew(name, lease, now, n)
        granted = lease.mine >= n
        lease.mine -= n if granted else 0
        return Standing(granted, lease.mine + lease.others, seconds_until(lease.ends_at, now))

    def spend(self, name: str, now: datetime, n: int = 1) -> bool:
        """Take `n` of what this process has left, asking nobody. Where this says no, ask `take`."""
        lease = self._kept.get(name)
        if lease is None or lease.mine < n or lease.ends_at <= now:
            return False
        lease.mine -= n
        return True

    def _lease(self, name: str) -> Lease:
        lease = self._kept.get(name) or self._kept.setdefault(name, Lease())
        self._kept.move_to_end(name)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return lease

    async def _renew(self, name: str, lease: Lease, now: datetime, n: int) -> None:
        """Unless another request did so meanwhile, or nothing is left in this window."""
        goes_on = lease.ends_at > now
        if goes_on and (lease.mine >= n or not lease.others):
            return
        most = max(1, self.limit // PARTS)
        # All of `n`, whatever is left: others may spend that while we ask.
        wanted = max(min(2 * lease.size or 1, most) if goes_on else 1, n)
        async with self._sessions.engine_batch() as db:
            taken = await rate_limits.take(db, name, wanted, self.limit, self.period, now)
        same = taken.ends_at == lease.ends_at
        lease.mine = taken.granted + (lease.mine if same else 0)
        lease.others, lease.ends_at = taken.left, taken.ends_at
        lease.size = wanted


def seconds_until(then: datetime, now: datetime) -> int:
    """In whole seconds, at least 1."""
    return max(1, -int((now - then).total_seconds() // 1))
