"""The wire of the tracking API: how JSON becomes calls, and what is said when it does not. Pure.

Both spellings of a field are read, Segment's (`userId`) and ours (`user_id`). Null is as if it was not there,
and what nobody knows is passed over: Segment's libraries send much that is meant for others.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw, Struct, field

Id: TypeAlias = str | int | float | None  # Shops count their customers, so numbers are taken as text.
Object: TypeAlias = dict[str, Any] | None

_HALF = re.compile(rb"\\u[dD][89a-fA-F]").search
_PATH = re.compile(r"\[([0-9]+|\.\.\.)\]|\.([^.\[]+)").finditer
_ANY = "..."  # How a decoder calls a key of an object that may have any.
_WORDS = {
    "str": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}


class Call(Struct, gc=False):
    """One call, or one event of a batch, as it was sent."""

    type: str | None = None
    email: str | None = None
    phone: str | None = None
    user_id: Id = field(default=None, name="userId")
    our_user_id: Id = field(default=None, name="user_id")
    anonymous_id: Id = field(default=None, name="anonymousId")
    our_anonymous_id: Id = field(default=None, name="anonymous_id")
    message_id: Id = field(default=None, name="messageId")
    our_message_id: Id = field(default=None, name="message_id")
    timestamp: str | None = None
    sent_at: str | None = field(default=None, name="sentAt")
    our_sent_at: str | None = field(default=None, name="sent_at")
    historical: bool | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: Object = None
    traits: Object = None
    context: Object = None
    consent: Object = None
    consents: Object = None
    previous_id: Id = field(default=None, name="previousId")
    our_previous_id: Id = field(default=None, name="previous_id")
    group_id: Id = field(default=None, name="groupId")
    our_group_id: Id = field(default=None, name="group_id")
    key: str | None = None
    write_key: str | None = field(default=None, name="writeKey")


class Batch(Struct, gc=False):
    """Several: `events` as we call them, `batch` as Segment does."""

    events: list[Call] | None = None
    batch: list[Call] | None = None
    sent_at: str | None = field(default=None, name="sentAt")
    our_sent_at: str | None = field(default=None, name="sent_at")
    historical: bool | None = None
    context: Object = None
    key: str | None = None
    write_key: str | None = field(default=None, name="writeKey")


class _Loose(Struct, gc=False):
    """A batch of which some event can't be read."""

    events: list[Raw] | None = None
    batch: list[Raw] | None = None
    sent_at: str | None = field(default=None, name="sentAt")
    our_sent_at: str | None = field(default=None, name="sent_at")
    historical: bool | None = None
    context: Object = None
    key: str | None = None
    write_key: str | None = field(default=None, name="writeKey")


class Fault(NamedTuple):
    """What is wrong with something that was sent."""

    pointer: str  # RFC 6901, into the event or the body.
    detail: str  # A sentence.


class Unreadable(Exception):
    """The body holds no calls at all. `malformed` says that it is not even JSON.

    `seen` is what can be told of the call all the same.
    """

    def __init__(self, fault: Fault, malformed: bool, seen: Call | None = None) -> None:
        super().__init__(fault.detail)
        self.fault, self.malformed, self.seen = fault, malformed, seen


class Sent(Struct, gc=False):
    """What a body holds."""

    calls: Sequence[Call | Fault]  # A fault stands for an event that can't be read.
    place: str = ""  # A pointer to the list of events; empty when the body is the only one.
    sent_at: str | None = None
    historical: bool = False
    context: Object = None
    key: str | None = None
    seen: Mapping[int, Call] = {}  # What can be told, by their index, of events that can't be read.


class _Glimpse(Struct, gc=False):
    """What of a call names it, each as it stands."""

    type: Raw = Raw(b"null")
    event: Raw = Raw(b"null")
    name: Raw = Raw(b"null")
    message_id: Raw = field(default=Raw(b"null"), name="messageId")
    our_message_id: Raw = field(default=Raw(b"null"), name="message_id")


_glimpse = msgspec.json.Decoder(_Glimpse).decode
_call = msgspec.json.Decoder(Call).decode
_batch = msgspec.json.Decoder(Batch).decode
_loose = msgspec.json.Decoder(_Loose).decode
# UnicodeDecodeError is a ValueError, and so is what a number with too many digits raises.
_FLAWS = (msgspec.DecodeError, ValueError, RecursionError)


def single(body: bytes) -> Sent:
    """The call that a body is. Raises `Unreadable`."""
    try:
        call = _call(body)
    except _FLAWS as error:
        raise _unreadable(error, body, seen(body)) from None
    return Sent([call], "", None, False, None, call.key or call.write_key)


def batch(body: bytes) -> Sent:
    """The calls that a body holds. One that can't be read is a fault in its place. Raises `Unreadable`."""
    found: Batch | _Loose
    sent: Sequence[Call | Fault] | None
    glimpses: dict[int, Call] = {}
    try:
        found = _batch(body)
        sent = found.batch if found.events is None else found.events
    except _FLAWS:
        try:
            found = _loosely(body)
        except _FLAWS as error:
            raise _unreadable(error, body) from None
        raw = found.batch if found.events is None else found.events
        sent = None if raw is None else [_read(bytes(each)) for each in raw]
        for n, each in enumerate(sent or ()):
            if isinstance(each, Fault) and raw is not None and (glimpse := seen(bytes(raw[n]))):
                glimpses[n] = glimpse
    if sent is None:
        raise Unreadable(Fault("/events", "Send the events as a list in `events` (or `batch`)."), False)
    return Sent(
        sent,
        "/batch" if found.events is None else "/events",
        found.sent_at or found.our_sent_at,
        bool(found.historical),
        found.context,
        found.key or found.write_key,
        glimpses,
    )


def seen(raw: bytes) -> Call | None:
    """Of a call that can't be read, its type, its name and its id, for whoever looks for it later."""
    try:
        glimpse = _glimpse(raw)
    except _FLAWS:
        return None
    return Call(
        type=_text(glimpse.type),
        event=_text(glimpse.event),
        name=_text(glimpse.name),
        message_id=_text(glimpse.message_id) or _text(glimpse.our_message_id),
    )


def _text(raw: Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except _FLAWS:
        return None


def _loosely(body: bytes) -> _Loose:
    try:
        return _loose(body)
    except msgspec.DecodeError:
        if not _HALF(body):
            raise
    # The decoder stops at half a character. The standard library's goes on, so that only its event is lost.
    said = json.loads(body)
    if not isinstance(said, dict):
        raise ValueError("it is no object")
    found = _loose(json.dumps({name: said.get(name) for name in ("sentAt", "key", "writeKey")}).encode())
    found.historical, found.context = said.get("historical") is True, None
    for name in ("events", "batch"):
        if isinstance(said.get(name), list):
            setattr(found, name, [Raw(json.dumps(each).encode()) for each in said[name]])
    return found


def _read(raw: bytes) -> Call | Fault:
    try:
        return _call(raw)
    except _FLAWS as error:
        return in_words(error, raw)


def _unreadable(error: Exception, body: bytes, glimpse: Call | None = None) -> Unreadable:
    shape = isinstance(error, msgspec.ValidationError | RecursionError) or _HALF(body) is not None
    return Unreadable(in_words(error, body), not shape, glimpse)


def in_words(error: Exception, raw: bytes) -> Fault:
    """What a decoder says, for whoever wrote the JSON."""
    match error:
        case RecursionError():
            return Fault("", "This is nested too deeply: at most 20 levels are kept.")
        case UnicodeDecodeError():
            return Fault("", "This is not UTF-8, as JSON has to be.")
        case msgspec.ValidationError():
            said, _, path = str(error).partition(" - at `")
            return Fault(_pointer(path.rstrip("`"), raw), _expected(said))
        case _ if _HALF(raw):
            return Fault("", "A text in this holds half a character (a lone surrogate); send whole ones.")
        case _ if str(error) == "Input data was truncated":
            where = f"it is cut off after {len(raw):,} bytes" if raw.strip() else "there is nothing in it"
            return Fault("", f"This is no valid JSON: {where}.")
    return Fault("", f"This is no valid JSON: {str(error).removeprefix('JSON is malformed: ')}.")


def _pointer(path: str, raw: bytes) -> str:
    """`$.events[3].properties[...][1]` as /events/3/properties/n/1, as far as it can be told.

    A decoder names no keys of an object that may have any. What is wrong there is a number that is too large.
    """
    known: list[str] = []
    for found in _PATH(path.removeprefix("$")):
        if found[1] == _ANY:
            known += _too_large(raw, known)
            break
        known.append(found[1] or found[2])
    return "".join(f"/{escaped(key)}" for key in known)


def _too_large(raw: bytes, inside: Sequence[str]) -> Sequence[str]:
    """The keys that lead to the first number there that no double holds; none where it isn't found."""
    try:
        value = json.loads(raw)
        for key in inside:
            value = value[int(key) if isinstance(value, list) else key]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while waiting:
        keys, value = waiting.pop()
        if isinstance(value, float) and math.isinf(value):
            return keys
        waiting += [((*keys, key), each) for key, each in reversed([*_within(value)])]
    return ()


def _within(value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            yield from value.items()
        case list():
            yield from ((str(n), each) for n, each in enumerate(value))


def escaped(key: str) -> str:
    """As part of a JSON pointer, in which no NUL is written."""
    return key.replace("~", "~0").replace("/", "~1").replace("\0", "\\u0000")


def _expected(said: str) -> str:
    if "out of range" in said:
        return "A number in this is larger than a double holds, which is 1.8e308."
    named = re.findall("`([^`]*)`", said)
    if not said.startswith("Expected") or len(named) != 2:
        return f"{said.rstrip('.')}."
    wanted, got = (
        [_WORDS.get(each, each) for each in words.split(" | ") if each != "null"] for words in named
    )
    unlike = " or ".join(got) if got else "null"
    return f"Send {' or '.join(dict.fromkeys(reversed(wanted)))} here, not {unlike}."
