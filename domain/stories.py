"""A message's story, in words: who decided it, what it waited for, how it went, and what came of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from domain.messages import Fate, Interaction, MessageState, Skip, SourceKind

_SKIPPED = {
    Skip.SUPPRESSED: "nothing may be sent to this address: it is on the list of suppressions",
    Skip.NO_CONSENT: "the person does not allow marketing on this channel",
    Skip.CAPPED: "the person had as many messages as the workspace allows in the period",
    Skip.NO_ADDRESS: "the person has no address on this channel",
    Skip.TEMPLATE_ERROR: "the words could not be filled for this person",
    Skip.TOO_LATE: "its time was over before it could go",
    Skip.CANCELLED: "what it belonged to was cancelled",
    Skip.ERASED: "the person was erased",
    Skip.HELD_BACK: "this installation writes to the addresses of CAMPANILE_DELIVER_ONLY_TO alone",
    Skip.MERGED: "the same person has one already, under another profile",
}
_FATES = {
    Fate.DEFERRED: "The provider is still trying to deliver it",
    Fate.SOFT_BOUNCE: "It came back for now: the mailbox or the phone took nothing",
    Fate.DELIVERED: "It was delivered",
    Fate.READ: "It was read",
    Fate.FAILED: "It was not delivered, which is not the address's fault",
    Fate.HARD_BOUNCE: "It came back: there is no such address",
    Fate.COMPLAINED: "The person called it spam",
}
_DID = {
    Interaction.OPENED: "It was opened.",
    Interaction.UNSUBSCRIBED: "The person unsubscribed by it.",
}
# The provider that comes with the installation.
BUILT_IN_TITLE = "the mail server of this installation"
_LATE = 5.0  # Seconds that a message waits for its turn unasked.
# What comes first of what happened at one moment.
_NOTED, _LINE, _LATER = range(3)


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of the story."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Line:
    """What the ledger keeps of a message, with the names of what it points to."""

    state: MessageState
    source_kind: SourceKind
    source: str | None  # The campaign's or flow's name.
    step: str
    channel: str
    resend: int
    attempts: int
    created_at: datetime
    due_at: datetime
    claimed_at: datetime | None
    marked_at: datetime | None
    closed_at: datetime | None
    address: str | None
    reason: str | None
    detail: str | None
    provider: str | None  # By which it went, in words: `SendGrid "Main"`.
    provider_id: str | None
    fate: Fate | None
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class Deed:
    """What a reader did with it."""

    kind: Interaction
    at: datetime
    link: int | None


def story(
    line: Line, notes: Iterable[Told], deeds: Iterable[Deed], now: datetime, why: str | None = None
) -> list[Told]:
    """What happened to a message, in order. What it waits for comes last, now or at the time it is due.

    `why` says in sentences what keeps a message that is due from going.
    """
    notes = list(notes)
    told = [(each.at, _NOTED, each.what) for each in notes]
    asked_for = any(each.at <= line.created_at for each in notes)
    if line.resend or line.source_kind is not SourceKind.OUTBOX or not asked_for:
        told.append((line.created_at, _NOTED, _decided(line)))
    if line.claimed_at:
        again = " again" if _earlier_turns(line) else ""
        to = f", for {line.address}" if line.address else ""
        late = (line.claimed_at - line.due_at).total_seconds()
        waited = f", {late:,.0f} s after it was due" if late >= _LATE else ""
        told.append((line.claimed_at, _LINE, f"Its turn came{again}{to}{waited}."))
    if line.marked_at:
        tries_told = line.source_kind is SourceKind.OUTBOX and len(notes) > asked_for
        told.append((line.marked_at, _LINE, _went(line, tries_told=tries_told)))
    if line.closed_at:
        told.append((line.closed_at, _LATER, _closed(line)))
    if line.closed_at and line.reported_at and _was_unknown(line):
        at = max(line.closed_at, line.reported_at)
        told.append((at, _LATER, "Its report says that it was."))
    if line.fate:
        at = line.reported_at or line.closed_at or line.created_at
        told.append((at, _LATER, reported(line.fate, line.reason)))
    told += [(each.at, _LATER, _did(each)) for each in deeds]
    told.sort(key=lambda each: each[:2])
    if line.state is MessageState.QUEUED:
        due = line.due_at <= now
        told.append((max(line.due_at, now), _LATER, _waits(line, why if due else None, due=due)))
    return [Told(at, what) for at, _, what in told]


def _decided(line: Line) -> str:
    if line.resend:
        return "It is sent again: the first one failed, or nobody could say whether it went."
    if line.step == "test":
        return "Somebody asked for a test."
    match line.source_kind:
        case SourceKind.CAMPAIGN:
            return f'The campaign "{line.source}" decided to send it.'
        case SourceKind.FLOW:
            return f'The flow "{line.source}" decided to send it, at its step "{line.step}".'
        case SourceKind.OUTBOX:
            return "It was asked for."


def _earlier_turns(line: Line) -> int:
    """How many turns the message had before its last one, which may not have come to a try."""
    was_tried = bool(line.claimed_at and line.marked_at and line.marked_at >= line.claimed_at)
    return line.attempts - was_tried


def _went(line: Line, *, tries_told: bool) -> str:
    """`tries_told`: notes tell of each try that was not taken, as of single messages they do."""
    match line.state:
        case MessageState.ACCEPTED:
            how = "It went out" + (f" by {line.provider}" if line.provider else "")
        case MessageState.UNKNOWN:
            how = "It may have gone out" + (f" by {line.provider}" if line.provider else "")
        case _:
            how = "It was offered to " + (line.provider or "a provider")
    before = line.attempts - 1
    if tries_told or before < 1:
        return f"{how}."
    earlier = "an earlier try that was" if before == 1 else f"{before} earlier tries that were"
    return f"{how}, after {earlier} not taken."


def _was_unknown(line: Line) -> bool:
    """Whether nobody heard the provider's yes, and what it reported later tells that there was one.

    A yes that is heard has the provider's own name for the message, where it reports at all.
    """
    return line.state is MessageState.ACCEPTED and line.provider_id is None and line.reported_at is not None


def _closed(line: Line) -> str:
    match line.state:
        case MessageState.ACCEPTED if _was_unknown(line):
            return "Nobody heard whether it was accepted."
        case MessageState.ACCEPTED:
            return f"It was accepted, as {line.provider_id}." if line.provider_id else "It was accepted."
        case MessageState.FAILED:
            return _sentence(f"It was refused for good: {line.reason}" if line.reason else "It failed")
        case MessageState.UNKNOWN:
            because = f": {line.reason}" if line.reason else ""
            return _sentence(f"Nobody knows whether it was accepted{because}")
        case _:
            why = _SKIPPED[Skip(line.reason)] if line.reason else "nothing says why"
            more = f" ({line.detail})" if line.detail else ""
            return _sentence(f"It was not sent: {why}{more}")


def _waits(line: Line, why: str | None, *, due: bool) -> str:
    if line.reason:
        again = _sentence(f"It waits to be tried again: {line.reason}")
        return f"{again} {why}" if why else again
    if why:
        return f"It waits. {why}"
    if line.detail:
        return _sentence(f"It waits: {line.detail}")
    return "It waits for its turn." if due else "It waits for the time at which it is due."


def _did(deed: Deed) -> str:
    if deed.kind is Interaction.CLICKED:
        return (
            "A link in it was followed." if deed.link is None else f"Its link {deed.link + 1} was followed."
        )
    return _DID[deed.kind]


def refused(provider: str, reason: str | None) -> str:
    """The note of a no before acceptance, for `models.queries.notes`: who said it, and why."""
    said = f"{_begun(provider)} did not take it"
    return _sentence(f"{said}: {reason}" if reason else said)


def passed_over(provider: str, why: str) -> str:
    """The note of a provider whose turn it would have been; `why` is a sentence."""
    return f"{_begun(provider)} was passed over: {why[:1].lower()}{why[1:]}"


def reported(fate: Fate, reason: str | None) -> str:
    """What was reported of a message, and the note of it once something else takes its place.

    What arrived has no reason: one that its line keeps is about something else.
    """
    reason = None if fate in (Fate.DELIVERED, Fate.READ) else reason
    return _sentence(_FATES[fate] + (f": {reason}" if reason else ""))


def asked(kind: str, name: str, why: str | None = None) -> str:
    """The note of who asked for a single message: a "user" or a "key" of that name."""
    who = f'The key "{name}"' if kind == "key" else name
    return f"{who} asked for it." + (f" {why}" if why else "")


def _begun(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
