"""Trying a provider out: asking it how it is, and sending one message by it."""

from typing import Annotated
from uuid import UUID

from fastapi import status
from pydantic import Field, StringConstraints

from activities.obstacles import lacking
from api.accounts import account_of, is_ours, kind_of, what_is_wrong, what_is_wrong_with_ours
from api.callers import WorkspaceId, needs
from api.deps import Db, noted
from api.manners import Feature
from api.routes.previews import variables
from api.routes.templates import compiled
from api.shapes import In, Out, example
from api.stack import Opened
from domain import trials
from domain.channels import LONGEST_ADDRESS, Channel, normal
from domain.errors import Invalid, NotFound, Refused
from domain.roles import Permission
from models.queries import provider_accounts, provider_tests, queued, workspaces

router = Feature(prefix="/providers", tags=["providers"])


class Checked(Out):
    healthy: bool
    says: str = Field(description="What is wrong, in a sentence, or that nothing is.")

    model_config = example({"healthy": False, "says": "SendGrid does not know this API key."})


class TestIn(In):
    address: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ADDRESS)] = Field(
        description="An email, a phone number with its country's code, a URL, or a browser's subscription as "
        "JSON: whatever the provider's channel takes."
    )

    model_config = example({"address": "me@records.example"})


class TestSent(Out):
    message_id: UUID = Field(description="The ledger's line: it tells what became of it.")

    model_config = example({"message_id": "0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1e"})


@router.post("/{provider_id}/check", dependencies=[needs(Permission.PROVIDERS_WRITE)])
async def check_provider(provider_id: UUID, opened: Opened, workspace_id: WorkspaceId) -> Checked:
    """Ask the provider whether a message could be sent now. Nothing is sent.

    Where one could, what was refused and waits on its channel to be tried again is tried within seconds.
    """
    channel = Channel.EMAIL
    if is_ours(provider_id):
        wrong = await what_is_wrong_with_ours(opened)
    else:
        async with opened.sessions(workspace_id) as db:
            row = await provider_accounts.get(db, provider_id)
        wrong = await what_is_wrong(opened, kind_of(row), account_of(opened, row))
        channel = Channel(row.channel)
    if wrong is None:
        async with opened.sessions(workspace_id) as db:
            await queued.hasten(db, workspace_id, channel, opened.clock.now())
    return Checked(healthy=wrong is None, says=wrong or "A message could be sent now.")


@router.post(
    "/{provider_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.PROVIDERS_WRITE), noted("test", "provider")],
)
async def test_provider(
    provider_id: UUID, body: TestIn, opened: Opened, db: Db, workspace_id: WorkspaceId
) -> TestSent:
    """Send a few words to an address by this very provider. Consent, caps and stats leave it out."""
    if not await workspaces.is_open(db):
        raise NotFound("This workspace was closed.")
    ours = is_ours(provider_id)
    channel = Channel.EMAIL if ours else Channel((await provider_accounts.get(db, provider_id)).channel)
    try:
        address = normal(channel, body.address)
    except ValueError as error:
        raise Invalid(f"{error}.", "/address") from None
    workspace = await workspaces.get(db, workspace_id)
    if reasons := lacking(workspace, [channel]):
        raise Refused(" ".join(reasons))
    said = compiled(trials.SAID[channel], workspace, opened.settings.public_url)
    holes = said.taken.render(variables(channel, None, address))
    message_id = await provider_tests.queue(
        db, workspace_id, provider_id, channel, address, holes, opened.clock.now()
    )
    return TestSent(message_id=message_id)
