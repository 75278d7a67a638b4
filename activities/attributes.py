"""Attributes that become hot, or cease to be: the values of everybody are brought in line, page by page."""

from dataclasses import dataclass
from uuid import UUID

from temporalio import activity

from activities.slices import Hourglass, heartbeating
from models.base import Sessions
from models.queries import attributes


@dataclass(frozen=True)
class AttributeRun:
    """An attribute. The workspace comes first in every input: it opens the wall."""

    workspace_id: UUID
    name: str


@dataclass(frozen=True)
class AttributeSlice:
    pages: int  # Of profiles that were read.
    over: bool


class AttributeActivities:
    def __init__(self, sessions: Sessions, slice_seconds: float) -> None:
        self.sessions = sessions
        self.slice_seconds = slice_seconds

    @activity.defn(name="fill attribute")
    async def fill(self, run: AttributeRun) -> AttributeSlice:
        """Keep or drop the values of an attribute until the slice is over.

        Each page is a transaction of its own, between which everybody else writes profiles.
        """
        glass, pages, more = Hourglass(self.slice_seconds), 0, True
        async with heartbeating():
            while more and not glass.over:
                async with self.sessions.pinned(run.workspace_id) as db:
                    more = await attributes.fill(db, run.workspace_id, run.name)
                pages += 1
        return AttributeSlice(pages, not more)
