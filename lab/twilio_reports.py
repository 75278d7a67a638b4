"""Twilio's callbacks: forms, one a change, signed with HMAC-SHA1 over the address and the sorted fields."""

import hashlib
import hmac
import secrets
from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode

from lab.desk import Desk
from lab.reports import Event, Hook, Posting, Twist, lane
from lab.twilio import segments

STORIES = {
    "delivered": ["sent", "delivered"],
    "bounce": ["sent", "undelivered:30005"],
    "soft_bounce": ["sent", "undelivered:30003"],
    "undelivered": ["sent", "undelivered"],
    "read": ["sent", "delivered", "read"],
    "failed": ["failed"],
}
OTHERS: frozenset[str] = frozenset({"accepted", "queued", "sending", "canceled"})
STOP = {"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"}
START = {"start", "yes", "unstop"}
HELP = {"help", "info"}


def postings(lab: Desk, hook: Hook, events: Sequence[Event], twist: Twist) -> list[Posting]:
    """One each, to the StatusCallback that came with the message; none where none came."""
    found = []
    for event in events:
        message = event.message
        lab.states[message.id] = event.name
        form = dict(parse_qsl(message.call.body.decode(), keep_blank_values=True))
        if url := form.get("StatusCallback"):
            told = {
                "AccountSid": message.call.path, "ApiVersion": "2010-04-01", "MessageSid": message.id,
                "SmsSid": message.id, "MessageStatus": event.name, "SmsStatus": event.name,
                "To": message.recipient, "From": form.get("From", "+15550000000"),
            }  # fmt: skip
            if service := form.get("MessagingServiceSid"):
                told["MessagingServiceSid"] = service
            if event.name in ("failed", "undelivered"):
                told["ErrorCode"] = event.detail or "30008"
            found.append(posting(lab, message.call.path, url, told, twist, lane(message)))
    return found


def posting(lab: Desk, account: str, url: str, form: dict[str, str], twist: Twist, lane_: int = 0) -> Posting:
    token = "forged" if twist.forged else lab.accounts.twilio.get(account, "")
    text = url + "".join(name + form[name] for name in sorted(form))
    signature = b64encode(hmac.digest(token.encode(), text.encode(), hashlib.sha1)).decode()
    headers = {
        "X-Twilio-Signature": signature,
        "I-Twilio-Idempotency-Token": secrets.token_hex(16),
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "User-Agent": "TwilioProxy/1.1",
    }
    return Posting(url, headers, urlencode(form).encode(), lane_)


def inbound(
    lab: Desk, hook: Hook, sender: str, to: str, text: str, service: str | None, twist: Twist
) -> Posting:
    """What a person wrote to our number. STOP and START are obeyed by Twilio itself, too."""
    account = next(iter(lab.accounts.twilio))
    sid = f"SM{secrets.token_hex(16)}"
    form = {
        "AccountSid": account, "ApiVersion": "2010-04-01", "MessageSid": sid, "SmsSid": sid,
        "SmsMessageSid": sid, "SmsStatus": "received", "From": sender, "To": to, "Body": text,
        "NumMedia": "0", "NumSegments": str(segments(text)),
    }  # fmt: skip
    word = text.strip().lower()
    kind = "STOP" if word in STOP else "START" if word in START else "HELP" if word in HELP else None
    ours = {(one, sender) for one in (to, service) if one}
    if kind == "STOP":
        lab.opted_out |= ours
    elif kind == "START":
        lab.opted_out -= ours
    if service:
        form["MessagingServiceSid"] = service
        if kind:
            form["OptOutType"] = kind
    return posting(lab, account, hook.url, form, twist)
