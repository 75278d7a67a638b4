"""Looking at a campaign's mail before anybody gets it: on the screen, or in one's own mailbox."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, status
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from api.callers import WorkspaceId, needs
from api.deps import Db, noted
from api.manners import Mannered
from api.routes.templates import compiled
from api.routes.workspace import Address
from api.runs import lacking
from api.shapes import In, Out, example
from api.stack import Opened
from domain import templates as domain
from domain.errors import NotFound, Refused
from domain.messages import MessageClass
from domain.profiles import ConsentState, Purpose
from domain.roles import Permission
from domain.tokens import Tokens
from models.campaigns import Campaign
from models.queries import messages, profiles_found, rows, templates, workspaces
from models.queries.profiles_found import Person

router = APIRouter(prefix="/campaigns", tags=["campaigns"], route_class=Mannered)

NOBODY = UUID(int=0)  # The message that a preview's links speak for: they lead nowhere.


class Preview(Out):
    """A mail as one profile would get it."""

    profile_id: UUID | None
    address: str | None
    subject: str | None = Field(description="Null when it can't be rendered at all; see `missing`.")
    html: str | None
    text: str | None
    missing: list[str] = Field(
        description="What this profile lacks, in words. If there is anything, the message will be skipped; "
        "here [its name] stands in its place."
    )

    model_config = example(
        {
            "profile_id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "address": "ada@example.com",
            "subject": "Ada, we kept something for you",
            "html": "<p>Dear Ada,</p>…",
            "text": "Dear Ada,…",
            "missing": [],
        }
    )


class TestIn(In):
    addresses: list[Address] = Field(min_length=1, max_length=20)
    profile: str | None = Field(None, description="Whose attributes fill the mail: a profile's id or email.")

    model_config = example({"addresses": ["me@records.example"], "profile": "ada@example.com"})


class Tested(Out):
    message_ids: list[UUID] = Field(description="One for each address, in their order.")

    model_config = example({"message_ids": ["0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1e"]})


@router.get("/{campaign_id}/preview", dependencies=[needs(Permission.CAMPAIGNS_READ)])
async def preview_campaign(
    campaign_id: UUID,
    opened: Opened,
    workspace_id: WorkspaceId,
    db: Db,
    profile: Annotated[
        str | None, Query(description="A profile's id or email; nobody's when left out.")
    ] = None,
) -> Preview:
    """The mail as it would be sent to one profile, with footer, pixel and links. Its links lead nowhere."""
    person = await profiles_found.find(db, profile) if profile else None
    content, mail, _ = await _mail(db, campaign_id, opened.settings.public_url)
    holes, missing = fill(content, mail, variables(person, person.email if person else None))
    tracked = person is None or person.consents.get(Purpose.TRACKING) is ConsentState.GRANTED
    token = Tokens(opened.settings.signing_key.encode()).sign(workspace_id, NOBODY)
    subject, html, text = (
        domain.show(mail, holes, token, tracked=tracked) if holes is not None else (None, None, None)
    )
    return Preview(
        profile_id=person.profile.id if person else None,
        address=person.email if person else None,
        subject=subject,
        html=html,
        text=text,
        missing=missing,
    )


@router.post(
    "/{campaign_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.CAMPAIGNS_SEND), noted("test", "campaign")],
)
async def test_campaign(campaign_id: UUID, body: TestIn, opened: Opened, db: Db) -> Tested:
    """Send the mail to these addresses, filled for one profile. Consent, caps and stats leave it out."""
    if not await workspaces.is_open(db):
        raise NotFound("This workspace was closed.")
    campaign = await rows.get(db, Campaign, campaign_id)
    if reasons := lacking(await workspaces.get(db, campaign.workspace_id)):
        raise Refused(" ".join(reasons))
    person = await profiles_found.find(db, body.profile) if body.profile else None
    content, mail, version_id = await _mail(db, campaign_id, opened.settings.public_url)
    letters = []
    for address in dict.fromkeys(body.addresses):
        holes, missing = fill(content, mail, variables(person, address))
        if holes is None or missing:
            raise Refused(" ".join(missing), "/profile")
        letters.append((address, holes))
    ids = await messages.queue_letters(
        db,
        campaign.workspace_id,
        letters,
        step="test",
        message_class=MessageClass.TEST,
        campaign_id=campaign.id,
        template_version_id=version_id,
        request_id=uuid7(),
        now=opened.clock.now(),
    )
    return Tested(message_ids=ids)


async def _mail(
    db: AsyncSession, campaign_id: UUID, public_url: str
) -> tuple[domain.Template, domain.Compiled, UUID]:
    """The template that the campaign sends, or would send now: as written, compiled, and its version's id."""
    campaign = await rows.get(db, Campaign, campaign_id)
    workspace = await workspaces.get(db, campaign.workspace_id)
    if campaign.template_version_id is not None:
        [version] = await templates.versions(db, [campaign.template_version_id])
    else:
        version = await templates.newest(db, campaign.template_id)
    content = templates.content_of(version)
    return content, compiled(content, workspace, public_url), version.id


def variables(person: Person | None, address: str | None) -> dict[str, Any]:
    """What a template may print about this person."""
    attributes = person.profile.attributes if person else {}
    return {**attributes, "email": address or "you@example.com"}


def fill(
    content: domain.Template, mail: domain.Compiled, known: Mapping[str, Any]
) -> tuple[tuple[str, ...] | None, list[str]]:
    """The values of the holes, and what is missing, in words. What is missing is shown as [its name]."""
    lacked = sorted(name for name in domain.variables_required(content) if known.get(name) is None)
    missing = [
        f"The template prints {{{{ {name} }}}}, which this profile lacks; give it a default: "
        f"{{{{ {name} | default: '…' }}}}."
        for name in lacked
    ]
    try:
        return domain.render(mail, {**known, **{name: f"[{name}]" for name in lacked}}), missing
    except domain.TemplateError as error:
        return None, [*missing, error.message]
