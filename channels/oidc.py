"""An OpenID Connect issuer, asked through the guard: what it says of itself, its keys, a token for a code."""

from dataclasses import dataclass, field
from typing import Any

from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]
from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]
from authlib.oauth2 import OAuth2Client  # type: ignore[import-untyped]
from httpx2 import URL, HTTPError, InvalidURL

from channels.egress import EgressClient, EgressRefused, EgressTransport

SCOPE = "openid email profile"
_KNOWN_ERRORS = (  # RFC 6749, section 5.2. What else it may say stays unsaid.
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
)


class IssuerFailed(Exception):
    """It can't be reached, or says what we don't understand. `message` is a sentence that holds no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CodeRefused(IssuerFailed):
    """It gives nothing for the code that it sent."""


@dataclass(frozen=True)
class Provider:
    """What an issuer says of itself (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    methods: tuple[str, ...]  # By which a client may prove itself.
    names_itself: bool  # In what it sends a browser back with (RFC 9207).


@dataclass(frozen=True)
class Client:
    """Who we are to an issuer."""

    id: str
    secret: str = field(repr=False)
    redirect_uri: str


async def discover(guard: EgressTransport, issuer: str) -> Provider:
    """Raises `IssuerFailed`, also when it names another issuer than the one that was asked."""
    found = await _json(guard, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        raise IssuerFailed("The discovery document there names another issuer; write it exactly as it does.")
    methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Provider(
        issuer=issuer,
        authorization_endpoint=_endpoint(guard, found, "authorization_endpoint"),
        token_endpoint=_endpoint(guard, found, "token_endpoint"),
        jwks_uri=_endpoint(guard, found, "jwks_uri"),
        methods=tuple(map(str, methods)) if isinstance(methods, list) else (),
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
    )


async def keys(guard: EgressTransport, provider: Provider) -> dict[str, Any]:
    """Its JWKS, asked for each time: it changes its keys when it likes. Raises `IssuerFailed`."""
    found = await _json(guard, provider.jwks_uri)
    listed = found.get("keys")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise IssuerFailed("The issuer's keys can't be read.")
    return found


def authorization_url(provider: Provider, client: Client, state: str, nonce: str, verifier: str) -> str:
    """Where to send the browser. Of the verifier it holds the challenge (RFC 7636, S256)."""
    asking = OAuth2Client(
        None, client.id, redirect_uri=client.redirect_uri, scope=SCOPE, code_challenge_method="S256"
    )
    url, _ = asking.create_authorization_url(
        provider.authorization_endpoint, state=state, nonce=nonce, code_verifier=verifier
    )
    return str(url)


async def exchange(
    guard: EgressTransport, provider: Provider, client: Client, code: str, verifier: str
) -> str:
    """The id token for a code. Raises `CodeRefused`, `IssuerFailed`."""
    post = "client_secret_basic" not in provider.methods and "client_secret_post" in provider.methods
    asking = AsyncOAuth2Client(
        client.id,
        client.secret,
        token_endpoint_auth_method="client_secret_post" if post else "client_secret_basic",
        redirect_uri=client.redirect_uri,
        transport=guard,
        trust_env=False,
    )
    try:
        given = await asking.fetch_token(
            provider.token_endpoint, grant_type="authorization_code", code=code, code_verifier=verifier
        )
    except AuthlibBaseError as error:
        said = error.error if error.error in _KNOWN_ERRORS else "an error that we don't know"
        hint = "; check the client's id and secret" if said == "invalid_client" else ""
        raise CodeRefused(f"The issuer does not take the code that it sent: {said}{hint}.") from None
    except EgressRefused as error:
        raise IssuerFailed(error.message) from None
    except (HTTPError, ValueError):
        raise IssuerFailed("The issuer does not answer as it should; try again soon.") from None
    token = given.get("id_token")
    if not isinstance(token, str):
        raise IssuerFailed("The issuer answered without an id token.")
    return token


async def _json(guard: EgressTransport, url: str) -> dict[str, Any]:
    client = EgressClient(guard)
    try:
        answer = await client.get(url, headers={"Accept": "application/json"})
        found = answer.raise_for_status().json()
    except EgressRefused as error:
        raise IssuerFailed(error.message) from None
    except (HTTPError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise IssuerFailed("The issuer does not answer there as an OpenID Connect issuer does.")
    return found


def _endpoint(guard: EgressTransport, found: dict[str, Any], name: str) -> str:
    """An address in the document, which the browser or we will be sent to."""
    try:
        url = URL(found.get(name, ""))
    except (InvalidURL, TypeError):
        url = URL("")
    if not guard.speaks(url.scheme) or not url.host or url.userinfo:
        raise IssuerFailed(f"The issuer's {name} is no address that begins with https://.")
    return str(url)
