"""What tests of calls by flows begin with: a webhook, the step that calls it, and what was posted."""

from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.tokens import About, Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.calls import Call, Outcome
from models.queries import calls
from models.queries.calls import Heard, Said
from models.webhooks import Webhook
from tests.people import HERE, NOON, a_flow
from tests.sending import SIGNING, some
from tests.support import GivenClock


async def a_webhook(db: AsyncSession, **values: Any) -> UUID:
    """One that only flows call."""
    known = {"name": "n8n", "url": "https://n8n.example/x", "event_types": [], "secret": "sealed", **values}
    webhook = Webhook(**HERE, **known)
    db.add(webhook)
    await db.flush()
    return webhook.id


def call(webhook: UUID | str, within: float | None = 3600, **values: Any) -> dict[str, Any]:
    callback = None if within is None else {"within": within}
    return {"kind": "webhook", "webhook_id": str(webhook), "callback": callback, **values}


async def a_call(db: AsyncSession) -> UUID:
    """A call by a flow that is over, about nobody whom an example could name."""
    flow, version = await a_flow(db)
    await db.execute(text("update flows set state = 'archived' where id = :flow"), {"flow": flow})
    made = Call(
        **HERE,
        flow_id=flow,
        version_id=version,
        step="ask",
        webhook_id=uuid4(),
        members=0,
        deadline=NOON,
        created_at=NOON,
        ends_at=NOON,
    )
    db.add(made)
    await db.flush()
    return made.id


async def posted(sessions: Sessions) -> list[dict[str, Any]]:
    """The data of every call that was written for a webhook, in their order."""
    asked = "select body from webhook_deliveries where event_type = 'flow.call' order by id"
    async with sessions(DEFAULT_WORKSPACE) as db:
        return [orjson.loads(body)["data"] for body in await some(db, asked)]


async def answered(
    sessions: Sessions, clock: GivenClock, said: dict[str, Any], *members: str | UUID, **values: Any
) -> Heard:
    """Answer a call that was posted for these members, or for all of it, with `outcome` and `reason`."""
    outcome = Outcome(values.get("outcome", "done"))
    answers = [Said(UUID(str(each)), outcome, values.get("reason")) for each in members]
    async with sessions(DEFAULT_WORKSPACE) as db:
        token = said["callback_url"].rpartition("/")[2]
        named = Tokens(SIGNING).read(token, About.CALL)
        assert named == (DEFAULT_WORKSPACE, UUID(said["call_id"]))
        found = await calls.find(db, named[1])
        assert found
        return await calls.answer(db, *named, found, answers or outcome, clock.now())


async def disable(sessions: Sessions) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update webhooks set state = 'disabled'"))
