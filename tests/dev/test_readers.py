"""The demo's readers: the same every time, and real enough for the endpoints."""

from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

from httpx2 import ASGITransport, AsyncClient

from api.tracking import Tracking
from dev.mailbox import Mailbox, Relay
from dev.mailbox_page import Page
from dev.readers import Readers, traces
from domain import templates
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from lab.smtp import Mail
from models.base import Sessions
from tests.people import HTML, a_message, a_person, a_version, rows
from tests.support import GivenClock

OURS = "https://mail.shop.example"
TOKENS = Tokens(b"a key of at least 16 bytes")


def a_mail(message_id: UUID, to: str, subject: str, tracked: bool = True) -> Mail:
    """A mail as the channel would have written it."""
    compiled = templates.compile(
        templates.Template(subject, HTML),
        workspace_name="Shop",
        postal_address="1 Groove Street",
        public_url=OURS,
    )
    _, html, text = templates.show(
        compiled, ["Ada"], TOKENS.sign(DEFAULT_WORKSPACE, message_id), tracked=tracked
    )
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["To"] = to
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    return Mail("shop@shop.example", (to,), bytes(mail))


async def test_readers_open_and_click_a_share_of_the_mails_the_same_every_time(
    sessions: Sessions, tmp_path: Path, clock: GivenClock
) -> None:
    mailbox = Mailbox(tmp_path / "mails.db")
    async with sessions(DEFAULT_WORKSPACE) as db:
        version = await a_version(db)
        for n in range(60):
            person = await a_person(db, f"{n}@shop.example")
            message = await a_message(db, person, template_version_id=version)
            mailbox.write([a_mail(message, f"{n}@shop.example", "Winter sale", tracked=n < 50)])
    mailbox.write([a_mail(message, "ada@shop.example", "Something else")])
    mounts = {
        "http://mailbox": ASGITransport(app=Page(mailbox, Relay(mailbox), {}).app()),
        OURS: ASGITransport(app=Tracking(sessions, TOKENS, OURS, clock)),
    }
    async with AsyncClient(mounts=mounts) as client:
        first, second = Readers("http://mailbox", client), Readers("http://mailbox", client)

        assert await first.read("winter") == 60
        assert await first.read("winter") == 0

        async with sessions(DEFAULT_WORKSPACE) as db:
            [(opened, clicked)] = await rows(db, "select count(opened_at), count(clicked_at) from messages")
        assert (opened, clicked) == (first.opened, first.clicked)
        assert 20 <= opened <= 40
        assert 4 <= clicked < opened
        await second.read("winter")
        assert (second.opened, second.clicked) == (opened, clicked)


def test_only_our_own_addresses_are_traces() -> None:
    html = (
        '<img src="https://mail.shop.example/o/abc"><img src="https://shop.example/logo.png">'
        '<a href="https://mail.shop.example/c/abc/0">x</a><a href="https://mail.shop.example/u/abc">out</a>'
    )
    assert traces(html) == (["https://mail.shop.example/o/abc"], ["https://mail.shop.example/c/abc/0"])
