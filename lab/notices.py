"""What mail servers write afterwards: delivery status notices (RFC 3464) and abuse reports (RFC 5965).

They go to the mail's return path, and end as files of a Maildir folder, which is a mailbox that takes mail
for every address.
"""

import asyncio
import mailbox
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import format_datetime, localtime
from fnmatch import fnmatchcase
from pathlib import Path
from secrets import token_hex

from lab.smtp_server import Mail

MTA = "mx.lab.example"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a delivery status notice says of a recipient."""

    action: str  # Of RFC 3464 §2.3.3.
    status: str  # Of RFC 3463.
    diagnostic: str  # What the other server said.


VERDICTS = {
    "bounce": Verdict(
        "failed", "5.1.1", "550 5.1.1 The email account that you tried to reach does not exist"
    ),
    "full": Verdict("failed", "5.2.2", "552 5.2.2 The recipient's inbox is out of storage space"),
    "block": Verdict("failed", "5.7.1", "550 5.7.1 Message refused by policy"),
    "late": Verdict("delayed", "4.4.1", "421 4.4.1 Connection timed out"),
    "deliver": Verdict("delivered", "2.1.5", "250 2.1.5 Delivered"),
}
COMPLAIN = "complain"
OUTCOMES = (*VERDICTS, COMPLAIN)


class Notices:
    """Writes notices for mails whose recipients match a rule, some seconds after they were accepted.

    A rule is an outcome, one of `OUTCOMES`, and a pattern of addresses (`fnmatch`); the first one counts.
    """

    def __init__(self, folder: Path, rules: Iterable[tuple[str, str]] = (), delay: float = 0) -> None:
        for part in ("cur", "new", "tmp"):  # `Maildir` makes them only where the folder is not there.
            (folder / part).mkdir(parents=True, exist_ok=True)
        self.box = mailbox.Maildir(folder, create=True)
        self.rules = list(rules)
        self.delay = delay
        self.waiting: set[asyncio.TimerHandle] = set()

    def expect(self, mail: Mail) -> None:
        """Write, when it is time, what becomes of this mail."""
        for recipient in mail.recipients:
            outcome = next((one for one, glob in self.rules if fnmatchcase(recipient, glob)), None)
            if outcome:
                self.later(outcome, mail, recipient)

    def later(self, outcome: str, mail: Mail, recipient: str) -> None:
        def now() -> None:
            self.waiting.discard(handle)
            self.write(outcome, mail, recipient)

        handle = asyncio.get_running_loop().call_later(self.delay, now)
        self.waiting.add(handle)

    def write(self, outcome: str, mail: Mail, recipient: str) -> None:
        """Write it now. Mail with an empty return path gets no notice (RFC 5321 §4.5.5)."""
        if outcome == COMPLAIN:
            self.box.add(complaint(mail, recipient))
        elif mail.sender:
            self.box.add(notice(VERDICTS[outcome], mail, recipient))

    def close(self) -> None:
        for handle in self.waiting:
            handle.cancel()


def head_of(content: bytes) -> str:
    head, _, _ = content.partition(b"\r\n\r\n")
    return head.decode("utf-8", "replace").replace("\r\n", "\n") + "\n"


def notice(verdict: Verdict, mail: Mail, recipient: str) -> bytes:
    """A delivery status notice, to the mail's return path and with its headers."""
    status = f"""Reporting-MTA: dns; {MTA}
X-Lab-Queue-ID: {token_hex(5).upper()}
X-Lab-Sender: rfc822; {mail.sender}
Arrival-Date: {date()}

Final-Recipient: rfc822; {recipient}
Original-Recipient: rfc822;{recipient}
Action: {verdict.action}
Status: {verdict.status}
Remote-MTA: dns; mx.{recipient.rpartition("@")[2]}
Diagnostic-Code: smtp; {verdict.diagnostic}
"""
    words = f"This is the mail system at {MTA}.\n\n<{recipient}>: {verdict.action}: {verdict.diagnostic}\n"
    parts = [
        ("text/plain; charset=utf-8", words),
        ("message/delivery-status", status),
        ("text/rfc822-headers", head_of(mail.content)),
    ]
    subject = {
        "failed": "Undelivered Mail Returned to Sender",
        "delayed": "Delayed Mail (still being retried)",
    }.get(verdict.action, "Successful Mail Delivery Report")
    return report(
        "delivery-status", f"Mail Delivery System <MAILER-DAEMON@{MTA}>", mail.sender, subject, parts
    )


def complaint(mail: Mail, recipient: str) -> bytes:
    """An abuse report, to the sender's domain, with the whole mail in it."""
    domain = mail.sender.rpartition("@")[2]
    said = f"""Feedback-Type: abuse
User-Agent: LabFeedback/1.0
Version: 1
Original-Mail-From: <{mail.sender}>
Original-Rcpt-To: <{recipient}>
Arrival-Date: {date()}
Reporting-MTA: dns; {MTA}
Source-IP: 192.0.2.1
Reported-Domain: {domain}
"""
    words = "This is an email abuse report for an email message received from IP 192.0.2.1.\n"
    parts = [
        ("text/plain; charset=utf-8", words),
        ("message/feedback-report", said),
        ("message/rfc822", mail.content.decode("utf-8", "replace").replace("\r\n", "\n")),
    ]
    sender = f"<abusedesk@{recipient.rpartition('@')[2]}>"
    return report("feedback-report", sender, f"abuse@{domain}", "FW: a mail that is not wanted", parts)


def report(kind: str, sender: str, to: str, subject: str, parts: list[tuple[str, str]]) -> bytes:
    boundary = token_hex(12)
    head = f"""Return-Path: <>
Delivered-To: {to}
Date: {date()}
From: {sender}
To: <{to}>
Subject: {subject}
Message-ID: <{token_hex(12)}@{MTA}>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type={kind}; boundary="{boundary}"

"""
    body = "".join(f"--{boundary}\nContent-Type: {type_}\n\n{text}\n" for type_, text in parts)
    return f"{head}{body}--{boundary}--\n".encode()


def date() -> str:
    return format_datetime(localtime())
