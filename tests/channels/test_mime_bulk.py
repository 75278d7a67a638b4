"""One mail is the same in parts, for many at once, and on the wire."""

import re
from email.utils import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from channels.contract import Envelope
from channels.letters import Bulk, Parts
from channels.mime import EmailLetter
from domain import templates
from domain.templates import Template
from tests.channels.test_mime import (
    COMPILED,
    LETTER,
    MESSAGE,
    NOON,
    TOKEN,
    TOKENS,
    WORKSPACE,
    a_letter,
    awkward,
    content,
    in_unix_lines,
    opened,
)

TAG = re.compile(r"\{\{v(\d+)\}\}")

# Its holes bring links and the token along, so that those of the HTML are not those of the text.
TELLING = templates.compile(
    Template(
        " {{ name }} ",
        "<p>{{ name }}</p>{% if thing != '' %}"
        "<a href='https://shop.example/{{ thing | url_encode }}'>{{ thing }}</a>"
        "<a href='{{ unsubscribe_url }}'>out</a>{% endif %}<a href='{{ name }}'>yours</a>",
        text="{{ thing }} {% if name %}{{ unsubscribe_url }}{% endif %} {{ name }}",
    ),
    workspace_name="Shop",
    postal_address="1 Main St",
    public_url="https://mail.example",
)
CONSTANT = templates.compile(
    Template("News", "<p>For all</p>", text="For all"),
    workspace_name="Shop",
    postal_address="1 Main St",
    public_url="https://mail.example",
)
HEADERS_OF_OTHERS = {"From", "To", "Subject", "Date", "Reply-To", "MIME-Version", "Content-Type"}


def the_letter(compiled: templates.Compiled) -> EmailLetter:
    return EmailLetter(
        compiled,
        sender_name='The "Shop"\r\nBcc: all@example.com',
        sender_email="news@shop.example",
        tokens=TOKENS,
        workspace_id=WORKSPACE,
        date=NOON,
        feedback_id="campaign:workspace:marketing:campanile",
        reply_to="help@shop.example",
    )


LETTERS = [the_letter(COMPILED), the_letter(TELLING)]
with_tags = some.one_of(
    awkward,
    some.text(alphabet="{}v0123 \r\n<&~^\"'", max_size=40),
    some.sampled_from(
        ["{{v0}}", "{{v3}}{{v4}}", "{{", "}}", "https://x.example/?a=1&b=<2>", " \n ", "~token~"]
    ),
)


def tag(number: int) -> str:
    return f"{{{{v{number}}}}}"


def filled_in(bulk: Bulk, envelope: Envelope) -> Parts:
    """What a provider makes of it that looks at each tag once."""
    values = bulk.values(envelope)

    def fill(text: str) -> str:
        return TAG.sub(lambda found: values[found[0]], text)

    parts = bulk.parts
    return Parts(
        parts.from_name,
        parts.from_email,
        parts.reply_to,
        fill(parts.subject),
        fill(parts.html),
        fill(parts.text),
        [(name, fill(value)) for name, value in parts.headers],
    )


@given(
    some.sampled_from(LETTERS),
    with_tags.filter(bool),
    with_tags,
    some.booleans(),
    some.uuids(),
)
def test_what_is_said_to_many_is_for_each_what_is_said_to_one(
    letter: EmailLetter, name: str, thing: str, tracked: bool, message: UUID
) -> None:
    holes = templates.render(letter.compiled, {"name": name, "thing": thing})
    envelope = Envelope(message, "ada@example.com", holes, tracked)

    assert filled_in(letter.bulk(tracked, tag), envelope) == letter.parts(envelope)


@given(some.sampled_from(LETTERS), with_tags.filter(bool), with_tags, some.booleans())
def test_the_parts_of_a_message_are_what_arrives_by_smtp(
    letter: EmailLetter, name: str, thing: str, tracked: bool
) -> None:
    holes = templates.render(letter.compiled, {"name": name, "thing": thing})
    envelope = Envelope(MESSAGE, "ada@example.com", holes, tracked)
    parts, message = letter.parts(envelope), opened(letter.fill(envelope))

    assert content(message, "html") == in_unix_lines(parts.html)
    assert content(message, "plain") == in_unix_lines(parts.text)
    assert " ".join(message["Subject"].split()) == " ".join(parts.subject.split())
    assert unquote(message["From"].addresses[0].display_name) == parts.from_name
    assert message["From"].addresses[0].addr_spec == parts.from_email
    assert message["Reply-To"] == parts.reply_to
    assert {header: value for header, value in message.items() if header not in HEADERS_OF_OTHERS} == dict(
        parts.headers
    )


@pytest.mark.parametrize("tracked", [True, False])
def test_what_all_have_in_common_is_said_once(tracked: bool) -> None:
    envelope = Envelope(MESSAGE, "ada@example.com", templates.render(COMPILED, {"name": "Ada"}), tracked)
    bulk = LETTER.bulk(tracked, tag)
    values = bulk.values(envelope)

    assert len(values) == len(set(TAG.findall(str(bulk.parts))))
    assert "Ada" in values.values()
    assert "Grüße" in bulk.parts.html
    assert not any("Grüße" in value for value in values.values())
    assert TOKEN not in str(bulk.parts)
    assert str(MESSAGE) not in str(bulk.parts)


def test_a_mail_that_is_the_same_for_all_has_tags_for_its_links_only() -> None:
    bulk = the_letter(CONSTANT).bulk(True, tag)

    assert bulk.parts.subject == "News"
    assert set(bulk.values(Envelope(MESSAGE, "ada@example.com", (), True))) == {tag(0), tag(1)}


def test_mail_about_an_account_has_no_way_out_in_its_headers() -> None:
    letter = EmailLetter(
        CONSTANT,
        sender_name="Campanile",
        sender_email="accounts@campanile.example",
        tokens=TOKENS,
        workspace_id=WORKSPACE,
        date=NOON,
        way_out=False,
    )
    headers = dict(letter.parts(Envelope(MESSAGE, "ada@example.com", (), False)).headers)

    assert "List-Unsubscribe" not in headers
    assert "List-Unsubscribe-Post" not in headers


def test_parts_need_no_encoding_for_a_name_in_any_script() -> None:
    parts = a_letter(sender_name="Käse & Söhne").parts(
        Envelope(MESSAGE, "ada@example.com", templates.render(COMPILED, {"name": "Ада"}), True)
    )

    assert parts.from_name == "Käse & Söhne"
    assert parts.subject == "For Ада: news"
