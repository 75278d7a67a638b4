"""What a process remembers for a few seconds, so that not every request asks the database who asks."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

REMEMBERED = 3.0  # Seconds: so long may a revoked key or an ended session live on.

Found = TypeVar("Found")


class Memory(Generic[Found]):
    """What was looked up, for `REMEMBERED` seconds. That nothing was found is never remembered."""

    def __init__(self, size: int = 10_000, seconds: Callable[[], float] = time.monotonic) -> None:
        """`seconds` tells the time that only goes forward."""
        self._size, self._seconds = size, seconds
        self._kept: OrderedDict[Hashable, tuple[float, Found]] = OrderedDict()

    def get(self, what: Hashable) -> Found | None:
        kept = self._kept.get(what)
        return kept[1] if kept and self._seconds() < kept[0] else None

    def keep(self, what: Hashable, found: Found) -> None:
        self._kept[what] = self._seconds() + REMEMBERED, found
        self._kept.move_to_end(what)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        self._kept.clear()
