"""A verifier of DKIM signatures, written down from RFC 6376 alone: it shares nothing with what signs."""

import base64
import hashlib
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key


def tags(text: str) -> dict[str, str]:
    """A tag list (section 3.2)."""
    pairs = (part.split("=", 1) for part in text.split(";") if part.strip())
    return {name.strip(): value.strip() for name, value in pairs}


def headers(message: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Names and values as they stand, folds included, and the body."""
    found: list[tuple[str, str]] = []
    rest = message
    while not rest.startswith(b"\r\n"):
        line, rest = rest.split(b"\r\n", 1)
        text = line.decode("utf-8")
        if text[0] in " \t":
            name, value = found.pop()
            found.append((name, value + "\r\n" + text))
        else:
            name, value = text.split(":", 1)
            found.append((name, value))
    return found, rest[2:]


def relaxed(name: str, value: str) -> str:
    """Section 3.4.2."""
    said = ""
    for character in value.replace("\r\n", ""):
        if character in " \t":
            said += "" if said.endswith(" ") else " "
        else:
            said += character
    return name.lower().rstrip(" \t") + ":" + said.strip(" ")


def relaxed_lines(body: bytes) -> bytes:
    """Section 3.4.4."""
    lines: list[bytes] = []
    for line in body.split(b"\r\n"):
        words = [word for word in line.replace(b"\t", b" ").split(b" ") if word]
        begins = b" " if line[:1] in (b" ", b"\t") and words else b""
        lines.append(begins + b" ".join(words))
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def verify(message: bytes, published: Mapping[str, str]) -> list[str]:
    """The names of the headers under the signature, in small letters.

    `published` are TXT records by their names. Raises AssertionError or InvalidSignature.
    """
    found, body = headers(message)
    name, value = found[0]
    assert name == "DKIM-Signature"
    signature = {key: "".join(said.split()) for key, said in tags(value).items()}
    assert signature["v"] == "1"
    assert signature["c"] == "relaxed/relaxed"
    record = tags(published[f"{signature['s']}._domainkey.{signature['d']}"])
    assert record.get("v", "DKIM1") == "DKIM1"
    assert signature["a"] == f"{record.get('k', 'rsa')}-sha256"

    if hashlib.sha256(relaxed_lines(body)).digest() != base64.b64decode(signature["bh"]):
        raise InvalidSignature("The body was changed.")
    left = [(known.lower(), said) for known, said in found[1:]]
    signed = ""
    for wanted in signature["h"].lower().split(":"):
        for place in range(len(left) - 1, -1, -1):
            if left[place][0] == wanted:
                signed += relaxed(*left.pop(place)) + "\r\n"
                break
    unsigned, _, _ = value.rpartition("b=")
    signed += relaxed(name, unsigned + "b=")
    key = base64.b64decode(record["p"])
    raw = base64.b64decode(signature["b"])
    if record.get("k") == "ed25519":
        Ed25519PublicKey.from_public_bytes(key).verify(raw, hashlib.sha256(signed.encode()).digest())
    else:
        public = load_der_public_key(key)
        assert isinstance(public, RSAPublicKey)
        assert public.key_size >= 2048
        public.verify(raw, signed.encode(), PKCS1v15(), SHA256())
    return signature["h"].lower().split(":")
