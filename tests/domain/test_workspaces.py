"""When a period begins: by the workspace's own calendar."""

from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from domain.workspaces import Cap, Period, period_start


@pytest.mark.parametrize(
    ("period", "now", "zone", "begins"),
    [
        (Period.DAY, "2026-03-02 12:00", "UTC", "2026-03-02"),
        (Period.DAY, "2026-03-02 12:00", "Pacific/Auckland", "2026-03-03"),
        (Period.DAY, "2026-03-02 04:59", "America/New_York", "2026-03-01"),
        (Period.DAY, "2026-03-29 00:59", "Europe/Berlin", "2026-03-29"),  # The day of 23 hours,
        (Period.DAY, "2026-03-29 22:30", "Europe/Berlin", "2026-03-30"),  # which ends at 22:00 UTC.
        (Period.WEEK, "2026-03-02 00:00", "UTC", "2026-03-02"),  # A Monday.
        (Period.WEEK, "2026-03-01 23:59", "UTC", "2026-02-23"),
        (Period.WEEK, "2026-03-01 23:59", "Asia/Tokyo", "2026-03-02"),
        (Period.WEEK, "2027-01-01 12:00", "UTC", "2026-12-28"),
        (Period.MONTH, "2026-03-01 00:00", "UTC", "2026-03-01"),
        (Period.MONTH, "2026-03-01 00:00", "America/New_York", "2026-02-01"),
    ],
)
def test_a_period_begins_where_the_workspace_is(period: Period, now: str, zone: str, begins: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=UTC)

    assert period_start(period, instant, zone) == date.fromisoformat(begins)


@pytest.mark.parametrize("limit", [0, -1, None])
def test_a_cap_lets_at_least_one_message_through(limit: int | None) -> None:
    with pytest.raises(ValidationError):
        Cap.model_validate({"limit": limit, "period": "day"})
