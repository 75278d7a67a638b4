"""What the data of announcements holds: a model for each type, or for a few that are alike.

What others wrote at length (properties, attributes) is cut where a body would grow too large, and says so by
`truncated`. `domain.catalogue` says which type has which.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from domain.campaigns import CampaignState
from domain.channels import Channel
from domain.failures import Category, Subject
from domain.flows import FlowState
from domain.messages import Fate, MessageClass, MessageState, SourceKind
from domain.profiles import ConsentState, Purpose

# A JSON object of somebody else's that has more bytes as text than this is cut: of its first names in
# alphabetical order those are kept whose value is short.
WHOLE = 100_000
KEPT_NAMES = 100
KEPT_VALUE = 1_000  # Bytes.
MOST_SAMPLES = 5  # Of a digest.
MOST_MEMBERS = 500  # Of a call by a flow.

_AT = "2026-11-21T08:00:00.000000Z"
_LATER = "2026-11-21T08:00:03.250000Z"
_PROFILE = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0001"
_OTHER = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0002"
_CAMPAIGN = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0003"
_FLOW = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0004"
_VERSION = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0005"
_MESSAGE = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0006"
_PROVIDER = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0007"
_SEGMENT = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0008"
_EVENT = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a0009"
_ENROLLMENT = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a000a"
_IMPORT = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a000b"
_WEBHOOK = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a000c"
_ALERT = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a000d"
_FAILURE = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a000e"
_CALL = "0199f3a0-52a1-7c31-9d5e-0f8c1d1a000f"


def _field(about: str, example: Any, **limits: Any) -> Any:
    return Field(description=about, examples=[example], **limits)


ProfileId = Annotated[UUID, _field("The profile.", _PROFILE)]
UserId = Annotated[
    str | None,
    _field("Your own id of the person; null where you gave none.", "customer-1042", max_length=255),
]
At = Annotated[datetime, _field("When it happened.", _AT)]
Name = Annotated[str, _field("Its name now.", "Spring offer", max_length=1_000)]
Truncated = Annotated[bool, _field("Whether something was left out, because it is long.", False)]
Reason = Annotated[str | None, _field("Why, in words, where there is more to say.", None, max_length=4_000)]
Step = Annotated[str, _field("The step's name in the flow.", "welcome", max_length=200)]
Count = Annotated[int, _field("How many.", 12, ge=0)]
Properties = dict[str, Any]


class Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProfileCreated(Data):
    """A person whom nobody knew before."""

    profile_id: ProfileId
    user_id: UserId
    email: str | None = _field("The primary address, if there is one.", "ada@example.com", max_length=320)
    phone: str | None = _field(
        "The primary number (E.164), if there is one.", "+4915112345678", max_length=20
    )
    attributes: Properties = _field("What is known of the person.", {"first_name": "Ada", "plan": "pro"})
    truncated: Truncated
    at: At


class ProfileUpdated(Data):
    """Attributes of a profile changed. Who merely got another name (address, number, id) is in here too."""

    profile_id: ProfileId
    user_id: UserId
    changed: Properties = _field(
        "The changed attributes with their new values; null: taken away.", {"plan": "pro"}
    )
    truncated: Truncated
    at: At


class ProfileMerged(Data):
    """Two profiles turned out to be one person: what you know under the one id belongs to the other."""

    profile_id: Annotated[UUID, _field("The profile that remains.", _PROFILE)]
    user_id: UserId
    merged_profile_id: UUID = _field("The profile that it was, and is no more.", _OTHER)
    at: At


class ProfileErased(Data):
    """A person was erased: erase what you know of them as well."""

    profile_id: ProfileId
    at: At


class ConsentChanged(Data):
    """What a person allows or denies changed."""

    profile_id: ProfileId
    user_id: UserId
    purpose: Purpose = _field("What it is about: marketing on a channel, or being tracked.", "email")
    state: ConsentState = _field("What holds now.", "denied")
    source: str = _field("By whom we know.", "unsubscribe page", max_length=1_000)
    at: At


class EventReceived(Data):
    """A person did something. Page views are events, too; history is not told of."""

    event_id: UUID = _field("The event.", _EVENT)
    name: str = _field("What happened.", "order placed", max_length=200)
    kind: str = _field("How it came.", "track", max_length=20)
    profile_id: ProfileId
    user_id: UserId
    properties: Properties = _field("What was said of it.", {"total": 49.9, "currency": "EUR"})
    truncated: Truncated
    occurred_at: datetime = _field("When it happened, by the sender's word.", _AT)
    received_at: datetime = _field("When it came in.", _LATER)


class SegmentCrossed(Data):
    """Somebody came into a segment, or left it, by something that happened."""

    segment_id: UUID = _field("The segment.", _SEGMENT)
    segment: Name
    profile_id: ProfileId
    user_id: UserId
    at: At


class Counts(Data):
    """A campaign's messages, test messages left out."""

    queued: int = _field("All that were queued.", 12_000, ge=0)
    accepted: int = _field("Taken by a provider.", 11_800, ge=0)
    failed: int = _field("Refused for good.", 40, ge=0)
    skipped: int = _field("Not sent, for a reason of ours.", 158, ge=0)
    unknown: int = _field("Nobody can say.", 2, ge=0)
    open: int = _field("Still to be sent.", 0, ge=0)


class CampaignData(Data):
    """A campaign changed its state."""

    campaign_id: UUID = _field("The campaign.", _CAMPAIGN)
    name: Name
    state: CampaignState = _field("The state that it is in now.", "completed")
    message_class: MessageClass = _field("What it sends.", "marketing")
    reason: Reason
    started_at: datetime | None = _field("When it was started.", _AT)
    finished_at: datetime | None = _field("When it ended.", _LATER)
    counts: Counts | None = _field(
        "Its messages so far: there once it ended. A report that comes later changes them.",
        {"queued": 12_000, "accepted": 11_800, "failed": 40, "skipped": 158, "unknown": 2, "open": 0},
    )


class CampaignScheduled(Data):
    """A campaign was scheduled, or scheduled anew."""

    campaign_id: UUID = _field("The campaign.", _CAMPAIGN)
    name: Name
    scheduled_at: datetime = _field("When it is to start.", _AT)
    time_zone: str = _field("The time zone that the time was given in.", "Europe/Berlin", max_length=100)
    starter: Literal["campanile", "n8n"] = _field("Who starts it.", "n8n")
    at: At


class FlowData(Data):
    """A flow was published, paused, resumed or archived."""

    flow_id: UUID = _field("The flow.", _FLOW)
    name: Name
    state: FlowState = _field("The state that it is in now.", "live")
    version_id: UUID | None = _field("The version that people enter.", _VERSION)
    version: int | None = _field("Its number.", 3, ge=1)
    at: At


class FlowMember(Data):
    """A person entered a flow, went on to another step, or is through."""

    flow_id: UUID = _field("The flow.", _FLOW)
    flow: Name
    version_id: UUID = _field("The version that they are in.", _VERSION)
    enrollment_id: UUID = _field("The journey: a person may have several in a flow.", _ENROLLMENT)
    profile_id: ProfileId
    user_id: UserId
    step: Step
    from_step: str | None = _field(
        "The step that they come from; null where they enter.", "start", max_length=200
    )
    why: str | None = _field("Why they went that way, where a step decided.", None, max_length=1_000)
    outcome: str | None = _field("How the journey ended; null while it goes on.", None, max_length=200)
    entry: str = _field("What tells two journeys of a person apart.", "once", max_length=1_000)
    entered_at: datetime = _field("When the journey began.", _AT)
    at: At


class Source(Data):
    """Who decided that a message be sent."""

    kind: SourceKind = _field(
        "A campaign, a flow, or the workspace's outbox: single messages and tests.", "campaign"
    )
    id: UUID = _field("Its id.", _CAMPAIGN)
    name: str | None = _field("Its name; null for the outbox.", "Spring offer", max_length=1_000)


class MessageData(Data):
    """What became of a message. Its address is here because whoever acts on it needs it."""

    message_id: UUID = _field("The message.", _MESSAGE)
    channel: Channel = _field("By what it goes.", "email")
    message_class: MessageClass = _field("What it is.", "marketing")
    source: Source = _field(
        "Who decided to send it.", {"kind": "campaign", "id": _CAMPAIGN, "name": "Spring offer"}
    )
    step: Step
    profile_id: UUID | None = _field("To whom; null for a bare address.", _PROFILE)
    user_id: UserId
    address: str | None = _field(
        "Where it went; null where it never came so far, or the person was erased. Of a browser that takes "
        "push messages, only the host.",
        "ada@example.com",
        max_length=4_000,
    )
    provider_id: UUID | None = _field("The account that it went by, or was tried by last.", _PROVIDER)
    provider_message_id: str | None = _field("What the provider calls it.", "0102018f-4c2e", max_length=1_000)
    state: MessageState = _field("What we know of our own sending.", "accepted")
    fate: Fate | None = _field("What the provider reported since.", "hard bounce")
    reason: Reason
    attempts: int = _field("How often it was tried.", 1, ge=0)
    resend: int = _field(
        "1 and more: it was sent again, in place of one whose end nobody knew or that failed.", 0, ge=0
    )
    corrected: bool = _field("Whether it was told of as unknown before.", False)
    at: At


class MessageBounced(MessageData):
    """A message was not delivered. After a hard bounce its address is suppressed."""

    bounce: Literal["soft", "hard"] = _field("soft: for now. hard: for good.", "hard")


class MessageRead(MessageData):
    """Somebody opened a message, clicked a link in it, or unsubscribed by it."""

    link: str | None = _field("The link that was clicked.", "https://shop.example/spring", max_length=4_000)
    machine: bool = _field("Whether it was a program (a scanner, a prefetcher) and no person.", False)


class ImportFinished(Data):
    """An import is through, or failed."""

    import_id: UUID = _field("The import.", _IMPORT)
    kind: Literal["customers", "orders"] = _field("What was imported.", "customers")
    file_name: str = _field("The file.", "customers.csv", max_length=1_000)
    state: Literal["completed", "failed"] = _field("How it ended.", "completed")
    reason: Reason
    live: bool = _field("Whether its rows count as happening now.", False)
    dry_run: bool = _field("Whether nothing was stored, because only the report was wanted.", False)
    rows: Count
    imported: Count
    unchanged: Count
    rejected: Count
    at: At


class BreakerData(Data):
    """A provider is left alone, because it fails or somebody holds it; or it works again."""

    provider_id: UUID = _field(
        "The account, or the installation's own mail server, which no list shows.", _PROVIDER
    )
    provider: str | None = _field("Its name.", "SES Ireland", max_length=1_000)
    state: Literal["closed", "open", "held"] = _field("closed: it works. held: by hand.", "open")
    reason: Reason
    until: datetime | None = _field("When it is tried again; null: nobody knows, or it works.", _LATER)
    at: At


class Sample(Data):
    """One of the failures of a digest."""

    failure_id: UUID = _field("The failure, in the failure logs.", _FAILURE)
    subject_id: str = _field("What failed: a message's id, a workflow's.", _MESSAGE, max_length=1_000)
    reason: str = _field("What went wrong.", "The server said: 550 no such user.", max_length=4_000)
    at: At


class JobFailed(Data):
    """Failures of one kind since it was told of last: how many, and some of them."""

    alert_id: UUID = _field("The kind that they are of: the same each time.", _ALERT)
    subject: Subject = _field("What kind of thing failed.", "message")
    category: Category = _field("Whose matter it is to mend it.", "provider")
    reason: str = _field(
        "What went wrong, in the words of one of them.", "The server said: 550.", max_length=4_000
    )
    remedy: str = _field("What to do about it.", "Look at the provider's status page.", max_length=4_000)
    retryable: bool = _field("Whether what failed can be tried again.", True)
    count: int = _field("How many, since this was told last.", 240, ge=1)
    total: int = _field("How many all in all.", 1_340, ge=1)
    first_at: datetime = _field("When the first of them happened.", _AT)
    last_at: datetime = _field("When the last of them did.", _LATER)
    source: Source | None = _field(
        "Whose messages they were.", {"kind": "campaign", "id": _CAMPAIGN, "name": "Spring offer"}
    )
    provider_id: UUID | None = _field("The account that they went by.", _PROVIDER)
    provider_name: str | None = _field("What it is called.", "Main", max_length=1_000)
    samples: list[Sample] = _field(
        "Some of them.",
        [{"failure_id": _FAILURE, "subject_id": _MESSAGE, "reason": "The server said: 550.", "at": _AT}],
        max_length=MOST_SAMPLES,
    )
    url: str = _field(
        "Where the API lists them.",
        f"https://campanile.example/api/v1/failure-logs?alert_id={_ALERT}",
        max_length=4_000,
    )


class WebhookDisabled(Data):
    """A webhook was disabled, because it had failed for days or said that it is gone; the others are told."""

    webhook_id: UUID = _field("The webhook.", _WEBHOOK)
    name: Name
    url: str = _field(
        "Its address up to the path, which others need not know.", "https://n8n.example", max_length=4_000
    )
    reason: str = _field("Why.", "Nothing but failures for 5 days.", max_length=4_000)
    failing_since: datetime | None = _field("Since when it had failed.", _AT)
    at: At


class WebhookTest(Data):
    """Somebody wants to see whether announcements arrive."""

    webhook_id: UUID = _field("The webhook that is tried.", _WEBHOOK)
    message: str = _field("A friendly word.", "This is a test from Campanile.", max_length=1_000)


class CalledMember(Data):
    """One member of a flow who is at the step that calls."""

    member: UUID = _field("What to name them by in the callback: their journey.", _ENROLLMENT)
    profile_id: ProfileId
    user_id: UserId
    email: str | None = _field("The primary address.", "ada@example.com", max_length=320)
    phone: str | None = _field("The primary number.", "+4915112345678", max_length=20)
    properties: Properties = _field("Of the event that let them in.", {"plan": "pro"})
    attributes: Properties = _field("Of the person, those that the step names.", {"first_name": "Ada"})
    truncated: Truncated


class FlowCall(Data):
    """A step of a flow calls, with those who are at it. By the callback each of them goes on."""

    call_id: UUID = _field("The call: the same at each try.", _CALL)
    flow_id: UUID = _field("The flow.", _FLOW)
    flow: Name
    step: Step
    data: Properties = _field("What the step is told to send along.", {"list": "spring"})
    callback_url: str | None = _field(
        "Where to answer; null: nobody waits.",
        "https://campanile.example/api/v1/callbacks/…",
        max_length=4_000,
    )
    deadline: datetime | None = _field("Until when an answer counts.", _LATER)
    members: list[CalledMember] = _field(
        "Those who are at the step.",
        [
            {
                "member": _ENROLLMENT,
                "profile_id": _PROFILE,
                "user_id": "customer-1042",
                "email": "ada@example.com",
                "phone": None,
                "properties": {"plan": "pro"},
                "attributes": {"first_name": "Ada"},
                "truncated": False,
            }
        ],
        max_length=MOST_MEMBERS,
    )
