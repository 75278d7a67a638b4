"""People: the kinds of names they go by, what they can allow or forbid, and whose word counts."""

import hashlib
from enum import StrEnum

from domain.addresses import normal_address
from domain.phones import normal_phone


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


# By which kind of name somebody is reached on a channel. What is not here has addresses of its own.
ADDRESS_KIND = {
    Purpose.EMAIL.value: IdentityKind.EMAIL,
    Purpose.SMS.value: IdentityKind.PHONE,
    Purpose.WHATSAPP.value: IdentityKind.PHONE,
}


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


def is_news(state: str, source: str, current: tuple[str, str] | None) -> bool:
    """Whether a consent is written down, given the state and the source of the current one, if there is one.

    Saying what holds already changes nothing, unless the person now denies what others said was denied:
    from then on only their own word counts.
    """
    if current is None:
        return True
    current_state, current_source = current
    if state == ConsentState.GRANTED:
        denied_by = current_source if current_state == ConsentState.DENIED else None
        return denied_by is not None and may_grant(source, denied_by)
    return current_state != ConsentState.DENIED or (source in OWN_WORD and current_source not in OWN_WORD)


LONGEST_NAME = 255  # Characters of a name that a person goes by.


def checked(kind: IdentityKind, value: str) -> str:
    """The name in the one form that is kept and compared.

    Raises `ValueError` with half a sentence that says what is wrong.
    """
    match kind:
        case IdentityKind.EMAIL:
            return normal_address(value.strip())
        case IdentityKind.PHONE:
            return normal_phone(value)
    value = value.strip()
    if not 1 <= len(value) <= LONGEST_NAME or "\0" in value:
        raise ValueError(f"Send 1 to {LONGEST_NAME} characters")
    return value


def normal(kind: IdentityKind, value: str) -> str:
    """The same without refusing anything: an email or a phone number that is none is only trimmed."""
    try:
        return checked(kind, value)
    except ValueError:
        return value.strip()


def address_hash(address: str) -> bytes:
    """What a suppression keeps of an address that is in its normal form: SHA-256 of it in UTF-8, 32 bytes."""
    return hashlib.sha256(address.encode()).digest()
