"""Notices of mail servers, in the shapes that these really have, and in shapes that nobody should meet."""

import base64
from email.message import EmailMessage
from textwrap import dedent
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from domain import notices, verp
from domain.messages import Fate, Interaction
from domain.tokens import Tokens

TOKENS = Tokens(b"the key that the tests sign with")
MESSAGE = UUID("0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f")
PATH = verp.address("mail.shop.example", MESSAGE, TOKENS)


def mail(text: str) -> bytes:
    return dedent(text).lstrip("\n").replace("PATH", PATH).replace("\n", "\r\n").encode()


POSTFIX = """
    Return-Path: <>
    Delivered-To: PATH
    Date: Mon,  2 Mar 2026 12:00:05 +0000 (UTC)
    From: MAILER-DAEMON@mx.shop.example (Mail Delivery System)
    Subject: Undelivered Mail Returned to Sender
    To: PATH
    Auto-Submitted: auto-replied
    MIME-Version: 1.0
    Content-Type: multipart/report; report-type=delivery-status;
    \tboundary="4Pq1Xy0ZzTz1yQ.1772452805/mx.shop.example"
    Message-Id: <20260302120005.4Pq1Xy0ZzTz1yR@mx.shop.example>

    This is a MIME-encapsulated message.

    --4Pq1Xy0ZzTz1yQ.1772452805/mx.shop.example
    Content-Description: Notification
    Content-Type: text/plain; charset=us-ascii

    This is the mail system at host mx.shop.example.

    <nobody@example.com>: host mail.example.com[192.0.2.7] said: 550 5.1.1
        <nobody@example.com>: Recipient address rejected: User unknown in virtual
        mailbox table (in reply to RCPT TO command)

    --4Pq1Xy0ZzTz1yQ.1772452805/mx.shop.example
    Content-Description: Delivery report
    Content-Type: message/delivery-status

    Reporting-MTA: dns; mx.shop.example
    X-Postfix-Queue-ID: 4Pq1Xy0ZzTz1yQ
    X-Postfix-Sender: rfc822; PATH
    Arrival-Date: Mon,  2 Mar 2026 12:00:04 +0000 (UTC)

    Final-Recipient: rfc822; nobody@example.com
    Original-Recipient: rfc822;nobody@example.com
    Action: failed
    Status: 5.1.1
    Remote-MTA: dns; mail.example.com
    Diagnostic-Code: smtp; 550 5.1.1 <nobody@example.com>: Recipient address
        rejected: User unknown in virtual mailbox table

    --4Pq1Xy0ZzTz1yQ.1772452805/mx.shop.example
    Content-Description: Undelivered Message Headers
    Content-Type: text/rfc822-headers

    Return-Path: <PATH>
    Subject: Our winter sale: full quota of bargains, 5.2.2 of them

    --4Pq1Xy0ZzTz1yQ.1772452805/mx.shop.example--
    """

EXIM = """
    Return-path: <>
    Envelope-to: PATH
    Received: from Debian-exim by relay.shop.example with local (Exim 4.98)
    \tid 1tXabc-0001Ab-2c
    X-Failed-Recipients: full@example.org
    Auto-Submitted: auto-replied
    From: Mail Delivery System <Mailer-Daemon@relay.shop.example>
    To: PATH
    References: <0199f1c2@shop.example>
    Content-Type: multipart/report; report-type=delivery-status; boundary=1772452805-eximdsn-804289383
    MIME-Version: 1.0
    Subject: Mail delivery failed: returning message to sender

    --1772452805-eximdsn-804289383
    Content-type: text/plain; charset=us-ascii

    This message was created automatically by mail delivery software.

      full@example.org
        host mx.example.org [192.0.2.9]
        SMTP error from remote mail server after end of data:
        552 5.2.2 The email account that you tried to reach is over quota.

    --1772452805-eximdsn-804289383
    Content-type: message/delivery-status

    Reporting-MTA: dns; relay.shop.example

    Action: failed
    Final-Recipient: rfc822;full@example.org
    Status: 5.0.0
    Remote-MTA: dns; mx.example.org
    Diagnostic-Code: smtp; 552 5.2.2 The email account that you tried to reach is over quota.

    --1772452805-eximdsn-804289383
    Content-type: message/rfc822

    Return-path: <PATH>
    Subject: Hello

    Hello.

    --1772452805-eximdsn-804289383--
    """

EXCHANGE = """
    From: Microsoft Outlook <postmaster@example.net>
    To: <PATH>
    Date: Mon, 2 Mar 2026 12:00:09 +0000
    Content-Type: multipart/report; report-type=delivery-status;
     boundary="e1b0fe1b-9f3a-4d7a-8f0e-3a5d5a3b8b11"
    X-MS-Exchange-Message-Is-Ndr:
    Content-Language: en-US
    Message-ID: <7d7a2f40-2b2e-4d1e-9f16-6a1f3e3a3f37@AM0EXAMPLE.eurprd01.prod.example.net>
    Subject: Undeliverable: Hello
    Auto-Submitted: auto-replied
    MIME-Version: 1.0

    --e1b0fe1b-9f3a-4d7a-8f0e-3a5d5a3b8b11
    Content-Type: multipart/alternative; differences=Content-Type;
     boundary="2f0a3d5b-8f46-4c8a-8a52-4b7f6d0a1d11"

    --2f0a3d5b-8f46-4c8a-8a52-4b7f6d0a1d11
    Content-Type: text/plain; charset="us-ascii"
    Content-Transfer-Encoding: quoted-printable

    Your message to gone@example.net couldn't be delivered.

    --2f0a3d5b-8f46-4c8a-8a52-4b7f6d0a1d11
    Content-Type: text/html; charset="us-ascii"

    <html><body>Your message couldn't be delivered.</body></html>

    --2f0a3d5b-8f46-4c8a-8a52-4b7f6d0a1d11--

    --e1b0fe1b-9f3a-4d7a-8f0e-3a5d5a3b8b11
    Content-Type: message/delivery-status

    Reporting-MTA: dns;AM0EXAMPLE.eurprd01.prod.example.net
    Received-From-MTA: dns;mx.shop.example
    Arrival-Date: Mon, 2 Mar 2026 12:00:08 +0000

    Final-Recipient: rfc822;gone@example.net
    Action: failed
    Status: 5.1.10
    Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient
     gone@example.net not found by SMTP address lookup
    X-Display-Name: gone@example.net

    --e1b0fe1b-9f3a-4d7a-8f0e-3a5d5a3b8b11
    Content-Type: message/rfc822

    Subject: Hello

    Hello.

    --e1b0fe1b-9f3a-4d7a-8f0e-3a5d5a3b8b11--
    """

QMAIL = """
    Return-Path: <>
    Delivered-To: PATH
    Date: 2 Mar 2026 12:00:00 -0000
    From: MAILER-DAEMON@old.example
    To: PATH
    Subject: failure notice

    Hi. This is the qmail-send program at old.example.
    I'm afraid I wasn't able to deliver your message to the following addresses.

    <ada@old.example>:
    Sorry, no mailbox here by that name. (#5.1.1)

    --- Below this line is a copy of the message.

    Return-Path: <PATH>
    Subject: 4.2.2
    """

ARF = """
    From: <abusedesk@example.com>
    Date: Mon, 2 Mar 2026 12:00:00 +0000
    Subject: FW: Our sale
    To: <fbl@mail.shop.example>
    MIME-Version: 1.0
    Content-Type: multipart/report; report-type=feedback-report;
         boundary="part1_13d.2e68ed54_boundary"

    --part1_13d.2e68ed54_boundary
    Content-Type: text/plain; charset="US-ASCII"
    Content-Transfer-Encoding: 7bit

    This is an email abuse report for an email message.

    --part1_13d.2e68ed54_boundary
    Content-Type: message/feedback-report

    Feedback-Type: KIND
    User-Agent: SomeGenerator/1.0
    Version: 1
    Original-Mail-From: <PATH>
    Original-Rcpt-To: <ada@example.com>
    Arrival-Date: Mon, 2 Mar 2026 11:00:00 GMT

    --part1_13d.2e68ed54_boundary
    Content-Type: message/rfc822
    Content-Disposition: inline

    From: <shop@shop.example>
    Subject: Our sale

    Buy.
    --part1_13d.2e68ed54_boundary--
    """


@pytest.mark.parametrize(
    ("shape", "fate", "address", "reason"),
    [
        (
            POSTFIX,
            Fate.HARD_BOUNCE,
            "nobody@example.com",
            "550 5.1.1 <nobody@example.com>: Recipient address",
        ),
        (EXIM, Fate.SOFT_BOUNCE, "full@example.org", "5.0.0 552 5.2.2 The email account"),
        (EXCHANGE, Fate.HARD_BOUNCE, "gone@example.net", "550 5.1.10 RESOLVER.ADR.RecipientNotFound"),
        (QMAIL, Fate.HARD_BOUNCE, None, "Sorry, no mailbox here by that name. (#5.1.1)"),
    ],
    ids=["postfix", "exim", "exchange", "qmail"],
)
def test_a_notice_of_a_failure_is_understood(
    shape: str, fate: Fate, address: str | None, reason: str
) -> None:
    notice = notices.read(mail(shape), TOKENS)

    assert notice is not None
    assert (notice.message_id, notice.kind, notice.address) == (MESSAGE, fate, address)
    assert (notice.reason or "").startswith(reason)


@pytest.mark.parametrize(
    ("kind", "means"),
    [
        ("abuse", Fate.COMPLAINED),
        ("Fraud", Fate.COMPLAINED),
        ("opt-out-list", Interaction.UNSUBSCRIBED),
        ("not-spam", None),
        ("auth-failure", None),
        ("", None),
    ],
)
def test_a_feedback_report_is_a_complaint_or_nothing(kind: str, means: object) -> None:
    notice = notices.read(mail(ARF.replace("KIND", kind)), TOKENS)

    assert (notice and (notice.kind, notice.address)) == (means and (means, "ada@example.com"))


def test_a_notice_of_a_mail_that_is_not_ours_says_nothing() -> None:
    theirs = verp.address("mail.shop.example", uuid4(), Tokens(b"a key of somebody else's"))

    assert notices.read(mail(POSTFIX).replace(PATH.encode(), theirs.encode()), TOKENS) is None
    assert notices.read(mail(POSTFIX).replace(PATH.encode(), b"ada@shop.example"), TOKENS) is None


UNSIGNED = POSTFIX.replace("PATH", "shop@records.example").replace(
    "Return-Path: <shop@records.example>\n    Subject: Our",
    f"X-Campanile-Message: {MESSAGE}\n    Subject: Our",
)


@pytest.mark.parametrize("header", ["X-Campanile-Message: ID", "Message-ID: <ID@records.example>"])
@pytest.mark.parametrize("kind", ["text/rfc822-headers", "message/rfc822"])
def test_without_a_return_path_of_ours_a_failure_is_about_the_message_whose_headers_it_quotes(
    header: str, kind: str
) -> None:
    line = f"X-Campanile-Message: {MESSAGE}"
    shape = UNSIGNED.replace(line, header.replace("ID@", f"{MESSAGE}@").replace(": ID", f": {MESSAGE}"))
    notice = notices.read(mail(shape.replace("text/rfc822-headers", kind)), TOKENS)

    assert notice is not None
    assert (notice.message_id, notice.kind, notice.address, notice.proved) == (
        MESSAGE,
        Fate.HARD_BOUNCE,
        "nobody@example.com",
        False,
    )


def test_a_return_path_of_ours_is_proof() -> None:
    notice = notices.read(mail(POSTFIX), TOKENS)

    assert notice is not None
    assert notice.proved


def test_the_id_alone_is_enough_for_failures_and_for_nothing_else() -> None:
    complaint = ARF.replace("KIND", "abuse").replace("PATH", "shop@records.example")
    complaint = complaint.replace(
        "Subject: Our sale\n\n    Buy", f"X-Campanile-Message: {MESSAGE}\n\n    Buy"
    )
    assert str(MESSAGE) in complaint
    delivered = UNSIGNED.replace("Action: failed", "Action: delivered").replace("5.1.1", "2.0.0")
    nobody = UNSIGNED.replace("Final-Recipient: rfc822; nobody@example.com\n", "").replace(
        "Original-Recipient: rfc822;nobody@example.com\n", ""
    )

    for shape in (complaint, delivered, nobody):
        assert notices.read(mail(shape), TOKENS) is None


def test_the_id_of_the_notice_itself_is_not_that_of_a_message() -> None:
    own = "<20260302120005.4Pq1Xy0ZzTz1yR@mx.shop.example>"
    shape = UNSIGNED.replace(f"X-Campanile-Message: {MESSAGE}", "X-Mailer: none").replace(
        own, f"<{MESSAGE}@x>"
    )

    assert notices.read(mail(shape), TOKENS) is None


def test_an_answer_that_a_person_or_their_holiday_program_wrote_is_no_bounce() -> None:
    assert notices.read(mail("From: ada@example.com\nTo: PATH\n\nI am away. 5.1.1!\n"), TOKENS) is None


def test_a_return_path_is_found_in_a_part_that_was_encoded() -> None:
    quoted = base64.encodebytes(f"Return-Path: <{PATH}>\n".encode()).decode()
    report = ARF.replace("Original-Mail-From: <PATH>", "Version: 1").replace("KIND", "abuse")
    beginning, _, _ = mail(report).partition(b"From: <shop@shop.example>")
    raw = beginning + b"Content-Transfer-Encoding: base64\r\n\r\n" + quoted.encode()

    notice = notices.read(raw, TOKENS)

    assert notice is not None
    assert notice.message_id == MESSAGE


@pytest.mark.parametrize(
    ("action", "status", "why", "fate"),
    [
        ("failed", "5.1.1", "", Fate.HARD_BOUNCE),
        ("failed", "5.1.2", "", Fate.HARD_BOUNCE),
        ("failed", "5.1.8", "", Fate.FAILED),
        ("failed", "5.2.1", "", Fate.HARD_BOUNCE),
        ("failed", "5.2.2", "", Fate.SOFT_BOUNCE),
        ("failed", "5.2.3", "", Fate.FAILED),
        ("failed", "5.4.1", "", Fate.HARD_BOUNCE),
        ("failed", "5.4.7", "", Fate.SOFT_BOUNCE),
        ("failed", "5.6.0", "", Fate.FAILED),
        ("failed", "5.7.1", "550 user unknown", Fate.FAILED),
        ("failed", "5.7.26", "", Fate.FAILED),
        ("failed", "4.4.7", "", Fate.SOFT_BOUNCE),
        ("failed", "5.0.0", "smtp; 550 5.7.1 blocked", Fate.FAILED),
        ("failed", "5.0.0", "550 Requested action not taken: mailbox unavailable", Fate.HARD_BOUNCE),
        ("failed", "5.0.0", "554 rejected as spam", Fate.FAILED),
        ("failed", "5.0.0", "", Fate.SOFT_BOUNCE),
        ("failed", "", "450 try later", Fate.SOFT_BOUNCE),
        ("failed", "5.3.0", "mailbox full", Fate.SOFT_BOUNCE),
        ("delayed", "4.4.1", "", Fate.DEFERRED),
        ("delivered", "2.0.0", "", Fate.DELIVERED),
        ("relayed", "2.0.0", "", None),
        ("expanded", "2.0.0", "", None),
    ],
)
def test_a_status_means_what_it_means_for_the_address(
    action: str, status: str, why: str, fate: Fate | None
) -> None:
    assert notices.fate_of(action, status, why) == fate


def test_the_failure_counts_where_a_notice_tells_of_several_recipients() -> None:
    more = "Action: relayed\r\nStatus: 2.0.0\r\nFinal-Recipient: rfc822; a@b.example\r\n\r\n"
    raw = mail(POSTFIX).replace(
        b"Final-Recipient: rfc822; nobody", more.encode() + b"Final-Recipient: rfc822; nobody"
    )

    notice = notices.read(raw, TOKENS)

    assert notice is not None
    assert notice.kind == Fate.HARD_BOUNCE


@pytest.mark.parametrize(("depth", "understood"), [(19, True), (20, False), (5000, False)])
def test_a_notice_in_parts_within_parts_without_end_says_nothing(depth: int, understood: bool) -> None:
    around = "".join(f'Content-Type: Multipart/mixed; boundary="{n}"\n\n--{n}\n' for n in range(depth))

    notice = notices.read(around.encode() + mail(POSTFIX), TOKENS)

    assert (notice is not None) is understood


def test_mails_within_mails_without_end_say_nothing() -> None:
    deep = "Content-Type: message/rfc822\n\n" * 5000

    assert notices.read(f"To: {PATH}\n{deep}".encode(), TOKENS) is None


@settings(max_examples=300, deadline=None)
@given(
    shape=some.sampled_from([POSTFIX, EXIM, EXCHANGE, QMAIL, ARF.replace("KIND", "abuse")]),
    cuts=some.lists(
        some.tuples(some.integers(0, 3000), some.integers(0, 200), some.binary(max_size=40)), max_size=4
    ),
)
def test_whatever_is_done_to_a_notice_it_is_understood_or_says_nothing(
    shape: str, cuts: list[tuple[int, int, bytes]]
) -> None:
    raw = mail(shape)
    for at, length, put in cuts:
        raw = raw[:at] + put + raw[at + length :]

    notice = notices.read(raw, TOKENS)

    assert notice is None or notice.message_id == MESSAGE


@settings(max_examples=100, deadline=None)
@given(
    charset=some.sampled_from(["x-unknown", "utf-7", "\udcff", "iso-2022-jp", "idna"]),
    body=some.binary(max_size=300),
)
def test_no_charset_stops_us(charset: str, body: bytes) -> None:
    head = f"To: {PATH}\nContent-Type: text/plain; charset={charset}\nFrom: mailer-daemon@x.example\n\n"

    notice = notices.read(head.encode("utf-8", "surrogateescape") + body, TOKENS)

    assert notice is None or notice.message_id == MESSAGE


def test_a_mail_larger_than_we_read_is_read_as_far_as_that() -> None:
    large = EmailMessage()
    large["To"] = PATH
    large.set_content("x" * 2 * notices.LARGEST)

    assert notices.read(large.as_bytes(), TOKENS) is None
