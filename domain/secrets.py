"""Secrets at rest: AES-256-GCM (NIST SP 800-38D) under keys that have ids, so that they can be changed.

A sealed secret is `v1.<key id>.<base64url of nonce, ciphertext and tag>`. What it belongs to is bound in, so
that one row's secret opens in no other.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12
_ID = re.compile(r"[A-Za-z0-9_-]{1,20}")


class CannotOpen(Exception):
    """A secret was sealed under a key that we do not have, for something else, or was changed."""


class Sealer:
    """Seals under the first of its keys, opens under any of them."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys` by their ids, the present one first; 32 bytes each."""
        self._current = next(iter(keys))
        self._keys = {name: AESGCM(key) for name, key in keys.items()}

    @classmethod
    def of(cls, setting: str) -> "Sealer":
        """From `id:base64,id:base64`, the present key first. Raises ValueError, whose words hold no key."""
        keys: dict[str, bytes] = {}
        for part in filter(None, (part.strip() for part in setting.split(","))):
            name, _, encoded = part.partition(":")
            try:
                key = base64.b64decode(encoded, altchars=b"-_", validate=True)
            except binascii.Error:
                key = b""
            if not _ID.fullmatch(name) or len(key) != _KEY_BYTES or name in keys:
                raise ValueError(
                    f"each key is written id:base64 of {_KEY_BYTES} bytes, with ids that differ, such as "
                    f"k1:$(openssl rand -base64 {_KEY_BYTES})"
                )
            keys[name] = key
        if not keys:
            raise ValueError("there is no key")
        return cls(keys)

    def seal(self, secret: str, belongs_to: str) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._keys[self._current].encrypt(nonce, secret.encode(), belongs_to.encode())
        return f"{self.prefix}{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: str, belongs_to: str) -> str:
        """Raises `CannotOpen`."""
        try:
            version, name, encoded = sealed.split(".")
            raw = base64.urlsafe_b64decode(encoded)
            key = self._keys[name]
            if version != "v1":
                raise CannotOpen("The secret was sealed in a way that this version does not know.")
            return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], belongs_to.encode()).decode()
        except (ValueError, KeyError, InvalidTag):
            raise CannotOpen(
                "A secret can't be opened: its key is missing from ENCRYPTION_KEYS, or it was changed."
            ) from None

    @property
    def prefix(self) -> str:
        """How what is sealed under the present key begins."""
        return f"v1.{self._current}."
