"""Campaigns: drafts that may change, and what stands in the way of a start."""

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, literal, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.campaigns import STARTABLE, UNDER_WAY, CampaignState, may_begin
from domain.errors import Conflict, Invalid
from domain.messages import SourceKind
from domain.segments import as_json, parse
from models.base import Db, bulk_id, changed
from models.campaigns import Campaign
from models.profiles import Profile
from models.queries import rows, segments_written, workspaces
from models.queries.profiles_merged import MERGING
from models.queries.queued import queue_up
from models.segments import Segment
from models.templates import TemplateVersion


async def create(db: AsyncSession, workspace_id: UUID, values: dict[str, Any]) -> Campaign:
    campaign = Campaign(workspace_id=workspace_id, **values)
    db.add(campaign)
    await db.flush()
    await db.refresh(campaign)
    return campaign


async def draft(db: AsyncSession, campaign_id: UUID) -> Campaign:
    """The campaign, locked, for a change. Raises `Conflict` when it has begun or was given up."""
    campaign = await rows.get(db, Campaign, campaign_id, lock=True)
    if not may_begin(campaign.state, campaign.started_at):
        raise Conflict(
            f"This campaign is {campaign.state}; only one that has not begun can be changed, scheduled or "
            "deleted."
        )
    return campaign


async def change(db: AsyncSession, campaign_id: UUID, values: dict[str, Any]) -> Campaign:
    """Write these columns of one that has not begun. Raises `NotFound` or `Conflict`."""
    campaign = await draft(db, campaign_id)
    for column, value in (values | {"updated_at": func.now()}).items():
        setattr(campaign, column, value)
    await db.flush()
    await db.refresh(campaign)
    return campaign


async def delete(db: AsyncSession, campaign_id: UUID) -> None:
    """Remove one that has not begun. Raises `NotFound` or `Conflict`."""
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


# As `domain.campaigns.may_begin` says.
_MAY_BEGIN = or_(
    Campaign.state.in_(STARTABLE), and_(Campaign.state == CampaignState.FAILED, Campaign.started_at.is_(None))
)


async def begin(
    db: AsyncSession, campaign_id: UUID, now: datetime, *which: ColumnElement[bool]
) -> Campaign | None:
    """Move a campaign that may begin to running, and pin its template's newest version and the rule.

    The rule has those of the segments that it names written in: whatever is edited from now on, it stays.

    None when it is in any other state: this compare-and-set is what makes a campaign start once. None, too,
    where the workspace was deleted since the start was asked for, or the row is not `which` it should be.
    """
    if not await workspaces.is_open(db):
        return None
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
    rule = (
        select(Segment.rule)
        .where(Segment.workspace_id == Campaign.workspace_id, Segment.id == Campaign.segment_id)
        .scalar_subquery()
    )
    begun = (
        update(Campaign)
        .where(Campaign.id == campaign_id, _MAY_BEGIN, *which)
        .values(
            state=CampaignState.RUNNING,
            reason=None,
            started_at=now,
            finished_at=None,
            template_version_id=newest,
            rule=rule,
            updated_at=func.now(),
        )
        .returning(Campaign)
    )
    campaign = (await db.scalars(begun)).one_or_none()
    if campaign is not None and campaign.rule is not None:
        with suppress(Invalid):  # Whoever freezes the audience reads it, and says so.
            whole = await segments_written.resolved(db, parse(campaign.rule))
            campaign.rule = as_json(whole)
            await db.flush()
    return campaign


class Frozen(NamedTuple):
    """How far a freeze has come."""

    queued: int  # Messages, all in all; 0 when nobody knows, because somebody else came further meanwhile.
    over: bool  # Nobody is left, or the campaign was given up.


async def freeze(
    db: AsyncSession, campaign_id: UUID, members: Select[UUID], size: int, now: datetime
) -> Frozen:
    """Queue a message for each of the next `size` members (ids), in the order of their ids.

    How far it came is committed with the lines, so that the next call goes on from there, whoever makes it:
    nobody is queued twice, and after the last page running it again adds nobody. The transaction is rolled
    back when another freeze came further meanwhile, or the campaign was given up: it might be closed already.
    """
    campaign = await rows.get(db, Campaign, campaign_id)
    if campaign.frozen_at or campaign.state not in UNDER_WAY:
        return Frozen(campaign.queued or 0, over=True)
    page = members.order_by(Profile.id).limit(size)
    if campaign.frozen_to:
        page = page.where(Profile.id > campaign.frozen_to)
    found, to = await _queue(db, campaign, page, now)
    over = found < size
    if over and campaign.started_at:
        since = campaign.started_at - MERGING
        began = {"workspace": campaign.workspace_id, "campaign": campaign_id, "began": since}
        if merged := list(await db.scalars(_MERGED_MEANWHILE, began)):
            late, _ = await _queue(db, campaign, members.where(Profile.id.in_(merged)), now)
            found += late
    # Not before, since whoever pauses the campaign writes this row, and must not wait for a page.
    wrote = (
        update(Campaign)
        .where(
            Campaign.id == campaign_id,
            Campaign.state.in_(UNDER_WAY),
            Campaign.frozen_to.is_not_distinct_from(campaign.frozen_to),
            Campaign.frozen_at.is_(None),
        )
        .values(
            queued=func.coalesce(Campaign.queued, 0) + found,
            frozen_to=func.coalesce(to, Campaign.frozen_to),
            frozen_at=now if over else None,
            updated_at=func.now(),
        )
        .returning(Campaign.queued)
    )
    queued = await db.scalar(wrote)
    if queued is None:
        await db.rollback()
        return Frozen(0, over=False)
    return Frozen(queued, over)


async def _queue(
    db: AsyncSession, campaign: Campaign, page: Select[UUID], now: datetime
) -> tuple[int, UUID | None]:
    """Queue a message for each of these members. Returns how many they are, and the last one's id."""
    audience = page.subquery()
    written, turns = queue_up(
        {
            "id": bulk_id(),
            "workspace_id": literal(campaign.workspace_id),
            "queue_id": literal(campaign.id),
            "source_id": literal(campaign.id),
            "source_kind": literal(SourceKind.CAMPAIGN.value),
            "step": literal("send"),
            "profile_id": audience.c[0],
            "occasion": literal(campaign.id),
            "class": literal(campaign.message_class),
            "template_version_id": literal(campaign.template_version_id),
            "due_at": literal(now),
        }
    )
    last = select(written.c.profile_id).order_by(written.c.profile_id.desc()).limit(1).scalar_subquery()
    counted = select(func.count(), last).select_from(written).add_cte(turns.cte("turns"))
    found, to = (await db.execute(counted)).one()
    return found, to


# Whom the pages may have missed: somebody ahead was merged into them, who were behind and no members before.
_MERGED_MEANWHILE = text(
    """
    select distinct a.merged_into from profiles a
    where a.workspace_id = :workspace and a.merged_into is not null and a.updated_at >= :began
        and not exists (
            select from messages m
            where m.workspace_id = :workspace and m.source_id = :campaign and m.occasion = :campaign
                and m.profile_id in (
                    select a.merged_into union all
                    select other.id from profiles other
                    where other.workspace_id = :workspace and other.merged_into = a.merged_into)
        )
    """
)


_FREEZING = text(
    f"""
    select exists (
        select from campaigns c where c.workspace_id = :workspace and c.id = :campaign
            and c.state = '{CampaignState.RUNNING}' and c.frozen_at is null
    )
    """
)


async def freezing(db: Db, workspace_id: UUID, campaign_id: UUID) -> bool:
    """Whether the campaign runs, and some of its audience are still to be queued."""
    found = await db.execute(_FREEZING, {"workspace": workspace_id, "campaign": campaign_id})
    return bool(next(iter(found.scalars())))


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
