"""Notifications by Amazon SNS: whether one is genuine, and the confirmation of a subscription.

What is signed, its order and the two versions (1 is SHA-1, 2 is SHA-256, both RSA PKCS #1 v1.5) are
as in "Verifying the signatures of Amazon SNS messages" of SNS's guide. A message is signed once, when it is
published, and SNS tries to deliver it for an hour: so long, and a little for clocks, it counts as fresh.
"""

import binascii
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate
from httpx2 import HTTPError

from channels.contract import NotGenuine
from channels.egress import EgressClient, EgressRefused, EgressTransport

SNS = "sns"  # By this name an operator says where it is.
FRESH = timedelta(hours=1)
AHEAD = timedelta(minutes=5)
KEPT = 16  # Certificates.
AMAZONS = r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?(?::443)?"
# The same hosts answer calls that anybody may sign, and quote what was put there: so the path counts, too.
CERTIFICATE = r"/SimpleNotificationService-[0-9a-f]{1,64}\.pem"
PEM = re.compile(rb"\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,20000}-----END CERTIFICATE-----\s*")
SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
SIGNED_OF_A_SUBSCRIPTION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED_OF_ANY = {*SIGNED, *SIGNED_OF_A_SUBSCRIPTION, "Signature", "SignatureVersion"}
SUBSCRIPTIONS = ("SubscriptionConfirmation", "UnsubscribeConfirmation")
ELSEWHERE = "A message of SNS's leads to an address that is not SNS's."
ALGORITHMS: Mapping[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}


def read(body: bytes) -> dict[str, Any]:
    """Raises ValueError."""
    said = orjson.loads(body)
    if not isinstance(said, dict):
        raise ValueError("A notification of SNS's is a JSON object.")
    return said


class Sns:
    """Looks at what comes in the name of one topic."""

    def __init__(self, egress: Callable[[], EgressTransport], endpoint: str | None = None) -> None:
        """`endpoint` is where the operator says that SNS is, instead of Amazon's own hosts."""
        self._egress = egress
        home = AMAZONS if endpoint is None else re.escape(_origin(endpoint))
        self._certificate = re.compile(home + CERTIFICATE)
        self._confirmation = re.compile(home + r"/\?([^#]{1,4000})")
        self._keys: OrderedDict[str, RSAPublicKey] = OrderedDict()  # By the certificate's URL.

    async def verify(self, body: bytes, topic: str | None, now: datetime) -> bool:
        """Whether it was about a subscription, and is done with, or else is a notification. Raises
        `NotGenuine`.

        Everybody may have a topic at SNS, and what it says is signed just as well. So it is the account's
        own topic that makes a message genuine, and without one none is.
        """
        if not topic:
            raise NotGenuine("Enter the ARN of the SNS topic in the account's settings first.")
        try:
            message = read(body)
        except ValueError:
            raise NotGenuine("This is no message of SNS's.") from None
        if not all(isinstance(message.get(name), str | None) for name in SIGNED_OF_ANY):
            raise NotGenuine("This is no message of SNS's.")
        if message.get("TopicArn") != topic:
            raise NotGenuine("This message is of another topic than the account's.")
        kind = message.get("Type")
        if kind != "Notification" and kind not in SUBSCRIPTIONS:
            raise NotGenuine("This is no message of SNS's.")
        _fresh(message.get("Timestamp"), now)
        await self._signed(message, SIGNED if kind == "Notification" else SIGNED_OF_A_SUBSCRIPTION)
        if kind == "SubscriptionConfirmation":
            await self._get(self._subscription(message, topic))
        return kind in SUBSCRIPTIONS

    async def _signed(self, message: Mapping[str, Any], names: tuple[str, ...]) -> None:
        algorithm = ALGORITHMS.get(str(message.get("SignatureVersion")))
        if algorithm is None:
            raise NotGenuine("The signature is of no version that we know.")
        parts = [f"{name}\n{message[name]}\n" for name in names if message.get(name) is not None]
        try:
            signature = binascii.a2b_base64(str(message.get("Signature")))
            said = "".join(parts).encode()
        except ValueError:
            raise NotGenuine("The signature is not SNS's.") from None
        key = await self._key(message.get("SigningCertURL"))
        try:
            key.verify(signature, said, padding.PKCS1v15(), algorithm)
        except InvalidSignature:
            raise NotGenuine("The signature is not SNS's.") from None

    async def _key(self, url: object) -> RSAPublicKey:
        known = self._keys.get(url) if isinstance(url, str) else None
        if known is not None:
            return known
        if not isinstance(url, str) or not self._certificate.fullmatch(url):
            raise NotGenuine(ELSEWHERE)
        pem = await self._get(url)
        if not PEM.fullmatch(pem):
            raise NotGenuine("What should be SNS's certificate is none.")
        try:
            key = load_pem_x509_certificate(pem).public_key()
        except ValueError:
            raise NotGenuine("What should be SNS's certificate is none.") from None
        if not isinstance(key, RSAPublicKey):
            raise NotGenuine("SNS's certificate has no RSA key.")
        self._keys[url] = key
        while len(self._keys) > KEPT:
            self._keys.popitem(last=False)
        return key

    def _subscription(self, message: Mapping[str, Any], topic: str) -> str:
        """The address that confirms this subscription, and does nothing else."""
        url = message.get("SubscribeURL")
        found = self._confirmation.fullmatch(url) if isinstance(url, str) else None
        if not found:
            raise NotGenuine(ELSEWHERE)
        try:
            asked = parse_qsl(found[1], keep_blank_values=True, max_num_fields=3)
        except ValueError:  # There are more.
            raise NotGenuine(ELSEWHERE) from None
        token = message.get("Token")
        if sorted(asked) != [("Action", "ConfirmSubscription"), ("Token", token), ("TopicArn", topic)]:
            raise NotGenuine(ELSEWHERE)
        return found[0]

    async def _get(self, url: str) -> bytes:
        try:
            async with EgressClient(self._egress()) as client:
                answer = await client.get(url)
        except (EgressRefused, HTTPError):
            raise NotGenuine("SNS can't be reached to make sure of it.") from None
        if answer.status_code != 200:
            raise NotGenuine(f"SNS answered {answer.status_code} when we made sure of it.")
        return answer.content


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _fresh(timestamp: object, now: datetime) -> None:
    """Raises `NotGenuine` unless `timestamp` is a time (ISO 8601) within the window."""
    try:
        at = datetime.fromisoformat(str(timestamp))
    except ValueError:
        raise NotGenuine("This message does not say when it was sent.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not now - FRESH <= at <= now + AHEAD:
        raise NotGenuine("This message was sent too long ago.")
