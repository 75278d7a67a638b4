"""What becomes of campaigns, flows, providers and imports is announced, one at a time."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.announced import BreakerData, CampaignData, Counts, FlowData, ImportFinished
from domain.announcements import Announcement, AnnouncementType
from domain.breakers import BreakerState, Standing
from domain.campaigns import ENDED, CampaignState
from domain.flows import FlowState
from domain.redacting import without_addresses
from models.base import Db
from models.campaigns import Campaign
from models.flows import Flow
from models.imports import Import
from models.queries import announced, announcing, messages, rows

_T = AnnouncementType

# A campaign that runs was started or resumed: whoever moved it knows.
_CAMPAIGNS: Mapping[CampaignState, AnnouncementType] = MappingProxyType(
    {
        CampaignState.PAUSED: _T.CAMPAIGN_PAUSED,
        CampaignState.RUNNING: _T.CAMPAIGN_RESUMED,
        CampaignState.COMPLETED: _T.CAMPAIGN_COMPLETED,
        CampaignState.CANCELLED: _T.CAMPAIGN_CANCELLED,
        CampaignState.FAILED: _T.CAMPAIGN_FAILED,
    }
)
_FLOWS: Mapping[FlowState, AnnouncementType] = MappingProxyType(
    {
        FlowState.PAUSED: _T.FLOW_PAUSED,
        FlowState.LIVE: _T.FLOW_RESUMED,
        FlowState.ARCHIVED: _T.FLOW_ARCHIVED,
    }
)


async def campaign_started(db: AsyncSession, campaign: Campaign, now: datetime) -> None:
    await _campaign(db, campaign.id, _T.CAMPAIGN_STARTED, now)


async def campaign_moved(db: AsyncSession, campaign_id: UUID, to: CampaignState, now: datetime) -> None:
    await _campaign(db, campaign_id, _CAMPAIGNS[to], now)


async def _campaign(db: AsyncSession, campaign_id: UUID, type_: AnnouncementType, now: datetime) -> None:
    if not await announced.asked(db, type_):
        return
    row = await rows.get(db, Campaign, campaign_id)
    await db.refresh(row)
    counts = None
    if row.state in ENDED:
        found = await messages.tally(db, campaign_id)
        counts = Counts(**{name: found[name] for name in Counts.model_fields})
    data = CampaignData(
        campaign_id=row.id,
        name=row.name[:1000],
        state=CampaignState(row.state),
        message_class=row.message_class,
        reason=row.reason and row.reason[:4000],
        started_at=row.started_at,
        finished_at=row.finished_at,
        counts=counts,
    )
    await _announce(db, row.workspace_id, type_, data, now)


async def flow_published(db: AsyncSession, flow: Flow, number: int, now: datetime) -> None:
    await _flow(db, flow, number, _T.FLOW_PUBLISHED, now)


async def flow_moved(db: AsyncSession, flow_id: UUID, to: FlowState, now: datetime) -> None:
    type_ = _FLOWS[to]
    if await announced.asked(db, type_):
        flow = await rows.get(db, Flow, flow_id)
        await db.refresh(flow)
        number = await db.scalar(_NUMBER, {"workspace": flow.workspace_id, "version": flow.version_id})
        await _flow(db, flow, number, type_, now)


_NUMBER = text("select number from flow_versions where workspace_id = :workspace and id = :version")


async def _flow(
    db: AsyncSession, flow: Flow, number: int | None, type_: AnnouncementType, now: datetime
) -> None:
    data = FlowData(
        flow_id=flow.id,
        name=flow.name[:1000],
        state=FlowState(flow.state),
        version_id=flow.version_id,
        version=number,
        at=now,
    )
    await _announce(db, flow.workspace_id, type_, data, now)


async def breaker(
    db: Db, workspace_id: UUID, provider_id: UUID, before: BreakerState, then: Standing, now: datetime
) -> None:
    """Announce how a provider stands, where that is news: who only tries is not told of."""
    if then.state is before:
        return
    match then.state:
        case BreakerState.CLOSED:
            type_ = _T.BREAKER_CLOSED
        case BreakerState.OPEN if before is BreakerState.CLOSED:
            type_ = _T.BREAKER_OPENED
        case BreakerState.HELD:
            type_ = _T.BREAKER_OPENED
        case _:
            return
    if not await announced.asked(db, type_):
        return
    values = {"workspace": workspace_id, "provider": provider_id}
    name = next(iter((await db.execute(_PROVIDER, values)).scalars()), None)
    closed = then.state is BreakerState.CLOSED
    data = BreakerData(
        provider_id=provider_id,
        provider=name and name[:1000],
        state=then.state.value,
        reason=without_addresses(then.reason)[:4000] if then.reason and not closed else None,
        until=None if closed else then.until,
        at=now,
    )
    await _announce(db, workspace_id, type_, data, now)


_PROVIDER = text("select name from providers where workspace_id = :workspace and id = :provider")


async def import_finished(db: AsyncSession, import_: Import, now: datetime) -> None:
    """Announce an import that has ended, as its row is now."""
    if not await announced.asked(db, _T.IMPORT_FINISHED):
        return
    await db.refresh(import_)
    data = ImportFinished(
        import_id=import_.id,
        kind=import_.kind,
        file_name=import_.file_name[:1000],
        state=import_.state,
        reason=import_.reason and import_.reason[:4000],
        live=import_.live,
        dry_run=import_.dry_run,
        rows=import_.rows,
        imported=import_.imported,
        unchanged=import_.unchanged,
        rejected=import_.rejected,
        at=now,
    )
    await _announce(db, import_.workspace_id, _T.IMPORT_FINISHED, data, now)


async def _announce(
    db: Db, workspace_id: UUID, type_: AnnouncementType, data: BaseModel, now: datetime
) -> None:
    await announcing.announce(db, workspace_id, [Announcement(type_, data.model_dump(mode="json"))], now)
