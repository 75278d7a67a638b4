"""What SendGrid's event webhook reports. An event has our message's id: its custom arguments come back.

| event                                   | report                                            |
|-----------------------------------------|---------------------------------------------------|
| processed, deferred, delivered          | accepted, deferred, delivered                     |
| bounce of type bounce                   | hard bounce; failed, where it is about us         |
| bounce of type blocked                  | failed; soft bounce, where it is the mailbox      |
| dropped: bounced or invalid address     | hard bounce                                       |
| dropped: unsubscribed or spam-reporting | failed, and the person is unsubscribed            |
| dropped: anything else                  | failed                                            |
| spamreport                              | complained                                        |
| unsubscribe, group_unsubscribe          | unsubscribed                                      |
| group_resubscribe                       | resubscribed                                      |
| open, click                             | opened, clicked; `sg_machine_open` is a program's |

About us is 5.7.x (RFC 3463), our reputation or what we say; the mailbox is 4.x or 5.2.2, or so classified.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from channels.contract import Report, ReportKind
from channels.smtp_replies import LONGEST_REASON

MESSAGE = "campanile_message"  # The custom argument that holds our id.
WORKSPACE = "campanile_workspace"

_PLAIN = {
    "processed": ReportKind.ACCEPTED,
    "deferred": ReportKind.DEFERRED,
    "delivered": ReportKind.DELIVERED,
    "spamreport": ReportKind.COMPLAINED,
    "unsubscribe": ReportKind.UNSUBSCRIBED,
    "group_unsubscribe": ReportKind.UNSUBSCRIBED,
    "group_resubscribe": ReportKind.RESUBSCRIBED,
    "open": ReportKind.OPENED,
    "click": ReportKind.CLICKED,
}
_GONE = ("bounced address", "invalid")
_UNWILLING = ("unsubscribed address", "spam reporting address")


def reports_of(body: bytes) -> list[Report]:
    """Raises ValueError for what is no list of events."""
    events = orjson.loads(body)
    if not isinstance(events, list):
        raise ValueError("SendGrid's webhook is a list of events.")
    return [report for event in events if isinstance(event, dict) for report in _reports(event)]


def _reports(event: Mapping[str, Any]) -> list[Report]:
    name, reason = event.get("event"), str(event.get("reason") or "")
    if name == "bounce":
        return [_report(event, _bounce(event))]
    if name == "dropped":
        said = reason.lower()
        if said.startswith(_GONE) and "header" not in said:
            return [_report(event, ReportKind.HARD_BOUNCE)]
        failed = _report(event, ReportKind.FAILED)
        if said.startswith(_UNWILLING):
            person = _report(event, ReportKind.UNSUBSCRIBED, key="person")
            return [failed, person]
        return [failed]
    kind = _PLAIN.get(name) if isinstance(name, str) else None
    return [_report(event, kind)] if kind else []


def _bounce(event: Mapping[str, Any]) -> ReportKind:
    status = str(event.get("status") or "")
    verdict = str(event.get("bounce_classification") or "").lower()
    if event.get("type") == "blocked":
        soft = status.startswith("4.") or status == "5.2.2" or verdict == "mailbox unavailable"
        return ReportKind.SOFT_BOUNCE if soft else ReportKind.FAILED
    about_us = status.startswith("5.7.") or verdict in ("reputation", "content")
    return ReportKind.FAILED if about_us else ReportKind.HARD_BOUNCE


def _report(event: Mapping[str, Any], kind: ReportKind, key: str = "") -> Report:
    id_ = event.get("sg_event_id")
    parts = [event.get(part) for part in ("sg_message_id", "event", "email", "timestamp")]
    said = str(id_) if id_ else " ".join(map(str, parts))
    reason = " ".join(str(event[part]) for part in ("status", "reason", "response") if event.get(part))
    extra = {part: event[part] for part in ("url", "useragent", "asm_group_id") if part in event}
    return Report(
        kind,
        at=_at(event),
        key=f"{said} {key}" if key else said,
        message_id=message_of(event.get(MESSAGE)),
        provider_id=_text(event.get("sg_message_id")),
        address=_text(event.get("email")),
        reason=reason[:LONGEST_REASON] or None,
        machine=bool(event.get("sg_machine_open")),
        extra=extra,
    )


def _at(event: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromtimestamp(float(event["timestamp"]), UTC)
    except (KeyError, TypeError, OverflowError, OSError) as error:
        raise ValueError("An event of SendGrid's has no timestamp.") from error


def message_of(id_: object) -> UUID | None:
    """Our id, where it is one: other programs may send by the same account."""
    try:
        return UUID(id_) if isinstance(id_, str) else None
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
