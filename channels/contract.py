"""What every way of reaching people promises: a batch goes in, one true outcome a message comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message to send: who gets it, and what fills the letter's holes."""

    id: UUID  # The ledger's line; the letter writes it where the provider carries it.
    address: str
    holes: tuple[str, ...]  # In the order in which the letter was compiled.
    tracked: bool  # Whether this profile may be followed by a pixel and rewritten links.


class Letter(Protocol):
    """What a campaign compiled once, so that a message costs no more than its holes."""

    @property
    def sender(self) -> str:
        """The envelope's sender, where bounces go: a bare address such as ``bounces@shop.example``."""
        ...

    def fill(self, envelope: Envelope) -> bytes:
        """The complete message as RFC 5322 has it: headers, an empty line, the body, all lines ending
        in CRLF, not dot-stuffed. An exception rejects this one message with the exception's text."""
        ...


class OutcomeKind(StrEnum):
    ACCEPTED = "accepted"  # The provider took it over.
    REJECTED = "rejected"  # No, for good.
    RETRY = "retry"  # No, before acceptance: it may be sent again.
    UNKNOWN = "unknown"  # Nobody can say whether it was accepted, so it must not be sent blindly again.


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message, as far as the provider's answer tells."""

    kind: OutcomeKind
    provider_id: str | None = None  # The provider's own name for the message, if it gave one.
    reason: str | None = None  # In words, for all but accepted. "sender: …" blames us, not the contact.
    retry_after: float | None = None  # Seconds; only with RETRY.


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do, for those who cut batches and those who reconcile."""

    largest_batch: int  # The most envelopes that one `send` takes.
    wire_batch: int  # How many to mark and hand over together: enough to keep the wire busy, no more.
    webhooks: bool  # Whether the provider reports later what became of a message.
    lookup: bool  # Whether the provider can be asked about a message by our id.


class Channel(Protocol):
    """A provider, as the rest of Campanile sees it. Safe to use from many tasks of one event loop."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def send(self, letter: Letter, batch: Sequence[Envelope]) -> list[Outcome]:
        """Send the batch; the outcomes have its order and length. Never raises for one message's sake.

        When it is cancelled, nobody has heard the outcomes: what was handed over stays unknown."""
        ...

    async def close(self) -> None: ...

    async def check(self) -> str | None:
        """None when a message could be sent now, otherwise one sentence that says what is wrong."""
        ...
