"""Circuit breakers, shared by all workers: one row a provider, held for a moment by whoever changes it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from domain.breakers import BreakerState, Standing, Tally, after, tried
from domain.remedies import of_provider
from models.base import Db
from models.queries import (
    announced_states,
    failures,
)

_READ = """
select provider_id, since, window_began, state, until, trips, reason,
    calls, bad_calls, slow_calls, well, badly
from breakers where workspace_id = :workspace
"""
_ALL = text(_READ)
_ONE = text(f"{_READ} and provider_id = :provider for update")
_FIRST = text(
    """
    insert into breakers (workspace_id, provider_id, since, window_began)
    values (:workspace, :provider, :now, :now) on conflict do nothing
    """
)
_WRITE = text(
    """
    with changed as (
        insert into breaker_changes (workspace_id, provider_id, at, state, reason)
        select :workspace, :provider, :now, :state, :reason where :news
    )
    update breakers set since = :since, window_began = :window_began, state = :state, until = :until,
        trips = :trips, reason = :reason, calls = :calls, bad_calls = :bad_calls, slow_calls = :slow_calls,
        well = :well, badly = :badly
    where workspace_id = :workspace and provider_id = :provider
    """
)


async def standings(db: Db, workspace_id: UUID) -> dict[UUID, Standing]:
    """How each provider of the workspace is doing; those that nothing was sent by are left out."""
    rows = await db.execute(_ALL, {"workspace": workspace_id})
    return {row[0]: _standing(row[1:]) for row in rows}


async def note(db: Db, workspace_id: UUID, provider_id: UUID, tally: Tally, now: datetime) -> Standing:
    """Write down what happened, and return how the provider stands now."""
    return await change(db, workspace_id, provider_id, lambda one: after(one, tally, now), now)


async def attempt(db: Db, workspace_id: UUID, provider_id: UUID, now: datetime) -> tuple[Standing, bool]:
    """Try a provider whose pause is over. Whether that is ours to do: one at a time may."""
    mine = False

    def trying(standing: Standing) -> Standing:
        nonlocal mine
        then = tried(standing, now)
        mine = then is not None
        return then or standing

    return await change(db, workspace_id, provider_id, trying, now), mine


async def change(
    db: Db,
    workspace_id: UUID,
    provider_id: UUID,
    becomes: Callable[[Standing], Standing],
    now: datetime,
) -> Standing:
    """Let one function decide how the provider stands, while nobody else does; keep what changed."""
    here: dict[str, Any] = {"workspace": workspace_id, "provider": provider_id}
    await db.execute(_FIRST, here | {"now": now})
    [row] = (await db.execute(_ONE, here)).all()
    before = _standing(row[1:])
    then = becomes(before)
    if then != before:
        window = then.window
        values = {
            "now": now,
            "since": then.since,
            "window_began": then.window_began,
            "state": then.state.value,
            "until": then.until,
            "trips": then.trips,
            "reason": then.reason,
            "calls": window.calls,
            "bad_calls": window.bad_calls,
            "slow_calls": window.slow_calls,
            "well": window.well,
            "badly": window.badly,
            "news": then.state is not before.state,
        }
        await db.execute(_WRITE, here | values)
        await announced_states.breaker(db, workspace_id, provider_id, before.state, then, now)
        if then.state is BreakerState.OPEN and before.state is BreakerState.CLOSED:
            opened = of_provider(provider_id, then.reason, now.isoformat())
            await failures.note(db, workspace_id, [opened], now)
    return then


def _standing(row: Sequence[Any]) -> Standing:
    since, window_began, state, until, trips, reason, *counts = row
    calls, bad_calls, slow_calls, well, badly = counts
    window = Tally(calls, bad_calls, slow_calls, well, badly)
    return Standing(since, window_began, BreakerState(state), until, trips, reason, window)
