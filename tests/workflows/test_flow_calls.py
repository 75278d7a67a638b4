"""A call from end to end: a flow calls a program, which answers, and its members go their ways."""

import base64
from typing import Any

from httpx2 import AsyncClient
from standardwebhooks import Webhook as Verifier
from temporalio.client import Client

from api.stack import TemporalLink
from domain.workspaces import DEFAULT_WORKSPACE
from lab.http_server import Answer
from models.base import Sessions
from tests.api.conftest import served, the_app
from tests.calling import a_webhook, call
from tests.channels.calls_support import a_site
from tests.sending import a_graph, a_template, people, send, wait
from tests.support import Database
from tests.workflows.site import Site, at_work
from tests.workflows.test_flows import PLACES, SENT, an_hour_later

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


async def carried(site: Site, to: str) -> None:
    """What the flow's call wrote is posted, signed, as a delivery is, whatever becomes of that itself."""
    await site.becomes("select count(*) from webhook_deliveries", [1])
    [(id_, body)] = [
        tuple(row) for row in await site.ask("select array[id::text, body] from webhook_deliveries")
    ]
    now = site.clock.now()
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": f"{now.timestamp():.0f}",
        "webhook-signature": Verifier(SECRET).sign(id_, now, body),
        "content-type": "application/json",
    }
    async with AsyncClient() as client:
        assert (await client.post(to, content=body, headers=headers)).status_code == 204


async def test_a_program_is_called_and_answers_and_each_member_goes_their_way(
    temporal: Client, temporal_address: str, sessions: Sessions, database: Database
) -> None:
    async with (
        at_work(temporal, sessions, database) as site,
        a_site(Answer(204)) as program,
        served(sessions, TemporalLink(temporal_address, temporal.namespace)) as api,
    ):
        the_app().state.stack.clock = site.clock
        async with sessions(DEFAULT_WORKSPACE) as db:
            template, _ = await a_template(db)
            webhook = await a_webhook(db, url=program.url)
            members = await people(db, 3)
        steps = {
            "ask": call(webhook, 1800, then="hello", otherwise="nap"),
            "hello": send(template),
            "nap": wait(1800),
        }
        flow = await site.a_flow(a_graph(steps, "ask"))
        await site.publish(flow)
        await site.enroll(flow, *members)
        await site.becomes("select sum(members)::int from calls", [3])

        await carried(site, program.url)
        [asked] = program.asked
        said: dict[str, Any] = Verifier(SECRET).verify(asked.body, asked.headers)["data"]
        well, ill, _ = (each["member"] for each in said["members"])
        answers = [{"member": well, "outcome": "done"}, {"member": ill, "outcome": "failed"}]
        at = "/" + said["callback_url"].split("/", 3)[3]
        answer = await api.post(at, json={"members": answers}, headers={"Authorization": ""})
        assert answer.json() == {"taken": 2, "late": 0, "repeated": 0, "unknown": 0}

        await site.becomes(PLACES, ["ask 1", "finished 1", "nap 1"])
        assert await site.ask(SENT) == ["hello accepted 1"]
        await an_hour_later(site, flow)
        await site.becomes(PLACES, ["finished 2", "nap 1"])
