"""A flow calls: a group of those who came to the step is written into one delivery, with a way to answer."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from domain.flow_calls import MOST, Place, groups
from domain.flows import Call
from domain.remedies import of_calls
from domain.tokens import About, Tokens
from models.base import Db
from models.queries import calls, failures, webhook_health
from models.queries.calls import Made
from models.queries.ways import Graph


@dataclass(frozen=True)
class Caller:
    """Calls webhooks about members, who are answered for under `public_url`."""

    tokens: Tokens
    public_url: str

    def url(self, workspace_id: UUID, call_id: UUID) -> str:
        """Where the call is answered: whoever knows it may."""
        token = self.tokens.sign(workspace_id, call_id, About.CALL)
        return f"{self.public_url.rstrip('/')}/api/v1/callbacks/{token}"

    async def call(self, db: Db, graph: Graph, name: str, step: Call, now: datetime) -> int:
        """Call about up to `MOST` who have come to the step of this name. Returns how many there were.

        They are held before they are written about, in the caller's one transaction: where it does not
        commit, nobody was called about, and they are found again.
        """
        here = (graph.version_id, name)
        found = await calls.hold(db, graph.workspace_id, graph.flow_id, here, step.attributes, now, MOST)
        if not found:
            return 0
        flow = await calls.name(db, graph.workspace_id, graph.flow_id)
        place = Place(graph.flow_id, flow, name, step)
        room = place.room(self.url(graph.workspace_id, UUID(int=0)), now)
        made = []
        for group in groups((member.said() for member in found), room):
            id_ = uuid7()
            body = place.body(id_, self.url(graph.workspace_id, id_), group, now)
            made.append(Made(id_, uuid7(), body, [UUID(each["member"]) for each in group]))
        called = await calls.write(
            db,
            graph.workspace_id,
            graph.flow_id,
            here,
            step.webhook_id,
            made,
            place.deadline(now),
            now,
        )
        if await webhook_health.off(db, graph.workspace_id, step.webhook_id):
            hour = now.strftime("%Y-%m-%dT%H")
            lost = of_calls(graph.flow_id, flow, name, step.webhook_id, hour)
            await failures.note(db, graph.workspace_id, [lost], now)
        return called
