"""The tracking API: what sites, apps and servers tell us, by the thousand; so raw ASGI. docs/tracking.md.

    POST /track, /identify, /page, /group, /alias    one call
    POST /track/batch                                up to 1,000 events
    POST /v1/…                                       the same as Segment's HTTP API has it, /v1/import too
    GET  /v1/projects/<write key>/settings           what Segment's library for browsers asks for

Who gets 202 (200 below /v1) has an event that is durable: arrivals during one commit form the group of the
next, which is one COPY. While the database is away a group is tried again for some seconds, which outlasts a
short absence; then, and when too many wait, the answer is 503 and nothing is claimed. An event that breaks a
rule is refused with its index and field, and costs no other its place; one that PostgreSQL itself does not
take is found by halving its group.
"""

from api.ingest.app import Ingest
from domain.clock import SystemClock
from models.base import Sessions
from settings import Settings

POOL = 3  # Connections a role: one that writes, one that looks keys up, one for allowances and refusals.


def build(settings: Settings) -> Ingest:
    """The application alone, to be mounted. It opens connections when the first event comes."""
    return Ingest(
        Sessions(settings.database_url, settings.engine_database_url, POOL),
        settings.public_url,
        SystemClock(),
        events_a_minute=settings.events_a_minute,
    )


__all__ = ["Ingest", "build"]
