"""Id tokens (OpenID Connect Core 1.0, section 3.1.3.7): who an issuer says somebody is, if it is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, MissingClaimError
from joserfc.jwk import Key, KeySet, import_key

from domain.addresses import normal_address

# Those of a key pair alone: `none` proves nothing, and a secret that both sides know could be a public key.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
LEEWAY = 60  # Seconds by which the issuer's clock may differ from ours.
_PAIRS = ("RSA", "EC", "OKP")
_LONGEST = 255  # Characters of a subject, as the standard has it.


class Untrusted(Exception):
    """An id token is not believed. `message` is a sentence that holds nothing of the token."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class Claimed:
    """Who somebody is at an issuer."""

    subject: str  # Never given to anybody else there.
    email: str | None  # Normalised; None when there is none that can be read.
    email_verified: bool
    name: str


def read(
    token: str, keys: dict[str, Any], *, issuers: Sequence[str], client_id: str, nonce: str, now: datetime
) -> Claimed:
    """Who the token is about. `keys` is the issuer's JWKS, `issuers` how it may name itself.

    Raises `Untrusted` unless it was signed by one of the keys, for this client and this sign-in, and is good
    now.
    """
    claims = _signed(token, keys)
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=LEEWAY,
        iss={"essential": True, "values": list(issuers)},
        sub={"essential": True},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    try:
        registry.validate(claims)
    except ExpiredTokenError:
        raise Untrusted("The issuer's token is past its end.") from None
    except MissingClaimError as error:
        raise Untrusted(f"The issuer's token does not say its {error.claim}.") from None
    except ClaimError as error:
        raise Untrusted(f"The issuer's token is not for this sign-in: its {error.claim} is wrong.") from None
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else client_id) != client_id:
        raise Untrusted("The issuer's token is not for this sign-in: its azp is wrong.")
    if len(claims["sub"]) > _LONGEST:
        raise Untrusted("The issuer's token is not for this sign-in: its sub is wrong.")
    return Claimed(claims["sub"], _email(claims), claims.get("email_verified") is True, _name(claims))


def _signed(token: str, keys: dict[str, Any]) -> dict[str, Any]:
    try:
        return jwt.decode(token, _pairs(keys), algorithms=ALGORITHMS).claims
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise Untrusted("The issuer's token is not signed by one of the issuer's keys.") from None


def _pairs(keys: dict[str, Any]) -> KeySet:
    """The public keys that sign. What we can't read is left out: issuers add kinds as time goes by."""
    found: list[Key] = []
    for each in keys["keys"]:
        if each.get("kty") in _PAIRS and each.get("use", "sig") == "sig":
            try:
                found.append(import_key(each))
            except (JoseError, ValueError, TypeError, KeyError):
                continue
    return KeySet(found)


def _email(claims: dict[str, Any]) -> str | None:
    try:
        return normal_address(str(claims["email"]))
    except (KeyError, ValueError):
        return None


def _name(claims: dict[str, Any]) -> str:
    name = claims.get("name")
    return " ".join(name.split())[:200].replace("\0", "") if isinstance(name, str) else ""
