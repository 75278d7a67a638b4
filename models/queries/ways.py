"""The ways on from a flow's steps, as the graphs of its versions have them."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.flows import START, Branch, Call, Flow, Send, Step, Wait, WaitForEvent, next_step
from models.base import Db
from models.queries import flows


class Move(NamedTuple):
    """A group's way from one step to the next."""

    workspace_id: UUID
    flow_id: UUID
    version_id: UUID
    origin: str
    to: str | None  # None: to the end.
    step: Step | None  # The step called `to`.
    template_version_id: UUID | None  # What a send step sends.
    why: str

    def due_on_arrival(self, now: datetime) -> datetime | None:
        """When those who arrive are due, at the latest; None if they wait for a message, and at the end."""
        match self.step:
            case Wait(duration=time) | WaitForEvent(at_most=time):
                return now + time
            case Branch() | Call():
                return now
            case Send() | None:
                return None


class Graph(NamedTuple):
    """One published version, which never changes."""

    workspace_id: UUID
    flow_id: UUID
    version_id: UUID
    flow: Flow
    templates: dict[str, str]  # Step → the template version that was pinned at publish.

    def way(self, origin: str, to: str | None, why: str) -> Move:
        step = self.flow.steps[to] if to else None
        template = UUID(self.templates[to]) if isinstance(step, Send) and to else None
        return Move(self.workspace_id, self.flow_id, self.version_id, origin, to, step, template, why)

    @property
    def entrance(self) -> Move:
        return self.way(START, self.flow.first, "entered")


Graphs = dict[UUID, Graph]  # By version.


async def graphs(db: AsyncSession, flow_id: UUID) -> Graphs:
    """The graph of every version of the flow: members go on in the one that they entered."""
    return {
        version.id: Graph(
            version.workspace_id,
            flow_id,
            version.id,
            Flow.model_validate(version.definition),
            version.templates,
        )
        for version in await flows.published(db, flow_id)
    }


_ENTERED = text(
    """
    select v.id, v.definition::text as definition, v.templates
    from flows f join flow_versions v on v.workspace_id = :workspace and v.id = f.version_id
    where f.workspace_id = :workspace and f.id = :flow
    """
)


async def entrance(db: Db, workspace_id: UUID, flow_id: UUID) -> Move:
    """The way that whoever enters a published flow takes first."""
    row = (await db.execute(_ENTERED, {"workspace": workspace_id, "flow": flow_id})).one()
    return Graph(workspace_id, flow_id, row.id, _parsed(row.definition), row.templates).entrance


@lru_cache(maxsize=200)
def _parsed(definition: str) -> Flow:
    return Flow.model_validate_json(definition)


def after_messages(known: Graphs) -> Sequence[Move]:
    """The ways on from send steps to other steps, which members take when their message is closed.

    From one send step to the next they go by `advance`, which writes their next message.
    """
    return [
        graph.way(name, to, "the message was closed")
        for graph in known.values()
        for name, step in graph.flow.steps.items()
        if isinstance(step, Send)
        and not isinstance(graph.flow.steps.get((to := next_step(step)) or ""), Send)
    ]
