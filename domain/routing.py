"""Which provider a message goes by: first by priority, then by weight, among those that may take it now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

# The provider that comes with the installation: mail goes by it where a workspace has no route for email.
BUILT_IN = UUID("01920000-0000-7000-8000-0000000000ff")


class WarmUp(BaseModel):
    """How many messages a new account may send on each of its first days; afterwards as many as it likes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    starts_on: date
    # Messages on the first day, the second, …
    days: list[Annotated[int, Field(ge=0, le=1_000_000_000)]] = Field(min_length=1, max_length=90)

    def allows(self, day: date) -> int | None:
        """How many on that day of the workspace's calendar; None for no limit."""
        nth = (day - self.starts_on).days
        if nth < 0:
            return 0
        return self.days[nth] if nth < len(self.days) else None

    def left(self, day: date, sent: int) -> int | None:
        """How many more on that day, when so many went already; None for no limit."""
        allowed = self.allows(day)
        return None if allowed is None else max(allowed - sent, 0)


@dataclass(frozen=True, slots=True)
class Road:
    """One route of a channel and a class."""

    provider_id: UUID
    priority: int
    weight: int


def in_order(roads: Sequence[Road], draw: Callable[[], float]) -> list[Road]:
    """The roads in the order in which to try them: by priority, and drawn by weight within one.

    `draw` answers evenly from 0 up to 1, without 1.
    """
    left = sorted(roads, key=lambda road: (road.priority, road.provider_id))
    ordered: list[Road] = []
    while left:
        first = [road for road in left if road.priority == left[0].priority]
        at = draw() * sum(road.weight for road in first)
        for road in first:
            at -= road.weight
            if at < 0:
                break
        ordered.append(road)
        left.remove(road)
    return ordered
