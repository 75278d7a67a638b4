"""People: the kinds of names they go by, and what they can allow or forbid."""

from enum import StrEnum


class IdentityKind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    USER_ID = "user_id"
    ANONYMOUS_ID = "anonymous_id"


class Purpose(StrEnum):
    """What consent is asked for: marketing on a channel, or being tracked."""

    EMAIL = "email"
    TRACKING = "tracking"


class ConsentState(StrEnum):
    GRANTED = "granted"
    DENIED = "denied"


class SuppressionReason(StrEnum):
    """Why an address is suppressed. `unsubscribed` stops marketing only; the others stop everything."""

    UNSUBSCRIBED = "unsubscribed"
    HARD_BOUNCE = "hard bounce"
    COMPLAINED = "complained"
    MANUAL = "manual"
    ERASED = "erased"
