"""Notices that mail servers send back: what became of a mail (RFC 3464), and complaints (RFC 5965).

Anybody can send us anything here. A return path that we signed proves that a notice is about a message.
Where the mail had none, because its domain is not verified, the id in its headers says which one it was. That
proves little: all who saw the mail know it. So it counts for failures alone, and only at the message's own
address, which the reader must compare. Whatever can't be read says nothing.
"""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from typing import NamedTuple
from uuid import UUID

from domain import verp
from domain.messages import Fate, Interaction
from domain.tokens import Tokens

LARGEST = 262_144  # Bytes of a mail that is looked at.
_DEEPEST = 20  # Parts that have parts: the parser asks each of those around a line whether it ends there.
_LONGEST_REASON = 500  # Characters.
# What the standard library raises at mails that nobody would write: broken structures, unknown encodings,
# parts within parts without end.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)

_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_REPLY = re.compile(r"(?<![\d.])([45])\d\d(?=[ -])")
_NOBODY = re.compile(
    r"user unknown|unknown user|no such (user|mailbox|recipient|person)|does ?n[o']t exist|not exist|"
    r"unknown recipient|recipient (unknown|not found)|(mailbox|account) (unknown|not found|unavailable)|"
    r"address (unknown|not found)|invalid (recipient|mailbox)|no mailbox here|unrouteable address|"
    r"account (is )?(disabled|closed)|host or domain name not found|domain not found",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"spam|block ?list|blacklist|blocked|reputation|policy|dmarc|spf |dkim|relay|rbl|junk|abuse",
    re.IGNORECASE,
)
_FULL = re.compile(r"quota|mailbox (is )?full|over ?quota|insufficient (system )?storage", re.IGNORECASE)
_COMPLAINTS = ("abuse", "fraud", "virus", "other")
_FAILURES = (Fate.HARD_BOUNCE, Fate.SOFT_BOUNCE, Fate.FAILED)
_ID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_NAMED = re.compile(
    rf"^(?:X-Campanile-Message:\s{{0,4}}|Message-ID:\s{{0,4}}<){_ID}", re.IGNORECASE | re.MULTILINE
)
_SOURCES = ("delivered-to", "x-original-to", "envelope-to", "to", "original-mail-from", "return-path")


class Notice(NamedTuple):
    """What a mail tells us about one of ours."""

    message_id: UUID
    kind: Fate | Interaction  # Of the latter, only that somebody unsubscribed.
    reason: str | None
    address: str | None  # Whom it was for, as the notice has it.
    proved: bool = (
        True  # By a return path that we signed. Otherwise it counts at the message's address alone.
    )

    @property
    def key(self) -> str:
        """One notice of a kind counts for a message, however often it comes."""
        return f"{self.message_id} {self.kind}"


def read(raw: bytes, tokens: Tokens) -> Notice | None:
    """What a mail that came back says of one of ours, or None when it says nothing that we understand."""
    raw = raw[:LARGEST]
    if raw.lower().count(b"multipart/") > _DEEPEST:
        return None
    try:
        return _read(message_from_bytes(raw), raw, tokens)
    except _UNREADABLE:
        return None


def _read(mail: Message, raw: bytes, tokens: Tokens) -> Notice | None:
    parts = [*mail.walk()]
    if message_id := _about(parts, raw, tokens):
        return _told(message_id, mail, parts)
    named = _named(parts)
    notice = _told(named, mail, parts) if named else None
    if notice is None or notice.kind not in _FAILURES or notice.address is None:
        return None
    return notice._replace(proved=False)


def _told(message_id: UUID, mail: Message, parts: list[Message]) -> Notice | None:
    """What the notice says, whatever it is about."""
    for part in parts:
        match part.get_content_type():
            case "message/feedback-report":
                fields = next(_blocks(part), None)
                return _complaint(message_id, fields) if fields is not None else None
            case "message/delivery-status":
                return _delivery(message_id, [*_blocks(part)])
    if mail.get("X-Failed-Recipients") or "mailer-daemon" in _said(mail, "From").lower():
        return _in_prose(message_id, mail, parts)
    return None


def _about(parts: list[Message], raw: bytes, tokens: Tokens) -> UUID | None:
    """The message that it is about: to whose return path it came, or which is quoted in it."""
    for part in parts:
        for name in _SOURCES:
            for value in part.get_all(name, []):
                if found := verp.read(str(value), tokens):
                    return found
    if found := verp.read(raw.decode("latin-1"), tokens):
        return found
    for part in parts:
        if not part.is_multipart() and (found := verp.read(_text(part), tokens)):
            return found
    return None


def _named(parts: list[Message]) -> UUID | None:
    """The message whose headers are quoted. Those of the notice itself are its own."""
    for part in parts:
        heads = "\n".join(f"{name}: {value}" for name, value in part.items()) if part is not parts[0] else ""
        found = _NAMED.search(heads) or (None if part.is_multipart() else _NAMED.search(_text(part)))
        if found:
            return UUID(found[1])
    return None


def _blocks(part: Message) -> Iterator[Message]:
    """The groups of fields of a report, which look like headers; as text where it was encoded."""
    content = part.get_payload()
    if isinstance(content, list):
        for block in content:
            if isinstance(block, Message):
                yield block
        return
    for piece in re.split(r"\r?\n\r?\n", _text(part)):
        if piece.strip():
            yield message_from_bytes(piece.strip().encode("utf-8", "replace"))


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else ""


def _said(fields: Message, name: str) -> str:
    return " ".join(str(fields.get(name) or "").split())


def _complaint(message_id: UUID, fields: Message) -> Notice | None:
    kind = _said(fields, "Feedback-Type").lower()
    address = _address(_said(fields, "Original-Rcpt-To")) or _address(_said(fields, "Removal-Recipient"))
    if kind in _COMPLAINTS:
        return Notice(message_id, Fate.COMPLAINED, f"feedback report: {kind}", address)
    if kind.startswith("opt-out"):
        return Notice(message_id, Interaction.UNSUBSCRIBED, "feedback report: opt-out", address)
    return None  # Such as not-spam and auth-failure, which are about nobody's wish.


def _delivery(message_id: UUID, blocks: list[Message]) -> Notice | None:
    told = [block for block in blocks if block.get("Action") or block.get("Status")]
    order = ("failed", "delayed", "delivered")
    told.sort(key=lambda block: order.index(action) if (action := _action(block)) in order else len(order))
    if not told:
        return None
    first = told[0]
    status, why = _said(first, "Status"), _said(first, "Diagnostic-Code")
    fate = fate_of(_action(first), status, why)
    if fate is None:
        return None
    address = _address(_said(first, "Original-Recipient")) or _address(_said(first, "Final-Recipient"))
    why = why.partition(";")[2].strip() or why
    shown = why if status in why else f"{status} {why}"
    return Notice(message_id, fate, shown.strip()[:_LONGEST_REASON] or None, address)


def _action(block: Message) -> str:
    return _said(block, "Action").lower().partition(" ")[0]


def _in_prose(message_id: UUID, mail: Message, parts: list[Message]) -> Notice | None:
    """A server that does not know RFC 3464 says it in words, and quotes the other server's answer."""
    text = next((_text(part) for part in parts if part.get_content_type() == "text/plain"), "")
    text = text.partition("\n---")[0]  # What follows is our own mail.
    line = next((line for line in text.splitlines() if _STATUS.search(line) or _REPLY.search(line)), None)
    if line is None and not _NOBODY.search(text):
        return None
    why = " ".join((line or text).split())
    address = _address(_said(mail, "X-Failed-Recipients"))
    return Notice(message_id, fate_of("failed", "", why) or Fate.SOFT_BOUNCE, why[:_LONGEST_REASON], address)


def _address(field: str) -> str | None:
    """Of `rfc822; ada@shop.example`."""
    found = field.rpartition(";")[2].strip().strip("<>")
    return found if "@" in found and len(found) <= 320 and " " not in found else None


def fate_of(action: str, status: str, why: str) -> Fate | None:
    """What a delivery status means for the address, by RFC 3463 and what servers really say.

    `why` is the other server's own words. Its code counts where the status names no subject. None when
    nothing follows, as from a relay that will tell nothing more.
    """
    match action:
        case "delivered":
            return Fate.DELIVERED
        case "delayed":
            return Fate.DEFERRED
        case "failed" | "":
            pass
        case _:
            return None
    code = _STATUS.search(status)
    if (code is None or code[2] == "0") and (nearer := _STATUS.search(why)):
        code = nearer
    if code is None:
        reply = _REPLY.search(why)
        if reply is not None and reply[1] == "4":
            return Fate.SOFT_BOUNCE
        return _by_words(why)
    if code[1] == "2":
        return Fate.DELIVERED if action == "" else None
    if code[1] == "4":
        return Fate.SOFT_BOUNCE
    return _permanent(int(code[2]), int(code[3]), why)


def _permanent(subject: int, detail: int, why: str) -> Fate:
    match subject, detail:
        case 1, (7 | 8 | 9):
            return Fate.FAILED  # It is our own address that they don't like.
        case (1, _) | (2, 1) | (4, 1 | 4 | 310):
            return Fate.HARD_BOUNCE  # 5.4.1 is how Exchange Online says that there is nobody of that name.
        case (2 | 3, 3 | 4) | (5 | 6 | 7, _):
            return Fate.FAILED  # Too large, not understood, or not liked: that is not the address.
        case (2, 2) | (4, _):
            return Fate.SOFT_BOUNCE
        case _:
            return _by_words(why)


def _by_words(why: str) -> Fate:
    if _FULL.search(why):
        return Fate.SOFT_BOUNCE
    if _NOBODY.search(why):
        return Fate.HARD_BOUNCE
    return Fate.FAILED if _POLICY.search(why) else Fate.SOFT_BOUNCE
