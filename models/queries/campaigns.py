"""Campaigns: drafts that may change, and what stands in the way of a start."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.campaigns import STARTABLE, CampaignState
from domain.errors import Conflict
from domain.messages import MessageState, SourceKind
from models.base import bulk_id, changed
from models.campaigns import Campaign
from models.messages import Message
from models.profiles import Profile
from models.queries import rows
from models.templates import TemplateVersion


async def create(db: AsyncSession, workspace_id: UUID, values: dict[str, Any]) -> Campaign:
    campaign = Campaign(workspace_id=workspace_id, **values)
    db.add(campaign)
    await db.flush()
    await db.refresh(campaign)
    return campaign


async def draft(db: AsyncSession, campaign_id: UUID) -> Campaign:
    """The campaign, locked, for a change. Raises `Conflict` when it is no draft any more."""
    campaign = await rows.get(db, Campaign, campaign_id, lock=True)
    if campaign.state != CampaignState.DRAFT:
        raise Conflict(f"This campaign is {campaign.state}; only a draft can be changed or deleted.")
    return campaign


async def change(db: AsyncSession, campaign_id: UUID, values: dict[str, Any]) -> Campaign:
    """Write these columns of a draft. Raises `NotFound` or `Conflict`."""
    campaign = await draft(db, campaign_id)
    for column, value in (values | {"updated_at": func.now()}).items():
        setattr(campaign, column, value)
    await db.flush()
    await db.refresh(campaign)
    return campaign


async def delete(db: AsyncSession, campaign_id: UUID) -> None:
    """Remove a draft. Raises `NotFound` or `Conflict`."""
    await db.delete(await draft(db, campaign_id))


async def anyone(db: AsyncSession, audience: ColumnElement[bool]) -> bool:
    """Whether the audience has anybody in it."""
    return bool(await db.scalar(select(exists(select(Profile.id).where(audience)))))


async def had_by_nobody(
    db: AsyncSession, audience: ColumnElement[bool], attributes: Collection[str]
) -> list[str]:
    """Those of the attributes that no profile of the audience has, in one statement."""
    names = sorted(attributes)
    if not names:
        return []
    someone = [
        exists(select(Profile.id).where(audience, Profile.attributes[name].astext.is_not(None)))
        for name in names
    ]
    answers = (await db.execute(select(*someone))).one()
    return [name for name, has in zip(names, answers, strict=True) if not has]


async def begin(db: AsyncSession, campaign_id: UUID, now: datetime) -> Campaign | None:
    """Move a draft or scheduled campaign to running and pin its template's newest version.

    None when it is in any other state: this compare-and-set is what makes a campaign start once.
    """
    newest = (
        select(TemplateVersion.id)
        .where(
            TemplateVersion.workspace_id == Campaign.workspace_id,
            TemplateVersion.template_id == Campaign.template_id,
        )
        .order_by(TemplateVersion.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    begun = (
        update(Campaign)
        .where(Campaign.id == campaign_id, Campaign.state.in_(STARTABLE))
        .values(state=CampaignState.RUNNING, started_at=now, template_version_id=newest)
        .returning(Campaign)
    )
    return (await db.scalars(begun)).one_or_none()


async def freeze(db: AsyncSession, campaign_id: UUID, members: Select[UUID], now: datetime) -> int:
    """Queue a message for each of the members (ids), and return how many the ledger holds.

    The count and the lines are committed together, so running it again adds nobody.
    """
    campaign = await rows.get(db, Campaign, campaign_id, lock=True)
    if campaign.queued is not None:
        return campaign.queued
    audience = members.subquery()
    lines = select(
        bulk_id(),
        literal(campaign.workspace_id),
        literal(campaign.id),
        literal(campaign.id),
        literal(SourceKind.CAMPAIGN.value),
        literal("send"),
        audience.c[0],
        literal(campaign.id),
        literal("email"),
        literal(campaign.message_class),
        literal(campaign.template_version_id),
        literal(MessageState.QUEUED.value),
        literal(now),
    )
    written = insert(Message).from_select(_LINE, lines, include_defaults=False)
    campaign.queued, campaign.frozen_at = await changed(db, written), now
    return campaign.queued


_LINE = [
    "id",
    "workspace_id",
    "queue_id",
    "source_id",
    "source_kind",
    "step",
    "profile_id",
    "occasion",
    "channel",
    "class",
    "template_version_id",
    "state",
    "due_at",
]


async def move(
    db: AsyncSession,
    campaign_id: UUID,
    origins: Collection[CampaignState],
    to: CampaignState,
    **values: Any,
) -> bool:
    """Move the campaign from one of these states to another. False when it is in none of them."""
    moved = (
        update(Campaign)
        .where(Campaign.id == campaign_id, Campaign.state.in_(origins))
        .values(state=to, updated_at=func.now(), **values)
    )
    return bool(await changed(db, moved))
