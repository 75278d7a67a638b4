"""Routing: by which provider a workspace's messages go now, and when they may where none is open."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from activities.accounts import Accounts, CannotUse
from activities.gates import Gate, Granted, Limits, Tokens, Way
from activities.slices import DATABASE_ERRORS, is_away
from channels import registry
from channels.contract import SENDERS_FAULT, Outcome, OutcomeKind, Provider
from channels.letters import Raw
from domain import stories
from domain.channels import Channel
from domain.clock import Clock
from domain.messages import MessageClass
from domain.remedies import of_account
from domain.routing import BUILT_IN, Road, WarmUp, in_order
from models.base import Sessions
from models.queries import breakers, failures, holds, providers
from models.queries.providers import AccountRow
from models.workspaces import Workspace

log = structlog.get_logger()

READ_EVERY = 2.0  # Seconds for which routes, limits and breakers are taken as they were read.
LOOK_AGAIN = timedelta(seconds=10)  # For what somebody has to change by hand.


@dataclass(frozen=True)
class Closed:
    """No provider takes these messages now."""

    until: datetime
    reason: str
    gone: bool = False  # There is no such provider any more, and no other will do.
    opens_at: datetime | None = None  # When the first of the ways that are closed opens by itself.


@dataclass(frozen=True)
class _Plan:
    """A workspace's accounts and routes."""

    read_at: float
    roads: Mapping[tuple[Channel, MessageClass], Sequence[Road]]
    ways: Mapping[UUID, Way]
    held: Collection[str]  # Channels by which no marketing goes until somebody says so.


@dataclass
class Router:
    """Knows the ways of every workspace. `built_in` takes mail where a workspace has no route for it."""

    sessions: Sessions
    accounts: Accounts
    built_in: Provider[Raw]
    clock: Clock
    workspace_rate: float = 0  # Messages a second that one workspace may send in all; 0 for no limit.
    _told: dict[tuple[UUID, UUID], str] = field(default_factory=dict)  # Of which hour's refusals.
    _plans: dict[UUID, _Plan] = field(default_factory=dict)
    _gates: dict[tuple[UUID, UUID], Gate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tokens = Tokens(self.sessions, self.clock)
        self._draw = random.SystemRandom().random

    async def way(
        self,
        workspace: Workspace,
        channel: Channel,
        message_class: MessageClass,
        but: Collection[UUID] = (),
        only: UUID | None = None,
        files: bool = False,
    ) -> Way | Closed:
        """The way for the next messages of this channel and class.

        `but` are providers that have just refused them; `only` is for those that go by one or not at all;
        `files` go with them.
        """
        plan, now = await self._plan(workspace.id), self.clock.now()
        if message_class is MessageClass.MARKETING and channel in plan.held:
            return Closed(now + LOOK_AGAIN, f"marketing by {channel} is held, because it did harm")
        roads = self._roads(plan, channel, message_class) if only is None else [Road(only, 1, 1)]
        if only is not None and only not in plan.ways:
            return Closed(now + LOOK_AGAIN, "its provider was deleted", gone=True)
        why = f"no provider for {channel} has a route"
        passed_over, openings = list[str](), list[datetime]()
        for road in in_order(roads, self._draw):
            way = plan.ways.get(road.provider_id)
            if way is None or road.provider_id in but:
                continue
            if files and not way.provider.capabilities.attachments:
                why = "no provider that is open takes files"
                continue
            if await way.gate.enter(now):
                return replace(way, passed_over=passed_over) if passed_over else way
            said = way.gate.why_not(now)
            why = way.gate.standing.reason or f"{said[:1].lower()}{said[1:].rstrip('.')}"
            passed_over.append(stories.passed_over(way.title, said))
            if opens := way.gate.opens_at(now):
                openings.append(max(opens, now + timedelta(seconds=1)))
        opens_at = min(openings, default=None)
        return Closed(min(now + LOOK_AGAIN, opens_at or now + LOOK_AGAIN), why, opens_at=opens_at)

    async def grant(
        self, workspace: Workspace, way: Way, addresses: Sequence[str], message_class: MessageClass
    ) -> Granted:
        """Which of the messages to these addresses may go by this way now, as far as limits tell."""
        if not way.limits and not self.workspace_rate:
            return Granted(range(len(addresses)))
        return await self._tokens.grant(
            way,
            addresses,
            hurry=message_class is not MessageClass.MARKETING,
            workspace_rate=self.workspace_rate,
            time_zone=workspace.time_zone,
        )

    async def note(self, workspace: Workspace, way: Way, outcomes: Sequence[Outcome], seconds: float) -> None:
        """What came of a call that took so many seconds."""
        way.gate.note(outcomes, seconds)
        if way.gate.has_news:
            await way.gate.tell(self._today(workspace))
        refusals = (o.reason for o in outcomes if o.kind is OutcomeKind.RETRY and o.reason)
        if ours := next((reason for reason in refusals if reason.startswith(SENDERS_FAULT)), None):
            await self._account_refused(workspace.id, way.provider_id, ours)

    async def _account_refused(self, workspace_id: UUID, provider_id: UUID, reason: str) -> None:
        """Somebody has to mend it, and too few messages may go by it for its breaker ever to tell."""
        now = self.clock.now()
        failure = of_account(provider_id, reason, f"{now:%Y-%m-%dT%H}")
        if self._told.get((workspace_id, provider_id)) == failure.occasion:
            return
        try:
            async with self.sessions.batch(workspace_id) as db:
                await failures.note(db, workspace_id, [failure], now)
        except DATABASE_ERRORS as error:
            if not is_away(error):
                raise
        else:
            self._told[workspace_id, provider_id] = failure.occasion

    def forget(self) -> None:
        """Read everything anew: somebody changed it just now."""
        self._plans.clear()

    async def tell(self, workspace: Workspace, *, pausing: bool = False) -> None:
        """Tell the others what was kept so far: a slice is over. One that is only `pausing` tells what waits
        for long enough."""
        for (workspace_id, _), gate in list(self._gates.items()):
            if workspace_id == workspace.id and (gate.has_news or not pausing):
                await gate.tell(self._today(workspace))

    def _roads(self, plan: _Plan, channel: Channel, message_class: MessageClass) -> Sequence[Road]:
        """Tests go as the marketing that they try. Mail without a route goes by the built-in provider."""
        wanted = MessageClass.MARKETING if message_class is MessageClass.TEST else message_class
        roads = plan.roads.get((channel, wanted), ())
        if not roads and channel is Channel.EMAIL:
            return [Road(BUILT_IN, 1, 1)]
        return roads

    async def _plan(self, workspace_id: UUID) -> _Plan:
        now = asyncio.get_running_loop().time()
        plan = self._plans.get(workspace_id)
        if plan is None or now - plan.read_at > READ_EVERY:
            plan = self._plans[workspace_id] = await self._read(workspace_id, now)
        return plan

    async def _read(self, workspace_id: UUID, at: float) -> _Plan:
        async with self.sessions.batch(workspace_id) as db:
            accounts = await providers.accounts(db, workspace_id)
            routes = await providers.routes(db, workspace_id)
            standings = await breakers.standings(db, workspace_id)
            held = await holds.open_for(db, workspace_id)
        ways = {BUILT_IN: Way(self.built_in, self._gate(workspace_id, BUILT_IN), Limits())}
        for row in accounts:
            try:
                provider = self.accounts.of(workspace_id, row)
            except CannotUse as error:
                log.error("A provider can't be used", provider=str(row.id), reason=str(error))
                continue
            gate, limits = self._gate(workspace_id, row.id), _limits(row)
            gate.limited_by(limits)
            ways[row.id] = Way(provider, gate, limits, f'"{row.name}"')
        for provider_id, way in ways.items():
            if provider_id in standings:
                way.gate.heard(standings[provider_id])
        roads: dict[tuple[Channel, MessageClass], list[Road]] = {}
        for route in routes:
            key = Channel(route.channel), MessageClass(route.message_class)
            roads.setdefault(key, []).append(Road(route.provider_id, route.priority, route.weight))
        return _Plan(at, roads, ways, held)

    def _gate(self, workspace_id: UUID, provider_id: UUID) -> Gate:
        key = workspace_id, provider_id
        if key not in self._gates:
            self._gates[key] = Gate(self.sessions, self.clock, workspace_id, provider_id)
        return self._gates[key]

    def _today(self, workspace: Workspace) -> date:
        return self.clock.now().astimezone(ZoneInfo(workspace.time_zone)).date()


def _limits(row: AccountRow) -> Limits:
    kind = registry.kinds().get(row.kind)
    return Limits(
        rate=row.rate or (kind.rate if kind else None),
        domain_rates=row.domain_rates,
        warm_up=WarmUp.model_validate(row.warm_up) if row.warm_up else None,
    )
