"""Whose matter a failure is, and what to do about it: the table, by what a provider or a receiver said.

| what failed                                              | category      | tried again by us where asked |
|----------------------------------------------------------|---------------|-------------------------------|
| a message: the address is refused (5.1.x, 5.2.x), or hard-bounced | address | no                         |
| a message: what it says is refused                       | content       | no                            |
| a message: its template can't be filled for the person   | content       | yes                           |
| a message: "sender: …", authentication, policy (5.7.x)   | configuration | yes                           |
| a message: too many, too fast, a quota                   | limit         | yes                           |
| a message: anything else that the provider said          | provider      | yes                           |
| a message: nobody knows whether it was accepted          | provider      | only where a person says so   |
| a message: accepted, and reported as not delivered       | as above      | no: it was sent               |
| a provider refuses our account ("sender: …"), once an hour | configuration | no: its messages wait       |
| a provider's breaker opened                              | as above      | no: its messages wait         |
| marketing is held for bounces and complaints             | address       | no                            |
| a delivery: refused for good, the address may not be used, 404, 410, 401, 403 | configuration | yes      |
| a delivery: 429                                          | limit         | yes                           |
| a delivery: the receiver was down, slow or broken        | provider      | yes                           |
| a flow's call: its webhook is disabled                   | configuration | no: replayed once it is on    |
| an import's file can't be read                           | content       | no: it is uploaded again      |
| a campaign can't go on                                   | configuration | no                            |
| an activity raised, a workflow ended unfinished          | ours          | no: Temporal tries again      |
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.failures import Category, Failure, Subject, discreet
from domain.messages import Fate, MessageState, Skip

_ENHANCED = re.compile(r"(?<![0-9.])[45]\.([0-9])\.([0-9]{1,3})(?![0-9.])")  # RFC 3463
_TOO_MANY = re.compile(r"\b429\b")
_LIMITS = ("too many", "rate limit", "throttl", "quota", "limit exceeded", "too fast")
_ADDRESSES = ("no such user", "user unknown", "mailbox unavailable", "no such mailbox", "invalid recipient")
_OPTED_OUT = "unsubscribed"  # Twilio's 21610: "Attempt to send to unsubscribed recipient".
_SENDERS = ("sender: ", "authentication", "unauthorized", "credential", "not verified", "api key")

# `channels.contract.Blame`, by its words.
_BLAMED = {"message": Category.CONTENT, "recipient": Category.ADDRESS}

REMEDIES = {
    Category.ADDRESS: "Correct the address or leave the person out; sending there again does harm.",
    Category.CONTENT: "Change what the message says or is made of, and send the new version.",
    Category.CONFIGURATION: "Mend the account, sender or route that the reason names, then try again.",
    Category.PROVIDER: "Look at the provider's status; try again when it is well, or go by another provider.",
    Category.LIMIT: "Lower the rate or raise the limit with the provider, then try again.",
    Category.OURS: "Nothing is lost; if it does not end by itself, tell whoever runs Campanile.",
}
TEMPLATE = "Correct the template or the person's attributes that it needs, then try again."
UNKNOWN = (
    "Nobody knows whether it arrived: wait for the provider's report, or send it again knowing that it may"
    " arrive twice."
)
SENT = "It was sent, and did not arrive; look at the provider's report and at the address."
OPTED_OUT = "The person does not want it: write there again only once they ask for it, such as by START."
ACCOUNT = (
    "Its messages wait, or go by another provider of the route; mend what the reason names and check it."
)
BREAKER = "Its messages wait, or go by another provider of the route; mend what the reason names."
HOLD = "Clean the audience of addresses that bounce or complain, then let marketing go on."
FILE = "Correct the file, and upload it again."
CAMPAIGN = "Mend what the reason names. Who got it is in the ledger; make a new campaign for the others."
RECEIVER = "Look at the receiver's own log; replay the delivery when it is well."
WEBHOOK = "Correct the webhook's address or what its receiver asks for, then replay the delivery."


@dataclass(frozen=True, slots=True)
class Line:
    """What the ledger says of a message that failed."""

    id: UUID
    state: str
    reason: str | None
    detail: str | None
    fate: str | None
    channel: str
    message_class: str
    step: str
    attempts: int
    source_kind: str
    source_id: UUID
    provider_id: UUID | None


def sort_out(reason: str, blame: str | None = None) -> Category:
    """Whose matter it is that somebody said this. `blame` is whom a provider's module blames, if it did."""
    said = reason.lower()
    if any(word in said for word in _SENDERS):
        return Category.CONFIGURATION
    if blame in _BLAMED:
        return _BLAMED[blame]
    if any(word in said for word in _LIMITS) or _TOO_MANY.search(said):
        return Category.LIMIT
    if found := _ENHANCED.search(said):
        match found[1], found[2]:
            case ("1", "7" | "8") | ("7", _):
                return Category.CONFIGURATION
            case ("1", _) | ("2", "1"):
                return Category.ADDRESS
            case ("6", _) | ("3", "4"):
                return Category.CONTENT
    if any(word in said for word in _ADDRESSES):
        return Category.ADDRESS
    return Category.PROVIDER


_TRIED_AGAIN = (Category.CONFIGURATION, Category.PROVIDER, Category.LIMIT)


def of_message(line: Line, blame: str | None = None) -> Failure:
    """The failure that the ledger's line tells of."""
    reason, occasion = line.reason or "The provider gave no reason.", "failed"
    retryable, remedy = False, None
    if line.state == MessageState.SKIPPED:
        category, occasion, retryable, remedy = Category.CONTENT, "skipped", True, TEMPLATE
        reason = f"{Skip.TEMPLATE_ERROR}: {line.detail}" if line.detail else Skip.TEMPLATE_ERROR.value
    elif line.state == MessageState.UNKNOWN:
        category, occasion, remedy = Category.PROVIDER, "unknown", UNKNOWN
    elif line.state == MessageState.FAILED:
        category = sort_out(reason, blame)
        remedy = OPTED_OUT if category is Category.ADDRESS and _OPTED_OUT in reason.lower() else None
        retryable = category in _TRIED_AGAIN and line.fate is None
    else:
        category, remedy = sort_out(reason), SENT
        category = Category.ADDRESS if line.fate == Fate.HARD_BOUNCE else category
    return Failure(
        Subject.MESSAGE,
        str(line.id),
        category,
        discreet(reason),
        remedy or REMEDIES[category],
        retryable,
        occasion,
        line.source_kind,
        line.source_id,
        line.provider_id,
        {
            "state": line.state,
            "fate": line.fate,
            "channel": line.channel,
            "class": line.message_class,
            "step": line.step,
            "attempts": line.attempts,
        },
    )


def of_provider(provider_id: UUID, reason: str | None, since: str) -> Failure:
    """A breaker opened. `since` tells this time from others."""
    reason = reason or "Its calls failed."
    category = sort_out(reason)
    category = category if category in _TRIED_AGAIN else Category.PROVIDER
    return Failure(
        Subject.PROVIDER,
        str(provider_id),
        category,
        discreet(reason),
        BREAKER,
        occasion=since,
        provider_id=provider_id,
    )


def of_account(provider_id: UUID, reason: str, hour: str) -> Failure:
    """A provider refuses our account, whatever the message: once an hour is enough to know."""
    return Failure(
        Subject.PROVIDER,
        str(provider_id),
        Category.CONFIGURATION,
        discreet(reason),
        ACCOUNT,
        occasion=f"account {hour}",
        provider_id=provider_id,
    )


def of_hold(channel: str, reason: str, since: str) -> Failure:
    """Marketing by a channel is held."""
    return Failure(
        Subject.PROVIDER,
        f"marketing by {channel}",
        Category.ADDRESS,
        discreet(reason),
        HOLD,
        occasion=since,
        detail={"channel": channel},
        title=f"Marketing by {channel} is held",
    )


# What tells of failures does not tell of itself: two webhooks that are down would do so for ever.
_TELLING = ("job.failed", "webhook.disabled", "webhook.test")


def of_delivery(
    webhook_id: UUID,
    delivery_id: UUID,
    event_type: str,
    reason: str,
    status: int | None = None,
    *,
    final: bool = False,
    began: datetime | None = None,
) -> Failure:
    """A delivery that was given up. `final`: its address may not be used, whoever is there. `began` is when
    its tries did: a replay that is given up as well is another failure."""
    if status == 429:
        category = Category.LIMIT
    elif final or status in (401, 403, 404, 405, 410):
        category = Category.CONFIGURATION
    else:
        category = Category.PROVIDER
    return Failure(
        Subject.WEBHOOK,
        str(webhook_id),
        category,
        discreet(reason),
        WEBHOOK if category is Category.CONFIGURATION else RECEIVER,
        retryable=True,
        occasion=f"{delivery_id} {began.isoformat()}" if began else str(delivery_id),
        source_kind="webhook",
        source_id=webhook_id,
        detail={"delivery_id": str(delivery_id), "event_type": event_type, "status": status},
        quiet=event_type in _TELLING,
    )


def of_calls(flow_id: UUID, flow: str, step: str, webhook_id: UUID, hour: str) -> Failure:
    """A flow calls a webhook that is disabled, about whoever comes: once an hour is enough to know."""
    return Failure(
        Subject.WEBHOOK,
        str(webhook_id),
        Category.CONFIGURATION,
        discreet(f'The flow "{flow}" calls at "{step}", and the webhook is disabled.'),
        "Enable the webhook, then replay what it missed; members go on by the time-out until then.",
        occasion=f"{flow_id} {step} {hour}",
        source_kind="flow",
        source_id=flow_id,
    )


def of_import(import_id: UUID, reason: str) -> Failure:
    return Failure(
        Subject.IMPORT,
        str(import_id),
        Category.CONTENT,
        discreet(reason),
        FILE,
        source_kind="import",
        source_id=import_id,
    )


def of_campaign(campaign_id: UUID, reason: str) -> Failure:
    """A campaign that can't go on."""
    return Failure(
        Subject.WORKFLOW,
        str(campaign_id),
        Category.CONFIGURATION,
        discreet(reason),
        CAMPAIGN,
        occasion="failed",
        source_kind="campaign",
        source_id=campaign_id,
    )


def of_slice(workflow_id: str, activity: str, hour: str, reason: str, detail: dict[str, Any]) -> Failure:
    """An activity that raised. It is tried again: once an hour is enough to know."""
    return Failure(
        Subject.SLICE,
        workflow_id,
        Category.OURS,
        discreet(reason),
        REMEDIES[Category.OURS],
        occasion=f"{activity} {hour}",
        detail=detail,
    )


def of_workflow(workflow_id: str, run_id: str, how: str, detail: dict[str, Any]) -> Failure:
    """A workflow that ended without having done what it is for. `how` is Temporal's word."""
    return Failure(
        Subject.WORKFLOW,
        workflow_id,
        Category.OURS,
        f"The workflow {how} before it had done its work.",
        "Look at it in Temporal's web UI; upkeep starts what is still needed within a minute.",
        occasion=run_id,
        detail=detail,
    )
