"""Templates: what a mail says, in Liquid, checked when it is saved."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, status
from pydantic import Field, StringConstraints

from api.callers import WorkspaceId, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Mannered
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened
from domain import templates as domain
from domain.errors import Invalid
from domain.roles import Permission
from models.queries import templates, workspaces
from models.templates import Template, TemplateVersion
from models.workspaces import Workspace

router = APIRouter(prefix="/templates", tags=["templates"], route_class=Mannered)

Subject = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Html = Annotated[str, Field(min_length=1, description="Liquid. Variables are the profile's attributes.")]

_CONTENT = {
    "name": "Winter letter",
    "subject": "{{ first_name | default: 'Hello' }}, we kept something for you",
    "preheader": "It is round and black",
    "html": "<p>Dear {{ first_name | default: 'friend' }},</p>"
    '<p><a href="https://records.example/new">New records</a> are in.</p>',
}


class TemplateIn(In):
    name: Name
    subject: Subject
    html: Html
    text: str | None = Field(None, description="The plain part; made from the HTML when it is null.")
    preheader: str | None = Field(None, max_length=500, description="Shown beside the subject in the inbox.")

    model_config = example(_CONTENT)


class TemplateChange(In):
    """What to change; the rest stays. Other content than before becomes a new version."""

    name: Name = Field(default_factory=absent)
    subject: Subject = Field(default_factory=absent)
    html: Html = Field(default_factory=absent)
    text: str | None = None
    preheader: str | None = Field(None, max_length=500)

    model_config = example({"subject": "New records for {{ first_name | default: 'you' }}"})


class TemplateOut(Out):
    id: UUID
    name: str
    version: int = Field(
        description="Counts the changes of the content, from 1. What was sent keeps its own."
    )
    version_id: UUID
    subject: str
    html: str
    text: str | None
    preheader: str | None
    variables: list[str] = Field(
        description="Attributes that every message prints without a default: who lacks one is skipped."
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
            "variables": [],
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.TEMPLATES_WRITE)])
async def create_template(body: TemplateIn, opened: Opened, workspace_id: WorkspaceId, db: Db) -> TemplateOut:
    """Create a template. It is compiled first: a fault in it is a 422 that names the part and the line."""
    content = domain.Template(body.subject, body.html, body.text, body.preheader)
    compiled(content, await workspaces.get(db, workspace_id), opened.settings.public_url)
    return shown(*await templates.create(db, workspace_id, body.name, content))


@router.get("", dependencies=[needs(Permission.TEMPLATES_READ)])
async def list_templates(db: Db, pages: Pages) -> Page[TemplateOut]:
    """Templates, the newest first, each with its newest version."""
    found = await templates.page(db, pages.after, pages.limit)
    return page_of([shown(*each) for each in found], [template.id for template, _ in found], pages.limit)


@router.get("/{template_id}", dependencies=[needs(Permission.TEMPLATES_READ)])
async def read_template(template_id: UUID, db: Db) -> TemplateOut:
    """A template and its newest version."""
    return shown(*await templates.get(db, template_id))


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
    unchanged.check(shown(template, version))
    before = {
        "name": template.name,
        "subject": version.subject,
        "html": version.html,
        "text": version.text,
        "preheader": version.preheader,
    }
    values = before | change.model_dump(exclude_unset=True)
    name = values.pop("name")
    content = domain.Template(**values)
    compiled(content, await workspaces.get(db, workspace_id), opened.settings.public_url)
    return shown(*await templates.change(db, template_id, name, content))


@router.delete(
    "/{template_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.TEMPLATES_WRITE)]
)
async def delete_template(template_id: UUID, db: Db, unchanged: Unchanged) -> None:
    """Delete a template that no campaign or flow uses and no message was made from."""
    if unchanged.asked:
        unchanged.check(shown(*await templates.get(db, template_id, lock=True)))
    await templates.delete(db, template_id)


def compiled(content: domain.Template, workspace: Workspace, public_url: str) -> domain.Compiled:
    """The template, compiled as the workspace's messages are. Raises `Invalid` naming the part and line."""
    return domain.compile(
        content,
        workspace_name=workspace.name,
        postal_address=workspace.postal_address or "",
        public_url=public_url,
    )


def shown(template: Template, version: TemplateVersion) -> TemplateOut:
    needed = domain.variables_required(templates.content_of(version))
    return TemplateOut(
        id=template.id,
        name=template.name,
        version=version.number,
        version_id=version.id,
        subject=version.subject,
        html=version.html,
        text=version.text,
        preheader=version.preheader,
        variables=sorted(needed),
        created_at=template.created_at,
        updated_at=template.updated_at,
    )
