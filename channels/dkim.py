"""DKIM (RFC 6376): a mail is signed by the domain it comes from, with RSA or Ed25519 (RFC 8463).

Both parts are canonicalised "relaxed", which survives what servers on the way do to white space. The key is
read once, the headers that all mails of a letter share are canonicalised once, and signing gives other
threads the processor (an RSA signature takes half a millisecond).
"""

import base64
import binascii
import hashlib
import re
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

Key = RSAPrivateKey | Ed25519PrivateKey

RSA_BITS = 2048
# What readers and mailbox providers look at. Whoever adds a second From breaks the signature: it is named
# once more than it is there (section 8.15).
SIGNED = (
    b"from",
    b"reply-to",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-id",
    b"feedback-id",
    b"mime-version",
    b"content-type",
)
_DIFFERS = frozenset({b"to", b"subject", b"message-id", b"list-unsubscribe"})
_BETWEEN_FIELDS = re.compile(rb"\r\n(?![ \t])")
_SPACES = re.compile(rb"[ \t]+")
_SEVERAL_SPACES = re.compile(rb"[ \t]{2,}|\t")


class NoKey(Exception):
    """What should be a key of a domain is none that we can sign with."""


def new_key(algorithm: str = "rsa") -> str:
    """A new private key as PEM: rsa with 2,048 bits, or ed25519."""
    key: Key = (
        Ed25519PrivateKey.generate() if algorithm == "ed25519" else generate_private_key(65537, RSA_BITS)
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@lru_cache(maxsize=1000)
def read_key(pem: str) -> Key:
    """The key in this PEM. Raises `NoKey`."""
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        raise NoKey("The domain's key can't be read: delete the domain and set it up anew.") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise NoKey("The domain's key is neither RSA nor Ed25519: delete the domain and set it up anew.")
    return key


def record_of(pem: str) -> str:
    """What the domain publishes, so that others can verify its signatures (section 3.6.1)."""
    key = read_key(pem)
    public = key.public_key()
    if isinstance(key, Ed25519PrivateKey):
        return f"v=DKIM1; k=ed25519; p={_in_base64(public.public_bytes(Encoding.Raw, PublicFormat.Raw))}"
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={_in_base64(der)}"


class Signer:
    """Signs for one domain under one of its keys. Safe to use from many threads."""

    def __init__(self, domain: str, selector: str, key: Key) -> None:
        """`domain` and `selector` in ASCII: the key is published at `<selector>._domainkey.<domain>`."""
        self._key = key
        algorithm = "rsa-sha256" if isinstance(key, RSAPrivateKey) else "ed25519-sha256"
        self._begins = (
            f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n d={domain}; s={selector};\r\n h="
        ).encode("ascii")
        self._shared: dict[bytes, bytes] = {}  # Headers that many mails have, canonicalised.
        self._named: dict[tuple[bytes, ...], tuple[bytes, bytes]] = {}

    @classmethod
    def of(cls, domain: str, selector: str, pem: str) -> "Signer":
        """Raises `NoKey`."""
        return cls(domain, selector, read_key(pem))

    def sign(self, message: bytes) -> bytes:
        """The message, as RFC 5322 has it with lines that end in CRLF, with its signature before it."""
        head, _, body = message.partition(b"\r\n\r\n")
        there: dict[bytes, list[bytes]] = {}
        for field in _BETWEEN_FIELDS.split(head):
            name = field.partition(b":")[0].strip(b" \t").lower()
            if name in SIGNED:
                there.setdefault(name, []).append(self._relaxed(name, field))
        names = tuple(name for name in SIGNED for _ in there.get(name, ()))
        header, canonical = self._header(names)
        # Of several with one name, the last is the first that a verifier takes (section 5.4.2).
        lines = [line for name in SIGNED for line in reversed(there.get(name, ()))]
        body_hash = binascii.b2a_base64(hashlib.sha256(relaxed_body(body)).digest(), newline=False)
        signed = b"".join((*lines, canonical, body_hash, b"; b="))
        signature = binascii.b2a_base64(self._signature(signed), newline=False)
        folded = b"\r\n ".join(signature[at : at + 72] for at in range(0, len(signature), 72))
        return b"".join((header, body_hash, b";\r\n b=", folded, b"\r\n", message))

    def _signature(self, signed: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(signed, PKCS1v15(), SHA256())
        return self._key.sign(hashlib.sha256(signed).digest())  # RFC 8463, section 3.

    def _relaxed(self, name: bytes, field: bytes) -> bytes:
        if name in _DIFFERS:
            return relaxed_header(field)
        if (known := self._shared.get(field)) is None:
            if len(self._shared) > 500:  # Dates come and go.
                self._shared.clear()
            known = self._shared[field] = relaxed_header(field)
        return known

    def _header(self, names: tuple[bytes, ...]) -> tuple[bytes, bytes]:
        """Our own header up to the body's hash: as it is sent, and as it is signed."""
        if (known := self._named.get(names)) is None:
            lines = [b":".join(names[at : at + 5]) for at in range(0, len(names), 5)]
            sent = self._begins + b":\r\n ".join([b"from", *lines]) + b";\r\n bh="
            known = self._named[names] = sent, relaxed_header(sent)[:-2]
        return known


def relaxed_header(field: bytes) -> bytes:
    """One header as section 3.4.2 has it, with the CRLF at its end."""
    name, _, value = field.replace(b"\r\n", b"").partition(b":")
    return name.strip(b" \t").lower() + b":" + _SPACES.sub(b" ", value).strip(b" ") + b"\r\n"


def relaxed_body(body: bytes) -> bytes:
    """The body as section 3.4.4 has it."""
    if b"  " in body or b"\t" in body:
        body = _SEVERAL_SPACES.sub(b" ", body)
    if b" \r\n" in body:
        body = body.replace(b" \r\n", b"\r\n")
    body = body.removesuffix(b" ")
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    end = len(body)
    while body[end - 4 : end] == b"\r\n\r\n":
        end -= 2
    return b"" if body[:end] == b"\r\n" else body[:end]


def _in_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
