"""Egress: the one way to an address that somebody gave us.

A name is resolved once, every address it has must be public (or lie in an allowed network), and the
connection goes to exactly what was looked at: a name that answers otherwise a moment later gains nothing. No
redirect is followed, an answer is short and soon, and the environment's proxies are not asked.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any

from httpx2 import (
    URL,
    AsyncBaseTransport,
    AsyncByteStream,
    AsyncClient,
    ByteStream,
    ConnectError,
    ConnectTimeout,
    InvalidURL,
    ReadTimeout,
    Request,
    Response,
)

from channels import authorities
from channels.look_ups import NoTurn, look_up
from channels.sips import SippingTransport
from domain.networks import Address, Network, is_public

SECONDS = 10.0  # For all of one exchange, from the look-up of the name to the last byte.
LARGEST_ANSWER = 1_000_000  # Bytes of a body.
LARGEST_PORT = 65_535
_NO_URL = "This is no URL."

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # From a host and a port to its addresses.


class EgressRefused(Exception):
    """We don't go there, or don't take what came back. `message` is a sentence without internal addresses."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AnswerRefused(EgressRefused):
    """What was asked was heard there; only what came back is not taken."""


class Overburdened(ConnectError):
    """For want of threads or sockets of ours: it says nothing about who is there."""


class EgressTransport(AsyncBaseTransport):
    """Each request has a connection of its own, so that none meets what another host's certificate opened.

    Raises `EgressRefused`; what httpx2 raises when a host can't be reached or doesn't answer in time.
    """

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        plain: bool = False,
        resolve: Resolve = look_up,
        tls: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
        largest: int = LARGEST_ANSWER,
    ) -> None:
        """`allowed` are networks beside the public ones; `plain` lets http:// through beside https://."""
        self._allowed, self._plain = allowed, plain
        self._resolve, self._tls = resolve, tls
        self.seconds, self._largest = seconds, largest  # Seconds for all of one exchange.

    def speaks(self, scheme: str) -> bool:
        return scheme == "https" or (self._plain and scheme == "http")

    async def handle_async_request(self, request: Request) -> Response:
        self.look_at(request.url)
        try:
            async with asyncio.timeout(self.seconds):
                return await self._ask(request)
        except TimeoutError:
            raise ReadTimeout(f"{request.url.host} did not answer in {self.seconds:g} s.") from None

    def look_at(self, url: URL) -> None:
        """Raises `EgressRefused` for an address that is not called, wherever its host may be."""
        if not self.speaks(url.scheme):
            raise EgressRefused("Only addresses that begin with https:// are called.")
        if url.userinfo:
            raise EgressRefused(
                "An address names no user and no password: take out what stands before the @."
            )
        if url.port is not None and not 0 < url.port <= LARGEST_PORT:
            raise EgressRefused(f"A port is a number from 1 to {LARGEST_PORT}.")

    async def try_out(self, address: str) -> None:
        """Whether a request could go there, without sending one. Raises `EgressRefused` where it could not,
        and `ConnectError` where there is no such host."""
        try:
            url = URL(address)
        except InvalidURL:
            raise EgressRefused(_NO_URL) from None
        self.look_at(url)
        await self.addresses(url.raw_host.decode("ascii"), url.port or 443)

    @property
    def tls(self) -> ssl.SSLContext:
        """Whose certificates are believed."""
        return self._tls or authorities.of_the_web()

    async def _ask(self, request: Request) -> Response:
        host = request.url.raw_host.decode("ascii")
        request.headers["Accept-Encoding"] = (
            "identity"  # What unpacks to more than it weighs is not asked for.
        )
        addresses = await self.addresses(host, request.url.port or 443)
        for address in addresses[:-1]:
            try:
                return await self._ask_at(address, host, request)
            except (ConnectError, ConnectTimeout):
                continue
        return await self._ask_at(addresses[-1], host, request)

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Where a host is, for those who speak something else than HTTP. Raises what a request would."""
        try:
            found = [ip_address(each.partition("%")[0]) for each in await self._resolve(host, port)]
        except NoTurn:
            raise Overburdened(f"Too many names are looked up just now, so {host} was not.") from None
        except TimeoutError:
            raise ConnectError(f"No name server says in time where {host} is.") from None
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise ConnectError(f"There is no host {host}.")
        if not all(self._may_go_to(address) for address in found):
            raise EgressRefused(
                f"{host} is not on the public Internet, so it is not called; whoever runs Campanile can "
                "allow its network by EGRESS_NETWORKS."
            )
        return found

    def _may_go_to(self, address: Address) -> bool:
        return is_public(address) or any(address in network for network in self._allowed)

    async def _ask_at(self, address: Address, host: str, request: Request) -> Response:
        """The request keeps its Host header; TLS asks for a certificate of the name, not of the address."""
        there = Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        async with SippingTransport(self.tls) as transport:
            answer = await transport.handle_async_request(there)
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise AnswerRefused(f"{host} answered in an encoding that was not asked for.")
            assert isinstance(answer.stream, AsyncByteStream)
            body = await self._body(host, answer.stream)
        return Response(answer.status_code, headers=answer.headers, stream=ByteStream(body))

    async def _body(self, host: str, stream: AsyncByteStream) -> bytes:
        body = bytearray()
        async for piece in stream:
            body += piece
            if len(body) > self._largest:
                raise AnswerRefused(f"{host} answered with more than {self._largest:,} bytes.")
        return bytes(body)


class EgressClient(AsyncClient):
    """A client whose every request goes through a guard."""

    def __init__(self, guard: EgressTransport) -> None:
        super().__init__(transport=guard, trust_env=False, follow_redirects=False)

    def build_request(self, method: str, url: URL | str, **values: Any) -> Request:
        """Raises `EgressRefused` for what is no URL, such as http://0177.0.0.1."""
        try:
            return super().build_request(method, url, **values)
        except InvalidURL:
            raise EgressRefused(_NO_URL) from None
