"""Mails that come back, and mails that are complained about, as the standard library reads them."""

import asyncio
import json
import mailbox
import signal
import sys
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from lab.notices import Notices
from lab.smtp import SmtpLab
from tests.lab.test_smtp_lab import deliver


def mails(folder: Path) -> list[EmailMessage]:
    box = mailbox.Maildir(folder, create=False)
    found = (message_from_bytes(box.get_bytes(key), policy=default) for key in box.keys())  # noqa: SIM118
    return [one for one in found if isinstance(one, EmailMessage)]


def part(mail: EmailMessage, kind: str) -> Any:
    [found] = [one for one in mail.iter_parts() if one.get_content_type() == kind]
    return found


def test_an_empty_folder_becomes_a_maildir(tmp_path: Path) -> None:
    Notices(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["cur", "new", "tmp"]


@pytest.mark.parametrize(
    ("outcome", "action", "status"),
    [
        ("bounce", "failed", "5.1.1"),
        ("full", "failed", "5.2.2"),
        ("block", "failed", "5.7.1"),
        ("late", "delayed", "4.4.1"),
        ("deliver", "delivered", "2.1.5"),
    ],
)
async def test_a_notice_goes_to_the_return_path(
    tmp_path: Path, outcome: str, action: str, status: str
) -> None:
    notices = Notices(tmp_path / "box", [(outcome, "*@gone.test")])
    async with SmtpLab(notices=notices) as lab:
        await asyncio.to_thread(deliver, lab.port, "m1", "anna@example.test", "bo@gone.test")
    [mail] = mails(tmp_path / "box")
    assert (mail["To"], mail["Return-Path"]) == ("bounces@shop.example", "<>")
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"
    _, told = part(mail, "message/delivery-status").get_payload()
    assert told["Final-Recipient"] == "rfc822; bo@gone.test"
    assert (told["Action"], told["Status"]) == (action, status)
    assert told["Diagnostic-Code"].startswith("smtp; ")
    headers = part(mail, "text/rfc822-headers").get_payload()
    assert "X-Campanile-Message: m1" in headers


async def test_a_complaint_is_an_abuse_report_with_the_mail_in_it(tmp_path: Path) -> None:
    notices = Notices(tmp_path / "box", [("complain", "*@angry.test")])
    async with SmtpLab(notices=notices) as lab:
        await asyncio.to_thread(deliver, lab.port, "m1", "bo@angry.test")
    [mail] = mails(tmp_path / "box")
    assert mail.get_param("report-type") == "feedback-report"
    told = part(mail, "message/feedback-report").get_payload()
    told = message_from_bytes(str(told[0] if isinstance(told, list) else told).encode())
    assert told["Feedback-Type"] == "abuse"
    assert told["Original-Rcpt-To"] == "<bo@angry.test>"
    [original] = part(mail, "message/rfc822").get_payload()
    assert original["X-Campanile-Message"] == "m1"


async def test_a_notice_waits_and_as_a_process_the_lab_writes_it_too(tmp_path: Path) -> None:
    box = tmp_path / "box"
    lab = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.smtp", "--notices", str(box), "--delay", "0.5"),
        *("--bounce", "*@gone.test", "--complain", "*@angry.test"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert lab.stdout
    port = json.loads(await lab.stdout.readline())["port"]
    await asyncio.to_thread(deliver, port, "m1", "bo@gone.test", "di@angry.test", "anna@example.test")
    assert mails(box) == []
    for _ in range(200):
        if len(mails(box)) < 2:
            await asyncio.sleep(0.05)
    assert len(mails(box)) == 2
    lab.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(lab.wait(), 10) == 0
