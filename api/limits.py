"""How much one may ask: requests by each key and session, and attempts to guess by anybody."""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from fastapi import Request

from api.errors import TooMany
from api.front import tell
from api.leases import seconds_until
from api.stack import Stack
from domain.networks import place_of
from models.queries import rate_limits


async def count(opened: Stack, request: Request, who: UUID) -> None:
    """Count a request by this key or session, and let the answer tell how they stand.

    The headers are those of draft-ietf-httpapi-ratelimit-headers-10. Raises `TooMany`.
    """
    leases = opened.leases
    standing = await leases.take(f"requests:{who}", opened.clock.now())
    tell(
        request,
        {
            "RateLimit-Policy": f'"requests";q={leases.limit};w={leases.period.total_seconds():.0f}',
            "RateLimit": f'"requests";r={standing.left};t={standing.seconds}',
        },
    )
    if not standing.granted:
        raise TooMany(
            f"That was more than {leases.limit:,} requests in {leases.period.total_seconds():.0f} seconds: "
            f"wait for {standing.seconds} seconds.",
            standing.seconds,
        )


QUARTER = timedelta(minutes=15)
# In a quarter of an hour: at one address from one place, at it from everywhere, and from one place at all.
HERE, AT_ALL, FROM_HERE = 10, 30, 100


async def guess(opened: Stack, request: Request, what: str, address: str = "") -> Sequence[str]:
    """Count an attempt at something that could be guessed, or that sends mail: known or unknown, alike.

    Returns what `was_right` takes when it was no guess. Raises `TooMany`.
    """
    place = place_of(request.client.host) if request.client else "nowhere"
    counts = [(f"{place}", FROM_HERE)]
    if address:
        counts += [(f"{place} {address}", HERE), (address, AT_ALL)]
    names = []
    for about, limit in counts:
        names.append(f"{what}:{sha256(about.encode()).hexdigest()[:32]}")
        await strictly(opened, names[-1], limit, QUARTER)
    return names


async def was_right(opened: Stack, names: Sequence[str]) -> None:
    """Whoever knows the password may come as often as they like."""
    async with opened.sessions.engine_batch() as db:
        await rate_limits.give_back(db, names)


async def strictly(opened: Stack, name: str, limit: int, period: timedelta) -> None:
    """Count one attempt at `name`, such as `sign-in:ada@example.com`, exactly and across processes.

    It stays counted whatever becomes of it. Raises `TooMany` from the one after `limit` in a `period`.
    """
    now = opened.clock.now()
    async with opened.sessions.engine_batch() as db:
        taken = await rate_limits.take(db, name, 1, limit, period, now)
    if not taken.granted:
        seconds = seconds_until(taken.ends_at, now)
        raise TooMany(f"Too many attempts: wait for {seconds} seconds.", seconds)
