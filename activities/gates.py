"""A gate stands before each provider: how it is doing, and how many messages may go by it now.

What all workers must agree on are rows (`models/queries/breakers.py`, `buckets.py`). A gate keeps what it
read for a moment, and tells what happened by the dozen, so that twenty thousand messages a second cost few
round trips.
"""

import asyncio
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from activities.slices import DATABASE_ERRORS, is_away
from channels.contract import Blame, Outcome, OutcomeKind, Provider
from domain.breakers import HANGING, SLOW, TRIES, BreakerState, Standing, Tally, will_open
from domain.clock import Clock
from domain.ramps import Ramp
from domain.redacting import without_addresses, without_named_credentials
from domain.road_plans import WARM, standing_in_words
from domain.routing import WarmUp
from domain.stories import BUILT_IN_TITLE
from models.base import Sessions
from models.queries import breakers, buckets
from models.queries.buckets import Ask, Counts

log = structlog.get_logger()

TOLD_EVERY = 0.5  # Seconds for which good news may wait; bad news is told at once.
AHEAD = 0.25  # Seconds' worth of tokens that are taken at a time.
KEPT = 2.0  # Seconds after which tokens that nobody needed are forgotten.


@dataclass(frozen=True)
class Limits:
    """What an account may do, apart from its breaker."""

    rate: float | None = None  # Messages a second.
    domain_rates: Mapping[str, float] = field(default_factory=dict)
    warm_up: WarmUp | None = None

    def __bool__(self) -> bool:
        return bool(self.rate or self.domain_rates or self.warm_up)


class Gate:
    """Before one provider, for one workspace."""

    def __init__(self, sessions: Sessions, clock: Clock, workspace_id: UUID, provider_id: UUID) -> None:
        self._sessions, self._clock = sessions, clock
        self.workspace_id, self.provider_id = workspace_id, provider_id
        now = clock.now()
        self.standing = Standing(now, now)
        self._limits = Limits()
        self.full_until: datetime | None = None  # When a warm-up's day is over.
        self._tally, self._counts = Tally(), Counts()
        self._telling: list[Tally] = []  # What is being told right now.
        self._calls: list[float] = []  # When those began that are under way, on the loop's clock.
        self._told_at = asyncio.get_running_loop().time()
        self._ramp = Ramp()
        self._trial = 0
        self._trying = asyncio.Lock()

    def limited_by(self, limits: Limits) -> None:
        """What the account may do now. Where that was changed, what was used up is asked for anew."""
        if limits != self._limits:
            self._limits, self.full_until = limits, None

    def opens_at(self, now: datetime) -> datetime | None:
        """When messages may go; None while somebody holds it."""
        opens = self.standing.opens_at(now)
        if opens and self.full_until:
            return max(opens, self.full_until)
        return opens

    def _failing(self, now: datetime) -> str | None:
        """Why the breaker will open, as far as calls of this process tell: nobody else need find out."""
        late = asyncio.get_running_loop().time() - HANGING
        hanging = sum(began < late for began in self._calls)
        return will_open(self.standing, sum(self._telling, self._tally), hanging, now)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around each call."""
        began = asyncio.get_running_loop().time()
        self._calls.append(began)
        try:
            yield
        finally:
            self._calls.remove(began)

    def why_not(self, now: datetime) -> str:
        """Why nothing goes now, in a sentence."""
        opens = self.standing.opens_at(now)
        if opens is None or opens > now:
            return standing_in_words(self.standing, now)
        return f"It failed just now: {why.rstrip('.')}." if (why := self._failing(now)) else WARM

    async def enter(self, now: datetime) -> bool:
        """Whether messages may go now. Where a pause is over, one of all workers may try."""
        opens = self.opens_at(now)
        if opens is None or opens > now:
            return False
        if self.standing.state is BreakerState.CLOSED:
            return not self._failing(now)
        async with self._trying:
            async with self._sessions.batch(self.workspace_id) as db:
                self.standing, mine = await breakers.attempt(db, self.workspace_id, self.provider_id, now)
            self._trial = TRIES if mine else 0
        return mine or self.standing.state is BreakerState.CLOSED

    @property
    def most(self) -> int:
        """How many messages to offer at a time."""
        return self._trial if self.standing.state is BreakerState.HALF_OPEN else self._ramp.most

    def note(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """What came of a call that took so many seconds."""
        kinds = Counter(outcome.kind for outcome in outcomes)
        blamed = [o for o in outcomes if o.kind is not OutcomeKind.ACCEPTED and o.blame is Blame.PROVIDER]
        badly = [o for o in blamed if not o.calm]
        calm = [o.retry_after or 1.0 for o in blamed if o.calm]
        bad = bool(badly) and 2 * len(badly) >= len(outcomes)
        self._tally += Tally(
            calls=1,
            bad_calls=int(bad),
            slow_calls=int(seconds > SLOW),
            well=len(outcomes) - len(blamed),
            badly=len(badly),
            rest=max(calm, default=0.0),
            reason=_words(badly[-1]) if badly else "it asked to be left alone" if calm else None,
        )
        was = self._counts
        self._counts = Counts(
            was.accepted + kinds[OutcomeKind.ACCEPTED],
            was.rejected + kinds[OutcomeKind.REJECTED],
            was.retried + kinds[OutcomeKind.RETRY],
            was.unknown + kinds[OutcomeKind.UNKNOWN],
        )
        self._ramp = self._ramp.after(len(outcomes), well=not bad)

    @property
    def has_news(self) -> bool:
        """Whether what it knows should be told now."""
        if not self._tally.calls:
            return False
        if self._tally.bad_calls or self._tally.rest or self.standing.state is not BreakerState.CLOSED:
            return True
        return asyncio.get_running_loop().time() - self._told_at > TOLD_EVERY

    async def tell(self, day: date) -> None:
        """Write down what happened since the last time. What can't be written now is told next time."""
        if not self._tally.calls:
            return
        tally, counts = self._tally, self._counts
        self._tally, self._counts = Tally(), Counts()
        self._telling.append(tally)
        self._told_at = asyncio.get_running_loop().time()
        try:
            async with self._sessions.batch(self.workspace_id) as db:
                here = (db, self.workspace_id, self.provider_id)
                standing = await breakers.note(*here, tally, self._clock.now())
                await buckets.count(*here, day, counts)
        except DATABASE_ERRORS as error:
            if not is_away(error):
                raise
            self._tally += tally
            self._counts = Counts(*map(sum, zip(self._counts, counts, strict=True)))
        else:
            self.heard(standing)
        finally:
            self._telling.remove(tally)

    def heard(self, standing: Standing) -> None:
        """How all workers together find that it stands."""
        if standing.state is not self.standing.state:
            log.warning(
                "A circuit breaker changed",
                provider=str(self.provider_id),
                workspace=str(self.workspace_id),
                state=standing.state.value,
                reason=standing.reason,
            )
        self.standing = standing


@dataclass(frozen=True)
class Way:
    """A provider that messages may go by, and what stands before it."""

    provider: Provider[Any]
    gate: Gate
    limits: Limits
    title: str = BUILT_IN_TITLE  # As a message's story calls it.
    passed_over: Sequence[str] = ()  # Whose turn it would have been, and why it is not: for stories.

    @property
    def provider_id(self) -> UUID:
        return self.gate.provider_id

    @property
    def most(self) -> int:
        return min(self.provider.capabilities.wire_batch, self.gate.most)


@dataclass(frozen=True)
class Granted:
    """Which of some messages may go now, by their places, and how long the others have to wait."""

    go: Sequence[int]
    wait: float = 0.0  # Seconds.


class Tokens:
    """What this process has taken from the buckets and not used yet."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions, self._clock = sessions, clock
        self._spare: dict[
            Hashable, tuple[int, float]
        ] = {}  # With the loop's time at which they are forgotten.

    async def grant(
        self, way: Way, addresses: Sequence[str], *, hurry: bool, workspace_rate: float, time_zone: str
    ) -> Granted:
        """Take what these messages need. `hurry`: somebody waits for them, so that a limit lends."""
        limits, gate = way.limits, way.gate
        asks: dict[str, Ask] = {}
        needs: list[tuple[str, ...]] = []
        wanted: Counter[str] = Counter()
        for address in addresses:
            names = (
                *(("workspace",) if workspace_rate else ()),
                *((str(gate.provider_id),) if limits.rate else ()),
            )
            domain = address.rpartition("@")[2].lower()
            if domain in limits.domain_rates:
                names = (*names, f"{gate.provider_id} {domain}")
            needs.append(names)
            wanted.update(names)
        for name, n in wanted.items():
            rate = self._rate(name, limits, workspace_rate)
            lends = hurry and " " not in name
            asks[name] = Ask(max(n, int(rate * AHEAD)), rate, max(rate, 1.0), lends)
        has = await self._take(gate.workspace_id, asks, wanted)
        go, short = _those_that_may(needs, has)
        if limits.warm_up and go:
            allowed = await self._of_the_day(way, len(go), time_zone)
            for place in go[allowed:]:
                has.update(needs[place])
            go = go[:allowed]
        self._keep(gate.workspace_id, has)
        waits = (min(n, max(asks[name].rate * AHEAD, 1.0)) / asks[name].rate for name, n in short.items())
        return Granted(go, max(waits, default=0.0))

    async def _take(
        self, workspace_id: UUID, asks: Mapping[str, Ask], wanted: Mapping[str, int]
    ) -> Counter[str]:
        now = asyncio.get_running_loop().time()
        has: Counter[str] = Counter()
        for name in asks:
            n, until = self._spare.pop((workspace_id, name), (0, 0.0))
            has[name] = n if until > now else 0
        missing = {name: ask for name, ask in asks.items() if has[name] < wanted[name]}
        if missing:
            async with self._sessions.batch(workspace_id) as db:
                has.update(await buckets.lease(db, workspace_id, missing, self._clock.now()))
        return has

    def _keep(self, workspace_id: UUID, has: Mapping[str, int]) -> None:
        until = asyncio.get_running_loop().time() + KEPT
        for name, n in has.items():
            if n > 0:
                was, _ = self._spare.get((workspace_id, name), (0, 0.0))
                self._spare[workspace_id, name] = was + n, until

    async def _of_the_day(self, way: Way, wanted: int, time_zone: str) -> int:
        """How many of these a warm-up allows today. When that is used up, the gate closes until tomorrow."""
        assert way.limits.warm_up
        now = self._clock.now().astimezone(ZoneInfo(time_zone))
        allowed = way.limits.warm_up.allows(now.date())
        if allowed is None:
            return wanted
        gate = way.gate
        async with self._sessions.batch(gate.workspace_id) as db:
            given = await buckets.lease_day(
                db, gate.workspace_id, gate.provider_id, now.date(), wanted, allowed
            )
        if given < wanted:
            tomorrow = now.date() + timedelta(days=1)
            gate.full_until = datetime(
                tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=ZoneInfo(time_zone)
            )
        return given

    def _rate(self, name: str, limits: Limits, workspace_rate: float) -> float:
        provider, _, domain = name.partition(" ")
        rate = limits.domain_rates[domain] if domain else workspace_rate if provider == "workspace" else None
        rate = rate or limits.rate
        assert rate
        return rate


def _words(outcome: Outcome) -> str | None:
    """Without whom it was about: they are read by operators, in Temporal and in logs."""
    return without_addresses(without_named_credentials(outcome.reason)) if outcome.reason else None


def _those_that_may(needs: Sequence[tuple[str, ...]], has: Counter[str]) -> tuple[list[int], Counter[str]]:
    """Places of those for whom there is a token of each kind that they need, which is taken; and how many
    tokens of each kind are missing."""
    go: list[int] = []
    short: Counter[str] = Counter()
    for place, names in enumerate(needs):
        lacking = [name for name in names if has[name] <= 0]
        if lacking:
            short.update(lacking)
            continue
        for name in names:
            has[name] -= 1
        go.append(place)
    return go, short
