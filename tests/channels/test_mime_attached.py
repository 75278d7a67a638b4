"""Mails with files, read by Python's own parser, as a mail program would."""

import email
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as some

from channels.contract import Attachment, Envelope
from channels.mime_attached import named
from domain.singles import file_name
from tests.channels.test_mime import MESSAGE, a_letter, holes_of

PDF = Attachment("receipt.pdf", "application/pdf", bytes(range(256)) * 40)


def read(*files: Attachment) -> EmailMessage:
    envelope = Envelope(MESSAGE, "ada@example.com", holes_of("Ada", "a record"), True, files)
    raw = a_letter().fill(envelope)
    assert all(len(line) <= 998 and not line.startswith(b".") for line in raw.split(b"\r\n"))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    assert not [*message.defects, *(defect for part in message.walk() for defect in part.defects)]
    return message


def test_the_mail_is_the_first_part_and_its_files_follow_in_order() -> None:
    plain = a_letter().fill(Envelope(MESSAGE, "ada@example.com", holes_of("Ada", "a record"), True))
    before = email.message_from_bytes(plain, policy=default)
    photo = Attachment("photo", "image/png", b"")

    message = read(PDF, photo)

    assert message.get_content_type() == "multipart/mixed"
    assert [(name, value) for name, value in message.items() if name != "Content-Type"] == [
        (name, value) for name, value in before.items() if name != "Content-Type"
    ]
    first, *files = message.iter_parts()
    assert first.get_content_type() == "multipart/alternative"
    assert [part.get_content() for part in first.iter_parts()] == [
        part.get_content() for part in before.iter_parts()
    ]
    assert [(f.get_filename(), f.get_content_type(), f.get_content()) for f in files] == [
        ("receipt.pdf", "application/pdf", PDF.content),
        ("photo", "image/png", b""),
    ]
    assert {f.get_content_disposition() for f in files} == {"attachment"}


def test_text_files_come_as_they_were() -> None:
    content = "Grüße\n.\nFrom us\r\n".encode()
    [_, file] = read(Attachment("a.csv", "text/csv", content)).iter_parts()

    assert file.get_payload(decode=True) == content


@pytest.mark.parametrize(
    "name",
    [
        "Käufe.pdf",
        'a "quoted" name.pdf',
        "x" * 200,
        "ä" * 200,
        "100%.pdf",
        "=?utf-8?q?x?=.pdf",
        "😀.png",
        "a'b",
    ],
)
def test_a_files_name_comes_as_it_was(name: str) -> None:
    [_, file] = read(Attachment(name, "application/pdf", b"x")).iter_parts()

    assert file.get_filename() == name


@given(name=some.text(min_size=1, max_size=200))
def test_whatever_its_name_is_no_line_is_long_and_none_begins_another_header(name: str) -> None:
    try:
        name = file_name(name)
    except ValueError:
        return
    lines = named(name).split(b"\r\n")

    assert all(len(line) <= 90 for line in lines)
    assert all(line.startswith(b" ") for line in lines[1:])
    assert b"".join(lines).isascii()
