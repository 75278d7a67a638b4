"""The channels by which people are reached, and by which kind of name each finds them."""

from enum import StrEnum
from urllib.parse import urlsplit

import orjson

from domain.profiles import ADDRESS_KIND, IdentityKind, checked


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"
    WHATSAPP = "whatsapp"
    PUSH = "push"  # A browser's subscription (RFC 8030); its address is the subscription as JSON.
    WEBHOOK = "webhook"  # Its address is a URL.


# Who is called there is somebody's own choice: it may be slow, or gone, and says nothing of our account.
OTHERS_SERVERS = (Channel.PUSH, Channel.WEBHOOK)


def address_kind(channel: Channel) -> IdentityKind | None:
    """The kind of identity that a profile is reached by; None where a channel has addresses of its own."""
    return ADDRESS_KIND.get(channel)


LONGEST_ADDRESS = 4_000  # Characters of a URL or a subscription.


def normal(channel: Channel, address: str) -> str:
    """The address in the one form that is kept and compared.

    Raises `ValueError` with half a sentence that says what is wrong.
    """
    if (kind := address_kind(channel)) is not None:
        return checked(kind, address)
    if len(address) > LONGEST_ADDRESS:
        raise ValueError(f"Keep it under {LONGEST_ADDRESS:,} characters")
    return _subscription(address) if channel is Channel.PUSH else _url(address)


def readable(channel: Channel, address: str | None) -> str | None:
    """The address as people may see it: a push subscription's keys write to its browser, and stay with us."""
    if channel is not Channel.PUSH or address is None:
        return address
    try:
        host: str | None = urlsplit(orjson.loads(address)["endpoint"]).hostname
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return host


def _url(address: str) -> str:
    """Whether we go there is looked at when we do."""
    url = address.strip()
    try:
        parts = urlsplit(url)
        found = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        found = None
    if not found or not url.isprintable() or " " in url:
        raise ValueError("This is no URL, such as https://shop.example/hooks")
    return url


def _subscription(address: str) -> str:
    """What a browser gave, with what we use of it, always in one order."""
    try:
        said = orjson.loads(address)
        keys = said["keys"]
        used = {"auth": keys["auth"], "p256dh": keys["p256dh"]}
        if not all(isinstance(each, str) and each.isascii() for each in used.values()):
            raise ValueError
        kept = {"endpoint": _url(said["endpoint"]), "keys": used}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            'This is no push subscription, such as {"endpoint": …, "keys": {"auth": …, "p256dh": …}}'
        ) from None
    return orjson.dumps(kept).decode()
