"""What every provider promises: a batch goes in, one true outcome a message comes out; later come reports.

A provider is a module of this folder with a `Kind`, which says what an account with it needs and opens one.
`docs/providers.md` shows how to add another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel

from channels.egress import EgressTransport
from domain.channels import Channel
from domain.profiles import SuppressionReason


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message."""

    name: str
    content_type: str  # Such as application/pdf.
    content: bytes


class Envelope(NamedTuple):  # To make a frozen dataclass takes four times as long.
    """One message to send: who gets it, and what fills the letter's holes."""

    id: UUID  # The ledger's line; the letter writes it where the provider carries it.
    address: str
    holes: tuple[str, ...]  # In the order in which the letter was compiled.
    tracked: bool  # Whether this profile may be followed by a pixel and rewritten links.
    attachments: tuple[Attachment, ...] = ()  # A batch with any holds this one message.


class OutcomeKind(StrEnum):
    ACCEPTED = "accepted"  # The provider took it over.
    REJECTED = "rejected"  # No, for good.
    RETRY = "retry"  # No, certainly before acceptance: it may be sent again, here or elsewhere.
    UNKNOWN = "unknown"  # Nobody can say whether it was accepted, so it must not be sent blindly again.


class Blame(StrEnum):
    """Whom a no is about."""

    MESSAGE = "message"  # What it says: another provider would refuse it, too.
    RECIPIENT = "recipient"  # The address. Another provider would fare no better.
    PROVIDER = "provider"  # The provider is down, busy, or does not like our account: others may take it.


SENDERS_FAULT = "sender: "  # What reasons begin with that are about our account, number or reputation.


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message, as far as the provider's answer tells."""

    kind: OutcomeKind
    provider_id: str | None = None  # The provider's own name for the message, if it gave one.
    reason: str | None = None  # In words, for all but accepted. SENDERS_FAULT blames us, not the contact.
    retry_after: float | None = None  # Seconds; only with RETRY.
    blame: Blame = Blame.PROVIDER  # For all but accepted. The circuit breaker counts PROVIDER.
    suppress: SuppressionReason | None = None  # Why nothing must go to this address any more, if so.
    calm: bool = False  # A RETRY that asks for less (429): the provider rests, and is not broken.


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do, for those who cut batches and those who reconcile."""

    largest_batch: int  # The most envelopes that one `send` takes.
    wire_batch: int  # How many to mark and hand over together: enough to keep the wire busy, no more.
    webhooks: bool  # Whether the provider reports later what became of a message.
    lookup: bool  # Whether the provider can be asked about a message by our id.
    # What it may report, `domain.messages.Fate` and words of `ReportKind`: shown to those who choose.
    reports: tuple[str, ...] = ()
    attachments: bool = False


class ReportKind(StrEnum):
    """What a provider reports about a message afterwards, or about a person."""

    ACCEPTED = "accepted"  # It did take the message over: what was unknown is known.
    DEFERRED = "deferred"
    SOFT_BOUNCE = "soft bounce"  # Not now: a full mailbox, a phone that is off.
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"  # Not delivered, and it is not the address: policy, content, our reputation.
    HARD_BOUNCE = "hard bounce"  # There is no such address.
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"  # STOP, or the provider's own button.
    RESUBSCRIBED = "resubscribed"  # START.
    HELP = "help"
    REPLIED = "replied"  # Anything else that a person wrote to us.


@dataclass(frozen=True, slots=True)
class Report:
    """One thing that a provider tells us. Either id may be missing; one of them, or the address, is there."""

    kind: ReportKind
    at: datetime | None  # None where the provider does not say: when it came in.
    key: str  # The provider's own id of this report, so that it counts once; of its parts where it has none.
    message_id: UUID | None = None  # Ours, where the provider carried it.
    provider_id: str | None = None  # Theirs.
    address: str | None = None
    reason: str | None = None
    text: str | None = None  # What a person wrote.
    machine: bool = False  # An open or a click of a program, as the provider says.
    extra: Mapping[str, Any] = field(default_factory=dict)  # For the event that a reply becomes.


class NotGenuine(Exception):
    """A webhook that the provider did not send, or too long ago; the text says why, without any secret."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook as it came in."""

    method: str
    url: str  # The public one, with its query: Twilio signs it.
    headers: Mapping[str, str]  # Names in lower case.
    body: bytes


@dataclass(frozen=True, slots=True)
class Handshake:
    """What to answer to a webhook that is no report: a challenge, a confirmation."""

    body: bytes = b""
    content_type: str = "text/plain"


L_contra = TypeVar("L_contra", contravariant=True)


class Provider(Protocol[L_contra]):
    """An account with a provider, open. Safe to use from many tasks of one event loop.

    `L_contra` is the kind of letter it takes: see `channels/letters.py`.
    """

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def send(self, letter: L_contra, batch: Sequence[Envelope]) -> list[Outcome]:
        """Send the batch; the outcomes have its order and length. Never raises for one message's sake.

        When it is cancelled, nobody has heard the outcomes: what was handed over stays unknown. It ends
        within half a minute, whatever the provider does: a lease lasts a minute."""
        ...

    async def check(self) -> str | None:
        """None when a message could be sent now, otherwise one sentence that says what is wrong."""
        ...

    async def close(self) -> None: ...


class Reporting(Protocol):
    """What a provider with webhooks can do besides."""

    async def verify(self, hook: Hook, now: datetime) -> Handshake | None:
        """Raises `NotGenuine`. Returns what to answer where the webhook is no report, else None."""
        ...

    def reports(self, hook: Hook) -> list[Report]:
        """What a genuine webhook says. What we have no use for is left out; a body that can't be read raises
        ValueError."""
        ...


@dataclass(frozen=True)
class World:
    """What every account is opened with."""

    egress: Callable[[], EgressTransport]  # The guard for addresses that a user gave.
    endpoints: Mapping[str, str]  # Where the operator says that a provider is, by the kind's name.
    public_url: str  # Where providers reach us, without a slash at its end.


@dataclass(frozen=True)
class Account:
    """What is needed to open an account: its row, with the credentials in clear."""

    workspace_id: UUID
    id: UUID
    settings: BaseModel  # An instance of the kind's `settings`.


def no_advice(_settings: Mapping[str, Any]) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Kind:
    """A kind of provider: what an account needs to be opened, and how it is."""

    name: str  # Such as "sendgrid"; never changed, since rows hold it.
    title: str  # Such as "SendGrid".
    channel: Channel
    settings: type[BaseModel]  # Its fields of type SecretStr are the credentials, which are kept sealed.
    capabilities: Capabilities
    open: Callable[[Account, World], Provider[Any]]
    rate: float | None = None  # Messages a second, where an account has no limit of its own.
    # What an account with these settings, credentials left out, should have besides, in sentences.
    advice: Callable[[Mapping[str, Any]], Sequence[str]] = no_advice
