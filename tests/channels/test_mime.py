import email
import quopri
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from channels.contract import Envelope
from channels.letters import Raw
from channels.mime import EmailLetter, quoted
from domain import templates
from domain.templates import Template
from domain.tokens import Tokens

WORKSPACE = UUID("01920000-0000-7000-8000-000000000001")
MESSAGE = UUID("01920000-0000-7000-8000-0000000000ff")
TOKENS = Tokens(b"a key of the test, long enough")
TOKEN = TOKENS.sign(WORKSPACE, MESSAGE)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

COMPILED = templates.compile(
    Template(
        "For {{ name }}: {{ thing | default: 'news' }}",
        "<html><body>.\n<p title='{{ name }}'>Grüße, {{ name }}! \t\n.dot {{ thing | default: 'news' }}</p>"
        "From {% if name %}"
        "<a href='https://shop.example/?a=1&amp;n={{ name | url_encode }}'>{{ name }}</a>{% endif %}"
        "<a href='https://shop.example/'>Shop</a>{{ thing | default: 'news' }}</body></html>",
        text="Dear {{ name }}\n\n{{ thing | default: 'news' }} \nFrom us\n...",
        preheader="{{ name }}",
    ),
    workspace_name="Shop",
    postal_address="1 Main St\n12345 Town",
    public_url="https://mail.example",
)


def a_letter(sender_name: str = "The Shop", sender_email: str = "news@shop.example") -> EmailLetter:
    return EmailLetter(
        COMPILED,
        sender_name=sender_name,
        sender_email=sender_email,
        tokens=TOKENS,
        workspace_id=WORKSPACE,
        date=NOON,
        feedback_id="campaign:workspace:marketing:campanile",
    )


def an_envelope(*holes: str, address: str = "ada@example.com", tracked: bool = True) -> Envelope:
    return Envelope(MESSAGE, address, holes, tracked)


def holes_of(name: str, thing: str) -> tuple[str, ...]:
    return templates.render(COMPILED, {"name": name, "thing": thing})


def opened(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=default)


def in_unix_lines(text: str) -> str:
    # A value's carriage return before the template's own line feed can't be told from a line's end.
    return text.replace("\r", "")


def content(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    assert part is not None
    return in_unix_lines(part.get_content())


LETTER = a_letter()
EASY = holes_of("Ada", "cups")
storable = some.characters(codec="utf-8", exclude_characters="\0")  # PostgreSQL's text holds no NUL.
awkward = some.one_of(
    some.text(alphabet=storable, max_size=300),
    some.text(alphabet="=. \t\r\n-<&\"'Fromé😀", max_size=300),
    some.sampled_from(
        [
            ".",
            "..",
            "=",
            "From here",
            "x" * 500,
            "." * 200,
            "=" * 100,
            "ü" * 100,
            "a\r\n.\r\nb",
            "end \n",
            "--=_campanile_alternative--",
            "x\r\nBcc: all@example.com",
        ]
    ),
)


def assert_is_well_formed(raw: bytes) -> None:
    """RFC 5322, 2045 and 5321: what must hold of every line, whatever was put in."""
    assert raw.endswith(b"\r\n")
    assert not re.search(rb"[^\r]\n|\r[^\n]", raw)
    assert raw.isascii()
    head, _, body = raw.partition(b"\r\n\r\n")
    for line in body.split(b"\r\n"):
        assert len(line) <= 76
        assert not line.startswith(b".")
        assert not line.endswith((b" ", b"\t"))
    for line in head.split(b"\r\n"):
        assert len(line) <= 998
        assert b"=?" not in line or len(line) <= 76


def test_a_letter_is_what_channels_send() -> None:
    letter: Raw = LETTER

    assert letter.sender == "news@shop.example"


def test_a_message_has_all_that_mailbox_providers_ask_for() -> None:
    raw = LETTER.fill(an_envelope(*EASY))
    message = opened(raw)

    assert_is_well_formed(raw)
    assert not message.defects
    assert dict(message.items()) == {
        "From": "The Shop <news@shop.example>",
        "To": "ada@example.com",
        "Subject": "For Ada: cups",
        "Date": "Sun, 01 Mar 2026 12:00:00 +0000",
        "Message-ID": f"<{MESSAGE}@shop.example>",
        "X-Campanile-Message": str(MESSAGE),
        "List-Unsubscribe": f"<https://mail.example/u/{TOKEN}>",
        "Feedback-ID": "campaign:workspace:marketing:campanile",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "List-Id": f"<{WORKSPACE}.shop.example>",
        "MIME-Version": "1.0",
        "Content-Type": 'multipart/alternative; boundary="=_campanile_alternative"',
    }
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_a_letter_can_be_dated_anew() -> None:
    later = LETTER.at(datetime(2026, 3, 2, tzinfo=UTC)).fill(an_envelope(*EASY))

    assert opened(later)["Date"] == "Mon, 02 Mar 2026 00:00:00 +0000"
    assert opened(LETTER.fill(an_envelope(*EASY)))["Date"] == "Sun, 01 Mar 2026 12:00:00 +0000"


def test_a_letter_can_be_told_apart_for_each_campaign_it_goes_out_for() -> None:
    """Gmail counts complaints by Feedback-ID: two campaigns of one template have two."""
    first = LETTER.at(NOON, feedback_id="1:campaign:shop:campanile")

    assert opened(first.fill(an_envelope(*EASY)))["Feedback-ID"] == "1:campaign:shop:campanile"
    assert opened(LETTER.at(NOON).fill(an_envelope(*EASY)))["Feedback-ID"] == LETTER.feedback_id


@given(awkward.filter(bool), awkward, some.booleans())
def test_what_arrives_is_what_is_shown_whatever_the_values(name: str, thing: str, tracked: bool) -> None:
    holes = holes_of(name, thing)
    raw = LETTER.fill(an_envelope(*holes, tracked=tracked))
    message = opened(raw)
    subject, html, text = templates.show(COMPILED, holes, TOKEN, tracked=tracked)

    assert_is_well_formed(raw)
    assert [part.defects for part in message.walk()] == [[], [], []]
    assert content(message, "html") == in_unix_lines(html)
    assert content(message, "plain") == in_unix_lines(text)
    assert " ".join(message["Subject"].split()) == " ".join(subject.split())
    assert len(message.keys()) == 12
    assert message["Bcc"] is None


@given(some.text(max_size=120), some.text(max_size=60))
def test_no_sender_and_no_address_can_begin_another_header(name: str, address: str) -> None:
    letter = a_letter(sender_name=name)
    raw = letter.fill(an_envelope(*EASY, address="x@" + address))

    head = raw.partition(b"\r\n\r\n")[0]
    assert [line.split(b":")[0] for line in head.split(b"\r\n") if line[:1] != b" "] == [
        line.split(b":")[0]
        for line in LETTER.fill(an_envelope(*EASY)).partition(b"\r\n\r\n")[0].split(b"\r\n")
        if line[:1] != b" "
    ]


@pytest.mark.parametrize(
    "name", ["Shop", 'Shop, "Sons" & Co.', "Käse & Söhne", "=?utf-8?q?x?=", "名" * 60, "x" * 90, "a@b <c>"]
)
def test_a_senders_name_arrives_as_it_is(name: str) -> None:
    sender = opened(a_letter(sender_name=name).fill(an_envelope(*EASY)))["From"].addresses[0]

    # Python 3.11 shows the folds between encoded words in a name, which RFC 2047 (6.2) has readers ignore.
    assert sender.display_name.replace(" ", "") == name.replace(" ", "")
    assert sender.addr_spec == "news@shop.example"


@given(awkward)
def test_quoted_printable_is_read_back_by_the_standard_library(text: str) -> None:
    encoded = quoted(text)

    assert quopri.decodestring(encoded + b"=\r\n") == re.sub("\r\n|\n", "\r\n", text).encode(
        "utf-8", "replace"
    )
    assert all(len(line) <= 75 or line.endswith(b"=") for line in encoded.split(b"\r\n"))


def test_tracked_and_untracked_mails_differ_in_what_follows_the_reader_only() -> None:
    followed = content(opened(LETTER.fill(an_envelope(*EASY))), "html")
    direct = content(opened(LETTER.fill(an_envelope(*EASY, tracked=False))), "html")

    assert f"/o/{TOKEN}" in followed
    assert f"/c/{TOKEN}/0" in followed
    assert f"/c/{TOKEN}/1" in followed
    assert "/o/" not in direct
    assert "/c/" not in direct
    assert f"https://mail.example/u/{TOKEN}" in direct
