"""When a campaign is to start: the instant that a local time means, and who starts it."""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from domain.errors import Invalid
from domain.failures import Category, Failure, Subject, discreet


class Starter(StrEnum):
    """Who starts a campaign at its time."""

    CAMPANILE = "campanile"
    N8N = "n8n"  # It asks which ones are its to start, and starts them by API. Nothing starts by itself.


CATCH_UP = timedelta(minutes=10)  # So late may a campaign start by itself, after an outage.
FORGOTTEN = timedelta(days=1)  # What n8n did not start by then, it forgot.
LONGEST = timedelta(days=731)  # So far ahead may one be planned.


class Meant(NamedTuple):
    at: datetime  # An instant, to the second.
    note: str | None = None  # What was decided, where the clocks change.


def meant(at: datetime, time_zone: str) -> Meant:
    """The instant that `at` means, in `time_zone` (IANA) unless it has an offset of its own.

    A local time that a clock change skips is as much later as the change is long, and of one that comes
    twice the first is meant, as RFC 5545 (3.3.5) has it.
    """
    at = at.replace(microsecond=0)
    if at.tzinfo is not None:
        return Meant(at.astimezone(UTC))
    zone = ZoneInfo(time_zone)
    first, second = at.replace(tzinfo=zone, fold=0), at.replace(tzinfo=zone, fold=1)
    found = first.astimezone(UTC)
    said, day = f"{at:%H:%M}", at.date()
    if (real := found.astimezone(zone).replace(tzinfo=None)) != at:
        return Meant(
            found, f"The clocks of {time_zone} skip {said} on {day}: it starts at {real:%H:%M} instead."
        )
    if first.utcoffset() != second.utcoffset():
        offset = f"{first:%z}"
        return Meant(
            found,
            f"The clocks of {time_zone} come to {said} twice on {day}: it starts the first time "
            f"(UTC{offset[:3]}:{offset[3:]}). Give the time with an offset for the second.",
        )
    return Meant(found)


def planned(at: datetime, time_zone: str, now: datetime) -> Meant:
    """The same, for a start that lies ahead. Raises `Invalid`."""
    days = (at.replace(tzinfo=None) - now.replace(tzinfo=None)).days  # About: no zone is near the limits.
    if days > LONGEST.days:
        raise Invalid(f"Plan it at most {LONGEST.days} days ahead.", "/at")
    if days < -2 or (found := meant(at, time_zone)).at <= now:
        raise Invalid(
            f"This time is past: it is {_local(now, time_zone)} in {time_zone}. Give a later one, or start "
            "it now by POST /api/v1/campaigns/{id}/start.",
            "/at",
        )
    return found


def _local(at: datetime, time_zone: str) -> str:
    return f"{at.astimezone(ZoneInfo(time_zone)):%Y-%m-%dT%H:%M}"


def bounds(day: date, time_zone: str) -> tuple[datetime, datetime]:
    """When a day begins in this time zone, and when it is over. Raises `Invalid`."""
    if not 1970 <= day.year < 3000:
        raise Invalid("Give a day of our time, such as 2026-11-21.", "?scheduled_on")
    next_day = day + timedelta(days=1)
    begins, ends = (meant(datetime.combine(each, time()), time_zone).at for each in (day, next_day))
    return begins, ends


def is_missed(at: datetime, now: datetime) -> bool:
    """Whether it is too late for a start that was planned for `at`."""
    return now - at > CATCH_UP


def missed_in_words(at: datetime, time_zone: str) -> str:
    return (
        f"Its time, {_local(at, time_zone)} in {time_zone}, went by while Campanile could not start it, and "
        f"it starts at most {CATCH_UP.seconds // 60} minutes late."
    )


def forgotten_in_words(at: datetime, time_zone: str) -> str:
    return f"n8n was to start it at {_local(at, time_zone)} in {time_zone}, and did not within a day."


def forgotten(campaign_id: UUID, at: datetime, reason: str) -> Failure:
    """The failure of a campaign that n8n should have started."""
    return Failure(
        Subject.OUTSIDE,
        str(campaign_id),
        Category.CONFIGURATION,
        reason,
        "See whether n8n is up and its workflow for the day's campaigns is published; then start the "
        "campaign, or schedule it anew.",
        occasion=f"start at {at.astimezone(UTC).isoformat()}",
        source_kind="campaign",
        source_id=campaign_id,
        title="n8n did not start a campaign",
    )


def not_started(campaign_id: UUID, at: datetime, reason: str, now: datetime) -> Failure:
    """The failure of a campaign that did not start at its time."""
    return Failure(
        Subject.WORKFLOW,
        str(campaign_id),
        Category.OURS if is_missed(at, now) else Category.CONFIGURATION,
        discreet(reason),
        "Mend what the reason names, and start the campaign or schedule it anew: it is as good as a draft.",
        occasion=f"start at {at.astimezone(UTC).isoformat()}",
        source_kind="campaign",
        source_id=campaign_id,
        title="A campaign did not start at its time",
    )
