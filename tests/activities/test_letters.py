"""What a letter looks like from outside: who it is from, who signs it, where bounces and links go."""

import asyncio
import base64
import email
from email.message import EmailMessage
from email.policy import default
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from activities import letters
from activities.letters import Letters, NoWriter, Writer
from channels import dkim
from channels.contract import Envelope
from channels.mime import EmailLetter
from domain import verp
from domain.messages import SourceKind
from domain.secrets import Sealer
from domain.tokens import Tokens
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import domains, verified_senders, workspaces
from models.queries.ledger import Queue
from tests.channels.dkim_support import verify
from tests.sending import NOW, SIGNING, a_sender, a_template
from tests.support import GivenClock

SEALER = Sealer.of("k1:" + base64.b64encode(b"k" * 32).decode())
TOKENS = Tokens(SIGNING)
ENVELOPE = Envelope(uuid4(), "ada@example.com", ("you",), tracked=True)
CAMPAIGN = Queue(DEFAULT_WORKSPACE, UUID("0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"), SourceKind.CAMPAIGN)


@pytest.fixture
async def version(sessions: Sessions) -> UUID:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await a_sender(db)
        _, version = await a_template(db)
    return version


async def letter(sessions: Sessions, version: UUID, queue: Queue | None = CAMPAIGN) -> EmailLetter:
    writers = Letters(sessions, TOKENS, "https://mail.example", GivenClock(), SEALER)
    async with sessions(DEFAULT_WORKSPACE) as db:
        workspace = await workspaces.get(db, DEFAULT_WORKSPACE)
    writer = (await writers.of(workspace, [version], queue))[version]
    assert isinstance(writer, Writer)
    assert isinstance(writer.letter, EmailLetter)
    return writer.letter


async def a_domain(sessions: Sessions, name: str = "shop.example", *, returns: bool = True) -> dict[str, str]:
    """A verified one, and what it publishes."""
    key, domain_id = dkim.new_key(), uuid4()
    values = {
        "name": name,
        "dkim_selector": "bell",
        "dkim_record": dkim.record_of(key),
        "dkim_key": SEALER.seal(key, f"domain:{domain_id}"),
    }
    async with sessions(DEFAULT_WORKSPACE) as db:
        await domains.create(db, DEFAULT_WORKSPACE, domain_id, values)
        await domains.note(db, domain_id, [], NOW, verified=True, returns=returns)
        await verified_senders.touch(db, DEFAULT_WORKSPACE)
    return {f"bell._domainkey.{name}": values["dkim_record"]}


def read(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=default)


async def test_mail_of_a_verified_domain_is_signed_for_it(sessions: Sessions, version: UUID) -> None:
    published = await a_domain(sessions)
    its = await letter(sessions, version)

    assert its.signer is not None
    names = verify(its.signer.sign(its.fill(ENVELOPE)), published)
    assert {"from", "list-unsubscribe-post", "feedback-id"} <= {*names}


async def test_bounces_come_to_an_address_of_each_messages_own(sessions: Sessions, version: UUID) -> None:
    await a_domain(sessions)
    path = (await letter(sessions, version)).return_path(ENVELOPE)

    assert path.endswith("@bounces.shop.example")
    assert verp.read(path, TOKENS) == ENVELOPE.id


async def test_where_the_return_path_does_not_lead_to_us_bounces_come_to_the_sender(
    sessions: Sessions, version: UUID
) -> None:
    await a_domain(sessions, returns=False)

    assert (await letter(sessions, version)).return_path(ENVELOPE) == "shop@shop.example"


async def test_a_domain_beside_the_senders_signs_nothing(sessions: Sessions, version: UUID) -> None:
    await a_domain(sessions, "another.example")
    its = await letter(sessions, version)

    assert (its.signer, its.return_path(ENVELOPE)) == (None, "shop@shop.example")


async def test_the_feedback_id_names_the_campaign_and_no_person(sessions: Sessions, version: UUID) -> None:
    sent = read((await letter(sessions, version)).fill(ENVELOPE))

    assert sent["Feedback-ID"] == "3a4b5c6d7e8f:campaign:000000000001:campanile"
    assert read((await letter(sessions, version, None)).fill(ENVELOPE))["Feedback-ID"] is None


async def test_a_sender_says_its_name_and_where_answers_go(sessions: Sessions, version: UUID) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        sender, _ = await verified_senders.put(db, DEFAULT_WORKSPACE, "shop@shop.example", NOW)
        sender.name, sender.reply_to = "Ada of the Shop", "ada@shop.example"

    sent = read((await letter(sessions, version)).fill(ENVELOPE))
    assert sent["From"] == "Ada of the Shop <shop@shop.example>"
    assert sent["Reply-To"] == "ada@shop.example"


async def test_links_pixel_and_way_out_lead_to_the_workspaces_own_name(
    sessions: Sessions, version: UUID
) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await workspaces.change(db, DEFAULT_WORKSPACE, {"tracking_host": "click.shop.example"})

    raw = (await letter(sessions, version)).fill(ENVELOPE).replace(b"=\r\n", b"")
    assert b"mail.example" not in raw
    assert raw.count(b"https://click.shop.example/") >= 3


async def test_who_asks_meanwhile_takes_nothing_away_from_who_waits_for_the_database(
    sessions: Sessions, version: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "KEPT", 1)
    async with sessions(DEFAULT_WORKSPACE) as db:
        (_, second), (_, third) = await a_template(db), await a_template(db)
        workspace = await workspaces.get(db, DEFAULT_WORKSPACE)
    writers = Letters(sessions, TOKENS, "https://mail.example", GivenClock(), SEALER)
    await writers.of(workspace, [version])

    _, both = await asyncio.gather(writers.of(workspace, [third]), writers.of(workspace, [version, second]))

    assert {*both} == {version, second}


async def test_without_a_verified_sender_nothing_goes_out(sessions: Sessions, version: UUID) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        await db.execute(text("update workspaces set sending_email = null"))
        workspace = await workspaces.get(db, DEFAULT_WORKSPACE)

    writers = Letters(sessions, TOKENS, "https://mail.example", GivenClock(), SEALER)
    writer = (await writers.of(workspace, [version]))[version]
    assert isinstance(writer, NoWriter)
    assert "no verified sender" in writer.reason


async def test_what_somebody_asked_for_offers_no_way_out(sessions: Sessions, version: UUID) -> None:
    async with sessions(DEFAULT_WORKSPACE) as db:
        workspace = await workspaces.get(db, DEFAULT_WORKSPACE)
    writers = Letters(sessions, TOKENS, "https://mail.example", GivenClock(), SEALER)

    for way_out in (True, False):
        writer = (await writers.of(workspace, [version], way_out=way_out))[version]
        assert isinstance(writer, Writer)
        raw = writer.letter.fill(ENVELOPE)
        assert (b"List-Unsubscribe:" in raw) is way_out
        assert (b"/u/" in raw.replace(b"=\r\n", b"")) is way_out
