"""API keys: how they look, and what is kept of them.

A key is `sk_` or `pk_`, then 43 characters of base64url: 256 random bits, so a plain hash is enough to keep.
"""

import base64
import hashlib
import re
import secrets

from domain.roles import KeyKind

SHOWN = 11  # Characters by which a list shows a key: its kind and 48 bits.
_KEY = re.compile(r"(sk|pk)_[A-Za-z0-9_-]{43}")
# What looks like one, whole or mistyped, or cut off where a text ends.
_LIKE_A_KEY = re.compile(r"(sk|pk)_(?:[A-Za-z0-9_-]{20,}|[A-Za-z0-9_-]*(?:\\(?:u[0-9A-Fa-f]*)?)?\Z)")


def new_key(kind: KeyKind) -> str:
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return f"{kind}_{secret}"


def is_key(given: str) -> bool:
    """Whether it has the form of a key; one that has not is looked up nowhere."""
    return _KEY.fullmatch(given) is not None


def without_keys(said: str) -> str:
    """The same text with whatever looks like a key struck out; which kind it was can still be read."""
    return _LIKE_A_KEY.sub(r"\1_…", said)


def hash_of(secret: str) -> bytes:
    """What is kept of a key, or of a token that was mailed: 32 bytes of SHA-256."""
    return hashlib.sha256(secret.encode()).digest()
