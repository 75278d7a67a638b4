"""Which way messages would go now, and why some providers are left out: for people who draw routes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.breakers import BAD_CALLS, WINDOW, BreakerState, Standing
from domain.channels import Channel

WARM = "Its warm-up allows no more messages today."


@dataclass(frozen=True, slots=True)
class Way:
    """One route, with how its provider stands."""

    route_id: UUID | None  # None for the mail server that comes with the installation.
    provider_id: UUID
    provider: str  # Its name.
    priority: int
    weight: int
    standing: Standing | None  # None when nothing was sent by it yet.
    left: int | None  # What a warm-up still allows today; None for no limit.


@dataclass(frozen=True, slots=True)
class Turn:
    """A way and its place in the order."""

    way: Way
    share: float | None  # Of the messages that come to its priority, from 0 to 1; None when it is left out.
    why_not: str | None


def why_not(way: Way, now: datetime) -> str | None:
    """Why nothing goes that way now, in a sentence; None when something may."""
    standing = way.standing
    if standing is not None:
        opens = standing.opens_at(now)
        if opens is None or opens > now:
            return standing_in_words(standing, now)
    return WARM if way.left is not None and way.left <= 0 else None


def standing_in_words(standing: Standing | None, now: datetime) -> str:
    """How a provider is doing, in a sentence."""
    if standing is None:
        return "Nothing was sent by it yet."
    why = _because(standing.reason)
    until = standing.until if standing.until and standing.until > now else None
    at = f"until {until:%H:%M:%S} UTC" if until else ""
    match standing.state:
        case BreakerState.HELD:
            return f"It is held by hand until somebody releases it{why}."
        case BreakerState.OPEN if until:
            return f"It is left alone {at}{why}."
        case BreakerState.OPEN:
            return f"It failed, and the next few messages try it again{why}."
        case BreakerState.HALF_OPEN:
            return f"It failed, and a few messages are trying it again{why}."
        case BreakerState.CLOSED if until:
            return f"It asked to be left alone {at}."
        case BreakerState.CLOSED if bad := standing.window.bad_calls:
            since, calls = f"{standing.window_began:%H:%M:%S} UTC", standing.window.calls
            return (
                f"Of its last calls, since {since}, {bad} of {calls} failed; it is left alone after "
                f"{BAD_CALLS} within {WINDOW.total_seconds():g} s."
            )
    return "It works."


def _because(reason: str | None) -> str:
    return f": {reason.rstrip('.')}" if reason else ""


def plan(ways: Sequence[Way], now: datetime) -> list[Turn]:
    """The ways in the order in which they are tried: by priority, then the likelier first."""
    closed = {id(way): why_not(way, now) for way in ways}
    turns = []
    for way in sorted(ways, key=lambda way: (way.priority, -way.weight, way.provider)):
        why = closed[id(way)]
        beside = sum(
            other.weight for other in ways if other.priority == way.priority and closed[id(other)] is None
        )
        turns.append(Turn(way, None if why else way.weight / beside, why))
    return turns


def held_in_words(channel: Channel, reason: str) -> str:
    """That marketing on a channel is held, why, and the way out; the reason is a sentence."""
    return (
        f"Marketing by {channel} is held: {reason} "
        f"POST /api/v1/deliverability/{channel}/release lets it go on."
    )


def shut(turns: Sequence[Turn], channel: Channel, held: str | None = None) -> str | None:
    """Why nothing goes now, in sentences; None when something may. `held` as in `in_words`."""
    if held is not None:
        return held_in_words(channel, held)
    if not turns:
        return f"There is no route for {channel}, so messages wait: make one by POST /api/v1/routes."
    if any(turn.share is not None for turn in turns):
        return None
    each = " ".join(f"{turn.way.provider}: {turn.why_not}" for turn in turns)
    return f"No provider can take it now. {each}"


def in_words(turns: Sequence[Turn], channel: Channel, held: str | None = None) -> str:
    """The plan in a sentence or two; `held` is why the workspace's messages of this kind are, if they are."""
    if held is not None:
        return held_in_words(channel, held)
    if not turns and channel is Channel.EMAIL:
        return "There is no route, so mail goes by the installation's own server."
    if not turns:
        return f"There is no route for {channel}, so messages wait: make one by POST /api/v1/routes."
    tiers: dict[int, list[str]] = {}
    for turn in turns:
        if turn.share is not None:
            said = turn.way.provider + (f" ({turn.share:.0%})" if turn.share < 1 else "")
            tiers.setdefault(turn.way.priority, []).append(said)
    if not tiers:
        return "No provider can take messages now: they wait in the queue."
    first, *others = (" and ".join(tier) for tier in tiers.values())
    return f"Messages go by {first}." + "".join(f" If that fails: {other}." for other in others)
