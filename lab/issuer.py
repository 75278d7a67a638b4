"""An OpenID Connect issuer that behaves like Google's: the second piece of the provider lab.

It speaks discovery, the code flow with PKCE (RFC 7636), JWKS and signed id tokens, remembers what it gave
out, and fails on command. Whoever sits at the browser is `user`, and consents at once.

    async with IssuerLab() as issuer:
        issuer.user = Person("1001", "ada@shop.example")
        issuer.orders.append(Fault.OTHER_NONCE)  # For the next id token.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlencode

from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import ECKey, KeyParameters, RSAKey

from lab.http_server import Answer, Asked, HttpServer

CODE_SECONDS = 60.0
TOKEN_SECONDS = 3600

# Of issuers that are gone, since a key takes 70 ms to make. No two issuers have the same at a time.
_SPARE: list[rsa.RSAPrivateKey] = []


class Fault(StrEnum):
    """What is wrong with the next id token, or with how it is given out."""

    OTHER_NONCE = "other nonce"
    NO_NONCE = "no nonce"
    OTHER_AUDIENCE = "other audience"
    OTHER_PARTY = "other party"  # azp names somebody else.
    SEVERAL_AUDIENCES = "several audiences"  # Ours among them, and no azp.
    OTHER_ISSUER = "other issuer"
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from the future"
    NO_SUBJECT = "no subject"
    ALG_NONE = "alg none"
    SHARED_SECRET = "shared secret"  # HS256 under the client's secret.
    PUBLIC_KEY_AS_SECRET = "public key as secret"  # HS256 under the PEM of the public key.
    OTHER_KEY = "other key"  # With the key id of the right one.
    CHANGED = "changed"  # After it was signed.
    UNVERIFIED = "unverified"  # email_verified is false.
    NO_TOKEN = "no token"  # The answer has no id_token.
    NOT_JSON = "not json"
    DOWN = "down"  # 503.


@dataclass(frozen=True, slots=True)
class Person:
    """Who sits at the browser."""

    subject: str
    email: str
    name: str = "Ada Lovelace"


@dataclass(frozen=True, slots=True)
class Client:
    """Who may send people here. An empty tuple of redirects allows all."""

    id: str
    secret: str
    redirects: tuple[str, ...] = ()


@dataclass(slots=True)
class Grant:
    """A code that was given out."""

    client: Client
    redirect_uri: str
    challenge: str
    nonce: str | None
    user: Person
    expires_at: float
    used: bool = False


@dataclass(slots=True)
class Seen:
    """What came in, for tests that look."""

    token_requests: list[str] = field(default_factory=list)  # By which method the client proved itself.
    discoveries: int = 0


class IssuerLab(HttpServer):
    """The issuer. `methods` are how a client may prove itself at the token endpoint."""

    def __init__(
        self,
        *clients: Client,
        host: str = "127.0.0.1",
        port: int = 0,
        algorithm: str = "RS256",
        methods: tuple[str, ...] = ("client_secret_post", "client_secret_basic"),
        names_itself: str | None = None,
    ) -> None:
        super().__init__(self.answer, host=host, port=port)
        self.clients = {client.id: client for client in clients or (Client("campanile", "lab-secret"),)}
        self.algorithm, self.methods, self.names_itself = algorithm, methods, names_itself
        self.user: Person | None = Person("1001", "ada@shop.example")  # None: they do not consent.
        self.orders: list[Fault] = []
        self.overrides: dict[str, Any] = {}  # Of the discovery document.
        self.grants: dict[str, Grant] = {}
        self.seen = Seen()
        self.keys: list[RSAKey | ECKey] = []
        self.held: list[rsa.RSAPrivateKey] = []
        self.rotate()

    @property
    def issuer(self) -> str:
        return self.names_itself or self.url

    def rotate(self) -> None:
        """Sign with a new key from now on. The one before stays in the JWKS, and no older one."""
        number = secrets.token_hex(4)
        described: KeyParameters = {"kid": number, "use": "sig", "alg": self.algorithm}
        new: RSAKey | ECKey
        if self.algorithm.startswith("ES"):
            new = ECKey.generate_key("P-256", described)
        else:
            pair = _SPARE.pop() if _SPARE else rsa.generate_private_key(65537, 2048)
            self.held.append(pair)
            new = RSAKey(pair, pair, described)
        self.keys = [new, *self.keys[:1]]

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        _SPARE.extend(self.held)
        self.held.clear()

    async def answer(self, asked: Asked) -> Answer:
        match asked.method, asked.path:
            case "GET", "/.well-known/openid-configuration":
                self.seen.discoveries += 1
                return Answer(body=self.discovery())
            case "GET", "/jwks":
                return Answer(body={"keys": [key.as_dict(private=False) for key in self.keys]})
            case "GET", "/authorize":
                return self.authorize(asked.query)
            case "POST", "/token":
                return self.token(asked)
        return Answer(404, {"error": "not_found"})

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "token_endpoint_auth_methods_supported": list(self.methods),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.overrides,
        }

    def authorize(self, query: dict[str, str]) -> Answer:
        """Sends the browser back with a code, or shows a page when it can't know where it came from."""
        client = self.clients.get(query.get("client_id", ""))
        back = query.get("redirect_uri", "")
        if client is None or not back or (client.redirects and back not in client.redirects):
            return Answer(400, {"error": "Access blocked: unknown client or redirect_uri_mismatch"})
        said = {"state": query.get("state", ""), "iss": self.issuer}
        if query.get("response_type") != "code":
            return _back(back, error="unsupported_response_type", **said)
        if "openid" not in query.get("scope", "").split():
            return _back(back, error="invalid_scope", **said)
        if query.get("code_challenge_method") != "S256" or len(query.get("code_challenge", "")) != 43:
            return _back(back, error="invalid_request", **said)
        if self.user is None:
            return _back(back, error="access_denied", **said)
        code = f"4/{secrets.token_urlsafe(32)}"
        self.grants[code] = Grant(
            client, back, query["code_challenge"], query.get("nonce"), self.user, time.time() + CODE_SECONDS
        )
        return _back(back, code=code, scope=query["scope"], authuser="0", prompt="none", **said)

    def token(self, asked: Asked) -> Answer:
        fault = self.orders.pop(0) if self.orders else None
        if fault is Fault.DOWN:
            return Answer(503)
        form = asked.form
        client = self.known(asked.headers.get("authorization"), form)
        if client is None:
            return Answer(401, {"error": "invalid_client"})
        grant = self.grants.get(form.get("code", ""))
        if form.get("grant_type") != "authorization_code" or grant is None or not _fits(grant, client, form):
            return Answer(400, {"error": "invalid_grant", "error_description": "Bad Request"})
        grant.used = True
        body = {
            "access_token": secrets.token_urlsafe(32),
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
        }
        if fault is Fault.NOT_JSON:
            return Answer(body=b"<html>Welcome</html>")
        if fault is not Fault.NO_TOKEN:
            body["id_token"] = self.id_token(grant, fault)
        return Answer(body=body)

    def known(self, authorization: str | None, form: dict[str, str]) -> Client | None:
        """The client that proved itself by a method that we take."""
        if authorization and authorization.startswith("Basic "):
            method = "client_secret_basic"
            pair = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            number, secret = unquote(pair[0]), unquote(pair[2])
        else:
            method, number, secret = (
                "client_secret_post",
                form.get("client_id", ""),
                form.get("client_secret", ""),
            )
        self.seen.token_requests.append(method)
        client = self.clients.get(number)
        return client if client and client.secret == secret and method in self.methods else None

    def id_token(self, grant: Grant, fault: Fault | None) -> str:
        claims = self.claims(grant, fault)
        key = self.keys[0]
        other = RSAKey.generate_key(2048) if fault is Fault.OTHER_KEY else None
        header = {"alg": self.algorithm, "kid": key.kid}
        match fault:
            case Fault.ALG_NONE:
                return f"{_packed({'alg': 'none'})}.{_packed(claims)}."
            case Fault.SHARED_SECRET:
                return _by_secret(grant.client.secret.encode(), header, claims)
            case Fault.PUBLIC_KEY_AS_SECRET:
                return _by_secret(key.as_pem(private=False), header, claims)
            case Fault.CHANGED:
                head, _, signature = jwt.encode(header, claims, key, algorithms=[self.algorithm]).split(".")
                return f"{head}.{_packed({**claims, 'sub': 'somebody else'})}.{signature}"
        return jwt.encode(header, claims, other or key, algorithms=[self.algorithm])

    def claims(self, grant: Grant, fault: Fault | None) -> dict[str, Any]:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": grant.client.id,
            "azp": grant.client.id,
            "sub": grant.user.subject,
            "email": grant.user.email,
            "email_verified": fault is not Fault.UNVERIFIED,
            "name": grant.user.name,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        }
        if grant.nonce is not None:
            claims["nonce"] = grant.nonce
        match fault:
            case Fault.OTHER_NONCE:
                claims["nonce"] = secrets.token_urlsafe(16)
            case Fault.NO_NONCE:
                claims.pop("nonce", None)
            case Fault.OTHER_AUDIENCE:
                claims["aud"] = claims["azp"] = "somebody-else"
            case Fault.OTHER_PARTY:
                claims["azp"] = "somebody-else"
            case Fault.SEVERAL_AUDIENCES:
                claims["aud"] = [grant.client.id, "somebody-else"]
                del claims["azp"]
            case Fault.OTHER_ISSUER:
                claims["iss"] = "https://issuer.example"
            case Fault.EXPIRED:
                claims |= {"iat": now - 7200, "exp": now - 3600}
            case Fault.FROM_THE_FUTURE:
                claims |= {"iat": now + 3600, "exp": now + 7200}
            case Fault.NO_SUBJECT:
                del claims["sub"]
        return claims


def _fits(grant: Grant, client: Client, form: dict[str, str]) -> bool:
    """Whether the code is this client's, fresh, unused, for this redirect, and comes with its verifier."""
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return (
        grant.client == client
        and not grant.used
        and time.time() < grant.expires_at
        and grant.redirect_uri == form.get("redirect_uri")
        and grant.challenge == challenge
    )


def _back(uri: str, **said: str) -> Answer:
    joint = "&" if "?" in uri else "?"
    return Answer(302, headers={"Location": f"{uri}{joint}{urlencode(said)}"})


def _packed(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _by_secret(secret: bytes, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """HS256 by hand, since libraries refuse to take a public key for a secret."""
    signed = f"{_packed({**header, 'alg': 'HS256'})}.{_packed(claims)}"
    mac = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
