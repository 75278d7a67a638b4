"""What arrives is the letter to the byte, and nothing in an address or a body becomes a command."""

import random

import pytest

from channels.contract import Envelope
from lab.smtp import EXTENSIONS, Mail, SmtpLab, SmtpServer
from tests.channels.smtp_support import (
    ACCEPTED,
    REJECTED,
    RETRY,
    ALetter,
    a_channel,
    envelope,
    envelopes,
    kinds,
)

ASCII_ONLY = tuple(one for one in EXTENSIONS if one != "SMTPUTF8")

NO_ADDRESSES = [
    "",
    "anna",
    "@example.test",
    "anna@",
    "a@b@example.test",
    "anna bo@example.test",
    " anna@example.test",
    "anna@example.test\n",
    "anna@example.test\r\nRCPT TO:<evil@example.test>",
    "anna@example.test>\r\nDATA\r\n\r\nevil\r\n.\r\n",
    "anna@example.test> ORCPT=rfc822;evil@example.test",
    "<anna@example.test>",
    "anna\x00@example.test",
    "anna\x7f@example.test",
    "anna\t@example.test",
    "anna\u2028@example.test",
    "anna\x85@example.test",
    "anna\udcff@example.test",
    "@relay.test:anna@example.test",
    "anna@example.test,evil@example.test",
    "x" * 250 + "@example.test",
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
@pytest.mark.parametrize("extensions", [EXTENSIONS, ()], ids=["pipelined", "plain"])
async def test_what_is_no_address_is_rejected_and_never_reaches_the_wire(
    address: str, extensions: tuple[str, ...]
) -> None:
    async with SmtpLab(extensions=extensions) as lab, a_channel(lab) as channel:
        batch = [envelope(1), envelope(2), envelope(3)]
        batch[1] = Envelope(batch[1].id, address, (), tracked=True)
        assert kinds(await channel.send(ALetter(), batch)) == [ACCEPTED, REJECTED, ACCEPTED]
        assert [one.recipient for one in lab.accepted] == ["p1@example.test", "p3@example.test"]


async def test_a_sender_that_is_no_address_is_our_fault_and_connects_to_nobody() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        letter = ALetter(sender="a@shop.example>\r\nRCPT TO:<evil@example.test")
        outcomes = await channel.send(letter, envelopes(2))
        assert kinds(outcomes) == [RETRY] * 2
        assert (outcomes[0].reason or "").startswith("sender: ")
        assert lab.connections == 0


async def test_the_empty_sender_of_a_notice_goes_out_as_such() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        assert kinds(await channel.send(ALetter(sender=""), envelopes(1))) == [ACCEPTED]
        assert lab.accepted[0].sender == ""


async def test_addresses_in_any_script_go_to_a_server_that_takes_them() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        batch = [envelope(1, "zoë@example.test"), envelope(2, "anna@faß.test"), envelope(3)]
        assert kinds(await channel.send(ALetter(), batch)) == [ACCEPTED] * 3
        assert [one.recipient for one in lab.accepted] == [
            "zoë@example.test",
            "anna@faß.test",
            "p3@example.test",
        ]


async def test_a_server_without_smtputf8_gets_domains_in_ascii_and_no_foreign_names() -> None:
    async with SmtpLab(extensions=ASCII_ONLY) as lab, a_channel(lab) as channel:
        batch = [envelope(1, "zoë@example.test"), envelope(2, "anna@faß.test"), envelope(3)]
        outcomes = await channel.send(ALetter(sender="post@blåbær.example"), batch)
        assert kinds(outcomes) == [REJECTED, ACCEPTED, ACCEPTED]
        assert "SMTPUTF8" in (outcomes[0].reason or "")
        assert [one.recipient for one in lab.accepted] == ["anna@xn--fa-hia.test", "p3@example.test"]
        assert lab.accepted[0].sender == "post@xn--blbr-roah.example"


DOTTED = [
    b"",
    b".",
    b".\r\n",
    b"..\r\n",
    b"\r\n.\r\n",
    b"line\r\n.\r\nMAIL FROM:<evil@example.test>\r\nRCPT TO:<evil@example.test>\r\nDATA\r\n",
    b".a\r\n..b\r\n...c\r\n",
    b"no end of line",
    b"an 8-bit \xc3\xa9\r\n",
]


async def test_a_body_arrives_to_the_byte_whatever_dots_it_has() -> None:
    dice = random.Random(5321)
    pieces = [b".", b"\r\n", b"a", b"\r\n.\r\n", b"\r\n.."]
    bodies = [*DOTTED, *(b"".join(dice.choices(pieces, k=dice.randrange(12))) for _ in range(500))]
    arrived: dict[str, bytes] = {}

    async def keep(mail: Mail) -> str:
        arrived[mail.recipients[0]] = mail.content
        return "250 2.0.0 Kept"

    class Bodies(ALetter):
        def fill(self, envelope: Envelope) -> bytes:
            return bodies[int(envelope.id)]

    batch = [envelope(number) for number in range(len(bodies))]
    async with SmtpServer(keep) as server, a_channel(server, connections=4) as channel:
        assert set(kinds(await channel.send(Bodies(), batch))) == {ACCEPTED}
    for one in batch:
        body = bodies[int(one.id)]
        assert arrived[one.address] == (body if body.endswith(b"\r\n") else body + b"\r\n")


@pytest.mark.parametrize("smuggled", [b"\n.\n", b"\n.\r\n", b"\r\n.\n"])
async def test_a_lone_line_feed_before_a_dot_can_not_end_the_message(smuggled: bytes) -> None:
    raw = bytearray()

    async def keep(mail: Mail) -> str:
        raw.extend(mail.content)
        return "250 2.0.0 Kept"

    async with SmtpServer(keep) as server, a_channel(server) as channel:
        assert kinds(await channel.send(ALetter(body=b"a" + smuggled + b"b\r\n"), envelopes(1))) == [ACCEPTED]
    # A lone LF is no line's end for this server, so it leaves the second dot: what a sloppier one needs.
    assert b"\n.\n" not in raw.replace(b"\r\n", b"~")
    assert b"\n.~" not in raw.replace(b"\r\n", b"~")


async def test_a_message_larger_than_the_server_takes_is_rejected_before_it_is_sent() -> None:
    async with SmtpLab() as lab, a_channel(lab) as channel:
        [outcome] = await channel.send(ALetter(body=b"x" * 26 * 1024 * 1024), envelopes(1))
        assert outcome.kind is REJECTED
        assert "bytes" in (outcome.reason or "")


@pytest.mark.parametrize("extensions", [EXTENSIONS, ()], ids=["8BITMIME", "plain"])
async def test_content_of_several_megabytes_goes_through(extensions: tuple[str, ...]) -> None:
    async with SmtpLab(extensions=extensions) as lab, a_channel(lab) as channel:
        letter = ALetter(body=b".seven megabytes\r\n" * 400_000)
        assert kinds(await channel.send(letter, envelopes(2))) == [ACCEPTED] * 2
        assert [one.size for one in lab.accepted] == [len(letter.fill(envelope(1)))] * 2
