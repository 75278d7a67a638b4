"""What a call of the tracking API means: an arrival for the inbox, or a refusal that says why not. Pure.

The sender's clock is corrected as Segment does it: what it calls now (`sentAt`) is what we call now, and all
of its times are moved by the difference. Nothing happened in the future: such a time becomes the one at which
it came in. What is said to have happened before 1970 is refused, for it is a clock that was never set, or a
unit that was mixed up. Historical events are taken by the time that they name, uncorrected.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from domain.addresses import normal_address
from domain.calls import Call, Fault, Id, Object, escaped
from domain.events import GROUP_JOINED, OURS, PAGE_VIEWED, SCREEN_VIEWED, EventKind
from domain.phones import normal_phone
from domain.profiles import ConsentState, Purpose
from domain.traits import PLACES, misread, take_changes
from domain.values import as_text

LONGEST_NAME = 255  # Characters of a name of a person, and of a message id.
LONGEST_EVENT = 200
LONGEST_KEY = 200  # Of a property, of an attribute, and of whatever is within.
DEEPEST = 20  # Levels of objects and lists.
LARGEST = 32_768  # Bytes of an event's properties or traits, and as many of its context, as JSON.
LARGEST_NUMBER = 10**308
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

NOBODY = "Name the person: send email, userId, anonymousId or phone."
_TRAITS_THAT_NAME = {
    "email": "email",
    "phone": "phone",
    "userId": "user_id",
    "user_id": "user_id",
    "anonymousId": "anonymous_id",
    "anonymous_id": "anonymous_id",
}
_BACKSLASH = ord("\\")
_encode = msgspec.json.Encoder().encode
Arrange: TypeAlias = "Callable[[Call, Arrived, Rights], None]"


class Refused(Exception):
    """An event that is not kept. `pointer` is into the event."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(pointer, detail)


class Rights(Struct, frozen=True):
    """What a sender may say. Whoever can be read in a web page is not trusted, since anybody can be it."""

    trusted: bool
    closed_events: frozenset[str] = frozenset()  # Which they may not send, and attributes likewise.
    closed_attributes: frozenset[str] = frozenset()


class Arrived(Struct, gc=False):
    """One event, ready for the inbox; JSON is text in bytes. See `models.events.Arrival`."""

    kind: EventKind
    historical: bool
    occurred_at: datetime
    message_id: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    properties: bytes = b"{}"
    context: bytes | None = None
    consents: bytes | None = None
    doubts: list[Fault] | None = None  # Names in the traits that were not taken; the rest is kept.
    left_out: list[Fault] | None = None  # Traits likewise, or not all that they were meant to be.


def arrive(
    call: Call,
    kind: EventKind,
    rights: Rights,
    now: datetime,
    *,
    sent_at: datetime | None = None,
    historical: bool = False,
    context: Object = None,
) -> Arrived:
    """What this call means when it comes in `now`. `sent_at` is by the sender's clock. Raises `Refused`."""
    historical = historical or call.historical is True
    if historical and not rights.trusted:
        raise Refused(
            "/historical", "Only a secret key can send history: leave this out, or send from a server."
        )
    occurred_at = now
    if call.timestamp is not None:
        occurred_at = _when(call.timestamp, now, None if historical else sent_at)
    arrived = Arrived(kind, historical, occurred_at)
    said = call.message_id if call.our_message_id is None else call.our_message_id
    if said is not None:
        arrived.message_id = _id(said, "/messageId")
    _name(call, arrived)
    _ARRANGE[kind](call, arrived, rights)
    if not (arrived.email or arrived.user_id or arrived.anonymous_id or arrived.phone):
        if arrived.doubts:
            raise Refused(*arrived.doubts[0])
        raise Refused("/email", NOBODY)
    if call.context is not None or context is not None:
        arrived.context = json_of(context if call.context is None else call.context, "/context")
    return arrived


def instant(text: str) -> datetime:
    """A time in ISO 8601; UTC where it names no offset. Raises `ValueError`."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _when(text: str, now: datetime, sent_at: datetime | None) -> datetime:
    try:
        said = instant(text.strip())
        when = said if sent_at is None else now - (sent_at - said)
    except (ValueError, OverflowError):
        raise Refused(
            "/timestamp", "This is no time in ISO 8601, such as 2026-11-21T09:00:00.000Z."
        ) from None
    if when < EARLIEST:
        raise Refused("/timestamp", "This is before 1970: set the clock, or leave the time out to mean now.")
    return min(when, now)


# Names of people.


def _name(call: Call, arrived: Arrived) -> None:
    """Take over by which names the call itself knows the person."""
    if call.email is not None and (said := call.email.strip()):
        arrived.email = _email(said, "/email")
    if call.phone is not None and (said := call.phone.strip()):
        arrived.phone = _phone(said, "/phone")
    user_id = call.user_id if call.our_user_id is None else call.our_user_id
    if user_id is not None:
        arrived.user_id = _id(user_id, "/userId")
    anonymous_id = call.anonymous_id if call.our_anonymous_id is None else call.our_anonymous_id
    if anonymous_id is not None:
        arrived.anonymous_id = _id(anonymous_id, "/anonymousId")


_address = lru_cache(maxsize=10_000)(normal_address)


def _email(said: str, pointer: str) -> str:
    try:
        return _address(said)
    except ValueError as error:
        raise Refused(pointer, f"{error}.") from None


def _phone(said: str, pointer: str) -> str:
    try:
        return normal_phone(said)
    except ValueError as error:
        raise Refused(pointer, f"{error}.") from None


def _id(said: Id, pointer: str) -> str | None:
    """The id as text; None for an empty one."""
    text = (said if isinstance(said, str) else as_text(said) or "").strip()
    if len(text) > LONGEST_NAME:
        raise Refused(pointer, f"This is longer than {LONGEST_NAME} characters.")
    if "\0" in text:
        raise Refused(pointer, "This holds a NUL, which can't be stored.")
    return text or None


# What each kind of call says beyond that.


def _track(call: Call, arrived: Arrived, rights: Rights) -> None:
    _no_consents(call)
    pointer = "/name" if call.event is None else "/event"
    name = ((call.name if call.event is None else call.event) or "").strip()
    if not name:
        raise Refused(pointer, "Name the event: send `name` (or `event`, as Segment calls it).")
    if len(name) > LONGEST_EVENT:
        raise Refused(pointer, f"This is longer than {LONGEST_EVENT} characters.")
    if "\0" in name:
        raise Refused(pointer, "This holds a NUL, which can't be stored.")
    if name in OURS:
        raise Refused(
            pointer, f'"{name}" is what we say ourselves: pick another name, and send orders as orders.'
        )
    if name in rights.closed_events:
        raise Refused(pointer, f'Only a secret key can send "{name}": send it from a server.')
    arrived.name = name
    if call.properties:
        arrived.properties = json_of(call.properties, "/properties")


def _page(call: Call, arrived: Arrived, rights: Rights) -> None:
    _no_consents(call)
    arrived.name = PAGE_VIEWED if arrived.kind is EventKind.PAGE else SCREEN_VIEWED
    if arrived.name in rights.closed_events:
        raise Refused("/type", f'Only a secret key can send "{arrived.name}": send it from a server.')
    properties = call.properties or {}
    if call.name is not None:
        properties["name"] = call.name
    if call.category is not None:
        properties["category"] = call.category
    if properties:
        arrived.properties = json_of(properties, "/properties")


def _group(call: Call, arrived: Arrived, rights: Rights) -> None:
    _no_consents(call)
    arrived.name = GROUP_JOINED
    if arrived.name in rights.closed_events:
        raise Refused("/type", f'Only a secret key can send "{arrived.name}": send it from a server.')
    group_id = _id(call.group_id if call.our_group_id is None else call.our_group_id, "/groupId")
    if group_id is None:
        raise Refused("/groupId", "Name the group: send groupId.")
    arrived.properties = json_of({"group_id": group_id, "traits": call.traits or {}}, "/traits")


def _alias(call: Call, arrived: Arrived, rights: Rights) -> None:
    _no_consents(call)
    previous = _id(call.previous_id if call.our_previous_id is None else call.our_previous_id, "/previousId")
    if previous is None:
        raise Refused("/previousId", "Name who the person was before: send previousId.")
    if arrived.user_id is None:
        raise Refused("/userId", "Name who the person is from now on: send userId.")
    arrived.properties = json_of({"previous_id": previous}, "/previousId")


def _identify(call: Call, arrived: Arrived, rights: Rights) -> None:
    traits = call.traits
    if traits:
        if not _TRAITS_THAT_NAME.keys().isdisjoint(traits):
            _name_by(traits, arrived)
        faults: list[Fault] = []
        for name in sorted(rights.closed_attributes.intersection(traits)):
            del traits[name]
            detail = f'Only a secret key can set "{name}": send it from a server.'
            faults.append(Fault(f"/traits/{escaped(name)}", detail))
        text = json_of(traits, "/traits")
        if b'"$' in text and (changes := take_changes(traits)):
            faults += changes
            text = json_of(traits, "/traits")
        if not PLACES.isdisjoint(traits):
            faults += misread(traits)
        arrived.properties, arrived.left_out = text, faults or None
    consents = call.consent if call.consents is None else call.consents
    if consents:
        arrived.consents = _consents(consents, "/consent" if call.consents is None else "/consents", rights)


_ARRANGE: Mapping[EventKind, Arrange] = {
    EventKind.TRACK: _track,
    EventKind.PAGE: _page,
    EventKind.SCREEN: _page,
    EventKind.GROUP: _group,
    EventKind.ALIAS: _alias,
    EventKind.IDENTIFY: _identify,
}
KINDS: Mapping[str | None, EventKind] = {str(kind): kind for kind in _ARRANGE}


def _name_by(traits: dict[str, Any], arrived: Arrived) -> None:
    """Take names out of the traits. One that is none, or not the one that the call gives, is a doubt."""
    for trait, name in _TRAITS_THAT_NAME.items():
        said = traits.pop(trait, None)
        if said is None or said == "":
            continue
        pointer = f"/traits/{trait}"
        try:
            found = _name_of(name, said, pointer)
        except Refused as refused:
            arrived.doubts = [*(arrived.doubts or ()), refused.fault]
            continue
        known = getattr(arrived, name)
        if known is None:
            setattr(arrived, name, found)
        elif found is not None and found != known:
            detail = f"The call itself gives another {name}, which was taken; send one of the two."
            arrived.doubts = [*(arrived.doubts or ()), Fault(pointer, detail)]


def _name_of(name: str, said: object, pointer: str) -> str | None:
    if isinstance(said, bool) or not isinstance(said, str | int | float):
        raise Refused(pointer, "Send a text here.")
    if name in ("user_id", "anonymous_id"):
        return _id(said, pointer)
    text = str(said).strip()
    return (_email if name == "email" else _phone)(text, pointer) if text else None


def _no_consents(call: Call) -> None:
    """Consent is nothing to be passed over in silence."""
    if call.consent or call.consents:
        raise Refused("/consent", "Only identify says what somebody agrees to: send it there.")


def _consents(said: Mapping[str, Any], pointer: str, rights: Rights) -> bytes | None:
    states: dict[str, str] = {}
    for purpose, state in said.items():
        at = f"{pointer}/{escaped(purpose)}"
        if purpose not in _PURPOSES:
            raise Refused(at, f"Consent is for one of: {', '.join(_PURPOSES)}.")
        if state is None:
            continue
        if state not in _STATES:
            raise Refused(at, "Send granted or denied.")
        if state != ConsentState.DENIED and not rights.trusted:
            raise Refused(
                at, "Only a secret key can grant: a page may send denied, or ask by a subscribe form."
            )
        states[purpose] = state
    return _encode(states) if states else None


_PURPOSES = tuple(map(str, Purpose))
_STATES = tuple(map(str, ConsentState))


# JSON that PostgreSQL can keep.


def json_of(value: dict[str, Any] | None, pointer: str) -> bytes:
    """The value as JSON that jsonb takes, and whose numbers a double holds. Raises `Refused`.

    The look at the text is cheap, and finds all that could be wrong and some that is not; only what it finds
    is walked through.
    """
    text = _encode(value)
    if len(text) > LARGEST:
        raise Refused(pointer, f"This has {len(text):,} bytes of JSON, and {LARGEST:,} are the most.")
    if (
        (_BACKSLASH in text and (b"\\u0000" in text or b'\\"' in text))
        or text.count(b"{") + text.count(b"[") > DEEPEST
        or (len(text) > LONGEST_KEY and max(map(len, text.split(b'"'))) > LONGEST_KEY)
    ):
        _look_through(value, pointer, 1)
    return text


def _look_through(value: Any, pointer: str, level: int) -> None:
    match value:
        case dict() | list() if level > DEEPEST:
            raise Refused(pointer, f"This is nested too deeply: at most {DEEPEST} levels are kept.")
        case dict():
            for key, each in value.items():
                at = f"{pointer}/{escaped(key)}"
                if len(key) > LONGEST_KEY:
                    raise Refused(
                        f"{pointer}/{escaped(key[:LONGEST_KEY])}",
                        f"This name is longer than {LONGEST_KEY} characters.",
                    )
                if "\0" in key:
                    raise Refused(at, "This name holds a NUL, which can't be stored.")
                _look_through(each, at, level + 1)
        case list():
            for index, each in enumerate(value):
                _look_through(each, f"{pointer}/{index}", level + 1)
        case str() if "\0" in value:
            raise Refused(pointer, "This holds a NUL, which can't be stored.")
        case bool():
            pass
        case int() if abs(value) > LARGEST_NUMBER:
            raise Refused(pointer, "This number is larger than a double holds, which is 1.8e308.")


def sent_time(sent_at: str | None) -> datetime | None:
    """What the sender called now, if it can be read: a clock that can't be told is taken as right."""
    if sent_at is None:
        return None
    try:
        return instant(sent_at.strip())
    except ValueError:
        return None
