"""SendGrid's event webhook: events in batches, signed with ECDSA over the timestamp and the body."""

import secrets
import time
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from lab.desk import Desk
from lab.reports import Event, Hook, Posting, Twist
from lab.sendgrid import parsed

STORIES = {
    "sent": ["processed"],
    "delivered": ["processed", "delivered"],
    "bounce": ["processed", "bounce"],
    "soft_bounce": ["processed", "deferred", "bounce:blocked"],
    "blocked": ["processed", "bounce:blocked"],
    "complaint": ["processed", "delivered", "spamreport"],
    "deferred": ["processed", "deferred"],
    "dropped": ["dropped"],
    "open": ["processed", "delivered", "open"],
    "click": ["processed", "delivered", "click"],
    "unsubscribe": ["processed", "delivered", "unsubscribe"],
}
OTHERS: frozenset[str] = frozenset({"group_unsubscribe", "group_resubscribe"})
SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def postings(lab: Desk, hook: Hook, events: Sequence[Event], twist: Twist) -> list[Posting]:
    """As many as the batch's size makes."""
    told = [described(event) for event in events]
    batches = [told[at : at + hook.batch] for at in range(0, len(told), hook.batch)]
    return [posting(hook, batch, twist) for batch in batches]


def posting(hook: Hook, batch: list[dict[str, Any]], twist: Twist) -> Posting:
    body = orjson.dumps(batch)
    timestamp = str(int(time.time() - twist.stale))
    signature = twist.keys.sendgrid.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
    headers = {
        SIGNATURE: b64encode(signature).decode(),
        TIMESTAMP: timestamp,
        "Content-Type": "application/json;charset=utf-8",
        "User-Agent": "SendGrid Event API",
    }
    return Posting(hook.url, headers, body)


def described(event: Event) -> dict[str, Any]:
    """One event, with the message's custom_args beside its own fields."""
    message = event.message
    asked = parsed(message.call.body) if message.call.body else {"personalizations": [{}]}
    own = {"campanile_message": message.own} if message.own else {}
    person = asked["personalizations"][message.index if message.call.body else 0]
    told: dict[str, Any] = {
        **own,
        **(asked.get("custom_args") or {}),
        **(person.get("custom_args") or {}),
        "email": message.recipient,
        "timestamp": int(event.at),
        "smtp-id": f"<{message.id.partition('.')[0]}@geopod-ismtpd-lab>",
        "event": event.name,
        "sg_event_id": secrets.token_urlsafe(22),
        "sg_message_id": message.id,
    }
    if categories := asked.get("categories"):
        told["category"] = categories
    match event.name:
        case "delivered":
            told |= {"response": "250 OK", "ip": "192.0.2.0"}
        case "deferred":
            told |= {"response": event.detail or "400 try again later", "attempt": "1", "ip": "192.0.2.0"}
        case "bounce" if event.detail == "blocked":
            told |= {
                "type": "blocked", "status": "5.7.1", "reason": "550 5.7.1 blocked by policy",
                "ip": "192.0.2.0", "bounce_classification": "Reputation",
            }  # fmt: skip
        case "bounce":
            told |= {
                "type": "bounce", "status": "5.1.1", "reason": event.detail or "550 5.1.1 unknown recipient",
                "ip": "192.0.2.0", "bounce_classification": "Invalid Address",
            }  # fmt: skip
        case "dropped":
            told |= {"reason": event.detail or "Bounced Address", "status": "5.0.0"}
        case "open":
            machine = event.detail == "machine"
            told |= {"useragent": AGENT, "ip": "192.0.2.1", "sg_machine_open": machine}
        case "click":
            told |= {"useragent": AGENT, "ip": "192.0.2.1", "url": event.detail or "https://shop.example/"}
        case "group_unsubscribe" | "group_resubscribe":
            told |= {"asm_group_id": int(event.detail or 1), "useragent": AGENT, "ip": "192.0.2.1"}
    return told
