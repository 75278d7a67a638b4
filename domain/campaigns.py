"""The states of a campaign and what may follow what.

draft ⇄ scheduled → running ⇄ paused → completed | cancelled | failed

One that failed before it began, since at its time something was in its way, is as good as a draft.
"""

from datetime import datetime
from enum import StrEnum


class CampaignState(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


STARTABLE = (CampaignState.DRAFT, CampaignState.SCHEDULED)
UNDER_WAY = (CampaignState.RUNNING, CampaignState.PAUSED)
ENDED = (CampaignState.COMPLETED, CampaignState.CANCELLED, CampaignState.FAILED)


def may_begin(state: str, started_at: datetime | None) -> bool:
    """Whether it has not begun, and was not given up: it may be changed, deleted, scheduled and started."""
    return state in STARTABLE or (state == CampaignState.FAILED and started_at is None)
