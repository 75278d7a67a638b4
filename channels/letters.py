"""What providers are given to send, by channel: compiled once for a template's version, filled per message.

What any of these raises for an envelope rejects that one message, with the exception's text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from channels.contract import Envelope


@dataclass(frozen=True, slots=True)
class Parts:
    """A mail in parts, for providers that put it together themselves."""

    from_name: str
    from_email: str
    reply_to: str | None
    subject: str
    html: str
    text: str
    headers: Sequence[tuple[str, str]]  # List-Unsubscribe and the like; neither From, To, Subject nor MIME.


@dataclass(frozen=True, slots=True)
class Bulk:
    """A mail for many, with tags where they differ, for providers that substitute."""

    parts: Parts  # With tags; headers that differ have tags, too.
    values: Callable[[Envelope], dict[str, str]]  # What stands for each tag: escaped where HTML wants it.


class Signs(Protocol):
    """Signs mails for a domain, as `channels.dkim.Signer` does. Slow, and safe in threads."""

    def sign(self, message: bytes) -> bytes: ...


class Raw(Protocol):
    """An email as it goes over the wire, for those who take it whole."""

    @property
    def signer(self) -> Signs | None:
        """Who signs what `fill` gives, where nobody does so later: only SMTP asks."""
        ...

    def return_path(self, envelope: Envelope) -> str:
        """Where bounces of this one message go: `sender`, or an address of its own (VERP)."""
        ...

    @property
    def sender(self) -> str:
        """The envelope's sender, where bounces go: a bare address such as ``bounces@shop.example``."""
        ...

    @property
    def dotless(self) -> bool:
        """Whether no line of what `fill` gives begins with a dot, so that nobody has to look for one."""
        ...

    def fill(self, envelope: Envelope) -> bytes:
        """The complete message as RFC 5322 has it: headers, an empty line, the body, all lines ending
        in CRLF, not dot-stuffed."""
        ...


class Mail(Raw, Protocol):
    """An email, as `channels.mime.EmailLetter` writes it."""

    def parts(self, envelope: Envelope) -> Parts:
        """The same in parts."""
        ...

    def bulk(self, tracked: bool, tag: Callable[[int], str]) -> Bulk:
        """The same for all envelopes that are tracked, or are not; `tag` writes the nth tag, from 0."""
        ...


class Text(Protocol):
    """A text message."""

    def text(self, envelope: Envelope) -> str: ...


@dataclass(frozen=True, slots=True)
class Said:
    """What goes out on WhatsApp: a template that Meta approved, or plain words within the 24 hours after the
    person wrote."""

    template: str | None  # Its name at Meta.
    language: str  # Such as en_US.
    parameters: Sequence[str]  # Of its body, in order.
    text: str | None


class WhatsApp(Protocol):
    def said(self, envelope: Envelope) -> Said: ...


class Payload(Protocol):
    """A push message, or what a webhook is sent."""

    def payload(self, envelope: Envelope) -> bytes:
        """A JSON object."""
        ...
