"""How a provider is doing: its breaker, what went by it today, and a hand that stops it."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession

from api.accounts import is_ours
from api.callers import WorkspaceId, needs
from api.deps import Db, Pages, noted
from api.manners import Feature
from api.shapes import In, Out, Page, example, page_of
from api.stack import Opened
from domain.breakers import BreakerState, Standing, Tally, held, released
from domain.channels import Channel
from domain.road_plans import standing_in_words
from domain.roles import Permission
from domain.routing import WarmUp
from models.queries import breakers, provider_accounts, queued, workspaces

router = Feature(prefix="/providers", tags=["providers"])

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Today(Out):
    """Outcomes of messages on this day of the workspace's calendar."""

    day: date
    accepted: int
    rejected: int = Field(description="Refused for good.")
    retried: int = Field(description="Refused for now: they went back to the queue, or by another route.")
    unknown: int = Field(description="Nobody can say whether they were accepted.")
    warm_up: int | None = Field(description="How many a warm-up allows on this day; null for no limit.")


class Window(Out):
    """The last ten seconds in which anything was sent, by which the breaker decides."""

    began: datetime
    calls: int
    bad_calls: int
    slow_calls: int
    well: int = Field(description="Messages that it took, or refused for their own sake.")
    badly: int = Field(description="Messages that failed by its fault.")


class Health(Out):
    state: BreakerState = Field(
        description="closed: it is used. open: it is left alone until its pause is over and something is "
        "sent. half-open: a few messages are trying it. held: somebody stopped it."
    )
    summary: str = Field(description="The same in words.")
    since: datetime | None = Field(description="Null when nothing was sent by it yet.")
    until: datetime | None = Field(description="When it may be tried again; closed: until when it rests.")
    trips: int = Field(description="How often it opened in a row; the pauses grow with them.")
    reason: str | None
    window: Window | None
    today: Today

    model_config = example(
        {
            "state": "open",
            "summary": "It is left alone until 09:00:25 UTC: the server answered 503.",
            "since": "2026-11-21T09:00:20Z",
            "until": "2026-11-21T09:00:25Z",
            "trips": 1,
            "reason": "the server answered 503",
            "window": {
                "began": "2026-11-21T09:00:18Z",
                "calls": 0,
                "bad_calls": 0,
                "slow_calls": 0,
                "well": 0,
                "badly": 0,
            },
            "today": {
                "day": "2026-11-21",
                "accepted": 4200,
                "rejected": 3,
                "retried": 150,
                "unknown": 0,
                "warm_up": None,
            },
        }
    )


class Hold(In):
    reason: Reason = Field(description="Others will read it.")

    model_config = example({"reason": "They ask about our last campaign."})


class Change(Out):
    id: UUID
    at: datetime
    state: BreakerState
    reason: str | None

    model_config = example(
        {
            "id": "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f",
            "at": "2026-11-21T09:00:20Z",
            "state": "open",
            "reason": "the server answered 503",
        }
    )


@router.get("/{provider_id}/health", dependencies=[needs(Permission.PROVIDERS_READ)])
async def read_health(provider_id: UUID, opened: Opened, db: Db, workspace_id: WorkspaceId) -> Health:
    """How a provider is doing, as all workers together see it, and what went by it today."""
    standing = (await breakers.standings(db, workspace_id)).get(provider_id)
    return await _health(db, workspace_id, provider_id, standing, opened.clock.now())


@router.post(
    "/{provider_id}/hold",
    dependencies=[needs(Permission.PROVIDERS_WRITE), noted("hold", "provider")],
)
async def hold_provider(
    provider_id: UUID, body: Hold, opened: Opened, db: Db, workspace_id: WorkspaceId
) -> Health:
    """Stop a provider by hand: what is on the wire ends, and nothing else goes by it until it is released."""
    now = opened.clock.now()
    await _there(db, provider_id)
    standing = await breakers.change(
        db, workspace_id, provider_id, lambda before: held(before, body.reason, now), now
    )
    return await _health(db, workspace_id, provider_id, standing, now)


@router.post(
    "/{provider_id}/release",
    dependencies=[needs(Permission.PROVIDERS_WRITE), noted("release", "provider")],
)
async def release_provider(provider_id: UUID, opened: Opened, db: Db, workspace_id: WorkspaceId) -> Health:
    """Let a provider go that is held, or try one at once whose breaker is open.

    Of what was refused on its channel and waits to be tried again, single messages and those of flows are
    tried within seconds; a campaign looks when the first of its own had been due.
    """
    now = opened.clock.now()
    channel = Channel.EMAIL
    if not is_ours(provider_id):
        channel = Channel((await provider_accounts.get(db, provider_id)).channel)

    def let_go(before: Standing) -> Standing:
        works = before.state is BreakerState.CLOSED and before.until is None
        return before if works else released(before, now)

    standing = await breakers.change(db, workspace_id, provider_id, let_go, now)
    await queued.hasten(db, workspace_id, channel, now)
    return await _health(db, workspace_id, provider_id, standing, now)


@router.get("/{provider_id}/history", dependencies=[needs(Permission.PROVIDERS_READ)])
async def read_history(provider_id: UUID, db: Db, pages: Pages) -> Page[Change]:
    """When its breaker opened, closed, was held or released, and why; the newest first."""
    await _there(db, provider_id)
    found = await provider_accounts.changes(db, provider_id, pages.after, pages.limit)
    return page_of([Change.model_validate(row) for row in found], [row.id for row in found], pages.limit)


async def _there(db: AsyncSession, provider_id: UUID) -> None:
    """Raises `NotFound`."""
    if not is_ours(provider_id):
        await provider_accounts.get(db, provider_id)


async def _health(
    db: AsyncSession, workspace_id: UUID, provider_id: UUID, standing: Standing | None, now: datetime
) -> Health:
    plan = None if is_ours(provider_id) else (await provider_accounts.get(db, provider_id)).warm_up
    workspace = await workspaces.get(db, workspace_id)
    today = now.astimezone(ZoneInfo(workspace.time_zone)).date()
    went = await provider_accounts.day(db, provider_id, today)
    return Health(
        state=standing.state if standing else BreakerState.CLOSED,
        summary=standing_in_words(standing, now),
        since=standing.since if standing else None,
        until=standing.until if standing else None,
        trips=standing.trips if standing else 0,
        reason=standing.reason if standing else None,
        window=_window(standing.window_began, standing.window) if standing else None,
        today=Today(
            day=today,
            accepted=went.accepted if went else 0,
            rejected=went.rejected if went else 0,
            retried=went.retried if went else 0,
            unknown=went.unknown if went else 0,
            warm_up=WarmUp.model_validate(plan).allows(today) if plan else None,
        ),
    )


def _window(began: datetime, tally: Tally) -> Window:
    return Window(
        began=began,
        calls=tally.calls,
        bad_calls=tally.bad_calls,
        slow_calls=tally.slow_calls,
        well=tally.well,
        badly=tally.badly,
    )
