"""Webhooks: what one may ask for, and the secret by which its receiver knows that it is we who speak.

Secrets are as Standard Webhooks 1.0 has them: `whsec_` and 24 to 64 random bytes in base64.
"""

import base64
import binascii
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from domain.announcements import ADDRESSED, EVERYTHING, AnnouncementType

MOST = 100  # Webhooks in a workspace.
LONGEST_URL = 2_000
PREFIX = "whsec_"
SHORTEST_SECRET, LONGEST_SECRET = 24, 64  # Bytes.
_NEW_SECRET = 24  # Random bytes.

GROUPS = tuple(dict.fromkeys(each.partition(".")[0] for each in AnnouncementType if each not in ADDRESSED))
ASKABLE = frozenset(
    {
        EVERYTHING,
        *(f"{group}.*" for group in GROUPS),
        *(each.value for each in AnnouncementType if each not in ADDRESSED),
    }
)


def new_secret() -> str:
    """192 random bits, written in 32 letters: some receivers, such as n8n's own nodes, hold a key as text."""
    return _written(secrets.token_urlsafe(_NEW_SECRET).encode())


def checked_secret(given: str) -> str:
    """The same secret as every library reads it: with its prefix, and padded. Raises ValueError."""
    written = given.strip().removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(written + "=" * (-len(written) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
        raise ValueError(
            f"Write {PREFIX} and {SHORTEST_SECRET} to {LONGEST_SECRET} random bytes in base64, such as "
            "`openssl rand -base64 32` gives"
        )
    return _written(key)


def _written(key: bytes) -> str:
    return PREFIX + base64.b64encode(key).decode()


def checked_types(asked: Sequence[str]) -> list[str]:
    """What a webhook asks for, each once. Raises ValueError for what it can't ask for."""
    for name in asked:
        if name in ADDRESSED:
            raise ValueError(f"{name} is sent to the webhook that it is meant for, and nobody asks for it")
        if name not in ASKABLE:
            raise ValueError(
                f"There is no event type {name[:100]!r}: GET /webhooks/event-types has them all; "
                "message.* asks for a group, * for everything"
            )
    return list(dict.fromkeys(asked))


def site(url: str) -> str:
    """An address without its path and query, which hold the secret of many a receiver."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
