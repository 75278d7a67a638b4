"""What Amazon SES reports through SNS: one event of a configuration set a notification.

| event (`eventType`)                    | report                                                  |
|----------------------------------------|---------------------------------------------------------|
| Send                                   | accepted                                                |
| DeliveryDelay, Delivery                | deferred, delivered                                     |
| Bounce, Permanent                      | hard bounce; failed, where it is about us (5.7.x)       |
| Bounce, Transient or Undetermined      | soft bounce; failed, where it is what we say            |
| Complaint                              | complained; nothing, where it says "not spam"           |
| Complaint that SES kept from happening | failed, and the person is unsubscribed                  |
| Reject, Rendering Failure              | failed                                                  |
| Open, Click                            | opened, clicked                                         |
| Subscription                           | unsubscribed, or resubscribed, where it is from all     |
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from channels import sns
from channels.contract import Report, ReportKind
from channels.smtp_replies import LONGEST_REASON

MESSAGE = "mid"  # The tag that holds our id.
_PLAIN = {
    "Send": ("send", ReportKind.ACCEPTED),
    "Delivery": ("delivery", ReportKind.DELIVERED),
    "Reject": ("reject", ReportKind.FAILED),
    "Rendering Failure": ("failure", ReportKind.FAILED),
    "RenderingFailure": ("failure", ReportKind.FAILED),
    "Open": ("open", ReportKind.OPENED),
    "Click": ("click", ReportKind.CLICKED),
}
_WHAT_WE_SAY = frozenset({"MessageTooLarge", "ContentRejected", "AttachmentRejected"})
_SUPPRESSED = "OnAccountSuppressionList"


def reports_of(body: bytes) -> list[Report]:
    """Raises ValueError for what is no notification of an event."""
    notification = sns.read(body)
    event = orjson.loads(str(notification.get("Message")))
    if not isinstance(event, dict):
        raise ValueError("A notification of SES's holds an event.")
    name = event.get("eventType") or event.get("notificationType")
    make = _Making(str(notification.get("MessageId")), event)
    match name:
        case "Bounce":
            return _bounces(make, _dict(event.get("bounce")))
        case "Complaint":
            return _complaints(make, _dict(event.get("complaint")))
        case "DeliveryDelay":
            delay = _dict(event.get("deliveryDelay"))
            reason = str(delay.get("delayType") or "")
            return [
                make(ReportKind.DEFERRED, delay, person, f"{reason} {_diagnosis(person)}".strip())
                for person in _people(delay.get("delayedRecipients"))
            ]
        case "Subscription":
            return _subscription(make, _dict(event.get("subscription")))
        case str() if name in _PLAIN:
            part, kind = _PLAIN[name]
            said = _dict(event.get(part))
            reason = next(
                (str(said[key]) for key in ("reason", "errorMessage", "smtpResponse") if said.get(key)), ""
            )
            return [make(kind, said, None, reason)]
        case _:
            return []


class _Making:
    """Makes the reports of one event."""

    def __init__(self, key: str, event: Mapping[str, Any]) -> None:
        self.key = key
        self.mail = _dict(event.get("mail"))
        to = self.mail.get("destination")
        self.address = to[0] if isinstance(to, list) and to and isinstance(to[0], str) else None

    def __call__(
        self,
        kind: ReportKind,
        said: Mapping[str, Any],
        person: Mapping[str, Any] | None,
        reason: str = "",
        key: str = "",
    ) -> Report:
        address = person.get("emailAddress") if person else None
        parts = (self.key, str(address) if person else "", key)
        extra = {part: said[part] for part in ("link", "userAgent", "ipAddress") if part in said}
        name = self.mail.get("messageId")
        return Report(
            kind,
            at=_at(said.get("timestamp") or self.mail.get("timestamp")),
            key=" ".join(part for part in parts if part),
            message_id=self.message_id,
            provider_id=name if isinstance(name, str) else None,
            address=address if isinstance(address, str) else self.address,
            reason=reason[:LONGEST_REASON] or None,
            extra=extra,
        )

    @property
    def message_id(self) -> UUID | None:
        found = _dict(self.mail.get("tags")).get(MESSAGE)
        try:
            return UUID(found[0]) if isinstance(found, list) and found and isinstance(found[0], str) else None
        except ValueError:
            return None


def _bounces(make: _Making, bounce: Mapping[str, Any]) -> list[Report]:
    sort, detail = bounce.get("bounceType"), str(bounce.get("bounceSubType") or "")
    reports = []
    for person in _people(bounce.get("bouncedRecipients")):
        status = str(person.get("status") or "")
        if sort == "Permanent":
            about_us = status.startswith("5.7.") or detail in _WHAT_WE_SAY
            kind = ReportKind.FAILED if about_us else ReportKind.HARD_BOUNCE
        else:
            kind = ReportKind.FAILED if detail in _WHAT_WE_SAY else ReportKind.SOFT_BOUNCE
        reports.append(make(kind, bounce, person, f"{sort} {detail}: {_diagnosis(person)}"))
    return reports


def _complaints(make: _Making, complaint: Mapping[str, Any]) -> list[Report]:
    if complaint.get("complaintFeedbackType") == "not-spam":
        return []
    reports = []
    for person in _people(complaint.get("complainedRecipients")):
        if complaint.get("complaintSubType") == _SUPPRESSED:  # An earlier one: this mail was not even sent.
            reports.append(
                make(ReportKind.FAILED, complaint, person, "SES did not send it: complained before")
            )
            reports.append(make(ReportKind.UNSUBSCRIBED, complaint, person, key="person"))
        else:
            reason = str(complaint.get("complaintFeedbackType") or "")
            reports.append(make(ReportKind.COMPLAINED, complaint, person, reason))
    return reports


def _subscription(make: _Making, subscription: Mapping[str, Any]) -> list[Report]:
    """Only what is about all mail: the topics of a contact list at SES are not ours."""
    before = _dict(subscription.get("oldTopicPreferences")).get("unsubscribeAll") is True
    after = _dict(subscription.get("newTopicPreferences")).get("unsubscribeAll") is True
    if after:
        return [make(ReportKind.UNSUBSCRIBED, subscription, None)]
    return [make(ReportKind.RESUBSCRIBED, subscription, None)] if before else []


def _diagnosis(person: Mapping[str, Any]) -> str:
    return " ".join(str(person[part]) for part in ("status", "diagnosticCode") if person.get(part))


def _people(people: object) -> Sequence[Mapping[str, Any]]:
    return [person for person in people if isinstance(person, dict)] if isinstance(people, list) else []


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _at(moment: object) -> datetime:
    """Raises ValueError."""
    at = datetime.fromisoformat(str(moment))
    return at if at.tzinfo else at.replace(tzinfo=UTC)
