"""WhatsApp's webhook: statuses and what people write, signed with HMAC-SHA256 over the raw body."""

import hashlib
import hmac
import secrets
import time
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import orjson

from lab.desk import Desk
from lab.reports import Event, Hook, Posting, Twist
from lab.whatsapp import WORDS

STORIES = {
    "delivered": ["sent", "delivered"],
    "read": ["sent", "delivered", "read"],
    "bounce": ["failed:131026"],
    "unsubscribe": ["failed:131050"],
    "failed": ["failed"],
}
OTHERS: frozenset[str] = frozenset({"played", "deleted", "warning"})
BUSINESS = "102290129340398"  # The WhatsApp Business Account.


def postings(lab: Desk, hook: Hook, events: Sequence[Event], twist: Twist) -> list[Posting]:
    """As many as phone numbers and the batch's size make."""
    by_phone: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_phone.setdefault(event.message.call.path, []).append(described(event))
    return [
        posting(hook, phone, {"statuses": told[at : at + hook.batch]}, twist)
        for phone, told in by_phone.items()
        for at in range(0, len(told), hook.batch)
    ]


def posting(hook: Hook, phone: str, value: dict[str, Any], twist: Twist) -> Posting:
    metadata = {"display_phone_number": "16315558151", "phone_number_id": phone}
    change = {"value": {"messaging_product": "whatsapp", "metadata": metadata, **value}, "field": "messages"}
    told = {"object": "whatsapp_business_account", "entry": [{"id": BUSINESS, "changes": [change]}]}
    body = orjson.dumps(told)
    secret = "forged" if twist.forged else hook.app_secret
    headers = {
        "X-Hub-Signature-256": "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex(),
        "Content-Type": "application/json",
        "User-Agent": "facebookexternalua",
    }
    return Posting(hook.url, headers, body)


def described(event: Event) -> dict[str, Any]:
    message = event.message
    told: dict[str, Any] = {
        "id": message.id,
        "status": event.name,
        "timestamp": str(int(event.at)),
        "recipient_id": message.recipient.removeprefix("+"),
    }
    if message.own:
        told["biz_opaque_callback_data"] = message.own
    if event.name == "failed":
        code = int(event.detail or 131000)
        words = WORDS.get(code, "Lab")
        told["errors"] = [
            {
                "code": code, "title": words, "message": words,
                "error_data": {"details": "The lab was told to say so."},
                "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
            }
        ]  # fmt: skip
    else:
        told["pricing"] = {
            "billable": True,
            "pricing_model": "PMP",
            "category": "marketing",
            "type": "regular",
        }
    return told


def inbound(lab: Desk, hook: Hook, sender: str, to: str, text: str, twist: Twist) -> Posting:
    """What a person wrote to our number (its id); it opens the 24 hours."""
    number = sender.removeprefix("+")
    lab.wrote_at[number] = time.time()
    told = {
        "contacts": [{"profile": {"name": "Ada"}, "wa_id": number}],
        "messages": [{
            "from": number, "id": "wamid." + b64encode(secrets.token_bytes(24)).decode(),
            "timestamp": str(int(time.time())), "type": "text", "text": {"body": text},
        }],
    }  # fmt: skip
    return posting(hook, to, told, twist)
