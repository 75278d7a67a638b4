"""Tracking tokens: who a link in a mail speaks for, signed so that nobody can speak for another.

A token is base64url, without padding, of 16 bytes of workspace, 16 bytes of message and the first 12
bytes of their HMAC-SHA256 (RFC 2104): 59 characters of ``A-Z a-z 0-9 - _``.
"""

import binascii
import hmac
from uuid import UUID

LENGTH = 59  # Characters.
_SIGNED = 32  # Bytes of workspace and message.
_SIGNATURE = 12  # Bytes: a guess succeeds once in 2**96.
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")  # The plain alphabet is refused: one token, one spelling.


class Tokens:
    """Signs and reads tokens under one key."""

    def __init__(self, key: bytes) -> None:
        """`key` is secret, at least 16 bytes. Who changes it makes every link sent so far dead."""
        if len(key) < 16:
            raise ValueError("The signing key needs at least 16 bytes.")
        self._key = key

    def sign(self, workspace_id: UUID, message_id: UUID) -> str:
        """The token of one message: 59 characters that need no escaping in a URL, HTML or a header."""
        named = workspace_id.bytes + message_id.bytes
        signed = named + hmac.digest(self._key, named, "sha256")[:_SIGNATURE]
        return binascii.b2a_base64(signed).translate(_TO_URL)[:LENGTH].decode()

    def read(self, token: str) -> tuple[UUID, UUID] | None:
        """The workspace's and the message's id, or None when we did not sign exactly this."""
        if len(token) != LENGTH or not token.isascii():
            return None
        try:
            signed = binascii.a2b_base64(token.encode().translate(_FROM_URL) + b"=", strict_mode=True)
        except binascii.Error:
            return None
        named = signed[:_SIGNED]
        signature = hmac.digest(self._key, named, "sha256")[:_SIGNATURE]
        if not hmac.compare_digest(signature, signed[_SIGNED:]):
            return None
        if binascii.b2a_base64(signed).translate(_TO_URL)[:LENGTH] != token.encode():
            return None  # The last character has two bits to spare: only one spelling is ours.
        return UUID(bytes=named[:16]), UUID(bytes=named[16:])
