"""Tokens in links: whom a link speaks for, and what about, signed so that nobody can speak for another.

A token is base64url, without padding, of the ids that it names, 16 bytes each, and the first 12 bytes of the
HMAC-SHA256 (RFC 2104) of what it is about and of them. One of a mail names workspace and message: 59
characters of ``A-Z a-z 0-9 - _``.
"""

import binascii
import hmac
from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

LENGTH = 59  # Characters of a token that names two.
LENGTH_OF_THREE = 80
_ID = 16  # Bytes.
_SIGNATURE = 12  # Bytes: a guess succeeds once in 2**96.
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")  # The plain alphabet is refused: one token, one spelling.


class About(StrEnum):
    """What a token is good for, and nothing else."""

    MESSAGE = ""  # A mail that was sent: it was signed before there were others.
    LIST = "list"  # The form by which one comes on a list.
    SIGN_UP = "sign-up"  # The mail that asks whether that was them: workspace, list and profile.
    SENDER = "sender"  # The mail that asks whether an address may send: workspace, sender and chance.
    PREFERENCES = "preferences"  # The page where a profile chooses.
    BOUNCE = "bounce"  # The return path of a mail, which names the message alone: `domain.verp`.
    CALL = "call"  # A flow's call, which whoever was called answers: workspace and call.
    HERE = "here"  # The proof that a name leads to this installation: the number that it was asked for.


class Tokens:
    """Signs and reads tokens under one key."""

    def __init__(self, key: bytes) -> None:
        """`key` is secret, at least 16 bytes. Who changes it makes every link sent so far dead."""
        if len(key) < 16:
            raise ValueError("The signing key needs at least 16 bytes.")
        self._keyed = HMAC(key, SHA256())  # To copy it takes a quarter of what it takes to begin anew.

    def here(self, asked: UUID) -> str:
        """What any process under this key answers to whoever draws a number to see whether it is reached."""
        return self.sign_all((asked,), About.HERE)

    def sign(self, workspace_id: UUID, id_: UUID, about: About = About.MESSAGE) -> str:
        """The token of one message, or of what else it is about: needs no escaping in a URL or HTML."""
        return self.sign_all((workspace_id, id_), about)

    def read(self, token: str, about: About = About.MESSAGE) -> tuple[UUID, UUID] | None:
        """The workspace's and the other id, or None when we did not sign exactly this."""
        found = self.read_all(token, 2, about)
        return (found[0], found[1]) if found else None

    def sign_all(self, ids: Sequence[UUID], about: About) -> str:
        """The token that names all of these."""
        named = b"".join([each.bytes for each in ids])
        return _written(named + self._signature(named, about))

    def read_all(self, token: str, count: int, about: About) -> list[UUID] | None:
        """The `count` ids, or None when we did not sign exactly this."""
        length = _ID * count + _SIGNATURE
        if len(token) != (length * 4 + 2) // 3 or not token.isascii():
            return None
        try:
            padded = token.encode().translate(_FROM_URL) + b"=" * (-len(token) % 4)
            signed = binascii.a2b_base64(padded, strict_mode=True)
        except binascii.Error:
            return None
        named = signed[: _ID * count]
        if not hmac.compare_digest(self._signature(named, about), signed[_ID * count :]):
            return None
        if _written(signed) != token:
            return None  # The last character may have bits to spare: only one spelling is ours.
        return [UUID(bytes=named[at : at + _ID]) for at in range(0, len(named), _ID)]

    def _signature(self, named: bytes, about: About) -> bytes:
        signing = self._keyed.copy()
        signing.update(f"{about}\0".encode() + named if about else named)
        return signing.finalize()[:_SIGNATURE]


def _written(signed: bytes) -> str:
    return binascii.b2a_base64(signed, newline=False).translate(_TO_URL).rstrip(b"=").decode()
