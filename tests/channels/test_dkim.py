"""What we sign holds before a verifier that knows nothing of us, and nothing that was changed does."""

import re

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as some

from channels import dkim
from channels.contract import Envelope
from channels.dkim import NoKey, Signer
from lab.smtp import Mail, SmtpServer
from tests.channels.dkim_support import relaxed_lines, verify
from tests.channels.smtp_support import ACCEPTED, ALetter, a_channel, envelope, envelopes, kinds
from tests.channels.test_mime import EASY, LETTER, an_envelope, assert_is_well_formed, awkward, holes_of

KEYS = {algorithm: dkim.new_key(algorithm) for algorithm in ("rsa", "ed25519")}
PUBLISHED = {f"{name}._domainkey.shop.example": dkim.record_of(key) for name, key in KEYS.items()}
RSA = Signer.of("shop.example", "rsa", KEYS["rsa"])
FAST = Signer.of("shop.example", "ed25519", KEYS["ed25519"])
RAW = LETTER.fill(an_envelope(*EASY))


@pytest.mark.parametrize("signer", [RSA, FAST], ids=["rsa", "ed25519"])
def test_a_signed_letter_is_verified_with_all_that_matters_under_the_signature(signer: Signer) -> None:
    signed = signer.sign(RAW)

    names = verify(signed, PUBLISHED)
    assert signed.endswith(RAW)
    assert_is_well_formed(signed)
    assert max(map(len, signed.partition(b"\r\nFrom")[0].split(b"\r\n"))) <= 80
    assert names.count("from") == 2, "Nobody can put another From beside it."
    assert {*names} == {
        "from",
        "to",
        "subject",
        "date",
        "message-id",
        "list-unsubscribe",
        "list-unsubscribe-post",
        "list-id",
        "feedback-id",
        "mime-version",
        "content-type",
    }


@pytest.mark.parametrize(
    ("this", "that"),
    [
        (b"Subject: For Ada", b"Subject: For Eve"),
        (b"To: ada@", b"To: eve@"),
        (b"From: The Shop", b"From: The Bank"),
        (b"\r\nTo: ", b"\r\nFrom: eve@evil.example\r\nTo: "),
        (b"One-Click", b"Two-Click"),
        (b"/u/", b"/x/"),
        (b"Feedback-ID: campaign", b"Feedback-ID: another"),
        (b"Dear", b"Fear"),
        (b"boundary=", b"border="),
    ],
)
def test_what_was_changed_on_the_way_is_not_verified(this: bytes, that: bytes) -> None:
    signed = FAST.sign(RAW)
    assert this in signed

    with pytest.raises(InvalidSignature):
        verify(signed.replace(this, that, 1), PUBLISHED)


def test_what_servers_do_to_white_space_is_survived() -> None:
    signed = FAST.sign(RAW)

    changed = signed.replace(b"Subject: For Ada: cups", b"SUBJECT:  For\r\n\tAda:   cups ", 1) + b"\r\n\r\n"
    verify(changed, PUBLISHED)


@given(awkward, awkward)
def test_whatever_the_values_are_the_signature_holds(name: str, thing: str) -> None:
    verify(FAST.sign(LETTER.fill(an_envelope(*holes_of(name or "x", thing)))), PUBLISHED)


@given(some.lists(some.sampled_from([b"a", b" ", b"\t", b"  ", b"\r\n", b".", b"=20"]), max_size=40))
def test_bodies_are_canonicalised_as_the_rfc_says(pieces: list[bytes]) -> None:
    assert dkim.relaxed_body(b"".join(pieces)) == relaxed_lines(b"".join(pieces))


def test_the_example_of_the_rfc_comes_out_as_it_stands_there() -> None:
    """RFC 6376, section 3.4.5."""
    assert dkim.relaxed_header(b"A: X") + dkim.relaxed_header(b"B : Y\t\r\n\tZ  ") == b"a:X\r\nb:Y Z\r\n"
    assert dkim.relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"


def test_several_headers_of_one_name_are_signed_from_the_last_to_the_first() -> None:
    verify(
        FAST.sign(b"From: a@shop.example\r\nTo: first@x.example\r\nTo: last@x.example\r\n\r\nHi\r\n"),
        PUBLISHED,
    )


def test_a_key_is_a_new_one_each_time_and_what_is_none_is_refused() -> None:
    assert dkim.new_key() != KEYS["rsa"]
    assert re.fullmatch(r"v=DKIM1; k=rsa; p=[A-Za-z0-9+/=]{392}", dkim.record_of(KEYS["rsa"]))
    for pem in ("", "nonsense", KEYS["rsa"].replace("PRIVATE", "PUBLIC")):
        with pytest.raises(NoKey, match="set it up anew"):
            Signer.of("shop.example", "rsa", pem)


async def test_smtp_signs_what_it_sends_and_a_letter_that_cant_be_filled_holds_up_nobody() -> None:
    letter = ALetter(body=b"From: a@shop.example\r\n.Hello\r\n", signer=FAST)
    batch = [*envelopes(40), envelope(41, None, "broken")]
    arrived: list[bytes] = []

    async def keep(mail: Mail) -> str:
        arrived.append(mail.content)
        return "250 2.0.0 Kept"

    async with SmtpServer(keep) as server, a_channel(server, connections=3) as channel:
        outcomes = await channel.send(letter, batch)

    assert kinds(outcomes[:40]) == [ACCEPTED] * 40
    assert "there is no first name" in (outcomes[40].reason or "")
    assert len(arrived) == 40
    for each in arrived:
        verify(each, PUBLISHED)


async def test_each_message_has_a_return_path_of_its_own_where_the_letter_says_so() -> None:
    class WithPaths(ALetter):
        def return_path(self, envelope: Envelope) -> str:
            return f"bounces+{envelope.id.int}@return.shop.example"

    senders: dict[str, str] = {}

    async def keep(mail: Mail) -> str:
        senders[mail.recipients[0]] = mail.sender
        return "250 2.0.0 Kept"

    async with SmtpServer(keep) as server, a_channel(server) as channel:
        await channel.send(WithPaths(), envelopes(2))

    assert senders == {
        "p1@example.test": "bounces+1@return.shop.example",
        "p2@example.test": "bounces+2@return.shop.example",
    }
