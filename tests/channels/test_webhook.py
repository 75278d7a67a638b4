"""Webhooks: signed so that any receiver of Standard Webhooks can verify them, and sent nowhere private."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook

from channels import webhook
from channels.contract import Blame, OutcomeKind
from channels.egress import EgressTransport
from channels.webhook import KIND, WebhookProvider, WebhookSettings
from domain.clock import SystemClock
from domain.networks import networks_of
from lab.http_server import Answer
from tests.channels.calls_support import NOBODY, ALetter, a_site, an_account, envelope

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SETTINGS = WebhookSettings(secret=SecretStr(SECRET))

ACCEPTED, REJECTED, RETRY = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.RETRY


async def test_a_receiver_can_verify_it_with_the_standard_library() -> None:
    own = {"header_name": "X-Shop", "header_value": "our word"}
    settings = WebhookSettings.model_validate({"secret": SECRET, **own})
    async with a_site(Answer(204)) as site, an_account(KIND, settings) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, f"{site.url}/hook?x=1")])

    assert outcome.kind is ACCEPTED
    [asked] = site.asked
    assert (asked.path, asked.query) == ("/hook", {"x": "1"})
    assert Webhook(SECRET).verify(asked.body, asked.headers) == {"hello": "Hello Ada"}
    assert asked.headers["webhook-id"] == str(envelope(1, "").id)
    assert (asked.headers["content-type"], asked.headers["x-shop"]) == ("application/json", "our word")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, ACCEPTED),
        (204, ACCEPTED),
        (302, REJECTED),
        (400, REJECTED),
        (401, RETRY),
        (403, RETRY),
        (404, RETRY),
        (408, RETRY),
        (410, REJECTED),
        (422, REJECTED),
        (425, RETRY),
        (429, RETRY),
        (500, RETRY),
        (503, RETRY),
    ],
)
def test_each_status_means_one_outcome(status: int, kind: OutcomeKind) -> None:
    outcome = webhook.outcome(status, {"retry-after": "9"})

    assert outcome.kind is kind
    assert outcome.retry_after == (9.0 if kind is RETRY else None)
    assert not outcome.calm
    if kind is not ACCEPTED:
        assert outcome.blame is Blame.RECIPIENT


async def test_a_receiver_that_is_away_gets_it_later() -> None:
    async with an_account(KIND, SETTINGS) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, NOBODY)])

    assert (outcome.kind, outcome.blame) == (RETRY, Blame.RECIPIENT)


@asynccontextmanager
async def guarded(**values: float) -> AsyncIterator[WebhookProvider]:
    guard = EgressTransport(networks_of("127.0.0.0/8"), plain=True, **values)  # type: ignore[arg-type]
    provider = WebhookProvider(SETTINGS, guard, SystemClock())
    yield provider
    await provider.close()


async def test_an_answer_that_is_too_large_was_heard_all_the_same() -> None:
    async with a_site(Answer(200, b"x" * 20)) as site, guarded(largest=10) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, site.url)])

    assert outcome.kind is RETRY


@pytest.mark.parametrize(
    "address", ["https://127.0.0.1/", "https://169.254.169.254/", "ftp://x.example", "?"]
)
async def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    provider = WebhookProvider(SETTINGS, EgressTransport(), SystemClock())
    [outcome] = await provider.send(ALetter(), [envelope(1, address)])
    await provider.close()

    assert (outcome.kind, outcome.blame) == (REJECTED, Blame.RECIPIENT)


@pytest.mark.parametrize("secret", ["whsec_", "short", "whsec_!!!", SECRET + "A" * 60])
def test_a_weak_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValidationError, match="24 to 64 random bytes"):
        WebhookSettings(secret=SecretStr(secret))


def test_a_header_of_ours_is_not_taken_away() -> None:
    with pytest.raises(ValidationError, match="This header is ours"):
        WebhookSettings(secret=SecretStr(SECRET), header_name="Webhook-Id")
