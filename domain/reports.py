"""What reports mean for a message: pure, for the activity that settles them.

The words are those of `channels.contract.ReportKind`; the ones about the message itself are `Fate`'s.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from pydantic import TypeAdapter

from domain.messages import Fate, Interaction, MessageState
from domain.redacting import without_addresses

# Whose hooks are notices that came into the installation's own mailbox, about mail of any workspace.
MAILBOX = UUID(int=0)
MAIL = "MAIL"  # Their method.
ANSWER = "ANSWER"  # The method of what a provider said about an address at once, when it was asked to send.

KNOWN_FOR = timedelta(days=30)  # So long a report that comes again is known.
EARLY_FOR = timedelta(hours=1)  # So long a report waits for its message.
EARLY_AGAIN = timedelta(seconds=20)
BUSY_AGAIN = timedelta(seconds=1)  # When the message is in somebody's hands right now.
HELP_AGAIN = timedelta(hours=1)  # So long nobody is answered HELP a second time.

# Of a person rather than of a message: they count at once, whether there is a message or not.
OPENED, CLICKED, UNSUBSCRIBED = Interaction.OPENED, Interaction.CLICKED, Interaction.UNSUBSCRIBED
RESUBSCRIBED, HELP, REPLIED = "resubscribed", "help", "replied"
WORDS = frozenset({UNSUBSCRIBED.value, RESUBSCRIBED, HELP, REPLIED})
# Known for ever. Where a provider names no time, an old START that is played again would look like a new one.
KNOWN_FOR_GOOD = frozenset({UNSUBSCRIBED.value, RESUBSCRIBED})
ACCEPTED = "accepted"

_LONGEST_KEY = 150  # Characters.
_LONGEST_REASON = 500
_LONGEST_TEXT = 4_000
_LARGEST_EXTRA = 8_000  # Bytes.
_ORDER = {fate: n for n, fate in enumerate(Fate)}
_ARRIVED = frozenset({Fate.DELIVERED, Fate.READ, Fate.COMPLAINED})


@dataclass(frozen=True, slots=True)
class Said:
    """A report, made fit to be kept."""

    account: UUID
    key: str
    kind: str
    at: datetime
    message_id: UUID | None = None
    theirs: str | None = None  # The provider's own name for the message.
    address: str | None = None
    reason: str | None = None
    text: str | None = None
    machine: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    answer: bool = False  # It refused the message: that shows nothing but what it says.
    since: datetime | None = None  # When it first came, where its message was not there then.

    @property
    def fate(self) -> Fate | None:
        return Fate(self.kind) if self.kind in _ORDER else None

    @property
    def why(self) -> str | None:
        """Why it did not arrive, if that is what is reported: where it did, a "250 OK" is no reason."""
        return None if self.fate in (Fate.DELIVERED, Fate.READ) else self.reason


AS_SAID = TypeAdapter(Said)  # To read one that was kept as JSON.


def key_of(account: UUID, key: str) -> str:
    """What is kept of a report's key: of accounts that number alike, each has its own."""
    if len(key) > _LONGEST_KEY or "\0" in key:
        key = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
    return f"{account.hex} {key}"


def said(
    account: UUID,
    now: datetime,
    *,
    key: str,
    kind: str,
    at: datetime,
    message_id: UUID | None,
    theirs: str | None,
    address: str | None,
    reason: str | None,
    text: str | None,
    machine: bool,
    extra: dict[str, Any],
    answer: bool = False,
) -> Said:
    """A report, with nothing in it that can't be stored, and not from the future.

    Its reason names nobody's address: the message has that, until its owner is erased.
    """
    return Said(
        account,
        key_of(account, key),
        kind,
        min(at, now),
        message_id,
        _clean(theirs, _LONGEST_KEY),
        _clean(address, 4_000),
        _clean(reason and without_addresses(reason), _LONGEST_REASON),
        _clean(text, _LONGEST_TEXT),
        machine,
        _kept(extra),
        answer,
    )


def _kept(extra: dict[str, Any]) -> dict[str, Any]:
    """Of what a provider says besides: nothing, where it is much, or can't be stored."""
    try:
        written = orjson.dumps(extra)
    except TypeError:
        return {}
    if len(written) > _LARGEST_EXTRA or rb"\u0000" in written:
        return {}
    found: dict[str, Any] = orjson.loads(written)
    return found


def _clean(text: str | None, longest: int) -> str | None:
    """PostgreSQL stores neither NUL nor halves of characters."""
    if text is None:
        return None
    return text.encode("utf-8", "replace").decode().replace("\0", "").strip()[:longest] or None


def rises(to: Fate | None, over: str | None) -> bool:
    return to is not None and (over is None or _ORDER[to] > _ORDER[Fate(over)])


class Line(NamedTuple):
    """A message of the ledger, held, as far as reports concern it."""

    id: UUID
    channel: str
    message_class: str
    state: str
    fate: str | None
    tried: bool  # It was on the wire once at least, or may have been.
    profile_id: UUID | None
    address: str | None
    source_kind: str
    source_id: UUID
    reason: str | None
    reported_at: datetime | None


class Settled(NamedTuple):
    """What becomes of a line."""

    id: UUID
    fate: str | None
    raised: bool
    proved: bool  # The provider has it.
    reason: str | None  # Where the fate rose, and somebody said why.
    state: str | None  # Where that changes.

    @property
    def closes(self) -> bool:
        return self.state is not None


def settle(line: Line, reports: Iterable[Said]) -> Settled:
    """What these reports, all of the one message, make of it, in whatever order they came.

    A provider that reports on a message has it, unless all that it said was no. So it is never sent again,
    and what was unknown is known. Who is at it right now writes down the state by themselves, and sees that
    something was reported.
    """
    best: Said | None = None
    fate, proved = line.fate, False
    for each in reports:
        proved = proved or not each.answer
        if rises(each.fate, fate):
            best, fate = each, each.fate
    state = None
    if proved and line.state in (MessageState.QUEUED, MessageState.CLAIMED, MessageState.UNKNOWN):
        state = MessageState.FAILED if fate == Fate.FAILED else MessageState.ACCEPTED
    return Settled(line.id, fate, best is not None, proved, best.why if best else None, state)


def passed(line: Line, reports: Iterable[Said], stands: str | None) -> Iterator[tuple[Fate, str | None]]:
    """What was reported of a line and no longer shows, once these reports have come: what stood before, and
    what the same reports said besides. With what they gave as reasons.
    """
    if stands == line.fate:
        return
    if line.fate is not None:
        yield Fate(line.fate), line.reason
    besides = {each.fate: each.why for each in reports if rises(each.fate, line.fate)}
    for fate in sorted(filter(None, besides), key=lambda one: _ORDER[one]):
        if fate != stands:
            yield fate, besides[fate]


@dataclass(slots=True)
class Counts:
    """How messages fared: what a day's row holds."""

    delivered: int = 0
    hard: int = 0
    soft: int = 0
    complained: int = 0
    failed: int = 0

    def add(self, other: "Counts", sign: int = 1) -> None:
        self.delivered += sign * other.delivered
        self.hard += sign * other.hard
        self.soft += sign * other.soft
        self.complained += sign * other.complained
        self.failed += sign * other.failed

    def count(self, before: str | None, after: str | None) -> None:
        """A message's fate rose: it counts where it is now, and as delivered once it has arrived."""
        if after is None or after == before:
            return
        if after in _ARRIVED and before not in _ARRIVED:
            self.delivered += 1
        match Fate(after):
            case Fate.SOFT_BOUNCE:
                self.soft += 1
            case Fate.HARD_BOUNCE:
                self.hard += 1
            case Fate.COMPLAINED:
                self.complained += 1
            case Fate.FAILED:
                self.failed += 1

    @property
    def any(self) -> bool:
        return any((self.delivered, self.hard, self.soft, self.complained, self.failed))
