"""The catalogue: each type of announcement, what its data holds, and when it is told.

`CATALOGUE` has the model of each type's data: its JSON Schema is what the API shows, and `example` makes one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from domain.announced import (
    BreakerData,
    CampaignData,
    CampaignScheduled,
    ConsentChanged,
    EventReceived,
    FlowCall,
    FlowData,
    FlowMember,
    ImportFinished,
    JobFailed,
    MessageBounced,
    MessageData,
    MessageRead,
    ProfileCreated,
    ProfileErased,
    ProfileMerged,
    ProfileUpdated,
    SegmentCrossed,
    WebhookDisabled,
    WebhookTest,
)
from domain.announcements import AnnouncementType

_T = AnnouncementType

CATALOGUE: Mapping[AnnouncementType, type[BaseModel]] = MappingProxyType(
    {
        _T.PROFILE_CREATED: ProfileCreated,
        _T.PROFILE_UPDATED: ProfileUpdated,
        _T.PROFILE_MERGED: ProfileMerged,
        _T.PROFILE_ERASED: ProfileErased,
        _T.PROFILE_CONSENT_CHANGED: ConsentChanged,
        _T.EVENT_RECEIVED: EventReceived,
        _T.SEGMENT_ENTERED: SegmentCrossed,
        _T.SEGMENT_LEFT: SegmentCrossed,
        _T.CAMPAIGN_SCHEDULED: CampaignScheduled,
        _T.CAMPAIGN_STARTED: CampaignData,
        _T.CAMPAIGN_PAUSED: CampaignData,
        _T.CAMPAIGN_RESUMED: CampaignData,
        _T.CAMPAIGN_COMPLETED: CampaignData,
        _T.CAMPAIGN_CANCELLED: CampaignData,
        _T.CAMPAIGN_FAILED: CampaignData,
        _T.FLOW_PUBLISHED: FlowData,
        _T.FLOW_PAUSED: FlowData,
        _T.FLOW_RESUMED: FlowData,
        _T.FLOW_ARCHIVED: FlowData,
        _T.FLOW_ENTERED: FlowMember,
        _T.FLOW_MOVED: FlowMember,
        _T.FLOW_FINISHED: FlowMember,
        _T.MESSAGE_ACCEPTED: MessageData,
        _T.MESSAGE_FAILED: MessageData,
        _T.MESSAGE_SKIPPED: MessageData,
        _T.MESSAGE_UNKNOWN: MessageData,
        _T.MESSAGE_DEFERRED: MessageData,
        _T.MESSAGE_DELIVERED: MessageData,
        _T.MESSAGE_BOUNCED: MessageBounced,
        _T.MESSAGE_COMPLAINED: MessageData,
        _T.MESSAGE_READ: MessageData,
        _T.MESSAGE_OPENED: MessageRead,
        _T.MESSAGE_CLICKED: MessageRead,
        _T.MESSAGE_UNSUBSCRIBED: MessageRead,
        _T.IMPORT_FINISHED: ImportFinished,
        _T.BREAKER_OPENED: BreakerData,
        _T.BREAKER_CLOSED: BreakerData,
        _T.JOB_FAILED: JobFailed,
        _T.WEBHOOK_DISABLED: WebhookDisabled,
        _T.WEBHOOK_TEST: WebhookTest,
        _T.FLOW_CALL: FlowCall,
    }
)

# Where a type is one of several that share a model: when it is told of.
WHEN: Mapping[AnnouncementType, str] = MappingProxyType(
    {
        _T.PROFILE_CREATED: "A person came who was not known before.",
        _T.PROFILE_UPDATED: "Attributes or names of a profile changed.",
        _T.PROFILE_MERGED: "Two profiles turned out to be one person.",
        _T.PROFILE_ERASED: "A person was erased.",
        _T.PROFILE_CONSENT_CHANGED: "A person allows or denies something that they did not before.",
        _T.EVENT_RECEIVED: "A person did something.",
        _T.SEGMENT_ENTERED: "A person came into a segment.",
        _T.SEGMENT_LEFT: "A person left a segment.",
        _T.CAMPAIGN_SCHEDULED: "A campaign was scheduled, or scheduled anew.",
        _T.CAMPAIGN_STARTED: "A campaign began to send.",
        _T.CAMPAIGN_PAUSED: "A campaign was paused.",
        _T.CAMPAIGN_RESUMED: "A campaign goes on after a pause.",
        _T.CAMPAIGN_COMPLETED: "A campaign is through: nothing of it is open any more.",
        _T.CAMPAIGN_CANCELLED: "Somebody cancelled a campaign; what was not sent stays unsent.",
        _T.CAMPAIGN_FAILED: "A campaign can't go on.",
        _T.FLOW_PUBLISHED: "A flow went live, or a new version of it did.",
        _T.FLOW_PAUSED: "A flow was paused: nobody moves.",
        _T.FLOW_RESUMED: "A flow goes on after a pause.",
        _T.FLOW_ARCHIVED: "A flow was archived: all journeys end.",
        _T.FLOW_ENTERED: "A person entered a flow.",
        _T.FLOW_MOVED: "A person went on to another step of a flow.",
        _T.FLOW_FINISHED: "A person's journey through a flow ended.",
        _T.MESSAGE_ACCEPTED: "A provider took a message.",
        _T.MESSAGE_FAILED: "A message was refused for good, by us, by a provider, or after it had taken it.",
        _T.MESSAGE_SKIPPED: "A message was not sent; the reason says why.",
        _T.MESSAGE_UNKNOWN: "Nobody can say whether a message was sent.",
        _T.MESSAGE_DEFERRED: "A provider still tries to deliver a message.",
        _T.MESSAGE_DELIVERED: "A message was delivered.",
        _T.MESSAGE_BOUNCED: "A message came back.",
        _T.MESSAGE_COMPLAINED: "Somebody called a message spam.",
        _T.MESSAGE_READ: "A provider says that a message was read (WhatsApp).",
        _T.MESSAGE_OPENED: "A message was opened.",
        _T.MESSAGE_CLICKED: "A link in a message was clicked.",
        _T.MESSAGE_UNSUBSCRIBED: "Somebody unsubscribed by a message.",
        _T.IMPORT_FINISHED: "An import is through, or failed.",
        _T.BREAKER_OPENED: "A provider is left alone, because it fails or somebody holds it.",
        _T.BREAKER_CLOSED: "A provider that was left alone works again.",
        _T.JOB_FAILED: "Something failed: a digest of failures of one kind.",
        _T.WEBHOOK_DISABLED: "A webhook was disabled.",
        _T.WEBHOOK_TEST: "Somebody tries a webhook. It can't be asked for.",
        _T.FLOW_CALL: "A step of a flow calls the webhook that it names. It can't be asked for.",
    }
)


def example(type_: AnnouncementType) -> dict[str, Any]:
    """The data of one announcement of this type, as it is posted."""
    model = CATALOGUE[type_]
    fields = {name: field.examples[0] for name, field in model.model_fields.items() if field.examples}
    return model.model_validate(fields | _FITTING.get(type_, {})).model_dump(mode="json")


_OF_SENDING = {"fate": None}
_FITTING: Mapping[AnnouncementType, dict[str, Any]] = MappingProxyType(
    {
        _T.CAMPAIGN_STARTED: {"state": "running", "finished_at": None, "counts": None},
        _T.CAMPAIGN_PAUSED: {"state": "paused", "finished_at": None, "counts": None},
        _T.CAMPAIGN_RESUMED: {"state": "running", "finished_at": None, "counts": None},
        _T.CAMPAIGN_CANCELLED: {"state": "cancelled"},
        _T.CAMPAIGN_FAILED: {"state": "failed", "reason": "There is nobody in the segment."},
        _T.FLOW_PAUSED: {"state": "paused"},
        _T.FLOW_ARCHIVED: {"state": "archived"},
        _T.FLOW_ENTERED: {"step": "start", "from_step": None},
        _T.FLOW_FINISHED: {"step": "end", "from_step": "welcome", "outcome": "finished"},
        _T.MESSAGE_ACCEPTED: _OF_SENDING,
        _T.MESSAGE_FAILED: {"state": "failed", "reason": "The server said: 550 no such user.", **_OF_SENDING},
        _T.MESSAGE_SKIPPED: {
            "state": "skipped",
            "reason": "no consent",
            "address": None,
            "provider_id": None,
            "provider_message_id": None,
            "attempts": 0,
            **_OF_SENDING,
        },
        _T.MESSAGE_UNKNOWN: {"state": "unknown", "provider_message_id": None, **_OF_SENDING},
        _T.MESSAGE_DEFERRED: {"fate": "deferred"},
        _T.MESSAGE_DELIVERED: {"fate": "delivered"},
        _T.MESSAGE_COMPLAINED: {"fate": "complained"},
        _T.MESSAGE_READ: {"channel": "whatsapp", "address": "+4915112345678", "fate": "read"},
        _T.MESSAGE_OPENED: {"fate": "delivered", "link": None},
        _T.MESSAGE_CLICKED: {"fate": "delivered"},
        _T.MESSAGE_UNSUBSCRIBED: {"fate": "delivered", "link": None},
        _T.BREAKER_CLOSED: {"state": "closed", "until": None},
    }
)
