"""What the tests of mail providers share: a letter, envelopes, and accounts at the lab."""

from collections.abc import Mapping
from uuid import UUID

from pydantic import BaseModel

from channels.contract import Account, Attachment, Envelope, Hook, Kind, World
from channels.egress import EgressTransport
from channels.mime import EmailLetter
from domain import templates
from domain.networks import networks_of
from domain.templates import Template
from tests.channels.test_mime import NOON, TOKENS, WORKSPACE

ACCOUNT = UUID("01920000-0000-7000-8000-00000000000a")
COMPILED = templates.compile(
    Template(
        "For {{ name }}",
        "<p>Dear {{ name }}</p><a href='https://shop.example/{{ name | url_encode }}'>Shop</a>"
        "<a href='https://shop.example/sale'>Sale</a>",
        text="Dear {{ name }}",
    ),
    workspace_name="Shop",
    postal_address="1 Main St",
    public_url="https://mail.example",
)


def a_letter(compiled: templates.Compiled = COMPILED, sender: str = "news@shop.example") -> EmailLetter:
    return EmailLetter(
        compiled,
        sender_name="The Shop",
        sender_email=sender,
        tokens=TOKENS,
        workspace_id=WORKSPACE,
        date=NOON,
        feedback_id="campaign:workspace:marketing:campanile",
        reply_to="help@shop.example",
    )


def an_envelope(
    number: int,
    name: str = "Ada",
    *,
    address: str | None = None,
    tracked: bool = True,
    attachments: tuple[Attachment, ...] = (),
    compiled: templates.Compiled = COMPILED,
) -> Envelope:
    holes = templates.render(compiled, {"name": name})
    return Envelope(UUID(int=number), address or f"p{number}@example.com", holes, tracked, attachments)


def envelopes(count: int) -> list[Envelope]:
    return [an_envelope(number, f"Ada {number}") for number in range(1, count + 1)]


def a_world(endpoints: Mapping[str, str]) -> World:
    """One in which this machine may be called."""
    here = networks_of("127.0.0.0/8")
    return World(lambda: EgressTransport(here, plain=True), endpoints, "https://mail.example")


def an_account(settings: BaseModel) -> Account:
    return Account(WORKSPACE, ACCOUNT, settings)


def a_hook(body: bytes, headers: Mapping[str, str] | None = None) -> Hook:
    return Hook("POST", f"https://mail.example/hooks/{ACCOUNT}", dict(headers or {}), body)


def settings_of(kind: Kind, **values: object) -> BaseModel:
    return kind.settings.model_validate(values)
