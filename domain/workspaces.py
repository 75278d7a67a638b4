"""A workspace's manners: how often it may write to a person, and when a period begins."""

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

# The workspace that a new installation begins with.
DEFAULT_WORKSPACE = UUID("01920000-0000-7000-8000-000000000001")
# Mail to the users of Campanile itself belongs to this one. Nobody is a member of it.
SYSTEM_WORKSPACE = UUID("01920000-0000-7000-8000-000000000000")


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Cap(BaseModel):
    """At most `limit` marketing messages to one profile on a channel in each calendar period."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Literal["email", "sms", "whatsapp", "push"] = "email"
    limit: int = Field(ge=1)
    period: Period


def reached_at(tracking_host: str | None, public_url: str) -> str:
    """What the links in a workspace's mail begin with."""
    return f"https://{tracking_host}" if tracking_host else public_url


def period_start(period: Period, now: datetime, time_zone: str) -> date:
    """The first day of the period that `now` lies in, by the workspace's calendar (weeks begin on Monday)."""
    today = now.astimezone(ZoneInfo(time_zone)).date()
    match period:
        case Period.DAY:
            return today
        case Period.WEEK:
            return today - timedelta(days=today.weekday())
        case Period.MONTH:
            return today.replace(day=1)
