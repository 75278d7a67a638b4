"""The states of a campaign and what may follow what.

draft → scheduled → running ⇄ paused → completed | cancelled | failed
"""

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
