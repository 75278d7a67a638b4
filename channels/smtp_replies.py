"""What a mail server's words mean for one message. Pure: the table that `channels/smtp.py` goes by.

| the server says                            | outcome                                              |
|--------------------------------------------|------------------------------------------------------|
| 2xx after the final dot                    | accepted                                             |
| 4xx (RFC 5321 §4.2.1)                      | retry                                                |
| 5xx                                        | rejected, but                                        |
| 5xx about us: see `blames_the_sender`      | retry much later, "sender: …"; the contact is fine   |
| nothing, or no SMTP, before the final dot  | retry                                                |
| nothing, or no SMTP, after the final dot   | unknown                                              |
"""

import re
from dataclasses import dataclass

from channels.contract import SENDERS_FAULT, Blame, Outcome, OutcomeKind
from domain.profiles import SuppressionReason

# Seconds until the next try, as a hint: the ledger counts attempts and may wait longer.
AFTER_A_CUT = 5.0  # Nobody there, or gone in the middle: often a restart.
AFTER_A_NOT_NOW = 60.0  # 4xx: greylisting, a full disk, too fast.
AFTER_A_SENDERS_FAULT = 900.0  # Somebody has to mend a password, a policy or a DNS record first.

LONGEST_REASON = 500  # Characters.

# RFC 4954 §6 and RFC 3207 §4: authentication is missing, too weak, wrong, or needs encryption.
AUTHENTICATION = frozenset({530, 534, 535, 538})

ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")  # RFC 3463, as RFC 2034 puts it before the text.
QUEUED_AS = re.compile(r"\bqueued as ([\w.-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply, its lines joined."""

    code: int
    text: str

    @classmethod
    def of(cls, lines: list[bytes]) -> "Reply":
        """From lines that begin with the same three digits. RFC 2034 repeats the enhanced code in each."""
        texts = [line[4:].decode("utf-8", "replace").replace("\0", "").strip() for line in lines]
        enhanced = ENHANCED.match(texts[0])
        if enhanced:
            texts[1:] = [text.removeprefix(enhanced[0]).strip() for text in texts[1:]]
        return cls(int(lines[0][:3]), " ".join(texts))

    @property
    def enhanced(self) -> str | None:
        found = ENHANCED.match(self.text)
        return found[0] if found else None

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()[:LONGEST_REASON]


def accepted(reply: Reply) -> Outcome:
    """A yes. The provider's id is the queue's where the server names it (postfix, exim, sendmail)."""
    queue = QUEUED_AS.search(reply.text)
    words = reply.text.removeprefix(reply.enhanced or "").strip()
    return Outcome(OutcomeKind.ACCEPTED, provider_id=queue[1] if queue else words[:LONGEST_REASON] or None)


def refused(reply: Reply) -> Outcome:
    """A no to this message, wherever in its transaction it came."""
    if reply.code // 100 != 5:
        blame = Blame.RECIPIENT if about_the_recipient(reply) else Blame.PROVIDER
        return Outcome(OutcomeKind.RETRY, reason=str(reply), retry_after=AFTER_A_NOT_NOW, blame=blame)
    if blames_the_sender(reply):
        return senders_fault(str(reply))
    if no_such_mailbox(reply):
        gone = SuppressionReason.HARD_BOUNCE
        return Outcome(OutcomeKind.REJECTED, reason=str(reply), blame=Blame.RECIPIENT, suppress=gone)
    blame = Blame.RECIPIENT if about_the_recipient(reply) else Blame.MESSAGE
    return Outcome(OutcomeKind.REJECTED, reason=str(reply), blame=blame)


def about_the_recipient(reply: Reply) -> bool:
    """The address or its mailbox (X.1.*, X.2.*): RFC 3463 §3.2 and §3.3; 450 to 452 and 550 to 553 are, too,
    where the server says no more (RFC 5321 §4.2.3)."""
    if reply.enhanced:
        return reply.enhanced[1:4] in (".1.", ".2.")
    return reply.code in (450, 452, 550, 551, 552, 553)


def no_such_mailbox(reply: Reply) -> bool:
    """Only what says so outright: a bare 550 may be about anything, and suppresses nobody."""
    return reply.enhanced in ("5.1.1", "5.1.2", "5.1.3", "5.1.10", "5.2.1")


def blames_the_sender(reply: Reply) -> bool:
    """Policy and authentication (X.7.*), or our own address (X.1.7, X.1.8): RFC 3463 §3.2 and §3.8."""
    enhanced = reply.enhanced or ""
    return reply.code in AUTHENTICATION or enhanced.startswith("5.7.") or enhanced in ("5.1.7", "5.1.8")


def turned_away(reply: Reply) -> Outcome:
    """A no before any message was named, so that a 5xx can't be about one."""
    return senders_fault(str(reply)) if reply.code // 100 == 5 else refused(reply)


def senders_fault(what: str) -> Outcome:
    return Outcome(OutcomeKind.RETRY, reason=f"{SENDERS_FAULT}{what}", retry_after=AFTER_A_SENDERS_FAULT)


def not_sent(what: str) -> Outcome:
    """The connection failed before the message can have been accepted."""
    return Outcome(OutcomeKind.RETRY, reason=what, retry_after=AFTER_A_CUT)


def unknown(what: str) -> Outcome:
    """The message may have been accepted, and we did not hear."""
    return Outcome(OutcomeKind.UNKNOWN, reason=what)
