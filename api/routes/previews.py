"""Looking at a campaign's message before anybody gets it: on the screen, or sent to oneself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, status
from pydantic import Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from activities.obstacles import lacking
from api.callers import WorkspaceId, needs
from api.deps import Db, noted
from api.manners import Feature
from api.routes.templates import SmsSize, compiled, sms_size
from api.shapes import In, Out, example
from api.stack import Opened
from domain import short_templates
from domain import templates as domain
from domain.channels import Channel, address_kind, normal
from domain.errors import Invalid, NotFound, Refused
from domain.holes import TemplateError
from domain.messages import MessageClass
from domain.profiles import ConsentState, Purpose
from domain.roles import Permission
from domain.short_templates import ShortTemplate
from domain.tokens import Tokens
from domain.workspaces import reached_at
from models.campaigns import Campaign
from models.queries import messages, profiles_found, rows, templates, workspaces
from models.queries.profiles_found import Person
from models.queries.templates import Said

router = Feature(prefix="/campaigns", tags=["campaigns"])

NOBODY = UUID(int=0)  # The message that a preview's links speak for: they lead nowhere.


class Preview(Out):
    """A message as one profile would get it."""

    profile_id: UUID | None
    channel: Channel
    address: str | None = Field(description="By which the profile is reached on this channel.")
    subject: str | None = Field(description="Of an email. Null when it can't be rendered; see `missing`.")
    html: str | None
    text: str | None
    content: dict[str, Any] | None = Field(description="On another channel than email.")
    sms: SmsSize | None = Field(description="What a text takes on the air.")
    missing: list[str] = Field(
        description="What this profile lacks, in words. If there is anything, the message will be skipped; "
        "here [its name] stands in its place."
    )

    model_config = example(
        {
            "profile_id": "0199f1c2-a4b2-7e11-8c4d-5e6f7a8b9c0d",
            "channel": "email",
            "address": "ada@example.com",
            "subject": "Ada, we kept something for you",
            "html": "<p>Dear Ada,</p>…",
            "text": "Dear Ada,…",
            "content": None,
            "sms": None,
            "missing": [],
        }
    )


class TestIn(In):
    addresses: list[Annotated[str, StringConstraints(min_length=1, max_length=4_000)]] = Field(
        min_length=1,
        max_length=20,
        description="Of the campaign's channel: emails, phone numbers, URLs, or push subscriptions as JSON.",
    )
    profile: str | None = Field(
        None, description="Whose attributes fill the message: a profile's id or email."
    )

    model_config = example({"addresses": ["me@records.example"], "profile": "ada@example.com"})


class Tested(Out):
    message_ids: list[UUID] = Field(description="One for each address, in their order.")

    model_config = example({"message_ids": ["0199f1c2-a4b3-7a22-9d5e-6f7a8b9c0d1e"]})


@dataclass(frozen=True)
class Draft:
    """What the campaign sends, or would send now."""

    content: Said
    compiled: domain.Compiled | short_templates.Compiled
    version_id: UUID
    channel: Channel


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
    """The message as it would be sent to one profile: a mail with footer, pixel and links to nowhere."""
    person = await profiles_found.find(db, profile) if profile else None
    draft = await draft_of(db, campaign_id, opened.settings.public_url)
    kind = address_kind(draft.channel)
    address = person.primary(kind) if person and kind else None
    holes, missing = fill(draft, variables(draft.channel, person, address))
    tracked = person is None or person.consents.get(Purpose.TRACKING) is ConsentState.GRANTED
    token = Tokens(opened.settings.signing_key.encode()).sign(workspace_id, NOBODY)
    return Preview(
        profile_id=person.profile.id if person else None,
        channel=draft.channel,
        address=address,
        missing=missing,
        **_looks(draft, holes, token, tracked),
    )


def _looks(draft: Draft, holes: tuple[str, ...] | None, token: str, tracked: bool) -> dict[str, Any]:
    """The parts of a preview that say what the message looks like; null where it can't be made."""
    looks: dict[str, Any] = dict.fromkeys(("subject", "html", "text", "content", "sms"))
    if holes is None:
        return looks
    if isinstance(draft.compiled, domain.Compiled):
        subject, html, text = domain.show(draft.compiled, holes, token, tracked=tracked)
        return looks | {"subject": subject, "html": html, "text": text}
    content = short_templates.show(draft.compiled, holes, token)
    sms = sms_size(content["text"]) if draft.channel is Channel.SMS else None
    return looks | {"content": content, "sms": sms}


@router.post(
    "/{campaign_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[needs(Permission.CAMPAIGNS_SEND), noted("test", "campaign")],
)
async def test_campaign(campaign_id: UUID, body: TestIn, opened: Opened, db: Db) -> Tested:
    """Send the message to these addresses, filled for one profile. Consent, caps and stats leave it out."""
    if not await workspaces.is_open(db):
        raise NotFound("This workspace was closed.")
    campaign = await rows.get(db, Campaign, campaign_id)
    draft = await draft_of(db, campaign_id, opened.settings.public_url)
    addresses = checked_addresses(draft.channel, body.addresses)
    if reasons := lacking(await workspaces.get(db, campaign.workspace_id), [draft.channel]):
        raise Refused(" ".join(reasons))
    person = await profiles_found.find(db, body.profile) if body.profile else None
    letters = []
    for address in addresses:
        holes, missing = fill(draft, variables(draft.channel, person, address))
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
        template_version_id=draft.version_id,
        request_id=uuid7(),
        now=opened.clock.now(),
        channel=draft.channel,
    )
    return Tested(message_ids=ids)


def checked_addresses(channel: Channel, addresses: Sequence[str]) -> list[str]:
    """Each in its normal form, once. Raises `Invalid` with the pointers of those that are none."""
    faults, found = [], []
    for nth, address in enumerate(addresses):
        try:
            found.append(normal(channel, address))
        except ValueError as error:
            faults.append(Invalid(f"{error}.", f"/addresses/{nth}"))
    if faults:
        faults[0].also.extend(faults[1:])
        raise faults[0]
    return list(dict.fromkeys(found))


async def draft_of(db: AsyncSession, campaign_id: UUID, public_url: str) -> Draft:
    campaign = await rows.get(db, Campaign, campaign_id)
    workspace = await workspaces.get(db, campaign.workspace_id)
    version_id = campaign.template_version_id or (await templates.newest(db, campaign.template_id)).id
    content = (await templates.said(db, [version_id]))[version_id]
    channel = content.channel if isinstance(content, ShortTemplate) else Channel.EMAIL
    return Draft(
        content,
        compiled(content, workspace, reached_at(workspace.tracking_host, public_url)),
        version_id,
        channel,
    )


def variables(channel: Channel, person: Person | None, address: str | None) -> dict[str, Any]:
    """What a template may print about this person."""
    known = dict(person.profile.attributes) if person else {}
    if name := short_templates.address_variable(channel):
        known[name] = address or EXAMPLES[name]
    return known


EXAMPLES = {"email": "you@example.com", "phone": "+15005550006"}  # Of an address that nobody has.


def fill(draft: Draft, known: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, list[str]]:
    """The values of the holes, and what is missing, in words. What is missing is shown as [its name]."""
    lacked = sorted(name for name in templates.variables_required(draft.content) if known.get(name) is None)
    missing = [
        f"The template prints {{{{ {name} }}}}, which this profile lacks; give it a default: "
        f"{{{{ {name} | default: '…' }}}}."
        for name in lacked
    ]
    try:
        return draft.compiled.taken.render({**known, **{name: f"[{name}]" for name in lacked}}), missing
    except TemplateError as error:
        return None, [*missing, error.message]
