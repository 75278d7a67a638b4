"""What a provider is tried out with: a few words of each channel, to one address."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from domain.addresses import normal_address
from domain.channels import Channel
from domain.phones import normal_phone
from domain.templates import Template

_WORDS = "This is a test. If you can read it, messages by this provider reach you."

MAIL = Template(
    subject="A test from {{ workspace.name }}",
    html=f"<p>{_WORDS}</p>",
)
# As templates of these channels have their content. WhatsApp lets strangers be written to by approved
# templates alone: this one is Meta's own sample, which every new account has.
CONTENT: Mapping[Channel, dict[str, Any]] = {
    Channel.SMS: {"text": _WORDS},
    Channel.WHATSAPP: {"template": "hello_world", "language": "en_US", "parameters": []},
    Channel.PUSH: {"title": "A test", "body": _WORDS},
    Channel.WEBHOOK: {"payload": {"test": _WORDS}},
}


def address_on(channel: Channel, text: str) -> str:
    """An address on a channel in its one form.

    Raises `ValueError` with half a sentence that says what is wrong.
    """
    text = text.strip()
    match channel:
        case Channel.EMAIL:
            return normal_address(text)
        case Channel.SMS | Channel.WHATSAPP:
            return normal_phone(text)
        case Channel.PUSH:
            return _subscription(text)
        case Channel.WEBHOOK:
            return _url(text)


def _subscription(text: str) -> str:
    """What a browser's PushSubscription says of itself (W3C Push API, toJSON)."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    known = said if isinstance(said, dict) else {}
    if not isinstance(known.get("keys"), dict) or not isinstance(known.get("endpoint"), str):
        raise ValueError("Send a browser's subscription as JSON, with its endpoint and keys")
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
        raise ValueError("Write an address such as https://hooks.records.example/in")
    return text
