"""Access tokens: short-lived JWTs (RFC 7519) that say which session asks.

They carry no roles: those are read when they are used, so that a change holds within seconds.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

LIFETIME = timedelta(minutes=15)
_ALGORITHM = "HS256"
_ISSUER = "campanile"
_AUDIENCE = "campanile-api"


@dataclass(frozen=True)
class Access:
    """Whose session a token speaks for."""

    user_id: UUID
    session_id: UUID


class AccessTokens:
    """Signs and reads access tokens under a key of their own, derived from the installation's."""

    def __init__(self, signing_key: str) -> None:
        # That a signature is good stays so; what changes is the time, which is looked at each time.
        self._claims = lru_cache(10_000)(self._verified)
        derived = hmac.digest(signing_key.encode(), b"campanile access tokens", "sha256")
        self._key = OctKey.import_key(derived)

    def sign(self, access: Access, now: datetime) -> str:
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": str(access.user_id),
            "sid": str(access.session_id),
            "iat": int(now.timestamp()),
            "exp": int((now + LIFETIME).timestamp()),
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key, algorithms=[_ALGORITHM])

    def read(self, token: str, now: datetime) -> Access | None:
        """Whom the token speaks for, or None when it is not ours, not for us, or not valid any more."""
        claims = self._claims(token)
        if claims is None or not claims.issued_at - 60 <= now.timestamp() < claims.ends_at:
            return None
        return claims.access

    def _verified(self, token: str) -> "_Claims | None":
        try:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
            if claims.get("iss") != _ISSUER or claims.get("aud") != _AUDIENCE:
                return None
            access = Access(UUID(claims["sub"]), UUID(claims["sid"]))
            return _Claims(access, int(claims["iat"]), int(claims["exp"]))
        except (JoseError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
            return None


class _Claims(NamedTuple):
    """What a token says whose signature is ours; times in seconds of the epoch."""

    access: Access
    issued_at: int
    ends_at: int
