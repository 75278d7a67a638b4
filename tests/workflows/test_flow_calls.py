"""A call from end to end: a flow calls a program, which answers, and its members go their ways."""

from typing import Any

from temporalio.client import Client

from api.stack import TemporalLink
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from tests.api.conftest import served, the_app
from tests.calling import call
from tests.databases import Database
from tests.sending import a_graph, a_template, people, send, wait
from tests.support import eventually
from tests.webhooks import a_webhook, receiving
from tests.workflows.site import at_work
from tests.workflows.test_flows import PLACES, SENT, an_hour_later


async def test_a_program_is_called_and_answers_and_each_member_goes_their_way(
    temporal: Client, temporal_address: str, sessions: Sessions, database: Database
) -> None:
    async with (
        at_work(temporal, sessions, database) as site,
        receiving() as program,
        served(sessions, TemporalLink(temporal_address, temporal.namespace)) as api,
    ):
        the_app().state.stack.clock = site.clock
        webhook = await a_webhook(sessions, program.url, [])
        async with sessions(DEFAULT_WORKSPACE) as db:
            template, _ = await a_template(db)
            members = await people(db, 3)
        steps = {
            "ask": call(webhook, 1800, then="hello", otherwise="nap"),
            "hello": send(template),
            "nap": wait(1800),
        }
        flow = await site.a_flow(a_graph(steps, "ask"))
        await site.publish(flow)
        await site.enroll(flow, *members)

        async def it_was_called() -> bool:
            return program.taken.total() == 1

        await eventually(it_was_called, what="the call")
        [[posted]] = program.said.values()
        said: dict[str, Any] = posted["data"]
        well, ill, _ = (each["member"] for each in said["members"])
        answers = [{"member": well, "outcome": "done"}, {"member": ill, "outcome": "failed"}]
        at = "/" + said["callback_url"].split("/", 3)[3]
        answer = await api.post(at, json={"members": answers}, headers={"Authorization": ""})
        assert answer.json() == {"taken": 2, "late": 0, "repeated": 0, "unknown": 0}

        await site.becomes(PLACES, ["ask 1", "finished 1", "nap 1"])
        assert await site.ask(SENT) == ["hello accepted 1"]
        await an_hour_later(site, flow)
        await site.becomes(PLACES, ["finished 2", "nap 1"])
