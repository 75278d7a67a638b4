"""Web push: a browser can read it, the push service can see that it is ours, and dead ends are told."""

import asyncio
import base64
import json
from uuid import UUID

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from py_vapid import Vapid02
from pydantic import SecretStr, ValidationError

from channels import push
from channels.contract import Blame, OutcomeKind
from channels.egress import EgressTransport
from channels.push import KIND, PushProvider, PushSettings, Subscription
from domain.clock import SystemClock
from domain.networks import networks_of
from domain.profiles import SuppressionReason
from lab.http_server import Answer
from tests.channels.calls_support import NOBODY, ALetter, a_site, an_account, envelope
from tests.channels.smtp_support import a_server_that

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN

OURS = ec.generate_private_key(ec.SECP256R1())
BROWSERS = ec.generate_private_key(ec.SECP256R1())
AUTH = bytes(range(16))


def written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def raw(key: ec.EllipticCurvePrivateKey) -> str:
    return written(key.private_numbers().private_value.to_bytes(32, "big"))


SETTINGS = PushSettings(vapid_private_key=SecretStr(raw(OURS)), subject="mailto:ops@shop.example")


def subscription(endpoint: str) -> str:
    point = BROWSERS.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return json.dumps({"endpoint": endpoint, "keys": {"p256dh": written(point), "auth": written(AUTH)}})


async def test_the_browser_can_read_it_and_the_service_sees_that_it_is_ours() -> None:
    yes = Answer(201, b"", {"Location": "https://push.example/m/1"})
    async with a_site(yes) as site, an_account(KIND, SETTINGS) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, subscription(f"{site.url}/p/1"))])

    assert (outcome.kind, outcome.provider_id) == (ACCEPTED, "https://push.example/m/1")
    [asked] = site.asked
    said = http_ece.decrypt(asked.body, private_key=BROWSERS, auth_secret=AUTH, version="aes128gcm")
    assert json.loads(said) == {"hello": "Hello Ada"}
    headers = asked.headers
    assert (headers["ttl"], headers["urgency"]) == ("86400", "normal")
    assert (headers["content-encoding"], len(headers["topic"])) == ("aes128gcm", 22)
    assert Vapid02.verify(headers["authorization"])
    claims = headers["authorization"].partition("t=")[2].split(".")[1]
    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert (told["aud"], told["sub"]) == (site.url, "mailto:ops@shop.example")


async def test_a_claim_for_one_service_never_goes_to_another() -> None:
    async with a_site() as one, a_site() as other, an_account(KIND, SETTINGS) as provider:
        sites = (one, other)
        await provider.send(ALetter(), [envelope(n, subscription(site.url)) for n, site in enumerate(sites)])

    for site in sites:
        claims = site.asked[0].headers["authorization"].partition("t=")[2].split(".")[1]
        assert json.loads(base64.urlsafe_b64decode(claims + "=="))["aud"] == site.url


@pytest.mark.parametrize(
    ("status", "kind", "blame", "suppress"),
    [
        (400, RETRY, Blame.RECIPIENT, None),
        (401, RETRY, Blame.RECIPIENT, None),
        (403, RETRY, Blame.RECIPIENT, None),
        (404, REJECTED, Blame.RECIPIENT, SuppressionReason.HARD_BOUNCE),
        (410, REJECTED, Blame.RECIPIENT, SuppressionReason.HARD_BOUNCE),
        (413, REJECTED, Blame.MESSAGE, None),
        (422, REJECTED, Blame.MESSAGE, None),
        (429, RETRY, Blame.RECIPIENT, None),
        (302, UNKNOWN, Blame.RECIPIENT, None),
        (500, UNKNOWN, Blame.RECIPIENT, None),
        (503, UNKNOWN, Blame.RECIPIENT, None),
    ],
)
def test_each_status_means_one_outcome(
    status: int, kind: OutcomeKind, blame: Blame, suppress: SuppressionReason | None
) -> None:
    outcome = push.outcome(status, "why", {"retry-after": "9"})

    assert (outcome.kind, outcome.blame, outcome.suppress) == (kind, blame, suppress)
    assert outcome.retry_after == (9.0 if kind is RETRY else None)
    assert not outcome.calm
    assert str(outcome.reason).startswith("sender: ") is (status in (400, 401, 403))


def test_every_line_of_the_table_is_tested() -> None:
    marks = test_each_status_means_one_outcome.pytestmark  # type: ignore[attr-defined]
    assert set(push.STATUSES) <= {row[0] for row in marks[0].args[1]}


GOOD = json.loads(subscription("https://push.example/1"))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "[]",
        "ada@example.com",
        json.dumps({"endpoint": "https://push.example/1"}),
        json.dumps(GOOD | {"endpoint": "file:///etc/passwd"}),
        json.dumps(GOOD | {"keys": GOOD["keys"] | {"auth": "AA"}}),
        json.dumps(GOOD | {"keys": GOOD["keys"] | {"p256dh": written(b"\x04" + bytes(64))}}),
        json.dumps(GOOD | {"keys": GOOD["keys"] | {"p256dh": "ü"}}),
        subscription("https://push.example/" + "1" * 4000),
        subscription("https://[2001:db8::1]/1"),
        subscription("https://ada@push.example/1"),
        subscription("https:///1"),
    ],
)
async def test_what_is_no_subscription_is_refused_and_stops_no_other(address: str) -> None:
    async with a_site() as site, an_account(KIND, SETTINGS) as provider:
        batch = [envelope(1, address), envelope(2, subscription(site.url))]
        no, yes = await provider.send(ALetter(), batch)

    assert (no.kind, no.blame, yes.kind) == (REJECTED, Blame.RECIPIENT, ACCEPTED)


async def test_too_long_a_message_is_refused_before_it_is_sent() -> None:
    async with a_site() as site, an_account(KIND, SETTINGS) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, subscription(site.url), "x" * 3000)])

    assert (outcome.kind, outcome.blame, site.asked) == (REJECTED, Blame.MESSAGE, [])


async def test_a_dead_endpoint_is_tried_again_and_says_nothing_of_the_others() -> None:
    async with an_account(KIND, SETTINGS) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, subscription(NOBODY))])

    assert (outcome.kind, outcome.blame) == (RETRY, Blame.RECIPIENT)


async def test_an_endpoint_that_cuts_or_floods_is_its_recipients_trouble() -> None:
    guard = EgressTransport(networks_of("127.0.0.0/8"), plain=True, largest=10)
    provider = PushProvider(SETTINGS, guard, SystemClock())

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with a_server_that(cut) as port, a_site(Answer(201, b"x" * 20)) as site:
        addresses = (f"http://127.0.0.1:{port}/", site.url)
        batch = [envelope(number, subscription(address)) for number, address in enumerate(addresses)]
        outcomes = await provider.send(ALetter(), batch)
    await provider.close()

    assert [(each.kind, each.blame) for each in outcomes] == [(UNKNOWN, Blame.RECIPIENT)] * 2


async def test_an_endpoint_that_is_not_public_is_refused() -> None:
    provider = PushProvider(SETTINGS, EgressTransport(), SystemClock())
    [outcome] = await provider.send(ALetter(), [envelope(1, subscription("https://169.254.169.254/"))])
    await provider.close()

    assert (outcome.kind, outcome.blame) == (REJECTED, Blame.RECIPIENT)


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_key_is_taken_in_either_form() -> None:
    for text in (raw(OURS), pem(OURS)):
        settings = PushSettings(vapid_private_key=SecretStr(text), subject="https://shop.example")
        assert push._key(text).private_key.private_numbers() == OURS.private_numbers()
        assert text not in repr(settings)


@pytest.mark.parametrize(
    "key", ["", "what?", "ü", written(bytes(31)), pem(ec.generate_private_key(ec.SECP384R1()))]
)
def test_a_key_that_is_none_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PushSettings(vapid_private_key=SecretStr(key), subject="mailto:ops@shop.example")
    assert "no private key on P-256" in str(caught.value)


def test_a_subscription_knows_its_origin() -> None:
    assert (
        Subscription.of(subscription("https://push.example:8443/a/b")).origin == "https://push.example:8443"
    )
    assert envelope(1, "").id == UUID(int=1)
