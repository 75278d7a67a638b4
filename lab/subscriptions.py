"""Browsers that want push messages: each with the keys that only it has (RFC 8291)."""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from secrets import token_urlsafe

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CURVE = ec.SECP256R1()


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@dataclass
class Subscription:
    """One browser. With `server_key`, only who signs with that key may write to it."""

    server_key: str | None = None  # base64url of an uncompressed point.
    gone: bool = False
    id: str = field(default_factory=lambda: token_urlsafe(24))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(CURVE))
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    def described(self, url: str) -> dict[str, object]:
        """As a browser's PushSubscription.toJSON() has it."""
        keys = {"p256dh": b64(point(self.key.public_key())), "auth": b64(self.auth)}
        return {"endpoint": f"{url}/push/{self.id}", "expirationTime": None, "keys": keys}

    def opened(self, body: bytes) -> bytes:
        """What is in an aes128gcm body of one record (RFC 8188, RFC 8291). Raises ValueError."""
        salt, length = body[:16], body[20]
        theirs, sealed = body[21 : 21 + length], body[21 + length :]
        public = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, theirs)
        secret = self.key.exchange(ec.ECDH(), public)
        info = b"WebPush: info\0" + point(self.key.public_key()) + theirs
        key = derived(self.auth, secret, info, 32)
        content_key = derived(salt, key, b"Content-Encoding: aes128gcm\0", 16)
        nonce = derived(salt, key, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(content_key).decrypt(nonce, sealed, None).rstrip(b"\0")
        if not padded.endswith(b"\2"):
            raise ValueError("The last record does not end with 2.")
        return padded[:-1]


def derived(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)
