"""The development mailbox: what it says it kept is kept, and is shown without being let loose."""

import smtplib
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dev.process import Process, free_port
from dev.stack import is_up
from settings import ROOT


class Box:
    """A mailbox in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.smtp, self.relay, self.http = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        ports = map(str, (self.smtp, self.relay, self.http))
        command = [sys.executable, "-m", "dev.mailbox", str(folder), *ports]
        self.process = Process("mailbox", command, log=folder / "log", folder=ROOT)

    def start(self) -> None:
        self.process.start()
        self.process.wait_until(lambda: is_up(f"{self.url}/health"))

    def send(self, mail: EmailMessage, port: int | None = None) -> None:
        with smtplib.SMTP("127.0.0.1", port or self.smtp) as connection:
            connection.send_message(mail)

    def patience(self, method: str, **more: Any) -> httpx2.Response:
        return httpx2.request(method, f"{self.url}/patience", trust_env=False, **more)

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(f"{self.url}{path}", trust_env=False)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    one = Box(tmp_path)
    one.start()
    yield one
    one.process.stop()


def a_mail(to: str = "ada@example.com", subject: str = "Grüße", html: str = "<p>Hello</p>") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ada's Records <shop@records.example>", to, subject
    mail.set_content("Hello in text")
    mail.add_alternative(html, subtype="html")
    return mail


def test_a_mail_is_shown_with_its_parts(box: Box) -> None:
    box.send(a_mail(html="<p>Hello <b>you</b></p>"))

    listed = box.get("/messages").json()
    assert listed["count"] == 1
    assert listed["messages"][0]["subject"] == "Grüße"
    assert listed["messages"][0]["recipients"] == ["ada@example.com"]
    one = box.get(f"/messages/{listed['messages'][0]['id']}.json").json()
    assert one["html"].strip() == "<p>Hello <b>you</b></p>"
    assert one["text"].strip() == "Hello in text"
    assert "Grüße" in box.get("/").text
    assert "1 mail<" in box.get("/").text
    assert "From Ada&#x27;s Records &lt;shop@" in box.get(f"/messages/{listed['messages'][0]['id']}").text


def test_a_mail_to_whom_nobody_is_is_refused_for_good_so_that_a_failure_can_be_looked_at(box: Box) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@shop.example", "ada@refused.example"

    with pytest.raises(smtplib.SMTPDataError, match="nobody of that name"):
        box.send(mail)

    assert box.get("/messages?to=ada@refused.example").json()["count"] == 0


def test_a_mail_that_was_answered_with_250_outlives_a_kill(box: Box) -> None:
    box.send(a_mail())

    box.process.kill()
    box.start()

    assert box.get("/messages").json()["count"] == 1


def test_a_mails_html_runs_in_a_sandbox_and_its_subject_is_only_text(box: Box) -> None:
    box.send(a_mail(subject="<script>alert(1)</script>", html="<script>alert(2)</script>"))

    here = f"/messages/{box.get('/messages').json()['messages'][0]['id']}"
    rendered = box.get(f"{here}/html").headers["content-security-policy"]
    assert "sandbox" in rendered
    assert "allow-scripts" not in rendered
    assert "<script>alert" not in box.get(here).text
    assert "<script>alert" not in box.get("/").text


def test_mails_are_found_by_their_recipient_paged_and_forgotten(box: Box) -> None:
    for number in range(5):
        box.send(a_mail(to=f"person{number}@example.com"))

    assert box.get("/messages?to=person3").json()["count"] == 1
    first = box.get("/messages?limit=3").json()
    rest = box.get(f"/messages?limit=3&before={first['next']}").json()
    assert [len(first["messages"]), len(rest["messages"]), rest["next"]] == [3, 2, None]

    assert httpx2.delete(f"{box.url}/messages", trust_env=False).json() == {"deleted": 5}
    assert box.get("/messages").json()["count"] == 0


def test_the_relay_keeps_its_mails_with_the_others_until_it_gives_up_and_again_when_it_is_mended(
    box: Box,
) -> None:
    servers = {"smtp": f"smtp://127.0.0.1:{box.smtp}", "relay": f"smtp://127.0.0.1:{box.relay}"}
    assert box.get("/servers").json() == servers
    box.send(a_mail(), box.relay)
    assert box.patience("PUT", json={"mails": 1}).json() == {"mails": 1}
    box.send(a_mail(), box.relay)

    with pytest.raises(smtplib.SMTPDataError) as refusal:
        box.send(a_mail(), box.relay)
    assert (refusal.value.smtp_code, refusal.value.smtp_error[:5]) == (451, b"4.3.2")
    box.send(a_mail())  # The mailbox's own server takes mails all the same.
    assert box.get("/messages").json()["count"] == 3

    assert box.patience("DELETE").json() == {"mails": None}
    box.send(a_mail(), box.relay)
    assert box.get("/messages").json()["count"] == 4


@pytest.mark.parametrize("wrong", [b"", b"[]", b'{"mails": -1}', b'{"mails": "few"}', b'{"mails": false}'])
def test_a_patience_that_is_no_number_of_mails_is_refused(box: Box, wrong: bytes) -> None:
    assert box.patience("PUT", content=wrong).status_code == 400
    assert box.patience("GET").json() == {"mails": None}
