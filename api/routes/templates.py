"""Templates: what a message says, in Liquid, checked when it is saved."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import status
from pydantic import Field, StringConstraints, WithJsonSchema
from sqlalchemy.ext.asyncio import AsyncSession

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Feature
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened
from domain import short_templates, tokens
from domain import templates as domain
from domain.channels import Channel
from domain.errors import Invalid
from domain.holes import TemplateError
from domain.roles import Permission
from domain.short_templates import SHAPES, ShortTemplate
from domain.texts import Encoding, size
from models.queries import templates, workspaces
from models.queries.templates import Said
from models.templates import Template, TemplateVersion
from models.workspaces import Workspace

router = Feature(prefix="/templates", tags=["templates"])

Subject = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Html = Annotated[str, Field(min_length=1, description="Liquid. Variables are the profile's attributes.")]
Content = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "description": "What it says on another channel than email, in Liquid.",
            "anyOf": [{"title": f"On {name}", **shape.model_json_schema()} for name, shape in SHAPES.items()],
        }
    ),
]

_MAIL = ("subject", "html", "text", "preheader")
_CONTENT = {
    "name": "Winter letter",
    "channel": "email",
    "subject": "{{ first_name | default: 'Hello' }}, we kept something for you",
    "preheader": "It is round and black",
    "html": "<p>Dear {{ first_name | default: 'friend' }},</p>"
    '<p><a href="https://records.example/new">New records</a> are in.</p>',
}


class TemplateIn(In):
    """An email has subject, html, text and preheader; every other channel has content."""

    name: Name
    channel: Channel = Channel.EMAIL
    subject: Subject | None = Field(None, description="An email needs one.")
    html: Html | None = Field(None, description="An email needs it.")
    text: str | None = Field(None, description="The plain part; made from the HTML when it is null.")
    preheader: str | None = Field(None, max_length=500, description="Shown beside the subject in the inbox.")
    content: Content | None = None

    model_config = example(_CONTENT)


class TemplateChange(In):
    """What to change; the rest stays. Other content than before becomes a new version."""

    name: Name = Field(default_factory=absent)
    channel: Channel = Field(default_factory=absent, description="It stays what it was.")
    subject: Subject = Field(default_factory=absent)
    html: Html = Field(default_factory=absent)
    text: str | None = None
    preheader: str | None = Field(None, max_length=500)
    content: Content = Field(default_factory=absent)

    model_config = example({"subject": "New records for {{ first_name | default: 'you' }}"})


class SmsSize(Out):
    """What a text takes on the air (3GPP TS 23.038)."""

    encoding: Encoding = Field(description="GSM-7 if its alphabet has all letters, else UCS-2.")
    characters: int = Field(description="As they are counted: €, [ and the like are two, and most emoji.")
    segments: int = Field(description="Parts it is sent in: each is paid for.")


class TemplateOut(Out):
    id: UUID
    name: str
    channel: Channel
    version: int = Field(
        description="Counts the changes of the content, from 1. What was sent keeps its own."
    )
    version_id: UUID
    subject: str | None = Field(description="Null on other channels than email.")
    html: str | None
    text: str | None
    preheader: str | None
    content: dict[str, Any] | None = Field(description="What it says on another channel than email.")
    variables: list[str] = Field(
        description="Attributes that every message prints without a default: who lacks one is skipped."
    )
    sms: SmsSize | None = Field(
        description="Of a text without what differs from person to person: so much it takes at least."
    )
    created_at: datetime
    updated_at: datetime

    model_config = example(
        _CONTENT
        | {
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "version": 1,
            "version_id": "0199f1c2-a4b1-7d00-9a3b-1c2d3e4f5a6b",
            "text": None,
            "content": None,
            "variables": [],
            "sms": None,
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.TEMPLATES_WRITE)])
async def create_template(body: TemplateIn, opened: Opened, workspace_id: WorkspaceId, db: Db) -> TemplateOut:
    """Create a template. It is compiled first: a fault in it is a 422 that names the part and the line."""
    content = said(body.channel, body.model_dump(exclude={"name", "channel"}))
    workspace = await workspaces.get(db, workspace_id)
    compiled(content, workspace, opened.settings.public_url)
    made = await templates.create(db, workspace_id, body.name, content)
    return shown(*made, workspace, opened.settings.public_url)


@router.get("", dependencies=[needs(Permission.TEMPLATES_READ)])
async def list_templates(
    opened: Opened, workspace_id: WorkspaceId, db: Db, pages: Pages
) -> Page[TemplateOut]:
    """Templates, the newest first, each with its newest version."""
    found = await templates.page(db, pages.after, pages.limit)
    workspace = await workspaces.get(db, workspace_id)
    items = []
    for each in found:
        items.append(shown(*each, workspace, opened.settings.public_url))
        await asyncio.sleep(0)  # Texts are rendered for it: others have their turn in between.
    return page_of(items, [template.id for template, _ in found], pages.limit)


@router.get("/{template_id}", dependencies=[needs(Permission.TEMPLATES_READ)])
async def read_template(template_id: UUID, opened: Opened, db: Db) -> TemplateOut:
    """A template and its newest version."""
    return await _shown(db, opened.settings.public_url, *await templates.get(db, template_id))


@router.patch("/{template_id}", dependencies=[needs(Permission.TEMPLATES_WRITE)])
async def change_template(
    template_id: UUID,
    change: TemplateChange,
    opened: Opened,
    workspace_id: WorkspaceId,
    db: Db,
    unchanged: Unchanged,
) -> TemplateOut:
    """Change a template. Campaigns that have started go on with the version they started with."""
    if not change.model_fields_set:
        raise Invalid("Name at least one field to change.")
    template, version = await templates.get(db, template_id, lock=True)
    workspace, public_url = await workspaces.get(db, workspace_id), opened.settings.public_url
    unchanged.check(shown(template, version, workspace, public_url))
    values = change.model_dump(exclude_unset=True)
    if values.pop("channel", template.channel) != template.channel:
        raise Invalid("A template stays on its channel; make another one for this.", "/channel")
    name = values.pop("name", template.name)
    content = said(Channel(template.channel), _before(template, version) | values)
    compiled(content, workspace, public_url)
    return shown(*await templates.change(db, template_id, name, content), workspace, public_url)


@router.delete(
    "/{template_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.TEMPLATES_WRITE)]
)
async def delete_template(template_id: UUID, opened: Opened, db: Db, unchanged: Unchanged) -> None:
    """Delete a template that no campaign or flow uses and no message was made from."""
    if unchanged.asked:
        found = await templates.get(db, template_id, lock=True)
        unchanged.check(await _shown(db, opened.settings.public_url, *found))
    await templates.delete(db, template_id)


def said(channel: Channel, values: Mapping[str, Any]) -> Said:
    """What a body says on its channel. Raises `Invalid` for each field that it lacks or should not have."""
    mail, content = {name: values.get(name) for name in _MAIL}, values.get("content")
    if channel is Channel.EMAIL:
        faults = [
            Invalid("This field is required.", f"/{name}") for name in ("subject", "html") if not mail[name]
        ]
        if content is not None:
            faults.append(Invalid("An email has subject, html, text and preheader instead.", "/content"))
    else:
        faults = [
            Invalid(f"A template for {channel} says everything in content.", f"/{name}")
            for name, value in mail.items()
            if value is not None
        ]
        if content is None:
            faults.append(Invalid("This field is required.", "/content"))
    if faults:
        faults[0].also.extend(faults[1:])
        raise faults[0]
    if channel is Channel.EMAIL:
        return domain.Template(**{name: value for name, value in mail.items() if value is not None})
    return short_templates.checked(channel, content or {})


def _before(template: Template, version: TemplateVersion) -> dict[str, Any]:
    if template.channel != Channel.EMAIL:
        return {"content": version.content}
    return {name: getattr(version, name) for name in _MAIL}


def compiled(
    content: Said, workspace: Workspace, public_url: str
) -> domain.Compiled | short_templates.Compiled:
    """The template, compiled as the workspace's messages are. Raises `Invalid` naming the part and line."""
    if isinstance(content, ShortTemplate):
        return short_templates.compile(content, workspace_name=workspace.name, public_url=public_url)
    return domain.compile(
        content,
        workspace_name=workspace.name,
        postal_address=workspace.postal_address or "",
        public_url=public_url,
    )


def sms_size(text: str) -> SmsSize:
    return SmsSize.model_validate(size(text))


async def _shown(
    db: AsyncSession, public_url: str, template: Template, version: TemplateVersion
) -> TemplateOut:
    return shown(template, version, await workspaces.get(db, template.workspace_id), public_url)


def shown(template: Template, version: TemplateVersion, workspace: Workspace, public_url: str) -> TemplateOut:
    content = templates.said_in(version, template.channel)
    mail = isinstance(content, domain.Template)
    return TemplateOut(
        id=template.id,
        name=template.name,
        channel=Channel(template.channel),
        version=version.number,
        version_id=version.id,
        subject=version.subject if mail else None,
        html=version.html if mail else None,
        text=version.text,
        preheader=version.preheader,
        content=version.content,
        variables=sorted(templates.variables_required(content)),
        sms=_least(content, workspace, public_url),
        created_at=template.created_at,
        updated_at=template.updated_at,
    )


def _least(content: Said, workspace: Workspace, public_url: str) -> SmsSize | None:
    """The size of a text in which nothing stands for what each person has of their own."""
    if not isinstance(content, ShortTemplate) or content.channel is not Channel.SMS:
        return None
    try:
        made = short_templates.compile(content, workspace_name=workspace.name, public_url=public_url)
        holes = short_templates.render(
            made, dict.fromkeys(("phone", *templates.variables_required(content)), "")
        )
    except (TemplateError, Invalid):
        return None
    return sms_size(short_templates.show(made, holes, "t" * tokens.LENGTH)["text"])
