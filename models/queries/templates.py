"""Templates and their versions: a change of content is a new version, and none ever changes."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import cast, func, select, text
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import JSONPATH, distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from domain import short_templates, templates
from domain.channels import Channel
from domain.errors import Conflict, NotFound
from domain.short_templates import ShortTemplate
from models.campaigns import Campaign
from models.flows import Flow
from models.queries import rows
from models.templates import Template, TemplateVersion

Said = templates.Template | ShortTemplate  # What a template says, on whichever channel.


def variables_required(content: Said) -> set[str]:
    """The attributes that each message prints without a default, on whichever channel."""
    if isinstance(content, ShortTemplate):
        return short_templates.variables_required(content)
    return templates.variables_required(content)


async def create(
    db: AsyncSession, workspace_id: UUID, name: str, content: Said
) -> tuple[Template, TemplateVersion]:
    """A template with its first version."""
    channel = content.channel if isinstance(content, ShortTemplate) else Channel.EMAIL
    template = Template(workspace_id=workspace_id, name=name, channel=channel)
    db.add(template)
    await db.flush()
    return template, await _add_version(db, template, 1, content)


async def get(db: AsyncSession, template_id: UUID, *, lock: bool = False) -> tuple[Template, TemplateVersion]:
    """A template, locked when it is about to change, and its newest version. Raises `NotFound`."""
    return await _seen(db, template_id, lock=lock), await newest(db, template_id)


async def _seen(db: AsyncSession, template_id: UUID, *, lock: bool) -> Template:
    """Those of single messages with words of their own are nobody's to see or change."""
    template = await rows.get(db, Template, template_id, lock=lock)
    if template.hidden:
        raise NotFound(f"There is no template {template_id}.")
    return template


async def newest(db: AsyncSession, template_id: UUID) -> TemplateVersion:
    asked = select(TemplateVersion).where(TemplateVersion.template_id == template_id)
    return (await db.scalars(asked.order_by(TemplateVersion.number.desc()).limit(1))).one()


async def page(
    db: AsyncSession, after: UUID | None, limit: int
) -> Sequence[tuple[Template, TemplateVersion]]:
    """Templates with their newest versions, the newest template first."""
    found = await rows.page(db, Template, after, limit, Template.hidden.is_(False))
    versions = await db.scalars(
        select(TemplateVersion)
        .where(TemplateVersion.template_id.in_([template.id for template in found]))
        .ext(distinct_on(TemplateVersion.template_id))
        .order_by(TemplateVersion.template_id, TemplateVersion.number.desc())
    )
    of = {version.template_id: version for version in versions}
    return [(template, of[template.id]) for template in found]


async def change(
    db: AsyncSession, template_id: UUID, name: str, content: Said
) -> tuple[Template, TemplateVersion]:
    """Give a template this name and content, of its channel; other content than before is a new version."""
    template = await _seen(db, template_id, lock=True)
    template.name, template.updated_at = name, func.now()
    version = await newest(db, template_id)
    if said_in(version, template.channel) != content:
        version = await _add_version(db, template, version.number + 1, content)
    await db.flush()
    await db.refresh(template)
    return template, version


async def delete(db: AsyncSession, template_id: UUID) -> None:
    """Remove a template that nothing needs. Raises `Conflict` naming what does."""
    template = await _seen(db, template_id, lock=True)
    sends = Campaign.template_id == template_id
    if used := await rows.use(db, "template", "campaign", Campaign.name, Campaign.state, sends):
        raise Conflict(used)
    uses = func.jsonb_path_exists(
        Flow.definition,
        cast("$.steps.*.template_id ? (@ == $id)", JSONPATH),
        func.jsonb_build_object("id", str(template_id)),
    )
    if used := await rows.use(db, "template", "flow", Flow.name, Flow.state, uses):
        raise Conflict(used)
    if await db.scalar(_STILL_NEEDED, {"template": template_id}):
        raise Conflict("Messages were, or will be, made from this template; it is kept so they can be shown.")
    await db.execute(sql_delete(TemplateVersion).where(TemplateVersion.template_id == template_id))
    await db.delete(template)
    await db.flush()


# By messages that were written, or by a published flow's version in which members may still go on.
_STILL_NEEDED = text(
    """
    select exists (
        select from template_versions v join messages m on m.template_version_id = v.id
        where v.template_id = :template
    ) or exists (
        select from flow_versions f cross join lateral jsonb_each_text(f.templates) pinned
        join template_versions v on v.id::text = pinned.value
        where v.template_id = :template
    )
    """
)


def content_of(version: TemplateVersion) -> templates.Template:
    """What the marketer wrote into a mail, as the domain takes it."""
    return templates.Template(version.subject, version.html, version.text, version.preheader)


def said_in(version: TemplateVersion, channel: str) -> Said:
    """The same for any channel."""
    if channel == Channel.EMAIL:
        return content_of(version)
    return ShortTemplate(Channel(channel), version.content or {})


async def _add_version(db: AsyncSession, template: Template, number: int, content: Said) -> TemplateVersion:
    version = TemplateVersion(
        workspace_id=template.workspace_id, template_id=template.id, number=number, subject="", html=""
    )
    if isinstance(content, ShortTemplate):
        version.content = dict(content.content)
    else:
        version.subject, version.html = content.subject, content.html
        version.text, version.preheader = content.text, content.preheader
    db.add(version)
    await db.flush()
    return version


async def said(db: AsyncSession, version_ids: Sequence[UUID]) -> dict[UUID, Said]:
    """What these versions say, by their ids."""
    asked = (
        select(TemplateVersion, Template.channel)
        .join(
            Template,
            (Template.workspace_id == TemplateVersion.workspace_id)
            & (Template.id == TemplateVersion.template_id),
        )
        .where(TemplateVersion.id.in_(version_ids))
    )
    return {version.id: said_in(version, channel) for version, channel in await db.execute(asked)}


async def channels(db: AsyncSession, template_ids: Collection[UUID]) -> set[Channel]:
    """The channels of these templates."""
    asked = select(Template.channel).where(Template.id.in_(template_ids)).distinct()
    return set(map(Channel, await db.scalars(asked)))


async def channel_of(db: AsyncSession, template_id: UUID) -> Channel:
    """The channel of a template. Raises `NotFound`."""
    return Channel((await _seen(db, template_id, lock=False)).channel)
