"""People: the kinds of names they go by, what they can allow or forbid, and whose word counts."""

import hashlib
from enum import StrEnum

from domain.addresses import normal_address


class IdentityKind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    USER_ID = "user_id"
    ANONYMOUS_ID = "anonymous_id"


class Purpose(StrEnum):
    """What consent is asked for: marketing on a channel, or being tracked."""

    EMAIL = "email"
    SMS = "sms"
    WHATSAPP = "whatsapp"
    PUSH = "push"
    TRACKING = "tracking"


class ConsentState(StrEnum):
    GRANTED = "granted"
    DENIED = "denied"


class ConsentSource(StrEnum):
    """By whom we know. Other sources have names of their own; these have a meaning to us."""

    IMPORT = "import"
    API = "api"  # A secret key's.
    ONE_CLICK = "one-click unsubscribe"  # A mail program's button, RFC 8058.
    UNSUBSCRIBE_PAGE = "unsubscribe page"
    PERSON = "person"  # Their own word elsewhere: a form, a preference page, a confirmed sign-up.


OWN_WORD = frozenset({ConsentSource.ONE_CLICK, ConsentSource.UNSUBSCRIBE_PAGE, ConsentSource.PERSON})


class SuppressionReason(StrEnum):
    """Why an address is suppressed. `unsubscribed` stops marketing only; the others stop everything."""

    UNSUBSCRIBED = "unsubscribed"
    HARD_BOUNCE = "hard bounce"
    COMPLAINED = "complained"
    MANUAL = "manual"
    ERASED = "erased"


def may_grant(source: str, denied_by: str | None) -> bool:
    """Whether a grant from `source` is taken, given who denied before (None: nobody did).

    A denial is always taken. Over a denial, a grant needs the person's own word or the very source that
    had denied: so a corrected file puts right what a file said, and no list undoes an unsubscribe.
    """
    return denied_by is None or source in OWN_WORD or source == denied_by


def normal(kind: IdentityKind, value: str) -> str:
    """A name in the one form that is kept and compared. An email that is none is only trimmed."""
    value = value.strip()
    if kind is not IdentityKind.EMAIL:
        return value
    try:
        return normal_address(value)
    except ValueError:
        return value


def address_hash(address: str) -> bytes:
    """What a suppression keeps of an address that is in its normal form: SHA-256 of it in UTF-8, 32 bytes."""
    return hashlib.sha256(address.encode()).digest()
