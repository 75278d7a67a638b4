"""The ways on from a flow's steps, as the graphs of its versions have them."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from domain.flows import Flow, Send, next_step
from models.queries import flows
from models.queries.enrollments_moved import Move


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
