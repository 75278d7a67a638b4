"""Which failed messages may be sent again because somebody asks, and what is said of the others."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.channels import Channel
from domain.messages import PROVIDER_TEST, MessageState, Skip, SourceKind

GONE = "There is no such message any more."
AGAIN = "It was sent again already."
NOTHING_TO_SEND = "Nothing of ours can try this again: do what its remedy says."
NOT_ASKED_FOR = "It can't succeed as it is: mend what its remedy says, and name it by its id."


@dataclass(frozen=True, slots=True)
class Line:
    """What the ledger says of a message."""

    id: UUID
    state: str
    reason: str | None
    reported_at: datetime | None
    expires_at: datetime | None
    channel: str
    step: str
    source_kind: str
    has_person: bool
    has_address: bool  # Of its own, where it has no person.
    has_words: bool  # That were filled when it was asked for.


def why_not(line: Line, now: datetime, *, unknown: bool, channel: Channel | None = None) -> str | None:
    """None where it may be sent again; otherwise why it is not.

    `unknown`: somebody wants those as well of which nobody knows whether they were sent. `channel` is that of
    the provider that is to take it, where one is named.
    """
    return _by_state(line, unknown) or _by_what_it_is(line, now, channel)


def _by_state(line: Line, unknown: bool) -> str | None:
    match line.state:
        case MessageState.FAILED:
            return "Its provider had accepted it, and could not deliver it." if line.reported_at else None
        case MessageState.UNKNOWN if line.reported_at:
            return "Its provider has it."
        case MessageState.UNKNOWN:
            risk = "Nobody knows whether it was sent: say `unknown: true` to risk that it arrives twice."
            return None if unknown else risk
        case MessageState.ACCEPTED:
            return "It was accepted."
        case MessageState.SKIPPED if line.reason == Skip.TEMPLATE_ERROR:
            return None
        case MessageState.SKIPPED:
            return f"It was not sent on purpose: {line.reason}."
    return "It is still on its way."


def _by_what_it_is(line: Line, now: datetime, channel: Channel | None) -> str | None:
    if line.step == PROVIDER_TEST:
        return "It was to try one provider: try that again instead."
    if line.expires_at is not None and line.expires_at <= now:
        return "Its time is over."
    if not line.has_person and not line.has_address:
        return "Whom it was for was erased."
    own_words = not line.has_person or line.source_kind == SourceKind.OUTBOX
    if own_words and not line.has_words:
        return "What it said is kept no longer."
    if channel is not None and line.channel != channel:
        return f"It goes by {line.channel}, and the provider that you name by {channel}."
    return None
