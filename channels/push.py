"""Web push (RFC 8030): encrypted for one browser (RFC 8291), and signed as ours (RFC 8292, VAPID).

| the push service says     | outcome                                                                 |
|---------------------------|-------------------------------------------------------------------------|
| 2xx                       | accepted                                                                |
| 404, 410                  | rejected, and the subscription is dead: suppressed                      |
| 413                       | rejected: too long                                                      |
| 429                       | retry when it says                                                      |
| 400, 401, 403             | retry much later, "sender: …": our key or our signature                 |
| another 4xx               | rejected                                                                |
| nobody there              | retry                                                                   |
| anything else, or lost    | unknown                                                                 |

A message's address is the subscription as the browser gave it, in JSON: anybody may send one that names a
server of their own. So what a service says is about that recipient alone, and holds up no other.
An apple.com address may say yes to a subscription that is dead (WebKit bug 249766).
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from py_vapid import Vapid02
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from channels import calls
from channels.calls import BAD_MESSAGE, BAD_RECIPIENT, NO_SUCH_RECIPIENT, Row
from channels.contract import Account, Blame, Capabilities, Envelope, Kind, Outcome, OutcomeKind, World
from channels.egress import AnswerRefused, EgressClient, EgressRefused, EgressTransport
from channels.letters import Payload
from domain.channels import Channel
from domain.clock import Clock, SystemClock

SIGNED_FOR = timedelta(hours=12)  # RFC 8292 allows 24.
LARGEST = 3_000  # Bytes of what a push message says; services take 4,096 with all that is around it.
ORIGIN = re.compile(r"https?://[^/:@\[\]\s]+(?::[0-9]{1,5})?")  # What a claim can be for.
LONGEST_ADDRESS = 4_000  # Characters.

OURS = Row(OutcomeKind.RETRY, Blame.RECIPIENT, after=calls.AFTER_A_SENDERS_FAULT, sender=True)
LATER = Row(OutcomeKind.RETRY, Blame.RECIPIENT, after=calls.AFTER_A_NOT_NOW)
NOBODY_KNOWS = Row(OutcomeKind.UNKNOWN, Blame.RECIPIENT)

STATUSES: Mapping[int, Row] = {
    400: OURS,
    401: OURS,
    403: OURS,
    404: NO_SUCH_RECIPIENT,
    410: NO_SUCH_RECIPIENT,
    413: BAD_MESSAGE,
    429: LATER,
}

CAPABILITIES = Capabilities(
    largest_batch=calls.SIDE_BY_SIDE, wire_batch=calls.SIDE_BY_SIDE, webhooks=False, lookup=False
)


class PushSettings(BaseModel):
    """The key that browsers were given half of when they subscribed, and whom a push service may turn to."""

    model_config = ConfigDict(extra="forbid")

    vapid_private_key: SecretStr = Field(description="32 bytes in base64url, or PKCS #8 in PEM: a P-256 key")
    subject: str = Field(
        pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://[^\s/]+.*)$",
        description="mailto: or https:, for push services",
    )
    ttl: int = Field(
        86_400, ge=0, le=2_419_200, description="Seconds that a service keeps a message for a device"
    )

    @field_validator("vapid_private_key")
    @classmethod
    def key_can_be_used(cls, key: SecretStr) -> SecretStr:
        try:
            _key(key.get_secret_value())
        except (ValueError, TypeError, UnsupportedAlgorithm):  # Not chained: it may say what it read.
            raise ValueError("This is no private key on P-256, in base64url or PEM") from None
        return key


def _key(text: str) -> Vapid02:
    vapid = (
        Vapid02.from_pem(text.strip().encode()) if "-----BEGIN" in text else Vapid02.from_string(text.strip())
    )
    key = vapid.private_key
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("It is on another curve.")
    return vapid


@dataclass(frozen=True, slots=True)
class Subscription:
    """A browser that may be reached."""

    endpoint: str
    p256dh: str
    auth: str

    @classmethod
    def of(cls, address: str) -> "Subscription":
        """From what the browser's `PushSubscription.toJSON()` gave. Raises `ValueError` with a sentence."""
        try:
            if len(address) > LONGEST_ADDRESS:
                raise ValueError
            said = calls.object_of(address)
            keys = said["keys"]
            found = cls(str(said["endpoint"]), str(keys["p256dh"]), str(keys["auth"]))
            EllipticCurvePublicKey.from_encoded_point(SECP256R1(), _bytes(found.p256dh))
            if not ORIGIN.fullmatch(found.origin) or len(_bytes(found.auth)) != 16:
                raise ValueError
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise ValueError("This is no push subscription: endpoint, keys.p256dh and keys.auth.") from None
        return found

    @property
    def origin(self) -> str:
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    def encrypted(self, body: bytes) -> bytes:
        keys = {"p256dh": self.p256dh, "auth": self.auth}
        from pywebpush import WebPusher  # Slow to load.

        sealed: bytes = WebPusher({"endpoint": self.endpoint, "keys": keys}).encode(body)["body"]
        return sealed


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class PushProvider:
    """Sends to whatever push service each subscription is with."""

    name = "push"
    capabilities = CAPABILITIES

    def __init__(self, settings: PushSettings, guard: EgressTransport, clock: Clock) -> None:
        """`clock` is the wall's: a signature that a service finds stale is refused."""
        self.vapid = _key(settings.vapid_private_key.get_secret_value())
        self.settings = settings
        self.client = EgressClient(guard)
        self.clock = clock

    async def send(self, letter: Payload, batch: Sequence[Envelope]) -> list[Outcome]:
        async def one(envelope: Envelope) -> Outcome:
            body = calls.fill(letter.payload, envelope)
            if len(body) > LARGEST:
                return BAD_MESSAGE.outcome(
                    f"A push message holds {LARGEST:,} bytes; this one has {len(body):,}."
                )
            try:
                subscription = Subscription.of(envelope.address)
            except ValueError as error:
                return BAD_RECIPIENT.outcome(str(error))
            return await self._post(subscription, envelope, body)

        return await calls.side_by_side(batch, one, Blame.RECIPIENT)

    async def _post(self, subscription: Subscription, envelope: Envelope, body: bytes) -> Outcome:
        headers = {
            **self._signed(subscription.origin),
            "TTL": str(self.settings.ttl),
            "Urgency": "normal",
            # Sent again, it takes the place of itself as long as the device was not reached.
            "Topic": base64.urlsafe_b64encode(envelope.id.bytes).decode().rstrip("="),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
        }
        sealed = subscription.encrypted(body)
        try:
            answer = await self.client.post(subscription.endpoint, content=sealed, headers=headers)
        except AnswerRefused as error:
            return NOBODY_KNOWS.outcome(error.message)
        except EgressRefused as error:
            return BAD_RECIPIENT.outcome(error.message)
        return outcome(answer.status_code, answer.text, answer.headers)

    def _signed(self, origin: str) -> dict[str, Any]:
        """With claims of its own each time: a claim for one service must not go to another."""
        claims = {
            "aud": origin,
            "sub": self.settings.subject,
            "exp": int((self.clock.now() + SIGNED_FOR).timestamp()),
        }
        signed: dict[str, Any] = self.vapid.sign(claims)
        return signed

    async def check(self) -> str | None:
        """The key was looked at when it was given; which services there are, only the subscriptions know."""
        return None

    async def close(self) -> None:
        await self.client.aclose()


def outcome(status: int, said: str, headers: Mapping[str, str]) -> Outcome:
    if 200 <= status < 300:
        return Outcome(OutcomeKind.ACCEPTED, provider_id=headers.get("location"))
    row = STATUSES.get(status) or (BAD_MESSAGE if 400 <= status < 500 else NOBODY_KNOWS)
    return row.outcome(f"The push service answered {status} {said}", calls.retry_after(headers))


def _open(account: Account, world: World) -> PushProvider:
    assert isinstance(account.settings, PushSettings)
    return PushProvider(account.settings, world.egress(), SystemClock())


KIND = Kind(
    name="push",
    title="Web push",
    channel=Channel.PUSH,
    settings=PushSettings,
    capabilities=CAPABILITIES,
    open=_open,
)
