"""The name of a workspace's own under which links and pixels of its mail lead to us."""

from typing import Annotated
from uuid import uuid4

import httpx2
from pydantic import AfterValidator, Field

from api.callers import Asker, WorkspaceId, needs
from api.manners import Feature
from api.routes.workspace import WorkspaceOut, shown
from api.shapes import In, example
from api.stack import Opened, Stack
from channels.egress import EgressClient, EgressRefused
from domain.errors import Invalid
from domain.roles import Permission
from domain.sending_domains import normal_domain
from domain.tokens import Tokens
from models.queries import workspaces

router = Feature(prefix="/workspace", tags=["workspace"])

PROOF = "/t/ok"  # Where `api.tracking` proves that it is this installation.


class TrackingHost(In):
    host: Annotated[str, Field(max_length=300), AfterValidator(normal_domain)] | None = Field(
        description="Such as click.records.example, which leads to us; null: links lead to our own name."
    )

    model_config = example({"host": "click.records.example"})


@router.post("/tracking-host", dependencies=[needs(Permission.WORKSPACE_WRITE)])
async def choose_tracking_host(
    body: TrackingHost, opened: Opened, asker: Asker, workspace_id: WorkspaceId
) -> WorkspaceOut:
    """Have links, pixels and the way out of your mail lead to a name of yours, by https.

    It is called at once, and taken when it leads to us. Keep it for as long as people may click in what was
    sent with it.
    """
    if body.host is not None:
        await _reaches_us(opened, body.host)
    async with opened.sessions(workspace_id, asker.actor) as db:
        return shown(await workspaces.change(db, workspace_id, {"tracking_host": body.host}))


async def _reaches_us(opened: Stack, host: str) -> None:
    """Raises `Invalid` where it does not."""
    asked = uuid4()
    at = f"https://{host}{PROOF}?asked={asked.hex}"
    lead = f"have {host} lead to {opened.settings.ground.tracking} (a CNAME) with a certificate of its own"
    try:
        async with EgressClient(opened.egress) as client:
            answer = await client.get(at)
    except EgressRefused as refused:
        raise Invalid(refused.message, "/host") from None
    except httpx2.HTTPError:
        raise Invalid(f"{at} can't be reached: {lead}.", "/host") from None
    ours = Tokens(opened.settings.signing_key.encode()).here(asked)
    if answer.status_code != httpx2.codes.OK or answer.text.strip() != ours:
        raise Invalid(f"{at} is answered by somebody else: {lead}.", "/host")
