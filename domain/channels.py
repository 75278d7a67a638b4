"""The channels by which people are reached, and by which kind of name each finds them."""

from enum import StrEnum

from domain.profiles import ADDRESS_KIND, IdentityKind


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"
    WHATSAPP = "whatsapp"
    PUSH = "push"  # A browser's subscription (RFC 8030); its address is the subscription as JSON.
    WEBHOOK = "webhook"  # Its address is a URL.


def address_kind(channel: Channel) -> IdentityKind | None:
    """The kind of identity that a profile is reached by; None where a channel has addresses of its own."""
    return ADDRESS_KIND.get(channel)
