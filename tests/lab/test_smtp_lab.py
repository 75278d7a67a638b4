"""The lab must be as strict as the RFCs and as unkind as it is told, or tests against it prove nothing."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from smtplib import SMTP, SMTPDataError, SMTPRecipientsRefused, SMTPServerDisconnected

import pytest

from lab.smtp import EXTENSIONS, Fault, Mail, Phase, SmtpLab, SmtpServer

MAIL = "X-Campanile-Message: {id}\r\nMessage-ID: <{id}@shop.example>\r\nSubject: Hi\r\n\r\n.Hello\r\n"


def deliver(port: int, number: str, *recipients: str) -> None:
    """By the standard library's client, which knows nothing of us. Blocks."""
    with SMTP("127.0.0.1", port, timeout=5) as client:
        client.sendmail("bounces@shop.example", recipients, MAIL.format(id=number))


async def talk(port: int, *groups: bytes) -> bytes:
    """Write the groups, each after something was heard; gives all that was heard until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = b""
    for group in groups:
        heard += await reader.read(4096)
        writer.write(group)
    heard += await reader.read()
    writer.close()
    return heard


async def test_it_keeps_what_a_client_that_knows_nothing_of_us_sends() -> None:
    async with SmtpLab() as lab:
        await asyncio.to_thread(deliver, lab.port, "m1", "anna@example.test", "bo@example.test")
        assert [(one.id, one.recipient) for one in lab.accepted] == [
            ("m1", "anna@example.test"),
            ("m1", "bo@example.test"),
        ]
        assert lab.accepted[0].message_id == "<m1@shop.example>"
        assert lab.accepted[0].sender == "bounces@shop.example"
        assert lab.accepted[0].size == len(MAIL.format(id="m1"))


async def test_the_handler_decides_what_a_mail_is_answered() -> None:
    async def picky(mail: Mail) -> str:
        if b".Hello" not in mail.content.split(b"\r\n"):
            return "554 5.6.0 The dot is wrong"
        if mail.recipients == ("broken@example.test",):
            raise RuntimeError("the disk is full")
        return "550 5.6.0 I don't like it"

    async with SmtpServer(picky) as server:
        with pytest.raises(SMTPDataError, match="don't like it"):
            await asyncio.to_thread(deliver, server.port, "m1", "anna@example.test")
        with pytest.raises(SMTPDataError, match="451"):
            await asyncio.to_thread(deliver, server.port, "m1", "broken@example.test")


async def test_mails_of_several_connections_are_handled_at_the_same_time() -> None:
    both = asyncio.Barrier(2)

    async def wait_for_the_other(mail: Mail) -> str:
        await both.wait()
        return "250 2.0.0 Kept"

    async with SmtpServer(wait_for_the_other) as server, asyncio.timeout(5):
        await asyncio.gather(
            *(asyncio.to_thread(deliver, server.port, "m", f"p{n}@example.test") for n in (1, 2))
        )


async def test_a_lost_reply_keeps_the_mail_and_another_cut_does_not() -> None:
    async with SmtpLab() as lab:
        lab.lose_the_next_reply()
        with pytest.raises(SMTPServerDisconnected):
            await asyncio.to_thread(deliver, lab.port, "kept", "anna@example.test")
        lab.fail(Fault(Phase.DOT, cut=True, times=1))
        with pytest.raises(SMTPServerDisconnected):
            await asyncio.to_thread(deliver, lab.port, "lost", "anna@example.test")
        await asyncio.to_thread(deliver, lab.port, "fine", "anna@example.test")
        assert [one.id for one in lab.accepted] == ["kept", "fine"]


async def test_a_fault_may_be_for_some_recipients_later_and_only_so_often() -> None:
    async with SmtpLab() as lab:
        lab.fail(Fault(Phase.RCPT, reply="550 5.1.1 Nobody", recipient="*@full.test", after=1, times=1))
        await asyncio.to_thread(deliver, lab.port, "m1", "anna@example.test")
        await asyncio.to_thread(deliver, lab.port, "m2", "anna@full.test")
        with pytest.raises(SMTPRecipientsRefused):
            await asyncio.to_thread(deliver, lab.port, "m3", "anna@full.test")
        await asyncio.to_thread(deliver, lab.port, "m4", "anna@full.test")
        assert [one.id for one in lab.accepted] == ["m1", "m2", "m4"]


async def test_faults_are_planned_and_cleared_over_the_wire() -> None:
    async with SmtpLab() as lab:
        heard = await talk(
            lab.port,
            b'XFAULT {"at": "mail", "reply": "450 4.2.0 Later"}\r\nXFAULT {"at": "noon"}\r\nXFAULT no\r\n',
            b"EHLO me\r\nMAIL FROM:<a@b.test>\r\nXCLEAR\r\nMAIL FROM:<a@b.test>\r\nQUIT\r\n",
        )
        replies = [line[:9] for line in heard.decode().split("\r\n")]
        assert [one for one in replies if not one.startswith(("250-", "250 SIZE", "220"))] == [
            "250 2.0.0", "501 5.5.4", "501 5.5.4", "450 4.2.0", "250 2.0.0", "250 2.1.0", "221 2.0.0", "",
        ]  # fmt: skip


async def test_content_that_does_not_wait_for_the_354_is_refused() -> None:
    async with SmtpLab() as lab:
        group = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: Hi\r\n\r\nHello\r\n.\r\n"
        heard = await talk(lab.port, b"EHLO me\r\n", group)
        assert b"503 5.5.0" in heard
        assert lab.accepted == []


async def test_without_pipelining_commands_must_wait_for_their_answers() -> None:
    async with SmtpLab(extensions=EXTENSIONS[1:]) as lab:
        heard = await talk(lab.port, b"EHLO me\r\n", b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n")
        assert heard.endswith(b"503 5.5.0 One at a time\r\n")


@pytest.mark.parametrize(
    ("commands", "answer"),
    [
        (b"RCPT TO:<c@d.test>\r\n", b"503"),
        (b"DATA\r\n", b"554"),
        (b"MAIL FROM:<a@b.test>\r\nMAIL FROM:<a@b.test>\r\n", b"503"),
        (b"MAIL FROM:a@b.test\r\n", b"501"),
        (b"MAIL FROM:<a@b.test> NONSENSE=1\r\n", b"501"),
        ("MAIL FROM:<zoë@b.test>\r\n".encode(), b"501"),
        (b"MAIL FROM:<a@b.test>\r\nRCPT TO:<>\r\n", b"501"),
        (b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c d@e.test>\r\n", b"501"),
        ("MAIL FROM:<a@b.test>\r\nRCPT TO:<zoë@e.test>\r\n".encode(), b"501"),
        (b"SEND ME\r\n", b"502"),
    ],
)
async def test_it_refuses_what_the_rfc_does_not_allow(commands: bytes, answer: bytes) -> None:
    async with SmtpLab() as lab:
        heard = await talk(lab.port, b"EHLO me\r\n", commands, b"QUIT\r\n")
        assert heard.split(b"\r\n")[-3][:3] == answer


async def test_8_bit_content_must_be_announced() -> None:
    content = "Subject: Hi\r\n\r\nZoë\r\n.\r\n".encode()
    async with SmtpLab() as lab:
        for option, answer in ((b"", b"554 5.6.1"), (b" BODY=8BITMIME", b"250 2.0.0 Kept")):
            group = b"MAIL FROM:<a@b.test>%b\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" % option
            heard = await talk(lab.port, b"EHLO me\r\n", b"NOOP\r\n", group, content, b"QUIT\r\n")
            assert answer in heard


async def test_a_hang_says_nothing_and_keeps_the_connection() -> None:
    async with SmtpLab() as lab:
        lab.fail(Fault(Phase.MAIL, hang=True))
        reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
        writer.write(b"EHLO me\r\nMAIL FROM:<a@b.test>\r\n")
        await reader.readuntil(b"250 SIZE 26214400\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        assert len(lab.talks) == 1
        writer.close()


async def test_as_a_process_it_leaves_a_record_of_all_it_ever_answered_for(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    for round_ in (1, 2):
        lab = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lab.smtp", "--keep", kept),
            *("--fault", '{"at": "rcpt", "reply": "550 5.1.1 Nobody", "recipient": "nobody@*"}'),
            stdout=asyncio.subprocess.PIPE,
        )
        assert lab.stdout
        port = json.loads(await lab.stdout.readline())["port"]
        await asyncio.to_thread(deliver, port, f"m{round_}", "anna@example.test")
        with pytest.raises(SMTPRecipientsRefused):
            await asyncio.to_thread(deliver, port, "m3", "nobody@example.test")
        lab.send_signal(signal.SIGKILL if round_ == 1 else signal.SIGTERM)
        assert await asyncio.wait_for(lab.wait(), 5) == (-signal.SIGKILL if round_ == 1 else 0)
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(one["id"], one["recipient"]) for one in lines] == [
        ("m1", "anna@example.test"),
        ("m2", "anna@example.test"),
    ]
